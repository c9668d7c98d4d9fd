/* Containers: list, create, get, update, delete.  See handlers.h. */

#include "auth.h"
#include "handlers.h"
#include "locks.h"
#include "runtime.h"
#include "snapshots.h"
#include "sync.h"
#include "view.h"

#include "lib/log.h"

#include <errno.h>
#include <hai_identity.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIPELINE 500
#define FIND_TRIES 10  /* while it is renamed again and again */
#define LIMIT_DEFAULT 20
#define LIMIT_MAX 100
#define NAME_SIZE (HAI_NAME_MAX + 1)

/* --- one ------------------------------------------------------------------- */

static const char *text_of(const struct hai_container_read *read,
                           const char *field) {
    const char *text = hai_registry_read_field(read, field, NULL);

    return text != NULL ? text : "";
}

/* The call's container, by whatever name it has now.  0 with name and *read,
 * which has to be freed; or -1: answered. */
static int read_it(struct hai_call *call, char *name,
                   struct hai_container_read *read) {
    const char *id = call->container_id;
    struct hai_write_result result;

    for (unsigned i = 0; i < FIND_TRIES; i++) {
        if (hai_registry_find_id(call->writer, id, name, &result)
                != HAI_WRITE_OK
            || hai_registry_read(call->writer, name, read, &result)
                   != HAI_WRITE_OK)
        {
            return hai_fail_write(call, &result);
        }

        if (read->exists && strcmp(text_of(read, "id"), id) == 0) {
            return 0;
        }

        /* renamed or deleted between the two */
        hai_registry_read_free(read);
    }

    return hai_fail(call, 404, "Container not found");
}

int hai_find_container(struct hai_call *call, size_t n, enum hai_right right,
                       char *name, struct hai_container_read *read) {
    const char *id = call->segment[n], *project;

    if (!hai_view_id_valid(id)) {
        return hai_fail(call, 400, "The container id is not 24 hex digits");
    }

    snprintf(call->container_id, sizeof(call->container_id), "%s", id);

    if (read_it(call, name, read) != 0) {
        return -1;
    }

    project = text_of(read, "project_id");

    /* nobody that the caller may know of */
    if (!hai_auth_may(call, HAI_RIGHT_READ, project)) {
        hai_registry_read_free(read);
        return hai_fail(call, 404, "Container not found");
    }

    snprintf(call->container, sizeof(call->container), "%s", name);
    snprintf(call->project_id, sizeof(call->project_id), "%s", project);

    if (!hai_auth_may(call, right, project)) {
        hai_registry_read_free(read);
        return hai_fail(call, 403,
                        "The token may not change containers of "
                        "this project");
    }

    return 0;
}

/* By its id: the name that it was given may be another one's by now. */
static int show(struct hai_call *call, int status, const char *message) {
    struct hai_container_read read;
    char name[NAME_SIZE];
    json_t *object;

    if (read_it(call, name, &read) != 0) {
        return -1;
    }

    object = hai_view_container(call->control, name, &read);
    call->version = read.version;
    hai_registry_read_free(&read);

    if (object == NULL) {
        return hai_fail_memory(call);
    }

    if (call->action != NULL) {
        json_decref(call->after);
        call->after = hai_view_audit(object);
    }

    return hai_ok(call, status, message, object);
}

int hai_containers_get(struct hai_call *call) {
    struct hai_container_read read;
    char name[NAME_SIZE];

    if (hai_find_container(call, 3, HAI_RIGHT_READ, name, &read) != 0) {
        return -1;
    }

    hai_registry_read_free(&read);

    return show(call, 200, "Container retrieved successfully");
}

/* --- lists ----------------------------------------------------------------- */

struct item {
    const char *key; /* what is sorted by; borrowed from object */
    json_t *object;
};

struct list {
    struct item *item;
    size_t n;
    size_t size;
};

