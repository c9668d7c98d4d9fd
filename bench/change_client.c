/* SOURCES: bench/lib/bench.c */
/* CFLAGS: -Ibench/lib */

/*
 * Takes a container out of the set of enabled ones and puts it back, again and
 * again, and asks the gateway without a pause from the moment on at which
 * Redis has answered.  Prints one line: how long it took until the first
 * answer that knew of the change.
 */

#define _GNU_SOURCE

#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_SIZE 65536
#define GIVE_UP_NS UINT64_C(5000000000)

static const char usage[] =
    "Usage: change_client --redis ADDRESS --key KEY --member NAME\n"
    "                     --connect ADDRESS --request FILE [OPTION...]\n"
    "\n"
    "Measures how soon a change in Redis shows in the gateway's answers.\n"
    "\n"
    "  --redis ADDRESS     of Redis: host:port or unix:PATH\n"
    "  --key KEY           the set\n"
    "  --member NAME       what is removed (the answer becomes 403) and added\n"
    "                      again (it becomes 200)\n"
    "  --connect ADDRESS   of the gateway: host:port or unix:PATH\n"
    "  --request FILE      head and body, as they go over the wire\n"
    "  --changes N         how many (200)\n"
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

static void redis(int fd, const char *command, const char *key,
                  const char *member) {
    char line[512];
    int len;

    len = snprintf(line, sizeof(line), "%s %s %s\r\n", command, key, member);

    if (len >= (int) sizeof(line)
        || send(fd, line, (size_t) len, MSG_NOSIGNAL) != len)
    {
        hai_bench_die("cannot send to Redis");
    }

    len = (int) receive(fd, line, sizeof(line) - 1);

    if (len != 4 || memcmp(line, ":1\r\n", 4) != 0) {
        line[len] = '\0';
        hai_bench_die("%s: unexpected answer of Redis: %s", command, line);
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

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"redis", required_argument, NULL, 'R'},
        {"key", required_argument, NULL, 'k'},
        {"member", required_argument, NULL, 'm'},
        {"connect", required_argument, NULL, 'c'},
        {"request", required_argument, NULL, 'r'},
        {"changes", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};

    const char *redis_address = NULL, *key = NULL, *member = NULL;
    const char *address = NULL, *file = NULL;
    struct hai_samples delay = {NULL, 0, 0}, polls = {NULL, 0, 0};
    struct timespec pause = {0, 0};
    uint64_t began, asked, now;
    long changes = 200, i;
    int option, redis_fd, fd, status;
    char *request;
    size_t len;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'R':
            redis_address = optarg;
            break;
        case 'k':
            key = optarg;
            break;
        case 'm':
            member = optarg;
            break;
        case 'c':
            address = optarg;
            break;
        case 'r':
            file = optarg;
            break;
        case 'n':
            changes = hai_bench_number("--changes", optarg, 2, 1000000);
            break;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }

    if (redis_address == NULL || key == NULL || member == NULL
        || address == NULL || file == NULL || optind != argc)
    {
        fputs(usage, stderr);
        return 2;
    }

    request = hai_bench_read_file(file, &len);
    redis_fd = hai_bench_connect(redis_address);
    fd = hai_bench_connect(address);

    status = ask(fd, request, len);
    if (status != 200) {
        hai_bench_die("the gateway answers %d at first", status);
    }

    for (i = 0; i < changes; i++) {

        /* not in step with any timer */
        pause.tv_nsec = 1000000 + i * 7919 % 3000 * 1000;
        nanosleep(&pause, NULL);

        redis(redis_fd, i % 2 == 0 ? "SREM" : "SADD", key, member);
        began = hai_bench_now();

        do {
            asked = hai_bench_now();
            status = ask(fd, request, len);
            now = hai_bench_now();
            hai_samples_add(&polls, now - asked);

            if (now - began > GIVE_UP_NS) {
                hai_bench_die("a change was not seen, still %d", status);
            }
        } while (status != (i % 2 == 0 ? 403 : 200));

        hai_samples_add(&delay, now - began);
    }

    printf("changes %ld p50_ns %llu p99_ns %llu max_ns %llu polls %zu "
           "poll_p50_ns %llu\n",
           changes, (unsigned long long) hai_samples_quantile(&delay, 0.5),
           (unsigned long long) hai_samples_quantile(&delay, 0.99),
           (unsigned long long) hai_samples_quantile(&delay, 1), polls.count,
           (unsigned long long) hai_samples_quantile(&polls, 0.5));

    free(request);
    return 0;
}
