/*
 * The reconciler, see sync.h.  Each pass begins with what both sides say now,
 * so nothing has to be remembered: a missed event, a restart of the runtime or
 * of this program end in the same registry.
 */

#define _GNU_SOURCE

#include "sync.h"

#include "audit.h"
#include "locks.h"
#include "runtime.h"
#include "snapshots.h"
#include "view.h"

#include "lib/log.h"

#include <hai_identity.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PASS_MS 30000 /* between passes when nothing happens */
#define GATHER_MS 50  /* events that come together */
#define RETRY_MS 1000 /* after a failure */
#define BUSY_MS 2000  /* the same while all may not be seen yet, see run() */
#define CREATING_MS 60000 /* at most, for one of whom nothing is known */
#define FIELDS 5          /* in "more" of what fill() makes */
#define PIPELINE 500
#define WARN_EVERY 60 /* seconds, of one and the same */

struct hai_sync {
    struct hai_control *control;
    pthread_t thread;
    atomic_bool wake; /* end the wait: to stop, or for a pass */
    bool busy;        /* this pass has found names locked */
    _Atomic int64_t last;
    redisContext *c;
    struct hai_registry_writer writer;
    char who[64];
    time_t warned;
};

/* What the registry says of one container. */
struct known {
    char *name;
    redisReply *reply;
    struct hai_container_read read;
};

struct registry {
    struct known *item;
    size_t n;
};

static int64_t wall_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);

    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const char *text_of(const struct hai_container_read *read,
                           const char *field) {
    const char *text = hai_registry_read_field(read, field, NULL);

    return text != NULL ? text : "";
}

/* --- reading the registry -------------------------------------------------- */

static void registry_free(struct registry *r) {
    for (size_t i = 0; i < r->n; i++) {
        free(r->item[i].name);
        freeReplyObject(r->item[i].reply);
    }
    free(r->item);
}

static int read_hashes(struct hai_sync *s, redisReply **names, size_t n,
                       struct registry *r) {
    for (size_t i = 0; i < n; i++) {
        if (redisAppendCommand(s->c, "HGETALL hoody:{%s}:container:%b",
                               s->control->server, names[i]->str, names[i]->len)
            != REDIS_OK)
        {
            return -1;
        }
    }

    for (size_t i = 0; i < n; i++) {
        struct known *k = &r->item[r->n];
        redisReply *reply;

        if (redisGetReply(s->c, (void **) &reply) != REDIS_OK) {
            return -1;
        }

        if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0) {
            freeReplyObject(reply);
            continue;
        }

        k->name = strndup(names[i]->str, names[i]->len);
        k->reply = reply;
        k->read = (struct hai_container_read){
            .exists = true,
            .field = (const struct redisReply *const *) reply->element,
            .n = reply->elements,
        };
        k->read.version = strtoull(text_of(&k->read, "version"), NULL, 10);
        r->n++;

        if (k->name == NULL) {
            return -1;
        }
    }

    return 0;
}

static int registry_read(struct hai_sync *s, struct registry *r) {
    redisReply *names;
    char error[256], key[512];
    int rc = 0;

    snprintf(key, sizeof(key), "hoody:{%s}:containers", s->control->server);
    names = hai_redis_members(s->c, key, error, sizeof(error));
    if (names == NULL) {
        hai_log(HAI_LOG_ERROR, "registry: %s", error);
        return -1;
    }

    r->item = calloc(names->elements + 1, sizeof(*r->item));
    if (r->item == NULL) {
        rc = -1;
    }

    for (size_t i = 0; rc == 0 && i < names->elements; i += PIPELINE) {
        size_t n = names->elements - i;

        rc = read_hashes(s, names->element + i, n < PIPELINE ? n : PIPELINE, r);
    }

    freeReplyObject(names);

    if (rc != 0) {
        hai_log(HAI_LOG_ERROR, "registry: it cannot be read");
    }

    return rc;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct known *) a)->name,
                  ((const struct known *) b)->name);
}

static int by_instance_name(const void *a, const void *b) {
    return strcmp(((const struct hai_instance *) a)->name,
                  ((const struct hai_instance *) b)->name);
}

/* Both are sorted. */
static struct known *known_find(const struct registry *r, const char *name) {
    struct known key = {.name = (char *) name};

    return r->n > 0 ? bsearch(&key, r->item, r->n, sizeof(key), by_name) : NULL;
}

