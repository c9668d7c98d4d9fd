/* What the members of a rule say to each other: what goes together. */

#include "rules_internal.h"

#include "hai_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check {
    struct hai_rules_reader *r;
    json_t *value; /* the rule */
    size_t at;
    const struct hai_rule *rule;
};

/* The key `key` of the part ("trigger", "action", or NULL: of the rule). */
static size_t key_at(const struct check *c, const char *part, const char *key) {
    const struct hai_locate *l = &c->r->text;
    size_t at = c->at;

    if (part != NULL) {
        at = hai_locate_value(l, hai_locate_key(l, at, part));
    }
    return hai_locate_key(l, at, key);
}

static void missing(struct check *c, const char *key) {
    size_t at = hai_locate_value(&c->r->text,
                                 hai_locate_key(&c->r->text, c->at, "action"));

    hai_rules_say(c->r, true, at, "\"action.%s\" is missing", key);
}

static bool is_tool_event(enum hai_rule_event event) {
    return event == HAI_EV_TOOL_BEFORE || event == HAI_EV_TOOL_AFTER;
}

static bool is_answer_event(enum hai_rule_event event) {
    return event == HAI_EV_TOOL_BEFORE || event == HAI_EV_ERROR
           || event == HAI_EV_IDLE;
}

static void check_event(struct check *c) {
    const struct hai_rule *rule = c->rule;
    const char *event = hai_rule_event_name(rule->event);
    const char *action = hai_rule_action_name(rule->action);
    size_t at = key_at(c, "action", "type");

    if (is_answer_event(rule->event) && rule->action != HAI_ACT_LOG
        && rule->action != HAI_ACT_WEBHOOK)
    {
        hai_rules_say(c->r, true, at,
                      "the action \"%s\" does not go with the event %s, which "
                      "is seen in answers: log or webhook is wanted",
                      action, event);
    }
    if (rule->event == HAI_EV_PARAMS
        && (rule->action == HAI_ACT_APPEND || rule->action == HAI_ACT_PREPEND
            || (rule->action == HAI_ACT_MESSAGE && !rule->blocking)))
    {
        hai_rules_say(c->r, true, at,
                      "the action \"%s\" does not go with the event "
                      "chat.params, which is also seen where there is no "
                      "prompt: take chat.system.transform or chat.message",
                      action);
    }
    if (rule->tool != NULL && !is_tool_event(rule->event)) {
        hai_rules_say(c->r, true, key_at(c, "trigger", "toolName"),
                      "\"trigger.toolName\" goes with the events "
                      "tool.execute.before and tool.execute.after only");
    }
    if (rule->blocking && rule->action != HAI_ACT_MESSAGE) {
        hai_rules_say(c->r, false, key_at(c, NULL, "blocking"),
                      "\"blocking\" does nothing with the action \"%s\"",
                      action);
    }
}

static void check_content(struct check *c) {
    const char *bad, *reason;
    size_t len;

    if (c->rule->content == NULL) {
        missing(c, "content");
        return;
    }
    reason =
        hai_rules_template_check(c->rule->content, c->rule->event, &bad, &len);
    if (reason != NULL) {
        size_t at =
            hai_locate_value(&c->r->text, key_at(c, "action", "content"));

        hai_rules_say(c->r, true, at, "\"action.content\": \"%.*s\" %s",
                      (int) (len > 64 ? 64 : len), bad, reason);
    }
}

/* What the scanner says to a body that has this member: what it refuses could
 * never be sent. */
static const char *scan(const char *field, const char *value) {
    json_t *key = json_string(field);
    char *name = json_dumps(key, JSON_ENCODE_ANY);
    struct hai_json *js = hai_json_new();
    enum hai_json_status st = HAI_JSON_NO_MEMORY;

    if (name != NULL && js != NULL) {
        hai_json_feed(js, "{", 1);
        hai_json_feed(js, name, strlen(name));
        hai_json_feed(js, ":", 1);
        hai_json_feed(js, value, strlen(value));
        hai_json_feed(js, "}", 1);
        st = hai_json_finish(js);
    }
    hai_json_free(js);
    free(name);
    json_decref(key);
    return st == HAI_JSON_OK ? NULL : hai_json_strerror(st);
}

static void check_sendable(struct check *c, const char *key,
                           const char *value) {
    const char *reason = scan(c->rule->field, value);

    if (reason != NULL) {
        hai_rules_say(c->r, true,
                      hai_locate_value(&c->r->text, key_at(c, "action", key)),
                      "\"action.%s\": a request with it would be refused: %s",
                      key, reason);
    }
}

static void check_bounds(struct check *c) {
    const struct hai_rule *rule = c->rule;
    json_t *action = json_object_get(c->value, "action");
    const char *key = rule->min != NULL ? "min" : "max";

    if (strcmp(rule->field, "model") == 0) {
        hai_rules_say(c->r, true, key_at(c, "action", key),
                      "\"action.%s\": a model is no number", key);
        return;
    }
    if (rule->min != NULL && rule->max != NULL
        && json_number_value(json_object_get(action, "min"))
               > json_number_value(json_object_get(action, "max")))
    {
        hai_rules_say(c->r, true, key_at(c, "action", "min"),
                      "\"action.min\" is greater than \"action.max\"");
    }
}

static void check_set(struct check *c) {
    const struct hai_rule *rule = c->rule;
    bool bounds = rule->min != NULL || rule->max != NULL;

    if (rule->field == NULL) {
        missing(c, "field");
        return;
    }
    if ((rule->value != NULL) + bounds + rule->remove != 1) {
        hai_rules_say(c->r, true, key_at(c, "action", "field"),
                      "the action \"set\" takes one of \"value\", \"remove\", "
                      "or \"min\" and \"max\"");
        return;
    }
    if (rule->fallback != NULL && !bounds) {
        hai_rules_say(c->r, true, key_at(c, "action", "fallback"),
                      "\"action.fallback\" goes with \"min\" and \"max\" only");
    }
    if (bounds) {
        check_bounds(c);
    }
    if (rule->value != NULL) {
        check_sendable(c, "value", rule->value);
    }
    if (rule->fallback != NULL) {
        check_sendable(c, "fallback", rule->fallback);
    }
}

void hai_rules_check(struct hai_rules_reader *r, json_t *value, size_t at,
                     const struct hai_rule *rule) {
    struct check c = {r, value, at, rule};

    check_event(&c);
    switch (rule->action) {
    case HAI_ACT_SET:
        check_set(&c);
        break;
    case HAI_ACT_WEBHOOK:
        if (rule->url == NULL) {
            missing(&c, "url");
        }
        break;
    case HAI_ACT_APPEND:
    case HAI_ACT_PREPEND:
    case HAI_ACT_MESSAGE:
    case HAI_ACT_LOG:
        check_content(&c);
        break;
    }
}