struct list_query {
    long page;
    long limit;
    char sort_by[16];
    bool descending;
    bool deleting;
    char *name;
    char *status;
    int ai;              /* -1: both */
    const char *project; /* NULL: all */
};

static int by_key(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    int order = strcmp(x->key, y->key);

    /* the same every time, so that pages do not overlap */
    return order != 0
               ? order
               : strcmp(json_string_value(json_object_get(x->object, "name")),
                        json_string_value(json_object_get(y->object, "name")));
}

static int number(struct hai_call *call, const char *name, long *value,
                  long max) {
    bool bad = false;
    char *text = hai_call_query(call, name, &bad), *end;

    if (bad) {
        return hai_fail(call, 400, "%s: not well formed", name);
    }

    if (text != NULL) {
        errno = 0;
        *value = strtol(text, &end, 10);
        bad = *text < '0' || *text > '9' || *end != '\0' || errno != 0
              || *value < 1 || *value > max;
        free(text);
    }

    return bad ? hai_fail(call, 400, "%s: not a number from 1 to %ld", name,
                          max)
               : 0;
}

/* One of these words; *index stays where the query has none. */
static int word(struct hai_call *call, const char *name,
                const char *const *words, size_t n, size_t *index) {
    bool bad = false;
    char *text = hai_call_query(call, name, &bad);
    size_t i;

    if (!bad && text == NULL) {
        return 0;
    }

    for (i = 0; text != NULL && i < n; i++) {
        if (strcmp(words[i], text) == 0) {
            *index = i;
            free(text);
            return 0;
        }
    }

    free(text);

    return hai_fail(call, 400, "%s: not a value that can be given", name);
}

static int read_query(struct hai_call *call, struct list_query *q) {
    static const char *const keys[] = {"created_at", "id", "name", "status",
                                       "updated_at"};
    static const char *const orders[] = {"asc", "desc"};
    static const char *const flags[] = {"false", "true"};
    size_t key = 0, order = 0, deleting = 0, ai = 2;
    bool bad = false;

    q->page = 1;
    q->limit = LIMIT_DEFAULT;

    if (number(call, "page", &q->page, 1000000000) != 0
        || number(call, "limit", &q->limit, LIMIT_MAX) != 0
        || word(call, "sort_by", keys, 5, &key) != 0
        || word(call, "sort_order", orders, 2, &order) != 0
        || word(call, "include_deleting", flags, 2, &deleting) != 0
        || word(call, "ai", flags, 2, &ai) != 0)
    {
        return -1;
    }

    snprintf(q->sort_by, sizeof(q->sort_by), "%s", keys[key]);
    q->descending = order == 1;
    q->deleting = deleting == 1;
    q->ai = ai == 2 ? -1 : (int) ai;
    q->name = hai_call_query(call, "name", &bad);
    q->status = bad ? NULL : hai_call_query(call, "status", &bad);

    return bad ? hai_fail(call, 400, "the query is not well formed") : 0;
}

static int add(struct list *list, json_t *object, const char *sort_by) {
    const char *key;

    if (list->n == list->size) {
        size_t size = list->size > 0 ? list->size * 2 : 256;
        struct item *item = realloc(list->item, size * sizeof(*item));

        if (item == NULL) {
            json_decref(object);
            return -1;
        }
        list->item = item;
        list->size = size;
    }

    key = json_string_value(json_object_get(object, sort_by));
    list->item[list->n].key = key != NULL ? key : "";
    list->item[list->n++].object = object;

    return 0;
}

static void list_free(struct list *list) {
    for (size_t i = 0; i < list->n; i++) {
        json_decref(list->item[i].object);
    }
    free(list->item);
}

