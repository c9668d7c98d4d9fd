/* SOURCES: fcgi-backend/lib/rules_match.c */

/*
 * Which rules apply: patterns, filters, and what is the same for every body.
 */

#include "lib/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void test_glob(void **state) {
    static const struct {
        const char *pattern, *text;
        bool match;
    } table[] = {
        {"a", "a", true},
        {"a", "A", false},
        {"a", "", false},
        {"*", "", true},
        {"*", "abc", true},
        {"a*", "a", true},
        {"a*c", "abbc", true},
        {"a*c", "abbd", false},
        {"?", "a", true},
        {"?", "", false},
        {"a?c", "abc", true},
        {"*-prod-*", "x-prod-1", true},
        {"*-prod-*", "x-pro", false},
        {"**a", "ba", true},
        {"[a]", "a", false},
        {"[a]", "[a]", true},
        {"*aab", "aaaab", true},
        {"a*b*c", "a-c-b-c", true},
        {"", "", true},
        {"", "a", false},
    };
    size_t i;

    (void) state;
    for (i = 0; i < COUNT(table); i++) {
        if (hai_rule_glob(table[i].pattern, table[i].text,
                          strlen(table[i].text))
            != table[i].match)
        {
            fail_msg("\"%s\" and \"%s\"", table[i].pattern, table[i].text);
        }
    }
}

#define SLICE(s)                                                               \
    {                                                                          \
        (s), sizeof(s) - 1                                                     \
    }

static void expect(const struct hai_rule *rule,
                   const struct hai_rule_facts *facts, const char *filter) {
    const char *why = "";

    assert_int_equal(hai_rule_applies(rule, facts, &why), filter == NULL);
    if (filter == NULL) {
        assert_null(why);
    } else {
        assert_string_equal(why, filter);
    }
}

static char *tags[] = {"prod", "eu"};
static char *containers[] = {"customer-*"};
static char *models[] = {"a/*", "b"};

static void test_filters(void **state) {
    struct hai_rule whole = {
        .id = "a",
        .enabled = true,
        .event = HAI_EV_TOOL_AFTER,
        .tags = {tags, 2},
        .containers = {containers, 1},
        .models = {models, 2},
        .tool = "Bash",
        .action = HAI_ACT_LOG,
        .content = "x",
        .max_depth = 2,
    };
    struct hai_rule *rule = &whole;
    struct hai_rule_facts facts = {.container = SLICE("customer-1"),
                                   .tags = SLICE("x eu"),
                                   .model = SLICE("a/1"),
                                   .tool = SLICE("bASH"),
                                   .event = HAI_EV_TOOL_AFTER,
                                   .depth = 2};
    struct hai_rule_facts f;

    (void) state;
    expect(rule, &facts, NULL);

    f = facts;
    f.event = HAI_EV_TOOL_BEFORE;
    expect(rule, &f, "event");
    f = facts;
    f.tags = (struct hai_slice) SLICE("production euro");
    expect(rule, &f, "tags");
    f.tags = (struct hai_slice){NULL, 0};
    expect(rule, &f, "tags");
    f = facts;
    f.container = (struct hai_slice) SLICE("Customer-1");
    expect(rule, &f, "containers");
    f = facts;
    f.model = (struct hai_slice) SLICE("c");
    expect(rule, &f, "models");
    f.model.len = 0; /* the provider's choice: it may be any */
    expect(rule, &f, NULL);
    f = facts;
    f.tool = (struct hai_slice) SLICE("bashful");
    expect(rule, &f, "toolName");
    f.tool = (struct hai_slice) SLICE("bas");
    expect(rule, &f, "toolName");
    f.tool = (struct hai_slice){NULL, 0};
    expect(rule, &f, "toolName");
    f = facts;
    f.depth = 3;
    expect(rule, &f, "maxDepth");

    /* a name that is not known */
    f = facts;
    f.tool = (struct hai_slice) SLICE("");
    expect(rule, &f, "toolName");
    rule->action = HAI_ACT_MESSAGE;
    rule->blocking = true;
    expect(rule, &f, NULL);

    rule->enabled = false;
    expect(rule, &facts, "disabled");
}

static void test_static(void **state) {
    struct hai_rule rule = {.event = HAI_EV_SYSTEM, .action = HAI_ACT_APPEND};

    (void) state;
    assert_true(hai_rule_is_static(&rule));
    rule.cooldown_ms = 1;
    assert_false(hai_rule_is_static(&rule));
    rule.cooldown_ms = 0;
    rule.action = HAI_ACT_LOG;
    assert_false(hai_rule_is_static(&rule));
    rule.action = HAI_ACT_MESSAGE;
    assert_false(hai_rule_is_static(&rule));
    rule.action = HAI_ACT_SET;
    assert_true(hai_rule_is_static(&rule));
    rule.event = HAI_EV_TOOL_AFTER;
    assert_false(hai_rule_is_static(&rule));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_glob),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_static),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
