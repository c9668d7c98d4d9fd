/*
 * Lists of containers, see handlers.h.  Of all of them only what a list is
 * filtered and sorted by is read and kept; the objects of a page are read when
 * it is known which ones they are.
 */

#define _GNU_SOURCE

#include "auth.h"
#include "handlers.h"
#include "view.h"

#include "lib/log.h"

#include <errno.h>
#include <hai_identity.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIPELINE 500
#define ROUNDS 5      /* to find what is renamed while it is listed */
#define FIND_TRIES 10 /* the same for one of them */
#define LIMIT_DEFAULT 20
#define LIMIT_MAX 100
#define LIMIT_AFTER_MAX 1000 /* who reads them all */
#define NAME_SIZE (HAI_NAME_MAX + 1)
#define ID_SIZE 25

enum sort { BY_CREATED, BY_ID, BY_NAME, BY_STATUS, BY_UPDATED };

struct item {
    char name[NAME_SIZE];
    char id[ID_SIZE]; /* "": none, or not one that can be named */
    char key[32];     /* what is sorted by, where it is neither */
};

struct list {
    struct item *item;
    size_t n;
    size_t size;
};

struct list_query {
    long page;
    long limit;
    enum sort sort;
    bool descending;
    bool deleting;
    char *after; /* what "next" said; "": from the first; NULL: pages */
    char *name;
    char *status;
    int ai;              /* -1: both */
    const char *project; /* NULL: all */
};

/* --- the query ------------------------------------------------------------- */

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

/* "next" of an answer: the id of the last one, or "-" and its name where it has
 * none. */
static bool after_valid(const char *after) {
    return *after == '\0' || hai_view_id_valid(after)
           || (*after == '-' && hai_name_valid(after + 1, strlen(after + 1)));
}

static int read_after(struct hai_call *call, struct list_query *q) {
    bool bad = false;

    q->after = hai_call_query(call, "after", &bad);

    if (!bad && q->after == NULL) {
        return 0;
    }

    if (bad || !after_valid(q->after)) {
        return hai_fail(call, 400, "after: not what \"next\" was");
    }

    return q->sort == BY_ID && !q->descending && q->page == 1
               ? 0
               : hai_fail(call, 400,
                          "after: goes with sort_by=id alone, and without "
                          "page");
}

static int read_query(struct hai_call *call, struct list_query *q) {
    static const char *const keys[] = {"created_at", "id", "name", "status",
                                       "updated_at"};
    static const char *const orders[] = {"asc", "desc"};
    static const char *const flags[] = {"false", "true"};
    size_t key = BY_CREATED, order = 0, deleting = 0, ai = 2;
    bool bad = false;

    q->page = 1;
    q->limit = LIMIT_DEFAULT;

    if (number(call, "page", &q->page, 1000000000) != 0
        || word(call, "sort_by", keys, 5, &key) != 0
        || word(call, "sort_order", orders, 2, &order) != 0
        || word(call, "include_deleting", flags, 2, &deleting) != 0
        || word(call, "ai", flags, 2, &ai) != 0)
    {
        return -1;
    }

    q->sort = (enum sort) key;
    q->descending = order == 1;
    q->deleting = deleting == 1;
    q->ai = ai == 2 ? -1 : (int) ai;

    if (read_after(call, q) != 0
        || number(call, "limit", &q->limit,
                  q->after != NULL ? LIMIT_AFTER_MAX : LIMIT_MAX)
               != 0)
    {
        return -1;
    }

    q->name = hai_call_query(call, "name", &bad);
    q->status = bad ? NULL : hai_call_query(call, "status", &bad);

    return bad ? hai_fail(call, 400, "the query is not well formed") : 0;
}

/* What the caller has asked for and may see.  An entry without a status is of a
 * writer who does not say: it runs. */
static bool wanted(const struct hai_call *call, const struct list_query *q,
                   const char *project, const char *status, bool enabled) {
    if (q->project != NULL && strcmp(project, q->project) != 0) {
        return false;
    }

    if (q->ai >= 0 && enabled != (q->ai == 1)) {
        return false;
    }

    if (q->status != NULL ? strcmp(status, q->status) != 0
                          : strcmp(status, "deleting") == 0 && !q->deleting)
    {
        return false;
    }

    return hai_auth_may(call, HAI_RIGHT_READ, project);
}

/* --- what there is --------------------------------------------------------- */

/* In this order they are asked for; the last one is what is sorted by. */
enum { F_ID, F_PROJECT, F_STATUS, F_KEY, F_N };

