
/*
 * To whom a source belongs: address, prefix or cgroup.  Reads the registry's
 * tables and changes nothing; memory only, as all of the registry.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include "ngx_http_hoody_ai_registry_core.h"


static void ngx_http_hoody_ai_registry_owner(
    ngx_http_hoody_ai_owners_t *owners, ngx_http_hoody_ai_entry_t *e);
static ngx_http_hoody_ai_verdict_e ngx_http_hoody_ai_registry_kernel(
    ngx_http_hoody_ai_registry_t *reg, ngx_http_hoody_ai_entry_t *e,
    ngx_str_t *path, ngx_http_hoody_ai_owners_t *owners,
    ngx_http_hoody_ai_container_t *view);


void
ngx_http_hoody_ai_registry_find(ngx_http_hoody_ai_registry_t *reg,
    uint8_t *bytes, ngx_uint_t len, ngx_uint_t bits,
    ngx_http_hoody_ai_owners_t *owners)
{
    uint8_t                      masked[16];
    uint32_t                     hash, *in_use;
    ngx_uint_t                   i;
    ngx_http_hoody_ai_link_t    *link;
    ngx_http_hoody_ai_prefix_t  *x;

    in_use = (len == 4) ? reg->bits4 : reg->bits6;

    ngx_memcpy(masked, bytes, len);

    /* from the longest prefix down, so that bits only have to be cleared */

    for (i = bits; i > 0; i--) {

        if (in_use[i] == 0) {
            continue;
        }

        if (i < len * 8) {
            masked[i / 8] &= (uint8_t) (0xff00 >> (i % 8));
            ngx_memzero(masked + i / 8 + 1, len - i / 8 - 1);
        }

        hash = ngx_http_hoody_ai_table_hash(masked, len) + (uint32_t) i;

        for (link = ngx_http_hoody_ai_table_first(&reg->prefixes, hash);
             link;
             link = link->next)
        {
            if (link->hash != hash) {
                continue;
            }

            x = ngx_queue_data(link, ngx_http_hoody_ai_prefix_t, link);

            if (x->len != len
                || x->bits != i
                || ngx_memcmp(x->bytes, masked, len) != 0)
            {
                continue;
            }

            ngx_http_hoody_ai_registry_owner(owners,
                ngx_queue_data((x - x->index), ngx_http_hoody_ai_entry_t,
                               prefixes));
        }
    }
}


static void
ngx_http_hoody_ai_registry_owner(ngx_http_hoody_ai_owners_t *owners,
    ngx_http_hoody_ai_entry_t *e)
{
    ngx_uint_t  i;

    if (e == owners->self) {
        owners->mine = 1;
        return;
    }

    for (i = 0; i < ngx_min(owners->n, owners->max); i++) {
        if (owners->others[i] == e) {
            return;
        }
    }

    if (owners->n < owners->max) {
        owners->others[owners->n] = e;
    }

    owners->n++;
}


ngx_http_hoody_ai_verdict_e
ngx_http_hoody_ai_registry_source(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_entry_t *e, ngx_http_hoody_ai_source_t *source,
    ngx_http_hoody_ai_entry_t **others, ngx_uint_t max, ngx_uint_t *nothers,
    ngx_http_hoody_ai_container_t *view)
{
    size_t                       len;
    uint8_t                      bytes[16];
    ngx_http_hoody_ai_owners_t   owners;
    ngx_http_hoody_ai_verdict_e  verdict;

    owners.self = e;
    owners.mine = 0;
    owners.others = others;
    owners.max = max;
    owners.n = 0;

    *nothers = 0;

    view->bare = 0;
    view->bare_at = 0;

    if (source->bound) {
        return NGX_HTTP_HOODY_AI_ADMIT;
    }

    if (source->addr_len == 0) {
        verdict = ngx_http_hoody_ai_registry_kernel(reg, e, &source->cgroup,
                                                    &owners, view);
        *nothers = owners.n;
        return verdict;
    }

    len = source->addr_len;

    if (len != 4 && len != 16) {
        return NGX_HTTP_HOODY_AI_WRONG_SOURCE;
    }

    ngx_memcpy(bytes, source->addr, len);

    if (len == 16) {
        len = hai_addr_unmap(bytes);
    }

    ngx_http_hoody_ai_registry_find(reg, bytes, len, len * 8, &owners);

    if (!owners.mine) {
        return NGX_HTTP_HOODY_AI_WRONG_SOURCE;
    }

    *nothers = owners.n;

    return owners.n ? NGX_HTTP_HOODY_AI_SHARED_SOURCE
                    : NGX_HTTP_HOODY_AI_ADMIT;
}


