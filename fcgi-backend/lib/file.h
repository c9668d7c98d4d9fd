/* Reading a small file whole. */

#ifndef HAI_FILE_H
#define HAI_FILE_H

#include <stddef.h>

/*
 * Reads a regular file of at most max bytes, never waiting for another
 * program.  NUL ended; the caller frees it.  NULL with a short message in
 * error (size bytes) that does not name the file.
 */
char *hai_file_read(const char *path, size_t max, size_t *len, char *error,
                    size_t size);

#endif