static int fail_registry(struct hai_call *call, const char *error) {
    hai_log(HAI_LOG_ERROR, "registry: %s", error);
    call->retry_after = 1;

    return hai_fail_code(call, 503, "REGISTRY_UNAVAILABLE", NULL,
                         "The registry cannot be read now");
}

/* What was queued cannot be told apart from what comes next. */
static int fail_queue(struct hai_call *call) {
    call->writer->c->err = REDIS_ERR_OOM;

    return fail_registry(call, "no memory");
}

static const char *text_at(const redisReply *reply, size_t n) {
    return reply->element[n]->type == REDIS_REPLY_STRING
               ? reply->element[n]->str
               : "";
}

/* A time as the registry has it, so that later ones are greater texts. */
static void put_key(struct item *item, enum sort sort, const char *text) {
    if (sort == BY_STATUS) {
        snprintf(item->key, sizeof(item->key), "%s",
                 *text != '\0' ? text : "running");
    } else if (sort != BY_ID && sort != BY_NAME
               && strspn(text, "0123456789") == strlen(text))
    {
        snprintf(item->key, sizeof(item->key), "%20s", text);
    } else {
        item->key[0] = '\0';
    }
}

static struct item *add(struct list *list) {
    if (list->n == list->size) {
        size_t size = list->size > 0 ? list->size * 2 : 256;
        struct item *item = realloc(list->item, size * sizeof(*item));

        if (item == NULL) {
            return NULL;
        }
        list->item = item;
        list->size = size;
    }

    memset(&list->item[list->n], 0, sizeof(*list->item));

    return &list->item[list->n++];
}

/* Nothing of it was there: is it a container of which nothing is known?  One
 * with an id was renamed, and back by now. */
static bool is_bare(struct hai_call *call, const redisReply *name) {
    char error[256];
    redisReply *reply;
    bool bare;

    reply = hai_redis_command(call->writer->c, error, sizeof(error),
                              "HGETALL hoody:{%s}:container:%b",
                              call->writer->server, name->str, name->len);
    bare = reply != NULL && reply->type == REDIS_REPLY_ARRAY
           && reply->elements > 0;

    for (size_t i = 0; bare && i < reply->elements; i += 2) {
        bare = strcmp(reply->element[i]->str, "id") != 0;
    }
    freeReplyObject(reply);

    return bare;
}

/* One of the answers to what read_chunk() has asked.  empty: nothing in it. */
static int take(struct hai_call *call, const struct list_query *q,
                struct list *list, const redisReply *name,
                const redisReply *reply, bool enabled, bool *empty) {
    const char *status, *id;
    struct item *item;

    *empty = false;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != F_N) {
        return 0; /* a key of another type */
    }

    *empty = true;
    for (size_t i = 0; i < F_N; i++) {
        *empty = *empty && reply->element[i]->type == REDIS_REPLY_NIL;
    }

    status = text_at(reply, F_STATUS);
    if (!wanted(call, q, text_at(reply, F_PROJECT),
                *status != '\0' ? status : "running", enabled))
    {
        *empty = false;
        return 0;
    }

    item = add(list);
    if (item == NULL) {
        return -1;
    }

    id = text_at(reply, F_ID);
    snprintf(item->name, sizeof(item->name), "%s", name->str);
    if (hai_view_id_valid(id)) {
        snprintf(item->id, sizeof(item->id), "%s", id);
    }
    put_key(item, q->sort,
            q->sort == BY_STATUS ? status : text_at(reply, F_KEY));

    return 0;
}

/* Which of these names are in the gate: one more reply. */
static int ask_gate(struct hai_call *call, redisReply **names, size_t n) {
    const char *argv[PIPELINE + 2];
    size_t len[PIPELINE + 2];
    char key[512];
    int size = snprintf(key, sizeof(key), "hoody:{%s}:ai:enabled",
                        call->writer->server);

    argv[0] = "SMISMEMBER";
    len[0] = 10;
    argv[1] = key;
    len[1] = (size_t) size;
    for (size_t i = 0; i < n; i++) {
        argv[2 + i] = names[i]->str;
        len[2 + i] = names[i]->len;
    }

    return redisAppendCommandArgv(call->writer->c, (int) n + 2, argv, len);
}

/* "HMGET <container> id project_id status <key>" for each, in one piece: to
 * have hiredis make 10,000 of them one by one takes as long as all the rest. */
