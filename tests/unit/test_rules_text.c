/* SOURCES: fcgi-backend/lib/rules.c fcgi-backend/lib/rules_text.c */
/* SOURCES: fcgi-backend/lib/rules_memory.c fcgi-backend/lib/locate.c */
/* SOURCES: common/hai_json.c common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */
/* LIBS: -ljansson -lcrypto -lpthread */

/*
 * The texts of rules: which templates there are, what stands for what, where a
 * text is cut; changes; and what is remembered of firings.
 */

#include "lib/evaluate.h"
#include "lib/rules_internal.h"

#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define LARGE_INPUTS 64

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define SLICE(s)                                                               \
    {                                                                          \
        (s), sizeof(s) - 1                                                     \
    }

static struct hai_rule_facts facts = {
    .container = SLICE("web-1"),
    .container_id = SLICE("0123"),
    .model = SLICE("openai/gpt-4o"),
    .tool = SLICE("Read"),
    .input = SLICE("{\"path\":\"/a b\\n\\u00fc\",\"n\":1.50,\"list\":[1,"
                   "{\"x\":true,\"a.b\":1}],\"none\":null,\"\":3,"
                   "\"\\u0061\":\"escaped key\"}"),
    .event = HAI_EV_TOOL_AFTER,
    .depth = 1,
};

static void check(const char *content, const char *expected) {
    struct hai_rule rule = {.content = (char *) content};
    size_t len;
    char *text = hai_rule_text(&rule, &facts, 4096, &len);

    assert_non_null(text);
    assert_int_equal(len, strlen(text));
    assert_string_equal(text, expected);
    free(text);
}

static void test_variables(void **state) {
    (void) state;
    check("plain", "plain");
    check("", "");
    check("{{container.name}} {{container.id}}", "web-1 0123");
    check("{{ model }}{{event}}", "openai/gpt-4otool.execute.after");
    check("{{tool.name}}!", "Read!");
    check("a {{{{model}} b", "a {{model}} b");
    check("{ {x} }}", "{ {x} }}");
}

static void test_input(void **state) {
    (void) state;
    check("{{tool.input.path}}", "/a b\n\xC3\xBC");
    check("{{tool.input.n}}", "1.50");
    check("{{tool.input.list}}", "[1,{\"x\":true,\"a.b\":1}]");
    check("{{tool.input.list.0}}", "1");
    check("{{tool.input.list.1.x}}", "true");
    check("{{tool.input.none}}", "null");
    check("{{tool.input.a}}", "escaped key");
    check("[{{tool.input.list.2}}]", "[]");
    check("[{{tool.input.list.-1}}]", "[]");
    check("[{{tool.input.list.x}}]", "[]");
    check("[{{tool.input.missing.deep}}]", "[]");
    check("[{{tool.input.n.deep}}]", "[]");
    check("[{{tool.input.path.0}}]", "[]");
}

/* What a model wrote as the input of a tool need not be JSON. */
static void test_broken_input(void **state) {
    struct hai_slice whole = facts.input;

    (void) state;
    facts.input = (struct hai_slice) SLICE("{\"path\":\"/a");
    check("{{tool.input}}", "{\"path\":\"/a");
    check("[{{tool.input.path}}]", "[]");
    facts.input = (struct hai_slice) SLICE("\"text\"");
    check("[{{tool.input.path}}]", "[]");
    facts.input = (struct hai_slice) SLICE(" ");
    check("[{{tool.input.path}}]", "[]");
    facts.input = (struct hai_slice){NULL, 0};
    check("[{{tool.input}}{{tool.input.path}}]", "[]");
    facts.input = whole;
}

/*
 * Inputs of many small values, each as long as one may be: what a caller sends
 * in one request.  Trees of them would take seconds: it is far
 * cheaper than that.
 */
static void test_large_input(void **state) {
    static char text[65536];
    struct hai_slice whole = facts.input;
    clock_t begin, trees;
    size_t i, len;

    (void) state;
    len = (size_t) sprintf(text, "{\"list\":[");
    while (len < sizeof(text) - 16) {
        len += (size_t) sprintf(text + len, "{},");
    }
    len += (size_t) sprintf(text + len, "{}],\"x\":\"y\"}");
    facts.input = (struct hai_slice){text, len};

    begin = clock();
    for (i = 0; i < LARGE_INPUTS; i++) {
        json_decref(json_loadb(text, len, 0, NULL));
    }
    trees = clock() - begin;

    begin = clock();
    for (i = 0; i < LARGE_INPUTS; i++) {
        check("{{tool.input.x}}", "y");
    }
    assert_true(clock() - begin < trees / 2);
    facts.input = whole;
}

