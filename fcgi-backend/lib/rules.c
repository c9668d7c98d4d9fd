/* A set of rules: names, references, digest; see rules.h. */

#include "rules_internal.h"

#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The references lie behind the public part. */
struct shared {
    struct hai_rules rules;
    atomic_size_t references;
};

const char *hai_rule_event_name(enum hai_rule_event event) {
    static const char *const names[] = {
        [HAI_EV_SYSTEM] = "chat.system.transform",
        [HAI_EV_MESSAGE] = "chat.message",
        [HAI_EV_PARAMS] = "chat.params",
        [HAI_EV_TOOL_BEFORE] = "tool.execute.before",
        [HAI_EV_TOOL_AFTER] = "tool.execute.after",
        [HAI_EV_ERROR] = "session.error",
        [HAI_EV_IDLE] = "session.idle",
    };

    return (size_t) event < sizeof(names) / sizeof(names[0]) ? names[event]
                                                             : NULL;
}

const char *hai_rule_action_name(enum hai_rule_action action) {
    static const char *const names[] = {
        [HAI_ACT_APPEND] = "append",   [HAI_ACT_PREPEND] = "prepend",
        [HAI_ACT_MESSAGE] = "message", [HAI_ACT_SET] = "set",
        [HAI_ACT_LOG] = "log",         [HAI_ACT_WEBHOOK] = "webhook",
    };

    return (size_t) action < sizeof(names) / sizeof(names[0]) ? names[action]
                                                              : NULL;
}

bool hai_rules_id_valid(const char *id, size_t len) {
    size_t i;

    for (i = 0; i < len; i++) {
        char c = id[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-'))
        {
            return false;
        }
    }
    return len >= 1 && len <= 64;
}

static void clear_list(struct hai_rule_list *list) {
    size_t i;

    for (i = 0; i < list->n; i++) {
        free(list->item[i]);
    }
    free(list->item);
}

void hai_rules_clear(struct hai_rule *rule) {
    free(rule->id);
    free(rule->name);
    free(rule->severity);
    clear_list(&rule->tags);
    clear_list(&rule->containers);
    clear_list(&rule->models);
    free(rule->tool);
    free(rule->content);
    free(rule->field);
    free(rule->value);
    free(rule->min);
    free(rule->max);
    free(rule->fallback);
    free(rule->url);
    clear_list(&rule->headers);
    free(rule->secret_file);
    memset(rule, 0, sizeof(*rule));
}

struct hai_rules *hai_rules_new(void) {
    struct shared *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        return NULL;
    }
    atomic_init(&s->references, 1);
    return &s->rules;
}

struct hai_rules *hai_rules_ref(struct hai_rules *rules) {
    struct shared *s = (struct shared *) rules;

    atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
    return rules;
}

void hai_rules_unref(struct hai_rules *rules) {
    struct shared *s = (struct shared *) rules;
    size_t i;

    if (rules == NULL
        || atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel)
               != 1)
    {
        return;
    }
    for (i = 0; i < rules->n; i++) {
        hai_rules_clear(&rules->rule[i]);
    }
    free(rules->rule);
    free(s);
}

/* With its length in front, so that two texts cannot pass as one. */
static int digest_text(EVP_MD_CTX *md, const char *text) {
    uint64_t len = text != NULL ? strlen(text) + 1 : 0;
    unsigned char head[8];
    size_t i;

    for (i = 0; i < sizeof(head); i++) {
        head[i] = (unsigned char) (len >> (8 * i));
    }
    return EVP_DigestUpdate(md, head, sizeof(head)) == 1
           && (text == NULL || EVP_DigestUpdate(md, text, len) == 1);
}

static int digest_list(EVP_MD_CTX *md, const struct hai_rule_list *list) {
    char count[24];
    size_t i;
    int ok;

    snprintf(count, sizeof(count), "%zu", list->n);
    ok = digest_text(md, count);
    for (i = 0; ok && i < list->n; i++) {
        ok = digest_text(md, list->item[i]);
    }
    return ok;
}

static int digest_rule(EVP_MD_CTX *md, const struct hai_rule *rule) {
    char numbers[96];

    snprintf(numbers, sizeof(numbers), "%d %d %d %llu %u %d", rule->event,
             rule->action, rule->remove, (unsigned long long) rule->cooldown_ms,
             rule->max_depth, rule->blocking);

    return digest_text(md, rule->id) && digest_text(md, rule->name)
           && digest_text(md, rule->severity) && digest_list(md, &rule->tags)
           && digest_list(md, &rule->containers)
           && digest_list(md, &rule->models) && digest_text(md, rule->tool)
           && digest_text(md, rule->content) && digest_text(md, rule->field)
           && digest_text(md, rule->value) && digest_text(md, rule->min)
           && digest_text(md, rule->max) && digest_text(md, rule->fallback)
           && digest_text(md, rule->url) && digest_list(md, &rule->headers)
           && digest_text(md, rule->secret_file) && digest_text(md, numbers);
}

/* Of what is enabled, in order: what else is in the documents changes
 * nothing. */
int hai_rules_digest(struct hai_rules *rules) {
    unsigned char hash[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    size_t i;
    int ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;

    for (i = 0; ok && i < rules->n; i++) {
        if (rules->rule[i].enabled) {
            ok = digest_rule(md, &rules->rule[i]);
        }
    }
    ok = ok && EVP_DigestFinal_ex(md, hash, NULL) == 1;
    EVP_MD_CTX_free(md);
    for (i = 0; ok && i < 8; i++) {
        snprintf(rules->digest + 2 * i, 3, "%02x", hash[i]);
    }
    return ok ? 0 : -1;
}
