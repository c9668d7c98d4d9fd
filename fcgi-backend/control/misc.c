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

static json_t *entry_of(const redisReply *entry) {
    json_t *object = NULL;

    /* [id, [field, value]] */
    if (entry->type == REDIS_REPLY_ARRAY && entry->elements == 2
        && entry->element[1]->type == REDIS_REPLY_ARRAY
        && entry->element[1]->elements == 2)
    {
        const redisReply *text = entry->element[1]->element[1];

        object = json_loadb(text->str, text->len, 0, NULL);
    }

    return json_is_object(object) ? object : NULL;
}

/* The newest first; of projects that the caller may read. */
int hai_audit_list(struct hai_call *call) {
    char error[256], *container, *text;
    redisReply *entries;
    long limit = 100;
    bool bad = false;
    json_t *list;

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

    entries = hai_redis_command(call->writer->c, error, sizeof(error),
                                "XREVRANGE hoody:{%s}:audit + - COUNT %d",
                                call->writer->server,
                                container != NULL ? 10 * AUDIT_MAX : AUDIT_MAX);
    if (entries == NULL || entries->type != REDIS_REPLY_ARRAY) {
        freeReplyObject(entries);
        free(container);
        return hai_fail_code(call, 503, "REGISTRY_UNAVAILABLE", NULL,
                             "The audit cannot be read now");
    }

    list = json_array();
    for (size_t i = 0;
         i < entries->elements && json_array_size(list) < (size_t) limit; i++)
    {
        json_t *entry = entry_of(entries->element[i]);
        const char *project =
            json_string_value(json_object_get(entry, "project_id"));
        const char *name =
            json_string_value(json_object_get(entry, "container"));
        const char *id =
            json_string_value(json_object_get(entry, "container_id"));

        if (entry != NULL && hai_auth_may(call, HAI_RIGHT_READ, project)
            && (container == NULL
                || (name != NULL && strcmp(name, container) == 0)
                || (id != NULL && strcmp(id, container) == 0)))
        {
            json_array_append(list, entry);
        }
        json_decref(entry);
    }

    freeReplyObject(entries);
    free(container);

    return hai_ok(call, 200, "Audit retrieved successfully",
                  json_pack("{s:o}", "entries", list));
}
