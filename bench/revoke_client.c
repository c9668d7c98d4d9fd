/* SOURCES: bench/lib/bench.c */
/* CFLAGS: -Ibench/lib */

/*
 * One thread, N streams of many containers over several gateways.  Takes access
 * away from one container after the other and sees how each of its streams
 * ends: when, with what, and whether any stream of another one does.  Prints
 * one line.
 */

#define _GNU_SOURCE

#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_STREAMS 8192
#define MAX_GATEWAYS 16
#define READ_SIZE 65536
#define TAIL 1024
#define GIVE_UP_NS UINT64_C(5000000000)

struct stream {
    int fd;
    int container;
    bool began;
    bool ended;
    uint64_t end;
    char tail[TAIL + 1]; /* the last bytes received */
    size_t tail_len;
};

struct client {
    int epoll;
    long streams;
    long containers;
    long began;
    int revoked; /* containers up to this one, by number, are */
    long ended;
    long others; /* ended though nobody took their access away */
    long wrong;  /* ended in another way than they should */
    struct stream *all;
    struct hai_samples delay;
};

static const char usage[] =
    "Usage: revoke_client --redis ADDRESS --connect ADDRESS[,ADDRESS...]\n"
    "                     --request FILE --commands FILE [OPTION...]\n"
    "\n"
    "Measures how soon the streams of a container end that has lost access.\n"
    "\n"
    "  --redis ADDRESS     of Redis: host:port or unix:PATH\n"
    "  --connect ADDRESS   of the gateways, with commas between them\n"
    "  --request FILE      head and body of a request for a stream; @ stands\n"
    "                      for the four digits of a container's number\n"
    "  --commands FILE     a line for each container in turn, what takes its\n"
    "                      access away; @ as above\n"
    "  --streams N         at the same time (1000)\n"
    "  --containers N      that they belong to (50); number 1234 comes from\n"
    "                      127.1.12.35\n"
    "  --hold MS           before the first loses access (200)\n"
    "  --pid PID           whose CPU time to read, of that pause\n"
    "  -h, --help          this text\n";

/* the text with the container's number in it */
static char *fill(const char *text, size_t len, int container, size_t *out) {
    char *filled = malloc(len * 4 + 1), *p = filled;
    size_t i;

    if (filled == NULL) {
        hai_bench_die("out of memory");
    }

    for (i = 0; i < len; i++) {
        if (text[i] == '@') {
            p += sprintf(p, "%04d", container);
        } else {
            *p++ = text[i];
        }
    }

    *p = '\0';
    *out = (size_t) (p - filled);
    return filled;
}

/* is this how a stream has to end?  The last event, and then the last chunk */
static bool proper(const struct stream *s) {
    static const char last[] = "\n\n\r\n0\r\n\r\n";
    const char *event = strstr(s->tail, "data: {\"error\"");

    return event != NULL && strstr(event, "access_revoked") != NULL
           && strstr(s->tail, "[DONE]") == NULL && s->tail_len > sizeof(last)
           && memcmp(s->tail + s->tail_len - (sizeof(last) - 1), last,
                     sizeof(last) - 1)
                  == 0;
}

static void end_stream(struct client *client, struct stream *s) {
    s->ended = true;
    s->end = hai_bench_now();
    client->ended++;

    if (s->container > client->revoked) {
        client->others++;

    } else if (!proper(s) && client->wrong++ == 0) {
        fprintf(stderr, "revoke_client: a stream ended with:\n%s\n", s->tail);
    }

    close(s->fd);
}

static void receive(struct client *client, struct stream *s) {
    static char data[READ_SIZE];
    size_t len, keep;
    ssize_t n;

    n = recv(s->fd, data, sizeof(data), 0);

    if (n == -1 && errno == EAGAIN) {
        return;
    }

    if (n <= 0) {
        end_stream(client, s);
        return;
    }

    if (!s->began) {
        if (n < 12 || memcmp(data, "HTTP/1.1 200", 12) != 0) {
            hai_bench_die("unexpected answer:\n%.*s", (int) n, data);
        }

        s->began = true;
        client->began++;
    }

    len = (size_t) n < TAIL ? (size_t) n : TAIL;
    keep = s->tail_len < TAIL - len ? s->tail_len : TAIL - len;
    memmove(s->tail, s->tail + s->tail_len - keep, keep);
    memcpy(s->tail + keep, data + n - len, len);
    s->tail_len = keep + len;
    s->tail[s->tail_len] = '\0';

    /* the connection stays: the last chunk is the end */
    if (s->tail_len >= 7
        && memcmp(s->tail + s->tail_len - 7, "\r\n0\r\n\r\n", 7) == 0)
    {
        end_stream(client, s);
    }
}

