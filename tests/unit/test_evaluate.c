/* SOURCES: fcgi-backend/lib/evaluate.c fcgi-backend/lib/rules.c */
/* SOURCES: fcgi-backend/lib/rules_document.c fcgi-backend/lib/rules_read.c */
/* SOURCES: fcgi-backend/lib/rules_check.c fcgi-backend/lib/rules_webhook.c */
/* SOURCES: fcgi-backend/lib/rules_match.c fcgi-backend/lib/rules_text.c */
/* SOURCES: fcgi-backend/lib/rules_memory.c fcgi-backend/lib/locate.c */
/* SOURCES: fcgi-backend/lib/file.c common/hai_json.c */
/* SOURCES: common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */
/* LIBS: -ljansson -lcrypto -lpthread */

/*
 * What rules say to a request: order, tool results, refusals, pauses, plans.
 * The results of tools are made up here; finding them in a body, and making
 * edits of changes, is tested with common/.
 */

#include "lib/evaluate.h"

#include "hai_tools.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SLICE(s)                                                               \
    {                                                                          \
        (s), sizeof(s) - 1                                                     \
    }

static struct hai_tool_result results[4];
static size_t nresults;
static bool more_results;
static unsigned reads;
static char heard[4096]; /* by the hooks */

bool hai_change_field_valid(const char *name, size_t len) {
    (void) name;
    return len > 0;
}

void hai_tools_init(struct hai_tools *t) {
    memset(t, 0, sizeof(*t));
}

void hai_tools_free(struct hai_tools *t) {
    (void) t;
}

int hai_tools_read(struct hai_tools *t, const struct hai_body *body,
                   enum hai_api api) {
    (void) body;
    (void) api;
    t->list = results;
    t->n = nresults;
    t->more = more_results;
    reads++;
    return 0;
}

static void hear(const char *format, ...) {
    size_t used = strlen(heard);
    va_list ap;

    va_start(ap, format);
    vsnprintf(heard + used, sizeof(heard) - used, format, ap);
    va_end(ap);
}

static void fired(void *data, const struct hai_rule *rule,
                  const struct hai_rule_facts *facts, const char *text,
                  size_t len) {
    (void) data;
    (void) facts;
    hear("%s!%.*s ", rule->id, (int) len, text != NULL ? text : "");
}

static void skipped(void *data, const struct hai_rule *rule,
                    const struct hai_rule_facts *facts, const char *why) {
    (void) data;
    (void) facts;
    hear("%s:%s ", rule->id, why);
}

static const struct hai_evaluate_hooks hooks = {fired, skipped, NULL};

static void say(void *data, bool is_error, const char *where, int line,
                int column, const char *rule, const char *reason) {
    (void) data;
    (void) where;
    if (is_error) {
        fail_msg("%d:%d: %s: %s", line, column, rule, reason);
    }
}

/* Rules as entries of an overlay, so in the order of their ids. */
struct entry {
    const char *id, *event, *action, *more;
};

#define APPEND(s) "\"append\",\"content\":\"" s "\""
#define LOG(s) "\"log\",\"content\":\"" s "\""
#define BLOCK(s) "\"message\",\"content\":\"" s "\""
#define SET "\"set\",\"field\":\"max_tokens\",\"max\":5"
#define BLOCKING ",\"blocking\":true"

static struct hai_rules *make(const struct entry *list, size_t n) {
    static const struct hai_rule_report report = {say, NULL};
    struct hai_rule_overlay overlay[8];
    static char text[8][512];
    struct hai_rules *rules;
    size_t i;

    for (i = 0; i < n; i++) {
        snprintf(text[i], sizeof(text[i]),
                 "{\"id\":\"%s\",\"trigger\":{\"event\":\"%s\"},\"action\":{"
                 "\"type\":%s}%s}",
                 list[i].id, list[i].event, list[i].action,
                 list[i].more != NULL ? list[i].more : "");
        overlay[i] = (struct hai_rule_overlay){list[i].id, strlen(list[i].id),
                                               text[i], strlen(text[i])};
    }
    rules = hai_rules_load(NULL, overlay, n, &report);
    assert_non_null(rules);
    return rules;
}

