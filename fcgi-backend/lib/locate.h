/*
 * Where things are in a JSON text, for messages that name line and column.
 * The text has been accepted by a JSON parser before; offsets are bytes from
 * its start.
 */

#ifndef HAI_LOCATE_H
#define HAI_LOCATE_H

#include <stddef.h>
#include <stdint.h>

struct hai_locate {
    const char *text;
    size_t len;
};

#define HAI_NOWHERE SIZE_MAX

/* The text's own value. */
size_t hai_locate_root(const struct hai_locate *l);

/* The first element of the array, or key of the object, that begins at `at`;
 * HAI_NOWHERE: empty, or neither. */
size_t hai_locate_first(const struct hai_locate *l, size_t at);

/* The element or key behind this element or key. */
size_t hai_locate_next(const struct hai_locate *l, size_t at);

/* The value that belongs to the key at `at`. */
size_t hai_locate_value(const struct hai_locate *l, size_t at);

/* The key in the object at `at`; of several the last. */
size_t hai_locate_key(const struct hai_locate *l, size_t at, const char *key);

/* The n-th element of the array at `at`, from 0. */
size_t hai_locate_element(const struct hai_locate *l, size_t at, size_t n);

/* The offset behind the value at `at`. */
size_t hai_locate_end(const struct hai_locate *l, size_t at);

/* Line and column (in characters) of an offset, both from 1; both 0 for
 * HAI_NOWHERE. */
void hai_locate_line(const struct hai_locate *l, size_t at, int *line,
                     int *column);

#endif