static int ask_fields(struct hai_call *call, redisReply **names, size_t n,
                      enum sort sort) {
    static const char *const tail[] = {
        [BY_CREATED] = "$10\r\ncreated_at\r\n",
        [BY_ID] = "$2\r\nid\r\n",
        [BY_NAME] = "$2\r\nid\r\n",
        [BY_STATUS] = "$2\r\nid\r\n",
        [BY_UPDATED] = "$10\r\nupdated_at\r\n",
    };
    const char *server = call->writer->server;
    size_t size = 0, len = 0, extra = strlen(server) + 256;
    char *text;
    int rc;

    for (size_t i = 0; i < n; i++) {
        size += names[i]->len + extra;
    }

    text = malloc(size);
    if (text == NULL) {
        return REDIS_ERR;
    }

    for (size_t i = 0; i < n; i++) {
        len += (size_t) snprintf(
            text + len, size - len,
            "*6\r\n$5\r\nHMGET\r\n$%zu\r\nhoody:{%s}:container:%.*s\r\n"
            "$2\r\nid\r\n$10\r\nproject_id\r\n$6\r\nstatus\r\n%s",
            sizeof("hoody:{}:container:") - 1 + strlen(server) + names[i]->len,
            server, (int) names[i]->len, names[i]->str, tail[sort]);
    }

    rc = redisAppendFormattedCommand(call->writer->c, text, len);
    free(text);

    return rc;
}

/* Valid names of one chunk, in one round trip.  "integer" of a name is 1 then
 * where there is no container. */
static int read_chunk(struct hai_call *call, redisReply **names, size_t n,
                      const struct list_query *q, struct list *list) {
    redisContext *c = call->writer->c;
    redisReply *gate = NULL, *reply;
    bool empty[PIPELINE], any = false;
    size_t at[PIPELINE], out;
    int rc = 0;

    if ((q->ai >= 0 && ask_gate(call, names, n) != REDIS_OK)
        || ask_fields(call, names, n, q->sort) != REDIS_OK)
    {
        return fail_queue(call);
    }

    if (q->ai >= 0 && redisGetReply(c, (void **) &gate) != REDIS_OK) {
        return fail_registry(call, c->errstr);
    }

    if (gate != NULL
        && (gate->type != REDIS_REPLY_ARRAY || gate->elements != n)) {
        c->err = REDIS_ERR_OTHER; /* the other answers are still to come */
        freeReplyObject(gate);
        return fail_registry(call, "the gate is not a set");
    }

    for (size_t i = 0; i < n; i++) {
        if (redisGetReply(c, (void **) &reply) != REDIS_OK) {
            freeReplyObject(gate);
            return fail_registry(call, c->errstr);
        }

        at[i] = list->n;
        empty[i] = false;
        if (rc == 0) {
            rc =
                take(call, q, list, names[i], reply,
                     gate != NULL && gate->element[i]->integer == 1, &empty[i]);
        }
        any = any || empty[i];
        freeReplyObject(reply);
    }

    freeReplyObject(gate);

    if (rc != 0) {
        return hai_fail_memory(call);
    }

    /* a name in the list is not yet a container */
    for (size_t i = n; any && i-- > 0;) {
        if (empty[i] && !is_bare(call, names[i])) {
            names[i]->integer = 1;
            out = at[i];
            memmove(&list->item[out], &list->item[out + 1],
                    (--list->n - out) * sizeof(*list->item));
        }
    }

    return 0;
}

static int compare_names(const void *a, const void *b) {
    return strcmp((*(redisReply *const *) a)->str,
                  (*(redisReply *const *) b)->str);
}

/* With each change of the registry it is another one. */
static int read_version(struct hai_call *call, char *version, size_t size) {
    char error[256];
    redisReply *reply =
        hai_redis_command(call->writer->c, error, sizeof(error),
                          "GET hoody:{%s}:index:version", call->writer->server);

    if (reply == NULL) {
        return fail_registry(call, error);
    }

    snprintf(version, size, "%s",
             reply->type == REDIS_REPLY_STRING ? reply->str : "");
    freeReplyObject(reply);

    return 0;
}

/* Adds what the index has, "i<id> <name>" each.  In the order of ids, which
 * stay, nobody is missed who is renamed meanwhile. */
