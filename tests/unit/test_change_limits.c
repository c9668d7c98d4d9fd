/* SOURCES: common/hai_change.c common/hai_change_find.c */
/* SOURCES: common/hai_change_put.c common/hai_change_set.c */
/* SOURCES: common/hai_change_text.c common/hai_walk.c common/hai_edit.c */
/* SOURCES: common/hai_json.c common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: tests/unit/change_model.c tests/unit/change_run.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */
/* LIBS: -ljansson */

/* What changes refuse, escape, compare, and how much of it they take. */

#include "change_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void fields_refused(void **state) {
    static const char *const refused[] = {"messages",
                                          "system",
                                          "instructions",
                                          "input",
                                          "prompt",
                                          "stream",
                                          "Model",
                                          "MESSAGES",
                                          "\xc5\xbftream",
                                          "",
                                          "model\xff",
                                          "\xed\xa0\x80",
                                          "s\xc4\xb1ystem\xc0",
                                          "to\x80"};
    static const char *const allowed[] = {
        "model", "tools", "max_tokens", "conversation",
        "x",     "a\"b",  "\xc3\xa9",   "Temperature"};
    struct hai_change change = {.op = HAI_CHANGE_SET, .value = {"1", 1}};
    char name[HAI_CHANGE_FIELD_MAX + 1];

    (void) state;

    for (size_t i = 0; i < COUNT(refused); i++) {
        assert_false(hai_change_field_valid(refused[i], strlen(refused[i])));
        change.field = (struct hai_slice){refused[i], strlen(refused[i])};
        change.op = i % 2 ? HAI_CHANGE_SET : HAI_CHANGE_REMOVE;
        assert_null(change_text("{\"x\":1}", OTHER, &change, 1));
    }
    for (size_t i = 0; i < COUNT(allowed); i++) {
        assert_true(hai_change_field_valid(allowed[i], strlen(allowed[i])));
    }

    assert_false(hai_change_field_valid("model\0", 6));
    assert_false(hai_change_field_valid("mo\0del", 6));
    memset(name, 'x', sizeof(name));
    assert_true(hai_change_field_valid(name, sizeof(name) - 1));
    assert_false(hai_change_field_valid(name, sizeof(name)));
}

static void texts_refused(void **state) {
    static const char *const refused[] = {"\xff",         "a\xc3",
                                          "\xed\xa0\x80", "\xc0\x80",
                                          "\x80",         "\xf4\x90\x80\x80"};
    static const enum hai_change_op ops[] = {
        HAI_CHANGE_APPEND, HAI_CHANGE_PREPEND, HAI_CHANGE_MESSAGE};
    struct hai_change change = {.op = HAI_CHANGE_APPEND};

    (void) state;

    for (size_t i = 0; i < COUNT(refused); i++) {
        change.text = (struct hai_slice){refused[i], strlen(refused[i])};
        for (size_t k = 0; k < COUNT(ops); k++) {
            change.op = ops[k];
            assert_null(change_text("{\"messages\":[]}", CHAT, &change, 1));
            assert_null(
                change_text("{\"prompt\":\"\"}", COMPLETIONS, &change, 1));
        }
    }
}

/* Every byte below the space, and what else is escaped. */
static void escapes(void **state) {
    static const char all[] =
        "\0\1\2\3\4\5\6\7\b\t\n\v\f\r\16\17\20\21\22\23\24\25\26\27\30\31"
        "\32\33\34\35\36\37 !\"/\\\x7f\xc3\xa9";
    static const char expected[] =
        "{\"system\":\"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006"
        "\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f\\u0010\\u0011\\u0012"
        "\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b"
        "\\u001c\\u001d\\u001e\\u001f !\\\"/\\\\\x7f\xc3\xa9\"}";
    struct hai_change change = {.op = HAI_CHANGE_APPEND,
                                .text = {all, sizeof(all) - 1}};
    char *result, *again;

    (void) state;

    result = change_text("{}", ANTHROPIC, &change, 1);
    assert_string_equal(result, expected);

    /* and it is found again, from both sides */
    again = change_text(result, ANTHROPIC, &change, 1);
    assert_string_equal(again, expected);
    free(again);
    change.op = HAI_CHANGE_PREPEND;
    again = change_text(result, ANTHROPIC, &change, 1);
    assert_string_equal(again, expected);
    free(again);
    free(result);
}

