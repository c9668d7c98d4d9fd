/*
 * One rule of a document: its members, their types and ceilings.  What they
 * say to each other is looked at in rules_check.c.
 *
 * A key that is not known is an error: a misspelt filter would make a rule
 * wider than its author meant it to be.
 */

#include "rules_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 256

#define ONLY(action) (1U << (action))

#define TEXTS                                                                  \
    (ONLY(HAI_ACT_APPEND) | ONLY(HAI_ACT_PREPEND) | ONLY(HAI_ACT_MESSAGE)      \
     | ONLY(HAI_ACT_LOG))

struct member {
    const char *key;
    void (*read)(struct hai_rules_reader *r, json_t *value,
                 struct hai_rule *rule); /* NULL: nothing to keep */
    unsigned actions;                    /* of a member of "action" */
};

bool hai_rules_key_is_free(const char *key) {
    return key[0] == '$' || strncmp(key, "x-", 2) == 0;
}

size_t hai_rules_value_at(const struct hai_rules_reader *r) {
    return hai_locate_value(&r->text,
                            hai_locate_key(&r->text, r->object, r->key));
}

/* Something is wrong with the value of the member that is being read. */
void hai_rules_wrong(struct hai_rules_reader *r, const char *reason) {
    hai_rules_say(r, true, hai_rules_value_at(r), "\"%s%s\": %s", r->path,
                  r->key, reason);
}

char *hai_rules_copy(struct hai_rules_reader *r, const char *text) {
    char *s = strdup(text);

    if (s == NULL) {
        hai_rules_wrong(r, "no memory");
    }
    return s;
}

/* What is wrong with a string of 1 to max bytes, or NULL. */
static const char *string_wrong(const json_t *value, size_t max, char *reason,
                                size_t size) {
    if (!json_is_string(value)) {
        return "a string is wanted";
    }
    if (json_string_length(value) == 0) {
        return "must not be empty";
    }
    if (json_string_length(value) > max) {
        snprintf(reason, size, "longer than %zu bytes", max);
        return reason;
    }
    return NULL;
}

void hai_rules_string(struct hai_rules_reader *r, json_t *value, size_t max,
                      char **to) {
    char reason[64];
    const char *why = string_wrong(value, max, reason, sizeof(reason));

    if (why != NULL) {
        hai_rules_wrong(r, why);
    } else {
        *to = hai_rules_copy(r, json_string_value(value));
    }
}

static bool read_bool(struct hai_rules_reader *r, json_t *value) {
    if (!json_is_boolean(value)) {
        hai_rules_wrong(r, "true or false is wanted");
    }
    return json_is_true(value);
}

static void read_list(struct hai_rules_reader *r, json_t *value,
                      struct hai_rule_list *list) {
    size_t array = hai_rules_value_at(r), i;
    char reason[64];
    const char *why;
    json_t *item;

    if (!json_is_array(value)) {
        hai_rules_wrong(r, "an array of strings is wanted");
        return;
    }
    if (json_array_size(value) == 0) {
        hai_rules_wrong(r,
                        "an empty list; leave it out where there is nothing to "
                        "choose");
        return;
    }
    if (json_array_size(value) > HAI_RULES_MAX_LIST) {
        snprintf(reason, sizeof(reason), "more than %d items",
                 HAI_RULES_MAX_LIST);
        hai_rules_wrong(r, reason);
        return;
    }
    list->item = calloc(json_array_size(value), sizeof(*list->item));
    if (list->item == NULL) {
        hai_rules_wrong(r, "no memory");
        return;
    }
    json_array_foreach(value, i, item) {
        why = string_wrong(item, HAI_RULES_MAX_WORD, reason, sizeof(reason));
        if (why == NULL && strpbrk(json_string_value(item), " \t\r\n") != NULL)
        {
            why = "must not have blanks in it";
        }
        if (why != NULL) {
            hai_rules_say(r, true, hai_locate_element(&r->text, array, i),
                          "\"%s%s\": %s", r->path, r->key, why);
        } else if ((list->item[list->n] =
                        hai_rules_copy(r, json_string_value(item)))
                   != NULL)
        {
            list->n++;
        }
    }
}