static bool wanted(const struct hai_call *call, const struct list_query *q,
                   const json_t *object) {
    const char *project =
        json_string_value(json_object_get(object, "project_id"));
    const char *status = json_string_value(json_object_get(object, "status"));

    if (q->project != NULL
        && (project == NULL || strcmp(project, q->project) != 0)) {
        return false;
    }

    if (q->ai >= 0
        && json_is_true(json_object_get(object, "ai")) != (q->ai == 1)) {
        return false;
    }

    if (q->status != NULL ? strcmp(status, q->status) != 0
                          : strcmp(status, "deleting") == 0 && !q->deleting)
    {
        return false;
    }

    return hai_auth_may(call, HAI_RIGHT_READ, project != NULL ? project : "");
}

/* One chunk of names, in one round trip. */
static int read_chunk(struct hai_call *call, redisReply **names, size_t n,
                      const struct list_query *q, struct list *list,
                      char *error, size_t size) {
    redisContext *c = call->writer->c;
    const char *server = call->writer->server;
    int rc = 0;

    for (size_t i = 0; i < n; i++) {
        if (redisAppendCommand(c, "HGETALL hoody:{%s}:container:%b", server,
                               names[i]->str, names[i]->len)
                != REDIS_OK
            || redisAppendCommand(c, "SISMEMBER hoody:{%s}:ai:enabled %b",
                                  server, names[i]->str, names[i]->len)
                   != REDIS_OK)
        {
            snprintf(error, size, "%s", "no memory");
            /* what was queued cannot be told apart from what comes next */
            c->err = REDIS_ERR_OOM;
            return -1;
        }
    }

    for (size_t i = 0; i < n; i++) {
        redisReply *hash = NULL, *gate = NULL;
        json_t *object = NULL;

        if (redisGetReply(c, (void **) &hash) != REDIS_OK
            || redisGetReply(c, (void **) &gate) != REDIS_OK)
        {
            snprintf(error, size, "%s", c->errstr);
            freeReplyObject(hash);
            return -1;
        }

        if (rc == 0 && hash->type == REDIS_REPLY_ARRAY && hash->elements > 0) {
            struct hai_container_read read = {
                .exists = true,
                .enabled =
                    gate->type == REDIS_REPLY_INTEGER && gate->integer == 1,
                .field = (const struct redisReply *const *) hash->element,
                .n = hash->elements,
            };
            const char *version =
                hai_registry_read_field(&read, "version", NULL);

            read.version = version != NULL ? strtoull(version, NULL, 10) : 0;
            object = hai_view_container(call->control, names[i]->str, &read);
            rc = object == NULL ? -1 : 0;
        }

        freeReplyObject(hash);
        freeReplyObject(gate);

        if (object == NULL) {
            continue;
        }

        if (!wanted(call, q, object)) {
            json_decref(object);
        } else {
            rc = add(list, object, q->sort_by);
        }
    }

    if (rc != 0) {
        snprintf(error, size, "no memory");
    }

    return rc;
}

/* All names of the host, in chunks. */
static int read_all(struct hai_call *call, const struct list_query *q,
                    struct list *list, char *error, size_t size) {
    redisReply *names;
    int rc = 0;

    names = hai_redis_command(call->writer->c, error, size,
                              "SMEMBERS hoody:{%s}:containers",
                              call->writer->server);

    if (names == NULL || names->type != REDIS_REPLY_ARRAY) {
        freeReplyObject(names);
        return -1;
    }

    for (size_t i = 0; rc == 0 && i < names->elements; i += PIPELINE) {
        size_t n = names->elements - i;

        rc = read_chunk(call, names->element + i, n < PIPELINE ? n : PIPELINE,
                        q, list, error, size);
    }

    freeReplyObject(names);

    return rc;
}

static int read_list(struct hai_call *call, const struct list_query *q,
                     struct list *list) {
    char error[256] = "not a set";
    redisReply one = {.type = REDIS_REPLY_STRING}, *names = &one;
    int rc = 0;

    if (q->name == NULL) {
        rc = read_all(call, q, list, error, sizeof(error));

    } else if (hai_name_valid(q->name, strlen(q->name))) {
        one.str = q->name;
        one.len = strlen(q->name);
        rc = read_chunk(call, &names, 1, q, list, error, sizeof(error));
    }

    if (rc != 0) {
        hai_log(HAI_LOG_ERROR, "registry: %s", error);
        call->retry_after = 1;
        return hai_fail_code(call, 503, "REGISTRY_UNAVAILABLE", NULL,
                             "The registry cannot be read now");
    }

    return 0;
}

