/*
 * The document of a file and the overlay over it, see rules.h.  One error
 * anywhere and nothing of it is used: half a set of rules is another set.
 */

#include "rules_internal.h"

#include "file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ERRORS 20 /* then the rest is not looked at */

struct loader {
    const struct hai_rule_report *report;
    struct hai_rules *rules;
    size_t size;  /* of rules->rule */
    json_t *ids;  /* id: its place in rules->rule */
    json_t *tags; /* of the catalogue; NULL: there is none */
    unsigned errors;
};

bool hai_rules_enough(const struct hai_rules_reader *r) {
    return r->errors >= MAX_ERRORS;
}

void hai_rules_say(struct hai_rules_reader *r, bool is_error, size_t at,
                   const char *format, ...) {
    char reason[512];
    int line, column;
    va_list ap;

    r->errors += is_error;
    if (r->errors > MAX_ERRORS) {
        return;
    }
    va_start(ap, format);
    vsnprintf(reason, sizeof(reason), format, ap);
    va_end(ap);
    hai_locate_line(&r->text, at, &line, &column);
    r->report->say(r->report->data, is_error, r->where, line, column, r->rule,
                   reason);
}

/* Room for one rule more, or NULL after a message. */
static struct hai_rule *reserve(struct loader *l, struct hai_rules_reader *r,
                                size_t at) {
    struct hai_rules *rules = l->rules;

    if (rules->n == HAI_RULES_MAX) {
        hai_rules_say(r, true, at, "more than %d rules", HAI_RULES_MAX);
        return NULL;
    }
    if (rules->n == l->size) {
        size_t size = l->size > 0 ? l->size * 2 : 16;
        struct hai_rule *list =
            realloc(rules->rule, size * sizeof(*rules->rule));

        if (list == NULL) {
            hai_rules_say(r, true, at, "no memory");
            return NULL;
        }
        rules->rule = list;
        l->size = size;
    }
    memset(&rules->rule[rules->n], 0, sizeof(*rules->rule));
    return &rules->rule[rules->n];
}

/* The rule with that id, or NULL. */
static struct hai_rule *find(struct loader *l, const char *id) {
    json_t *place = json_object_get(l->ids, id);

    return place != NULL ? &l->rules->rule[json_integer_value(place)] : NULL;
}

/* The new rule at the end is one of the set from now on. */
static void keep(struct loader *l, struct hai_rules_reader *r,
                 struct hai_rule *rule, size_t at) {
    json_int_t place = (json_int_t) l->rules->n;

    l->rules->n++;
    if (json_object_set_new(l->ids, rule->id, json_integer(place)) != 0) {
        hai_rules_say(r, true, at, "no memory");
    }
}

/* A tag that the catalogue does not have is most likely misspelt. */
static void check_tags(struct loader *l, struct hai_rules_reader *r, size_t at,
                       const struct hai_rule *rule) {
    const struct hai_locate *text = &r->text;
    size_t i, list;

    if (json_object_size(l->tags) == 0) {
        return;
    }
    for (i = 0; i < rule->tags.n; i++) {
        if (json_object_get(l->tags, rule->tags.item[i]) != NULL) {
            continue;
        }
        list = hai_locate_value(text, hai_locate_key(text, at, "trigger"));
        list = hai_locate_value(text, hai_locate_key(text, list, "tags"));
        hai_rules_say(r, false, hai_locate_element(text, list, i),
                      "the tag \"%s\" is not in the document's list of tags",
                      rule->tags.item[i]);
    }
}

static void read_rules(struct loader *l, struct hai_rules_reader *r,
                       json_t *list, size_t at) {
    struct hai_rule *rule;
    unsigned before;
    size_t i;
    json_t *value;

    at = hai_locate_first(&r->text, at);
    json_array_foreach(list, i, value) {
        r->rule = "";
        rule = reserve(l, r, at);
        if (rule == NULL || hai_rules_enough(r)) {
            return;
        }
        before = r->errors;
        hai_rules_read(r, value, at, rule);
        if (r->errors == before && find(l, rule->id) != NULL) {
            hai_rules_say(
                r, true,
                hai_locate_value(&r->text, hai_locate_key(&r->text, at, "id")),
                "there is another rule with this id");
        }
        if (r->errors == before) {
            check_tags(l, r, at, rule);
            keep(l, r, rule, at);
        } else {
            hai_rules_clear(rule);
        }
        at = hai_locate_next(&r->text, at);
    }
    r->rule = "";
}