static int add_indexed(struct hai_call *call, redisReply *names) {
    char error[256], after[HAI_NAME_MAX + ID_SIZE + 8] = "[i";
    size_t skip = 1 + ID_SIZE, n;
    redisReply *page;
    int rc = 0;

    do {
        page = hai_redis_command(call->writer->c, error, sizeof(error),
                                 "ZRANGE hoody:{%s}:index:owners %s (j BYLEX "
                                 "LIMIT 0 %d",
                                 call->writer->server, after, PIPELINE);
        if (page == NULL || page->type != REDIS_REPLY_ARRAY) {
            freeReplyObject(page);
            return fail_registry(call, page == NULL ? error : "no index");
        }

        n = page->elements;
        for (size_t i = 0; rc == 0 && i < n; i++) {
            redisReply *one = page->element[i];

            if (one->type != REDIS_REPLY_STRING || one->len <= skip
                || one->len >= sizeof(after) - 1)
            {
                rc = fail_registry(call, "the index is broken");
                break;
            }

            snprintf(after, sizeof(after), "(%s", one->str);
            one->len -= skip;
            memmove(one->str, one->str + skip, one->len + 1);
        }

        if (rc == 0 && hai_redis_members_add(names, page) != 0) {
            rc = hai_fail_memory(call);
        }
        freeReplyObject(page);
    } while (rc == 0 && n == PIPELINE);

    hai_redis_members_unique(names);

    return rc;
}

/* All names of the host, those that are valid in front: *n.  NULL: answered.
 * *again: some may be of one that was renamed meanwhile. */
static redisReply *read_names(struct hai_call *call, size_t *n, bool *again) {
    char error[256], key[512], before[32], after[32];
    redisReply *names, *name;

    snprintf(key, sizeof(key), "hoody:{%s}:containers", call->writer->server);

    if (read_version(call, before, sizeof(before)) != 0) {
        return NULL;
    }

    names = hai_redis_members(call->writer->c, key, error, sizeof(error));
    if (names == NULL) {
        fail_registry(call, error);
        return NULL;
    }

    /* it was read in pieces, between which one may have got another name */
    if (read_version(call, after, sizeof(after)) != 0
        || (strcmp(before, after) != 0 && add_indexed(call, names) != 0))
    {
        freeReplyObject(names);
        return NULL;
    }
    *again = *again || strcmp(before, after) != 0;

    *n = 0;
    for (size_t i = 0; i < names->elements; i++) {
        name = names->element[i];
        if (name->type == REDIS_REPLY_STRING
            && hai_name_valid(name->str, name->len)) {
            names->element[i] = names->element[*n];
            names->element[(*n)++] = name;
        }
    }

    return names;
}

/* Of the n names those in front that were not there before, or were no
 * container: how many. */
static size_t new_names(redisReply *names, size_t n, const redisReply *before,
                        size_t n_before) {
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        redisReply *name = names->element[i];
        redisReply *const *found = bsearch(&name, before->element, n_before,
                                           sizeof(redisReply *), compare_names);

        if (found == NULL || (*found)->integer == 1) {
            names->element[i] = names->element[kept];
            names->element[kept++] = name;
        }
    }

    return kept;
}

static int read_round(struct hai_call *call, const struct list_query *q,
                      struct list *list, redisReply *names, size_t n,
                      bool *gone) {
    int rc = 0;

    for (size_t i = 0, some; rc == 0 && i < n; i += some) {
        some = n - i < PIPELINE ? n - i : PIPELINE;
        rc = read_chunk(call, names->element + i, some, q, list);
    }

    *gone = false;
    for (size_t i = 0; i < n; i++) {
        *gone = *gone || names->element[i]->integer == 1;
    }

    return rc;
}

/*
 * All of the host.  A name that is no container any more may be one that has
 * another name by now: then the names that are new are looked at, too.  *again:
 * one that was renamed may be there twice.
 */
static int read_all(struct hai_call *call, const struct list_query *q,
                    struct list *list, bool *again) {
    redisReply *names, *more;
    size_t n, n_more;
    bool gone;
    int rc;

    names = read_names(call, &n, again);
    if (names == NULL) {
        return -1;
    }

    rc = read_round(call, q, list, names, n, &gone);

    for (unsigned i = 1; rc == 0 && gone && i < ROUNDS; i++) {
        more = read_names(call, &n_more, again);
        if (more == NULL) {
            rc = -1;
            break;
        }

        qsort(names->element, n, sizeof(redisReply *), compare_names);
        rc = read_round(call, q, list, more, new_names(more, n_more, names, n),
                        &gone);
        *again = true;

        freeReplyObject(names);
        names = more;
        n = n_more;
    }

    freeReplyObject(names);

    return rc;
}

