/* Signatures, see sign.h. */

#include "sign.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

static int check_file(int fd, const char *path, char *error, size_t size) {
    struct stat st;
    const char *why;

    if (fstat(fd, &st) != 0) {
        snprintf(error, size, "%s: %s", path, strerror(errno));
        return -1;
    }

    if (!S_ISREG(st.st_mode)) {
        why = "not a regular file";
    } else if (st.st_uid != 0 && st.st_uid != geteuid()) {
        why = "must be owned by root or by the user of this program";
    } else if ((st.st_mode & 077) != 0) {
        why = "must not be accessible for group or others";
    } else if (st.st_size > HAI_SECRET_MAX) {
        why = "too large";
    } else {
        return 0;
    }

    snprintf(error, size, "%s: %s", path, why);
    return -1;
}

/* One line, its end is optional. */
static const char *check_line(struct hai_hook_secret *secret) {
    if (secret->len > 0 && secret->data[secret->len - 1] == '\n') {
        secret->len--;
    }
    if (secret->len == 0) {
        return "empty";
    }

    for (size_t i = 0; i < secret->len; i++) {
        if (secret->data[i] < 0x21 || secret->data[i] > 0x7e) {
            return "must be one line of printable ASCII without spaces";
        }
    }
    return NULL;
}

int hai_hook_secret_read(struct hai_hook_secret *secret, const char *path,
                         char *error, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    const char *why;
    ssize_t n;
    int rc = -1;

    secret->len = 0;

    if (fd == -1) {
        snprintf(error, size, "%s: %s", path,
                 errno == ELOOP ? "is a symbolic link" : strerror(errno));
        return -1;
    }

    if (check_file(fd, path, error, size) != 0) {
        goto cleanup;
    }

    while (secret->len < sizeof(secret->data)) {
        n = read(fd, secret->data + secret->len,
                 sizeof(secret->data) - secret->len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            snprintf(error, size, "%s: %s", path, strerror(errno));
            goto cleanup;
        }
        if (n == 0) {
            break;
        }
        secret->len += (size_t) n;
    }

    why = check_line(secret);
    if (why != NULL) {
        snprintf(error, size, "%s: %s", path, why);
        goto cleanup;
    }
    rc = 0;

cleanup:
    if (rc != 0) {
        hai_hook_secret_wipe(secret);
    }
    close(fd);
    return rc;
}

void hai_hook_secret_wipe(struct hai_hook_secret *secret) {
    OPENSSL_cleanse(secret->data, sizeof(secret->data));
    secret->len = 0;
}

int hai_sign(const struct hai_hook_secret *secret, const void *body, size_t len,
             char out[HAI_SIGNATURE_SIZE]) {
    static const char hex[] = "0123456789abcdef";
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    char *p = out;

    if (HMAC(EVP_sha256(), secret->data, (int) secret->len, body, len, mac, &n)
            == NULL
        || n != 32)
    {
        return -1;
    }

    memcpy(p, "sha256=", 7);
    p += 7;

    for (unsigned int i = 0; i < n; i++) {
        *p++ = hex[mac[i] >> 4];
        *p++ = hex[mac[i] & 15];
    }
    *p = '\0';
    return 0;
}