/* until a time, until every stream has begun, or until so many have ended */
static void turn(struct client *client, uint64_t until, bool beginning,
                 long ended) {
    struct epoll_event events[256];
    uint64_t now;
    int i, n;

    while ((now = hai_bench_now()) < until
           && !(beginning && client->began == client->streams)
           && client->ended < ended)
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

static void open_all(struct client *client, char *addresses,
                     const char *request, size_t len) {
    struct epoll_event event = {.events = EPOLLIN};
    char *address[MAX_GATEWAYS], *filled, local[64];
    struct stream *s;
    size_t n = 0, filled_len;
    long i;

    while (n < MAX_GATEWAYS && (address[n] = strsep(&addresses, ",")) != NULL) {
        n++;
    }

    for (i = 0; i < client->streams; i++) {
        s = &client->all[i];
        s->container = (int) (i % client->containers);
        snprintf(local, sizeof(local), "127.1.%d.%d", s->container / 100,
                 s->container % 100 + 1);
        s->fd = hai_bench_connect_from(
            address[(size_t) (i / client->containers) % n], local);

        filled = fill(request, len, s->container, &filled_len);
        if (send(s->fd, filled, filled_len, MSG_NOSIGNAL)
            != (ssize_t) filled_len) {
            hai_bench_die("cannot send the request at once");
        }
        free(filled);

        event.data.ptr = s;
        if (epoll_ctl(client->epoll, EPOLL_CTL_ADD, s->fd, &event) != 0) {
            hai_bench_die("epoll_ctl: %s", strerror(errno));
        }

        turn(client, hai_bench_now(), false, client->streams);
    }

    turn(client, hai_bench_now() + UINT64_C(20000000000), true,
         client->streams);

    if (client->began != client->streams || client->ended != 0) {
        hai_bench_die("%ld of %ld streams began, %ld have ended", client->began,
                      client->streams, client->ended);
    }
}

/* when Redis has answered */
static uint64_t redis(int fd, const char *command, size_t len) {
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    char answer[256];
    ssize_t n;

    if (send(fd, command, len, MSG_NOSIGNAL) != (ssize_t) len
        || poll(&pfd, 1, 5000) != 1
        || (n = recv(fd, answer, sizeof(answer), 0)) <= 0 || answer[0] == '-')
    {
        hai_bench_die("Redis refuses: %s", command);
    }

    return hai_bench_now();
}

static void take_away(struct client *client, int fd, int container,
                      const char *line, size_t len) {
    uint64_t began;
    size_t filled_len;
    char *command;
    long ended = client->ended, mine = 0, i;

    for (i = 0; i < client->streams; i++) {
        mine += client->all[i].container == container;
    }

    client->revoked = container;
    command = fill(line, len, container, &filled_len);
    began = redis(fd, command, filled_len);
    free(command);

    turn(client, hai_bench_now() + GIVE_UP_NS, false, ended + mine);

    for (i = 0; i < client->streams; i++) {
        struct stream *s = &client->all[i];

        if (s->container != container) {
            continue;
        }

        if (!s->ended) {
            hai_bench_die("a stream of container %d did not end", container);
        }

        hai_samples_add(&client->delay, s->end > began ? s->end - began : 0);
    }
}

int main(int argc, char **argv) {
    const char *addresses = NULL, *redis_address = NULL, *file = NULL;
    const char *commands_file = NULL;
    struct timespec pause = {0, 5000000};
    struct client client = {.streams = 1000, .containers = 50, .revoked = -1};
    char *commands, *line, *end, *request, *list;
    uint64_t cpu = 0;
    long hold = 200, pid = 0;
    size_t len;
    int fd, i;
    const struct hai_option options[] = {
        {"redis", .text = &redis_address, .required = true},
        {"connect", .text = &addresses, .required = true},
        {"request", .text = &file, .required = true},
        {"commands", .text = &commands_file, .required = true},
        {"streams", .number = &client.streams, .min = 1, .max = MAX_STREAMS},
        {"containers", .number = &client.containers, .min = 1, .max = 9999},
        {"hold", .number = &hold, .min = 0, .max = 600000},
        {"pid", .number = &pid, .min = 1, .max = 0x7fffffff},
        {0}};

    hai_bench_options(argc, argv, usage, options);

    client.epoll = epoll_create1(EPOLL_CLOEXEC);
    client.all = calloc((size_t) client.streams, sizeof(*client.all));
    list = strdup(addresses);

    if (client.epoll == -1 || client.all == NULL || list == NULL) {
        hai_bench_die("cannot begin: %s", strerror(errno));
    }

    fd = hai_bench_connect(redis_address);
    request = hai_bench_read_file(file, &len);
    open_all(&client, list, request, len);
    free(request);

    if (pid != 0) {
        cpu = hai_bench_cpu(pid);
    }

    turn(&client, hai_bench_now() + (uint64_t) hold * 1000000, false,
         client.streams);

    if (pid != 0) {
        cpu = hai_bench_cpu(pid) - cpu;
    }

    commands = hai_bench_read_file(commands_file, &len);
    line = commands;

    for (i = 0; i < client.containers; i++) {
        end = memchr(line, '\n', len - (size_t) (line - commands));
        if (end == NULL) {
            hai_bench_die("%s: a line without an end", commands_file);
        }

        take_away(&client, fd, i, line, (size_t) (end - line) + 1);
        nanosleep(&pause, NULL);

        line = end + 1 < commands + len ? end + 1 : commands;
    }

    printf("streams %ld containers %ld p50_ns %llu p99_ns %llu max_ns %llu "
           "others %ld wrong %ld hold %ld cpu_ns %llu\n",
           client.streams, client.containers,
           (unsigned long long) hai_samples_quantile(&client.delay, 0.5),
           (unsigned long long) hai_samples_quantile(&client.delay, 0.99),
           (unsigned long long) hai_samples_quantile(&client.delay, 1),
           client.others, client.wrong, hold, (unsigned long long) cpu);

    free(commands);
    free(list);
    free(client.all);
    return client.others != 0 || client.wrong != 0;
}
