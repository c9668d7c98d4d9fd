/*
 * The container runtime of the host, behind one interface.  A connector is a
 * file (runtime_docker.c with runtime_docker_*.c, runtime_incus.c,
 * runtime_static.c) that fills in struct hai_runtime_ops; nobody else knows
 * which one it is.
 *
 * Calls may come from several threads at a time; each makes connections of
 * its own.  Every call is bounded by a time-out.
 */

#ifndef HAI_CONTROL_RUNTIME_H
#define HAI_CONTROL_RUNTIME_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hai_runtime_failure {
    HAI_RUNTIME_UNREACHABLE, /* nobody answers, or not in time */
    HAI_RUNTIME_NOT_FOUND,   /* no such instance, snapshot or image */
    HAI_RUNTIME_CONFLICT,    /* not in this state; the name is taken */
    HAI_RUNTIME_UNSUPPORTED, /* this runtime cannot do that */
    HAI_RUNTIME_INVALID,     /* what is wanted makes no sense to it */
    HAI_RUNTIME_REFUSED,     /* the runtime says no: text is its reason */
    HAI_RUNTIME_MEMORY
};

struct hai_runtime_error {
    enum hai_runtime_failure kind;
    char text[256]; /* one line for people, no control characters */
};

/* What the runtime says of one instance. */
struct hai_instance {
    char *name;
    char *id;             /* the runtime's own */
    const char *status;   /* running, stopped, paused, creating, failed */
    char *addresses;      /* separated by spaces; "": none, or those of the
                             host, which are nobody's */
    char *mac;            /* the same */
    char *host_interface; /* the same */
    char *cgroup;         /* as the registry takes it; "": unknown */
    char *image;
    char *hoody_id;   /* label hoody.id: given by the API; "": none */
    char *project_id; /* label hoody.project; "": none */
    char *tags;       /* label hoody.tags */
    char *aside_of;   /* NULL; or a restore of this one has put it aside */
    int ai;           /* label hoody.ai: 1, 0, or -1: not said */
    bool host_network;
};

struct hai_instances {
    struct hai_instance *item;
    size_t n;
};

/* What is to be made. */
struct hai_runtime_spec {
    const char *name;
    const char *id;            /* label hoody.id */
    const char *image;         /* NULL: the connector's default, or an error */
    const json_t *environment; /* an object of strings, or NULL */
    bool autostart;
    bool ai; /* label hoody.ai */
};

enum hai_runtime_action {
    HAI_RUNTIME_START,
    HAI_RUNTIME_STOP,
    HAI_RUNTIME_FORCE_STOP,
    HAI_RUNTIME_RESTART,
    HAI_RUNTIME_PAUSE,
    HAI_RUNTIME_RESUME
};

struct hai_runtime_snapshot {
    char *name;
    int64_t created_ms;
    int64_t size; /* bytes; -1: unknown */
    bool stateful;
};

struct hai_runtime_snapshots {
    struct hai_runtime_snapshot *item;
    size_t n;
};

struct hai_runtime;

/* Each returns 0, or -1 with *e filled in.  NULL: unsupported. */
struct hai_runtime_ops {
    const char *name; /* "docker", "incus", "static": the field `runtime` */

    /* spec: what follows "docker=" and so on; *state is the connector's */
    int (*open)(const char *spec, void **state, struct hai_runtime_error *e);
    void (*close)(void *state);

    int (*list)(void *state, struct hai_instances *all,
                struct hai_runtime_error *e);
    int (*get)(void *state, const char *name, struct hai_instance *one,
               struct hai_runtime_error *e);
    int (*create)(void *state, const struct hai_runtime_spec *spec,
                  struct hai_runtime_error *e); /* and start */
    int (*remove)(void *state, const char *name, struct hai_runtime_error *e);
    int (*rename)(void *state, const char *name, const char *new_name,
                  struct hai_runtime_error *e);
    int (*act)(void *state, const char *name, enum hai_runtime_action action,
               struct hai_runtime_error *e);

