/*
 * The registry of one host as the gateway reads it: all containers, one after
 * the other.  Reads only, with what the ACL of the gateway allows.  Layout:
 * redis-schema/schema.md.
 */

#ifndef HAI_REGISTRY_H
#define HAI_REGISTRY_H

#include "hai_identity.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the gateway keeps of the addresses of one container. */
#define HAI_REGISTRY_ADDRESSES 256

/* Sets and keys that hold more names are refused. */
#define HAI_REGISTRY_MAX (1024 * 1024)

/*
 * One container, borrowed: valid while the function that it was given to
 * runs.  A field that is not set has the length 0.
 */
struct hai_registry_entry {
    struct hai_slice name; /* NUL ended */
    struct hai_slice id;
    struct hai_slice number;
    struct hai_slice addresses;
    struct hai_slice cgroup;
    struct hai_slice tags;
    struct hai_slice status;
    int64_t ttl_ms; /* -1: it does not expire */
    bool exists;    /* there is a hash of that name */
    bool listed;    /* in the set of containers */
    bool enabled;   /* in the set of those whose AI is on */

    /* why the gateway does not take it in, static; NULL: it does */
    const char *fault;
};

/* The registry as a whole. */
struct hai_registry_sum {
    size_t listed; /* members of the sets */
    size_t enabled;
    size_t strays;  /* hashes in neither of them */
    size_t foreign; /* names that are none, which the gateway ignores */
    bool listed_wrong, enabled_wrong; /* the key is not a set */
};

struct hai_registry_hooks {
    /* 0, or -1 to end it all, with a message of its own */
    int (*container)(void *data, const struct hai_registry_entry *c);
    /* now and then, may be NULL; total grows when strays are found */
    void (*progress)(void *data, size_t done, size_t total);
    void *data;
};

/* "hoody:{server}:rest"; NULL without memory, free(). */
char *hai_registry_key(const char *server, const char *rest);

/*
 * Calls hooks->container() for every name of both sets, whether or not it has
 * a hash, and for every hash in neither: once each, in the order of their
 * names, the strays last.  Pipelined; each wait is bounded by the
 * connection's time-out.  What changes meanwhile may be seen or not.  0, or
 * -1 with a message in error: the connection is of no use then.
 */
int hai_registry_each(redisContext *redis, const char *server,
                      const struct hai_registry_hooks *hooks,
                      struct hai_registry_sum *sum, char *error, size_t size);

/* Does the gateway know it, and has it no other status than "running"? */
bool hai_container_runs(const struct hai_registry_entry *c);

/*
 * The addresses and prefixes of the list, each once; what is no address
 * claims nothing and is counted in *bad (may be NULL).  More than
 * HAI_REGISTRY_ADDRESSES: HAI_REGISTRY_ADDRESSES + 1.
 */
size_t hai_container_addresses(struct hai_slice list,
                               struct hai_addr addr[HAI_REGISTRY_ADDRESSES],
                               size_t *bad);

#endif