/* The value as it is written, without white space between its tokens: numbers
 * keep their digits. */
static void read_json(struct hai_rules_reader *r, char **to) {
    size_t at = hai_rules_value_at(r), end = hai_locate_end(&r->text, at),
           n = 0;
    bool string = false;
    char reason[64];
    char *text;

    if (end - at > HAI_RULES_MAX_CONTENT) {
        snprintf(reason, sizeof(reason), "longer than %d bytes",
                 HAI_RULES_MAX_CONTENT);
        hai_rules_wrong(r, reason);
        return;
    }
    text = malloc(end - at + 1);
    if (text == NULL) {
        hai_rules_wrong(r, "no memory");
        return;
    }
    for (; at < end; at++) {
        char c = r->text.text[at];

        if (string) {
            text[n++] = c;
            if (c == '\\') {
                text[n++] = r->text.text[++at];
            }
            string = c != '"';
        } else if (c != ' ' && c != '\n' && c != '\r' && c != '\t') {
            text[n++] = c;
            string = c == '"';
        }
    }
    text[n] = '\0';
    *to = text;
}

static void read_id(struct hai_rules_reader *r, json_t *value,
                    struct hai_rule *rule) {
    if (!json_is_string(value)
        || !hai_rules_id_valid(json_string_value(value),
                               json_string_length(value)))
    {
        hai_rules_wrong(
            r, "1 to 64 of the characters A-Z a-z 0-9 _ . - are wanted");
        return;
    }
    rule->id = hai_rules_copy(r, json_string_value(value));
}

static void read_name(struct hai_rules_reader *r, json_t *value,
                      struct hai_rule *rule) {
    hai_rules_string(r, value, MAX_NAME, &rule->name);
}

static void read_severity(struct hai_rules_reader *r, json_t *value,
                          struct hai_rule *rule) {
    hai_rules_string(r, value, 64, &rule->severity);
}

static void read_description(struct hai_rules_reader *r, json_t *value,
                             struct hai_rule *rule) {
    (void) rule;
    if (!json_is_string(value)) {
        hai_rules_wrong(r, "a string is wanted");
    }
}

static void read_enabled(struct hai_rules_reader *r, json_t *value,
                         struct hai_rule *rule) {
    rule->enabled = read_bool(r, value);
}

static void read_blocking(struct hai_rules_reader *r, json_t *value,
                          struct hai_rule *rule) {
    rule->blocking = read_bool(r, value);
}

static void read_cooldown(struct hai_rules_reader *r, json_t *value,
                          struct hai_rule *rule) {
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        hai_rules_wrong(r,
                        "a whole number of milliseconds is wanted, 0 for none");
        return;
    }
    rule->cooldown_ms = (uint64_t) json_integer_value(value);
}

static void read_max_depth(struct hai_rules_reader *r, json_t *value,
                           struct hai_rule *rule) {
    if (!json_is_integer(value) || json_integer_value(value) < 1
        || json_integer_value(value) > HAI_RULES_MAX_DEPTH)
    {
        hai_rules_wrong(r, "a whole number from 1 to 100 is wanted");
        return;
    }
    rule->max_depth = (unsigned) json_integer_value(value);
}

static void read_event(struct hai_rules_reader *r, json_t *value,
                       struct hai_rule *rule) {
    const char *name = json_string_value(value);
    int i;

    for (i = 0; hai_rule_event_name((enum hai_rule_event) i) != NULL; i++) {
        if (name != NULL
            && strcmp(hai_rule_event_name((enum hai_rule_event) i), name) == 0)
        {
            rule->event = (enum hai_rule_event) i;
            return;
        }
    }
    hai_rules_wrong(r,
                    "chat.system.transform, chat.message, chat.params, "
                    "tool.execute.before, tool.execute.after, session.error or "
                    "session.idle is wanted");
}

static void read_tags(struct hai_rules_reader *r, json_t *value,
                      struct hai_rule *rule) {
    read_list(r, value, &rule->tags);
}