    /* id: the registry's, which outlives a change of the name */
    int (*snapshot_list)(void *state, const char *name, const char *id,
                         struct hai_runtime_snapshots *all,
                         struct hai_runtime_error *e);
    int (*snapshot_create)(void *state, const char *name, const char *id,
                           const char *snapshot, struct hai_runtime_error *e);
    int (*snapshot_restore)(void *state, const char *name, const char *id,
                            const char *snapshot, struct hai_runtime_error *e);
    int (*snapshot_delete)(void *state, const char *name, const char *id,
                           const char *snapshot, struct hai_runtime_error *e);

    /* What a restore has put aside, and was killed then: it gets its name
     * back, unless the new one was started.  The name is locked. */
    int (*settle)(void *state, const char *name, struct hai_runtime_error *e);

    /*
     * Waits for something to happen, at most timeout_ms, and until *stop.
     * 1: something has; 0: nothing; -1: the stream of events was lost, the
     * next call opens it again.  Called by one thread only.
     */
    int (*wait)(void *state, int timeout_ms, const atomic_bool *stop,
                struct hai_runtime_error *e);
};

extern const struct hai_runtime_ops hai_runtime_static;
extern const struct hai_runtime_ops hai_runtime_docker;
extern const struct hai_runtime_ops hai_runtime_incus;

/* "docker=<socket>", "incus=<socket>", "static=<file>".  NULL with a message
 * in error: what cannot be reached now is no error. */
struct hai_runtime *hai_runtime_open(const char *spec, char *error,
                                     size_t size);
void hai_runtime_close(struct hai_runtime *rt);
const char *hai_runtime_name(const struct hai_runtime *rt);

/* Can it make and remove instances? */
bool hai_runtime_makes(const struct hai_runtime *rt);

/* As the functions of the table. */
int hai_runtime_list(struct hai_runtime *rt, struct hai_instances *all,
                     struct hai_runtime_error *e);
int hai_runtime_get(struct hai_runtime *rt, const char *name,
                    struct hai_instance *one, struct hai_runtime_error *e);
int hai_runtime_create(struct hai_runtime *rt,
                       const struct hai_runtime_spec *spec,
                       struct hai_runtime_error *e);
int hai_runtime_delete(struct hai_runtime *rt, const char *name,
                       struct hai_runtime_error *e);
int hai_runtime_rename(struct hai_runtime *rt, const char *name,
                       const char *new_name, struct hai_runtime_error *e);
int hai_runtime_act(struct hai_runtime *rt, const char *name,
                    enum hai_runtime_action action,
                    struct hai_runtime_error *e);
int hai_runtime_snapshot_list(struct hai_runtime *rt, const char *name,
                              const char *id, struct hai_runtime_snapshots *all,
                              struct hai_runtime_error *e);
int hai_runtime_snapshot_create(struct hai_runtime *rt, const char *name,
                                const char *id, const char *snapshot,
                                struct hai_runtime_error *e);
int hai_runtime_snapshot_restore(struct hai_runtime *rt, const char *name,
                                 const char *id, const char *snapshot,
                                 struct hai_runtime_error *e);
int hai_runtime_snapshot_delete(struct hai_runtime *rt, const char *name,
                                const char *id, const char *snapshot,
                                struct hai_runtime_error *e);
int hai_runtime_settle(struct hai_runtime *rt, const char *name,
                       struct hai_runtime_error *e);
int hai_runtime_wait(struct hai_runtime *rt, int timeout_ms,
                     const atomic_bool *stop, struct hai_runtime_error *e);

/* For connectors: fills in *e and returns -1. */
int hai_runtime_fail(struct hai_runtime_error *e, enum hai_runtime_failure kind,
                     const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void hai_instance_free(struct hai_instance *one);
void hai_instances_free(struct hai_instances *all);
void hai_runtime_snapshots_free(struct hai_runtime_snapshots *all);

#endif
