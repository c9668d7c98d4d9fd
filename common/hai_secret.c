/* Key files, see hai_secret.h. */

#include "hai_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_LINKS 16
#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define FILE_FLAGS (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

/* A path that is walked component by component. */
struct walk {
    int dir;
    int links;
    char rest[PATH_MAX];
    struct hai_secret_fault *fault;
};

static int fail(struct walk *w, enum hai_secret_what what, int error,
                const struct stat *st) {
    w->fault->what = what;
    w->fault->error = error;
    if (st != NULL) {
        w->fault->owner = (unsigned) st->st_uid;
        w->fault->mode = (unsigned) st->st_mode & 07777;
    }
    return -1;
}

/* fault->at goes one component further, back by it, or to the root. */
static void go_on(struct hai_secret_fault *fault, const char *name) {
    size_t len = strlen(fault->at), n = strlen(name);

    if (len > 0 && fault->at[len - 1] != '/' && len + 1 < sizeof(fault->at)) {
        fault->at[len++] = '/';
    }
    if (n >= sizeof(fault->at) - len) {
        n = sizeof(fault->at) - len - 1;
    }
    memcpy(fault->at + len, name, n);
    fault->at[len + n] = '\0';
}

static void go_back(struct hai_secret_fault *fault) {
    char *slash = strrchr(fault->at, '/');

    if (slash != NULL) {
        slash[slash == fault->at] = '\0';
    }
}

static void go_to_root(struct hai_secret_fault *fault) {
    memcpy(fault->at, "/", 2);
}

static bool trusted(const struct stat *st) {
    return st->st_uid == 0 || st->st_uid == geteuid();
}

/*
 * Only root and this process' user may change what a folder holds: whoever
 * else can could put another key in place.  In a root-owned folder with the
 * sticky bit others can add names but neither rename nor remove ours, and the
 * owner of each next step is checked.
 */
static int check_folder(struct walk *w) {
    struct stat st;

    if (fstat(w->dir, &st) != 0) {
        return fail(w, HAI_SECRET_STAT, errno, NULL);
    }
    if (!trusted(&st)) {
        return fail(w, HAI_SECRET_FOLDER_OWNER, 0, &st);
    }
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0
        && !((st.st_mode & S_ISVTX) != 0 && st.st_uid == 0))
    {
        return fail(w, HAI_SECRET_FOLDER_MODE, 0, &st);
    }
    return 0;
}

static int enter(struct walk *w, const char *name) {
    int fd = *name == '/' ? open("/", FOLDER_FLAGS)
                          : openat(w->dir, name, FOLDER_FLAGS);

    if (fd < 0) {
        return fail(w, HAI_SECRET_OPEN_FOLDER, errno, NULL);
    }
    if (w->dir >= 0) {
        close(w->dir);
    }
    w->dir = fd;
    return 0;
}

/* Puts where the link leads in front of the rest of the path. */
static int follow(struct walk *w, const char *name) {
    char target[PATH_MAX];
    size_t rest = strlen(w->rest), len;
    ssize_t n = readlinkat(w->dir, name, target, sizeof(target));

    if (n < 0) {
        return fail(w, HAI_SECRET_READ_LINK, errno, NULL);
    }
    len = (size_t) n;
    if (++w->links > MAX_LINKS || len + 1 + rest >= sizeof(w->rest)) {
        return fail(w, HAI_SECRET_LINKS, 0, NULL);
    }
    memmove(w->rest + len + (rest > 0), w->rest, rest + 1);
    memcpy(w->rest, target, len);
    if (rest > 0) {
        w->rest[len] = '/';
    }
    if (len > 0 && target[0] == '/') {
        go_to_root(w->fault);
        return enter(w, "/");
    }
    go_back(w->fault);
    return 0;
}

/* Takes the next component off the rest.  1: it was a symbolic link, and the
 * rest begins with where it leads. */