/* One tag of the catalogue: its id, or an object of the platform's. */
static void read_tag(struct loader *l, struct hai_rules_reader *r,
                     json_t *value, size_t at) {
    static const char *const keys[] = {"id", "label", "description", "color"};
    json_t *id = json_is_object(value) ? json_object_get(value, "id") : value;
    const char *key;
    json_t *member;
    size_t i;

    json_object_foreach(value, key, member) {
        for (i = 0; i < 4 && strcmp(keys[i], key) != 0; i++) {
        }
        if (i == 4 && !hai_rules_key_is_free(key)) {
            hai_rules_say(r, true, hai_locate_key(&r->text, at, key),
                          "\"tags\": \"%.128s\" is not known", key);
        } else if (i < 4 && !json_is_string(member)) {
            hai_rules_say(
                r, true,
                hai_locate_value(&r->text, hai_locate_key(&r->text, at, key)),
                "\"tags\": \"%s\": a string is wanted", key);
        }
    }
    if (json_string_length(id) == 0
        || json_string_length(id) > HAI_RULES_MAX_WORD) {
        hai_rules_say(r, true, at,
                      "\"tags\": a name, or an object with \"id\", is wanted");
    } else if (json_object_get(l->tags, json_string_value(id)) != NULL) {
        hai_rules_say(r, true, at, "\"tags\": \"%s\" is there twice",
                      json_string_value(id));
    } else if (json_object_set_new(l->tags, json_string_value(id), json_true())
               != 0)
    {
        hai_rules_say(r, true, at, "no memory");
    }
}

static void read_tags(struct loader *l, struct hai_rules_reader *r,
                      json_t *list, size_t at) {
    size_t i;
    json_t *value;

    if (!json_is_array(list) || json_array_size(list) > HAI_RULES_MAX_TAGS) {
        hai_rules_say(r, true, at, "\"tags\": an array of at most %d is wanted",
                      HAI_RULES_MAX_TAGS);
        return;
    }
    at = hai_locate_first(&r->text, at);
    json_array_foreach(list, i, value) {
        if (hai_rules_enough(r)) {
            return;
        }
        read_tag(l, r, value, at);
        at = hai_locate_next(&r->text, at);
    }
}

/* The object with "rules" and "tags". */
static void read_set(struct loader *l, struct hai_rules_reader *r,
                     json_t *object, size_t at) {
    /* of the platform's snapshots */
    static const char *const others[] = {"scope", "version", "builtAt",
                                         "processEpoch"};
    json_t *rules = json_object_get(object, "rules"), *value;
    size_t i, key_at;
    const char *key;

    json_object_foreach(object, key, value) {
        for (i = 0; i < 4 && strcmp(others[i], key) != 0; i++) {
        }
        if (i == 4 && strcmp(key, "rules") != 0 && strcmp(key, "tags") != 0
            && !hai_rules_key_is_free(key))
        {
            hai_rules_say(r, true, hai_locate_key(&r->text, at, key),
                          "\"%.128s\" is not known beside \"rules\"", key);
        }
    }
    value = json_object_get(object, "tags");
    if (value != NULL) {
        key_at = hai_locate_key(&r->text, at, "tags");
        read_tags(l, r, value, hai_locate_value(&r->text, key_at));
    }
    key_at = hai_locate_value(&r->text, hai_locate_key(&r->text, at, "rules"));
    if (rules == NULL) {
        hai_rules_say(r, true, at, "\"rules\" is missing");
    } else if (!json_is_array(rules)) {
        hai_rules_say(r, true, key_at, "\"rules\": an array is wanted");
    } else {
        read_rules(l, r, rules, key_at);
    }
}