/* The same every time, so that pages do not overlap. */
static int compare(const void *a, const void *b, void *data) {
    const struct item *x = a, *y = b;
    enum sort sort = *(const enum sort *) data;
    int order = sort == BY_NAME ? 0
                : sort == BY_ID ? strcmp(x->id, y->id)
                                : strcmp(x->key, y->key);

    return order != 0 ? order : strcmp(x->name, y->name);
}

static bool same_item(const struct item *a, const struct item *b) {
    return *a->id != '\0' ? strcmp(a->id, b->id) == 0
                          : *b->id == '\0' && strcmp(a->name, b->name) == 0;
}

static void drop_twice(struct list *list) {
    enum sort sort = BY_ID;
    size_t n = 0;

    qsort_r(list->item, list->n, sizeof(*list->item), compare, &sort);
    for (size_t i = 0; i < list->n; i++) {
        if (n == 0 || !same_item(&list->item[n - 1], &list->item[i])) {
            list->item[n++] = list->item[i];
        }
    }
    list->n = n;
}

static int read_list(struct hai_call *call, struct list_query *q,
                     struct list *list) {
    redisReply one = {.type = REDIS_REPLY_STRING}, *names = &one;
    bool again = false;
    int rc = 0;

    if (q->name == NULL) {
        rc = read_all(call, q, list, &again);

    } else if (hai_name_valid(q->name, strlen(q->name))) {
        one.str = q->name;
        one.len = strlen(q->name);
        rc = read_chunk(call, &names, 1, q, list);
    }

    if (rc == 0 && again && list->n > 1) {
        drop_twice(list);
    }

    if (rc == 0 && list->n > 1) {
        qsort_r(list->item, list->n, sizeof(*list->item), compare, &q->sort);
    }

    return rc;
}

/* --- a page ---------------------------------------------------------------- */

/* As it is now; NULL with 0: it is gone, or none that is wanted any more. */
static int view(struct hai_call *call, const struct list_query *q,
                const struct item *item, const struct hai_container_read *read,
                const char *name, json_t **object) {
    const char *id = hai_registry_read_field(read, "id", NULL);
    const char *project = hai_registry_read_field(read, "project_id", NULL);
    const char *status = hai_registry_read_field(read, "status", NULL);

    *object = NULL;

    /* another one has the name now */
    if (*item->id != '\0' && (id == NULL || strcmp(id, item->id) != 0)) {
        return 0;
    }

    if (!wanted(call, q, project != NULL ? project : "",
                status != NULL && *status != '\0' ? status : "running",
                read->enabled))
    {
        return 0;
    }

    *object = hai_view_container(call->control, name, read);

    return *object != NULL ? 0 : hai_fail_memory(call);
}

/* Not there by its name: renamed since the list was made? */
static int view_moved(struct hai_call *call, const struct list_query *q,
                      const struct item *item, json_t **object) {
    struct hai_container_read read;
    struct hai_write_result result;
    char name[NAME_SIZE];
    const char *id;
    bool there = false;
    int rc = 0;

    *object = NULL;

    for (unsigned i = 0; *item->id != '\0' && !there && i < FIND_TRIES; i++) {
        if (hai_registry_find_id(call->writer, item->id, name, &result)
            == HAI_WRITE_NOT_FOUND)
        {
            return 0;
        }

        if (result.error != HAI_WRITE_OK
            || hai_registry_read(call->writer, name, &read, &result)
                   != HAI_WRITE_OK)
        {
            return hai_fail_write(call, &result);
        }

        id = hai_registry_read_field(&read, "id", NULL);
        there = read.exists && id != NULL && strcmp(id, item->id) == 0;
        if (there) {
            rc = view(call, q, item, &read, name, object);
        }
        hai_registry_read_free(&read);
    }

    return rc;
}

static int append(json_t *array, json_t *object) {
    return object == NULL ? 0 : json_array_append_new(array, object);
}

