#define _GNU_SOURCE

#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_OPTIONS 16
#define MAX_FILE (64 * 1024 * 1024)

_Noreturn void hai_bench_die(const char *format, ...) {
    va_list args;

    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

uint64_t hai_bench_now(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

uint64_t hai_bench_cpu(long pid) {
    char path[64];
    unsigned long long ns;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%ld/schedstat", pid);

    f = fopen(path, "r");
    if (f == NULL || fscanf(f, "%llu", &ns) != 1) {
        hai_bench_die("cannot read %s", path);
    }

    fclose(f);
    return ns;
}

uint64_t hai_bench_memory(long pid, const char *field) {
    char path[64], line[256];
    unsigned long long kb;
    size_t len = strlen(field);
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%ld/smaps_rollup", pid);

    f = fopen(path, "r");
    if (f == NULL) {
        hai_bench_die("cannot read %s", path);
    }

    while (fgets(line, sizeof(line), f) != NULL) {
        if (strncmp(line, field, len) == 0 && line[len] == ':'
            && sscanf(line + len + 1, "%llu kB", &kb) == 1)
        {
            fclose(f);
            return kb * 1024;
        }
    }

    hai_bench_die("no %s in %s", field, path);
}

static int connect_unix(const char *path) {
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(addr.sun_path)) {
        hai_bench_die("path too long: %s", path);
    }

    strcpy(addr.sun_path, path);

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1 || connect(fd, (struct sockaddr *) &addr, sizeof(addr)) != 0) {
        hai_bench_die("cannot connect to %s: %s", path, strerror(errno));
    }

    return fd;
}

static int connect_tcp(const char *address, const char *local) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *ai;
    struct sockaddr_in from = {.sin_family = AF_INET};
    char host[256];
    const char *colon = strrchr(address, ':');
    size_t len;
    int fd, on = 1, rc;

    if (colon == NULL || (size_t) (colon - address) >= sizeof(host)) {
        hai_bench_die("not an address: %s", address);
    }

    len = (size_t) (colon - address);

    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }

    memcpy(host, address, len);
    host[len] = '\0';

    rc = getaddrinfo(host, colon + 1, &hints, &ai);
    if (rc != 0) {
        hai_bench_die("%s: %s", host, gai_strerror(rc));
    }

    fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (local != NULL
        && (fd == -1 || inet_pton(AF_INET, local, &from.sin_addr) != 1
            || bind(fd, (struct sockaddr *) &from, sizeof(from)) != 0))
    {
        hai_bench_die("cannot come from %s", local);
    }

    if (fd == -1 || connect(fd, ai->ai_addr, ai->ai_addrlen) != 0) {
        hai_bench_die("cannot connect to %s%s: %s", host, colon,
                      strerror(errno));
    }

    freeaddrinfo(ai);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

int hai_bench_connect(const char *address) {
    return hai_bench_connect_from(address, NULL);
}

int hai_bench_connect_from(const char *address, const char *local) {
    int fd, flags;

    if (strncmp(address, "unix:", 5) == 0) {
        fd = connect_unix(address + 5);
    } else {
        fd = connect_tcp(address, local);
    }

    flags = fcntl(fd, F_GETFL);
    if (flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1) {
        hai_bench_die("fcntl: %s", strerror(errno));
    }

    return fd;
}

bool hai_bench_answer_complete(char *answer, size_t received,
                               size_t *expected) {
    static const char last[] = "0\r\n\r\n";
    char *end, *field;

    if (*expected == 0) {
        answer[received] = '\0';

        end = strstr(answer, "\r\n\r\n");
        if (end == NULL) {
            return false;
        }

        end += 4;
        field = strcasestr(answer, "\r\ncontent-length:");

        if (field != NULL && field < end) {
            *expected = (size_t) (end - answer) + strtoul(field + 17, NULL, 10);
        } else {
            *expected = SIZE_MAX;
        }
    }

    if (*expected == SIZE_MAX) {
        return received >= sizeof(last)
               && memcmp(answer + received - 5, last, 5) == 0;
    }

    return received >= *expected;
}

char *hai_bench_read_file(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    char *data = NULL;
    size_t size = 0, n;

    if (f == NULL) {
        hai_bench_die("cannot open %s: %s", path, strerror(errno));
    }

    *len = 0;

    do {
        if (*len == size) {
            size = size ? size * 2 : 65536;
            data = size > MAX_FILE ? NULL : realloc(data, size);
            if (data == NULL) {
                hai_bench_die("%s is too large", path);
            }
        }

        n = fread(data + *len, 1, size - *len, f);
        *len += n;
    } while (n > 0);

    if (ferror(f)) {
        hai_bench_die("cannot read %s: %s", path, strerror(errno));
    }

    fclose(f);
    return data;
}

static void take_option(const struct hai_option *option, const char *text) {
    char *end;
    long n;

    if (option->text != NULL) {
        *option->text = text;
        return;
    }

    errno = 0;
    n = strtol(text, &end, 10);

    if (errno != 0 || end == text || *end != '\0' || n < option->min
        || n > option->max)
    {
        hai_bench_die("--%s: \"%s\" is not a number from %ld to %ld",
                      option->name, text, option->min, option->max);
    }

    *option->number = n;
}

void hai_bench_options(int argc, char **argv, const char *usage,
                       const struct hai_option *options) {
    struct option all[MAX_OPTIONS + 2] = {{0}};
    bool wrong = false;
    int i, n, at;

    for (n = 0; n < MAX_OPTIONS && options[n].name != NULL; n++) {
        all[n].name = options[n].name;
        all[n].has_arg = required_argument;
    }

    all[n].name = "help";
    all[n].val = 'h';

    while ((i = getopt_long(argc, argv, "h", all, &at)) != -1) {
        if (i == 'h') {
            fputs(usage, stdout);
            exit(0);
        }

        if (i == 0) {
            take_option(&options[at], optarg);
        } else {
            wrong = true;
        }
    }

    for (i = 0; i < n; i++) {
        wrong |= options[i].required && *options[i].text == NULL;
    }

    if (wrong || optind != argc) {
        fputs(usage, stderr);
        exit(2);
    }
}

void hai_samples_add(struct hai_samples *samples, uint64_t value) {
    if (samples->count == samples->size) {
        samples->size = samples->size ? samples->size * 2 : 65536;
        samples->values = reallocarray(samples->values, samples->size,
                                       sizeof(*samples->values));
        if (samples->values == NULL) {
            hai_bench_die("out of memory");
        }
    }

    samples->values[samples->count++] = value;
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

    return (x > y) - (x < y);
}

uint64_t hai_samples_quantile(struct hai_samples *samples, double q) {
    size_t at;

    if (samples->count == 0) {
        return 0;
    }

    qsort(samples->values, samples->count, sizeof(*samples->values), compare);

    at = (size_t) (q * (double) samples->count);
    if (at >= samples->count) {
        at = samples->count - 1;
    }

    return samples->values[at];
}
