/*
 * What the rules say to one request or event: in which order, how often, and
 * what comes of it.  The engine, the event worker and "hoody-ai rules test"
 * call the same functions, so what the command shows is what happens.
 * docs/internals/rules.md, "Evaluation" and "Plans".
 */

#ifndef HAI_EVALUATE_H
#define HAI_EVALUATE_H

#include "rules.h"

#include "hai_body.h"
#include "hai_change.h"

/* Tool results for which a log or webhook rule has fired, by rule, container
 * and call (its id, tool and input: there are callers, and providers, whose
 * ids begin again with each conversation): a request that is sent again fires
 * none of them again.  Threads may share one; bounded, and what it forgets may
 * fire once more. */
struct hai_seen;

struct hai_seen *hai_seen_new(size_t max);
void hai_seen_free(struct hai_seen *s);

/* Is this the first time?  If so that is noted. */
bool hai_seen_take(struct hai_seen *s, const struct hai_rule *rule,
                   const struct hai_rule_facts *facts, struct hai_slice call);

/* Who wants to hear of single rules.  Functions may be NULL. */
struct hai_evaluate_hooks {
    /*
     * A rule fires: every action.  The caller writes the entry `rule` for log,
     * webhook and blocking message.  text (not NUL ended) is what a log or
     * blocking message says, at most HAI_EVALUATE_TEXT bytes for log; NULL for
     * the other actions.  facts has event and tool.
     */
    void (*fired)(void *data, const struct hai_rule *rule,
                  const struct hai_rule_facts *facts, const char *text,
                  size_t len);
    /* A rule does not: the filter of hai_rule_applies(), or "api" (its event
     * does not happen here), "tool" (no new tool result), "cooldown", "seen",
     * "refused" (an earlier rule refused the request). */
    void (*skipped)(void *data, const struct hai_rule *rule,
                    const struct hai_rule_facts *facts, const char *why);
    void *data;
};

#define HAI_EVALUATE_TEXT 4096 /* bytes of an entry's message */

struct hai_request {
    /* container, container_id, tags, model, depth; event and tool are filled
     * in here */
    struct hai_rule_facts facts;
    enum hai_api api;
    bool opaque;                 /* HOODY_BODY=opaque; to a plan only */
    const struct hai_body *body; /* NULL to a plan */
};

enum hai_verdict {
    HAI_VERDICT_PASS,     /* nothing to change: 204 */
    HAI_VERDICT_CHANGES,  /* for hai_changes_apply(), or the plan */
    HAI_VERDICT_ASK_BODY, /* a plan only */
    HAI_VERDICT_REFUSED,  /* 403 with the text */
    HAI_VERDICT_INVALID,  /* the body cannot be evaluated: invalid_body */
    HAI_VERDICT_NO_MEMORY /* no answer: rules_unavailable */
};

struct hai_evaluation {
    enum hai_verdict verdict;
    struct hai_change *changes; /* of HAI_VERDICT_CHANGES */
    size_t n;
    char *text; /* of HAI_VERDICT_REFUSED, UTF-8, NUL ended */
    size_t len;
    const struct hai_rule *rule; /* that refused */
    const char *why;             /* of HAI_VERDICT_INVALID; static */
    bool any_model; /* of HAI_VERDICT_ASK_BODY: whatever its model */
    char **texts;   /* private: what the changes borrow */
    size_t ntexts;
    size_t size;
};

/* What must outlive one request.  Both may be NULL: none is remembered. */
struct hai_evaluate_memory {
    struct hai_cooldown *cooldown;
    struct hai_seen *seen;
    uint64_t now_ms; /* CLOCK_MONOTONIC, for the cooldowns */
};

/*
 * The question `body`: all rules of request events, in order.  Fills *e, which
 * the caller gives back with hai_evaluation_free() whatever the verdict; its
 * changes borrow from rules and e.
 */
void hai_evaluate(struct hai_evaluation *e, const struct hai_rules *rules,
                  const struct hai_request *request,
                  const struct hai_evaluate_memory *memory,
                  const struct hai_evaluate_hooks *hooks);

/*
 * The question `plan`: changes where every rule that applies is static, else
 * ask for the body; for an opaque body the refusal, or pass.  Fires nothing
 * but a refusal.
 */
void hai_evaluate_plan(struct hai_evaluation *e, const struct hai_rules *rules,
                       const struct hai_request *request,
                       const struct hai_evaluate_hooks *hooks);

/*
 * An event that the event worker sees (tool.execute.before, session.error,
 * session.idle): facts is complete.  Calls fired() for each log and webhook
 * rule.  0, or -1 without memory: then some may not have fired.
 */
int hai_evaluate_event(const struct hai_rules *rules,
                       const struct hai_rule_facts *facts,
                       const struct hai_evaluate_memory *memory,
                       const struct hai_evaluate_hooks *hooks);

void hai_evaluation_free(struct hai_evaluation *e);

#endif
