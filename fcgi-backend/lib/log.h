/*
 * Messages of a program on standard error: one line each, with time and
 * level.  Never content of a prompt, an answer or a rule's secret.  Safe to
 * call from any thread.
 */

#ifndef HAI_LOG_H
#define HAI_LOG_H

#include <stdarg.h>

enum hai_log_level {
    HAI_LOG_ERROR,
    HAI_LOG_WARN,
    HAI_LOG_INFO, /* default */
    HAI_LOG_DEBUG
};

/* name: the program's, in front of each line; static. */
void hai_log_init(const char *name, enum hai_log_level level);

/* "error", "warn", "info" or "debug"; 0, or -1. */
int hai_log_level_parse(const char *text, enum hai_log_level *level);

/* Control characters in what the arguments give are shown as "?". */
void hai_log(enum hai_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
