/*
 * The texts of rules: templates checked and filled, see rules.h.
 *
 * "{{name}}" stands for a fact, blanks around the name are allowed; "{{{{"
 * stands for "{{".
 */

#include "rules_internal.h"

#include "hai_json.h"

#include <stdlib.h>
#include <string.h>

#define INPUT "tool.input"

enum variable {
    VAR_CONTAINER_NAME,
    VAR_CONTAINER_ID,
    VAR_MODEL,
    VAR_EVENT,
    VAR_TOOL_NAME,
    VAR_TOOL_INPUT, /* all of it, or what lies at a path */
    VAR_COUNT
};

static const char *const names[VAR_COUNT] = {
    [VAR_CONTAINER_NAME] = "container.name",
    [VAR_CONTAINER_ID] = "container.id",
    [VAR_MODEL] = "model",
    [VAR_EVENT] = "event",
    [VAR_TOOL_NAME] = "tool.name",
    [VAR_TOOL_INPUT] = INPUT,
};

enum part { PART_END, PART_TEXT, PART_VARIABLE, PART_UNKNOWN };

/* One step through a template. */
struct cursor {
    const char *p;
    struct hai_slice text; /* of PART_TEXT; else the braces and all within */
    enum variable variable;
    struct hai_slice path; /* behind "tool.input.", or empty */
};

/* Text with a ceiling; beyond it nothing is added. */
struct output {
    char *data;
    size_t len;
    size_t size;
    size_t max;
    bool cut;
    bool failed;
};

