/*
 * Changes of the body's own members: set, bounds, remove.
 *
 * Deciding keys lie where the scanner found them; all other members are
 * looked for in one walk over the body's own object, which jumps over the
 * values of deciding keys.  What a member becomes is decided first, then
 * each becomes one edit.
 */

#include "hai_change_core.h"
#include "hai_json_names.h"

#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 64
#define EXPONENT_MAX 1000000000

/* A number as 0.<digits> times ten to the power; no digits: zero. */
struct number {
    char digits[NUMBER_MAX];
    size_t n;
    int64_t power;
    bool negative;
};

enum state { STAYS, SET, REMOVED };

struct field {
    struct hai_slice name;
    int key; /* enum hai_json_key or -1 */
    enum state state;
    struct hai_slice value; /* SET */

    struct hai_json_value old; /* end 0: not in the body */
    size_t index;              /* among the members */
    uint64_t start;            /* of its key */
    uint64_t before;           /* end of the member before it, or 0 */
    uint64_t next;             /* of the key behind it, or 0 */
};

struct fields {
    struct field *list;
    size_t n;
    bool removes; /* at least one change does */
    size_t members;
};

/* --- numbers -------------------------------------------------------------- */

static int64_t read_exponent(const char *p, const char *end) {
    bool negative = *p == '-';
    int64_t value = 0;

    for (p += *p == '-' || *p == '+'; p < end; p++) {
        value = value * 10 + (*p - '0');
        if (value > EXPONENT_MAX) {
            value = EXPONENT_MAX;
        }
    }

    return negative ? -value : value;
}

/* A JSON number; false: it is none, or a longer one. */
static bool read_number(struct number *x, const char *p, size_t len) {
    const char *end = p + len;
    bool fraction = false;

    x->n = 0;
    x->power = 0;
    x->negative = false;

    if (len == 0 || len > NUMBER_MAX
        || !(*p == '-' || hai_is_digit((uint8_t) *p))) {
        return false;
    }
    if (*p == '-') {
        x->negative = true;
        p++;
    }

    for (; p < end && *p != 'e' && *p != 'E'; p++) {
        if (*p == '.') {
            fraction = true;
            continue;
        }
        if (x->n > 0 || *p != '0') {
            x->digits[x->n++] = *p;
            x->power += !fraction;
        } else {
            x->power -= fraction;
        }
    }

    if (end - p > 1) {
        x->power += read_exponent(p + 1, end);
    }
    while (x->n > 0 && x->digits[x->n - 1] == '0') {
        x->n--;
    }

    return true;
}

static int sign(const struct number *x) {
    return x->n == 0 ? 0 : x->negative ? -1 : 1;
}

/* Less than, equal to or greater than zero. */
static int compare(const struct number *x, const struct number *y) {
    size_t n = x->n < y->n ? x->n : y->n;
    int result;

    if (sign(x) != sign(y) || x->n == 0) {
        return sign(x) - sign(y);
    }

    if (x->power != y->power) {
        result = x->power < y->power ? -1 : 1;
    } else {
        result = memcmp(x->digits, y->digits, n);
        if (result == 0 && x->n != y->n) {
            result = x->n < y->n ? -1 : 1;
        }
    }

    return x->negative ? -result : result;
}

/* --- what fields become --------------------------------------------------- */

static void set(struct field *f, struct hai_slice value) {
    f->state = SET;
    f->value = value;
}

/* The number that a field has now. */
static bool current_number(const struct hai_job *job, const struct field *f,
                           struct number *x) {
    char text[NUMBER_MAX];
    struct hai_walk w;
    uint64_t len;

    if (f->state == SET) {
        return read_number(x, f->value.data, f->value.len);
    }

    len = f->old.end - f->old.start;
    if (len > NUMBER_MAX) {
        return false;
    }

    hai_walk_start(&w, job->body, f->old.start);
    hai_walk_copy(&w, text, (size_t) len);

    return read_number(x, text, (size_t) len);
}

