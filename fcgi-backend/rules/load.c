/* Makes rule sets and publishes their epochs, see loader_core.h. */

#include "loader_core.h"

#include "lib/clock.h"
#include "lib/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Gives the set to the workers, with the epoch as it is now. */
static int put_set(struct hai_loader *l) {
    struct hai_current *current = &l->engine->current;
    char text[HAI_EPOCH_SIZE];
    struct hai_set *set;

    hai_epoch_write(&l->epoch, text);

    /* only this thread changes it: no reference is needed */
    set = hai_set_new(l->rules, text, current->set);
    if (set == NULL) {
        hai_log(HAI_LOG_ERROR, "no memory for a rule set");
        return -1;
    }

    hai_current_put(current, set);

    return 0;
}

static int set_epoch(struct hai_loader *l) {
    char text[HAI_EPOCH_SIZE], error[256];
    redisReply *reply;

    hai_epoch_write(&l->epoch, text);

    reply = hai_redis_command(l->data, error, sizeof(error), "SET %s %s",
                              l->engine->epoch_key, text);
    if (reply == NULL) {
        hai_loader_disconnect(l, error);
        return -1;
    }

    freeReplyObject(reply);
    hai_log(HAI_LOG_INFO, "epoch %s is published", text);

    return 0;
}

/*
 * Brings the epoch of Redis and ours together.  The workers have the set with
 * its final epoch before anybody can read that in Redis.
 */
void hai_loader_publish(struct hai_loader *l) {
    enum hai_epoch_action action;
    redisReply *reply;
    char error[256];

    reply = hai_redis_command(l->data, error, sizeof(error), "GET %s",
                              l->engine->epoch_key);
    if (reply == NULL
        && (l->data->err != 0 || strncmp(error, "WRONGTYPE", 9) != 0)) {
        hai_loader_disconnect(l, error);
        return;
    }

    /* a key of another type is as good as none: SET replaces it */
    action = hai_epoch_decide(
        &l->epoch,
        reply != NULL && reply->type == REDIS_REPLY_STRING ? reply->str : NULL,
        reply != NULL ? reply->len : 0, l->fresh, hai_wall_ms());
    freeReplyObject(reply);

    l->look_at_epoch = false;

    if (action == HAI_EPOCH_FOREIGN) {
        if (l->foreign_ms == 0) {
            l->foreign_ms = hai_mono_ms();
        }

        return;
    }

    l->foreign_ms = 0;
    l->foreign_said = false;

    if ((action != HAI_EPOCH_KEEP || l->fresh) && put_set(l) != 0) {
        l->look_at_epoch = true;
        return;
    }

    if (action == HAI_EPOCH_WRITE && set_epoch(l) != 0) {
        l->look_at_epoch = true;
        return;
    }

    l->fresh = false;
}

static void report(void *data, bool is_error, const char *where, int line,
                   int column, const char *rule, const char *reason) {
    struct hai_load_error *first = data;
    char place[48] = "", name[160] = "";

    if (line > 0) {
        snprintf(place, sizeof(place), ":%d:%d", line, column);
    }

    if (rule != NULL && *rule != '\0') {
        snprintf(name, sizeof(name), " rule \"%s\":", rule);
    }

    hai_log(is_error ? HAI_LOG_ERROR : HAI_LOG_WARN, "%s%s:%s %s", where, place,
            name, reason);

    if (!is_error || first->at != 0) {
        return;
    }

    snprintf(first->where, sizeof(first->where), "%s", where);
    first->line = line;
    first->column = column;
    snprintf(first->rule, sizeof(first->rule), "%s", rule ? rule : "");
    snprintf(first->reason, sizeof(first->reason), "%s", reason);
    first->at = hai_wall_ms();
}

/* The entry rules.reload. */
static void tell(struct hai_loader *l, const struct hai_load_error *error) {
    char epoch[HAI_EPOCH_SIZE] = "", count[24] = "0", reason[1024] = "";
    struct hai_field fields[4];
    size_t i;

    if (l->rules != NULL) {
        hai_epoch_write(&l->epoch, epoch);
        snprintf(count, sizeof(count), "%zu", l->rules->n);
    }

    if (error != NULL) {
        snprintf(reason, sizeof(reason), "%s:%d:%d: %s%s%s", error->where,
                 error->line, error->column, error->rule,
                 *error->rule ? ": " : "", error->reason);
    }

    fields[0].name = "status";
    fields[0].value.data = error == NULL ? "ok" : "failed";
    fields[1].name = "epoch";
    fields[1].value.data = epoch;
    fields[2].name = "rules";
    fields[2].value.data = count;
    fields[3].name = "reason";
    fields[3].value.data = reason;

    for (i = 0; i < 4; i++) {
        fields[i].value.len = strlen(fields[i].value.data);
    }

    hai_entries_add(&l->engine->entries, "rules.reload", fields, 4);
}

