/* SOURCES: bench/lib/bench.c */
/* CFLAGS: -Ibench/lib */

/*
 * Asks the rule engine one question after another over one kept connection,
 * as an nginx worker would.  Prints one line: how many, how long each took,
 * what CPU time the engine spent.
 */

#define _GNU_SOURCE

#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* of FastCGI */
#define BEGIN_REQUEST 1
#define END_REQUEST 3
#define PARAMS 4
#define STDIN 5
#define STDOUT 6
#define HEADER 8
#define RECORD_MAX 32768

#define WAIT_MS 10000

static const char usage[] =
    "Usage: engine_client --connect ADDRESS [OPTION...]\n"
    "\n"
    "Measures how fast the rule engine answers on one kept connection.\n"
    "\n"
    "  --connect ADDRESS   of the engine: host:port or unix:PATH\n"
    "  --ask QUESTION      plan or body (body)\n"
    "  --size BYTES        of the body (1024)\n"
    "  --api NAME          HOODY_API (openai.chat)\n"
    "  --time MS           how long (2000)\n"
    "  --pid PID           of the engine, for its CPU time\n"
    "  -h, --help          this text\n";

struct text {
    char *data;
    size_t len;
    size_t size;
};

static void add(struct text *t, const void *data, size_t len) {
    while (t->size - t->len < len) {
        t->size = t->size ? 2 * t->size : 65536;
        t->data = realloc(t->data, t->size);

        if (t->data == NULL) {
            hai_bench_die("no memory");
        }
    }

    memcpy(t->data + t->len, data, len);
    t->len += len;
}

static void record(struct text *t, int type, const char *data, size_t len) {
    unsigned char head[HEADER] = {
        1, (unsigned char) type,       0,
        1, (unsigned char) (len >> 8), (unsigned char) len};

    add(t, head, sizeof(head));
    add(t, data, len);
}

/* All records of a stream and the one that ends it. */
static void stream(struct text *t, int type, const char *data, size_t len) {
    size_t n;

    for (; len > 0; data += n, len -= n) {
        n = len < RECORD_MAX ? len : RECORD_MAX;
        record(t, type, data, n);
    }

    record(t, type, "", 0);
}

static void pair(struct text *t, const char *name, const char *value) {
    unsigned char len[2] = {(unsigned char) strlen(name),
                            (unsigned char) strlen(value)};

    add(t, len, 2);
    add(t, name, len[0]);
    add(t, value, len[1]);
}

/* A chat of exactly that size, or the shortest one. */
static void chat(struct text *t, size_t size) {
    static const char before[] =
        "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":"
        "\"user\",\"content\":\"";
    static const char after[] = "\"}]}";
    static const char word[] = "the quick brown fox ";
    size_t i, fixed = sizeof(before) - 1 + sizeof(after) - 1;

    add(t, before, sizeof(before) - 1);

    for (i = 0; i + fixed < size; i++) {
        add(t, &word[i % (sizeof(word) - 1)], 1);
    }

    add(t, after, sizeof(after) - 1);
}

static void question(struct text *t, const char *ask, const char *api,
                     size_t size) {
    static const char begin[8] = {0, 1, 1}; /* responder, kept */
    struct text body = {NULL, 0, 0}, params = {NULL, 0, 0};
    char length[24];

    if (strcmp(ask, "body") == 0) {
        chat(&body, size);
    }

    snprintf(length, sizeof(length), "%zu", body.len);
    pair(&params, "REQUEST_METHOD", "POST");
    pair(&params, "QUERY_STRING", "");
    pair(&params, "CONTENT_TYPE", "application/json");
    pair(&params, "CONTENT_LENGTH", length);
    pair(&params, "SERVER_PROTOCOL", "HTTP/1.1");
    pair(&params, "HOODY_ASK", ask);
    pair(&params, "HOODY_CONTAINER", "dev-env");
    pair(&params, "HOODY_CONTAINER_ID", "507f1f77bcf86cd799439011");
    pair(&params, "HOODY_TAGS", "prod eu");
    pair(&params, "HOODY_API", api);
    pair(&params, "HOODY_BODY", "json");
    pair(&params, "HOODY_MODEL", "gpt-4o");
    pair(&params, "HOODY_REQUEST_ID", "0123456789abcdef0123456789abcdef");

    record(t, BEGIN_REQUEST, begin, sizeof(begin));
    stream(t, PARAMS, params.data, params.len);
    stream(t, STDIN, body.data != NULL ? body.data : "", body.len);
    free(params.data);
    free(body.data);
}