static void read_containers(struct hai_rules_reader *r, json_t *value,
                            struct hai_rule *rule) {
    read_list(r, value, &rule->containers);
}

static void read_models(struct hai_rules_reader *r, json_t *value,
                        struct hai_rule *rule) {
    read_list(r, value, &rule->models);
}

static void read_tool(struct hai_rules_reader *r, json_t *value,
                      struct hai_rule *rule) {
    hai_rules_string(r, value, HAI_RULES_MAX_WORD, &rule->tool);
}

static void read_content(struct hai_rules_reader *r, json_t *value,
                         struct hai_rule *rule) {
    hai_rules_string(r, value, HAI_RULES_MAX_CONTENT, &rule->content);
}

static void read_field(struct hai_rules_reader *r, json_t *value,
                       struct hai_rule *rule) {
    hai_rules_string(r, value, HAI_RULES_MAX_WORD, &rule->field);
    if (rule->field != NULL
        && !hai_change_field_valid(rule->field, strlen(rule->field)))
    {
        hai_rules_wrong(
            r, "this field cannot be set: messages, system, instructions, "
               "input and prompt have actions of their own, stream is the "
               "caller's");
    }
}

static void read_value(struct hai_rules_reader *r, json_t *value,
                       struct hai_rule *rule) {
    (void) value;
    read_json(r, &rule->value);
}

static void read_bound(struct hai_rules_reader *r, json_t *value, char **to) {
    if (!json_is_number(value)) {
        hai_rules_wrong(r, "a number is wanted");
        return;
    }
    read_json(r, to);
}

static void read_min(struct hai_rules_reader *r, json_t *value,
                     struct hai_rule *rule) {
    read_bound(r, value, &rule->min);
}

static void read_max(struct hai_rules_reader *r, json_t *value,
                     struct hai_rule *rule) {
    read_bound(r, value, &rule->max);
}

static void read_fallback(struct hai_rules_reader *r, json_t *value,
                          struct hai_rule *rule) {
    (void) value;
    read_json(r, &rule->fallback);
}

static void read_remove(struct hai_rules_reader *r, json_t *value,
                        struct hai_rule *rule) {
    rule->remove = json_is_true(value);
    if (!rule->remove) {
        hai_rules_wrong(
            r, "true is wanted; leave it out where nothing is to be removed");
    }
}

static const struct member rule_members[] = {
    {"id", read_id, 0},
    {"name", read_name, 0},
    {"enabled", read_enabled, 0},
    {"description", read_description, 0},
    {"severity", read_severity, 0},
    {"trigger", NULL, 0}, /* with members of its own, see below */
    {"action", NULL, 0},
    {"cooldownMs", read_cooldown, 0},
    {"maxDepth", read_max_depth, 0},
    {"blocking", read_blocking, 0},
    {"effectiveEnabled", NULL, 0}, /* the platform's view of a rule */
    {"source", NULL, 0},
    {"overlayState", NULL, 0},
    {NULL, NULL, 0},
};

static const struct member trigger_members[] = {
    {"event", read_event, 0},   {"tags", read_tags, 0},
    {"models", read_models, 0}, {"containers", read_containers, 0},
    {"toolName", read_tool, 0}, {NULL, NULL, 0},
};

static const struct member action_members[] = {
    {"type", NULL, ~0U},
    {"content", read_content, TEXTS},
    {"field", read_field, ONLY(HAI_ACT_SET)},
    {"value", read_value, ONLY(HAI_ACT_SET)},
    {"min", read_min, ONLY(HAI_ACT_SET)},
    {"max", read_max, ONLY(HAI_ACT_SET)},
    {"fallback", read_fallback, ONLY(HAI_ACT_SET)},
    {"remove", read_remove, ONLY(HAI_ACT_SET)},
    {"url", hai_rules_read_url, ONLY(HAI_ACT_WEBHOOK)},
    {"headers", hai_rules_read_headers, ONLY(HAI_ACT_WEBHOOK)},
    {"secretFile", hai_rules_read_secret_file, ONLY(HAI_ACT_WEBHOOK)},
    {NULL, NULL, 0},
};

