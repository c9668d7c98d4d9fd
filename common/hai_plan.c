/*
 * Reading plans, see hai_plan.h.  The text is scanned like a body first, so
 * the walk over it meets nothing but JSON.  All that a plan holds is in one
 * block: no text becomes longer by being unescaped, so the plan's own length
 * is room enough for all of them; and as much once more for their escaped
 * forms, which are the shortest that there are.  Large plans have no room for
 * all of these: that would halve how many plans a worker can keep.
 */

#include "hai_plan.h"

#include "hai_walk.h"

#include <stdlib.h>
#include <string.h>

#define WORD_MAX 16
#define ESCAPED_ROOM 16384UL /* bytes of escaped texts, and no more */

/* Members of an edit. */
enum {
    M_OP = 1,
    M_TARGET = 2,
    M_TEXT = 4,
    M_VALUE = 8,
    M_MIN = 16,
    M_MAX = 32,
    M_FALLBACK = 64,
    M_REMOVE = 128
};

#define M_BOUNDS (M_MIN | M_MAX | M_FALLBACK)

struct reader {
    struct hai_walk w;
    struct hai_plan *plan;
    char *room; /* for texts */
    char *room_end;
    const char *error;
};

static bool fail(struct reader *r, const char *error) {
    r->error = error;
    return false;
}

/* Takes a string. */
static bool read_string(struct reader *r, struct hai_slice *text,
                        const char *error) {
    if (hai_walk_peek(&r->w) != '"') {
        return fail(r, error);
    }

    text->data = r->room;
    text->len = hai_walk_string(
        &r->w, r->room, (size_t) (r->room_end - r->room) - HAI_WALK_SPARE);
    r->room += text->len;

    return true;
}

/* Takes any value as it is written. */
static void read_json(struct reader *r, struct hai_slice *json) {
    struct hai_walk from = r->w;

    hai_walk_skip(&r->w);
    json->data = r->room;
    json->len = (size_t) (hai_walk_offset(&r->w) - hai_walk_offset(&from));
    hai_walk_copy(&from, r->room, json->len);
    r->room += json->len;
}

static bool read_number(struct reader *r, struct hai_slice *json,
                        const char *error) {
    uint8_t c = hai_walk_peek(&r->w);

    if (c != '-' && !hai_is_digit(c)) {
        return fail(r, error);
    }

    read_json(r, json);
    return true;
}

static bool read_op(struct reader *r, struct hai_change *change) {
    char op[WORD_MAX + HAI_WALK_SPARE];
    size_t len;

    if (hai_walk_peek(&r->w) != '"') {
        return fail(r, "\"op\" is no string");
    }

    len = hai_walk_string(&r->w, op, WORD_MAX);
    if (hai_walk_is(op, len, "append")) {
        change->op = HAI_CHANGE_APPEND;
    } else if (hai_walk_is(op, len, "prepend")) {
        change->op = HAI_CHANGE_PREPEND;
    } else if (hai_walk_is(op, len, "set")) {
        change->op = HAI_CHANGE_SET;
    } else {
        return fail(r, "an unknown \"op\"");
    }

    return true;
}

/* Takes the value of a member; what it is, or 0 and the error. */
static unsigned read_member(struct reader *r, struct hai_change *change,
                            const struct hai_walk_key *key) {
    if (hai_walk_key_is(key, "op")) {
        return read_op(r, change) ? M_OP : 0;
    }
    if (hai_walk_key_is(key, "target")) {
        return read_string(r, &change->field, "\"target\" is no string")
                   ? M_TARGET
                   : 0;
    }
    if (hai_walk_key_is(key, "text")) {
        return read_string(r, &change->text, "\"text\" is no string") ? M_TEXT
                                                                      : 0;
    }
    if (hai_walk_key_is(key, "value")) {
        read_json(r, &change->value);
        return M_VALUE;
    }
    if (hai_walk_key_is(key, "min")) {
        return read_number(r, &change->min, "\"min\" is no number") ? M_MIN : 0;
    }
    if (hai_walk_key_is(key, "max")) {
        return read_number(r, &change->max, "\"max\" is no number") ? M_MAX : 0;
    }
    if (hai_walk_key_is(key, "fallback")) {
        read_json(r, &change->fallback);
        return M_FALLBACK;
    }
    if (hai_walk_key_is(key, "remove")) {
        if (hai_walk_peek(&r->w) != 't') {
            fail(r, "\"remove\" is not true");
            return 0;
        }
        hai_walk_skip(&r->w);
        return M_REMOVE;
    }

    fail(r, "an edit has an unknown member");
    return 0;
}