/* Numbers are compared as they are written, not as a double holds them. */
static void numbers(void **state) {
    static const struct {
        const char *number;
        const char *max;
        bool beyond;
    } rows[] = {
        {"4096.00000000000000000000000000001", "4096", true},
        {"4096.00000000000000000000000000000", "4096", false},
        {"4095.99999999999999999999999999999", "4096", false},
        {"18446744073709551616", "18446744073709551615", true},
        {"18446744073709551615", "18446744073709551615", false},
        {"1e400", "4096", true},
        {"-1e400", "4096", false},
        {"1e-400", "0", true},
        {"1e-400", "1e-401", true},
        {"1e-401", "1e-400", false},
        {"-1e-400", "0", false},
        {"-0", "0", false},
        {"0", "-0.0e5", false},
        {"0e99999999999999999999", "0", false},
        {"1e99999999999999999999", "1e999999999999", false},
        {"0.001", "1e-3", false},
        {"0.0011", "1e-3", true},
        {"10", "1e1", false},
        {"100E-1", "10", false},
        {"101E-1", "10", true},
        {"-1", "-2", true},
        {"-2", "-1", false},
        {"-10", "-9", false},
        {"5", "-5", true},
        {"-5", "5", false},
        {"123", "1230", false},
        {"1230", "123", true},
        {"9", "10", false},
        /* more than 64 bytes are no number */
        {"0.000000000000000000000000000000000000000000000000000000000000001",
         "5", true},
        {"0.00000000000000000000000000000000000000000000000000000000000001",
         "5", false},
    };
    struct hai_change change = {.op = HAI_CHANGE_SET, .field = {"a", 1}};
    char body[128], expected[128], *result;

    (void) state;

    for (size_t i = 0; i < COUNT(rows); i++) {
        change.max = (struct hai_slice){rows[i].max, strlen(rows[i].max)};
        snprintf(body, sizeof(body), "{\"a\":%s}", rows[i].number);
        snprintf(expected, sizeof(expected), "{\"a\":%s}",
                 rows[i].beyond ? rows[i].max : rows[i].number);
        result = change_text(body, OTHER, &change, 1);
        assert_string_equal(result, expected);
        free(result);
    }
}

/*
 * A million backslashes, and many texts that are compared with them.  It is
 * no measurement: what is not linear takes minutes.
 */
static void backslashes(void **state) {
    enum { N = 1000000, CHANGES = 512 };
    static char text[2048];
    struct hai_change *changes = calloc(CHANGES, sizeof(changes[0]));
    char *body = malloc(N + 64), *result;
    size_t head = strlen("{\"system\":\"");

    (void) state;
    assert_non_null(changes);
    assert_non_null(body);

    memset(text, '\\', sizeof(text));
    strcpy(body, "{\"system\":\"");
    memset(body + head, '\\', N);
    strcpy(body + head + N, "\"}");

    for (size_t i = 0; i < CHANGES; i++) {
        changes[i].op = i % 2 ? HAI_CHANGE_PREPEND : HAI_CHANGE_APPEND;
        changes[i].text = (struct hai_slice){text, 1 + i * 4 % sizeof(text)};
    }
    result = change_text(body, ANTHROPIC, changes, CHANGES);
    assert_string_equal(result, body);
    free(result);

    /* an odd number, the last one is the escape of a letter */
    body[head] = 'y';
    strcpy(body + head + N, "n\"}");
    for (size_t i = 0; i < CHANGES; i++) {
        changes[i].text = (struct hai_slice){"\n", 1};
        changes[i].op = HAI_CHANGE_APPEND;
    }
    result = change_text(body, ANTHROPIC, changes, CHANGES);
    assert_string_equal(result, body);
    free(result);

    free(body);
    free(changes);
}

