/* Changes on a tree, see change_model.h. */

#include "change_model.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CHECK(x)                                                               \
    do {                                                                       \
        if (!(x)) {                                                            \
            abort();                                                           \
        }                                                                      \
    } while (0)

/* Takes the reference. */
static void set(json_t *object, const char *key, json_t *value) {
    CHECK(json_object_set_new(object, key, value) == 0);
}

static json_t *text_of(const struct hai_change *c) {
    json_t *text = json_stringn(c->text.data, c->text.len);

    CHECK(text);
    return text;
}

static bool is(const json_t *value, const char *text) {
    return json_is_string(value) && json_string_length(value) == strlen(text)
           && memcmp(json_string_value(value), text, strlen(text)) == 0;
}

static bool begins(const json_t *s, const json_t *text) {
    size_t n = json_string_length(text);

    return json_string_length(s) >= n
           && memcmp(json_string_value(s), json_string_value(text), n) == 0;
}

static bool ends(const json_t *s, const json_t *text) {
    size_t len = json_string_length(s), n = json_string_length(text);

    return len >= n
           && memcmp(json_string_value(s) + len - n, json_string_value(text), n)
                  == 0;
}

/* A new string; either of them may be empty. */
static json_t *join(const json_t *a, const json_t *b) {
    size_t n = json_string_length(a), m = json_string_length(b), sep;
    char *text = malloc(n + m + 3);
    json_t *joined;

    CHECK(text);
    sep = n && m ? 2 : 0;
    memcpy(text, json_string_value(a), n);
    memcpy(text + n, "\n\n", sep);
    memcpy(text + n + sep, json_string_value(b), m);
    joined = json_stringn(text, n + sep + m);
    CHECK(joined);
    free(text);

    return joined;
}

static json_t *part(const char *type, json_t *text) {
    json_t *p = json_pack("{s:s,s:o}", "type", type, "text", text);

    CHECK(p);
    return p;
}

static json_t *message(const char *role, json_t *content) {
    json_t *m = json_pack("{s:s,s:o}", "role", role, "content", content);

    CHECK(m);
    return m;
}

static const json_t *part_text(const json_t *p) {
    const json_t *text = json_object_get(p, "text"), *value;
    const char *key;

    json_object_foreach((json_t *) p, key, value) {
        if (strcasecmp(key, "text") == 0 && strcmp(key, "text") != 0) {
            return NULL;
        }
    }

    return is(json_object_get(p, "type"), "text") && json_is_string(text)
               ? text
               : NULL;
}

/* One system prompt: owner[key], which is a string, parts or nothing. */
static bool change_content(json_t *owner, const char *key, bool parts,
                           bool front, json_t *text) {
    json_t *old = json_object_get(owner, key), *p;
    const json_t *at;
    size_t n, i;

    if (old == NULL || json_is_null(old)) {
        set(owner, key, json_incref(text));
        return true;
    }

    if (json_is_string(old)) {
        if (!(front ? begins(old, text) : ends(old, text))) {
            set(owner, key, front ? join(text, old) : join(old, text));
        }
        return true;
    }

    if (!parts || !json_is_array(old)) {
        return false;
    }

    n = json_array_size(old);
    json_array_foreach(old, i, p) {
        if (!json_is_object(p)) {
            return false;
        }
    }

    at = n ? part_text(json_array_get(old, front ? 0 : n - 1)) : NULL;
    if (at && (front ? begins(at, text) : ends(at, text))) {
        return true;
    }

    CHECK(json_array_insert_new(old, front ? 0 : n,
                                part("text", json_incref(text)))
          == 0);
    return true;
}

/* Whether a system message with that content is well formed. */
static bool is_content(const json_t *content) {
    json_t *p;
    size_t i;

    if (content == NULL || json_is_null(content) || json_is_string(content)) {
        return true;
    }

    json_array_foreach(content, i, p) {
        if (!json_is_object(p)) {
            return false;
        }
    }

    return json_is_array(content);
}

static bool change_leading(json_t *root, bool front, json_t *text) {
    json_t *messages = json_object_get(root, "messages"), *m, *role;
    json_t *first = NULL, *last = NULL;
    size_t i;

    if (!json_is_array(messages)) {
        return false;
    }

    json_array_foreach(messages, i, m) {
        role = json_object_get(m, "role");
        if (!json_is_object(m) || !json_is_string(role)) {
            return false;
        }
        if (!is(role, "system") && !is(role, "developer")) {
            break;
        }
        if (first == NULL) {
            first = m;
        }
        last = m;
    }

    if (first == NULL) {
        CHECK(json_array_insert_new(messages, 0,
                                    message("system", json_incref(text)))
              == 0);
        return true;
    }

    return is_content(json_object_get(first, "content"))
           && is_content(json_object_get(last, "content"))
           && change_content(front ? first : last, "content", true, front,
                             text);
}

