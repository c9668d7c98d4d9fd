/* The engine's status, see status.h. */

#include "status.h"

#include <inttypes.h>
#include <string.h>

static void text_member(struct hai_buf *b, const char *name, const char *text) {
    hai_buf_format(b, ",\"%s\":", name);
    hai_buf_json(b, text, strlen(text));
}

static void load_state(const struct hai_load_state *state, struct hai_buf *b) {
    const struct hai_load_error *error = &state->error;

    hai_buf_format(b, ",\"overlay\":%u,\"loaded_at\":%" PRIu64, state->overlay,
                   state->loaded_at);
    text_member(b, "redis", state->redis ? "connected" : "lost");

    if (error->at == 0) {
        hai_buf_text(b, ",\"last_error\":null");
        return;
    }

    hai_buf_format(b, ",\"last_error\":{\"at\":%" PRIu64, error->at);
    text_member(b, "where", error->where);
    hai_buf_format(b, ",\"line\":%d,\"column\":%d", error->line, error->column);
    text_member(b, "rule", error->rule);
    text_member(b, "reason", error->reason);
    hai_buf_text(b, "}");
}

static void set_state(const struct hai_set *set, struct hai_buf *b) {
    size_t enabled = 0, i;

    for (i = 0; i < set->rules->n; i++) {
        enabled += set->rules->rule[i].enabled;
    }

    hai_buf_text(b, "{\"epoch\":");
    hai_buf_json(b, set->epoch, strlen(set->epoch));
    hai_buf_format(b, ",\"rules\":%zu,\"enabled\":%zu,\"fired\":{",
                   set->rules->n, enabled);

    for (i = 0; i < set->rules->n; i++) {
        if (i > 0) {
            hai_buf_text(b, ",");
        }

        hai_buf_json(b, set->rules->rule[i].id, strlen(set->rules->rule[i].id));
        hai_buf_format(b, ":%llu", atomic_load(&set->fired[i]->n));
    }

    hai_buf_text(b, "}");
}

void hai_status_write(struct hai_engine *engine, struct hai_buf *b) {
    struct hai_counters *counters = &engine->counters;
    struct hai_set *set = hai_current_take(&engine->current);
    struct hai_load_state state;
    size_t i;

    pthread_mutex_lock(&engine->state.lock);
    state.redis = engine->state.redis;
    state.loaded_at = engine->state.loaded_at;
    state.overlay = engine->state.overlay;
    state.error = engine->state.error;
    pthread_mutex_unlock(&engine->state.lock);

    if (set != NULL) {
        set_state(set, b);
        hai_set_unref(set);

    } else {
        hai_buf_text(b, "{\"epoch\":null,\"rules\":0,\"enabled\":0,"
                        "\"fired\":{}");
    }

    if (engine->file != NULL) {
        text_member(b, "file", engine->file);

    } else {
        hai_buf_text(b, ",\"file\":null");
    }

    load_state(&state, b);

    hai_buf_format(b, ",\"reloads\":{\"ok\":%llu,\"failed\":%llu}",
                   atomic_load(&counters->reloads),
                   atomic_load(&counters->reloads_failed));
    hai_buf_format(b, ",\"questions\":{\"plan\":%llu,\"body\":%llu}",
                   atomic_load(&counters->plan), atomic_load(&counters->body));
    hai_buf_text(b, ",\"answers\":{");

    for (i = 0; i < HAI_ANSWER_COUNT; i++) {
        hai_buf_format(b, "%s\"%d\":%llu", i > 0 ? "," : "",
                       hai_answer_codes[i], atomic_load(&counters->answers[i]));
    }

    hai_buf_format(b,
                   "},\"dropped_entries\":%llu,\"connections\":%u,"
                   "\"accepted\":%llu,\"threads\":%ld}\n",
                   atomic_load(&engine->entries.dropped),
                   atomic_load(&engine->fcgi.connections),
                   atomic_load(&engine->fcgi.accepted), engine->threads);
}
