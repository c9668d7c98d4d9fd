/*
 * Signatures of webhooks, and the files that their secrets are in.
 */

#ifndef HAI_EVENTS_SIGN_H
#define HAI_EVENTS_SIGN_H

#include <stddef.h>

#define HAI_SECRET_MAX 8192

struct hai_hook_secret {
    unsigned char data[HAI_SECRET_MAX];
    size_t len;
};

/*
 * The one line of a file: a regular file of root or of our own user, no
 * rights for group and others, no symbolic link, printable ASCII.  0; or -1
 * with a reason in error that never has anything of the content.
 */
int hai_hook_secret_read(struct hai_hook_secret *secret, const char *path,
                         char *error, size_t size);

/* Forgets it. */
void hai_hook_secret_wipe(struct hai_hook_secret *secret);

#define HAI_SIGNATURE_SIZE                                                     \
    sizeof("sha256="                                                           \
           "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

/* "sha256=" and the HMAC-SHA256 in hex.  0, or -1 (OpenSSL). */
int hai_sign(const struct hai_hook_secret *secret, const void *body, size_t len,
             char out[HAI_SIGNATURE_SIZE]);

#endif
