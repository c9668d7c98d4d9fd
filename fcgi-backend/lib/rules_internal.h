/* What the files of the rules share among themselves. */

#ifndef HAI_RULES_INTERNAL_H
#define HAI_RULES_INTERNAL_H

#include "locate.h"
#include "rules.h"

#define HAI_RULES_MAX_FILE (4 * 1024 * 1024)
#define HAI_RULES_MAX_ENTRY (256 * 1024) /* one field of the overlay */
#define HAI_RULES_MAX 2000
#define HAI_RULES_MAX_CONTENT (64 * 1024)
#define HAI_RULES_MAX_LIST 64
#define HAI_RULES_MAX_WORD 128 /* a tag, a glob, a tool's name, a field */
#define HAI_RULES_MAX_URL 2048
#define HAI_RULES_MAX_HEADERS 32
#define HAI_RULES_MAX_DEPTH 100
#define HAI_RULES_MAX_TAGS 1000 /* of the catalogue */

/* A longer one is not cut but fails: a guardrail is whole or not at all. */
#define HAI_RULES_MAX_TEXT (1024 * 1024)

/* A document that is being read. */
struct hai_rules_reader {
    const struct hai_rule_report *report;
    const char *where;      /* file, or "overlay" */
    struct hai_locate text; /* the document */
    const char *rule;       /* id of the rule being read, or "" */
    size_t object;          /* offset of the object being read */
    const char *path;       /* its name with a dot behind it, or "" */
    const char *key;        /* the member being read */
    unsigned errors;
};

/* Reports at an offset of the document, or HAI_NOWHERE. */
void hai_rules_say(struct hai_rules_reader *r, bool is_error, size_t at,
                   const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Are there so many errors that more are of no use? */
bool hai_rules_enough(const struct hai_rules_reader *r);

/* Begins with "$" or "x-": anybody's, and passed over. */
bool hai_rules_key_is_free(const char *key);

/* 1..64 of [A-Za-z0-9_.-]. */
bool hai_rules_id_valid(const char *id, size_t len);

/*
 * For the functions that read one member: where its value is; what is wrong
 * with it; a copy, or NULL after a message; a string of 1 to max bytes.
 */
size_t hai_rules_value_at(const struct hai_rules_reader *r);
void hai_rules_wrong(struct hai_rules_reader *r, const char *reason);
char *hai_rules_copy(struct hai_rules_reader *r, const char *text);
void hai_rules_string(struct hai_rules_reader *r, json_t *value, size_t max,
                      char **to);

/* Members of a webhook. */
void hai_rules_read_url(struct hai_rules_reader *r, json_t *value,
                        struct hai_rule *rule);
void hai_rules_read_headers(struct hai_rules_reader *r, json_t *value,
                            struct hai_rule *rule);
void hai_rules_read_secret_file(struct hai_rules_reader *r, json_t *value,
                                struct hai_rule *rule);

/*
 * Reads the rule that is the value at `at`.  *rule is empty before; after
 * errors, which are reported, it holds what hai_rules_clear() frees.
 */
void hai_rules_read(struct hai_rules_reader *r, json_t *value, size_t at,
                    struct hai_rule *rule);

/* Reports what does not go together in a rule that was read without error. */
void hai_rules_check(struct hai_rules_reader *r, json_t *value, size_t at,
                     const struct hai_rule *rule);

/* An empty set with one reference, or NULL. */
struct hai_rules *hai_rules_new(void);

/* Frees what a rule holds. */
void hai_rules_clear(struct hai_rule *rule);

/*
 * Checks the templates of a text.  NULL, or why one is wrong; it is *len bytes
 * at *bad.
 */
const char *hai_rules_template_check(const char *text,
                                     enum hai_rule_event event,
                                     const char **bad, size_t *len);

/* Writes the digest of the set. */
int hai_rules_digest(struct hai_rules *rules);

#endif