static json_t *page_of(const struct list *list, const struct list_query *q) {
    size_t first = (size_t) (q->page - 1) * (size_t) q->limit;
    json_int_t limit = q->limit > 0 ? q->limit : 1;
    json_t *array = json_array();

    for (size_t i = first; i < list->n && i < first + (size_t) q->limit; i++) {
        size_t at = q->descending ? list->n - 1 - i : i;

        if (json_array_append(array, list->item[at].object) != 0) {
            json_decref(array);
            return NULL;
        }
    }

    return json_pack("{s:o,s:{s:I,s:i,s:i,s:I}}", "containers", array,
                     "pagination", "total", (json_int_t) list->n, "page",
                     (int) q->page, "limit", (int) q->limit, "totalPages",
                     ((json_int_t) list->n + limit - 1) / limit);
}

static int answer_list(struct hai_call *call, const char *project) {
    struct list_query q = {.project = project};
    struct list list = {0};
    json_t *data = NULL;
    int rc;

    rc = read_query(call, &q);

    if (rc == 0) {
        rc = read_list(call, &q, &list);
    }

    if (rc == 0) {
        if (list.n > 0) {
            qsort(list.item, list.n, sizeof(*list.item), by_key);
        }
        data = page_of(&list, &q);
        rc = data != NULL
                 ? hai_ok(call, 200, "Containers retrieved successfully", data)
                 : hai_fail_memory(call);
    }

    list_free(&list);
    free(q.name);
    free(q.status);

    return rc;
}

int hai_containers_list(struct hai_call *call) {
    return answer_list(call, NULL);
}

json_t *hai_containers_with_ai(struct hai_call *call) {
    struct list_query q = {.ai = 1, .deleting = true, .sort_by = "name"};
    json_t *array = json_array();
    struct list list = {0};
    int rc = array != NULL ? read_list(call, &q, &list) : hai_fail_memory(call);

    if (rc == 0 && list.n > 0) {
        qsort(list.item, list.n, sizeof(*list.item), by_key);
    }

    for (size_t i = 0; rc == 0 && i < list.n; i++) {
        if (json_array_append(array, list.item[i].object) != 0) {
            rc = hai_fail_memory(call);
        }
    }

    list_free(&list);
    if (rc != 0) {
        json_decref(array);
        array = NULL;
    }

    return array;
}

/* The project of the path; 404 where the caller may see nothing of it. */
static int find_project(struct hai_call *call, enum hai_right right) {
    const char *id = call->segment[3];

    if (!hai_view_id_valid(id)) {
        return hai_fail(call, 400, "The project id is not 24 hex digits");
    }

    snprintf(call->project_id, sizeof(call->project_id), "%s", id);

    if (!hai_auth_may(call, HAI_RIGHT_READ, id)) {
        return hai_fail(call, 404, "Project not found");
    }

    return hai_auth_may(call, right, id)
               ? 0
               : hai_fail(call, 403,
                          "The token may not change containers of "
                          "this project");
}

int hai_containers_list_project(struct hai_call *call) {
    if (find_project(call, HAI_RIGHT_READ) != 0) {
        return -1;
    }

    return answer_list(call, call->project_id);
}

/* --- create ---------------------------------------------------------------- */

static bool random_hex(char *text, size_t digits) {
    unsigned char bytes[12];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return false;
    }

    for (size_t i = 0; i < digits; i++) {
        text[i] = "0123456789abcdef"[bytes[i / 2] >> (i % 2 * 4) & 15];
    }
    text[digits] = '\0';

    return true;
}

