/* SOURCES: fcgi-backend/cli/diff.c fcgi-backend/cli/output.c */
/* SOURCES: fcgi-backend/lib/options.c fcgi-backend/lib/file.c */
/* SOURCES: fcgi-backend/lib/locate.c */
/* LIBS: -ljansson */

/*
 * The differences that "rules test" shows: applied to the one text they have
 * to give the other, whatever the two are.
 */

#include "cli/diff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LINES 4096

static char *diff_of(const char *old, const char *new) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    assert_int_equal(
        hai_diff_json(out, old, strlen(old), new, strlen(new), false), 0);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void expect(const char *old, const char *new, const char *hunks) {
    char *text = diff_of(old, new);

    assert_int_equal(strncmp(text, "--- as received\n+++ as sent\n", 28), 0);
    assert_string_equal(text + 28, hunks);
    free(text);
}

static void test_layout(void **state) {
    (void) state;
    expect("{}", "{}", "");
    expect("{ \"a\" : [ ] }", "{\"a\":[]}", ""); /* white space is none */
    expect("{\"a\":1.0}", "{\"a\":1.00}",
           "@@ -1,3 +1,3 @@\n {\n-  \"a\": 1.0\n+  \"a\": 1.00\n }\n");
    expect("{\"a\":\"\\u0041{[,:\"}", "{\"a\":\"A{[,:\"}",
           "@@ -1,3 +1,3 @@\n {\n-  \"a\": \"\\u0041{[,:\"\n"
           "+  \"a\": \"A{[,:\"\n }\n");
    expect("{}", "{\"a\":{\"b\":[1,{}]}}",
           "@@ -1,1 +1,8 @@\n-{}\n+{\n+  \"a\": {\n+    \"b\": [\n+      1,\n"
           "+      {}\n+    ]\n+  }\n+}\n");
}

static void test_control(void **state) {
    (void) state;
    expect("{\"a\":\"\x1b[1m\"}", "{\"a\":\"\xC2\x9B\x7f\"}",
           "@@ -1,3 +1,3 @@\n {\n-  \"a\": \"?[1m\"\n+  \"a\": \"??\"\n }\n");
}

/* Of a line that changed in the middle its far ends are left out, never half
 * a character. */
static void test_long_line(void **state) {
    char half[512], old[2048], new[2048], *text;

    (void) state;
    memset(half, 'x', 500);
    strcpy(half + 500, "\xC3\xBC");
    snprintf(old, sizeof(old), "[\"%.502s %.502s\"]", half, half);
    snprintf(new, sizeof(new), "[\"%.502s!%.502s\"]", half, half);
    text = diff_of(old, new);
    assert_non_null(strstr(text, "\xC3\xBC!xxx"));
    assert_non_null(strstr(text, "-[445 bytes] x"));
    assert_non_null(strstr(text, "x [443 bytes]\n"));
    assert_true(strlen(text) < 400);
    free(text);

    memset(half, 'x', 500);
    snprintf(old, sizeof(old), "[\"%.500s\xE2\x82\xAC%.58s\"]", half, half);
    snprintf(new, sizeof(new), "[\"%.500s\xE2\x82\xAC%.58s!\"]", half, half);
    text = diff_of(old, new);
    assert_non_null(strstr(text, "-[503 bytes] \xE2\x82\xACx"));
    free(text);
}

/* Arrays of small numbers, one a line. */
static size_t make(char *text, int *number, size_t n) {
    size_t len = 0, i;

    text[len++] = '[';
    for (i = 0; i < n; i++) {
        len +=
            (size_t) sprintf(text + len, "%s%d", i > 0 ? "," : "", number[i]);
    }
    text[len++] = ']';
    text[len] = '\0';
    return len;
}

static size_t split(char *text, char **line) {
    size_t n = 0;
    char *p;

    for (p = text; *p != '\0'; p++) {
        assert_true(n < LINES);
        line[n++] = p;
        p = strchr(p, '\n');
        assert_non_null(p);
        *p = '\0';
    }
    return n;
}

/* The lines of an array as the diff lays it out. */
static size_t lay_out(const int *number, size_t n, char *text, char **line) {
    size_t len = 0, i;

    if (n == 0) {
        strcpy(text, "[]\n");
    } else {
        len += (size_t) sprintf(text, "[\n");
        for (i = 0; i < n; i++) {
            len += (size_t) sprintf(text + len, "  %d%s\n", number[i],
                                    i + 1 < n ? "," : "");
        }
        sprintf(text + len, "]\n");
    }
    return split(text, line);
}

/* Applies the diff to the old lines and compares with the new ones. */
static void check_patch(char **old, size_t n, char **new, size_t m,
                        char *diff) {
    static char *line[LINES];
    size_t lines = split(diff, line), i, x = 0, y = 0;
    size_t old_at, olds, new_at, news;

    for (i = 2; i < lines; i++) {
        if (line[i][0] == '@') {
            assert_int_equal(sscanf(line[i], "@@ -%zu,%zu +%zu,%zu @@", &old_at,
                                    &olds, &new_at, &news),
                             4);
            old_at -= olds > 0;
            new_at -= news > 0;
            while (x < old_at) {
                assert_true(y < m);
                assert_string_equal(old[x++], new[y++]);
            }
            assert_int_equal(x, old_at);
            assert_int_equal(y, new_at);
            continue;
        }
        if (line[i][0] != '+') {
            assert_true(x < n);
            assert_string_equal(old[x++], line[i] + 1);
        }
        if (line[i][0] != '-') {
            assert_true(y < m);
            assert_string_equal(new[y++], line[i] + 1);
        }
    }
    while (x < n) {
        assert_true(y < m);
        assert_string_equal(old[x++], new[y++]);
    }
    assert_int_equal(y, m);
}

static void compare(int *a, size_t n, int *b, size_t m) {
    static char old[65536], new[65536], left[65536], right[65536];
    static char *old_line[LINES], *new_line[LINES];
    size_t olds, news;
    char *diff;

    make(old, a, n);
    make(new, b, m);
    olds = lay_out(a, n, left, old_line);
    news = lay_out(b, m, right, new_line);
    diff = diff_of(old, new);
    check_patch(old_line, olds, new_line, news, diff);
    free(diff);
}

static void test_random(void **state) {
    static int a[1500], b[1500];
    size_t n, m, i, round;

    (void) state;
    srand(1);
    for (round = 0; round < 400; round++) {
        n = (size_t) rand() % 40;
        for (i = 0; i < n; i++) {
            a[i] = rand() % 5;
        }
        for (i = m = 0; i < n; i++) {
            if (rand() % 4 != 0) {
                b[m++] = a[i];
            }
            if (rand() % 6 == 0) {
                b[m++] = rand() % 5;
            }
        }
        compare(a, n, b, m);
    }

    /* so different that the search gives up */
    for (i = 0; i < 1200; i++) {
        a[i] = (int) i;
        b[i] = (int) i + 5000;
    }
    compare(a, 1200, b, 1200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_control),
        cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
