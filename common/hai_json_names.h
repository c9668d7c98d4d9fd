/*
 * Names of keys that decide something, and names that another parser could
 * take for one: after Unicode case folding, or because it ends a string at
 * NUL or leaves NUL out.  Private to the scanner.
 */

#ifndef HAI_JSON_NAMES_H
#define HAI_JSON_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The enum hai_json_key that has exactly this name, or -1. */
int hai_json_top_key(const char *name, size_t len);

/*
 * Whether an unescaped key, which is no deciding key itself, looks like one
 * of the top level, or like role, content or type.
 */
bool hai_json_like_top_key(const uint8_t *p, size_t len);
bool hai_json_like_role_key(const uint8_t *p, size_t len);

#endif