/* A file that says what there is, for instance, is not written from here. */
static int can_make(struct hai_call *call) {
    struct hai_runtime *rt = call->control->runtime;

    return rt == NULL || hai_runtime_makes(rt)
               ? 0
               : hai_fail(call, 501,
                          "The runtime \"%s\" cannot make or remove containers",
                          hai_runtime_name(rt));
}

/* What the connector writes, nobody else does: it would be another one's
 * address until the next pass. */
static int may_set(struct hai_call *call, const struct hai_container *c,
                   const char *runtime) {
    const struct hai_runtime *rt = call->control->runtime;

    if (rt == NULL || strcmp(runtime, hai_runtime_name(rt)) != 0
        || (c->addresses == NULL && c->cgroup == NULL && c->mac == NULL
            && c->host_interface == NULL))
    {
        return 0;
    }

    return hai_fail(call, 400, "%s: the runtime says what it is",
                    c->addresses != NULL ? "addresses"
                    : c->cgroup != NULL  ? "cgroup"
                    : c->mac != NULL     ? "mac"
                                         : "host_interface");
}

/* The registry knows it, and admits nobody yet. */
static int register_new(struct hai_call *call,
                        struct hai_change_request *change, bool runtime) {
    struct hai_container c = change->container;
    struct hai_write_options how = {.now_ms = call->now_ms};
    struct hai_write_result result;

    c.name = change->name;
    c.id = call->container_id;
    c.project_id = call->project_id;
    c.status = runtime ? "creating" : "running";
    c.ai = runtime ? HAI_AI_OFF
                   : (!change->has_ai || change->ai ? HAI_AI_ON : HAI_AI_OFF);

    if (hai_registry_create(call->writer, &c, &how, &result) != HAI_WRITE_OK) {
        return hai_fail_write(call, &result);
    }

    return 0;
}

/* The runtime has it; now the registry says what it is. */
static int finish_create(struct hai_call *call,
                         struct hai_change_request *change) {
    struct hai_runtime_spec spec = {
        .name = change->name,
        .id = call->container_id,
        .image =
            json_string_value(json_object_get(call->body, "container_image")),
        .environment = json_object_get(call->body, "environment_vars"),
        .autostart = json_is_true(json_object_get(call->body, "autostart")),
        .ai = !change->has_ai || change->ai,
    };
    struct hai_write_options how = {.now_ms = call->now_ms};
    struct hai_write_result result;
    struct hai_runtime_error e;

    if (hai_runtime_create(call->control->runtime, &spec, &e) != 0) {
        struct hai_container failed = {.name = change->name,
                                       .status = "failed"};

        hai_registry_update(call->writer, &failed, &how, &result);
        return hai_fail_runtime(call, &e);
    }

    return hai_sync_one(call->control->sync, call->writer, change->name,
                        spec.ai ? HAI_AI_ON : HAI_AI_OFF, &result)
                   == HAI_WRITE_OK
               ? 0
               : hai_fail_write(call, &result);
}

int hai_containers_create(struct hai_call *call) {
    struct hai_control *control = call->control;
    struct hai_change_request change;
    char random[13];
    int rc;

    if (find_project(call, HAI_RIGHT_WRITE) != 0 || can_make(call) != 0) {
        return -1;
    }

    if (hai_view_parse(call, true, &change) != 0) {
        hai_change_request_free(&change);
        return -1;
    }

    if (!random_hex(call->container_id, 24) || !random_hex(random + 2, 10)) {
        hai_change_request_free(&change);
        return hai_fail(call, 500, "no random bytes");
    }

    if (may_set(call, &change.container,
                control->runtime != NULL ? hai_runtime_name(control->runtime)
                                         : "")
        != 0)
    {
        hai_change_request_free(&change);
        return -1;
    }

    if (change.name == NULL) {
        random[0] = 'c';
        random[1] = '-';
        change.name = random;
    }

    snprintf(call->container, sizeof(call->container), "%s", change.name);

    if (!hai_lock(control->locks, change.name, HAI_LOCK_MS)) {
        hai_change_request_free(&change);
        return hai_fail(call, 409, "The name is in use just now");
    }

    rc = register_new(call, &change, control->runtime != NULL);
    if (rc == 0 && control->runtime != NULL) {
        rc = finish_create(call, &change);
    }

    hai_unlock(control->locks, change.name);

    if (rc == 0) {
        rc = show(call, 201, "Container created successfully");
    }

    hai_change_request_free(&change);

    return rc;
}

