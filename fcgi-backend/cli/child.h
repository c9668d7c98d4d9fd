/* Another program for a moment: its output, within a time. */

#ifndef HAI_CHILD_H
#define HAI_CHILD_H

#include <stddef.h>

/*
 * Runs argv[0] (looked for in PATH and the sbin folders) with nothing on its
 * standard input; what it writes on standard output and standard error comes
 * to out, NUL ended, the rest of it is dropped.  Its exit status; or -1 when
 * it cannot be run, was killed by a signal, or did not end in time (then it
 * is killed).
 */
int hai_child_run(const char *const *argv, int timeout_ms, char *out,
                  size_t size);

#endif
