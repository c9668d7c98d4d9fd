/* Key files, see key_file.h. */

#include "key_file.h"

#include "hai_secret.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define SHORT 16 /* shorter than any provider's key */

static void say(struct hai_key_file *key, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void mend(struct hai_key_file *key, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void say(struct hai_key_file *key, const char *format, ...) {
    va_list ap;

    va_start(ap, format);
    vsnprintf(key->text, sizeof(key->text), format, ap);
    va_end(ap);
}

static void mend(struct hai_key_file *key, const char *format, ...) {
    va_list ap;

    va_start(ap, format);
    vsnprintf(key->mend, sizeof(key->mend), format, ap);
    va_end(ap);
}

/* What cannot be done with what is on the way. */
static void say_error(struct hai_key_file *key, const char *path,
                      const char *what, const struct hai_secret_fault *f) {
    say(key, "%s: %s: %s", what, f->at, strerror(f->error));
    if ((f->error == EACCES || f->error == EPERM) && geteuid() != 0) {
        mend(key, "Try again as root.");
    } else if (f->error == ENOENT) {
        mend(key, "Put the key there: install -D -m 0600 /dev/stdin %s", path);
    } else {
        mend(key, "Name a file with a key.");
    }
}

/* The way to the file, or the file itself. */
static void say_path(struct hai_key_file *key, const char *path,
                     const struct hai_secret_fault *f) {
    switch (f->what) {
    case HAI_SECRET_STAT:
        say_error(key, path,
                  f->error == ENOENT ? "is not there" : "cannot be looked at",
                  f);
        break;
    case HAI_SECRET_OPEN_FOLDER:
        say_error(key, path, "cannot be reached", f);
        break;
    case HAI_SECRET_READ_LINK:
        say_error(key, path, "cannot be followed", f);
        break;
    case HAI_SECRET_OPEN:
        say_error(key, path, "cannot be opened", f);
        break;
    case HAI_SECRET_LONG_PATH:
        say(key, "is too long a path");
        mend(key, "Name a file with a key.");
        break;
    case HAI_SECRET_NO_NAME:
        say(key, "names a folder, not a file");
        mend(key, "Name the file with the key.");
        break;
    case HAI_SECRET_LINKS:
        say(key, "has too many or too long symbolic links on its way");
        mend(key, "Name the file that they are to lead to.");
        break;
    case HAI_SECRET_LINK_OWNER:
        say(key, "is reached through the symbolic link %s of user %u", f->at,
            f->owner);
        mend(key, "Name the file itself, or chown -h root %s", f->at);
        break;
    case HAI_SECRET_FOLDER_OWNER:
        say(key, "lies in or below %s, which belongs to user %u, not to root",
            f->at, f->owner);
        mend(key,
             "chown root %s, or keep keys elsewhere: install -d -m 0700 "
             "/etc/hoody-ai/secrets",
             f->at);
        break;
    case HAI_SECRET_FOLDER_MODE:
        say(key, "lies in or below %s, which others may write to (mode %04o)",
            f->at, f->mode);
        mend(key,
             "chmod go-w %s, or keep keys elsewhere: install -d -m 0700 "
             "/etc/hoody-ai/secrets",
             f->at);
        break;
    case HAI_SECRET_KIND:
        say(key, "is no regular file");
        mend(key, "Put a file with the key there.");
        break;
    case HAI_SECRET_OWNER:
        say(key, "belongs to user %u, not to root", f->owner);
        mend(key, "chown root %s", path);
        break;
    case HAI_SECRET_MODE:
        say(key, "has mode %04o: group and others must have no access",
            f->mode);
        mend(key, "chmod 600 %s", path);
        break;
    default:
        say(key, "is not as it must be");
        break;
    }
}

static void say_content(struct hai_key_file *key,
                        const struct hai_secret_fault *f) {
    switch (f->what) {
    case HAI_SECRET_EMPTY:
        say(key, "is empty");
        break;
    case HAI_SECRET_LONG:
        say(key, "is larger than %d bytes", HAI_SECRET_MAX);
        break;
    case HAI_SECRET_LINES:
        say(key, "has more than one line");
        break;
    case HAI_SECRET_BYTE:
        say(key, "has a byte at offset %zu that is not printable ASCII",
            f->offset);
        break;
    case HAI_SECRET_SPACE:
        say(key, "begins or ends with a space");
        break;
    default:
        say(key, "is not as it must be");
        break;
    }
    mend(key, "Put the key, and nothing else, into one line of the file.");
}

static bool has(const char *text, size_t len, const char *word) {
    size_t n = strlen(word), i;

    for (i = 0; i + n <= len; i++) {
        if (strncasecmp(text + i, word, n) == 0) {
            return true;
        }
    }
    return false;
}

/* Why a key that the module takes may be none, NULL: no reason.  Words that
 * are in a random key by chance once in many thousands. */
static const char *doubt(const char *text, size_t len) {
    static const char *const words[] = {
        "changeme", "change-me", "change_me",   "replace",  "your-", "your_",
        "yourkey",  "example",   "placeholder", "key-here", "xxxxx", ".....",
        "*****",    "key_here",  "insert-",     "insert_",  "dummy", "12345678",
    };
    size_t i;

    if (has(text, len < 7 ? len : 7, "bearer ")) {
        return "has the scheme in front of the key, which hoody_ai_secret adds";
    }
    if (strchr("<{[(\"'$", text[0]) != NULL) {
        return "begins with a mark that keys do not begin with";
    }
    for (i = 0; i < sizeof(words) / sizeof(*words); i++) {
        if (has(text, len, words[i])) {
            return "looks like a placeholder, not like a key";
        }
    }
    if (len < SHORT) {
        return "looks like a placeholder: it is shorter than keys are";
    }
    return NULL;
}

/* Reads to the end, or to where it is too long; -1: errno. */
static int read_all(int fd, unsigned char *to, size_t size, size_t *len) {
    ssize_t n;

    for (*len = 0; *len < size; *len += (size_t) n) {
        n = read(fd, to + *len, size - *len);
        if (n == 0) {
            break;
        }
        if (n < 0 && errno == EINTR) {
            n = 0;
        }
        if (n < 0) {
            return -1;
        }
    }
    return 0;
}

static void judge(int fd, unsigned char *text, size_t size,
                  struct hai_key_file *key) {
    struct hai_secret_fault fault;
    const char *why;
    size_t len;

    if (read_all(fd, text, size - 1, &len) != 0) {
        say(key, "cannot be read: %s", strerror(errno));
        return;
    }
    if (hai_secret_check(text, &len, &fault) != 0) {
        say_content(key, &fault);
        return;
    }
    if (EVP_Digest(text, len, key->digest, NULL, EVP_sha256(), NULL) != 1) {
        say(key, "cannot be judged: no SHA-256");
        return;
    }
    text[len] = '\0';
    why = doubt((const char *) text, len);
    if (why != NULL) {
        say(key, "%s", why);
        mend(key, "Put the provider's key, and nothing else, into the file.");
    }
    key->fine = true;
}

void hai_key_file_read(const char *path, struct hai_key_file *key) {
    static unsigned char text[HAI_SECRET_LINE_MAX + 2];
    struct hai_secret_fault fault;
    int fd = hai_secret_open(path, &fault);

    memset(key, 0, sizeof(*key));
    if (fd < 0) {
        say_path(key, path, &fault);
        return;
    }
    judge(fd, text, sizeof(text), key);
    explicit_bzero(text, sizeof(text));
    close(fd);
}