/* --- update ---------------------------------------------------------------- */

/* If-Match: the version that the caller has seen; 0: none given. */
static int if_match(struct hai_call *call, uint64_t *version) {
    const char *text = hai_call_param(call, "HTTP_IF_MATCH");
    char *end;

    *version = 0;

    if (*text == '\0' || strcmp(text, "*") == 0) {
        return 0;
    }

    if (*text == '"' && text[1] >= '0' && text[1] <= '9') {
        errno = 0;
        *version = strtoull(text + 1, &end, 10);
        if (errno == 0 && *end == '"' && end[1] == '\0') {
            return 0;
        }
    }

    return hai_fail(call, 400, "If-Match is not an ETag of a container");
}

/* The runtime's name, then the registry's with all else in one step.  Died in
 * between: the reconciler gives the registry the runtime's name. */
static int rename_it(struct hai_call *call, const struct hai_container *c,
                     const char *new_name, const struct hai_write_options *how,
                     const struct hai_container_read *read) {
    struct hai_runtime *rt = call->control->runtime;
    struct hai_write_result result;
    struct hai_runtime_error e;
    bool there = false;

    if (rt != NULL && hai_find_instance(call, c->name, read, &there) != 0) {
        return -1;
    }

    if (there && hai_runtime_rename(rt, c->name, new_name, &e) != 0) {
        return hai_fail_runtime(call, &e);
    }

    if (hai_registry_rename(call->writer, c, new_name, how, &result)
        == HAI_WRITE_OK)
    {
        return 0;
    }

    if (there && hai_runtime_rename(rt, new_name, c->name, &e) != 0) {
        hai_log(HAI_LOG_WARN, "runtime: %s: %s", new_name, e.text);
        hai_sync_wake(call->control->sync);
    }

    return hai_fail_change(call, &result);
}

static int update(struct hai_call *call, const char *name,
                  const struct hai_container_read *read,
                  const struct hai_change_request *change) {
    struct hai_write_options how = {.now_ms = call->now_ms};
    struct hai_container c = change->container;
    struct hai_write_result result;
    int rc;

    if (if_match(call, &how.if_version) != 0
        || may_set(call, &c, text_of(read, "runtime")) != 0)
    {
        return -1;
    }

    if (how.if_version != 0 && how.if_version != read->version) {
        result = (struct hai_write_result){.error = HAI_WRITE_CONFLICT,
                                           .version = read->version};
        return hai_fail_change(call, &result);
    }

    /* what was read is what is changed, not who has the name by then */
    how.if_version = read->version;

    c.name = name;
    c.ai = !change->has_ai ? HAI_AI_KEEP : change->ai ? HAI_AI_ON : HAI_AI_OFF;

    if (change->name == NULL || strcmp(change->name, name) == 0) {
        return hai_registry_update(call->writer, &c, &how, &result)
                       == HAI_WRITE_OK
                   ? 0
                   : hai_fail_change(call, &result);
    }

    /* without waiting: who has it may be waiting for this one's name */
    if (!hai_lock(call->control->locks, change->name, 0)) {
        call->retry_after = 1;
        return hai_fail(call, 409, "The new name is in use just now");
    }

    rc = rename_it(call, &c, change->name, &how, read);
    hai_unlock(call->control->locks, change->name);

    return rc;
}