/* Do the members make an edit together? */
static bool check_edit(struct reader *r, struct hai_change *change,
                       unsigned members) {
    unsigned rest = members & ~(unsigned) (M_OP | M_TARGET);

    if (!(members & M_OP) || !(members & M_TARGET)) {
        return fail(r, "an edit without \"op\" or \"target\"");
    }

    if (change->op != HAI_CHANGE_SET) {
        if (!hai_walk_is(change->field.data, change->field.len, "system")) {
            return fail(r, "an unknown \"target\"");
        }
        change->field = (struct hai_slice){NULL, 0};
        return rest == M_TEXT || fail(r, "an edit that needs \"text\" alone");
    }

    if (!hai_change_field_valid(change->field.data, change->field.len)) {
        return fail(r, "a \"target\" that may not be set");
    }
    if (rest == M_REMOVE) {
        change->op = HAI_CHANGE_REMOVE;
        return true;
    }

    return rest == M_VALUE || (rest && (rest & ~(unsigned) M_BOUNDS) == 0)
           || fail(r, "an edit that needs a value, bounds or \"remove\"");
}

static bool read_edit(struct reader *r, struct hai_change *change) {
    struct hai_walk_key key;
    unsigned members = 0, member;

    if (hai_walk_peek(&r->w) != '{') {
        return fail(r, "an edit is no object");
    }
    hai_walk_take(&r->w);

    while (hai_walk_member(&r->w, &key)) {
        member = read_member(r, change, &key);
        if (member == 0) {
            return false;
        }
        if (members & member) {
            return fail(r, "an edit has a member twice");
        }
        members |= member;
    }

    return check_edit(r, change, members);
}

static bool read_edits(struct reader *r) {
    struct hai_plan *plan = r->plan;

    if (hai_walk_peek(&r->w) != '[') {
        return fail(r, "\"edits\" is no array");
    }
    hai_walk_take(&r->w);

    for (size_t i = 0; hai_walk_element(&r->w); i++) {
        if (!read_edit(r, &plan->changes[i])) {
            return false;
        }
    }

    return true;
}

static bool read_ask(struct reader *r) {
    char what[WORD_MAX + HAI_WALK_SPARE];
    size_t len;

    if (hai_walk_peek(&r->w) != '"') {
        return fail(r, "\"ask\" is no string");
    }

    len = hai_walk_string(&r->w, what, WORD_MAX);
    if (!hai_walk_is(what, len, "body")) {
        return fail(r, "an unknown \"ask\"");
    }

    r->plan->ask_body = true;
    return true;
}

static bool read_models(struct reader *r) {
    char what[WORD_MAX + HAI_WALK_SPARE];
    size_t len;

    if (hai_walk_peek(&r->w) != '"') {
        return fail(r, "\"models\" is no string");
    }

    len = hai_walk_string(&r->w, what, WORD_MAX);
    if (!hai_walk_is(what, len, "any")) {
        return fail(r, "an unknown \"models\"");
    }

    r->plan->any_model = true;
    return true;
}

static bool read_epoch(struct reader *r) {
    struct hai_slice *epoch = &r->plan->epoch;
    const char *error = "\"epoch\" is neither a string nor a number";

    if (hai_walk_peek(&r->w) == '"') {
        read_string(r, epoch, error);
    } else if (!read_number(r, epoch, error)) {
        return false;
    }

    return (epoch->len > 0 && epoch->len <= HAI_PLAN_EPOCH_MAX)
           || fail(r, "\"epoch\" is empty or too long");
}

