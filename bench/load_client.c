/* SOURCES: bench/lib/bench.c */
/* CFLAGS: -Ibench/lib */

/*
 * One thread, N kept-alive connections, each of which sends the same request
 * as soon as its last answer is complete, or at a rate: then the latency counts
 * from the moment at which a request was due, whether a connection was free or
 * not.  With --pipeline a connection sends several at once and waits for all
 * their answers; the latency is that of the first.  Prints one line: requests,
 * seconds, CPU time of the server's process, latency.
 */

#define _GNU_SOURCE

#include "bench.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNECTIONS 4096
#define ANSWER_SIZE 65536

struct connection {
    int fd;
    bool writing; /* waits until the socket takes more */
    size_t sent;
    size_t received;
    size_t expected; /* of the whole answer; 0: not known yet */
    long left;       /* answers that are still to come */
    uint64_t began;
    struct connection *next; /* of those that are idle */
    char answer[ANSWER_SIZE];
};

struct load {
    const char *address;
    char *request;
    size_t request_len; /* of all that are sent at once */
    long pipeline;      /* how many these are */
    int epoll;
    long requests;
    long errors;
    bool stopping; /* answers are taken in, nothing more is sent */
    long busy;
    const char *status; /* what every answer has to be */
    uint64_t step;      /* nanoseconds between two requests, 0: no rate */
    uint64_t due;       /* when the next one is */
    struct connection *idle;
    struct hai_samples latency;
};

static const char usage[] =
    "Usage: load_client --connect ADDRESS --request FILE [OPTION...]\n"
    "\n"
    "Sends one request again and again over kept-alive connections.\n"
    "\n"
    "  --connect ADDRESS   host:port, [ipv6]:port or unix:PATH\n"
    "  --request FILE      head and body, as they go over the wire\n"
    "  --connections N     at the same time (16)\n"
    "  --rate N            requests a second, in all; else as fast as they "
    "are\n"
    "                      answered\n"
    "  --pipeline N        requests that are sent at once on a connection "
    "(1);\n"
    "                      their answers need a Content-Length\n"
    "  --status N          of every answer (200)\n"
    "  --time MS           how long to measure (2000)\n"
    "  --warm MS           before that, not counted (200)\n"
    "  --count N           instead: this many requests, without warming up\n"
    "  --pid PID           whose CPU time to read\n"
    "  -h, --help          this text\n";

static void watch(struct load *load, struct connection *c, int op,
                  bool writing) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

    if (writing) {
        event.events |= EPOLLOUT;
    }

    if (epoll_ctl(load->epoll, op, c->fd, &event) != 0) {
        hai_bench_die("epoll_ctl: %s", strerror(errno));
    }

    c->writing = writing;
}

static void send_request(struct load *load, struct connection *c) {
    ssize_t n;

    while (c->sent < load->request_len) {
        n = send(c->fd, load->request + c->sent, load->request_len - c->sent,
                 MSG_NOSIGNAL);

        if (n == -1 && errno == EAGAIN) {
            if (!c->writing) {
                watch(load, c, EPOLL_CTL_MOD, true);
            }
            return;
        }

        if (n == -1) {
            hai_bench_die("send: %s", strerror(errno));
        }

        c->sent += (size_t) n;
    }

    if (c->writing) {
        watch(load, c, EPOLL_CTL_MOD, false);
    }
}

static void begin_request(struct load *load, struct connection *c,
                          uint64_t began) {
    c->sent = 0;
    c->received = 0;
    c->expected = 0;
    c->left = load->pipeline;
    c->began = began;
    load->busy += load->pipeline;
    send_request(load, c);
}

static void end_request(struct load *load, struct connection *c) {
    if (c->left == load->pipeline) {
        hai_samples_add(&load->latency, hai_bench_now() - c->began);
    }
    c->left--;
    load->requests++;
    load->busy--;

    if (strncmp(c->answer, "HTTP/1.1 ", 9) != 0
        || strncmp(c->answer + 9, load->status, 3) != 0)
    {
        if (load->errors++ == 0) {
            c->answer[c->received] = '\0';
            fprintf(stderr, "load_client: unexpected answer:\n%s\n", c->answer);
        }
    }
}

static void receive(struct load *load, struct connection *c) {
    ssize_t n;

    n = recv(c->fd, c->answer + c->received, ANSWER_SIZE - 1 - c->received, 0);

    if (n == -1 && errno == EAGAIN) {
        return;
    }

    if (n <= 0) {
        hai_bench_die("the server closed a connection%s%s", n == 0 ? "" : ": ",
                      n == 0 ? "" : strerror(errno));
    }

    c->received += (size_t) n;

    while (c->left > 0) {
        if (!hai_bench_answer_complete(c->answer, c->received, &c->expected)) {
            if (c->received == ANSWER_SIZE - 1) {
                hai_bench_die("the answer is too long");
            }
            return;
        }

        end_request(load, c);

        if (c->left > 0) {
            if (c->expected > c->received) {
                hai_bench_die("--pipeline: an answer has no Content-Length");
            }
            c->received -= c->expected;
            memmove(c->answer, c->answer + c->expected, c->received);
            c->expected = 0;
        }
    }

    if (load->step != 0) {
        c->next = load->idle;
        load->idle = c;

    } else if (!load->stopping) {
        begin_request(load, c, hai_bench_now());
    }
}

