/* ISO 8601, see time_text.h. */

#define _GNU_SOURCE

#include "time_text.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

void hai_time_text(int64_t ms, char text[HAI_TIME_SIZE]) {
    time_t seconds = (time_t) (ms / 1000);
    struct tm tm;
    size_t n;

    if (ms < 0 || gmtime_r(&seconds, &tm) == NULL || tm.tm_year > 8099) {
        memcpy(text, "1970-01-01T00:00:00.000Z", 25);
        return;
    }

    n = strftime(text, HAI_TIME_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + n, HAI_TIME_SIZE - n, ".%03uZ", (unsigned) (ms % 1000));
}

bool hai_time_parse(const char *text, int64_t *ms) {
    char again[HAI_TIME_SIZE];
    struct tm tm = {0};
    int fraction = 0;
    const char *rest;
    time_t seconds;

    rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest == NULL) {
        return false;
    }

    if (*rest == '.') {
        for (int i = 0; i < 3; i++) {
            rest++;
            if (*rest < '0' || *rest > '9') {
                return false;
            }
            fraction = fraction * 10 + (*rest - '0');
        }
        rest++;
    }

    if (strcmp(rest, "Z") != 0) {
        return false;
    }

    seconds = timegm(&tm);
    if (seconds < 0) {
        return false;
    }

    *ms = (int64_t) seconds * 1000 + fraction;

    /* no 31st of February */
    hai_time_text(*ms, again);

    return strncmp(text, again, 19) == 0;
}
