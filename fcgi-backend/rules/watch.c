/* Changes of the rule file, see watch.h. */

#include "watch.h"

#include "lib/log.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define EVENTS                                                                 \
    (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_DELETE      \
     | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

static bool same_time(struct timespec a, struct timespec b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same(const struct hai_file_state *a,
                 const struct hai_file_state *b) {
    if (!a->exists || !b->exists) {
        return a->exists == b->exists;
    }

    return a->dev == b->dev && a->ino == b->ino && a->size == b->size
           && same_time(a->mtime, b->mtime) && same_time(a->ctime, b->ctime);
}

static void look(const char *path, struct hai_file_state *state) {
    struct stat st;

    *state = (struct hai_file_state){0};

    if (stat(path, &st) == 0) {
        state->exists = true;
        state->dev = st.st_dev;
        state->ino = st.st_ino;
        state->size = st.st_size;
        state->mtime = st.st_mtim;
        state->ctime = st.st_ctim;
    }
}

static void watch_folder(struct hai_file_watch *w) {
    if (w->fd >= 0 && w->watch < 0) {
        w->watch = inotify_add_watch(w->fd, w->folder, EVENTS);
    }
}

int hai_file_watch_init(struct hai_file_watch *w, const char *path) {
    char *copy = strdup(path);

    *w = (struct hai_file_watch){.path = path, .fd = -1, .watch = -1};

    if (copy == NULL) {
        return -1;
    }

    w->folder = strdup(dirname(copy));
    free(copy);

    if (w->folder == NULL) {
        return -1;
    }

    w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (w->fd < 0) {
        hai_log(HAI_LOG_WARN,
                "inotify: %s; changes of \"%s\" are noticed "
                "within a second",
                strerror(errno), path);
    }

    watch_folder(w);

    return 0;
}

void hai_file_watch_free(struct hai_file_watch *w) {
    if (w->fd >= 0) {
        close(w->fd);
    }

    free(w->folder);
}

bool hai_file_watch_notified(struct hai_file_watch *w) {
    char buffer[4096]
        __attribute__((aligned(__alignof__(struct inotify_event))));
    const struct inotify_event *event;
    bool complete = false;
    struct stat st;
    const char *p;
    ssize_t n;

    while ((n = read(w->fd, buffer, sizeof(buffer))) > 0) {
        for (p = buffer; p < buffer + n; p += sizeof(*event) + event->len) {
            event = (const struct inotify_event *) p;
            complete |= (event->mask & IN_CREATE) == 0;

            if ((event->mask & IN_MOVE_SELF) && event->wd == w->watch) {
                inotify_rm_watch(w->fd, w->watch);
            }

            /* also behind rm_watch() and for a folder that was deleted */
            if ((event->mask & IN_IGNORED) && event->wd == w->watch) {
                w->watch = -1;
            }
        }
    }

    watch_folder(w);
    look(w->path, &w->seen);

    /* a new file will be written and closed, a new link is all there is */
    if (!complete && lstat(w->path, &st) == 0 && S_ISREG(st.st_mode)) {
        return false;
    }

    return !same(&w->seen, &w->loaded);
}

bool hai_file_watch_poll(struct hai_file_watch *w) {
    struct hai_file_state now;
    bool stable;

    watch_folder(w);
    look(w->path, &now);
    stable = same(&now, &w->seen);
    w->seen = now;

    return stable && !same(&now, &w->loaded);
}

void hai_file_watch_loading(struct hai_file_watch *w) {
    look(w->path, &w->loaded);
    w->seen = w->loaded;
}