static const struct hai_instance *instance_find(const struct hai_instances *all,
                                                const char *name) {
    struct hai_instance key = {.name = (char *) name};

    return all->n > 0
               ? bsearch(&key, all->item, all->n, sizeof(key), by_instance_name)
               : NULL;
}

/* --- writing --------------------------------------------------------------- */

/* What a connector owns, as it is now. */
static void fill(struct hai_sync *s, const struct hai_instance *i,
                 struct hai_container *c, struct hai_container_field *more) {
    const char *runtime = hai_runtime_name(s->control->runtime);
    bool running =
        strcmp(i->status, "running") == 0 || strcmp(i->status, "paused") == 0;

    *c = (struct hai_container){
        .name = i->name,
        .status = i->status,
        /* what does not run holds nothing; the host's own are nobody's */
        .addresses = running && !i->host_network ? i->addresses : "",
        .cgroup = running ? i->cgroup : "",
        .mac = i->host_network ? "" : i->mac,
        .host_interface = running && !i->host_network ? i->host_interface : "",
        .more = more,
        .n_more = FIELDS,
    };

    more[0] = (struct hai_container_field){"runtime", runtime, strlen(runtime)};
    more[1] = (struct hai_container_field){"runtime_id", i->id, strlen(i->id)};
    more[2] = (struct hai_container_field){"container_image", i->image,
                                           strlen(i->image)};
    /* nobody makes it any more */
    more[3] = (struct hai_container_field){HAI_SYNC_AI_WANTED, "", 0};
    more[4] = (struct hai_container_field){HAI_SYNC_MAKER, "", 0};
}

static bool same(const struct hai_container_read *read, const char *field,
                 const char *text) {
    return strcmp(text_of(read, field), text) == 0;
}

/* An address that another one holds is nobody's: the rest is written.
 * version: only over this one; 0: over any. */
static enum hai_write_error write_it(struct hai_registry_writer *w,
                                     struct hai_container *c, bool create,
                                     uint64_t version,
                                     struct hai_write_result *result) {
    struct hai_write_options how = {.now_ms = wall_ms(), .if_version = version};
    enum hai_write_error error;

    error = create ? hai_registry_create(w, c, &how, result)
                   : hai_registry_update(w, c, &how, result);

    if (error == HAI_WRITE_TAKEN
        || (error == HAI_WRITE_INVALID && strcmp(result->field, "status") != 0))
    {
        hai_log(HAI_LOG_WARN,
                "%s: %s cannot be its own: %s%s; it is refused by address",
                c->name, result->field, result->text,
                error == HAI_WRITE_TAKEN ? result->owner : "");
        c->addresses = "";
        c->cgroup = "";
        c->mac = "";
        c->host_interface = "";
        error = create ? hai_registry_create(w, c, &how, result)
                       : hai_registry_update(w, c, &how, result);
    }

    return error;
}

enum hai_write_error hai_sync_one(struct hai_sync *sync,
                                  struct hai_registry_writer *w,
                                  const char *name, enum hai_container_ai ai,
                                  uint64_t version,
                                  struct hai_write_result *result) {
    struct hai_container_field more[FIELDS];
    struct hai_runtime_error e;
    struct hai_container c;
    struct hai_instance i;

    if (hai_runtime_get(sync->control->runtime, name, &i, &e) != 0) {
        /* the next pass will know */
        snprintf(result->text, sizeof(result->text), "%s", e.text);
        result->error = HAI_WRITE_OK;
        hai_log(HAI_LOG_WARN, "runtime: %s: %s", name, e.text);
        hai_sync_wake(sync);
        return HAI_WRITE_OK;
    }

    fill(sync, &i, &c, more);
    c.name = name;
    c.ai = ai;

    if (write_it(w, &c, false, version, result) == HAI_WRITE_CONFLICT) {
        c.ai = HAI_AI_KEEP;
        write_it(w, &c, false, 0, result);
    }

    hai_instance_free(&i);

    return result->error;
}

static void say(struct hai_sync *s, const char *action, const char *name,
                const char *id, bool ai_on, const char *detail) {
    const struct hai_audit_note note = {
        .who = s->who,
        .action = action,
        .container = name,
        .container_id = id,
        .detail = detail,
        .ai_on = ai_on,
    };

    hai_log(HAI_LOG_INFO, "%s: %s %s", name, action, detail);
    hai_audit_own(s->control->audit, &s->writer, &note);
}

/* --- one pass -------------------------------------------------------------- */