/* Values are put in as they are: what looks like a template is none. */
static void test_no_second_turn(void **state) {
    struct hai_slice container = facts.container;

    (void) state;
    facts.container = (struct hai_slice) SLICE("{{model}}");
    check("{{container.name}}", "{{model}}");
    facts.container = container;
}

static void test_cut(void **state) {
    struct hai_rule rule = {.content = "ab\xC3\xBC\xE2\x82\xAC{{model}}"};
    static const size_t lens[] = {0, 1, 2, 2, 4, 4, 4, 7, 8};
    size_t max, len;

    (void) state;
    for (max = 0; max < COUNT(lens); max++) {
        char *text = hai_rule_text(&rule, &facts, max, &len);

        assert_non_null(text);
        assert_int_equal(len, lens[max]);
        assert_int_equal(strlen(text), len);
        free(text);
    }
}

static void test_check(void **state) {
    static const struct {
        const char *text;
        enum hai_rule_event event;
        const char *bad; /* NULL: right */
    } table[] = {
        {"{{model}} {{event}}", HAI_EV_IDLE, NULL},
        {"{{container.name}} {{container.id}}", HAI_EV_SYSTEM, NULL},
        {"{{{{anything}}", HAI_EV_SYSTEM, NULL},
        {"x }} y", HAI_EV_SYSTEM, NULL},
        {"{{tool.name}}", HAI_EV_TOOL_BEFORE, NULL},
        {"{{tool.name}}", HAI_EV_TOOL_AFTER, NULL},
        {"{{tool.name}}", HAI_EV_ERROR, "{{tool.name}}"},
        {"{{tool.input}}", HAI_EV_TOOL_AFTER, NULL},
        {"{{tool.input.a.0}}", HAI_EV_TOOL_AFTER, NULL},
        {"{{tool.input}}", HAI_EV_TOOL_BEFORE, "{{tool.input}}"},
        {"{{tool.input.}}", HAI_EV_TOOL_AFTER, "{{tool.input.}}"},
        {"{{tool.input..a}}", HAI_EV_TOOL_AFTER, "{{tool.input..a}}"},
        {"{{tool.input.a.}}", HAI_EV_TOOL_AFTER, "{{tool.input.a.}}"},
        {"{{tool.inputs}}", HAI_EV_TOOL_AFTER, "{{tool.inputs}}"},
        {"a {{Model}} b", HAI_EV_SYSTEM, "{{Model}}"},
        {"{{}}", HAI_EV_SYSTEM, "{{}}"},
        {"{{model}", HAI_EV_SYSTEM, "{{model}"},
        {"{{model {{event}}", HAI_EV_SYSTEM, "{{model {{event}}"},
    };
    const char *reason, *bad;
    size_t i, len;

    (void) state;
    for (i = 0; i < COUNT(table); i++) {
        reason =
            hai_rules_template_check(table[i].text, table[i].event, &bad, &len);
        if ((reason != NULL) != (table[i].bad != NULL)) {
            fail_msg("%s: %s", table[i].text, reason != NULL ? reason : "ok");
        }
        if (reason != NULL) {
            assert_int_equal(len, strlen(table[i].bad));
            assert_memory_equal(bad, table[i].bad, len);
        }
    }
}

static void test_change(void **state) {
    struct hai_rule rule = {.action = HAI_ACT_APPEND,
                            .content = "by {{model}}"};
    struct hai_change change;
    char *text;

    (void) state;
    assert_int_equal(hai_rule_change(&rule, &facts, &change, &text), 0);
    assert_int_equal(change.op, HAI_CHANGE_APPEND);
    assert_int_equal(change.text.len, strlen("by openai/gpt-4o"));
    assert_ptr_equal(change.text.data, text);
    assert_null(change.field.data);
    free(text);

    rule = (struct hai_rule){
        .action = HAI_ACT_SET, .field = "max_tokens", .max = "4096"};
    assert_int_equal(hai_rule_change(&rule, &facts, &change, &text), 0);
    assert_int_equal(change.op, HAI_CHANGE_SET);
    assert_null(text);
    assert_int_equal(change.max.len, 4);
    assert_null(change.min.data);
    assert_null(change.value.data);

    rule.remove = true;
    assert_int_equal(hai_rule_change(&rule, &facts, &change, &text), 0);
    assert_int_equal(change.op, HAI_CHANGE_REMOVE);
}

/* A guardrail is never cut: beyond the ceiling there is none, and so no
 * answer. */
