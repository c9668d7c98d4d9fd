/*
 * Notices that the rule file changed: inotify on its folder, since editors
 * rename a new file over the old one and mounted configuration swaps a
 * symbolic link; and stat() now and then, for what inotify does not tell.
 */

#ifndef HAI_RULES_WATCH_H
#define HAI_RULES_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct hai_file_state {
    bool exists;
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime;
    struct timespec ctime;
};

struct hai_file_watch {
    const char *path;
    char *folder;
    int fd;    /* of inotify, to be waited for; -1: only stat() */
    int watch; /* of the folder; -1: not now */
    struct hai_file_state loaded; /* as it was when it was read last */
    struct hai_file_state seen;   /* at the last look */
};

/* path has to live as long.  0, or -1 without memory. */
int hai_file_watch_init(struct hai_file_watch *w, const char *path);
void hai_file_watch_free(struct hai_file_watch *w);

/*
 * The descriptor is readable: is there another file than the one that was
 * loaded?
 */
bool hai_file_watch_notified(struct hai_file_watch *w);

/*
 * Now and then: the same, but only for a file that did not change since the
 * last look, as one that is just being written would.
 */
bool hai_file_watch_poll(struct hai_file_watch *w);

/* The file is going to be read now. */
void hai_file_watch_loading(struct hai_file_watch *w);

#endif