static bool beyond(struct hai_slice bound, const struct number *x, int side) {
    struct number y;

    return bound.data && read_number(&y, bound.data, bound.len)
           && (side > 0 ? compare(x, &y) > 0 : compare(x, &y) < 0);
}

static void bound(const struct hai_job *job, struct field *f,
                  const struct hai_change *change) {
    bool absent =
        f->state == REMOVED
        || (f->state == STAYS && (f->old.end == 0 || f->old.type == 'n'))
        || (f->state == SET && f->value.data[0] == 'n');
    struct number x;

    if (absent) {
        if (change->fallback.data) {
            set(f, change->fallback);
        }

    } else if (!current_number(job, f, &x)) {
        if (change->max.data) {
            set(f, change->max);
        } else if (change->min.data) {
            set(f, change->min);
        }

    } else if (beyond(change->max, &x, 1)) {
        set(f, change->max);

    } else if (beyond(change->min, &x, -1)) {
        set(f, change->min);
    }
}

/* --- finding fields ------------------------------------------------------- */

static struct field *find(const struct fields *fields, const char *name,
                          size_t len) {
    for (size_t i = 0; i < fields->n; i++) {
        struct field *f = &fields->list[i];

        if (f->name.len == len && memcmp(f->name.data, name, len) == 0) {
            return f;
        }
    }

    return NULL;
}

static bool is_field_change(const struct hai_change *change) {
    return change->op == HAI_CHANGE_SET || change->op == HAI_CHANGE_REMOVE;
}

/* The fields that changes are about, each once. */
static bool collect(struct hai_job *job, struct fields *fields) {
    for (size_t i = 0; i < job->n; i++) {
        const struct hai_change *change = &job->changes[i];
        struct field *f;

        if (!is_field_change(change)) {
            continue;
        }
        if (!hai_change_field_valid(change->field.data, change->field.len)) {
            return hai_job_fail(job, HAI_CHANGE_SHAPE,
                                "a field that no rule may set");
        }

        fields->removes |= change->op == HAI_CHANGE_REMOVE;

        if (find(fields, change->field.data, change->field.len) == NULL) {
            f = &fields->list[fields->n++];
            f->name = change->field;
            f->key = hai_json_top_key(f->name.data, f->name.len);
            if (f->key >= 0) {
                f->old = job->body->facts->top[f->key];
            }
        }
    }

    return true;
}

/* Is there one that the scanner has not looked for? */
static bool need_walk(const struct fields *fields) {
    bool need = fields->removes;

    for (size_t i = 0; i < fields->n; i++) {
        need |= fields->list[i].key < 0;
    }

    return need;
}

static void walk(const struct hai_job *job, struct fields *fields) {
    const struct hai_json_facts *facts = job->body->facts;
    struct field *f, *previous = NULL;
    struct hai_walk_key name;
    struct hai_walk w;
    uint64_t before = 0;
    char type;
    int key;

    hai_walk_start(&w, job->body, facts->object_start + 1);

    for (size_t i = 0; hai_walk_member(&w, &name); i++) {
        if (previous) {
            previous->next = name.start;
        }
        fields->members++;

        f = find(fields, name.text, name.len);
        if (f) {
            f->index = i;
            f->start = name.start;
            f->before = before;
            f->old.start = hai_walk_offset(&w);
        }
        previous = f;

        type = (char) hai_walk_peek(&w);
        key = name.len <= HAI_WALK_KEY ? hai_json_top_key(name.text, name.len)
                                       : -1;
        if (key >= 0) {
            hai_walk_jump(&w, facts->top[key].end);
        } else {
            hai_walk_skip(&w);
        }

        before = hai_walk_offset(&w);
        if (f) {
            f->old.type = type;
            f->old.end = before;
        }
    }
}

/* --- writing -------------------------------------------------------------- */

/* The edits need neither plan nor rules. */
static bool put_value(struct hai_job *job, uint64_t offset, uint64_t del,
                      struct hai_slice value) {
    char *copy = hai_job_memory(job, value.len);

    if (copy == NULL) {
        return false;
    }

    memcpy(copy, value.data, value.len);
    return hai_job_put(job, offset, del, copy, value.len);
}