static bool ours(const struct hai_sync *s, const struct known *k) {
    return same(&k->read, "runtime", hai_runtime_name(s->control->runtime));
}

/*
 * Is somebody making it, or may be?  Who shares our locks is not: this is
 * asked for what acts under the lock of the name.  Of another one nobody
 * knows until they have had the time for it.
 */
static bool being_made(const struct hai_sync *s, const struct known *k) {
    const char *maker = text_of(&k->read, HAI_SYNC_MAKER);
    int64_t since = strtoll(text_of(&k->read, "updated_at"), NULL, 10);

    return same(&k->read, "status", "creating")
           && (*maker == '\0'
               || strcmp(maker, hai_locks_mark(s->control->locks)) != 0)
           && wall_ms() - since < CREATING_MS;
}

/* Entries that nothing stands behind any more. */
static int drop_gone(struct hai_sync *s, struct known *k) {
    const char *status = text_of(&k->read, "status");
    struct hai_write_options how = {.now_ms = wall_ms(),
                                    .if_version = k->read.version};
    const struct hai_container_field more[] = {{HAI_SYNC_AI_WANTED, "", 0},
                                               {HAI_SYNC_MAKER, "", 0}};
    struct hai_container failed = {.name = k->name,
                                   .status = "failed",
                                   .ai = HAI_AI_OFF,
                                   .more = more,
                                   .n_more = 2};
    struct hai_write_result result;

    if (strcmp(status, "creating") == 0) {
        if (hai_registry_update(&s->writer, &failed, &how, &result)
            == HAI_WRITE_OK) {
            say(s, "container.failed", k->name, text_of(&k->read, "id"), false,
                "the runtime never had it");
        }
        return result.error == HAI_WRITE_REDIS ? -1 : 0;
    }

    /* what a call has failed to make is its caller's to look at */
    if (strcmp(status, "failed") == 0 && !ours(s, k)) {
        return 0;
    }

    if (hai_registry_delete(&s->writer, k->name, &how, &result) == HAI_WRITE_OK
        && result.changed)
    {
        say(s, "container.delete", k->name, text_of(&k->read, "id"), false,
            "the runtime has it no more");
    }

    return result.error == HAI_WRITE_REDIS ? -1 : 0;
}

/* Is the instance of this name the container of the registry?  It was found
 * under it, or the API has made it for this entry. */
static bool is_it(const struct hai_sync *s, const struct known *k,
                  const struct hai_instance *i) {
    return ours(s, k)
           || (*i->hoody_id != '\0' && same(&k->read, "id", i->hoody_id));
}

/* What is deleted for good has to be what was read: the name may be another
 * one's by now. */
static bool is_still(struct hai_sync *s, const struct known *k) {
    struct hai_container_read now;
    struct hai_write_result result;
    bool still;

    if (hai_registry_read(&s->writer, k->name, &now, &result) != HAI_WRITE_OK) {
        return false;
    }

    still = now.exists && now.version == k->read.version
            && strcmp(text_of(&now, "id"), text_of(&k->read, "id")) == 0;
    hai_registry_read_free(&now);

    return still;
}

/* First of all what has to be taken away: state, and addresses that another
 * one may have by now. */
static int take_away(struct hai_sync *s, struct known *k,
                     const struct hai_instance *i) {
    struct hai_container_field more[FIELDS];
    struct hai_write_options how = {.now_ms = wall_ms(),
                                    .if_version = k->read.version};
    struct hai_container now, c = {.name = k->name};
    struct hai_write_result result;
    struct hai_runtime_error e;

    if (same(&k->read, "status", "deleting")) {
        /* somebody died in the middle of it */
        if (!is_still(s, k)) {
            return 0;
        }

        if (hai_runtime_delete(s->control->runtime, k->name, &e) != 0
            && e.kind != HAI_RUNTIME_NOT_FOUND)
        {
            hai_log(HAI_LOG_WARN, "runtime: %s: %s", k->name, e.text);
            return 0;
        }
        return drop_gone(s, k);
    }

    fill(s, i, &now, more);

    if (!same(&k->read, "status", now.status)
        && strcmp(now.status, "running") != 0) {
        c.status = now.status;
    }
    if (!same(&k->read, "addresses", now.addresses)) {
        c.addresses = "";
    }
    if (!same(&k->read, "cgroup", now.cgroup)) {
        c.cgroup = "";
    }

    if (c.status == NULL && c.addresses == NULL && c.cgroup == NULL) {
        return 0;
    }

    if (hai_registry_update(&s->writer, &c, &how, &result) == HAI_WRITE_OK) {
        k->read.version = result.version;
    }

    return result.error == HAI_WRITE_REDIS ? -1 : 0;
}

