/*
 * Decides as the module does, see registry_decide.h.  Memory is what the
 * question has to do with, not the registry: each container is looked at
 * once and most are forgotten.
 */

#include "registry_decide.h"

#include "hai_cgroup.h"

#include <stdlib.h>
#include <string.h>

static const struct hai_refusal refusals[HAI_REASONS] = {
    [HAI_REASON_OK] = {200, "ok", "ok"},
    [HAI_REASON_BAD_CREDENTIAL] = {401, "invalid_identity", "bad_credential"},
    [HAI_REASON_NO_CONTAINER] = {401, "invalid_identity", "no_container"},
    [HAI_REASON_NOT_RUNNING] = {401, "invalid_identity", "not_running"},
    [HAI_REASON_WRONG_SOURCE] = {401, "invalid_identity", "wrong_source"},
    [HAI_REASON_SHARED_SOURCE] = {401, "invalid_identity", "shared_source"},
    [HAI_REASON_SHARED_NUMBER] = {401, "invalid_identity", "shared_number"},
    [HAI_REASON_PEER_REPLACED] = {401, "invalid_identity", "peer_replaced"},
    [HAI_REASON_DISABLED] = {403, "ai_disabled", "ai_disabled"},
    [HAI_REASON_ROUTE] = {404, "unknown_route", "unknown_route"},
    [HAI_REASON_NOT_LOADED] = {503, "registry_unavailable", "not_loaded"},
    [HAI_REASON_STALE] = {503, "registry_unavailable", "stale"},
};

const struct hai_refusal *hai_refusal(enum hai_reason reason) {
    return &refusals[reason];
}

int hai_source_address(const char *text, uint8_t addr[16], size_t *len) {
    struct hai_addr one;

    if (strchr(text, '/') != NULL
        || hai_addr_parse(text, strlen(text), &one) != 0) {
        return -1;
    }
    memcpy(addr, one.bytes, sizeof(one.bytes));
    *len = one.len;
    return 0;
}