/* Of all threads of the process; 0 for no process. */
static uint64_t cpu_of(long pid) {
    struct timespec ts = {0, 0};
    clockid_t clock;

    if (pid != 0
        && (clock_getcpuclockid((pid_t) pid, &clock) != 0
            || clock_gettime(clock, &ts) != 0))
    {
        hai_bench_die("there is no process %ld", pid);
    }

    return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

static void wait_for(int fd, short events) {
    struct pollfd pfd = {.fd = fd, .events = events};

    if (poll(&pfd, 1, WAIT_MS) <= 0) {
        hai_bench_die("no answer");
    }
}

static void send_all(int fd, const struct text *t) {
    size_t sent = 0;
    ssize_t n;

    while (sent < t->len) {
        n = send(fd, t->data + sent, t->len - sent, MSG_NOSIGNAL);

        if (n > 0) {
            sent += (size_t) n;

        } else if (errno == EAGAIN) {
            wait_for(fd, POLLOUT);

        } else {
            hai_bench_die("send: %s", strerror(errno));
        }
    }
}

/* Is the END_REQUEST there?  *at is behind the last whole record. */
static bool complete(const struct text *t, size_t *at) {
    while (t->len - *at >= HEADER) {
        const unsigned char *head = (const unsigned char *) t->data + *at;
        size_t len = HEADER + (size_t) (head[4] << 8 | head[5]) + head[6];

        if (t->len - *at < len) {
            break;
        }

        *at += len;

        if (head[1] == END_REQUEST) {
            return true;
        }
    }

    return false;
}

/* Reads an answer; its status. */
static int receive(int fd, struct text *t) {
    char data[65536];
    size_t at = 0;
    ssize_t n;

    t->len = 0;

    while (!complete(t, &at)) {
        n = recv(fd, data, sizeof(data), 0);

        if (n > 0) {
            add(t, data, (size_t) n);

        } else if (n < 0 && errno == EAGAIN) {
            wait_for(fd, POLLIN);

        } else {
            hai_bench_die("the engine closed the connection");
        }
    }

    if (t->len < HEADER + 11 || t->data[1] != STDOUT
        || memcmp(t->data + HEADER, "Status: ", 8) != 0)
    {
        hai_bench_die("an answer without a status");
    }

    return (int) strtol(t->data + HEADER + 8, NULL, 10);
}

int main(int argc, char **argv) {
    const char *address = NULL, *ask = "body", *api = "openai.chat";
    struct text text = {NULL, 0, 0}, answer = {NULL, 0, 0};
    struct hai_samples latency = {NULL, 0, 0};
    uint64_t began, asked, now, cpu;
    long size = 1024, ms = 2000, pid = 0;
    int fd, status = 0, first;
    const struct hai_option options[] = {
        {"connect", .text = &address, .required = true},
        {"ask", .text = &ask},
        {"size", .number = &size, .min = 1, .max = 1L << 26},
        {"api", .text = &api},
        {"time", .number = &ms, .min = 1, .max = 600000},
        {"pid", .number = &pid, .min = 1, .max = 1L << 30},
        {0}};

    hai_bench_options(argc, argv, usage, options);

    if (strlen(api) > 127
        || (strcmp(ask, "plan") != 0 && strcmp(ask, "body") != 0)) {
        fputs(usage, stderr);
        return 2;
    }

    question(&text, ask, api, (size_t) size);
    fd = hai_bench_connect(address);

    /* memory and caches of both sides are there before it counts */
    send_all(fd, &text);
    first = receive(fd, &answer);

    if (first != 200 && first != 204) {
        hai_bench_die("the engine answers %d", first);
    }

    cpu = cpu_of(pid);
    began = hai_bench_now();

    do {
        asked = hai_bench_now();
        send_all(fd, &text);
        status = receive(fd, &answer);
        now = hai_bench_now();
        hai_samples_add(&latency, now - asked);
    } while (status == first && now - began < (uint64_t) ms * 1000000);

    if (status != first) {
        hai_bench_die("the engine answers %d and then %d", first, status);
    }

    cpu = cpu_of(pid) - cpu;

    printf("questions %zu seconds %.6f status %d cpu_ns %llu "
           "p50_ns %llu p99_ns %llu\n",
           latency.count, (double) (now - began) / 1e9, status,
           (unsigned long long) cpu,
           (unsigned long long) hai_samples_quantile(&latency, 0.5),
           (unsigned long long) hai_samples_quantile(&latency, 0.99));

    close(fd);
    free(text.data);
    free(answer.data);
    free(latency.values);

    return 0;
}