static void test_change_too_long(void **state) {
    struct hai_slice whole = facts.input;
    struct hai_rule rule = {.action = HAI_ACT_PREPEND};
    size_t unit = strlen("{{tool.input}}"), i, n = 20;
    char *content = calloc(n, unit + 1), *input = malloc(65536), *text;
    struct hai_change change;

    (void) state;
    assert_non_null(content);
    assert_non_null(input);
    for (i = 0; i < n; i++) {
        strcat(content, "{{tool.input}}");
    }
    memset(input, 'x', 65536);
    facts.input = (struct hai_slice){input, 65536};
    rule.content = content;
    assert_int_equal(hai_rule_change(&rule, &facts, &change, &text), -1);
    assert_null(text);
    content[16 * unit] = '\0';
    assert_int_equal(hai_rule_change(&rule, &facts, &change, &text), 0);
    assert_int_equal(change.text.len, 1024 * 1024);
    free(text);
    facts.input = whole;
    free(content);
    free(input);
}

static const struct hai_slice a = SLICE("a"), b = SLICE("b");

static void test_cooldown(void **state) {
    struct hai_cooldown *c = hai_cooldown_new(64);
    struct hai_rule rule = {.id = "r", .cooldown_ms = 1000};
    struct hai_rule other = {.id = "s", .cooldown_ms = 1000};
    struct hai_rule none = {.id = "t"};

    (void) state;
    assert_non_null(c);
    assert_true(hai_cooldown_take(c, &rule, a, 5000));
    assert_false(hai_cooldown_take(c, &rule, a, 5000));
    assert_false(hai_cooldown_take(c, &rule, a, 5999));
    assert_true(hai_cooldown_take(c, &rule, b, 5000));
    assert_true(hai_cooldown_take(c, &other, a, 5000));
    assert_true(hai_cooldown_take(c, &rule, a, 6000));
    assert_true(hai_cooldown_take(c, &none, a, 6000));
    assert_true(hai_cooldown_take(c, &none, a, 6000));

    /* a thread whose clock was read before another one fired */
    assert_false(hai_cooldown_take(c, &rule, a, 4000));

    /* a shorter pause counts at once */
    rule.cooldown_ms = 10;
    assert_true(hai_cooldown_take(c, &rule, a, 6010));
    hai_cooldown_free(c);
    hai_cooldown_free(NULL);
}

static bool take(struct hai_seen *s, const struct hai_rule *rule,
                 struct hai_slice container, struct hai_slice call) {
    struct hai_rule_facts facts = {.container = container};

    return hai_seen_take(s, rule, &facts, call);
}

/* A full table forgets, it never says no. */
static void test_full(void **state) {
    struct hai_cooldown *c = hai_cooldown_new(16);
    struct hai_seen *s = hai_seen_new(16);
    struct hai_rule rule = {.id = "r", .cooldown_ms = 1000000};
    char name[16];
    int i;

    (void) state;
    assert_non_null(c);
    assert_non_null(s);
    for (i = 0; i < 1000; i++) {
        struct hai_slice call = {name, (size_t) sprintf(name, "%d", i)};

        assert_true(hai_cooldown_take(c, &rule, call, 1));
        assert_false(hai_cooldown_take(c, &rule, call, 2));
        assert_true(take(s, &rule, a, call));
        assert_false(take(s, &rule, a, call));
    }
    hai_cooldown_free(c);
    hai_seen_free(s);
}

static void test_seen(void **state) {
    struct hai_seen *s = hai_seen_new(64);
    struct hai_rule rule = {.id = "r"}, other = {.id = "s"};
    struct hai_slice none = {NULL, 0};

    (void) state;
    assert_non_null(s);
    assert_true(take(s, &rule, a, b));
    assert_false(take(s, &rule, a, b));
    assert_true(take(s, &other, a, b));
    assert_true(take(s, &rule, b, a));

    /* without an id nothing can be known again */
    assert_true(take(s, &rule, a, none));
    assert_true(take(s, &rule, a, none));
    hai_seen_free(s);
    hai_seen_free(NULL);
}

static void *take_many(void *data) {
    struct hai_rule rule = {.id = "r", .cooldown_ms = 1};
    size_t fired = 0;
    int i;

    for (i = 0; i < 10000; i++) {
        fired += hai_cooldown_take(data, &rule, a, (uint64_t) i);
    }
    return (void *) fired;
}

static void test_threads(void **state) {
    struct hai_cooldown *c = hai_cooldown_new(64);
    pthread_t thread[4];
    void *fired;
    size_t i, all = 0;

    (void) state;
    assert_non_null(c);
    for (i = 0; i < COUNT(thread); i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, take_many, c), 0);
    }
    for (i = 0; i < COUNT(thread); i++) {
        assert_int_equal(pthread_join(thread[i], &fired), 0);
        all += (size_t) fired;
    }
    assert_true(all > 0 && all <= 10000); /* never twice in one millisecond */
    hai_cooldown_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_input),
        cmocka_unit_test(test_broken_input),
        cmocka_unit_test(test_large_input),
        cmocka_unit_test(test_no_second_turn),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_change),
        cmocka_unit_test(test_change_too_long),
        cmocka_unit_test(test_cooldown),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_seen),
        cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