static bool change_prompt(json_t *root, bool front, json_t *text) {
    json_t *prompt = json_object_get(root, "prompt"), *p, *joined;
    size_t i;

    if (prompt == NULL || json_is_null(prompt)) {
        set(root, "prompt", json_incref(text));
        return true;
    }

    if (json_is_string(prompt)) {
        if (!front || !begins(prompt, text)) {
            set(root, "prompt",
                front ? join(text, prompt) : join(prompt, text));
        }
        return true;
    }

    if (!json_is_array(prompt) || json_array_size(prompt) == 0
        || json_array_size(prompt) > HAI_CHANGE_PROMPTS_MAX)
    {
        return false;
    }

    json_array_foreach(prompt, i, p) {
        if (!json_is_string(p)) {
            return false;
        }
        if (!front || !begins(p, text)) {
            joined = front ? join(text, p) : join(p, text);
            CHECK(json_array_set_new(prompt, i, joined) == 0);
        }
    }

    return true;
}

static json_t *two_parts(const char *type, json_t *a, json_t *b) {
    json_t *parts = json_pack("[o,o]", part(type, json_incref(a)),
                              part(type, json_incref(b)));

    CHECK(parts);
    return parts;
}

static bool change_newest(json_t *messages, const char *type, json_t *text) {
    json_t *m, *newest = NULL, *content, *item_type;
    size_t i;

    json_array_foreach(messages, i, m) {
        if (!json_is_object(m)) {
            return false;
        }
        item_type = json_object_get(m, "type");
        if (is(json_object_get(m, "role"), "user")
            && (!json_is_string(item_type) || is(item_type, "message")))
        {
            newest = m;
        }
    }

    if (newest == NULL) {
        CHECK(
            json_array_append_new(messages, message("user", json_incref(text)))
            == 0);
        return true;
    }

    content = json_object_get(newest, "content");
    if (content == NULL || json_is_null(content)) {
        set(newest, "content", json_incref(text));
        return true;
    }
    if (json_is_string(content)) {
        set(newest, "content", two_parts(type, content, text));
        return true;
    }
    if (!json_is_array(content)) {
        return false;
    }

    json_array_foreach(content, i, m) {
        if (!json_is_object(m)) {
            return false;
        }
    }
    CHECK(json_array_append_new(content, part(type, json_incref(text))) == 0);
    return true;
}

static bool change_input(json_t *root, json_t *text) {
    json_t *input = json_object_get(root, "input"), *content;

    if (json_is_array(input)) {
        return change_newest(input, "input_text", text);
    }

    if (input == NULL || json_is_null(input)) {
        content = json_incref(text);
    } else if (json_is_string(input)) {
        content = two_parts("input_text", input, text);
    } else {
        return false;
    }

    content = json_pack("[o]", message("user", content));
    CHECK(content);
    set(root, "input", content);
    return true;
}

static bool change_text(json_t *root, enum hai_api api,
                        const struct hai_change *c, json_t *text) {
    bool front = c->op == HAI_CHANGE_PREPEND;

    switch (api) {
    case HAI_API_OPENAI_CHAT:
        return c->op == HAI_CHANGE_MESSAGE
                   ? json_is_array(json_object_get(root, "messages"))
                         && change_newest(json_object_get(root, "messages"),
                                          "text", text)
                   : change_leading(root, front, text);
    case HAI_API_ANTHROPIC_MESSAGES:
        return c->op == HAI_CHANGE_MESSAGE
                   ? json_is_array(json_object_get(root, "messages"))
                         && change_newest(json_object_get(root, "messages"),
                                          "text", text)
                   : change_content(root, "system", true, front, text);
    case HAI_API_OPENAI_RESPONSES:
        return c->op == HAI_CHANGE_MESSAGE
                   ? change_input(root, text)
                   : change_content(root, "instructions", false, front, text);
    case HAI_API_OPENAI_COMPLETIONS:
        return change_prompt(root, c->op != HAI_CHANGE_MESSAGE, text);
    default:
        return false;
    }
}

static json_t *value_of(const struct hai_slice *json) {
    json_t *value = json_loadb(json->data, json->len, JSON_DECODE_ANY, NULL);

    CHECK(value);
    return value;
}

static void change_field(json_t *root, const struct hai_change *c) {
    char *name = malloc(c->field.len + 1);
    json_t *old, *max, *min;
    const struct hai_slice *wins = NULL;

    CHECK(name);
    memcpy(name, c->field.data, c->field.len);
    name[c->field.len] = '\0';
    old = json_object_get(root, name);

    if (c->op == HAI_CHANGE_REMOVE) {
        json_object_del(root, name);
    } else if (c->value.data) {
        wins = &c->value;
    } else if (old == NULL || json_is_null(old)) {
        wins = c->fallback.data ? &c->fallback : NULL;
    } else if (!json_is_number(old)) {
        wins = c->max.data ? &c->max : c->min.data ? &c->min : NULL;
    } else {
        max = c->max.data ? value_of(&c->max) : NULL;
        min = c->min.data ? value_of(&c->min) : NULL;
        if (max && json_number_value(old) > json_number_value(max)) {
            wins = &c->max;
        } else if (min && json_number_value(old) < json_number_value(min)) {
            wins = &c->min;
        }
        json_decref(max);
        json_decref(min);
    }

    if (wins) {
        set(root, name, value_of(wins));
    }
    free(name);
}

bool model_apply(json_t *root, enum hai_api api, const struct hai_change *c) {
    json_t *text;
    bool done;

    if (c->op == HAI_CHANGE_SET || c->op == HAI_CHANGE_REMOVE) {
        change_field(root, c);
        return true;
    }
    if (c->text.len == 0) {
        return true;
    }

    text = text_of(c);
    done = change_text(root, api, c, text);
    json_decref(text);

    return done;
}