/* A hoody.json has the set in "mitm" beside things of others. */
static void read_root(struct loader *l, struct hai_rules_reader *r,
                      json_t *root) {
    size_t at = hai_locate_root(&r->text), key_at;
    json_t *mitm = json_object_get(root, "mitm");

    key_at = hai_locate_key(&r->text, at, "mitm");
    if (!json_is_object(root)) {
        hai_rules_say(r, true, at, "an object is wanted");
    } else if (mitm != NULL && json_object_get(root, "rules") != NULL) {
        hai_rules_say(r, true, key_at,
                      "\"mitm\" beside \"rules\": which of them is meant?");
    } else if (mitm == NULL && json_object_get(root, "rules") == NULL) {
        hai_rules_say(r, true, at, "neither \"mitm\" nor \"rules\" is there");
    } else if (mitm == NULL) {
        read_set(l, r, root, at);
    } else if (!json_is_object(mitm)) {
        hai_rules_say(r, true, hai_locate_value(&r->text, key_at),
                      "\"mitm\": an object is wanted");
    } else {
        read_set(l, r, mitm, hai_locate_value(&r->text, key_at));
    }
}

/* The parsed text, or NULL after a message.  What jansson quotes from near the
 * error is left out: it could be a header's secret. */
static json_t *parse(struct hai_rules_reader *r, size_t max) {
    json_error_t error;
    json_t *json;
    char *near;

    if (r->text.len > max) {
        hai_rules_say(r, true, HAI_NOWHERE, "larger than %zu bytes", max);
        return NULL;
    }
    json =
        json_loadb(r->text.text, r->text.len, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        near = strstr(error.text, " near ");
        if (near != NULL) {
            *near = '\0';
        }
        r->errors++;
        r->report->say(r->report->data, true, r->where, error.line,
                       error.column, r->rule, error.text);
    }
    return json;
}

static void load_file(struct loader *l, const char *file) {
    struct hai_rules_reader r = {
        .report = l->report, .where = file, .rule = "", .path = ""};
    char reason[128], *text;
    json_t *root;

    text = hai_file_read(file, HAI_RULES_MAX_FILE, &r.text.len, reason,
                         sizeof(reason));
    if (text == NULL) {
        hai_rules_say(&r, true, HAI_NOWHERE, "cannot be read: %s", reason);
    } else {
        r.text.text = text;
        root = parse(&r, HAI_RULES_MAX_FILE);
        if (root != NULL) {
            read_root(l, &r, root);
        }
        json_decref(root);
    }
    if (hai_rules_enough(&r)) {
        l->report->say(l->report->data, true, file, 0, 0, "",
                       "so many errors, the rest was not looked at");
    }
    free(text);
    l->errors += r.errors;
}

/* {"id": ..., "enabledOverride": true or false} */
static void read_override(struct loader *l, struct hai_rules_reader *r,
                          json_t *value) {
    static const char *const keys[] = {
        "id", "enabledOverride", "effectiveEnabled", "source", "overlayState"};
    size_t at = hai_locate_root(&r->text), key_at, i;
    json_t *override = json_object_get(value, "enabledOverride"), *member;
    unsigned before = r->errors;
    struct hai_rule *rule;
    const char *key;

    json_object_foreach(value, key, member) {
        for (i = 0; i < 5 && strcmp(keys[i], key) != 0; i++) {
        }
        if (i == 5 && !hai_rules_key_is_free(key)) {
            hai_rules_say(r, true, hai_locate_key(&r->text, at, key),
                          "\"%.128s\" does not go with \"enabledOverride\"",
                          key);
        }
    }
    key_at = hai_locate_key(&r->text, at, "enabledOverride");
    if (!json_is_boolean(override)) {
        hai_rules_say(r, true, hai_locate_value(&r->text, key_at),
                      "\"enabledOverride\": true or false is wanted");
    }
    if (r->errors != before) {
        return;
    }
    rule = find(l, r->rule);
    if (rule == NULL) {
        hai_rules_say(r, false, key_at,
                      "\"enabledOverride\": there is no such rule");
        return;
    }
    rule->enabled = json_is_true(override);
    rule->overridden = true;
}

/* A whole rule: takes the place of the base rule with its id, else goes to the
 * end. */
