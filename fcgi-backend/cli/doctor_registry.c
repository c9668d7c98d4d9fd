/*
 * hoody-ai doctor: is the registry consistent, in short?  Names without a
 * hash, hashes that no gateway takes in, addresses and numbers of two.
 */

#include "doctor.h"

#include "lib/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMES_SHOWN 3

struct claim {
    struct hai_addr addr;
    size_t owner; /* its name, by number */
};

/* What was found of one kind: how many, the first ones by name. */
struct found {
    size_t n;
    char names[NAMES_SHOWN * (HAI_NAME_MAX + 2) + 1];
};

struct survey {
    struct claim *claim;
    size_t claims, claims_size;
    char **number;
    size_t numbers, numbers_size;
    char **name; /* of the containers with an address */
    size_t names, names_size;
    size_t containers;
    struct found without_hash, faulty, bad_address, shared;
    size_t shared_numbers;
};

static void note(struct found *found, const char *name) {
    size_t len = strlen(found->names);

    if (found->n++ < NAMES_SHOWN) {
        snprintf(found->names + len, sizeof(found->names) - len, "%s%s",
                 len > 0 ? ", " : "", name);
    }
}

/* Room for one more; -1 without memory. */
static int reserve(void *list, size_t one, size_t n, size_t *size) {
    void **at = list, *larger;
    size_t more;

    if (n < *size) {
        return 0;
    }
    more = *size > 0 ? *size * 2 : 256;
    larger = realloc(*at, more * one);
    if (larger == NULL) {
        return -1;
    }
    *at = larger;
    *size = more;
    return 0;
}

static int add_text(char ***list, size_t *n, size_t *size,
                    struct hai_slice text) {
    char *copy;

    if (reserve(list, sizeof(**list), *n, size) != 0) {
        return -1;
    }
    copy = strndup(text.data, text.len);
    if (copy == NULL) {
        return -1;
    }
    (*list)[(*n)++] = copy;
    return 0;
}

static int add(void *data, const struct hai_registry_entry *c) {
    struct hai_addr addr[HAI_REGISTRY_ADDRESSES];
    struct survey *s = data;
    size_t n, i, bad;

    if (!c->exists) {
        note(&s->without_hash, c->name.data);
        return 0;
    }
    s->containers++;
    if (c->fault != NULL) {
        note(&s->faulty, c->name.data);
    }
    if (!hai_container_runs(c)) {
        return 0;
    }
    n = hai_container_addresses(c->addresses, addr, &bad);
    if (bad > 0) {
        note(&s->bad_address, c->name.data);
    }
    if (hai_number_valid(c->number.data, c->number.len)
        && add_text(&s->number, &s->numbers, &s->numbers_size, c->number) != 0)
    {
        return -1;
    }
    if (n > 0 && add_text(&s->name, &s->names, &s->names_size, c->name) != 0) {
        return -1;
    }
    for (i = 0; i < n; i++) {
        if (reserve(&s->claim, sizeof(*s->claim), s->claims, &s->claims_size)
            != 0) {
            return -1;
        }
        s->claim[s->claims++] = (struct claim){addr[i], s->names - 1};
    }
    return 0;
}

/* A prefix comes right before what it contains. */
static int compare_claims(const void *one, const void *other) {
    const struct claim *a = one, *b = other;
    int rc = (int) a->addr.len - (int) b->addr.len;

    if (rc == 0) {
        rc = memcmp(a->addr.bytes, b->addr.bytes, sizeof(a->addr.bytes));
    }
    return rc != 0 ? rc : (int) a->addr.bits - (int) b->addr.bits;
}

static int compare_texts(const void *a, const void *b) {
    return strcmp(*(char *const *) a, *(char *const *) b);
}

/* The prefixes around the one that is looked at are kept, innermost last; two
 * prefixes overlap only where one contains the other. */
static void find_shared(struct survey *s) {
    size_t around[129], n = 0, i, k;

    if (s->claims > 0) {
        qsort(s->claim, s->claims, sizeof(*s->claim), compare_claims);
    }
    for (i = 0; i < s->claims; i++) {
        const struct claim *c = &s->claim[i];

        while (n > 0
               && !hai_addr_match(&s->claim[around[n - 1]].addr, c->addr.bytes,
                                  c->addr.len))
        {
            n--;
        }
        for (k = 0; k < n; k++) {
            if (s->claim[around[k]].owner != c->owner) {
                note(&s->shared, s->name[c->owner]);
                break;
            }
        }
        if (n > 0 && s->claim[around[n - 1]].addr.bits == c->addr.bits) {
            continue; /* the same once more: its owner differs, or it is ours */
        }
        around[n++] = i;
    }
    if (s->numbers > 0) {
        qsort(s->number, s->numbers, sizeof(*s->number), compare_texts);
    }
    for (i = 1; i < s->numbers; i++) {
        s->shared_numbers += strcmp(s->number[i - 1], s->number[i]) == 0;
    }
}

static void tell(const struct survey *s, const struct hai_registry_sum *sum,
                 struct hai_finding *f) {
    const char *anew = "Delete the key and write it anew.";

    if (sum->enabled_wrong || sum->listed_wrong) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, anew, "%s is not a set",
                       sum->enabled_wrong ? "ai:enabled" : "containers");
    }
    if (s->shared.n > 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Take the address from the container that does not "
                       "have it: what two claim is nobody's.",
                       "%zu addresses are claimed twice: %s", s->shared.n,
                       s->shared.names);
    }
    if (s->shared_numbers > 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Give each container a number of its own.",
                       "%zu numbers are claimed twice", s->shared_numbers);
    }
    if (s->faulty.n > 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Write them anew, see redis-schema/schema.md.",
                       "gateways do not take in %zu containers: %s",
                       s->faulty.n, s->faulty.names);
    }
    if (s->bad_address.n > 0) {
        hai_doctor_say(f, HAI_DOCTOR_WARN, "Mend their field \"addresses\".",
                       "%zu containers have addresses that are none: %s",
                       s->bad_address.n, s->bad_address.names);
    }
    if (s->without_hash.n > 0) {
        hai_doctor_say(f, HAI_DOCTOR_WARN,
                       "Take them out of ai:enabled and containers (SREM): "
                       "one that is made later would be enabled at once.",
                       "%zu names in a set have no hash: %s", s->without_hash.n,
                       s->without_hash.names);
    }
    if (sum->strays > 0) {
        hai_doctor_say(f, HAI_DOCTOR_WARN,
                       "Add them to the set containers: gateways find them "
                       "late after a start.",
                       "%zu containers are in no set", sum->strays);
    }
    hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                   "%zu containers, %zu of them enabled", s->containers,
                   sum->enabled);
}

static void free_texts(char **list, size_t n) {
    size_t i;

    for (i = 0; i < n; i++) {
        free(list[i]);
    }
    free(list);
}

void hai_doctor_registry(const struct hai_doctor *d, struct hai_finding *f) {
    redisContext *c = hai_doctor_redis(d, f);
    struct survey s;
    struct hai_registry_hooks hooks = {add, NULL, &s};
    struct hai_registry_sum sum;
    char error[256];

    if (c == NULL) {
        return;
    }
    memset(&s, 0, sizeof(s));
    if (hai_registry_each(c, d->registry.server, &hooks, &sum, error,
                          sizeof(error))
        != 0)
    {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, NULL, "it cannot be read: %s",
                       *error != '\0' ? error : "no memory");
    } else {
        find_shared(&s);
        tell(&s, &sum, f);
    }
    free(s.claim);
    free_texts(s.number, s.numbers);
    free_texts(s.name, s.names);
    redisFree(c);
}
