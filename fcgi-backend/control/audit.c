/* The audit, see audit.h. */

#include "audit.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/time_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STREAM_MAX "100000"

struct hai_audit_log {
    const char *path;
    char *key;
    pthread_mutex_t lock; /* for fd, and so that lines stay whole */
    int fd;
};

static int open_file(const char *path) {
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
                0640);
}

struct hai_audit_log *hai_audit_log_new(const char *path, const char *server,
                                        char *error, size_t size) {
    struct hai_audit_log *log = calloc(1, sizeof(*log));
    size_t len = strlen(server) + sizeof("hoody:{}:audit");

    if (log == NULL || (log->key = malloc(len)) == NULL
        || pthread_mutex_init(&log->lock, NULL) != 0)
    {
        snprintf(error, size, "no memory");
        if (log != NULL) {
            free(log->key);
        }
        free(log);
        return NULL;
    }

    snprintf(log->key, len, "hoody:{%s}:audit", server);
    log->path = path;
    log->fd = -1;

    if (path != NULL && (log->fd = open_file(path)) < 0) {
        snprintf(error, size, "%s: %s", path, strerror(errno));
        hai_audit_log_free(log);
        return NULL;
    }

    return log;
}

void hai_audit_log_free(struct hai_audit_log *log) {
    if (log == NULL) {
        return;
    }

    if (log->fd >= 0) {
        close(log->fd);
    }
    pthread_mutex_destroy(&log->lock);
    free(log->key);
    free(log);
}

int hai_audit_log_reopen(struct hai_audit_log *log, char *error, size_t size) {
    int fd;

    if (log->path == NULL) {
        return 0;
    }

    fd = open_file(log->path);
    if (fd < 0) {
        snprintf(error, size, "%s: %s", log->path, strerror(errno));
        return -1;
    }

    pthread_mutex_lock(&log->lock);
    close(log->fd);
    log->fd = fd;
    pthread_mutex_unlock(&log->lock);

    return 0;
}

static void write_line(struct hai_audit_log *log, const char *text) {
    size_t len = strlen(text);
    char *line = malloc(len + 2);
    ssize_t n;

    if (log->fd < 0 || line == NULL) {
        free(line);
        return;
    }

    snprintf(line, len + 2, "%s\n", text);

    pthread_mutex_lock(&log->lock);
    n = write(log->fd, line, len + 1);
    pthread_mutex_unlock(&log->lock);

    if (n < 0 || (size_t) n != len + 1) {
        hai_log(HAI_LOG_ERROR, "%s: a line was not written: %s", log->path,
                n < 0 ? strerror(errno) : "the disk is full");
    }

    free(line);
}

static void add_entry(struct hai_audit_log *log, struct hai_registry_writer *w,
                      const char *text) {
    char error[256];
    redisReply *reply;

    if (w == NULL || w->c->err != 0) {
        return;
    }

    reply = hai_redis_command(w->c, error, sizeof(error),
                              "XADD %s MAXLEN ~ " STREAM_MAX " * entry %s",
                              log->key, text);
    if (reply == NULL) {
        hai_log(HAI_LOG_ERROR, "audit: no entry in Redis: %s", error);
        return;
    }

    freeReplyObject(reply);
}

static void put(struct hai_audit_log *log, struct hai_registry_writer *w,
                json_t *entry) {
    char *text = entry != NULL ? json_dumps(entry, JSON_COMPACT) : NULL;

    if (text == NULL) {
        hai_log(HAI_LOG_ERROR, "audit: an entry could not be made");
    } else {
        write_line(log, text);
        add_entry(log, w, text);
    }

    free(text);
    json_decref(entry);
}

void hai_audit_call(struct hai_audit_log *log, struct hai_call *call) {
    char ts[HAI_TIME_SIZE];
    json_t *entry;

    if (call->action == NULL) {
        return;
    }

    hai_time_text(call->now_ms, ts);

    entry = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:i,s:s}", "ts", ts,
                      "request_id", call->request_id, "who", call->caller.who,
                      "action", call->action, "container", call->container,
                      "container_id", call->container_id, "status",
                      call->status, "project_id", call->project_id);

    if (entry != NULL && call->error[0] != '\0') {
        json_object_set_new(entry, "error", json_string(call->error));
    }
    if (entry != NULL && call->before != NULL) {
        json_object_set(entry, "before", call->before);
    }
    if (entry != NULL && call->after != NULL) {
        json_object_set(entry, "after", call->after);
    }

    put(log, call->writer, entry);
}

void hai_audit_own(struct hai_audit_log *log, struct hai_registry_writer *w,
                   const struct hai_audit_note *note) {
    char ts[HAI_TIME_SIZE];
    json_t *entry;

    hai_time_text((int64_t) hai_wall_ms(), ts);

    entry =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "ts", ts, "who", note->who,
                  "action", note->action, "container", note->container,
                  "container_id", note->container_id, "detail", note->detail);
    if (entry != NULL && note->ai_on) {
        json_object_set_new(entry, "after", json_pack("{s:b}", "ai", 1));
    }

    put(log, w, entry);
}

void hai_audit_refused(struct hai_audit_log *log, struct hai_registry_writer *w,
                       const char *who, const char *reason,
                       unsigned long count) {
    char ts[HAI_TIME_SIZE];

    hai_time_text((int64_t) hai_wall_ms(), ts);

    put(log, w,
        json_pack("{s:s,s:s,s:s,s:s,s:i,s:s,s:I}", "ts", ts, "who", who,
                  "action", "call.refused", "container", "", "status", 401,
                  "detail", reason, "count", (json_int_t) count));
}
