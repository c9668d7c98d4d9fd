/*
 * Writes containers to the registry through the Redis Functions of
 * redis-schema/hoody_ai.lua: each call changes all keys of one container in
 * one step, or nothing.  What the functions promise is in docs/REGISTRY.md.
 *
 * A writer belongs to one thread, like its connection.
 */

#ifndef HAI_REGISTRY_WRITER_H
#define HAI_REGISTRY_WRITER_H

#include "redis.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The layout that this program knows, see redis-schema/schema.md. */
#define HAI_REGISTRY_SCHEMA 2

enum hai_container_ai { HAI_AI_KEEP, HAI_AI_OFF, HAI_AI_ON };

/* Another field of the hash; its name is [a-z][a-z0-9_]*. */
struct hai_container_field {
    const char *name;
    const char *value;
    size_t len;
};

/*
 * What is to be written.  NULL leaves a field as it is, "" takes it away.
 * All strings are borrowed for the time of the call.
 */
struct hai_container {
    const char *name; /* of the container; always there */
    const char *id;   /* 24 lower case hex digits; needed to create */
    const char *number;
    const char *addresses; /* separated by spaces, as are tags and mac */
    const char *cgroup;
    const char *tags;
    const char *status; /* a new container without one is "running" */
    const char *mac;
    const char *host_interface;
    const char *project_id;
    const struct hai_container_field *more;
    size_t n_more;
    enum hai_container_ai ai; /* new containers: KEEP is OFF */
};

/* How it is to be written; NULL in a call stands for all zero. */
struct hai_write_options {
    int64_t now_ms;          /* since 1970, for updated_at; 0: Redis' clock */
    uint64_t if_version;     /* only over this version; 0: over any */
    uint64_t source_version; /* the writer's own counter: a write with a
                                lower one than the last is ignored; 0: none */
};

enum hai_write_error {
    HAI_WRITE_OK = 0,
    HAI_WRITE_INVALID,   /* field: which one, text: why */
    HAI_WRITE_NOT_FOUND, /* there is no such container */
    HAI_WRITE_EXISTS,    /* there is one already */
    HAI_WRITE_CONFLICT,  /* version: the one it has now, 0: unknown */
    HAI_WRITE_TAKEN,     /* field, value and owner: another one has it */
    HAI_WRITE_SCHEMA,    /* the registry has another layout: migrate it */
    HAI_WRITE_BROKEN,    /* a key is of a wrong type: "hoody-ai registry
                            check" says more */
    HAI_WRITE_LIBRARY,   /* the functions are not there, or other ones */
    HAI_WRITE_REDIS      /* Redis refused it, or is out of reach: it may have
                            been done all the same */
};

struct hai_write_result {
    enum hai_write_error error;
    bool changed;     /* false: everything was so before */
    bool ignored;     /* source_version was too old */
    uint64_t version; /* of the container; 0 where there is none */
    char field[65];   /* INVALID, TAKEN */
    char value[65];   /* TAKEN: the address, number or id */
    char owner[101];  /* TAKEN: the other container */
    char text[256];   /* for people: one line, no control characters */
};

/* c and server are borrowed as long as the writer lives. */
struct hai_registry_writer {
    redisContext *c;
    const char *server; /* as hoody_ai_server names it */
};

/*
 * To be called once per connection: loads the functions where they are missing
 * or older, and marks an empty registry as one of the current layout.  0; or
 * -1 with a message in error: newer functions or layout, an older layout that
 * has to be migrated, no permission, no connection.
 */
int hai_registry_writer_init(struct hai_registry_writer *w, redisContext *c,
                             const char *server, char *error, size_t size);

/*
 * Each one waits for the answer, at most the time-out of the connection, and
 * returns result->error.  After HAI_WRITE_REDIS look at w->c->err: when set,
 * the connection is of no use any more.
 */
enum hai_write_error hai_registry_create(struct hai_registry_writer *w,
                                         const struct hai_container *container,
                                         const struct hai_write_options *how,
                                         struct hai_write_result *result);

/* Merges: what container does not say stays. */
enum hai_write_error hai_registry_update(struct hai_registry_writer *w,
                                         const struct hai_container *container,
                                         const struct hai_write_options *how,
                                         struct hai_write_result *result);

/* Also where there is none: then nothing is changed. */
enum hai_write_error hai_registry_delete(struct hai_registry_writer *w,
                                         const char *name,
                                         const struct hai_write_options *how,
                                         struct hai_write_result *result);

enum hai_write_error hai_registry_enable(struct hai_registry_writer *w,
                                         const char *name,
                                         const struct hai_write_options *how,
                                         struct hai_write_result *result);

/* Also where there is none: then its place in the gate is taken away. */
enum hai_write_error hai_registry_disable(struct hai_registry_writer *w,
                                          const char *name,
                                          const struct hai_write_options *how,
                                          struct hai_write_result *result);

/* To another name, and what container says beside its name in the same step. */
enum hai_write_error hai_registry_rename(struct hai_registry_writer *w,
                                         const struct hai_container *container,
                                         const char *new_name,
                                         const struct hai_write_options *how,
                                         struct hai_write_result *result);

/* "": none.  The same as an update that says nothing else. */
enum hai_write_error hai_registry_set_addresses(
    struct hai_registry_writer *w, const char *name, const char *addresses,
    const struct hai_write_options *how, struct hai_write_result *result);

/*
 * Many at once: send() queues a create (or an update) without waiting,
 * receive() takes the answers in the same order.  Queue no more than a few
 * hundred before taking them.
 */
enum hai_write_error hai_registry_send(struct hai_registry_writer *w,
                                       bool create,
                                       const struct hai_container *container,
                                       const struct hai_write_options *how,
                                       struct hai_write_result *result);
enum hai_write_error hai_registry_receive(struct hai_registry_writer *w,
                                          struct hai_write_result *result);

/* What a container is, read in one step. */
struct hai_container_read {
    bool exists;
    bool enabled;
    uint64_t version;  /* 0: written by somebody else than the functions */
    redisReply *reply; /* of the fields; hai_registry_read_free() */
    const struct redisReply *const *field; /* name, value, name, value, ... */
    size_t n; /* names and values, an even number */
};

/* HAI_WRITE_OK also where it does not exist. */
enum hai_write_error hai_registry_read(struct hai_registry_writer *w,
                                       const char *name,
                                       struct hai_container_read *read,
                                       struct hai_write_result *result);
void hai_registry_read_free(struct hai_container_read *read);

/* A field's value, ended by NUL; NULL where it has none. */
const char *hai_registry_read_field(const struct hai_container_read *read,
                                    const char *name, size_t *len);

/* The name of the container with this id: HAI_WRITE_NOT_FOUND, or OK. */
enum hai_write_error hai_registry_find_id(struct hai_registry_writer *w,
                                          const char *id, char name[101],
                                          struct hai_write_result *result);

#endif