/* A part with a second key that a reader could take for "text". */
static void doubtful_parts(void **state) {
    static const char *const keys[] = {"tex\\u0000t", "TEXT\\u0000y",
                                       "\\u0000Text", "tEXT"};
    struct hai_change append = {.op = HAI_CHANGE_APPEND, .text = {"a", 1}};
    char body[128], *result;

    (void) state;

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        sprintf(body,
                "{\"system\":[{\"%s\":1,\"type\":\"text\",\"text\":\"a\"}]}",
                keys[i]);
        result = change_text(body, ANTHROPIC, &append, 1);
        assert_non_null(
            strstr(result, "},{\"type\":\"text\",\"text\":\"a\"}]}"));
        free(result);
    }
}

static void ceilings(void **state) {
    struct hai_change *changes =
        calloc(HAI_CHANGES_MAX + 1, sizeof(changes[0]));
    size_t len = 16 + 3 * (HAI_CHANGE_PROMPTS_MAX + 1);
    char *body = malloc(len), *text, *p, *result;

    (void) state;
    assert_non_null(changes);
    assert_non_null(body);

    for (size_t i = 0; i <= HAI_CHANGES_MAX; i++) {
        changes[i].op = HAI_CHANGE_APPEND;
        changes[i].text = (struct hai_slice){i % 2 ? "x" : "y", 1};
    }
    assert_null(change_text("{\"system\":\"\"}", ANTHROPIC, changes,
                            HAI_CHANGES_MAX + 1));
    result =
        change_text("{\"system\":\"\"}", ANTHROPIC, changes, HAI_CHANGES_MAX);
    assert_int_equal(strlen(result), 13 + 5 * HAI_CHANGES_MAX - 4);
    free(result);

    for (size_t n = HAI_CHANGE_PROMPTS_MAX; n <= HAI_CHANGE_PROMPTS_MAX + 1;
         n++) {
        p = body + sprintf(body, "{\"prompt\":[");
        for (size_t i = 0; i < n; i++) {
            p += sprintf(p, "%s\"\"", i ? "," : "");
        }
        strcpy(p, "]}");
        result = change_text(body, COMPLETIONS, changes, 1);
        assert_int_equal(result != NULL, n == HAI_CHANGE_PROMPTS_MAX);
        free(result);
    }

    /* a text for each string: 1 MB in all, with what edits need besides */
    text = calloc(1, HAI_CHANGE_PROMPTS_TEXT + 1);
    assert_non_null(text);
    memset(text, 'x', HAI_CHANGE_PROMPTS_TEXT);
    for (size_t n = 1023; n <= 1025; n++) {
        changes[0].text = (struct hai_slice){text, n - 32};
        p = body + sprintf(body, "{\"prompt\":[\"\"");
        for (size_t i = 1; i < 1024; i++) {
            p += sprintf(p, ",\"\"");
        }
        strcpy(p, "]}");
        result = change_text(body, COMPLETIONS, changes, 1);
        assert_int_equal(result != NULL, n <= 1024);
        free(result);
    }

    free(text);

    free(body);
    free(changes);
}

static void no_memory(void **state) {
    struct hai_change change = {.op = HAI_CHANGE_APPEND, .text = {"abc", 3}};
    static const char text[] = "{\"messages\":[]}";
    struct hai_piece piece = {(const uint8_t *) text, sizeof(text) - 1};
    struct hai_body body = {&piece, 1, piece.len, scanned(), NULL};
    struct hai_edits little;
    const char *why = NULL;

    (void) state;

    scan(text);
    hai_edits_init(&little, 4);
    assert_int_equal(hai_changes_apply(&body, CHAT, &change, 1, &little, &why),
                     HAI_CHANGE_NO_MEMORY);
    assert_int_equal(little.n, 0);
    assert_int_equal(hai_changes_apply(&body, CHAT, &change, 0, &little, &why),
                     HAI_CHANGE_OK);
    hai_edits_free(&little);
}

int main(void) {
    const struct CMUnitTest all[] = {
        cmocka_unit_test(fields_refused), cmocka_unit_test(texts_refused),
        cmocka_unit_test(escapes),        cmocka_unit_test(numbers),
        cmocka_unit_test(backslashes),    cmocka_unit_test(doubtful_parts),
        cmocka_unit_test(ceilings),       cmocka_unit_test(no_memory),
    };

    return cmocka_run_group_tests(all, change_set_up, change_tear_down);
}
