/*
 * What a gateway would answer to a request, as far as that follows from the
 * registry and the route: the decisions of the module's access phase over the
 * containers of a registry.h.  tests/nginx/why.t compares the two.
 */

#ifndef HAI_REGISTRY_DECIDE_H
#define HAI_REGISTRY_DECIDE_H

#include "registry.h"

#include "hai_route.h"

/* In words: docs/METRICS.md, the label "reason" of hoody_ai_refused_total. */
enum hai_reason {
    HAI_REASON_OK,
    HAI_REASON_BAD_CREDENTIAL,
    HAI_REASON_NO_CONTAINER,
    HAI_REASON_NOT_RUNNING,
    HAI_REASON_WRONG_SOURCE,
    HAI_REASON_SHARED_SOURCE,
    HAI_REASON_SHARED_NUMBER,
    HAI_REASON_PEER_REPLACED,
    HAI_REASON_DISABLED,
    HAI_REASON_ROUTE,
    HAI_REASON_NOT_LOADED,
    HAI_REASON_STALE,
    HAI_REASONS
};

/* What the caller gets for a reason. */
struct hai_refusal {
    int status;
    const char *code;
    const char *reason;
};

const struct hai_refusal *hai_refusal(enum hai_reason reason);

/* Where a request comes from. */
struct hai_source {
    uint8_t addr[16];
    size_t addr_len;         /* 4 or 16; 0: kernel identity */
    struct hai_slice cgroup; /* the path of the "0::" line */
    uint8_t peer[16];        /* the connection's own address, where realip */
    size_t peer_len;         /* put another in its place; 0: it did not */
};

/* One address, not a prefix; IPv4-mapped IPv6 is IPv4.  0, or -1. */
int hai_source_address(const char *text, uint8_t addr[16], size_t *len);

/* A container that has to do with the question, copied. */
struct hai_related {
    struct hai_registry_entry c; /* its texts are the copy's */
    bool by_name;                /* it has the claimed name */
    bool by_number;              /* it runs and has the claimed number */
    bool by_source;              /* it runs and claims the source */
    bool by_peer;                /* it runs and claims the peer's own address */
    struct hai_addr prefix;      /* that contains the source; len 0: none */
    void *block;
};

/* Of a claimed number or source no more are kept than these. */
#define HAI_RELATED_MAX 1000

struct hai_decision {
    struct hai_slice claim; /* the text behind "container-", borrowed */
    struct hai_source source;
    struct hai_related *related;
    size_t n, size;
    bool more; /* there are more than are kept */

    /* after hai_decision_end() */
    enum hai_reason reason;
    const struct hai_related *container; /* whose claim it is, or NULL */
    bool is_number;                      /* it was found by its number */
    size_t numbers;                      /* containers with that number */
    size_t others; /* other containers that claim the source */
    bool bare;     /* a bare cgroup name that does not count where it is */
};

/* claim: 1 to 100 of [A-Za-z0-9_-], see hai_name_valid(); else the reason is
 * HAI_REASON_BAD_CREDENTIAL whatever there is.  Both stay the caller's. */
void hai_decision_begin(struct hai_decision *d, struct hai_slice claim,
                        const struct hai_source *source);

/* A container of hai_registry_each(), in any order.  0, or -1: no memory. */
int hai_decision_add(struct hai_decision *d,
                     const struct hai_registry_entry *c);

/* All containers have been added: fills in the reason. */
void hai_decision_end(struct hai_decision *d);

/* Is it one of the other containers that claim the source? */
bool hai_decision_is_other(const struct hai_decision *d,
                           const struct hai_related *r);

void hai_decision_free(struct hai_decision *d);

#endif