/* The last good set stays; everybody hears of it. */
static void refuse(struct hai_loader *l, const struct hai_load_error *error) {
    struct hai_load_state *state = &l->engine->state;

    pthread_mutex_lock(&state->lock);
    state->error = *error;
    pthread_mutex_unlock(&state->lock);

    atomic_fetch_add(&l->engine->counters.reloads_failed, 1);
    hai_log(HAI_LOG_ERROR, "rules are refused, %s",
            l->rules != NULL ? "the last good set stays in force"
                             : "there is no set: no question is answered");
    tell(l, error);
}

/* What is there is no overlay: the set stays as it is. */
static void refuse_overlay(struct hai_loader *l, const char *reason) {
    struct hai_load_error error = {0};

    report(&error, true, "overlay", 0, 0, "", reason);
    l->read_overlay = false;
    refuse(l, &error);
}

void hai_loader_read_overlay(struct hai_loader *l) {
    redisReply *reply;
    char error[256];

    reply = hai_redis_command(l->data, error, sizeof(error), "HGETALL %s",
                              l->engine->rules_key);
    if (reply == NULL) {
        if (l->data->err == 0 && strncmp(error, "WRONGTYPE", 9) == 0) {
            refuse_overlay(l, error);

        } else {
            hai_loader_disconnect(l, error);
        }

        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements % 2 != 0) {
        freeReplyObject(reply);
        hai_loader_disconnect(l, "no hash was answered to HGETALL");
        return;
    }

    if (l->overlay != NULL) {
        freeReplyObject(l->overlay);
    }

    l->overlay = reply;
    l->read_overlay = false;
    l->make_set = true;
}

static struct hai_rules *load(struct hai_loader *l,
                              struct hai_load_error *error) {
    struct hai_rule_report to = {report, error};
    struct hai_rule_overlay *overlay = NULL;
    struct hai_rules *rules;
    size_t n = l->overlay->elements / 2, i;

    if (n > 0) {
        overlay = calloc(n, sizeof(*overlay));
        if (overlay == NULL) {
            report(error, true, "overlay", 0, 0, "", "no memory");
            return NULL;
        }
    }

    for (i = 0; i < n; i++) {
        const redisReply *id = l->overlay->element[2 * i];
        const redisReply *json = l->overlay->element[2 * i + 1];

        overlay[i].id = id->str;
        overlay[i].id_len = id->len;
        overlay[i].json = json->str;
        overlay[i].json_len = json->len;
    }

    rules = hai_rules_load(l->engine->file, overlay, n, &to);
    free(overlay);

    return rules;
}

void hai_loader_make_set(struct hai_loader *l) {
    struct hai_load_state *state = &l->engine->state;
    struct hai_load_error error = {0};
    bool forced = l->forced, changed, failed_before;
    struct hai_rules *rules;

    l->make_set = false;
    l->forced = false;

    if (l->engine->file != NULL) {
        hai_file_watch_loading(&l->file);
    }

    rules = load(l, &error);

    if (rules == NULL) {
        refuse(l, &error);
        return;
    }

    pthread_mutex_lock(&state->lock);
    failed_before = state->error.at != 0;
    state->error.at = 0;
    state->loaded_at = hai_wall_ms();
    state->overlay = (unsigned) (l->overlay->elements / 2);
    pthread_mutex_unlock(&state->lock);

    atomic_fetch_add(&l->engine->counters.reloads, 1);
    changed = l->rules == NULL || strcmp(l->epoch.digest, rules->digest) != 0;

    hai_rules_unref(l->rules);
    l->rules = rules;

    if (changed) {
        uint64_t now = hai_wall_ms();

        l->epoch.ms = l->epoch.ms + 1 > now ? l->epoch.ms + 1 : now;
        snprintf(l->epoch.digest, sizeof(l->epoch.digest), "%s", rules->digest);
        l->fresh = true;
        l->foreign_ms = 0;
        hai_log(HAI_LOG_INFO, "rules in force: %zu", rules->n);

    } else if (forced) {
        /* whoever asks for it wants these rules, not another engine's */
        l->fresh = true;
    }

    /* with Redis the epoch that it has is looked at first: maybe another
     * engine has published these rules */
    if (l->fresh && l->data != NULL) {
        hai_loader_publish(l);
    }

    if (!changed || l->fresh) {
        put_set(l);
    }

    if (changed || failed_before || forced) {
        tell(l, NULL);
    }
}