#define MAKE(...)                                                              \
    make((const struct entry[]){__VA_ARGS__},                                  \
         sizeof((const struct entry[]){__VA_ARGS__}) / sizeof(struct entry))

static const struct hai_body body = {0};

static struct hai_request request = {
    .facts = {.container = SLICE("web"), .model = SLICE("m"), .depth = 1},
    .api = HAI_API_OPENAI_CHAT,
    .body = &body,
};

static int set_up(void **state) {
    (void) state;
    memset(results, 0, sizeof(results));
    nresults = 0;
    more_results = false;
    reads = 0;
    request.api = HAI_API_OPENAI_CHAT;
    request.opaque = false;
    request.facts.depth = 1;
    return 0;
}

/* Evaluates, compares verdict and what the hooks heard. */
static void expect(const struct hai_rules *rules,
                   const struct hai_evaluate_memory *memory,
                   enum hai_verdict verdict, size_t changes,
                   const char *expected) {
    struct hai_evaluation e;

    heard[0] = '\0';
    hai_evaluate(&e, rules, &request, memory, &hooks);
    assert_string_equal(heard, expected);
    assert_int_equal(e.verdict, verdict);
    if (verdict == HAI_VERDICT_CHANGES) {
        assert_int_equal(e.n, changes);
    }
    hai_evaluation_free(&e);
}

static void expect_plan(const struct hai_rules *rules, enum hai_verdict verdict,
                        size_t changes, const char *expected) {
    struct hai_evaluation e;

    heard[0] = '\0';
    hai_evaluate_plan(&e, rules, &request, &hooks);
    assert_string_equal(heard, expected);
    assert_int_equal(e.verdict, verdict);
    assert_int_equal(e.n, verdict == HAI_VERDICT_CHANGES ? changes : 0);
    hai_evaluation_free(&e);
}

static void test_order(void **state) {
    struct hai_rules *rules =
        MAKE({"a", "chat.system.transform", APPEND("1"), NULL},
             {"b", "chat.params", SET, NULL},
             {"c", "chat.message", LOG("{{container.name}}"), NULL},
             {"d", "chat.message", APPEND("x"), ",\"enabled\":false"},
             {"e", "session.idle", LOG("x"), NULL},
             {"f", "chat.message", APPEND("2 {{model}}"), NULL});
    struct hai_evaluation e;

    (void) state;
    expect(rules, NULL, HAI_VERDICT_CHANGES, 3,
           "a! b! c!web d:disabled e:event f! ");

    hai_evaluate(&e, rules, &request, NULL, NULL);
    assert_int_equal(e.n, 3);
    assert_int_equal(e.changes[0].op, HAI_CHANGE_APPEND);
    assert_int_equal(e.changes[1].op, HAI_CHANGE_SET);
    assert_int_equal(e.changes[2].text.len, 3);
    assert_memory_equal(e.changes[2].text.data, "2 m", 3);
    hai_evaluation_free(&e);
    assert_int_equal(reads, 0); /* nobody asked for results of tools */
    hai_rules_unref(rules);
}

static void test_apis(void **state) {
    struct hai_rules *rules =
        MAKE({"a", "chat.system.transform", APPEND("1"), NULL},
             {"b", "chat.params", SET, NULL},
             {"c", "tool.execute.after", LOG("x"), NULL});

    (void) state;
    nresults = 1;
    request.api = HAI_API_OTHER;
    expect(rules, NULL, HAI_VERDICT_CHANGES, 1, "a:api b! c:api ");
    request.api = HAI_API_OPENAI_COMPLETIONS;
    expect(rules, NULL, HAI_VERDICT_CHANGES, 2, "a! b! c:api ");
    request.api = HAI_API_ANTHROPIC_MESSAGES;
    expect(rules, NULL, HAI_VERDICT_CHANGES, 2, "a! b! c!x ");
    request.api = HAI_API_OPENAI_RESPONSES;
    expect(rules, NULL, HAI_VERDICT_CHANGES, 2, "a! b! c!x ");
    hai_rules_unref(rules);
}

