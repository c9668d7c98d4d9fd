/* What the rules say to one request or event, see evaluate.h. */

#include "evaluate.h"

#include "hai_tools.h"

#include <stdlib.h>
#include <string.h>

/* A plan with more text is no plan any more: it has to be read whole, escaped,
 * by whom it is for, up to HAI_PLAN_MAX. */
#define PLAN_TEXT (128 * 1024)
#define PLAN_CHANGES 256

static const char opaque_text[] =
    "A rule of this host applies to prompts, and a request of this kind "
    "cannot be checked against it.";

/* One evaluation on its way. */
struct run {
    struct hai_evaluation *e;
    const struct hai_rules *rules;
    const struct hai_request *request;
    const struct hai_evaluate_memory *memory;
    const struct hai_evaluate_hooks *hooks;
    struct hai_rule_facts facts;
    struct hai_tools tools;
    bool tools_read;
};

static const struct hai_evaluate_memory no_memory;
static const struct hai_evaluate_hooks no_hooks;

static bool is_request_event(enum hai_rule_event event) {
    return event == HAI_EV_SYSTEM || event == HAI_EV_MESSAGE
           || event == HAI_EV_PARAMS || event == HAI_EV_TOOL_AFTER;
}

/* Does the event happen to requests of this dialect? */
static bool event_happens(enum hai_rule_event event, enum hai_api api) {
    switch (event) {
    case HAI_EV_SYSTEM:
    case HAI_EV_MESSAGE:
        return api != HAI_API_OTHER;
    case HAI_EV_PARAMS:
        return true;
    case HAI_EV_TOOL_AFTER:
        return api == HAI_API_OPENAI_CHAT || api == HAI_API_OPENAI_RESPONSES
               || api == HAI_API_ANTHROPIC_MESSAGES;
    case HAI_EV_TOOL_BEFORE:
    case HAI_EV_ERROR:
    case HAI_EV_IDLE:
        break;
    }
    return false;
}

static bool is_blocking(const struct hai_rule *rule) {
    return rule->action == HAI_ACT_MESSAGE && rule->blocking;
}

static bool is_report(const struct hai_rule *rule) {
    return rule->action == HAI_ACT_LOG || rule->action == HAI_ACT_WEBHOOK;
}

static void skipped(const struct run *run, const struct hai_rule *rule,
                    const char *why) {
    if (run->hooks->skipped != NULL) {
        run->hooks->skipped(run->hooks->data, rule, &run->facts, why);
    }
}

static void fired(const struct run *run, const struct hai_rule *rule,
                  const char *text, size_t len) {
    if (run->hooks->fired != NULL) {
        run->hooks->fired(run->hooks->data, rule, &run->facts, text, len);
    }
}

static void fail(struct run *run) {
    run->e->verdict = HAI_VERDICT_NO_MEMORY;
}

/* Room for one change more and its text. */
static int reserve(struct hai_evaluation *e) {
    size_t size = e->size > 0 ? e->size * 2 : 8;
    struct hai_change *changes;
    char **texts;

    if (e->n < e->size) {
        return 0;
    }
    changes = realloc(e->changes, size * sizeof(*changes));
    if (changes == NULL) {
        return -1;
    }
    e->changes = changes;
    texts = realloc(e->texts, size * sizeof(*texts));
    if (texts == NULL) {
        return -1;
    }
    e->texts = texts;
    e->size = size;
    return 0;
}

static void add_change(struct run *run, const struct hai_rule *rule) {
    struct hai_evaluation *e = run->e;

    if (reserve(e) != 0
        || hai_rule_change(rule, &run->facts, &e->changes[e->n],
                           &e->texts[e->n])
               != 0)
    {
        fail(run);
        return;
    }
    e->n++;
    e->ntexts++;
    e->verdict = HAI_VERDICT_CHANGES;
    fired(run, rule, NULL, 0);
}

static void refuse(struct run *run, const struct hai_rule *rule) {
    struct hai_evaluation *e = run->e;

    e->text = hai_rule_text(rule, &run->facts, HAI_EVALUATE_TEXT, &e->len);
    if (e->text == NULL) {
        fail(run);
        return;
    }
    e->verdict = HAI_VERDICT_REFUSED;
    e->rule = rule;
    fired(run, rule, e->text, e->len);
}

static void report(struct run *run, const struct hai_rule *rule) {
    char *text = NULL;
    size_t len = 0;

    if (rule->action == HAI_ACT_LOG) {
        text = hai_rule_text(rule, &run->facts, HAI_EVALUATE_TEXT, &len);
        if (text == NULL) {
            fail(run);
            return;
        }
    }
    fired(run, rule, text, len);
    free(text);
}

/* The rule applies: does it fire now, and what comes of it?  call: of a tool
 * result, else empty. */