static bool changed(const struct known *k, const struct hai_container *c) {
    for (size_t i = 0; i < c->n_more; i++) {
        if (!same(&k->read, c->more[i].name, c->more[i].value)) {
            return true;
        }
    }

    return !same(&k->read, "status", c->status)
           || !same(&k->read, "addresses", c->addresses)
           || !same(&k->read, "cgroup", c->cgroup)
           || !same(&k->read, "mac", c->mac)
           || !same(&k->read, "host_interface", c->host_interface);
}

static int give(struct hai_sync *s, struct known *k,
                const struct hai_instance *i) {
    struct hai_container_field more[FIELDS];
    struct hai_write_result result;
    struct hai_container c;

    fill(s, i, &c, more);
    if (!changed(k, &c)) {
        return 0;
    }

    if (write_it(&s->writer, &c, false, k->read.version, &result)
        == HAI_WRITE_OK) {
        say(s, "container.update", k->name, text_of(&k->read, "id"), false,
            c.status);
    } else if (result.error != HAI_WRITE_CONFLICT) {
        hai_log(HAI_LOG_ERROR, "%s: %s", k->name, result.text);
    }

    return result.error == HAI_WRITE_REDIS ? -1 : 0;
}

static bool random_id(char id[25]) {
    unsigned char bytes[12];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return false;
    }

    for (size_t i = 0; i < sizeof(bytes); i++) {
        snprintf(id + 2 * i, 3, "%02x", bytes[i]);
    }

    return true;
}

static int create(struct hai_sync *s, const struct hai_instance *i) {
    struct hai_container_field more[FIELDS];
    struct hai_write_result result;
    struct hai_container c;
    char id[25];

    fill(s, i, &c, more);
    c.id = i->hoody_id;
    if (!hai_view_id_valid(i->hoody_id)) {
        if (!random_id(id)) {
            return -1;
        }
        c.id = id;
    }

    c.project_id = hai_view_id_valid(i->project_id) ? i->project_id : NULL;
    c.tags = *i->tags != '\0' ? i->tags : NULL;
    c.ai = i->ai == 1 ? HAI_AI_ON : HAI_AI_OFF;

    write_it(&s->writer, &c, true, 0, &result);
    if (result.error == HAI_WRITE_TAKEN && strcmp(result.field, "id") == 0
        && random_id(id))
    {
        /* a label says what it wants; then neither is the rest believed */
        c.id = id;
        c.project_id = NULL;
        c.ai = HAI_AI_OFF;
        write_it(&s->writer, &c, true, 0, &result);
    }

    if (result.error == HAI_WRITE_OK) {
        say(s, "container.create", i->name, c.id, c.ai == HAI_AI_ON,
            c.ai == HAI_AI_ON ? "found, AI on by its label" : "found, AI off");
    } else if (result.error != HAI_WRITE_EXISTS) {
        hai_log(HAI_LOG_ERROR, "%s: %s", i->name, result.text);
    }

    return result.error == HAI_WRITE_REDIS ? -1 : 0;
}

/* Under the lock of the name; one that an API call holds is left to it. */
static int under_lock(struct hai_sync *s, const char *name,
                      int (*one)(struct hai_sync *, struct known *,
                                 const struct hai_instance *),
                      struct known *k, const struct hai_instance *i) {
    int rc;

    if (!hai_lock(s->control->locks, name, 0)) {
        s->busy = true;
        return 0;
    }

    rc = one != NULL ? one(s, k, i) : create(s, i);
    hai_unlock(s->control->locks, name);

    return rc;
}

static int gone(struct hai_sync *s, struct known *k,
                const struct hai_instance *i) {
    (void) i;

    return drop_gone(s, k);
}

static void foreign(struct hai_sync *s, const char *name) {
    time_t now = time(NULL);

    if (now - s->warned >= WARN_EVERY) {
        s->warned = now;
        hai_log(HAI_LOG_WARN,
                "%s: the registry has it without this runtime, it is left as "
                "it is",
                name);
    }
}