static int next(struct walk *w, char *name, bool *last) {
    const char *p = w->rest + strspn(w->rest, "/");
    size_t len = strcspn(p, "/");
    struct stat st;

    if (len == 0 || len > NAME_MAX) {
        return fail(w, HAI_SECRET_NO_NAME, 0, NULL);
    }
    memcpy(name, p, len);
    name[len] = '\0';
    memmove(w->rest, p + len, strlen(p + len) + 1);
    *last = w->rest[0] == '\0';

    go_on(w->fault, name);
    memcpy(w->fault->name, name, len + 1);

    if (fstatat(w->dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return fail(w, HAI_SECRET_STAT, errno, NULL);
    }
    if (!S_ISLNK(st.st_mode)) {
        return 0;
    }
    if (!trusted(&st)) {
        return fail(w, HAI_SECRET_LINK_OWNER, 0, &st);
    }
    return follow(w, name) != 0 ? -1 : 1;
}

static int check_file(struct walk *w, int fd) {
    struct stat st;

    if (fstat(fd, &st) != 0) {
        return fail(w, HAI_SECRET_STAT, errno, NULL);
    }
    if (!S_ISREG(st.st_mode)) {
        return fail(w, HAI_SECRET_KIND, 0, &st);
    }
    if (!trusted(&st)) {
        return fail(w, HAI_SECRET_OWNER, 0, &st);
    }
    if ((st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return fail(w, HAI_SECRET_MODE, 0, &st);
    }
    return 0;
}

/* Down to the folder of the file, whose name is left in name. */
static int walk_down(struct walk *w, char *name) {
    bool last = false;
    int rc;

    for (;;) {
        if (check_folder(w) != 0) {
            return -1;
        }
        rc = next(w, name, &last);
        if (rc < 0) {
            return -1;
        }
        if (rc == 0 && last) {
            return 0;
        }
        if (rc == 0 && enter(w, name) != 0) {
            return -1;
        }
    }
}

int hai_secret_open(const char *path, struct hai_secret_fault *fault) {
    struct walk w = {.dir = -1, .fault = fault};
    char name[NAME_MAX + 1];
    int fd = -1;

    memset(fault, 0, sizeof(*fault));
    go_to_root(fault);
    if (strlen(path) >= sizeof(w.rest)) {
        return fail(&w, HAI_SECRET_LONG_PATH, 0, NULL);
    }
    memcpy(w.rest, path, strlen(path) + 1);

    if (enter(&w, "/") != 0) {
        return -1;
    }
    if (walk_down(&w, name) == 0) {
        fd = openat(w.dir, name, FILE_FLAGS);
        if (fd < 0) {
            fail(&w, HAI_SECRET_OPEN, errno, NULL);
        } else if (check_file(&w, fd) != 0) {
            close(fd);
            fd = -1;
        }
    }
    close(w.dir);
    return fd;
}

int hai_secret_check(const unsigned char *key, size_t *len,
                     struct hai_secret_fault *fault) {
    size_t n = *len, i;

    memset(fault, 0, sizeof(*fault));
    if (n > 0 && key[n - 1] == '\n') {
        n--;
        n -= n > 0 && key[n - 1] == '\r';
    }
    if (n == 0) {
        fault->what = HAI_SECRET_EMPTY;
        return -1;
    }
    if (n > HAI_SECRET_MAX) {
        fault->what = HAI_SECRET_LONG;
        return -1;
    }
    for (i = 0; i < n; i++) {
        if (key[i] == '\n' || key[i] == '\r') {
            fault->what = HAI_SECRET_LINES;
            return -1;
        }
        if (key[i] < 0x20 || key[i] > 0x7e) {
            fault->what = HAI_SECRET_BYTE;
            fault->offset = i;
            return -1;
        }
    }
    if (key[0] == ' ' || key[n - 1] == ' ') {
        fault->what = HAI_SECRET_SPACE;
        return -1;
    }
    *len = n;
    return 0;
}
