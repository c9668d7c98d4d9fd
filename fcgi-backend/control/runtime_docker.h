/*
 * What the files of the Docker connector share: runtime_docker.c (containers),
 * runtime_docker_snapshots.c and runtime_docker_events.c.  Not for others.
 */

#ifndef HAI_CONTROL_RUNTIME_DOCKER_H
#define HAI_CONTROL_RUNTIME_DOCKER_H

#include "runtime.h"

#include <curl/curl.h>
#include <stdbool.h>

#define API "/v1.41"
#define LOOK_MS 10000L   /* for what only looks */
#define CHANGE_MS 60000L /* for what changes something */
#define RESTORED "hoody-restored"
#define ASIDE ".before-restore" /* a dot: no token can name it */
#define PATH_SIZE 1024

struct hai_docker {
    char *socket;
    char *network; /* or NULL: the runtime's default */
    char *image;   /* or NULL */

    /* the stream of events; one thread's */
    CURLM *multi;
    CURL *events;
    bool begun; /* its head has come */
    bool told;  /* and that was said */
    bool happened;
};

/* Asks the runtime; a status of 2xx and 304 ("it is so already") is right.
 * reply: NULL, or the caller frees it. */
int hai_docker_request(struct hai_docker *s, const char *method,
                       const char *path, const json_t *body, long timeout_ms,
                       json_t **reply, struct hai_runtime_error *e);

/* Asks for a list, which the caller frees; what is none is a failure. */
int hai_docker_request_list(struct hai_docker *s, const char *path,
                            json_t **list, struct hai_runtime_error *e);

/* The container that has this name, and not one whose id begins so; the caller
 * frees *inspected. */
int hai_docker_inspect(struct hai_docker *s, const char *name,
                       json_t **inspected, struct hai_runtime_error *e);

/* The same with the container of this name; rest: of the path. */
int hai_docker_on_container(struct hai_docker *s, const char *method,
                            const char *name, const char *rest, long timeout_ms,
                            struct hai_runtime_error *e);

/* The member b of the member a, NULL: there is none. */
const json_t *hai_docker_at(const json_t *object, const char *a, const char *b);

/* Makes a container of a body for the API and starts it; there is none where
 * that fails. */
int hai_docker_start_new(struct hai_docker *s, const char *name,
                         const json_t *body, struct hai_runtime_error *e);

/* Deletes the image of a container that was restored: nobody else's. */
void hai_docker_drop_image(struct hai_docker *s, const char *image);

/* Rows of the connector's table, see runtime.h; state is a hai_docker. */
int hai_docker_rename(void *state, const char *name, const char *new_name,
                      struct hai_runtime_error *e);
int hai_docker_wait(void *state, int timeout_ms, const atomic_bool *stop,
                    struct hai_runtime_error *e);
int hai_docker_snapshot_list(void *state, const char *name, const char *id,
                             struct hai_runtime_snapshots *all,
                             struct hai_runtime_error *e);
int hai_docker_snapshot_create(void *state, const char *name, const char *id,
                               const char *snapshot,
                               struct hai_runtime_error *e);
int hai_docker_snapshot_restore(void *state, const char *name, const char *id,
                                const char *snapshot,
                                struct hai_runtime_error *e);
int hai_docker_snapshot_delete(void *state, const char *name, const char *id,
                               const char *snapshot,
                               struct hai_runtime_error *e);

void hai_docker_events_close(struct hai_docker *s);

#endif