/* Members of the plan itself are there once: the scanner saw to that. */
static bool read_plan(struct reader *r) {
    struct hai_walk_key key;
    bool edits = false, done;

    while (hai_walk_member(&r->w, &key)) {
        if (hai_walk_key_is(&key, "epoch")) {
            done = read_epoch(r);
        } else if (hai_walk_key_is(&key, "edits")) {
            edits = true;
            done = read_edits(r);
        } else if (hai_walk_key_is(&key, "ask")) {
            done = read_ask(r);
        } else if (hai_walk_key_is(&key, "models")) {
            done = read_models(r);
        } else {
            done = fail(r, "an unknown member");
        }
        if (!done) {
            return false;
        }
    }

    if (r->plan->epoch.len == 0) {
        return fail(r, "no \"epoch\"");
    }

    if (r->plan->any_model && !r->plan->ask_body) {
        return fail(r, "\"models\" goes with \"ask\"");
    }

    return edits != r->plan->ask_body
           || fail(r, "it needs either \"edits\" or \"ask\"");
}

/* The number of elements of "edits", if that is an array. */
static size_t count_edits(const struct hai_body *body) {
    struct hai_walk_key key;
    struct hai_walk w;
    size_t n = 0;

    hai_walk_start(&w, body, body->facts->object_start + 1);

    while (hai_walk_member(&w, &key)) {
        if (hai_walk_key_is(&key, "edits") && hai_walk_peek(&w) == '[') {
            hai_walk_take(&w);
            while (hai_walk_element(&w)) {
                hai_walk_skip(&w);
                n++;
            }
            break;
        }
        hai_walk_skip(&w);
    }

    return n;
}

static struct hai_plan *read_body(const struct hai_body *body,
                                  const char **error) {
    size_t n = count_edits(body), room = (size_t) body->size, size;
    struct reader r;

    if (n > HAI_CHANGES_MAX) {
        *error = "too many edits";
        return NULL;
    }

    size = sizeof(struct hai_plan)
           + n * (sizeof(struct hai_change) + HAI_CHANGE_ESCAPED_MORE) + room
           + (room < ESCAPED_ROOM ? room : ESCAPED_ROOM) + HAI_WALK_SPARE;
    r.plan = calloc(1, size);
    if (r.plan == NULL) {
        *error = "no memory";
        return NULL;
    }

    r.plan->changes = (struct hai_change *) (r.plan + 1);
    r.plan->n = n;
    r.plan->memory = size;
    r.room = (char *) (r.plan->changes + n);
    r.room_end = (char *) r.plan + size;
    hai_walk_start(&r.w, body, body->facts->object_start + 1);

    if (!read_plan(&r)) {
        *error = r.error;
        free(r.plan);
        return NULL;
    }

    for (size_t i = 0; i < n; i++) {
        r.room = hai_change_escape(&r.plan->changes[i], r.room, r.room_end);
    }

    return r.plan;
}

struct hai_plan *hai_plan_read(const char *json, size_t len,
                               const char **error) {
    struct hai_piece piece = {(const uint8_t *) json, len};
    struct hai_body body = {&piece, 1, len, NULL, NULL};
    struct hai_plan *plan = NULL;
    enum hai_json_status status;
    struct hai_json *js;

    if (len > HAI_PLAN_MAX) {
        *error = "it is too long";
        return NULL;
    }

    js = hai_json_new();
    if (js == NULL) {
        *error = "no memory";
        return NULL;
    }

    hai_json_feed(js, json, len);
    status = hai_json_finish(js);
    if (status == HAI_JSON_OK) {
        body.facts = hai_json_facts(js);
        body.items = hai_json_items(js);
        plan = read_body(&body, error);
    } else {
        *error = hai_json_strerror(status);
    }

    hai_json_free(js);
    return plan;
}

void hai_plan_free(struct hai_plan *plan) {
    free(plan);
}
