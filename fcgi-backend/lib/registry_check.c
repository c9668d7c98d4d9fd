/* Checks a registry, puts it right, and moves its layout on; see
 * registry_check.h. */

#include "registry_check_core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Words of the functions and of the checker.  docs/REGISTRY.md lists them. */
static const struct {
    const char *name;
    bool can_repair;
    bool of_migration; /* told by nobody while the layout is an older one */
} kinds[] = {
    {"not_listed", true, false},           {"listed_without_hash", true, false},
    {"enabled_without_hash", true, false}, {"leftover_source", true, false},
    {"bad_source", true, false},           {"bad_name", true, false},
    {"index_drift", true, true},           {"stale_index", true, true},
    {"index_type", true, false},           {"no_version", true, true},
    {"version_counter", true, true},       {"bad_field", false, false},
    {"wrong_type", false, false},          {"duplicate_address", false, false},
    {"duplicate_number", false, false},    {"duplicate_id", false, false},
    {"foreign_key", false, false},         {"old_layout", false, false},
};

#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

int hai_registry_no_memory(struct hai_registry_checker *check) {
    snprintf(check->error, check->size, "no memory");
    return -1;
}

static struct hai_registry_finding *grow(struct hai_registry_report *report) {
    size_t room = report->room > 0 ? 2 * report->room : 64;
    struct hai_registry_finding *finding;

    if (report->n < report->room) {
        return &report->finding[report->n];
    }
    finding = realloc(report->finding, room * sizeof(*finding));
    if (finding == NULL) {
        return NULL;
    }
    report->finding = finding;
    report->room = room;
    return &report->finding[report->n];
}

int hai_registry_found(struct hai_registry_checker *check, const char *kind,
                       const char *subject, const char *detail) {
    struct hai_registry_finding *finding;
    size_t i = 0;

    while (i < N_KINDS && strcmp(kinds[i].name, kind) != 0) {
        i++;
    }
    if (i == N_KINDS) {
        snprintf(check->error, check->size, "a function says \"%s\"", kind);
        return -1;
    }
    if (kinds[i].can_repair && !kinds[i].of_migration && check->migrating) {
        return 0; /* only the index and versions are its affair */
    }
    if (kinds[i].can_repair
        && hai_names_add(&check->broken, subject, strlen(subject)) != 0)
    {
        return hai_registry_no_memory(check);
    }
    if (kinds[i].of_migration && check->report->schema < HAI_REGISTRY_SCHEMA) {
        return 0;
    }
    finding = grow(check->report);
    if (finding == NULL) {
        return hai_registry_no_memory(check);
    }
    *finding = (struct hai_registry_finding){.kind = kinds[i].name,
                                             .subject = strdup(subject),
                                             .detail = strdup(detail),
                                             .can_repair = kinds[i].can_repair};
    if (finding->subject == NULL || finding->detail == NULL) {
        free(finding->subject);
        free(finding->detail);
        return hai_registry_no_memory(check);
    }
    check->report->n++;
    return 0;
}

static int compare(const void *a, const void *b) {
    const struct hai_registry_finding *x = a, *y = b;
    int rc = strcmp(x->subject, y->subject);

    return rc != 0 ? rc : strcmp(x->kind, y->kind);
}

