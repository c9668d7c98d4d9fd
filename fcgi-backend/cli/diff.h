/* Two JSON texts, laid out line by line, and what differs between them. */

#ifndef HAI_DIFF_H
#define HAI_DIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/*
 * Writes a unified diff of two texts that are JSON; numbers, escapes and order
 * stay as they are.  0, or -1 without memory.
 */
int hai_diff_json(FILE *out, const char *old, size_t old_len, const char *new,
                  size_t new_len, bool color);

#endif
