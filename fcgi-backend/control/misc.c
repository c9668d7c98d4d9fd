/* Health, the catalogue of models, the audit.  See handlers.h. */

#include "auth.h"
#include "handlers.h"
#include "runtime.h"
#include "sync.h"

#include "lib/file.h"
#include "lib/log.h"
#include "lib/time_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MODELS_MAX (4UL * 1024 * 1024)
#define AUDIT_MAX 1000

int hai_health(struct hai_call *call) {
    struct hai_control *control = call->control;
    bool redis = call->writer != NULL;
    const char *runtime = "none";
    json_t *data;

    if (control->runtime != NULL) {
        runtime = hai_sync_last(control->sync) > 0 ? "ok" : "unavailable";
    }

    data =
        json_pack("{s:s,s:s,s:s}", "status", redis ? "ok" : "unavailable",
                  "registry", redis ? "ok" : "unavailable", "runtime", runtime);

    if (!redis) {
        return hai_fail_code(call, 503, "REGISTRY_UNAVAILABLE", data,
                             "The registry cannot be reached now");
    }

    return hai_ok(call, 200, "Healthy", data);
}

/* The file is the operator's: an object as the platform answers, or its list
 * of models alone. */
int hai_models_list(struct hai_call *call) {
    const char *path = call->control->models_path;
    char cause[160], updated[HAI_TIME_SIZE];
    json_t *models = NULL;
    json_error_t wrong;
    struct stat st;
    char *text;
    size_t len;

    if (path == NULL) {
        return hai_ok(call, 200, "AI models retrieved successfully",
                      json_pack("{s:n,s:[]}", "updated_at", "models"));
    }

    text = hai_file_read(path, MODELS_MAX, &len, cause, sizeof(cause));
    if (text == NULL || stat(path, &st) != 0) {
        hai_log(HAI_LOG_ERROR, "%s: %s", path, text == NULL ? cause : "gone");
        free(text);
        return hai_fail(call, 503, "The catalogue of models cannot be read");
    }

    models = json_loadb(text, len, JSON_REJECT_DUPLICATES, &wrong);
    free(text);

    if (json_is_object(models)) {
        json_t *list = json_incref(json_object_get(models, "models"));

        json_decref(models);
        models = list;
    }

    if (!json_is_array(models)) {
        json_decref(models);
        hai_log(HAI_LOG_ERROR, "%s: not a list of models", path);
        return hai_fail(call, 503, "The catalogue of models cannot be read");
    }

    hai_time_text((int64_t) st.st_mtim.tv_sec * 1000, updated);

    return hai_ok(
        call, 200, "AI models retrieved successfully",
        json_pack("{s:s,s:o}", "updated_at", updated, "models", models));
}

struct audit_query {
    const struct hai_call *call;
    const char *container; /* name or id; NULL: all */
    size_t limit;
    json_t *list;
};

static bool is(const json_t *entry, const char *member, const char *text) {
    const char *value = json_string_value(json_object_get(entry, member));

    return value != NULL && strcmp(value, text) == 0;
}

/* One of the audit: [field, value]. */
static bool look_at_audit(void *data, const redisReply *fields) {
    struct audit_query *q = data;
    json_t *entry = NULL;

    if (fields->elements == 2 && fields->element[1]->type == REDIS_REPLY_STRING)
    {
        entry = json_loadb(fields->element[1]->str, fields->element[1]->len, 0,
                           NULL);
    }

    if (json_is_object(entry)
        && hai_auth_may(q->call, HAI_RIGHT_READ,
                        json_string_value(json_object_get(entry, "project_id")))
        && (q->container == NULL || is(entry, "container", q->container)
            || is(entry, "container_id", q->container)))
    {
        json_array_append(q->list, entry);
    }
    json_decref(entry);

    return json_array_size(q->list) < q->limit;
}

/* The newest first; of projects that the caller may read. */
int hai_audit_list(struct hai_call *call) {
    struct audit_query q = {.call = call};
    char *container, *text;
    long limit = 100;
    int64_t oldest;
    bool bad = false;
    int rc;

    container = hai_call_query(call, "container", &bad);
    text = bad ? NULL : hai_call_query(call, "limit", &bad);

    if (text != NULL) {
        char *end;

        limit = strtol(text, &end, 10);
        bad = *end != '\0' || limit < 1 || limit > AUDIT_MAX;
        free(text);
    }

    if (bad) {
        free(container);
        return hai_fail(call, 400, "limit: not a number from 1 to %d",
                        AUDIT_MAX);
    }

    q.container = container;
    q.limit = (size_t) limit;
    q.list = json_array();
    rc = q.list != NULL
             ? hai_stream_walk(call, "audit",
                               container != NULL ? 10 * AUDIT_MAX : AUDIT_MAX,
                               look_at_audit, &q, &oldest)
             : -1;
    free(container);

    if (rc != 0) {
        json_decref(q.list);
        call->retry_after = 1;
        return hai_fail_code(call, 503, "REGISTRY_UNAVAILABLE", NULL,
                             "The audit cannot be read now");
    }

    return hai_ok(call, 200, "Audit retrieved successfully",
                  json_pack("{s:o}", "entries", q.list));
}