static void test_refusal(void **state) {
    struct hai_rules *rules =
        MAKE({"a", "chat.system.transform", APPEND("1"), NULL},
             {"b", "chat.message", BLOCK("no, {{container.name}}"), BLOCKING},
             {"c", "chat.message", LOG("x"), NULL},
             {"d", "session.idle", LOG("x"), NULL});
    struct hai_evaluation e;

    (void) state;
    expect(rules, NULL, HAI_VERDICT_REFUSED, 0,
           "a! b!no, web c:refused d:refused ");
    hai_evaluate(&e, rules, &request, NULL, NULL);
    assert_string_equal(e.text, "no, web");
    assert_int_equal(e.len, 7);
    assert_string_equal(e.rule->id, "b");
    hai_evaluation_free(&e);

    /* without blocking it is a change */
    hai_rules_unref(rules);
    rules = MAKE({"b", "chat.message", BLOCK("x"), NULL});
    expect(rules, NULL, HAI_VERDICT_CHANGES, 1, "b! ");
    hai_rules_unref(rules);
}

static struct hai_rules *tool_rules(const char *action, const char *more) {
    static const struct hai_rule_report report = {say, NULL};
    static char text[512];
    struct hai_rule_overlay overlay;
    struct hai_rules *rules;

    snprintf(text, sizeof(text),
             "{\"id\":\"t\",\"trigger\":{\"event\":\"tool.execute.after\","
             "\"toolName\":\"read\"},\"action\":{\"type\":%s}%s}",
             action, more);
    overlay = (struct hai_rule_overlay){"t", 1, text, strlen(text)};
    rules = hai_rules_load(NULL, &overlay, 1, &report);
    assert_non_null(rules);
    return rules;
}

static void set_result(size_t i, const char *id, const char *name,
                       const char *input) {
    results[i] =
        (struct hai_tool_result){{id, strlen(id)},
                                 {name, name != NULL ? strlen(name) : 0},
                                 {input, input != NULL ? strlen(input) : 0}};
    if (nresults <= i) {
        nresults = i + 1;
    }
}

static void test_tools(void **state) {
    struct hai_rules *rules =
        tool_rules(LOG("{{tool.name}} {{tool.input.p}}"), "");

    (void) state;
    expect(rules, NULL, HAI_VERDICT_PASS, 0, "t:tool ");
    set_result(0, "c1", "Read", "{\"p\":1}");
    set_result(1, "c2", "bash", "{\"p\":2}");
    set_result(2, "c3", "READ", NULL);
    set_result(3, "c4", NULL, NULL); /* the call is not in the request */
    expect(rules, NULL, HAI_VERDICT_PASS, 0,
           "t!Read 1 t:toolName t!READ  t:toolName ");
    assert_int_equal(reads, 2);

    more_results = true;
    expect(rules, NULL, HAI_VERDICT_INVALID, 0, "");
    hai_rules_unref(rules);

    /* a rule that does not apply anyway does not look */
    more_results = false;
    rules = tool_rules(LOG("x"), ",\"enabled\":false");
    reads = 0;
    expect(rules, NULL, HAI_VERDICT_PASS, 0, "t:disabled ");
    assert_int_equal(reads, 0);
    hai_rules_unref(rules);
}

static void test_unknown_tool(void **state) {
    struct hai_rules *rules = tool_rules(BLOCK("no"), BLOCKING);

    (void) state;
    set_result(0, "c1", "bash", NULL);
    expect(rules, NULL, HAI_VERDICT_PASS, 0, "t:toolName ");
    set_result(1, "c2", NULL, NULL);
    expect(rules, NULL, HAI_VERDICT_REFUSED, 0, "t:toolName t!no ");
    hai_rules_unref(rules);

    /* one that only adds a message does not take it for its tool */
    rules = tool_rules(BLOCK("no"), "");
    expect(rules, NULL, HAI_VERDICT_PASS, 0, "t:toolName t:toolName ");
    hai_rules_unref(rules);
}

