/* SOURCES: common/hai_facts.c common/hai_json.c common/hai_json_names.c */
/* SOURCES: common/hai_json_skip.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */

/*
 * The line that tells of a scan: there and back for bodies of every kind, and
 * every byte of a line cut off, changed and added once.
 */

#include "hai_facts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void scan(const char *body, struct hai_json_facts *facts) {
    struct hai_json *js = hai_json_new();

    assert_non_null(js);
    assert_int_equal(hai_json_feed(js, body, strlen(body)), HAI_JSON_OK);
    assert_int_equal(hai_json_finish(js), HAI_JSON_OK);
    *facts = *hai_json_facts(js);
    hai_json_free(js);
}

static void there_and_back(void **state) {
    static const struct {
        const char *body;
        const char *line;
    } cases[] = {
        {"{}", "2 0 0 --"},
        {"{\"model\":\"m\"}", "13 9 12 -- m"},
        {"{\"stream\":true,\"model\":\"openai/gpt-4o\"}",
         "39 23 38 s- openai/gpt-4o"},
        {"{\"stream\":false,\"model\":\"\\u006d\"}", "33 24 32 -- m"},
        {"{\"model\":\"a\\\"b\"}", "16 9 15 -- a\"b"},
        {"{\"x\":{\"file_id\":1}}", "19 0 0 -r"},
        {"{\"previous_response_id\":\"r\"}", "28 0 0 -r"},
        {"{\"conversation\":null}", "21 0 0 -r"},
        {"{\"prompt\":{}}", "13 0 0 -r"},
        {"{\"prompt\":\"p\"}", "14 0 0 --"},
        {"{\"stream\":true,\"prompt\":{}}", "27 0 0 sr"},
    };

    (void) state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t size = strlen(cases[i].body);
        struct hai_json_facts facts, read;
        char line[HAI_FACTS_LINE];
        size_t n;

        scan(cases[i].body, &facts);
        n = hai_facts_write(&facts, size, line);
        assert_string_equal(line, cases[i].line);
        assert_int_equal(n, strlen(line));

        assert_true(hai_facts_read(&read, size, line, n));
        assert_int_equal(read.stream, facts.stream);
        assert_int_equal(hai_facts_stored(&read), hai_facts_stored(&facts));
        assert_int_equal(read.model_len, facts.model_len);
        assert_string_equal(read.model, facts.model);
        assert_memory_equal(&read.top[HAI_KEY_MODEL].start,
                            &facts.top[HAI_KEY_MODEL].start, sizeof(uint64_t));
        assert_memory_equal(&read.top[HAI_KEY_MODEL].end,
                            &facts.top[HAI_KEY_MODEL].end, sizeof(uint64_t));

        assert_false(hai_facts_read(&read, size + 1, line, n));
        assert_false(hai_facts_read(&read, size - 1, line, n));
    }
}

static void longest(void **state) {
    struct hai_json_facts facts = {0};
    char line[HAI_FACTS_LINE];

    (void) state;

    facts.stream = true;
    facts.file_id = true;
    facts.model_len = HAI_JSON_MAX_MODEL;
    memset(facts.model, 'm', facts.model_len);
    facts.top[HAI_KEY_MODEL].start = UINT64_MAX;
    facts.top[HAI_KEY_MODEL].end = UINT64_MAX;

    assert_int_equal(hai_facts_write(&facts, UINT64_MAX, line),
                     HAI_FACTS_LINE - 1);
}

/* A header cannot carry these as they are, so nothing is said. */
static void not_said(void **state) {
    static const char *const models[] = {" m",       "m ",   "a b",
                                         "\xc3\xa9", "\x7f", "m\n"};
    char line[HAI_FACTS_LINE];

    (void) state;

    for (size_t i = 0; i < COUNT(models); i++) {
        struct hai_json_facts facts = {0};

        facts.model_len = strlen(models[i]);
        memcpy(facts.model, models[i], facts.model_len);
        assert_int_equal(hai_facts_write(&facts, 100, line), 0);
    }
}

static void refused(void **state) {
    static const char *const lines[] = {
        "",
        " ",
        "20",
        "20 ",
        "20 0 0",
        "20 0 0 ",
        "20 0 0 -",
        "20 0 0 --s",
        "20 0 0 -- ",
        "20 0 0 -- m",
        "20 0 0 S-",
        "20 0 0 rs",
        " 20 0 0 --",
        "020 0 0 --",
        "20 00 0 --",
        "+20 0 0 --",
        "20  0 0 --",
        "20 1 5 --",
        "20 9 12 -- mm",
        "20 9 12 --  m",
        "20 9 12 -- m ",
        "20 12 9 -- m",
        "20 9 21 -- m",
        "20 9 12 --\tm",
        "20 9 18446744073709551628 -- m",
        "20 9 99999999999999999999 -- m",
    };
    struct hai_json_facts facts;
    char line[HAI_FACTS_LINE + 8];
    size_t n;

    (void) state;

    for (size_t i = 0; i < COUNT(lines); i++) {
        if (hai_facts_read(&facts, 20, lines[i], strlen(lines[i]))) {
            fail_msg("\"%s\" was taken", lines[i]);
        }
    }

    n = (size_t) snprintf(line, sizeof(line), "600 9 300 -- ");
    memset(line + n, 'm', HAI_JSON_MAX_MODEL + 1);
    assert_true(hai_facts_read(&facts, 600, line, n + HAI_JSON_MAX_MODEL));
    assert_false(hai_facts_read(&facts, 600, line, n + HAI_JSON_MAX_MODEL + 1));
}

/* Whatever a byte is changed to, nothing beyond the body is believed. */
static void changed(void **state) {
    static const char line[] = "20 9 12 s- m";
    size_t len = sizeof(line) - 1;
    struct hai_json_facts facts;
    char copy[sizeof(line)];

    (void) state;

    for (size_t i = 0; i < len; i++) {
        for (int c = 0; c < 256; c++) {
            memcpy(copy, line, len);
            copy[i] = (char) c;

            if (hai_facts_read(&facts, 20, copy, len)) {
                assert_true(facts.top[HAI_KEY_MODEL].end <= 20);
                assert_true(facts.model_len <= 1);
            }
        }

        assert_false(hai_facts_read(&facts, 20, line, i));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back), cmocka_unit_test(longest),
        cmocka_unit_test(not_said),       cmocka_unit_test(refused),
        cmocka_unit_test(changed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
