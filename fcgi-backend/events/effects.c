/* Effects of entries, see effects.h. */

#include "effects.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "clock.h"

#include "lib/time_text.h"

#define TOOLS_MAX 16   /* names of an entry `request` */
#define MODEL_MAX 1024 /* longer fields are none of the gateway's */

/* The facts of an audit line, by type of the entry. */
static const char *const rule_fields[] = {
    "request_id", "container", "container_id", "api",     "provider",
    "model",      "rule",      "event",        "action",  "tool",
    "depth",      "status",    "reason",       "message", NULL,
};
static const char *const denied_fields[] = {
    "status", "reason", "source", "container", "count", NULL,
};
static const char *const revoked_fields[] = {
    "request_id", "container", "container_id", "api", "status", "reason", NULL,
};
static const char *const reload_fields[] = {
    "status", "epoch", "rules", "reason", NULL,
};
static const char *const error_fields[] = {
    "request_id", "container", "container_id", "api",   "provider",
    "model",      "status",    "reason",       "depth", NULL,
};

/* The facts of a webhook, behind its id. */
static const char *const payload_fields[] = {
    "rule",  "event",   "container", "container_id", "request_id",
    "model", "api",     "provider",  "status",       "reason",
    "tool",  "message", NULL,
};

void hai_effects_init(struct hai_effects *e) {
    memset(e, 0, sizeof(*e));
    hai_args_init(&e->derived);
}

void hai_effects_free(struct hai_effects *e) {
    free(e->line);
    free(e->delivery);
    hai_args_free(&e->derived);
    hai_effects_init(e);
}

bool hai_effects_any(const struct hai_effects *e) {
    return e->line != NULL || e->delivery != NULL || e->derived.n > 0;
}

static const char *const *audit_fields(const struct hai_entry *entry) {
    struct hai_slice type = hai_entry_get(entry, "type");
    struct hai_slice action = hai_entry_get(entry, "action");

    if (hai_slice_is(type, "rule")) {
        return hai_slice_is(action, "log") || hai_slice_is(action, "message")
                   ? rule_fields
                   : NULL;
    }
    if (hai_slice_is(type, "denied")) {
        return denied_fields;
    }
    if (hai_slice_is(type, "revoked")) {
        return revoked_fields;
    }
    if (hai_slice_is(type, "rules.reload")) {
        return reload_fields;
    }
    return hai_slice_is(type, "session.error") ? error_fields : NULL;
}

/*
 * Control characters that JSON lets through: DEL, U+0080 to U+009F (one of
 * them begins a terminal's sequences) and the line ends U+2028 and U+2029.
 * Returns their length, or 0.
 */
static size_t control(const char *p) {
    const unsigned char *c = (const unsigned char *) p;

    if (c[0] == 0x7f) {
        return 1;
    }
    if (c[0] == 0xc2 && (c[1] & 0xe0) == 0x80) {
        return 2;
    }
    return c[0] == 0xe2 && c[1] == 0x80 && (c[2] == 0xa8 || c[2] == 0xa9) ? 3
                                                                          : 0;
}

/* They can only be in strings; takes the text, gives one with escapes. */
static char *escape_controls(char *text) {
    size_t size = 1, len;
    char *out, *to;

    for (const char *p = text; *p != '\0'; p++) {
        size += control(p) > 0 ? 6 : 1;
    }

    out = to = malloc(size);
    for (const char *p = text; out != NULL && *p != '\0'; p += len) {
        len = control(p);
        if (len > 0) {
            unsigned code = len == 1 ? 0x7f
                            : len == 2
                                ? (unsigned char) p[1]
                                : 0x2000U | ((unsigned char) p[2] & 0x3f);
            char escape[sizeof("\\u0000")];

            snprintf(escape, sizeof(escape), "\\u%04x", code & 0xffff);
            memcpy(to, escape, 6);
            to += 6;
        } else {
            len = 1;
            *to++ = *p;
        }
    }
    if (out != NULL) {
        *to = '\0';
    }
    free(text);
    return out;
}

static int make_line(struct hai_effects *e, const struct hai_entry *entry,
                     const char *const *fields) {
    static const char *const type[] = {"type", NULL};
    json_t *object = json_object();
    char ts[HAI_TIME_SIZE];
    char *text = NULL, *line;

    hai_time_text((int64_t) hai_entry_time(entry), ts);

    if (object != NULL
        && json_object_set_new(object, "ts", json_string(ts)) == 0
        && json_object_set_new(object, "id", hai_json_text(entry->id, 64)) == 0
        && hai_entry_copy(entry, type, object) == 0
        && hai_entry_copy(entry, fields, object) == 0)
    {
        text = json_dumps(object, JSON_COMPACT);
    }
    json_decref(object);

    if (text != NULL) {
        text = escape_controls(text);
    }
    if (text == NULL) {
        return -1;
    }

    e->line_len = strlen(text) + 1;
    line = realloc(text, e->line_len + 1);
    if (line == NULL) {
        free(text);
        return -1;
    }
    line[e->line_len - 1] = '\n';
    line[e->line_len] = '\0';
    e->line = line;
    return 0;
}