static bool is_removed(const struct field *f) {
    return f->state == REMOVED && f->old.end;
}

/*
 * Takes a member with the comma before it, and all that is between; the first
 * ones, before which no member stays, with the comma behind.
 */
static bool put_removed(struct hai_job *job, const struct fields *fields,
                        const struct field *f) {
    size_t removed_before = 0;

    for (size_t i = 0; i < fields->n; i++) {
        const struct field *other = &fields->list[i];

        removed_before += is_removed(other) && other->index < f->index;
    }

    if (removed_before < f->index) {
        return hai_job_put(job, f->before, f->old.end - f->before, NULL, 0);
    }

    return hai_job_put(job, f->start,
                       (f->next ? f->next : f->old.end) - f->start, NULL, 0);
}

static bool put(struct hai_job *job, const struct fields *fields) {
    const struct hai_json_facts *facts = job->body->facts;
    uint64_t first = hai_job_top_offset(job);
    size_t removed = 0;
    bool bare;

    for (size_t i = 0; i < fields->n; i++) {
        const struct field *f = &fields->list[i];

        if (f->state == SET && f->old.end) {
            if (!put_value(job, f->old.start, f->old.end - f->old.start,
                           f->value)) {
                return false;
            }

        } else if (f->state == SET) {
            if (!hai_job_add_member(job, f->name.data, f->name.len)
                || !put_value(job, first, 0, f->value))
            {
                return false;
            }
        }

        removed += is_removed(f);
    }

    /* in front of removals, which can begin at the same offset */
    bare = facts->object_empty || (removed && removed == fields->members);
    if (job->added && !bare && !hai_job_put(job, first, 0, ",", 1)) {
        return false;
    }

    for (size_t i = 0; i < fields->n; i++) {
        if (is_removed(&fields->list[i])
            && !put_removed(job, fields, &fields->list[i])) {
            return false;
        }
    }

    return true;
}

/* Each field's changes in their order. */
static void decide(const struct hai_job *job, struct fields *fields) {
    for (size_t i = 0; i < job->n; i++) {
        const struct hai_change *change = &job->changes[i];
        struct field *f;

        if (!is_field_change(change)) {
            continue;
        }

        f = find(fields, change->field.data, change->field.len);
        if (change->op == HAI_CHANGE_REMOVE) {
            f->state = REMOVED;
        } else if (change->value.data) {
            set(f, change->value);
        } else {
            bound(job, f, change);
        }
    }
}

bool hai_fields_apply(struct hai_job *job) {
    struct fields fields = {NULL, 0, false, 0};
    size_t n = 0;
    bool done;

    for (size_t i = 0; i < job->n; i++) {
        n += is_field_change(&job->changes[i]);
    }

    if (n > 0) {
        fields.list = calloc(n, sizeof(fields.list[0]));
        if (fields.list == NULL) {
            return hai_job_fail(job, HAI_CHANGE_NO_MEMORY, NULL);
        }
        if (!collect(job, &fields)) {
            free(fields.list);
            return false;
        }
        if (need_walk(&fields)) {
            walk(job, &fields);
        }
        decide(job, &fields);
    }

    done = put(job, &fields);
    free(fields.list);

    return done;
}

bool hai_change_field_valid(const char *name, size_t len) {
    struct hai_slice text = {name, len};
    size_t size;

    if (len == 0 || len > HAI_CHANGE_FIELD_MAX
        || !hai_json_escaped_size(text, &size))
    {
        return false;
    }

    switch (hai_json_top_key(name, len)) {
    case -1:
        return !hai_json_like_top_key((const uint8_t *) name, len);
    case HAI_KEY_MESSAGES:
    case HAI_KEY_SYSTEM:
    case HAI_KEY_INSTRUCTIONS:
    case HAI_KEY_INPUT:
    case HAI_KEY_PROMPT:
    case HAI_KEY_STREAM:
        return false;
    default:
        return true;
    }
}