/* Reports come once for a result; changes and refusals each time. */
static void test_seen(void **state) {
    struct hai_evaluate_memory memory = {.seen = hai_seen_new(64)};
    struct hai_rules *rules = tool_rules(LOG("x"), "");

    (void) state;
    assert_non_null(memory.seen);
    set_result(0, "c1", "read", NULL);
    expect(rules, &memory, HAI_VERDICT_PASS, 0, "t!x ");
    expect(rules, &memory, HAI_VERDICT_PASS, 0, "t:seen ");
    set_result(1, "c2", "read", NULL);
    expect(rules, &memory, HAI_VERDICT_PASS, 0, "t:seen t!x ");

    /* an id that is used again is another call's, if that does anything else */
    set_result(0, "c1", "read", "{\"path\":\"a\"}");
    set_result(1, "c1", "read", "{\"path\":\"b\"}");
    expect(rules, &memory, HAI_VERDICT_PASS, 0, "t!x t!x ");
    expect(rules, &memory, HAI_VERDICT_PASS, 0, "t:seen t:seen ");
    hai_rules_unref(rules);

    rules = tool_rules(APPEND("x"), "");
    expect(rules, &memory, HAI_VERDICT_CHANGES, 2, "t! t! ");
    expect(rules, &memory, HAI_VERDICT_CHANGES, 2, "t! t! ");
    hai_rules_unref(rules);
    rules = tool_rules(BLOCK("x"), BLOCKING);
    expect(rules, &memory, HAI_VERDICT_REFUSED, 0, "t!x ");
    expect(rules, &memory, HAI_VERDICT_REFUSED, 0, "t!x ");
    hai_rules_unref(rules);

    /* events without a call are no results, and never "seen" */
    rules = MAKE({"m", "chat.message", LOG("x"), NULL});
    expect(rules, &memory, HAI_VERDICT_PASS, 0, "m!x ");
    expect(rules, &memory, HAI_VERDICT_PASS, 0, "m!x ");
    hai_rules_unref(rules);
    hai_seen_free(memory.seen);
}

static void test_cooldown(void **state) {
    struct hai_evaluate_memory memory = {.cooldown = hai_cooldown_new(64),
                                         .now_ms = 1000};
    struct hai_rules *rules =
        MAKE({"a", "chat.message", LOG("x"), ",\"cooldownMs\":500"});

    (void) state;
    assert_non_null(memory.cooldown);
    expect(rules, &memory, HAI_VERDICT_PASS, 0, "a!x ");
    memory.now_ms = 1499;
    expect(rules, &memory, HAI_VERDICT_PASS, 0, "a:cooldown ");
    memory.now_ms = 1500;
    expect(rules, &memory, HAI_VERDICT_PASS, 0, "a!x ");
    hai_rules_unref(rules);
    hai_cooldown_free(memory.cooldown);
}

static void test_depth(void **state) {
    struct hai_rules *rules =
        MAKE({"a", "chat.message", LOG("x"), NULL},
             {"b", "chat.message", LOG("x"), ",\"maxDepth\":2"});

    (void) state;
    request.facts.depth = 2;
    expect(rules, NULL, HAI_VERDICT_PASS, 0, "a:maxDepth b!x ");
    hai_rules_unref(rules);
}

static void test_plan(void **state) {
    struct hai_rules *rules = MAKE(
        {"a", "chat.system.transform", APPEND("{{model}}"), NULL},
        {"b", "chat.params", SET, NULL}, {"c", "session.error", LOG("x"), NULL},
        {"d", "chat.message", LOG("x"), ",\"enabled\":false"});

    (void) state;
    expect_plan(rules, HAI_VERDICT_CHANGES, 2, "");
    request.api = HAI_API_OTHER;
    expect_plan(rules, HAI_VERDICT_CHANGES, 1, "");
    hai_rules_unref(rules);

    rules = MAKE({"a", "chat.system.transform", APPEND("x"), NULL});
    expect_plan(rules, HAI_VERDICT_PASS, 0, "");
    request.api = HAI_API_OPENAI_CHAT;
    expect_plan(rules, HAI_VERDICT_CHANGES, 1, "");
    hai_rules_unref(rules);
}