static void fire(struct run *run, const struct hai_rule *rule,
                 struct hai_slice call) {
    const struct hai_evaluate_memory *memory = run->memory;
    struct hai_slice container = run->facts.container;

    /* first what stays for ever: a result that was seen starts no pause */
    if (is_report(rule) && memory->seen != NULL
        && !hai_seen_take(memory->seen, rule, &run->facts, call))
    {
        skipped(run, rule, "seen");
        return;
    }
    if (memory->cooldown != NULL
        && !hai_cooldown_take(memory->cooldown, rule, container,
                              memory->now_ms))
    {
        skipped(run, rule, "cooldown");
        return;
    }
    if (is_report(rule)) {
        report(run, rule);
    } else if (is_blocking(rule)) {
        refuse(run, rule);
    } else {
        add_change(run, rule);
    }
}

static bool is_over(const struct run *run) {
    return run->e->verdict != HAI_VERDICT_PASS
           && run->e->verdict != HAI_VERDICT_CHANGES;
}

/* The filters of a rule about tool results but toolName: is it worth looking
 * at the results at all? */
static bool may_apply(const struct run *run, const struct hai_rule *rule,
                      const char **why) {
    struct hai_rule_facts facts = run->facts;

    /* an unknown name stands for any, to a rule that blocks */
    facts.tool = (struct hai_slice){rule->tool != NULL ? rule->tool : "", 0};
    facts.tool.len = strlen(facts.tool.data);
    return hai_rule_applies(rule, &facts, why);
}

static void evaluate_results(struct run *run, const struct hai_rule *rule) {
    const struct hai_tools *tools = &run->tools;
    const char *why;
    size_t i;

    if (!may_apply(run, rule, &why)) {
        skipped(run, rule, why);
        return;
    }
    if (!run->tools_read) {
        if (hai_tools_read(&run->tools, run->request->body, run->request->api)
            != 0) {
            fail(run);
            return;
        }
        run->tools_read = true;
    }
    if (tools->more) {
        run->e->verdict = HAI_VERDICT_INVALID;
        run->e->why = "more tool results than rules can look at";
        return;
    }
    if (tools->n == 0) {
        skipped(run, rule, "tool");
    }
    for (i = 0; i < tools->n && !is_over(run); i++) {
        run->facts.tool = tools->list[i].name;
        if (run->facts.tool.data == NULL) {
            run->facts.tool.data = ""; /* a tool, whose name is unknown */
        }
        run->facts.input = tools->list[i].input;
        if (hai_rule_applies(rule, &run->facts, &why)) {
            fire(run, rule, tools->list[i].id);
        } else {
            skipped(run, rule, why);
        }
    }
    run->facts.tool = (struct hai_slice){NULL, 0};
    run->facts.input = (struct hai_slice){NULL, 0};
}

static void evaluate_rule(struct run *run, const struct hai_rule *rule) {
    struct hai_slice none = {NULL, 0};
    const char *why;

    run->facts.event = rule->event;
    if (!is_request_event(rule->event)) {
        skipped(run, rule, rule->enabled ? "event" : "disabled");
    } else if (!event_happens(rule->event, run->request->api)) {
        skipped(run, rule, rule->enabled ? "api" : "disabled");
    } else if (rule->event == HAI_EV_TOOL_AFTER) {
        evaluate_results(run, rule);
    } else if (hai_rule_applies(rule, &run->facts, &why)) {
        fire(run, rule, none);
    } else {
        skipped(run, rule, why);
    }
}

static void start(struct run *run, struct hai_evaluation *e,
                  const struct hai_rules *rules,
                  const struct hai_request *request,
                  const struct hai_evaluate_memory *memory,
                  const struct hai_evaluate_hooks *hooks) {
    memset(e, 0, sizeof(*e));
    memset(run, 0, sizeof(*run));
    run->e = e;
    run->rules = rules;
    run->request = request;
    run->memory = memory != NULL ? memory : &no_memory;
    run->hooks = hooks != NULL ? hooks : &no_hooks;
    if (request != NULL) {
        run->facts = request->facts;
        run->facts.tool = (struct hai_slice){NULL, 0};
        run->facts.input = (struct hai_slice){NULL, 0};
    }
}

void hai_evaluate(struct hai_evaluation *e, const struct hai_rules *rules,
                  const struct hai_request *request,
                  const struct hai_evaluate_memory *memory,
                  const struct hai_evaluate_hooks *hooks) {
    struct run run;
    size_t i;

    start(&run, e, rules, request, memory, hooks);
    hai_tools_init(&run.tools);
    for (i = 0; i < rules->n && !is_over(&run); i++) {
        evaluate_rule(&run, &rules->rule[i]);
    }
    for (; i < rules->n && e->verdict == HAI_VERDICT_REFUSED; i++) {
        run.facts.event = rules->rule[i].event;
        skipped(&run, &rules->rule[i], "refused");
    }
    hai_tools_free(&run.tools);
}

/* A body that cannot be looked into goes nowhere while a rule is about what
 * may be in it. */