/* What a webhook says: made once, so that each attempt sends the same. */
static char *make_payload(const struct hai_entry *entry) {
    json_int_t ts = (json_int_t) hai_entry_time(entry);
    json_t *payload = json_object();
    char *text = NULL;

    if (payload != NULL
        && json_object_set_new(payload, "id", hai_json_text(entry->id, 64)) == 0
        && hai_entry_copy(entry, payload_fields, payload) == 0
        && json_object_set_new(payload, "ts", json_integer(ts)) == 0)
    {
        text = json_dumps(payload, JSON_COMPACT);
    }
    json_decref(payload);
    return text;
}

/* What the retry list keeps: the payload, and the state of its delivery. */
static int make_delivery(struct hai_effects *e, const struct hai_entry *entry) {
    struct hai_slice eid = hai_entry_get(entry, "eid");
    struct hai_slice rule = hai_entry_get(entry, "rule");
    json_t *delivery = json_object();
    char *payload = make_payload(entry);
    int rc = -1;

    if (delivery != NULL && payload != NULL
        && json_object_set_new(delivery, "payload", json_string(payload)) == 0
        && json_object_set_new(delivery, "rule",
                               hai_json_text(rule, HAI_ENTRY_TEXT))
               == 0
        && json_object_set_new(delivery, "eid",
                               hai_json_text(eid, HAI_ENTRY_TEXT))
               == 0
        && json_object_set_new(delivery, "attempts", json_integer(0)) == 0)
    {
        e->delivery = json_dumps(delivery, JSON_COMPACT);
        rc = e->delivery != NULL ? 0 : -1;
    }

    free(payload);
    json_decref(delivery);
    return rc;
}

int hai_effects_direct(struct hai_effects *e, const struct hai_entry *entry,
                       bool audit) {
    const char *const *fields = audit_fields(entry);

    if (fields != NULL && audit && make_line(e, entry, fields) != 0) {
        return -1;
    }

    if (hai_slice_is(hai_entry_get(entry, "type"), "rule")
        && hai_slice_is(hai_entry_get(entry, "action"), "webhook"))
    {
        return make_delivery(e, entry);
    }
    return 0;
}

/* An answer of a prompt API that ended well and without a tool call. */
static bool is_idle(const struct hai_entry *entry) {
    static const char *const prompt[] = {
        "openai.chat",
        "openai.responses",
        "openai.completions",
        "anthropic.messages",
    };
    struct hai_slice api = hai_entry_get(entry, "api");
    struct hai_slice calls = hai_entry_get(entry, "tool_calls");
    uint64_t status, n = 0;

    if (hai_number(hai_entry_get(entry, "status"), &status) != 0 || status < 200
        || status > 299 || !hai_slice_is(hai_entry_get(entry, "reason"), "ok")
        || hai_slice_is(hai_entry_get(entry, "turn"), "0")
        || (calls.len > 0 && (hai_number(calls, &n) != 0 || n > 0)))
    {
        return false;
    }

    for (size_t i = 0; i < sizeof(prompt) / sizeof(prompt[0]); i++) {
        if (hai_slice_is(api, prompt[i])) {
            return true;
        }
    }
    return false;
}

static bool any_rule(const struct hai_rules *rules, enum hai_rule_event event) {
    for (size_t i = 0; i < rules->n; i++) {
        if (rules->rule[i].enabled && rules->rule[i].event == event) {
            return true;
        }
    }
    return false;
}

bool hai_effects_wanted(const struct hai_entry *entry,
                        const struct hai_rules *rules) {
    struct hai_slice type = hai_entry_get(entry, "type");

    if (hai_slice_is(type, "session.error")) {
        return any_rule(rules, HAI_EV_ERROR);
    }
    if (!hai_slice_is(type, "request")) {
        return false;
    }
    return (hai_entry_get(entry, "tools").len > 0
            && any_rule(rules, HAI_EV_TOOL_BEFORE))
           || (is_idle(entry) && any_rule(rules, HAI_EV_IDLE));
}

struct firing {
    struct hai_effects *e;
    const struct hai_entry *entry;
};

static void add_pair(struct hai_args *args, size_t *n, const char *name,
                     struct hai_slice value) {
    if (value.len > 0) {
        hai_args_str(args, name);
        hai_args_add(args, value.data, value.len);
        *n += 2;
    }
}

/*
 * The eid of what a rule makes of an entry: the same each time, so that work
 * that was done twice counts once.
 */
