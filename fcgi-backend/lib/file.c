/* Reading a small file whole, see file.h. */

#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* All of the descriptor, or NULL; a file that grows meanwhile is read up to
 * one byte beyond max. */
static char *read_all(int fd, size_t max, size_t *len, char *error,
                      size_t size) {
    size_t room = 4096, used = 0;
    char *text = malloc(room + 1), *larger;
    ssize_t n;

    while (text != NULL) {
        n = read(fd, text + used, room - used);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            snprintf(error, size, "%s", strerror(errno));
            free(text);
            return NULL;
        }
        if (n == 0) {
            text[used] = '\0';
            *len = used;
            return text;
        }
        used += (size_t) n;
        if (used > max) {
            snprintf(error, size, "larger than %zu bytes", max);
            free(text);
            return NULL;
        }
        if (used == room) {
            room *= 2;
            larger = realloc(text, room + 1);
            if (larger == NULL) {
                free(text);
            }
            text = larger;
        }
    }
    snprintf(error, size, "no memory");
    return NULL;
}

char *hai_file_read(const char *path, size_t max, size_t *len, char *error,
                    size_t size) {
    struct stat st;
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0) {
        snprintf(error, size, "%s", strerror(errno));
        return NULL;
    }
    if (fstat(fd, &st) != 0) {
        snprintf(error, size, "%s", strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        snprintf(error, size, "not a regular file");
    } else {
        text = read_all(fd, max, len, error, size);
    }
    close(fd);
    return text;
}