static bool same(struct hai_slice a, struct hai_slice b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* The last component of a registered cgroup. */
static struct hai_slice last_component(struct hai_slice cgroup) {
    size_t n = 0;

    while (n < cgroup.len && cgroup.data[cgroup.len - n - 1] != '/') {
        n++;
    }
    return (struct hai_slice){cgroup.data + cgroup.len - n, n};
}

/*
 * Where a component of the path, up to its first "end" bytes, is the last one
 * of the registered cgroup: the offset behind it, searched from *at on.
 */
static bool next_component(struct hai_slice cgroup, struct hai_slice path,
                           size_t end, size_t *at) {
    struct hai_slice last = last_component(cgroup);
    size_t i, n;

    for (i = *at; i < end; i += n + 1) {
        for (n = 0; i + n < path.len && path.data[i + n] != '/'; n++) {
        }
        if (last.len == n && n > 0 && memcmp(last.data, path.data + i, n) == 0)
        {
            *at = i + n + 1;
            return true;
        }
    }
    return false;
}

static bool claims_cgroup(const struct hai_registry_entry *c,
                          struct hai_slice path) {
    size_t at = 1;

    return c->cgroup.len > 0 && path.len > 0
           && next_component(c->cgroup, path, path.len, &at);
}

static bool claims_address(const struct hai_registry_entry *c,
                           const uint8_t *bytes, size_t len,
                           struct hai_addr *prefix) {
    struct hai_addr addr[HAI_REGISTRY_ADDRESSES];
    size_t n = hai_container_addresses(c->addresses, addr, NULL), i;
    bool found = false;

    for (i = 0; i < n && i < HAI_REGISTRY_ADDRESSES; i++) {
        if (hai_addr_match(&addr[i], bytes, len)
            && (!found || addr[i].bits > prefix->bits))
        {
            *prefix = addr[i];
            found = true;
        }
    }
    return found;
}

/* Copies it with its texts; each one is NUL ended. */
static int copy(struct hai_related *r, const struct hai_registry_entry *c) {
    struct hai_slice *const to[] = {&r->c.name,      &r->c.id,     &r->c.number,
                                    &r->c.addresses, &r->c.cgroup, &r->c.tags,
                                    &r->c.status};
    const size_t n = sizeof(to) / sizeof(to[0]);
    size_t size = 0, i;
    char *p;

    r->c = *c;
    for (i = 0; i < n; i++) {
        size += to[i]->len + 1;
    }
    p = r->block = malloc(size);
    if (p == NULL) {
        return -1;
    }
    for (i = 0; i < n; i++) {
        if (to[i]->len > 0) {
            memcpy(p, to[i]->data, to[i]->len);
        }
        p[to[i]->len] = '\0';
        to[i]->data = p;
        p += to[i]->len + 1;
    }
    return 0;
}

void hai_decision_begin(struct hai_decision *d, struct hai_slice claim,
                        const struct hai_source *source) {
    memset(d, 0, sizeof(*d));
    d->claim = claim;
    d->source = *source;
}

int hai_decision_add(struct hai_decision *d,
                     const struct hai_registry_entry *c) {
    struct hai_related r = {.by_name = same(c->name, d->claim)}, *larger;
    size_t size;

    if (hai_container_runs(c)) {
        r.by_number = hai_number_valid(d->claim.data, d->claim.len)
                      && same(c->number, d->claim);
        if (d->source.addr_len > 0) {
            r.by_source = claims_address(c, d->source.addr, d->source.addr_len,
                                         &r.prefix);
        } else {
            r.by_source = claims_cgroup(c, d->source.cgroup);
        }
        if (d->source.peer_len > 0) {
            struct hai_addr any;

            r.by_peer =
                claims_address(c, d->source.peer, d->source.peer_len, &any);
        }
    }
    if (!r.by_name && !r.by_number && !r.by_source && !r.by_peer) {
        return 0;
    }

    /* two others are as good as all of them; the claimed name is needed */
    if (d->n >= HAI_RELATED_MAX && !r.by_name) {
        d->more = true;
        return 0;
    }
    if (d->n == d->size) {
        size = d->size > 0 ? d->size * 2 : 8;
        larger = realloc(d->related, size * sizeof(*larger));
        if (larger == NULL) {
            return -1;
        }
        d->related = larger;
        d->size = size;
    }
    if (copy(&r, c) != 0) {
        return -1;
    }
    d->related[d->n++] = r;
    return 0;
}

/* Whose claim is it?  A name first, then a number. */
static enum hai_reason find(struct hai_decision *d) {
    const struct hai_related *named = NULL, *numbered = NULL;
    size_t i;

    d->numbers = 0;
    for (i = 0; i < d->n; i++) {
        if (d->related[i].by_name) {
            named = &d->related[i];
        }
        if (d->related[i].by_number) {
            numbered = &d->related[i];
            d->numbers++;
        }
    }
    if (named != NULL && hai_container_runs(&named->c)) {
        d->container = named;
        return HAI_REASON_OK;
    }
    if (d->numbers == 0) {
        d->container = named;
        return named != NULL && named->c.exists && named->c.fault == NULL
                   ? HAI_REASON_NOT_RUNNING
                   : HAI_REASON_NO_CONTAINER;
    }
    d->is_number = true;
    if (d->numbers > 1) {
        return HAI_REASON_SHARED_NUMBER;
    }
    d->container = numbered;
    return HAI_REASON_OK;
}

/*
 * Does another container's cgroup lie on the way to ours, or is it the same?
 * Its absolute path counts where it is; beside a bare name, which may be
 * anywhere, its last component is enough.
 */
static bool on_the_way(const struct hai_registry_entry *other,
                       enum hai_cgroup_match match, struct hai_slice path,
                       size_t end) {
    size_t at = 1;

    while (next_component(other->cgroup, path, end, &at)) {
        if (match == HAI_CGROUP_BARE || other->cgroup.data[0] != '/'
            || (other->cgroup.len == at - 1
                && memcmp(other->cgroup.data, path.data, at - 1) == 0))
        {
            return true;
        }
    }
    return false;
}

static enum hai_reason check_cgroup(struct hai_decision *d) {
    const struct hai_registry_entry *c = &d->container->c;
    struct hai_slice path = d->source.cgroup;
    enum hai_cgroup_match match;
    size_t at = 0, i;

    match = hai_cgroup_match(c->cgroup.data, c->cgroup.len, path.data, path.len,
                             &at);
    if (match == HAI_CGROUP_NO) {
        return HAI_REASON_WRONG_SOURCE;
    }
    for (i = 0; i < d->n; i++) {
        if (hai_decision_is_other(d, &d->related[i])
            && on_the_way(&d->related[i].c, match, path, at + c->cgroup.len))
        {
            d->others++;
        }
    }
    if (d->others > 0) {
        return HAI_REASON_SHARED_SOURCE;
    }
    if (match == HAI_CGROUP_BARE
        && !hai_cgroup_bare_safe(path.data, path.len, at)) {
        d->bare = true;
        return HAI_REASON_WRONG_SOURCE;
    }
    return HAI_REASON_OK;
}

static enum hai_reason check_address(struct hai_decision *d) {
    size_t i;

    for (i = 0; i < d->n; i++) {
        d->others += hai_decision_is_other(d, &d->related[i]);
    }
    if (!d->container->by_source) {
        return HAI_REASON_WRONG_SOURCE;
    }
    return d->others > 0 ? HAI_REASON_SHARED_SOURCE : HAI_REASON_OK;
}

static enum hai_reason decide(struct hai_decision *d) {
    enum hai_reason reason;
    size_t i;

    if (!hai_name_valid(d->claim.data, d->claim.len)) {
        return HAI_REASON_BAD_CREDENTIAL;
    }
    reason = find(d);

    /* whoever claims the peer's own address could name any source */
    for (i = 0; i < d->n; i++) {
        if (d->related[i].by_peer) {
            return HAI_REASON_PEER_REPLACED;
        }
    }
    if (reason == HAI_REASON_OK) {
        reason = d->source.addr_len > 0 ? check_address(d) : check_cgroup(d);
    }
    if (reason == HAI_REASON_OK && !d->container->c.enabled) {
        reason = HAI_REASON_DISABLED;
    }
    return reason;
}

void hai_decision_end(struct hai_decision *d) {
    d->reason = decide(d);
}

bool hai_decision_is_other(const struct hai_decision *d,
                           const struct hai_related *r) {
    return r->by_source && r != d->container;
}

void hai_decision_free(struct hai_decision *d) {
    size_t i;

    for (i = 0; i < d->n; i++) {
        free(d->related[i].block);
    }
    free(d->related);
    memset(d, 0, sizeof(*d));
}
