/* SOURCES: bench/lib/bench.c */
/* CFLAGS: -Ibench/lib */

/*
 * Takes something away from a container and gives it back, again and again, and
 * asks the gateway without a pause from the moment on at which Redis has
 * answered.  Prints one line: how long it took until the first answer that knew
 * of the change.
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

#define ANSWER_SIZE 65536
#define GIVE_UP_NS UINT64_C(20000000000)
#define MARKER "hai-bench-change-is-done"

static const char usage[] =
    "Usage: change_client --redis ADDRESS --off FILE --on FILE\n"
    "                     --connect ADDRESS --request FILE [OPTION...]\n"
    "\n"
    "Measures how soon a change in Redis shows in the gateway's answers.\n"
    "\n"
    "  --redis ADDRESS     of Redis: host:port or unix:PATH\n"
    "  --off FILE          commands after which the answer is 200 no more\n"
    "  --on FILE           commands after which it is 200 again\n"
    "  --connect ADDRESS   of the gateway: host:port or unix:PATH\n"
    "  --request FILE      head and body, as they go over the wire\n"
    "  --changes N         how many (200)\n"
    "  --after MS          when the first of them works, after its answer (0)\n"
    "  --settle MS         pause before each (1 to 4)\n"
    "  -h, --help          this text\n";

static size_t receive(int fd, char *data, size_t len) {
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    ssize_t n;

    for (;;) {
        n = recv(fd, data, len, 0);

        if (n > 0) {
            return (size_t) n;
        }

        if (n == 0 || errno != EAGAIN) {
            hai_bench_die("a connection was closed");
        }

        if (poll(&pfd, 1, 5000) == 0) {
            hai_bench_die("no answer");
        }
    }
}

/*
 * Sends a file of commands and waits for the answer of an ECHO behind them.
 * Redis takes in everything whether its answers are read or not.
 */
static void redis(int fd, const char *commands, size_t len) {
    static const char echo[] = "ECHO " MARKER "\r\n";
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    char data[ANSWER_SIZE + 1];
    size_t sent = 0, kept = 0;
    ssize_t n;

    while (sent < len) {
        n = send(fd, commands + sent, len - sent, MSG_NOSIGNAL);

        if (n > 0) {
            sent += (size_t) n;
        } else if (errno != EAGAIN || poll(&pfd, 1, 5000) <= 0) {
            hai_bench_die("cannot send to Redis");
        }
    }

    poll(&pfd, 1, 5000);
    if (send(fd, echo, sizeof(echo) - 1, MSG_NOSIGNAL) == -1) {
        hai_bench_die("cannot send to Redis");
    }

    for (;;) {
        kept += receive(fd, data + kept, ANSWER_SIZE - kept);
        data[kept] = '\0';

        if (data[0] == '-' || strstr(data, "\n-") != NULL) {
            hai_bench_die("Redis says: %s", data);
        }

        if (strstr(data, MARKER) != NULL) {
            return;
        }

        /* the marker, or the sign of an error, may be cut */
        if (kept > sizeof(MARKER)) {
            memmove(data, data + kept - sizeof(MARKER), sizeof(MARKER));
            data[0] = ' ';
            kept = sizeof(MARKER);
        }
    }
}

/* the status of the gateway's answer */
static int ask(int fd, const char *request, size_t len) {
    static char answer[ANSWER_SIZE];
    size_t received = 0, expected = 0;

    if (send(fd, request, len, MSG_NOSIGNAL) != (ssize_t) len) {
        hai_bench_die("cannot send the request at once");
    }

    do {
        if (received == ANSWER_SIZE - 1) {
            hai_bench_die("the answer is too long");
        }
        received += receive(fd, answer + received, ANSWER_SIZE - 1 - received);
    } while (!hai_bench_answer_complete(answer, received, &expected));

    if (strncmp(answer, "HTTP/1.1 ", 9) != 0) {
        hai_bench_die("not an HTTP/1.1 answer");
    }

    return atoi(answer + 9);
}

/* asks until the answer is, or is not, 200; when that was */
static uint64_t until(int fd, const char *request, size_t len, bool served,
                      struct hai_samples *polls) {
    uint64_t began = hai_bench_now(), asked, now;
    int status;

    for (;;) {
        asked = hai_bench_now();
        status = ask(fd, request, len);
        now = hai_bench_now();

        if (polls != NULL) {
            hai_samples_add(polls, now - asked);
        }

        if ((status == 200) == served) {
            return now;
        }

        if (now - began > GIVE_UP_NS) {
            hai_bench_die("a change was not seen, still %d", status);
        }
    }
}

int main(int argc, char **argv) {
    const char *redis_address = NULL, *off_file = NULL, *on_file = NULL;
    const char *address = NULL, *file = NULL;
    struct hai_samples delay = {NULL, 0, 0}, back = {NULL, 0, 0};
    struct hai_samples polls = {NULL, 0, 0};
    struct timespec pause = {0, 0};
    uint64_t began, now;
    long changes = 200, after = 0, settle = 0, i;
    int redis_fd, fd, status;
    char *request, *off, *on;
    size_t len, off_len, on_len;
    const struct hai_option options[] = {
        {"redis", .text = &redis_address, .required = true},
        {"off", .text = &off_file, .required = true},
        {"on", .text = &on_file, .required = true},
        {"connect", .text = &address, .required = true},
        {"request", .text = &file, .required = true},
        {"changes", .number = &changes, .min = 1, .max = 1000000},
        {"after", .number = &after, .min = 0, .max = 60000},
        {"settle", .number = &settle, .min = 0, .max = 60000},
        {0}};

    hai_bench_options(argc, argv, usage, options);

    request = hai_bench_read_file(file, &len);
    off = hai_bench_read_file(off_file, &off_len);
    on = hai_bench_read_file(on_file, &on_len);
    redis_fd = hai_bench_connect(redis_address);
    fd = hai_bench_connect(address);

    status = ask(fd, request, len);
    if (status != 200) {
        hai_bench_die("the gateway answers %d at first", status);
    }

    for (i = 0; i < changes; i++) {

        /* not in step with any timer */
        pause.tv_sec = settle / 1000;
        pause.tv_nsec =
            settle % 1000 * 1000000 + 1000000 + i * 7919 % 3000 * 1000;
        nanosleep(&pause, NULL);

        redis(redis_fd, off, off_len);
        began = hai_bench_now() + (uint64_t) after * 1000000;
        now = until(fd, request, len, false, &polls);
        hai_samples_add(&delay, now > began ? now - began : 0);

        redis(redis_fd, on, on_len);
        began = hai_bench_now();
        now = until(fd, request, len, true, NULL);
        hai_samples_add(&back, now - began);
    }

    printf("changes %ld p50_ns %llu p99_ns %llu max_ns %llu back_p50_ns %llu "
           "back_p99_ns %llu polls %zu poll_p50_ns %llu\n",
           changes, (unsigned long long) hai_samples_quantile(&delay, 0.5),
           (unsigned long long) hai_samples_quantile(&delay, 0.99),
           (unsigned long long) hai_samples_quantile(&delay, 1),
           (unsigned long long) hai_samples_quantile(&back, 0.5),
           (unsigned long long) hai_samples_quantile(&back, 0.99), polls.count,
           (unsigned long long) hai_samples_quantile(&polls, 0.5));

    free(request);
    free(off);
    free(on);
    return 0;
}