static void plan_opaque(struct run *run) {
    struct hai_slice none = {NULL, 0};
    struct hai_evaluation *e = run->e;
    size_t i;

    run->facts.model = none; /* there may be others in it */
    for (i = 0; i < run->rules->n; i++) {
        const struct hai_rule *rule = &run->rules->rule[i];
        const char *why;

        run->facts.event = rule->event;
        if (!is_request_event(rule->event) || is_report(rule)) {
            skipped(run, rule, rule->enabled ? "api" : "disabled");
            continue;
        }
        if (!may_apply(run, rule, &why)) {
            skipped(run, rule, why);
            continue;
        }
        if (is_blocking(rule) && rule->event != HAI_EV_TOOL_AFTER) {
            refuse(run, rule);
            return;
        }
        e->text = strdup(opaque_text);
        if (e->text == NULL) {
            fail(run);
            return;
        }
        e->len = strlen(e->text);
        e->verdict = HAI_VERDICT_REFUSED;
        e->rule = rule;
        fired(run, rule, e->text, e->len);
        return;
    }
}

/* Bytes that a change takes in a plan, before they are escaped. */
static size_t weight(const struct hai_change *c) {
    return c->text.len + c->field.len + c->value.len + c->min.len + c->max.len
           + c->fallback.len;
}

static void ask_body(struct hai_evaluation *e) {
    hai_evaluation_free(e);
    e->verdict = HAI_VERDICT_ASK_BODY;
}

/*
 * Would the body be asked for whatever its model is?  Certainly where no rule
 * that may apply looks at the model.
 */
static bool is_any_model(const struct run *run) {
    struct hai_rule_facts facts = run->facts;
    size_t i;

    facts.model = (struct hai_slice){NULL, 0}; /* matches every filter */
    for (i = 0; i < run->rules->n; i++) {
        const struct hai_rule *rule = &run->rules->rule[i];

        if (rule->models.n == 0) {
            continue;
        }
        facts.event = rule->event;
        if (event_happens(rule->event, run->request->api)
            && (rule->event == HAI_EV_TOOL_AFTER
                || hai_rule_applies(rule, &facts, NULL)))
        {
            return false;
        }
    }
    return true;
}

static void plan_static(struct run *run) {
    static const struct hai_evaluate_hooks quiet;
    size_t i, bytes = 0;

    run->hooks = &quiet; /* nothing has happened yet */
    for (i = 0; i < run->rules->n && !is_over(run); i++) {
        const struct hai_rule *rule = &run->rules->rule[i];
        bool applies;

        run->facts.event = rule->event;
        if (!event_happens(rule->event, run->request->api)) {
            continue;
        }
        applies = rule->event == HAI_EV_TOOL_AFTER
                      ? may_apply(run, rule, NULL)
                      : hai_rule_applies(rule, &run->facts, NULL);
        if (!applies) {
            continue;
        }
        if (!hai_rule_is_static(rule) || run->e->n == PLAN_CHANGES) {
            ask_body(run->e);
            return;
        }
        add_change(run, rule);
        if (run->e->verdict == HAI_VERDICT_CHANGES) {
            bytes += weight(&run->e->changes[run->e->n - 1]);
        }
        if (bytes > PLAN_TEXT) {
            ask_body(run->e);
            return;
        }
    }
}

void hai_evaluate_plan(struct hai_evaluation *e, const struct hai_rules *rules,
                       const struct hai_request *request,
                       const struct hai_evaluate_hooks *hooks) {
    struct run run;

    start(&run, e, rules, request, NULL, hooks);
    if (request->opaque) {
        plan_opaque(&run);
        return;
    }
    plan_static(&run);
    e->any_model = e->verdict == HAI_VERDICT_ASK_BODY && is_any_model(&run);
}

int hai_evaluate_event(const struct hai_rules *rules,
                       const struct hai_rule_facts *facts,
                       const struct hai_evaluate_memory *memory,
                       const struct hai_evaluate_hooks *hooks) {
    struct hai_slice none = {NULL, 0};
    struct hai_evaluation e;
    struct run run;
    const char *why;
    int rc = 0;
    size_t i;

    start(&run, &e, rules, NULL, memory, hooks);
    run.facts = *facts;
    for (i = 0; i < rules->n; i++) {
        const struct hai_rule *rule = &rules->rule[i];

        if (!is_report(rule)) {
            continue;
        }
        if (!hai_rule_applies(rule, facts, &why)) {
            skipped(&run, rule, why);
            continue;
        }
        e.verdict = HAI_VERDICT_PASS;
        fire(&run, rule, none);
        if (e.verdict == HAI_VERDICT_NO_MEMORY) {
            rc = -1;
        }
    }
    return rc;
}

void hai_evaluation_free(struct hai_evaluation *e) {
    size_t i;

    for (i = 0; i < e->ntexts; i++) {
        free(e->texts[i]);
    }
    free(e->texts);
    free(e->changes);
    free(e->text);
    memset(e, 0, sizeof(*e));
}