/*
 * The outermost registered component decides: a container with a delegated
 * cgroup can create any name below its own, so a match further in proves
 * nothing once a component in front of it belongs to another container.
 */

static ngx_http_hoody_ai_verdict_e
ngx_http_hoody_ai_registry_kernel(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_entry_t *e, ngx_str_t *path,
    ngx_http_hoody_ai_owners_t *owners, ngx_http_hoody_ai_container_t *view)
{
    u_char                     *cgroup;
    size_t                      at, end, i, n;
    uint32_t                    hash;
    ngx_str_t                   key;
    enum hai_cgroup_match       match;
    ngx_http_hoody_ai_link_t   *link;
    ngx_http_hoody_ai_entry_t  *other;

    at = 0;

    match = hai_cgroup_match((char *) ngx_http_hoody_ai_entry_cgroup(e),
                             e->cgroup_len, (char *) path->data, path->len,
                             &at);

    if (match == HAI_CGROUP_NO) {
        return NGX_HTTP_HOODY_AI_WRONG_SOURCE;
    }

    /* a bare name starts at "at", a path at 0 */

    end = at + e->cgroup_len;

    for (i = 1; i < end; i += n + 1) {

        for (n = 0; i + n < path->len && path->data[i + n] != '/'; n++) {
            /* void */
        }

        hash = ngx_http_hoody_ai_table_hash(path->data + i, n);

        for (link = ngx_http_hoody_ai_table_first(&reg->cgroups, hash);
             link;
             link = link->next)
        {
            if (link->hash != hash) {
                continue;
            }

            other = ngx_queue_data(link, ngx_http_hoody_ai_entry_t, by_cgroup);

            ngx_http_hoody_ai_registry_cgroup_key(other, &key);

            if (key.len != n
                || ngx_memcmp(key.data, path->data + i, n) != 0)
            {
                continue;
            }

            cgroup = ngx_http_hoody_ai_entry_cgroup(other);

            /*
             * Another one's absolute path counts where it is; beside a bare
             * name, which may be anywhere, its last component is enough.
             */

            if (match == HAI_CGROUP_PATH
                && cgroup[0] == '/'
                && (other->cgroup_len != i + n
                    || ngx_memcmp(cgroup, path->data, i + n) != 0))
            {
                continue;
            }

            ngx_http_hoody_ai_registry_owner(owners, other);
        }
    }

    if (owners->n) {
        return NGX_HTTP_HOODY_AI_SHARED_SOURCE;
    }

    if (match == HAI_CGROUP_BARE) {
        view->bare = 1;
        view->bare_at = at;
    }

    return NGX_HTTP_HOODY_AI_ADMIT;
}


void
ngx_http_hoody_ai_registry_cgroup_key(ngx_http_hoody_ai_entry_t *e,
    ngx_str_t *key)
{
    u_char  *p, *start;

    start = ngx_http_hoody_ai_entry_cgroup(e);
    p = start + e->cgroup_len;

    while (p > start && p[-1] != '/') {
        p--;
    }

    key->data = p;
    key->len = start + e->cgroup_len - p;
}


ngx_uint_t
ngx_http_hoody_ai_registry_claimed(ngx_http_hoody_ai_registry_t *reg,
    ngx_http_hoody_ai_source_t *source)
{
    size_t                      len;
    uint8_t                     bytes[16];
    ngx_http_hoody_ai_owners_t  owners;

    len = source->addr_len;

    if (len != 4 && len != 16) {
        return 0;
    }

    ngx_memzero(&owners, sizeof(ngx_http_hoody_ai_owners_t));
    ngx_memcpy(bytes, source->addr, len);

    if (len == 16) {
        len = hai_addr_unmap(bytes);
    }

    ngx_http_hoody_ai_registry_find(reg, bytes, len, len * 8, &owners);

    return owners.n != 0;
}