static const struct member *find(const struct member *list, const char *key) {
    for (; list->key != NULL; list++) {
        if (strcmp(list->key, key) == 0) {
            return list;
        }
    }
    return NULL;
}

/* Reads the members of an object; action: NULL outside of "action". */
static void read_members(struct hai_rules_reader *r, json_t *object, size_t at,
                         const char *path, const struct member *list,
                         const enum hai_rule_action *action,
                         struct hai_rule *rule) {
    const struct member *member;
    const char *key;
    json_t *value;

    json_object_foreach(object, key, value) {
        if (hai_rules_key_is_free(key)) {
            continue;
        }
        r->object = at;
        r->path = path;
        r->key = key;
        member = find(list, key);
        if (member == NULL) {
            hai_rules_say(r, true, hai_locate_key(&r->text, at, key),
                          "\"%s%.128s\" is not known", path, key);
        } else if (action != NULL && !(member->actions & ONLY(*action))) {
            hai_rules_say(r, true, hai_locate_key(&r->text, at, key),
                          "\"%s%s\" does not go with the action \"%s\"", path,
                          key, hai_rule_action_name(*action));
        } else if (member->read != NULL) {
            member->read(r, value, rule);
        }
    }
}

static void read_action(struct hai_rules_reader *r, json_t *object, size_t at,
                        struct hai_rule *rule) {
    const char *name = json_string_value(json_object_get(object, "type"));
    int i;

    for (i = 0; hai_rule_action_name((enum hai_rule_action) i) != NULL; i++) {
        if (name != NULL
            && strcmp(hai_rule_action_name((enum hai_rule_action) i), name)
                   == 0)
        {
            rule->action = (enum hai_rule_action) i;
            read_members(r, object, at, "action.", action_members,
                         &rule->action, rule);
            return;
        }
    }
    if (json_object_get(object, "type") == NULL) {
        hai_rules_say(r, true, at, "\"action.type\" is missing");
        return;
    }
    r->object = at;
    r->path = "action.";
    r->key = "type";
    hai_rules_wrong(r,
                    "append, prepend, message, set, log or webhook is wanted");
}

/* The object that is a member of the rule, and where it is; NULL after a
 * message. */
static json_t *part(struct hai_rules_reader *r, json_t *value, size_t rule_at,
                    const char *key, size_t *at) {
    json_t *object = json_object_get(value, key);

    *at = hai_locate_value(&r->text, hai_locate_key(&r->text, rule_at, key));
    if (object == NULL) {
        hai_rules_say(r, true, rule_at, "\"%s\" is missing", key);
    } else if (!json_is_object(object)) {
        hai_rules_say(r, true, *at, "\"%s\": an object is wanted", key);
        object = NULL;
    }
    return object;
}

void hai_rules_read(struct hai_rules_reader *r, json_t *value, size_t at,
                    struct hai_rule *rule) {
    unsigned before = r->errors;
    json_t *object, *id;
    size_t object_at;

    r->rule = "";
    if (!json_is_object(value)) {
        hai_rules_say(r, true, at, "a rule is an object");
        return;
    }
    rule->enabled = true;
    rule->max_depth = 1;
    id = json_object_get(value, "id");
    if (hai_rules_id_valid(json_string_value(id), json_string_length(id))) {
        r->rule = json_string_value(id);
    }

    read_members(r, value, at, "", rule_members, NULL, rule);
    if (id == NULL) {
        hai_rules_say(r, true, at, "\"id\" is missing");
    }
    object = part(r, value, at, "trigger", &object_at);
    if (object != NULL) {
        read_members(r, object, object_at, "trigger.", trigger_members, NULL,
                     rule);
        if (json_object_get(object, "event") == NULL) {
            hai_rules_say(r, true, object_at, "\"trigger.event\" is missing");
        }
    }
    object = part(r, value, at, "action", &object_at);
    if (object != NULL) {
        read_action(r, object, object_at, rule);
    }
    if (r->errors == before) {
        hai_rules_check(r, value, at, rule);
    }
}
