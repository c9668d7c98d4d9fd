/* Text in buffers of a fixed size, always ended by NUL. */

#ifndef HAI_TEXT_H
#define HAI_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Adds more behind what is in to (size bytes); false, and nothing is added,
 * where it does not fit. */
bool hai_text_add(char *to, size_t size, const char *more);

/* The same, with everything escaped that is not unreserved in a URI
 * (RFC 3986, 2.3). */
bool hai_text_escape(char *to, size_t size, const char *more);

#endif
