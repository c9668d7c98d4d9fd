/*
 * A key file judged by the module's rules (common/hai_secret.h), in words for
 * an operator.  No byte of it is in what is said.
 */

#ifndef HAI_KEY_FILE_H
#define HAI_KEY_FILE_H

#include <stdbool.h>

#define HAI_KEY_DIGEST 32

struct hai_key_file {
    bool fine;
    char text[8192]; /* behind the path: "is empty"; of a fine one, why it may
                         still be the wrong one, or "" */
    char mend[8192]; /* what to do about it, or "" */
    unsigned char digest[HAI_KEY_DIGEST]; /* of a fine one's key */
};

/* Accepts an absolute path.  What cannot be read is not fine. */
void hai_key_file_read(const char *path, struct hai_key_file *key);

#endif