static bool slice_is(struct hai_slice s, const char *text) {
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

/* Each part of a path between dots has at least one byte. */
static bool path_valid(struct hai_slice path) {
    size_t i;

    for (i = 0; i < path.len; i++) {
        if (path.data[i] == '.'
            && (i == 0 || i + 1 == path.len || path.data[i + 1] == '.'))
        {
            return false;
        }
    }
    return path.len > 0;
}

static bool find_variable(struct cursor *c, struct hai_slice name) {
    size_t i, prefix = sizeof(INPUT ".") - 1;

    c->path = (struct hai_slice){NULL, 0};
    for (i = 0; i < VAR_COUNT; i++) {
        if (slice_is(name, names[i])) {
            c->variable = (enum variable) i;
            return true;
        }
    }
    if (name.len > prefix && memcmp(name.data, INPUT ".", prefix) == 0) {
        c->variable = VAR_TOOL_INPUT;
        c->path.data = name.data + prefix;
        c->path.len = name.len - prefix;
        return path_valid(c->path);
    }
    return false;
}

static enum part next(struct cursor *c) {
    const char *start = c->p, *end;
    struct hai_slice name;

    if (*start == '\0') {
        return PART_END;
    }
    if (strncmp(start, "{{{{", 4) == 0) {
        c->p += 4;
        c->text = (struct hai_slice){start, 2};
        return PART_TEXT;
    }
    end = strstr(start, "{{");
    if (end != start) {
        c->p = end != NULL ? end : start + strlen(start);
        c->text = (struct hai_slice){start, (size_t) (c->p - start)};
        return PART_TEXT;
    }
    end = strstr(start, "}}");
    if (end == NULL) {
        c->text = (struct hai_slice){start, strlen(start)};
        c->p = start + c->text.len;
        return PART_UNKNOWN;
    }
    c->p = end + 2;
    c->text = (struct hai_slice){start, (size_t) (c->p - start)};

    name = (struct hai_slice){start + 2, (size_t) (end - start - 2)};
    while (name.len > 0 && name.data[0] == ' ') {
        name.data++;
        name.len--;
    }
    while (name.len > 0 && name.data[name.len - 1] == ' ') {
        name.len--;
    }
    return find_variable(c, name) ? PART_VARIABLE : PART_UNKNOWN;
}

const char *hai_rules_template_check(const char *text,
                                     enum hai_rule_event event,
                                     const char **bad, size_t *len) {
    struct cursor c = {.p = text};
    const char *reason = NULL;
    enum part part;

    while (reason == NULL && (part = next(&c)) != PART_END) {
        if (part == PART_UNKNOWN) {
            reason = "is no template that is known (a literal \"{{\" is "
                     "written \"{{{{\")";
        } else if (part == PART_VARIABLE && c.variable == VAR_TOOL_NAME
                   && event != HAI_EV_TOOL_BEFORE && event != HAI_EV_TOOL_AFTER)
        {
            reason = "is known to the events tool.execute.before and "
                     "tool.execute.after only";
        } else if (part == PART_VARIABLE && c.variable == VAR_TOOL_INPUT
                   && event != HAI_EV_TOOL_AFTER)
        {
            reason = "is known to the event tool.execute.after only";
        }
    }
    *bad = c.text.data;
    *len = c.text.len;
    return reason;
}

static void put(struct output *out, const char *text, size_t len) {
    size_t room = out->max - out->len;

    if (out->cut || out->failed || len == 0) {
        return;
    }
    if (len > room) {
        out->cut = true;
        len = room;
        while (len > 0 && (text[len] & 0xC0) == 0x80) {
            len--; /* not in the middle of a character */
        }
    }
    if (out->size - out->len <= len) { /* one more for the NUL */
        size_t size = out->size + out->size / 2 + len + 64;
        char *data = realloc(out->data, size);

        if (data == NULL) {
            out->failed = true;
            return;
        }
        out->data = data;
        out->size = size;
    }
    memcpy(out->data + out->len, text, len);
    out->len += len;
}

/* The value at a path in a text that is JSON, or HAI_NOWHERE. */
static size_t follow(const struct hai_locate *l, struct hai_slice path) {
    size_t at = hai_locate_root(l);
    const char *p = path.data, *end = p + path.len;
    char key[256], *stop;

    while (p < end && at != HAI_NOWHERE) {
        const char *dot = memchr(p, '.', (size_t) (end - p));
        size_t len = (size_t) ((dot != NULL ? dot : end) - p);

        if (len >= sizeof(key)) {
            return HAI_NOWHERE;
        }
        memcpy(key, p, len);
        key[len] = '\0';
        p += len + 1;
        if (l->text[at] == '[') {
            unsigned long n = strtoul(key, &stop, 10);

            if (key[0] < '0' || key[0] > '9' || *stop != '\0') {
                return HAI_NOWHERE;
            }
            at = hai_locate_element(l, at, n);
        } else {
            at = hai_locate_key(l, at, key);
            if (at != HAI_NOWHERE) {
                at = hai_locate_value(l, at);
            }
        }
    }
    return at;
}

/* A string without its quotes and escapes, anything else as it is written. */
static void put_value(struct output *out, const struct hai_locate *l,
                      size_t at) {
    size_t len = hai_locate_end(l, at) - at;
    json_t *string;

    if (l->text[at] != '"') {
        put(out, l->text + at, len);
        return;
    }
    string =
        json_loadb(l->text + at, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (string == NULL) {
        out->failed = true; /* it was read before: no memory */
        return;
    }
    put(out, json_string_value(string), json_string_length(string));
    json_decref(string);
}

/*
 * What a model wrote need not be JSON.  It is looked at without making a tree
 * of it: callers choose how much there is.  As a member's value it may be of
 * any kind; a text that goes on behind its value is taken, and what is behind
 * is never looked for.
 */
static bool is_json(struct output *out, struct hai_slice text) {
    struct hai_json *js = hai_json_new();
    bool yes;

    if (js == NULL) {
        out->failed = true;
        return false;
    }
    hai_json_feed(js, "{\"\":", 4);
    hai_json_feed(js, text.data, text.len);
    hai_json_feed(js, "}", 1);
    yes = hai_json_finish(js) == HAI_JSON_OK;
    hai_json_free(js);
    return yes;
}

static void put_input(struct output *out, struct hai_slice input,
                      struct hai_slice path) {
    struct hai_locate l = {input.data, input.len};
    size_t at;

    if (path.len == 0 || input.len == 0) {
        put(out, input.data, input.len);
        return;
    }

    if (!is_json(out, input)) {
        return;
    }
    at = follow(&l, path);
    if (at != HAI_NOWHERE) {
        put_value(out, &l, at);
    }
}

static void put_variable(struct output *out, const struct cursor *c,
                         const struct hai_rule_facts *facts) {
    const char *event;

    switch (c->variable) {
    case VAR_CONTAINER_NAME:
        put(out, facts->container.data, facts->container.len);
        break;
    case VAR_CONTAINER_ID:
        put(out, facts->container_id.data, facts->container_id.len);
        break;
    case VAR_MODEL:
        put(out, facts->model.data, facts->model.len);
        break;
    case VAR_EVENT:
        event = hai_rule_event_name(facts->event);
        put(out, event, strlen(event));
        break;
    case VAR_TOOL_NAME:
        put(out, facts->tool.data, facts->tool.len);
        break;
    case VAR_TOOL_INPUT:
        put_input(out, facts->input, c->path);
        break;
    case VAR_COUNT:
        break;
    }
}

static char *fill(const struct hai_rule *rule,
                  const struct hai_rule_facts *facts, size_t max, size_t *len,
                  bool *cut) {
    struct output out = {.max = max};
    struct cursor c = {.p = rule->content != NULL ? rule->content : ""};
    enum part part;

    out.size = strlen(c.p) + 1;
    out.data = malloc(out.size);
    if (out.data == NULL) {
        return NULL;
    }
    while (!out.cut && !out.failed && (part = next(&c)) != PART_END) {
        if (part == PART_VARIABLE) {
            put_variable(&out, &c, facts);
        } else {
            put(&out, c.text.data, c.text.len);
        }
    }
    if (out.failed) {
        free(out.data);
        return NULL;
    }
    out.data[out.len] = '\0';
    *len = out.len;
    *cut = out.cut;
    return out.data;
}

char *hai_rule_text(const struct hai_rule *rule,
                    const struct hai_rule_facts *facts, size_t max,
                    size_t *len) {
    bool cut;

    return fill(rule, facts, max, len, &cut);
}

static struct hai_slice slice_of(const char *text) {
    return (struct hai_slice){text, text != NULL ? strlen(text) : 0};
}

int hai_rule_change(const struct hai_rule *rule,
                    const struct hai_rule_facts *facts,
                    struct hai_change *change, char **text) {
    bool cut;

    memset(change, 0, sizeof(*change));
    *text = NULL;

    if (rule->action == HAI_ACT_SET) {
        change->op = rule->remove ? HAI_CHANGE_REMOVE : HAI_CHANGE_SET;
        change->field = slice_of(rule->field);
        change->value = slice_of(rule->value);
        change->min = slice_of(rule->min);
        change->max = slice_of(rule->max);
        change->fallback = slice_of(rule->fallback);
        return 0;
    }
    change->op = rule->action == HAI_ACT_APPEND    ? HAI_CHANGE_APPEND
                 : rule->action == HAI_ACT_PREPEND ? HAI_CHANGE_PREPEND
                                                   : HAI_CHANGE_MESSAGE;
    *text = fill(rule, facts, HAI_RULES_MAX_TEXT, &change->text.len, &cut);
    if (*text != NULL && cut) {
        free(*text);
        *text = NULL;
    }
    change->text.data = *text;
    return *text != NULL ? 0 : -1;
}