static void read_whole(struct loader *l, struct hai_rules_reader *r,
                       json_t *value) {
    size_t at = hai_locate_root(&r->text);
    struct hai_rule *rule = reserve(l, r, at), *base;
    unsigned before = r->errors;

    if (rule == NULL) {
        return;
    }
    hai_rules_read(r, value, at, rule);
    if (r->errors != before) {
        hai_rules_clear(rule);
        return;
    }
    rule->overlay = true;
    check_tags(l, r, at, rule);
    base = find(l, rule->id);
    if (base == NULL) {
        keep(l, r, rule, at);
    } else {
        hai_rules_clear(base);
        *base = *rule;
    }
}

static void read_entry(struct loader *l, struct hai_rules_reader *r,
                       const struct hai_rule_overlay *entry) {
    char id[65];
    json_t *value, *own;

    if (!hai_rules_id_valid(entry->id, entry->id_len)) {
        hai_rules_say(r, true, HAI_NOWHERE,
                      "a field of the overlay whose name is no id");
        return;
    }
    memcpy(id, entry->id, entry->id_len);
    id[entry->id_len] = '\0';
    r->rule = id;
    value = parse(r, HAI_RULES_MAX_ENTRY);
    own = json_object_get(value, "id");
    if (value != NULL && own != NULL
        && (!json_is_string(own) || strcmp(json_string_value(own), id) != 0))
    {
        hai_rules_say(
            r, true,
            hai_locate_value(
                &r->text,
                hai_locate_key(&r->text, hai_locate_root(&r->text), "id")),
            "\"id\": not the name of its field in the overlay");
    } else if (json_object_get(value, "enabledOverride") != NULL) {
        read_override(l, r, value);
    } else if (value != NULL) {
        read_whole(l, r, value);
    }
    r->rule = "";
    json_decref(value);
}

static int by_id(const void *a, const void *b) {
    const struct hai_rule_overlay *x = a, *y = b;
    size_t n = x->id_len < y->id_len ? x->id_len : y->id_len;
    int rc = n > 0 ? memcmp(x->id, y->id, n) : 0;

    return rc != 0 ? rc : (x->id_len > y->id_len) - (x->id_len < y->id_len);
}

static void load_overlay(struct loader *l,
                         const struct hai_rule_overlay *overlay, size_t n) {
    struct hai_rules_reader r = {
        .report = l->report, .where = "overlay", .rule = "", .path = ""};
    struct hai_rule_overlay *sorted;
    size_t i;

    if (n == 0) {
        return;
    }
    sorted = n <= HAI_RULES_MAX ? malloc(n * sizeof(*sorted)) : NULL;
    if (sorted == NULL) {
        hai_rules_say(&r, true, HAI_NOWHERE, "%s",
                      n > HAI_RULES_MAX ? "more than 2000 entries"
                                        : "no memory");
    } else {
        memcpy(sorted, overlay, n * sizeof(*sorted));
        qsort(sorted, n, sizeof(*sorted), by_id);
        for (i = 0; i < n && !hai_rules_enough(&r); i++) {
            r.text.text = sorted[i].json;
            r.text.len = sorted[i].json_len;
            read_entry(l, &r, &sorted[i]);
        }
    }
    free(sorted);
    l->errors += r.errors;
}

struct hai_rules *hai_rules_load(const char *file,
                                 const struct hai_rule_overlay *overlay,
                                 size_t n,
                                 const struct hai_rule_report *report) {
    struct loader l = {.report = report};
    size_t i;

    l.rules = hai_rules_new();
    l.ids = json_object();
    l.tags = json_object();
    if (l.rules == NULL || l.ids == NULL || l.tags == NULL) {
        l.errors++;
    } else {
        if (file != NULL) {
            load_file(&l, file);
        }
        if (l.errors == 0) {
            load_overlay(&l, overlay, n);
        }
        for (i = 0; i < l.rules->n; i++) {
            l.rules->rule[i].index = i;
        }
    }
    json_decref(l.ids);
    json_decref(l.tags);
    if (l.errors == 0 && hai_rules_digest(l.rules) == 0) {
        return l.rules;
    }
    if (l.errors == 0 || l.ids == NULL || l.tags == NULL || l.rules == NULL) {
        report->say(report->data, true, file != NULL ? file : "overlay", 0, 0,
                    "", "no memory");
    }
    hai_rules_unref(l.rules);
    return NULL;
}
