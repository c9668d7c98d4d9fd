/* Messages on standard error, see log.h. */

#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static const char *program = "hoody-ai";
static enum hai_log_level most = HAI_LOG_INFO;

static const char *const names[] = {
    [HAI_LOG_ERROR] = "error",
    [HAI_LOG_WARN] = "warn",
    [HAI_LOG_INFO] = "info",
    [HAI_LOG_DEBUG] = "debug",
};

void hai_log_init(const char *name, enum hai_log_level level) {
    program = name;
    most = level;
}

int hai_log_level_parse(const char *text, enum hai_log_level *level) {
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *level = (enum hai_log_level) i;
            return 0;
        }
    }
    return -1;
}

/* "2026-01-02T03:04:05.678Z name: level: "; returns its length */
static size_t put_prefix(char *line, size_t size, enum hai_log_level level) {
    struct timespec now;
    struct tm tm;
    size_t len;
    int n;

    clock_gettime(CLOCK_REALTIME, &now);
    if (gmtime_r(&now.tv_sec, &tm) == NULL) {
        return 0;
    }
    len = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &tm);
    n = snprintf(line + len, size - len,
                 ".%03dZ %s: %s: ", (int) (now.tv_nsec / 1000000), program,
                 names[level]);
    return n < 0 || (size_t) n >= size - len ? len : len + (size_t) n;
}

/* One write(), so that lines of threads do not mix. */
static void put_line(const char *line, size_t len) {
    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, line, len);

        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return; /* there is nobody left to tell */
        }
        line += n;
        len -= (size_t) n;
    }
}

void hai_log(enum hai_log_level level, const char *format, ...) {
    char line[LINE_MAX_BYTES];
    va_list ap;
    size_t len, i, size = sizeof(line) - 1; /* the line feed */
    int n, saved = errno;

    if (level > most) {
        return;
    }
    len = put_prefix(line, size, level);

    va_start(ap, format);
    n = vsnprintf(line + len, size - len, format, ap);
    va_end(ap);

    if (n > 0) {
        size_t room = size - len - 1;

        n = (size_t) n > room ? (int) room : n;
        for (i = len; i < len + (size_t) n; i++) {
            if ((unsigned char) line[i] < 0x20 || line[i] == 0x7f) {
                line[i] = '?';
            }

            /* U+0080 to U+009F, terminals obey them too */
            if ((unsigned char) line[i] == 0xc2 && i + 1 < len + (size_t) n
                && ((unsigned char) line[i + 1] & 0xe0) == 0x80)
            {
                line[i] = '?';
                line[i + 1] = '?';
            }
        }
        len += (size_t) n;
    }
    line[len++] = '\n';
    put_line(line, len);
    errno = saved;
}