/* The instance of an entry that is not there by its name. */
static const struct hai_instance *renamed(const struct hai_sync *s,
                                          const struct known *k,
                                          const struct hai_instances *all) {
    const char *id = text_of(&k->read, "runtime_id");

    for (size_t i = 0; ours(s, k) && *id != '\0' && i < all->n; i++) {
        if (strcmp(all->item[i].id, id) == 0) {
            return hai_name_valid(all->item[i].name, strlen(all->item[i].name))
                       ? &all->item[i]
                       : NULL;
        }
    }

    return NULL;
}

/* Is it an entry's that has not got its name yet? */
static bool to_follow(const struct hai_sync *s, const struct registry *r,
                      const struct hai_instance *i) {
    for (size_t n = 0; n < r->n; n++) {
        if (ours(s, &r->item[n]) && *i->id != '\0'
            && same(&r->item[n].read, "runtime_id", i->id))
        {
            return true;
        }
    }

    return false;
}

/* What the operator has said of it stays with it, as its AI; the old token
 * ends.  The next pass does the rest. */
static int follow(struct hai_sync *s, struct known *k,
                  const struct hai_instance *i) {
    struct hai_write_options how = {.now_ms = wall_ms(),
                                    .if_version = k->read.version};
    const struct hai_container c = {.name = k->name};
    struct hai_write_result result;

    if (!hai_lock(s->control->locks, i->name, 0)) {
        s->busy = true;
        return 0;
    }

    if (hai_registry_rename(&s->writer, &c, i->name, &how, &result)
        == HAI_WRITE_OK) {
        say(s, "container.rename", i->name, text_of(&k->read, "id"), false,
            "the runtime has another name for it");
        hai_sync_wake(s);
    }
    hai_unlock(s->control->locks, i->name);

    if (result.error == HAI_WRITE_CONFLICT) {
        hai_sync_wake(s);
    }

    /* the name is another one's: it is gone under the old one */
    return result.error == HAI_WRITE_EXISTS  ? drop_gone(s, k)
           : result.error == HAI_WRITE_REDIS ? -1
                                             : 0;
}

static int apply(struct hai_sync *s, struct registry *r,
                 const struct hai_instances *all) {
    const struct hai_instance *moved;
    size_t i;

    for (i = 0; i < r->n; i++) {
        struct known *k = &r->item[i];
        const struct hai_instance *one = instance_find(all, k->name);
        bool creating = same(&k->read, "status", "creating");

        if (being_made(s, k)) {
            s->busy = true;
            continue;
        }

        if (one != NULL && !is_it(s, k, one)) {
            /* of the same name only: nothing of it is the entry's */
            if (!creating) {
                foreign(s, k->name);
                continue;
            }
            one = NULL;
        }

        if (one == NULL && !ours(s, k) && !creating
            && !same(&k->read, "status", "deleting"))
        {
            continue;
        }

        moved = one == NULL ? renamed(s, k, all) : NULL;

        if (under_lock(s, k->name,
                       moved != NULL ? follow
                       : one == NULL ? gone
                                     : take_away,
                       k, moved != NULL ? moved : one)
            != 0)
        {
            return -1;
        }
    }

    for (i = 0; i < all->n; i++) {
        struct known *k = known_find(r, all->item[i].name);

        if (k != NULL
            && (!is_it(s, k, &all->item[i])
                || same(&k->read, "status", "deleting") || being_made(s, k)))
        {
            continue;
        }

        if (k == NULL
            && (!hai_name_valid(all->item[i].name, strlen(all->item[i].name))
                || to_follow(s, r, &all->item[i])))
        {
            continue; /* no token could name it, or it was followed */
        }

        if (under_lock(s, all->item[i].name, k != NULL ? give : NULL, k,
                       &all->item[i])
            != 0)
        {
            return -1;
        }
    }

    return 0;
}

static int connect_redis(struct hai_sync *s) {
    char error[256];

    if (s->c != NULL && s->c->err == 0
        && hai_redis_beat(s->c, &s->control->redis, error, sizeof(error)) == 0)
    {
        return 0;
    }

    redisFree(s->c);
    s->c = hai_redis_connect(&s->control->redis, "hoody-ai-control", error,
                             sizeof(error));

    if (s->c == NULL
        || hai_registry_writer_init(&s->writer, s->c, s->control->server, error,
                                    sizeof(error))
               != 0)
    {
        hai_log(HAI_LOG_ERROR, "Redis: %s", error);
        redisFree(s->c);
        s->c = NULL;
        return -1;
    }

    return 0;
}

