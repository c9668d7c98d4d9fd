/*
 * What the clients of the benchmarks share: clock, CPU time of another
 * process, connections, samples and their quantiles.  Errors that a
 * measurement cannot survive end the program.
 */

#ifndef HAI_BENCH_H
#define HAI_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hai_samples {
    uint64_t *values;
    size_t count;
    size_t size;
};

_Noreturn void hai_bench_die(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

/* CLOCK_MONOTONIC in nanoseconds */
uint64_t hai_bench_now(void);

/* nanoseconds on a CPU since the process began */
uint64_t hai_bench_cpu(long pid);

/* a field of /proc/PID/smaps_rollup, "Rss" or "Pss", in bytes */
uint64_t hai_bench_memory(long pid, const char *field);

/* A non-blocking connection to host:port, [ipv6]:port or unix:PATH. */
int hai_bench_connect(const char *address);

/* The same, from an IPv4 address. */
int hai_bench_connect_from(const char *address, const char *local);

/*
 * Whether an HTTP answer is complete; the buffer needs room for one byte more.
 * *expected is 0 at first and belongs to this function.  One request is on its
 * way at a time, so a chunked answer ends where the last chunk is the last
 * that has arrived.
 */
bool hai_bench_answer_complete(char *answer, size_t received, size_t *expected);

/* The whole file; free() it. */
char *hai_bench_read_file(const char *path, size_t *len);

/* One option of a program: a text, or a number from min to max. */
struct hai_option {
    const char *name;
    const char **text;
    bool required; /* a text that has to be given */
    long *number;
    long min;
    long max;
};

/*
 * Reads the options, of which the one without a name is the last.  -h shows
 * the usage and ends the program, and so does whatever is wrong.
 */
void hai_bench_options(int argc, char **argv, const char *usage,
                       const struct hai_option *options);

void hai_samples_add(struct hai_samples *samples, uint64_t value);

/* Sorts the samples; 0 when there are none. */
uint64_t hai_samples_quantile(struct hai_samples *samples, double q);

#endif