static int update_once(struct hai_call *call) {
    struct hai_change_request change;
    struct hai_container_read read;
    char name[NAME_SIZE];
    json_t *before;
    int rc;

    if (hai_lock_container(call, "container_finalizing", name, &read) != 0) {
        return -1;
    }

    before = hai_view_container(call->control, name, &read);
    call->before = before != NULL ? hai_view_audit(before) : NULL;
    json_decref(before);

    rc = hai_view_parse(call, false, &change);
    if (rc == 0) {
        rc = update(call, name, &read, &change);
    }

    hai_registry_read_free(&read);
    hai_unlock(call->control->locks, name);
    hai_change_request_free(&change);

    return rc;
}

int hai_containers_update(struct hai_call *call) {
    unsigned tries = 0;
    int rc;

    do {
        rc = update_once(call);
    } while (rc != 0 && hai_again(call, &tries));

    return rc == 0 ? show(call, 200, "Container updated successfully") : -1;
}

/* --- delete ---------------------------------------------------------------- */

/* Nobody could name them any more. */
static void drop_snapshots(struct hai_call *call, const char *name) {
    struct hai_runtime *rt = call->control->runtime;
    struct hai_runtime_snapshots all;
    struct hai_runtime_error e;

    if (hai_runtime_snapshot_list(rt, name, call->container_id, &all, &e) != 0)
    {
        return; /* with most runtimes they go with the instance */
    }

    for (size_t i = 0; i < all.n; i++) {
        if (hai_runtime_snapshot_delete(rt, name, call->container_id,
                                        all.item[i].name, &e)
            != 0)
        {
            hai_log(HAI_LOG_WARN, "%s: snapshot %s stays: %s", name,
                    all.item[i].name, e.text);
        }
    }

    hai_runtime_snapshots_free(&all);
}

static int delete_it(struct hai_call *call, const char *name,
                     const struct hai_container_read *read) {
    struct hai_container gone = {
        .name = name, .status = "deleting", .ai = HAI_AI_OFF};
    struct hai_write_options how = {.now_ms = call->now_ms,
                                    .if_version = read->version};
    struct hai_write_result result;
    struct hai_runtime_error e;
    bool there;

    if (call->control->runtime != NULL) {
        if (hai_find_instance(call, name, read, &there) != 0) {
            return -1;
        }

        if (hai_registry_update(call->writer, &gone, &how, &result)
            != HAI_WRITE_OK) {
            return hai_fail_change(call, &result);
        }
        how.if_version = result.version;

        /* access has ended, whatever the runtime says */
        if (there && hai_runtime_delete(call->control->runtime, name, &e) != 0
            && e.kind != HAI_RUNTIME_NOT_FOUND)
        {
            return hai_fail_runtime(call, &e);
        }

        drop_snapshots(call, name);
    }

    /* nothing was there: it has another name, or somebody else was first */
    if (hai_registry_delete(call->writer, name, &how, &result) != HAI_WRITE_OK
        || !result.changed)
    {
        return hai_fail_change(call, &result);
    }

    hai_snapshots_forget(call->writer, call->container_id);

    return hai_ok(call, 200, "Container deleted successfully", NULL);
}

static int delete_once(struct hai_call *call) {
    struct hai_container_read read;
    char name[NAME_SIZE];
    json_t *before;
    int rc;

    if (hai_lock_container(call, "container_finalizing", name, &read) != 0) {
        return -1;
    }

    before = hai_view_container(call->control, name, &read);
    call->before = before != NULL ? hai_view_audit(before) : NULL;
    json_decref(before);

    rc = can_make(call);
    if (rc == 0) {
        rc = delete_it(call, name, &read);
    }

    hai_registry_read_free(&read);
    hai_unlock(call->control->locks, name);

    return rc;
}

int hai_containers_delete(struct hai_call *call) {
    unsigned tries = 0;
    int rc;

    do {
        rc = delete_once(call);
    } while (rc != 0 && hai_again(call, &tries));

    return rc;
}