/* Ends what a killed restore has left behind.  How many there were. */
static size_t settle(struct hai_sync *s, const struct hai_instances *all) {
    struct hai_lock_table *locks = s->control->locks;
    struct hai_runtime_error e;
    size_t n = 0;

    for (size_t i = 0; i < all->n; i++) {
        const char *name = all->item[i].aside_of;

        if (name == NULL || !hai_name_valid(name, strlen(name))) {
            continue;
        }

        /* who restores it has it locked */
        if (!hai_lock(locks, name, 0)) {
            s->busy = true;
            continue;
        }

        if (hai_runtime_settle(s->control->runtime, name, &e) == 0
            || e.kind == HAI_RUNTIME_NOT_FOUND)
        {
            n++;
        } else {
            hai_log(HAI_LOG_WARN, "runtime: %s: a restore has been left: %s",
                    name, e.text);
        }
        hai_unlock(locks, name);
    }

    return n;
}

static int list_instances(struct hai_sync *s, struct hai_instances *all) {
    struct hai_runtime_error e;
    int rc = hai_runtime_list(s->control->runtime, all, &e);

    if (rc == 0 && settle(s, all) > 0) {
        hai_instances_free(all);
        rc = hai_runtime_list(s->control->runtime, all, &e);
    }

    if (rc != 0) {
        hai_log(HAI_LOG_WARN, "runtime: %s", e.text);
    }

    return rc;
}

static int pass(struct hai_sync *s) {
    struct hai_instances all = {0};
    struct registry r = {0};
    int rc = -1;

    s->busy = false;

    if (connect_redis(s) != 0) {
        return -1;
    }

    /* the registry first: an instance that is made meanwhile is in the list,
     * and one that goes is dealt with in the next pass */
    if (registry_read(s, &r) == 0 && list_instances(s, &all) == 0) {
        if (r.n > 0) {
            qsort(r.item, r.n, sizeof(*r.item), by_name);
        }
        if (all.n > 0) {
            qsort(all.item, all.n, sizeof(*all.item), by_instance_name);
        }
        rc = apply(s, &r, &all);
    }

    if (rc == 0) {
        int64_t now = wall_ms();

        for (size_t i = 0; i < r.n; i++) {
            if (ours(s, &r.item[i])) {
                hai_snapshots_expire(s->control->runtime, &s->writer,
                                     r.item[i].name,
                                     text_of(&r.item[i].read, "id"), now);
            }
        }
        atomic_store(&s->last, now);
    }

    hai_instances_free(&all);
    registry_free(&r);

    return rc;
}

/* --- the thread ------------------------------------------------------------ */

static void pause_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&t, NULL);
}

static void *run(void *data) {
    struct hai_sync *s = data;
    struct hai_runtime_error e;
    bool told = false;
    int rc;

    while (!atomic_load(&s->control->stopping)) {
        atomic_store(&s->wake, false);

        if (pass(s) != 0) {
            pause_ms(RETRY_MS);
            continue;
        }

        rc =
            hai_runtime_wait(s->control->runtime,
                             s->busy || told ? BUSY_MS : PASS_MS, &s->wake, &e);
        told = rc > 0;

        if (rc < 0) {
            hai_log(HAI_LOG_WARN, "runtime: %s", e.text);
            pause_ms(RETRY_MS);
        } else if (rc > 0) {
            pause_ms(GATHER_MS);
        }
    }

    redisFree(s->c);

    return NULL;
}

struct hai_sync *hai_sync_start(struct hai_control *control) {
    struct hai_sync *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        hai_log(HAI_LOG_ERROR, "no memory");
        return NULL;
    }

    s->control = control;
    control->sync = s;
    snprintf(s->who, sizeof(s->who), "runtime:%s",
             hai_runtime_name(control->runtime));

    if (pthread_create(&s->thread, NULL, run, s) != 0) {
        hai_log(HAI_LOG_ERROR, "a thread cannot be made");
        free(s);
        return NULL;
    }

    return s;
}

void hai_sync_wake(struct hai_sync *sync) {
    atomic_store(&sync->wake, true);
}

bool hai_sync_stop(struct hai_sync *sync, int timeout_ms) {
    struct timespec until;

    hai_sync_wake(sync);

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;

    if (pthread_clockjoin_np(sync->thread, NULL, CLOCK_MONOTONIC, &until) != 0)
    {
        return false;
    }

    free(sync);

    return true;
}

int64_t hai_sync_last(const struct hai_sync *sync) {
    return atomic_load(&((struct hai_sync *) sync)->last);
}
