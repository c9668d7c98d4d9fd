/*
 * Rules: the document, the overlay over it, what applies to a request and
 * what the texts say.  Shared by the rule engine, the event worker and the
 * command.  docs/RULES.md is the manual.
 */

#ifndef HAI_RULES_H
#define HAI_RULES_H

#include "hai_change.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hai_rule_event {
    HAI_EV_SYSTEM,      /* chat.system.transform */
    HAI_EV_MESSAGE,     /* chat.message */
    HAI_EV_PARAMS,      /* chat.params */
    HAI_EV_TOOL_BEFORE, /* tool.execute.before */
    HAI_EV_TOOL_AFTER,  /* tool.execute.after */
    HAI_EV_ERROR,       /* session.error */
    HAI_EV_IDLE         /* session.idle */
};

enum hai_rule_action {
    HAI_ACT_APPEND,
    HAI_ACT_PREPEND,
    HAI_ACT_MESSAGE,
    HAI_ACT_SET, /* with value, min, max, fallback; or remove */
    HAI_ACT_LOG,
    HAI_ACT_WEBHOOK
};

struct hai_rule_list {
    char **item;
    size_t n;
};

struct hai_rule {
    char *id;
    char *name;
    char *severity;
    bool enabled; /* after the overlay */
    bool overlay; /* from the overlay, not from the file */
    bool overridden;
    enum hai_rule_event event;
    struct hai_rule_list tags;       /* any of them; none: all */
    struct hai_rule_list containers; /* globs */
    struct hai_rule_list models;     /* globs */
    char *tool;                      /* without case; NULL: all */
    enum hai_rule_action action;
    char *content; /* append, prepend, message, log: a template */
    char *field;   /* set */
    bool remove;
    char *value, *min, *max, *fallback; /* JSON texts or NULL */
    char *url;                          /* webhook */
    struct hai_rule_list headers;       /* "Name: value" */
    char *secret_file;
    uint64_t cooldown_ms;
    unsigned max_depth;
    bool blocking;
    size_t index; /* in the set, in order of evaluation */
};

/* Never changed once made; counted references, from any thread. */
struct hai_rules {
    struct hai_rule *rule;
    size_t n;
    char digest[17]; /* hex, of the effective set */
};

/* A message about a document: file (or key), line and column (0: unknown),
 * rule id (or ""), reason. */
struct hai_rule_report {
    void (*say)(void *data, bool is_error, const char *where, int line,
                int column, const char *rule, const char *reason);
    void *data;
};

/* One field of the overlay hash. */
struct hai_rule_overlay {
    const char *id;
    size_t id_len;
    const char *json;
    size_t json_len;
};

/*
 * Reads the document of a file (NULL: no base rules) and lays the overlay over
 * it.  NULL after at least one report of an error: nothing of it is to be
 * used.  One reference belongs to the caller.
 */
struct hai_rules *hai_rules_load(const char *file,
                                 const struct hai_rule_overlay *overlay,
                                 size_t n,
                                 const struct hai_rule_report *report);

struct hai_rules *hai_rules_ref(struct hai_rules *rules);
void hai_rules_unref(struct hai_rules *rules);

const char *hai_rule_event_name(enum hai_rule_event event);
const char *hai_rule_action_name(enum hai_rule_action action);

/* What a rule is compared with, and what its texts are filled from. */
struct hai_rule_facts {
    struct hai_slice container;
    struct hai_slice container_id;
    struct hai_slice tags;  /* separated by spaces */
    struct hai_slice model; /* as the caller asked for */
    struct hai_slice tool;  /* data NULL: no tool; len 0: unknown name */
    struct hai_slice input; /* of the tool, JSON text; len 0: unknown */
    enum hai_rule_event event;
    unsigned depth; /* of the event, see maxDepth; 1 for what callers do */
};

/*
 * Does an enabled rule apply: event, tags, container, model, tool, depth?  Not
 * its cooldown.  *why (may be NULL) names the filter that did not match, or
 * "disabled"; static.
 */
bool hai_rule_applies(const struct hai_rule *rule,
                      const struct hai_rule_facts *facts, const char **why);

/* "*" any bytes, "?" one byte, the rest literal and with case. */
bool hai_rule_glob(const char *pattern, const char *text, size_t len);

/* Is a rule's wish the same for every body (docs/internals/rules.md,
 * "Plans")? */
bool hai_rule_is_static(const struct hai_rule *rule);

/* Does its text name the model, in whatever way that is written? */
bool hai_rule_says_model(const struct hai_rule *rule);

/* The rule's text with its {{...}} filled in; at most max bytes, cut at a
 * character.  NULL without memory; free(). */
char *hai_rule_text(const struct hai_rule *rule,
                    const struct hai_rule_facts *facts, size_t max,
                    size_t *len);

/*
 * The change that an append, prepend, message or set rule asks for.  *text is
 * what hai_rule_text() gave (the caller frees it once the change is not needed
 * any more), or NULL.  0, or -1 without memory.
 */
int hai_rule_change(const struct hai_rule *rule,
                    const struct hai_rule_facts *facts,
                    struct hai_change *change, char **text);

/* Rule firings by rule and container, for cooldownMs.  Threads may share
 * one; bounded, and what it forgets may fire once more. */
struct hai_cooldown;

struct hai_cooldown *hai_cooldown_new(size_t max);
void hai_cooldown_free(struct hai_cooldown *c);

/* May the rule fire at this moment (milliseconds of CLOCK_MONOTONIC)?  If so
 * that is noted. */
bool hai_cooldown_take(struct hai_cooldown *c, const struct hai_rule *rule,
                       struct hai_slice container, uint64_t now_ms);

#endif