/* The first finding of a subject, in a sorted report. */
static size_t first_of(const struct hai_registry_report *report,
                       const char *subject) {
    size_t low = 0, high = report->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(report->finding[middle].subject, subject) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void mark(struct hai_registry_report *report, const char *subject,
                 const char *kind) {
    size_t i;

    for (i = first_of(report, subject);
         i < report->n && strcmp(report->finding[i].subject, subject) == 0; i++)
    {
        if (strcmp(report->finding[i].kind, kind) == 0) {
            report->finding[i].repaired = true;
        }
    }
}

/* The members of the index that only it has, of one container. */
static size_t orphans_of(const struct hai_registry_checker *check,
                         const char *name, size_t *first) {
    const struct hai_names *orphans = &check->orphans;
    size_t low = 0, high = orphans->n, len = strlen(name), n = 0;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *text = orphans->item[middle];
        int rc = strncmp(text, name, len);

        if (rc < 0 || (rc == 0 && text[len] < ' ')) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *first = low;
    while (low + n < orphans->n
           && strncmp(orphans->item[low + n], name, len) == 0
           && orphans->item[low + n][len] == ' ')
    {
        n++;
    }
    return n;
}

static int send_repair(struct hai_registry_checker *check, const char *name) {
    struct hai_registry_call call;
    size_t first, i, n = orphans_of(check, name, &first);
    char(*member)[256] = calloc(n + 1, sizeof(*member));
    int rc = -1;

    if (member == NULL) {
        return hai_registry_no_memory(check);
    }
    if (hai_registry_call_begin(&call, check->w->server, "FCALL",
                                "hoody_ai_repair", name, NULL, 2 * n + 2)
        == 0)
    {
        if (check->migrating) {
            hai_registry_call_word(&call, "@only", 5);
            hai_registry_call_word(&call, "index", 5);
        }
        for (i = 0; i < n; i++) {
            int len = snprintf(
                member[i], sizeof(member[i]), "%s %s",
                check->orphans.item[first + i] + strlen(name) + 1, name);

            hai_registry_call_word(&call, "@orphan", 7);
            hai_registry_call_word(&call, member[i], (size_t) len);
        }
        rc = hai_registry_call_send(check->w->c, &call);
        hai_registry_call_free(&call);
    }
    free(member);
    return rc == 0 ? 0 : hai_registry_no_memory(check);
}

/* The kinds that were put right.  A container that the functions refuse stays
 * as it is; anything else ends the repair. */
static int receive_repair(struct hai_registry_checker *check,
                          const char *name) {
    struct hai_write_result result;
    void *data = NULL;
    redisReply *reply;
    size_t i;
    int rc = 0;

    if (redisGetReply(check->w->c, &data) != REDIS_OK) {
        data = NULL;
    }
    reply = data;
    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY) {
        for (i = 0; i < reply->elements; i++) {
            if (reply->element[i]->type == REDIS_REPLY_STRING) {
                mark(check->report, name, reply->element[i]->str);
            }
        }
    } else {
        memset(&result, 0, sizeof(result));
        if (hai_registry_failed(check->w->c, reply, &result) != HAI_WRITE_BROKEN
            || check->migrating)
        {
            snprintf(check->error, check->size, "%s: %s", name, result.text);
            rc = -1;
        }
    }
    freeReplyObject(reply);
    return rc;
}

int hai_registry_repair(struct hai_registry_checker *check) {
    const struct hai_names *names = &check->broken;
    size_t sent = 0, done, of = 0;

    /* what is not the name of a container has been seen to already */
    for (done = 0; done < names->n; done++) {
        if (hai_names_have(&check->names, names->item[done])) {
            char *item = names->item[done];

            names->item[done] = names->item[of];
            names->item[of++] = item;
        }
    }
    for (done = 0; done < of; done++) {
        while (sent < of && sent < done + HAI_REGISTRY_BATCH) {
            if (send_repair(check, names->item[sent]) != 0) {
                return -1;
            }
            sent++;
        }
        if (receive_repair(check, names->item[done]) != 0) {
            return -1;
        }
        if (check->options->progress != NULL) {
            check->options->progress("repairs", done + 1, of);
        }
    }
    return 0;
}

static void finish(struct hai_registry_checker *check) {
    hai_names_free(&check->names);
    hai_names_free(&check->owners);
    hai_names_free(&check->claims);
    hai_names_free(&check->orphans);
    hai_names_free(&check->drifted);
    hai_names_free(&check->broken);
}

/* From what is there to what is wrong, and where wanted to what is right. */
static int run(struct hai_registry_checker *check) {
    if (hai_registry_inspect(check) != 0 || hai_registry_compare(check) != 0) {
        return -1;
    }
    if (check->report->n > 0) {
        qsort(check->report->finding, check->report->n,
              sizeof(*check->report->finding), compare);
    }
    hai_names_sort(&check->broken);
    if (!check->options->repair) {
        return 0;
    }
    return hai_registry_repair(check);
}

static int layout(struct hai_registry_checker *check) {
    struct hai_registry_report *report = check->report;
    char detail[160];

    if (hai_registry_schema(check->w, &report->schema, check->error,
                            check->size)
        != 0)
    {
        return -1;
    }
    if (report->schema == HAI_REGISTRY_SCHEMA) {
        return 0;
    }
    if (hai_registry_layout(check->w, report->schema, detail, sizeof(detail))
            != 0
        && (report->schema > HAI_REGISTRY_SCHEMA || check->options->repair))
    {
        snprintf(check->error, check->size, "%s", detail);
        return -1;
    }
    return hai_registry_found(check, "old_layout", "schema", detail);
}

