/* The path of a request as nginx makes it out of what was sent. */

#ifndef HAI_URI_H
#define HAI_URI_H

#include <stddef.h>

/*
 * Decodes %XX, joins slashes, resolves dots, leaves query and fragment out.
 * NUL ended, at most strlen(text) + 1 bytes; free().  NULL: nginx answers 400
 * to it, or there is no memory.
 */
char *hai_uri_normalise(const char *text);

#endif