/* One rule that has to see the request, and all of them are asked each time. */
static void test_plan_ask(void **state) {
    static const struct entry table[] = {
        {"b", "chat.message", LOG("x"), NULL},
        {"b", "chat.message", BLOCK("x"), BLOCKING},
        {"b", "chat.message", BLOCK("x"), NULL},
        {"b", "chat.message", APPEND("x"), ",\"cooldownMs\":1"},
        {"b", "tool.execute.after", APPEND("x"), NULL},
    };
    struct hai_rules *rules;
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        rules = MAKE({"a", "chat.message", APPEND("x"), NULL}, table[i]);
        expect_plan(rules, HAI_VERDICT_ASK_BODY, 0, "");
        hai_rules_unref(rules);
    }

    /* whatever the tool is */
    rules = tool_rules(LOG("x"), "");
    expect_plan(rules, HAI_VERDICT_ASK_BODY, 0, "");
    request.api = HAI_API_OPENAI_COMPLETIONS;
    expect_plan(rules, HAI_VERDICT_PASS, 0, "");
    hai_rules_unref(rules);
}

/* Only where no rule that may apply looks at the model. */
static void test_plan_any_model(void **state) {
    static const struct {
        const char *trigger; /* further filters of a rule about models */
        bool any;
    } table[] = {
        {"\"event\":\"chat.message\",\"models\":[\"other\"]", false},
        {"\"event\":\"chat.params\",\"models\":[\"m\"]", false},
        {"\"event\":\"tool.execute.after\",\"models\":[\"o\"]", false},
        {"\"event\":\"session.idle\",\"models\":[\"other\"]", true},
        {"\"event\":\"chat.message\",\"models\":[\"o\"],"
         "\"containers\":[\"else\"]",
         true},
        {"\"event\":\"chat.message\"", true},
    };
    static const struct hai_rule_report report = {say, NULL};
    struct hai_evaluation e;
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        static const char a[] =
            "{\"id\":\"a\",\"trigger\":{\"event\":\"chat.message\"},"
            "\"action\":{\"type\":\"log\",\"content\":\"{{model}}\"}}";
        struct hai_rule_overlay overlay[2] = {{"a", 1, a, strlen(a)}};
        struct hai_rules *rules;
        char b[256];

        snprintf(b, sizeof(b),
                 "{\"id\":\"b\",\"trigger\":{%s},\"action\":{\"type\":"
                 "\"log\",\"content\":\"x\"}}",
                 table[i].trigger);
        overlay[1] = (struct hai_rule_overlay){"b", 1, b, strlen(b)};
        rules = hai_rules_load(NULL, overlay, 2, &report);
        assert_non_null(rules);

        hai_evaluate_plan(&e, rules, &request, NULL);
        assert_int_equal(e.verdict, HAI_VERDICT_ASK_BODY);
        assert_int_equal(e.any_model, table[i].any);
        hai_evaluation_free(&e);
        hai_rules_unref(rules);
    }

    /* edits are of one model */
    {
        struct hai_rules *rules =
            MAKE({"a", "chat.message", APPEND("x"), NULL});

        hai_evaluate_plan(&e, rules, &request, NULL);
        assert_int_equal(e.verdict, HAI_VERDICT_CHANGES);
        assert_false(e.any_model);
        hai_evaluation_free(&e);
        hai_rules_unref(rules);
    }
}

/* More than fits into a plan: the texts come with each request instead. */
static void test_plan_size(void **state) {
    static char text[60000];
    static const struct hai_rule_report report = {say, NULL};
    struct hai_rule_overlay overlay[3];
    static const char *const ids[] = {"a", "b", "c"};
    static char json[3][70000];
    struct hai_rules *rules;
    size_t i;

    (void) state;
    memset(text, 'x', sizeof(text) - 1);
    for (i = 0; i < 3; i++) {
        snprintf(json[i], sizeof(json[i]),
                 "{\"id\":\"%s\",\"trigger\":{\"event\":\"chat.message\"},"
                 "\"action\":{\"type\":\"append\",\"content\":\"%s\"}}",
                 ids[i], text);
        overlay[i] =
            (struct hai_rule_overlay){ids[i], 1, json[i], strlen(json[i])};
    }
    rules = hai_rules_load(NULL, overlay, 2, &report);
    expect_plan(rules, HAI_VERDICT_CHANGES, 2, "");
    hai_rules_unref(rules);
    rules = hai_rules_load(NULL, overlay, 3, &report);
    expect_plan(rules, HAI_VERDICT_ASK_BODY, 0, "");
    expect(rules, NULL, HAI_VERDICT_CHANGES, 3, "a! b! c! ");
    hai_rules_unref(rules);
}

