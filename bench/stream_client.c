/* SOURCES: bench/lib/bench.c */
/* CFLAGS: -Ibench/lib */

/*
 * One thread, N streams at the same time.  The provider says in each chunk
 * when it made it, as "@nanoseconds@" of CLOCK_MONOTONIC, so the difference to
 * the clock here is the time that the chunk was under way.  Prints one line:
 * chunks, quantiles of that time, CPU time and memory of the server's process
 * with and without the streams.
 */

#define _GNU_SOURCE

#include "bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_STREAMS 16384
#define READ_SIZE 65536

struct stream {
    int fd;
    bool began;    /* its first chunk has come */
    bool counting; /* behind an @, digits may come */
    uint64_t made;
};

struct client {
    int epoll;
    long streams;
    long began;
    bool measuring;
    struct stream *all;
    struct hai_samples delay;
};

static const char usage[] =
    "Usage: stream_client --connect ADDRESS --request FILE [OPTION...]\n"
    "\n"
    "Opens streams and measures how long each chunk was under way.\n"
    "\n"
    "  --connect ADDRESS   host:port, [ipv6]:port or unix:PATH\n"
    "  --request FILE      head and body of a request for a stream with\n"
    "                      X-Sample-Clock: 1\n"
    "  --streams N         at the same time (100)\n"
    "  --spread MS         open them over this time (100)\n"
    "  --time MS           how long to measure (2000)\n"
    "  --warm MS           between the last first chunk and that (200)\n"
    "  --pid PID           whose CPU time and memory to read\n"
    "  -h, --help          this text\n";

static void open_stream(struct client *client, struct stream *s,
                        const char *address, const char *request, size_t len) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = s};

    s->fd = hai_bench_connect(address);

    /* a request fits into an empty socket buffer */
    if (send(s->fd, request, len, MSG_NOSIGNAL) != (ssize_t) len) {
        hai_bench_die("cannot send the request at once");
    }

    if (epoll_ctl(client->epoll, EPOLL_CTL_ADD, s->fd, &event) != 0) {
        hai_bench_die("epoll_ctl: %s", strerror(errno));
    }
}

static void chunk(struct client *client, struct stream *s, uint64_t now) {
    if (!s->began) {
        s->began = true;
        client->began++;
    }

    if (client->measuring) {
        hai_samples_add(&client->delay, now > s->made ? now - s->made : 0);
    }
}

/* Time stamps may be cut anywhere between two reads. */
static void scan(struct client *client, struct stream *s, const char *p,
                 const char *end, uint64_t now) {
    while (p < end) {
        if (!s->counting) {
            p = memchr(p, '@', (size_t) (end - p));
            if (p == NULL) {
                return;
            }
            s->counting = true;
            s->made = 0;

        } else if (*p >= '0' && *p <= '9') {
            s->made = s->made * 10 + (uint64_t) (*p - '0');

        } else {
            s->counting = false;
            if (*p == '@' && s->made != 0) {
                chunk(client, s, now);
            }
        }

        p++;
    }
}

static void receive(struct client *client, struct stream *s) {
    static char data[READ_SIZE];
    bool first = !s->began;
    ssize_t n;

    n = recv(s->fd, data, sizeof(data), 0);

    if (n == -1 && errno == EAGAIN) {
        return;
    }

    if (n <= 0) {
        hai_bench_die("the server closed a stream");
    }

    if (first && n > 12 && memcmp(data, "HTTP/1.1 ", 9) == 0
        && memcmp(data + 9, "200", 3) != 0)
    {
        hai_bench_die("unexpected answer:\n%.*s", (int) n, data);
    }

    scan(client, s, data, data + n, hai_bench_now());
}

/* until a time, or until every stream has begun */
static void turn(struct client *client, uint64_t until, bool beginning) {
    struct epoll_event events[256];
    uint64_t now;
    int i, n;

    while ((now = hai_bench_now()) < until
           && !(beginning && client->began == client->streams))
    {

        n = epoll_wait(client->epoll, events, 256,
                       (int) ((until - now) / 1000000) + 1);
        if (n == -1 && errno != EINTR) {
            hai_bench_die("epoll_wait: %s", strerror(errno));
        }

        for (i = 0; i < n; i++) {
            receive(client, events[i].data.ptr);
        }
    }
}

static void open_all(struct client *client, const char *address,
                     const char *file, long spread) {
    uint64_t start, step;
    char *request;
    size_t len;
    long i;

    request = hai_bench_read_file(file, &len);
    start = hai_bench_now();
    step = (uint64_t) spread * 1000000 / (uint64_t) client->streams;

    for (i = 0; i < client->streams; i++) {
        turn(client, start + (uint64_t) i * step, false);
        open_stream(client, &client->all[i], address, request, len);
    }

    free(request);

    turn(client, hai_bench_now() + UINT64_C(20000000000), true);

    if (client->began != client->streams) {
        hai_bench_die("only %ld of %ld streams began", client->began,
                      client->streams);
    }
}

int main(int argc, char **argv) {
    long spread = 100, time = 2000, warm = 200, pid = 0;
    const char *address = NULL, *file = NULL;
    uint64_t began, cpu = 0, rss = 0, pss = 0;
    struct client client = {.streams = 100};
    double seconds;
    const struct hai_option options[] = {
        {"connect", .text = &address, .required = true},
        {"request", .text = &file, .required = true},
        {"streams", .number = &client.streams, .min = 1, .max = MAX_STREAMS},
        {"spread", .number = &spread, .min = 0, .max = 60000},
        {"time", .number = &time, .min = 1, .max = 3600000},
        {"warm", .number = &warm, .min = 0, .max = 3600000},
        {"pid", .number = &pid, .min = 1, .max = 0x7fffffff},
        {0}};

    hai_bench_options(argc, argv, usage, options);

    client.epoll = epoll_create1(EPOLL_CLOEXEC);
    client.all = calloc((size_t) client.streams, sizeof(*client.all));

    if (client.epoll == -1 || client.all == NULL) {
        hai_bench_die("cannot begin: %s", strerror(errno));
    }

    if (pid != 0) {
        rss = hai_bench_memory(pid, "Rss");
        pss = hai_bench_memory(pid, "Pss");
    }

    open_all(&client, address, file, spread);
    turn(&client, hai_bench_now() + (uint64_t) warm * 1000000, false);

    if (pid != 0) {
        cpu = hai_bench_cpu(pid);
    }

    client.measuring = true;
    began = hai_bench_now();
    turn(&client, began + (uint64_t) time * 1000000, false);
    seconds = (double) (hai_bench_now() - began) / 1e9;

    if (pid != 0) {
        cpu = hai_bench_cpu(pid) - cpu;
        rss = hai_bench_memory(pid, "Rss") - rss;
        pss = hai_bench_memory(pid, "Pss") - pss;
    }

    printf("chunks %zu seconds %.6f cpu_ns %llu p50_ns %llu p99_ns %llu "
           "max_ns %llu rss %lld pss %lld\n",
           client.delay.count, seconds, (unsigned long long) cpu,
           (unsigned long long) hai_samples_quantile(&client.delay, 0.5),
           (unsigned long long) hai_samples_quantile(&client.delay, 0.99),
           (unsigned long long) hai_samples_quantile(&client.delay, 1),
           (long long) rss, (long long) pss);

    return 0;
}