/* sends what is due; the milliseconds until something will be */
static int keep_rate(struct load *load) {
    struct connection *c;
    uint64_t now = hai_bench_now();

    while (load->due <= now && load->idle != NULL) {
        c = load->idle;
        load->idle = c->next;
        begin_request(load, c, load->due);
        load->due += load->step * (uint64_t) load->pipeline;
    }

    /* the last part of a millisecond is spent asking */
    return load->due <= now ? 100 : (int) ((load->due - now) / 1000000);
}

/* until a time, or until a number of requests was sent, when that is not 0 */
static void turn(struct load *load, uint64_t until, long count) {
    struct epoll_event events[64];
    struct connection *c;
    int i, n;

    while (hai_bench_now() < until && (count == 0 || load->requests < count)) {

        n = epoll_wait(load->epoll, events, 64,
                       load->step != 0 ? keep_rate(load) : 100);
        if (n == -1 && errno != EINTR) {
            hai_bench_die("epoll_wait: %s", strerror(errno));
        }

        for (i = 0; i < n; i++) {
            c = events[i].data.ptr;

            if (count != 0 && load->requests + load->busy >= count) {
                load->stopping = true;
            }

            if (events[i].events & EPOLLOUT) {
                send_request(load, c);
            }

            if (events[i].events & ~(uint32_t) EPOLLOUT) {
                receive(load, c);
            }
        }
    }
}

/* the file's request, as often as it is sent at once */
static void read_request(struct load *load, const char *file) {
    size_t len;
    char *one, *all;
    long i;

    one = hai_bench_read_file(file, &len);
    all = reallocarray(NULL, (size_t) load->pipeline, len);

    if (all == NULL) {
        hai_bench_die("out of memory");
    }

    for (i = 0; i < load->pipeline; i++) {
        memcpy(all + (size_t) i * len, one, len);
    }

    free(one);
    load->request = all;
    load->request_len = (size_t) load->pipeline * len;
}

int main(int argc, char **argv) {
    static struct load load;

    long connections = 16, time = 2000, warm = 200, count = 0, pid = 0;
    long rate = 0, i;
    uint64_t began, cpu = 0;
    const char *file = NULL;
    struct connection *all;
    double seconds;
    const struct hai_option options[] = {
        {"connect", .text = &load.address, .required = true},
        {"request", .text = &file, .required = true},
        {"connections", .number = &connections, .min = 1,
         .max = MAX_CONNECTIONS},
        {"rate", .number = &rate, .min = 1, .max = 1000000},
        {"pipeline", .number = &load.pipeline, .min = 1, .max = 1000},
        {"status", .text = &load.status},
        {"time", .number = &time, .min = 1, .max = 3600000},
        {"warm", .number = &warm, .min = 0, .max = 3600000},
        {"count", .number = &count, .min = 1, .max = 1000000000},
        {"pid", .number = &pid, .min = 1, .max = 0x7fffffff},
        {0}};

    load.status = "200";
    load.pipeline = 1;
    hai_bench_options(argc, argv, usage, options);

    if (count != 0 && connections > count) {
        connections = count;
    }

    read_request(&load, file);
    load.epoll = epoll_create1(EPOLL_CLOEXEC);
    all = calloc((size_t) connections, sizeof(*all));

    if (load.epoll == -1 || all == NULL) {
        hai_bench_die("cannot begin: %s", strerror(errno));
    }

    for (i = 0; i < connections; i++) {
        all[i].fd = hai_bench_connect(load.address);
        watch(&load, &all[i], EPOLL_CTL_ADD, false);
    }

    if (rate != 0) {
        load.step = UINT64_C(1000000000) / (uint64_t) rate;
        load.due = hai_bench_now();
    }

    for (i = 0; i < connections; i++) {
        if (rate != 0) {
            all[i].next = load.idle;
            load.idle = &all[i];

        } else {
            begin_request(&load, &all[i], hai_bench_now());
        }
    }

    if (count == 0) {
        turn(&load, hai_bench_now() + (uint64_t) warm * 1000000, 0);
        load.requests = 0;
        load.latency.count = 0;
    }

    began = hai_bench_now();
    if (pid != 0) {
        cpu = hai_bench_cpu(pid);
    }

    turn(&load, count != 0 ? UINT64_MAX : began + (uint64_t) time * 1000000,
         count);

    if (pid != 0) {
        cpu = hai_bench_cpu(pid) - cpu;
    }
    seconds = (double) (hai_bench_now() - began) / 1e9;

    if (load.requests == 0) {
        hai_bench_die("no answer in time");
    }

    printf("requests %ld seconds %.6f cpu_ns %llu errors %ld "
           "p50_ns %llu p99_ns %llu\n",
           load.requests, seconds, (unsigned long long) cpu, load.errors,
           (unsigned long long) hai_samples_quantile(&load.latency, 0.5),
           (unsigned long long) hai_samples_quantile(&load.latency, 0.99));

    return load.errors == 0 ? 0 : 1;
}
