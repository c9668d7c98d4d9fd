/* Plans as text, see plan.h. */

#include "plan.h"

#include <string.h>

static void begin(struct hai_buf *b, const char *epoch) {
    hai_buf_text(b, "{\"epoch\":");
    hai_buf_json(b, epoch, strlen(epoch));
}

static void text_change(struct hai_buf *b, const char *op,
                        const struct hai_change *change) {
    hai_buf_format(b, "{\"op\":\"%s\",\"target\":\"system\",\"text\":", op);
    hai_buf_json(b, change->text.data, change->text.len);
}

/* A member whose value is JSON text already. */
static void json_member(struct hai_buf *b, const char *name,
                        const struct hai_slice *json) {
    if (json->data != NULL) {
        hai_buf_format(b, ",\"%s\":", name);
        hai_buf_add(b, json->data, json->len);
    }
}

static void set_change(struct hai_buf *b, const struct hai_change *change) {
    hai_buf_text(b, "{\"op\":\"set\",\"target\":");
    hai_buf_json(b, change->field.data, change->field.len);

    if (change->op == HAI_CHANGE_REMOVE) {
        hai_buf_text(b, ",\"remove\":true");
        return;
    }

    json_member(b, "value", &change->value);
    json_member(b, "min", &change->min);
    json_member(b, "max", &change->max);
    json_member(b, "fallback", &change->fallback);
}

bool hai_plan_write(struct hai_buf *b, const char *epoch,
                    const struct hai_change *changes, size_t n) {
    size_t i;

    for (i = 0; i < n; i++) {
        if (changes[i].op == HAI_CHANGE_MESSAGE) {
            return false;
        }
    }

    begin(b, epoch);
    hai_buf_text(b, ",\"edits\":[");

    for (i = 0; i < n; i++) {
        if (i > 0) {
            hai_buf_text(b, ",");
        }

        switch (changes[i].op) {
        case HAI_CHANGE_APPEND:
            text_change(b, "append", &changes[i]);
            break;

        case HAI_CHANGE_PREPEND:
            text_change(b, "prepend", &changes[i]);
            break;

        default:
            set_change(b, &changes[i]);
            break;
        }

        hai_buf_text(b, "}");
    }

    hai_buf_text(b, "]}");

    return true;
}

void hai_plan_write_ask(struct hai_buf *b, const char *epoch, bool any_model) {
    begin(b, epoch);
    hai_buf_text(b, ",\"ask\":\"body\"");
    if (any_model) {
        hai_buf_text(b, ",\"models\":\"any\"");
    }
    hai_buf_text(b, "}");
}