/* The index is dropped and built again; meanwhile the functions refuse. */
static int rebuild(struct hai_registry_checker *check) {
    struct hai_registry_report *report = check->report;
    size_t containers = 0, i;
    long now;

    if (!check->options->repair || check->unusable) {
        check->unusable = true;
        return 0;
    }
    if (hai_registry_set_schema(check->w, "2", "1", &now, check->error,
                                check->size)
            != 0
        || hai_registry_migrate(check->w, check->options, &containers,
                                check->error, check->size)
               < 0)
    {
        return -1;
    }
    for (i = 0; i < report->n; i++) {
        if (strcmp(report->finding[i].kind, "index_type") == 0) {
            report->finding[i].repaired = true;
        }
    }
    return 0;
}

int hai_registry_check(struct hai_registry_writer *w,
                       const struct hai_registry_check_options *options,
                       struct hai_registry_report *report, char *error,
                       size_t size) {
    struct hai_registry_checker check = {
        .w = w, .options = options, .report = report, .size = size};
    size_t i;
    int rc;

    check.error = error;
    memset(report, 0, sizeof(*report));
    report->schema = HAI_REGISTRY_SCHEMA;
    rc = hai_registry_collect_types(&check);
    if (rc == 0 && !check.unusable) {
        rc = layout(&check);
    }
    if (rc == 0 && check.rebuild) {
        rc = rebuild(&check);
    }
    if (rc == 0 && !check.unusable) {
        rc = hai_registry_collect(&check);
    }
    if (rc == 0 && !check.unusable) {
        rc = run(&check);
    }
    for (i = 0; i < report->n; i++) {
        report->repaired += report->finding[i].repaired;
    }
    finish(&check);
    return rc;
}

void hai_registry_report_free(struct hai_registry_report *report) {
    size_t i;

    for (i = 0; i < report->n; i++) {
        free(report->finding[i].subject);
        free(report->finding[i].detail);
    }
    free(report->finding);
    memset(report, 0, sizeof(*report));
}

/* 1 to 2: the index is built, and every container gets a version. */
static int build_index(struct hai_registry_writer *w,
                       const struct hai_registry_check_options *options,
                       size_t *containers, char *error, size_t size) {
    struct hai_registry_check_options all = *options;
    struct hai_registry_report report = {.schema = 1};
    struct hai_registry_checker check = {.w = w,
                                         .options = &all,
                                         .report = &report,
                                         .migrating = true,
                                         .error = error,
                                         .size = size};
    int rc;

    all.repair = true;
    rc = hai_registry_collect_types(&check);
    if (rc == 0 && (check.unusable || check.rebuild)) {
        snprintf(error, size,
                 "keys are of wrong types: run \"hoody-ai "
                 "registry check\"");
        rc = -1;
    }
    if (rc == 0) {
        rc = hai_registry_collect(&check);
    }
    if (rc == 0) {
        rc = run(&check);
    }
    *containers = report.containers;
    finish(&check);
    hai_registry_report_free(&report);
    return rc;
}

/* One row per step; a step may be interrupted and done again. */
static const struct {
    const char *from, *to;
    int (*run)(struct hai_registry_writer *w,
               const struct hai_registry_check_options *options,
               size_t *containers, char *error, size_t size);
} steps[] = {
    {"1", "2", build_index},
};

int hai_registry_migrate(struct hai_registry_writer *w,
                         const struct hai_registry_check_options *options,
                         size_t *containers, char *error, size_t size) {
    long schema;
    int done = 0;

    *containers = 0;
    if (hai_registry_load(w, false, error, size) < 0
        || hai_registry_schema(w, &schema, error, size) != 0)
    {
        return -1;
    }
    while (schema < HAI_REGISTRY_SCHEMA) {
        if (steps[schema - 1].run(w, options, containers, error, size) != 0
            || hai_registry_set_schema(w, steps[schema - 1].from,
                                       steps[schema - 1].to, &schema, error,
                                       size)
                   != 0)
        {
            return -1;
        }
        done = 1;
    }
    return hai_registry_layout(w, schema, error, size) == 0 ? done : -1;
}