static int derive_eid(const struct firing *f, const struct hai_rule *rule,
                      const struct hai_rule_facts *facts, char out[33]) {
    static const char hex[] = "0123456789abcdef";
    struct hai_slice eid = hai_entry_get(f->entry, "eid");
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    unsigned int n = 0;
    bool ok;

    if (eid.len == 0) {
        eid = f->entry->id;
    }

    ok = c != NULL && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1
         && EVP_DigestUpdate(c, eid.data, eid.len) == 1
         && EVP_DigestUpdate(c, "", 1) == 1
         && EVP_DigestUpdate(c, rule->id, strlen(rule->id) + 1) == 1
         && EVP_DigestUpdate(c, &facts->event, sizeof(facts->event)) == 1
         && EVP_DigestUpdate(c, facts->tool.data, facts->tool.len) == 1
         && EVP_DigestFinal_ex(c, digest, &n) == 1 && n >= 16;
    EVP_MD_CTX_free(c);

    for (size_t i = 0; ok && i < 16; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
    out[ok ? 32 : 0] = '\0';
    return ok ? 0 : -1;
}

static struct hai_slice of(const char *text) {
    return (struct hai_slice){text, strlen(text)};
}

/* A rule fires: an entry of its own, behind its number of words. */
static void fired(void *data, const struct hai_rule *rule,
                  const struct hai_rule_facts *facts, const char *text,
                  size_t len) {
    static const char *const taken_over[] = {
        "request_id", "container", "container_id", "api",
        "provider",   "model",     "status",       "reason",
    };
    struct firing *f = data;
    struct hai_args words;
    char eid[33], number[24];
    size_t n = 0;

    hai_args_init(&words);

    if (derive_eid(f, rule, facts, eid) != 0) {
        words.failed = true;
    }
    add_pair(&words, &n, "eid", of(eid));
    add_pair(&words, &n, "type", of("rule"));
    snprintf(number, sizeof(number), "%llu",
             (unsigned long long) hai_entry_time(f->entry));
    add_pair(&words, &n, "ts", of(number));

    for (size_t i = 0; i < sizeof(taken_over) / sizeof(taken_over[0]); i++) {
        struct hai_slice value = hai_entry_get(f->entry, taken_over[i]);

        if (value.len <= MODEL_MAX) {
            add_pair(&words, &n, taken_over[i], value);
        }
    }

    add_pair(&words, &n, "rule", of(rule->id));
    add_pair(&words, &n, "event", of(hai_rule_event_name(facts->event)));
    add_pair(&words, &n, "action", of(hai_rule_action_name(rule->action)));
    add_pair(&words, &n, "tool", facts->tool);
    snprintf(number, sizeof(number), "%u", facts->depth);
    add_pair(&words, &n, "depth", of(number));
    if (text != NULL) {
        add_pair(&words, &n, "message", (struct hai_slice){text, len});
    }

    hai_args_num(&f->e->derived, n);
    hai_args_join(&f->e->derived, &words);
    hai_args_free(&words);
}

/* The next name of a list that is separated by spaces. */
static struct hai_slice next_name(struct hai_slice *list) {
    struct hai_slice name;

    while (list->len > 0 && *list->data == ' ') {
        list->data++;
        list->len--;
    }

    name = (struct hai_slice){list->data, 0};
    while (name.len < list->len && name.data[name.len] != ' ') {
        name.len++;
    }
    list->data += name.len;
    list->len -= name.len;
    return name;
}

static int each_tool(const struct hai_rules *rules,
                     struct hai_rule_facts *facts, struct hai_slice tools,
                     const struct hai_evaluate_memory *memory,
                     const struct hai_evaluate_hooks *hooks) {
    facts->event = HAI_EV_TOOL_BEFORE;

    for (size_t i = 0; i < TOOLS_MAX; i++) {
        facts->tool = next_name(&tools);
        if (facts->tool.len == 0) {
            break;
        }
        if (hai_evaluate_event(rules, facts, memory, hooks) != 0) {
            return -1;
        }
    }
    facts->tool = (struct hai_slice){NULL, 0};
    return 0;
}

int hai_effects_rules(struct hai_effects *e, const struct hai_entry *entry,
                      const struct hai_rules *rules, struct hai_slice tags,
                      struct hai_cooldown *cooldown, uint64_t now_ms) {
    struct firing f = {e, entry};
    struct hai_evaluate_hooks hooks = {.fired = fired, .data = &f};
    struct hai_evaluate_memory memory = {
        .cooldown = cooldown,
        .now_ms = now_ms,
    };
    struct hai_rule_facts facts = {
        .container = hai_entry_get(entry, "container"),
        .container_id = hai_entry_get(entry, "container_id"),
        .tags = tags,
        .model = hai_entry_get(entry, "model"),
        .depth = 1,
    };
    uint64_t depth;
    int rc = 0;

    if (hai_slice_is(hai_entry_get(entry, "type"), "session.error")) {
        facts.event = HAI_EV_ERROR;
        if (hai_number(hai_entry_get(entry, "depth"), &depth) == 0 && depth > 0
            && depth <= 1000)
        {
            facts.depth = (unsigned) depth;
        }
        rc = hai_evaluate_event(rules, &facts, &memory, &hooks);

    } else {
        if (hai_entry_get(entry, "tools").len > 0) {
            rc = each_tool(rules, &facts, hai_entry_get(entry, "tools"),
                           &memory, &hooks);
        }
        if (rc == 0 && is_idle(entry)) {
            facts.event = HAI_EV_IDLE;
            rc = hai_evaluate_event(rules, &facts, &memory, &hooks);
        }
    }

    return rc == 0 && !e->derived.failed ? 0 : -1;
}
