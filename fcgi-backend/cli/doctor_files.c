/*
 * hoody-ai doctor: files with keys and passwords.  The rules are the module's
 * (docs/DIRECTIVES.md, "Key files"), which refuses a configuration; here all
 * of them are looked at.  What is in a file is never said.
 */

#include "doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_MAX 8192

static bool trusted(uid_t owner) {
    return owner == 0 || owner == geteuid();
}

/* All folders of an absolute path; false after it has said so. */
static bool check_folders(const char *path, struct hai_finding *f) {
    char folder[PATH_MAX];
    struct stat st;
    size_t i;

    for (i = 0; i < sizeof(folder) - 1 && path[i] != '\0'; i++) {
        folder[i] = path[i];
        if (path[i] != '/') {
            continue;
        }
        folder[i + 1] = '\0';
        if (stat(folder, &st) != 0) {
            hai_doctor_say(f, HAI_DOCTOR_FAIL, NULL, "%s: %s", folder,
                           strerror(errno));
            return false;
        }
        if (!trusted(st.st_uid) || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
            hai_doctor_say(f, HAI_DOCTOR_FAIL,
                           "Keep keys in folders that root alone may write "
                           "to: install -d -m 0700 /etc/hoody-ai/secrets",
                           "%s, on the way to %s, can be written to by others "
                           "than root",
                           folder, path);
            return false;
        }
    }
    return true;
}

/* One line of printable ASCII; NULL, or what is wrong with it. */
static const char *check_key(const char *key, size_t n) {
    size_t i;

    if (n > 0 && key[n - 1] == '\n') {
        n--;
        n -= n > 0 && key[n - 1] == '\r';
    }
    if (n == 0) {
        return "is empty";
    }
    if (n > KEY_MAX) {
        return "is larger than 8 KiB";
    }
    for (i = 0; i < n; i++) {
        if (key[i] == '\n' || key[i] == '\r') {
            return "has more than one line";
        }
        if (key[i] < ' ' || key[i] > '~') {
            return "has bytes that are not printable ASCII";
        }
    }
    return key[0] == ' ' || key[n - 1] == ' ' ? "begins or ends with a space"
                                              : NULL;
}

static void check_content(const char *path, int fd, struct hai_finding *f) {
    static char key[KEY_MAX + 3];
    const char *wrong;
    size_t n = 0;
    ssize_t got;

    while (n < sizeof(key) && (got = read(fd, key + n, sizeof(key) - n)) > 0) {
        n += (size_t) got;
    }
    wrong = check_key(key, n);
    explicit_bzero(key, sizeof(key));
    if (wrong != NULL) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Put the key, and nothing else, into the file.", "%s %s",
                       path, wrong);
    }
}

static void check_secret(const char *path, struct hai_finding *f) {
    char real[PATH_MAX];
    struct stat st;
    int fd;

    if (!check_folders(path, f)) {
        return;
    }
    if (realpath(path, real) == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, "Put the key there.", "%s: %s", path,
                       strerror(errno));
        return;
    }
    if (!check_folders(real, f)) {
        return;
    }
    fd = open(real, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       geteuid() != 0 ? "Try again as root." : NULL, "%s: %s",
                       path, strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, NULL, "%s is no regular file", path);
    } else if (!trusted(st.st_uid)) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, "chown root it.",
                       "%s does not belong to root", path);
    } else if ((st.st_mode & 077) != 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, "chmod 0600 it.",
                       "%s has mode %04o: others may use it", path,
                       (unsigned) st.st_mode & 07777);
    } else {
        check_content(path, fd, f);
    }
    if (fd >= 0) {
        close(fd);
    }
}

void hai_doctor_secrets(const struct hai_doctor *d, struct hai_finding *f) {
    const struct hai_nginx_node *node = d->tree;
    char path[PATH_MAX];
    size_t n = 0;

    if (node == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "no configuration: %s",
                       d->conf_error);
        return;
    }
    while ((node = hai_nginx_next(node)) != NULL) {
        if (!hai_nginx_is(node, "hoody_ai_secret") || node->n < 3) {
            continue;
        }
        if (hai_doctor_path(d->conf_dir, node->word[2], path, sizeof(path))
            == 0) {
            check_secret(path, f);
        }
        n++;
    }
    if (n == 0) {
        hai_doctor_say(f, HAI_DOCTOR_WARN, "Add hoody_ai_secret.",
                       "there are no keys of providers");
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "%zu files with keys", n);
    }
}

void hai_doctor_passwords(const struct hai_doctor *d, struct hai_finding *f) {
    const char *file = d->registry.conf.password_file;
    struct stat st;

    if (file == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "hoody_ai_redis names no password_file");
    } else if (stat(file, &st) != 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, "Put the password of Redis there.",
                       "%s: %s", file, strerror(errno));
    } else if ((st.st_mode & 077) != 0 || !trusted(st.st_uid)) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, "chown root it, and chmod 0600 it.",
                       "%s: mode %04o, owner %u", file,
                       (unsigned) st.st_mode & 07777, (unsigned) st.st_uid);
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "%s", file);
    }
}