static void refuse_opaque(const struct hai_rules *rules, const char *text) {
    struct hai_evaluation e;

    hai_evaluate_plan(&e, rules, &request, NULL);
    assert_int_equal(e.verdict, HAI_VERDICT_REFUSED);
    if (text != NULL) {
        assert_string_equal(e.text, text);
    } else {
        assert_non_null(strstr(e.text, "cannot be checked"));
    }
    assert_int_equal(e.len, strlen(e.text));
    hai_evaluation_free(&e);
}

static void test_opaque(void **state) {
    struct hai_rules *rules = MAKE({"a", "chat.message", LOG("x"), NULL},
                                   {"b", "session.error", LOG("x"), NULL},
                                   {"c", "tool.execute.after", LOG("x"), NULL});

    (void) state;
    request.opaque = true;
    request.api = HAI_API_OTHER;
    expect_plan(rules, HAI_VERDICT_PASS, 0, "a:api b:api c:api ");
    hai_rules_unref(rules);

    rules = MAKE({"a", "chat.system.transform", APPEND("x"), NULL});
    refuse_opaque(rules, NULL);
    hai_rules_unref(rules);
    rules = MAKE({"a", "chat.params", SET, NULL});
    refuse_opaque(rules, NULL);
    hai_rules_unref(rules);
    rules =
        MAKE({"a", "chat.message", BLOCK("not {{container.name}}"), BLOCKING});
    refuse_opaque(rules, "not web");
    hai_rules_unref(rules);

    /* what tools have said, and to which model, may be in it */
    rules = tool_rules(BLOCK("x"), BLOCKING);
    refuse_opaque(rules, NULL);
    rules->rule[0].models.item = calloc(1, sizeof(char *));
    assert_non_null(rules->rule[0].models.item);
    rules->rule[0].models.item[0] = strdup("other");
    rules->rule[0].models.n = 1;
    refuse_opaque(rules, NULL);
    hai_rules_unref(rules);

    rules = MAKE({"a", "chat.message", APPEND("x"), ",\"enabled\":false"});
    expect_plan(rules, HAI_VERDICT_PASS, 0, "a:disabled ");
    hai_rules_unref(rules);
}

static void test_event(void **state) {
    struct hai_rules *rules = MAKE(
        {"a", "chat.message", APPEND("x"), NULL},
        {"b", "session.error", LOG("{{container.name}}"), NULL},
        {"c", "session.idle", LOG("x"), NULL},
        {"d", "session.error", "\"webhook\",\"url\":\"https://example.com/\"",
         ",\"cooldownMs\":10"});
    struct hai_rule_facts facts = {
        .container = SLICE("web"), .event = HAI_EV_ERROR, .depth = 1};
    struct hai_evaluate_memory memory = {.cooldown = hai_cooldown_new(8),
                                         .now_ms = 1};

    (void) state;
    assert_non_null(memory.cooldown);
    heard[0] = '\0';
    assert_int_equal(hai_evaluate_event(rules, &facts, &memory, &hooks), 0);
    assert_string_equal(heard, "b!web c:event d! ");
    heard[0] = '\0';
    assert_int_equal(hai_evaluate_event(rules, &facts, &memory, &hooks), 0);
    assert_string_equal(heard, "b!web c:event d:cooldown ");
    hai_rules_unref(rules);
    hai_cooldown_free(memory.cooldown);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_order, set_up),
        cmocka_unit_test_setup(test_apis, set_up),
        cmocka_unit_test_setup(test_refusal, set_up),
        cmocka_unit_test_setup(test_tools, set_up),
        cmocka_unit_test_setup(test_unknown_tool, set_up),
        cmocka_unit_test_setup(test_seen, set_up),
        cmocka_unit_test_setup(test_cooldown, set_up),
        cmocka_unit_test_setup(test_depth, set_up),
        cmocka_unit_test_setup(test_plan, set_up),
        cmocka_unit_test_setup(test_plan_ask, set_up),
        cmocka_unit_test_setup(test_plan_any_model, set_up),
        cmocka_unit_test_setup(test_plan_size, set_up),
        cmocka_unit_test_setup(test_opaque, set_up),
        cmocka_unit_test_setup(test_event, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