/* At most PIPELINE of them. */
static int read_objects(struct hai_call *call, const struct list_query *q,
                        const struct item *item, size_t n, bool backwards,
                        json_t *array) {
    redisContext *c = call->writer->c;
    const char *server = call->writer->server;
    json_t *object[PIPELINE] = {NULL};
    int rc = 0;

    for (size_t i = 0; i < n; i++) {
        if (redisAppendCommand(c, "HGETALL hoody:{%s}:container:%s", server,
                               item[i].name)
                != REDIS_OK
            || redisAppendCommand(c, "SISMEMBER hoody:{%s}:ai:enabled %s",
                                  server, item[i].name)
                   != REDIS_OK)
        {
            return fail_queue(call);
        }
    }

    for (size_t i = 0; i < n; i++) {
        redisReply *hash = NULL, *gate = NULL;

        if (redisGetReply(c, (void **) &hash) != REDIS_OK
            || redisGetReply(c, (void **) &gate) != REDIS_OK)
        {
            freeReplyObject(hash);
            rc = fail_registry(call, c->errstr);
            break;
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
            rc = view(call, q, &item[i], &read, item[i].name, &object[i]);
        }

        freeReplyObject(hash);
        freeReplyObject(gate);
    }

    for (size_t i = 0; i < n; i++) {
        size_t at = backwards ? n - 1 - i : i;

        if (rc == 0 && object[at] == NULL) {
            rc = view_moved(call, q, &item[at], &object[at]);
        }

        if (rc != 0) {
            json_decref(object[at]);
        } else if (append(array, object[at]) != 0) {
            rc = hai_fail_memory(call);
        }
    }

    return rc;
}

/* Those from first on, in the order of the query; NULL: answered. */
static json_t *page_of(struct hai_call *call, const struct list_query *q,
                       const struct list *list, size_t first, size_t n) {
    json_t *array = json_array();
    int rc = array != NULL ? 0 : hai_fail_memory(call);

    for (size_t done = 0, some; rc == 0 && done < n; done += some) {
        some = n - done < PIPELINE ? n - done : PIPELINE;
        rc = read_objects(call, q,
                          list->item
                              + (q->descending ? list->n - first - done - some
                                               : first + done),
                          some, q->descending, array);
    }

    if (rc != 0) {
        json_decref(array);
        array = NULL;
    }

    return array;
}

/* The first that comes behind the one that "after" names, which may be gone. */
static size_t behind(const struct list *list, const char *after) {
    size_t i = 0;

    while (i < list->n && *after != '\0'
           && (*after != '-' ? strcmp(list->item[i].id, after) <= 0
               : *list->item[i].id != '\0'
                   ? false
                   : strcmp(list->item[i].name, after + 1) <= 0))
    {
        i++;
    }

    return i;
}

static json_t *next_of(const struct list *list, size_t end) {
    const struct item *last = &list->item[end - 1];

    return end >= list->n      ? json_null()
           : *last->id != '\0' ? json_string(last->id)
                               : json_sprintf("-%s", last->name);
}

static int answer(struct hai_call *call, const struct list_query *q,
                  const struct list *list) {
    size_t limit = (size_t) q->limit, first, n;
    json_t *array, *pagination;

    first = q->after != NULL ? behind(list, q->after)
                             : (size_t) (q->page - 1) * limit;
    n = first >= list->n          ? 0
        : list->n - first < limit ? list->n - first
                                  : limit;

    array = page_of(call, q, list, first, n);
    if (array == NULL) {
        return -1;
    }

    pagination =
        json_pack("{s:I,s:I,s:I,s:I}", "total", (json_int_t) list->n, "page",
                  (json_int_t) q->page, "limit", (json_int_t) limit,
                  "totalPages", (json_int_t) ((list->n + limit - 1) / limit));
    if (q->after != NULL) {
        json_object_set_new(pagination, "next",
                            n > 0 ? next_of(list, first + n) : json_null());
    }

    return hai_ok(
        call, 200, "Containers retrieved successfully",
        json_pack("{s:o,s:o}", "containers", array, "pagination", pagination));
}

int hai_list_answer(struct hai_call *call, const char *project) {
    struct list_query q = {.project = project};
    struct list list = {0};
    int rc = read_query(call, &q);

    if (rc == 0) {
        rc = read_list(call, &q, &list);
    }

    if (rc == 0) {
        rc = answer(call, &q, &list);
    }

    free(list.item);
    free(q.after);
    free(q.name);
    free(q.status);

    return rc;
}

int hai_containers_list(struct hai_call *call) {
    return hai_list_answer(call, NULL);
}

json_t *hai_containers_with_ai(struct hai_call *call) {
    struct list_query q = {.ai = 1, .deleting = true, .sort = BY_NAME};
    struct list list = {0};
    json_t *array = NULL;

    if (read_list(call, &q, &list) == 0) {
        array = page_of(call, &q, &list, 0, list.n);
    }

    free(list.item);

    return array;
}
