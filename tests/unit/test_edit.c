/* SOURCES: common/hai_edit.c common/hai_body.c */

/*
 * Lists of edits: order, overlaps, sizes, the memory of their texts, and the
 * wire form, every byte of which is cut off and changed once.
 */

#include "hai_body.h"
#include "hai_edit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void add(struct hai_edits *e, uint64_t offset, uint64_t del,
                const char *text) {
    assert_int_equal(hai_edits_add(e, offset, del, text, strlen(text)), 0);
}

static void sorted(void **state) {
    static const char *const expected[] = {"a", "b", "c", "d", "e", "f", "g"};
    struct hai_edits e;

    (void) state;

    hai_edits_init(&e, 0);
    add(&e, 9, 0, "g");
    add(&e, 5, 0, "d");
    add(&e, 0, 0, "a");
    add(&e, 5, 0, "e");
    add(&e, 1, 2, "b");
    add(&e, 3, 2, "c");
    add(&e, 5, 4, "f");
    assert_int_equal(hai_edits_sort(&e, 9), 0);

    assert_int_equal(e.n, COUNT(expected));
    for (size_t i = 0; i < e.n; i++) {
        assert_string_equal(e.list[i].text, expected[i]);
    }
    assert_int_equal(hai_edits_result_size(&e, 9), 9 - 8 + 7);

    hai_edits_free(&e);
}

/* Many at few offsets: the order of addition shows what is not stable. */
static void stable(void **state) {
    static char texts[3000];
    struct hai_edits e;

    (void) state;

    for (size_t n = 0; n < COUNT(texts); n = n * 2 + 1) {
        hai_edits_init(&e, 0);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(hai_edits_add(&e, i * 7919 % 13, 0, &texts[i], 1),
                             0);
        }
        assert_int_equal(hai_edits_sort(&e, 12), 0);
        for (size_t i = 1; i < n; i++) {
            assert_true(e.list[i - 1].offset < e.list[i].offset
                        || (e.list[i - 1].offset == e.list[i].offset
                            && e.list[i - 1].text < e.list[i].text));
        }
        hai_edits_free(&e);
    }
}

static int sort_two(uint64_t offset1, uint64_t del1, uint64_t offset2,
                    uint64_t del2, uint64_t size) {
    struct hai_edits e;
    int rc;

    hai_edits_init(&e, 0);
    add(&e, offset1, del1, "x");
    add(&e, offset2, del2, "y");
    rc = hai_edits_sort(&e, size);
    hai_edits_free(&e);

    return rc;
}

static void overlaps(void **state) {
    (void) state;

    assert_int_equal(sort_two(0, 3, 3, 0, 3), 0);
    assert_int_equal(sort_two(3, 0, 0, 3, 3), 0);
    assert_int_equal(sort_two(0, 0, 0, 3, 3), 0);
    assert_int_equal(sort_two(0, 3, 0, 0, 3), -1);
    assert_int_equal(sort_two(0, 3, 2, 0, 3), -1);
    assert_int_equal(sort_two(2, 1, 1, 2, 3), -1);
    assert_int_equal(sort_two(1, 1, 1, 1, 3), -1);
    assert_int_equal(sort_two(0, 0, 4, 0, 3), -1);
    assert_int_equal(sort_two(0, 0, 3, 1, 3), -1);
    assert_int_equal(sort_two(0, 0, 1, UINT64_MAX, 3), -1);
    assert_int_equal(sort_two(0, 0, UINT64_MAX, 1, 3), -1);
    assert_int_equal(sort_two(0, 4, 4, 0, 3), -1);
}

static void nothing(void **state) {
    struct hai_edits e;

    (void) state;

    hai_edits_init(&e, 0);
    assert_int_equal(hai_edits_add(&e, 5, 0, NULL, 0), 0);
    assert_int_equal(e.n, 0);
    assert_int_equal(hai_edits_sort(&e, 0), 0);
    assert_int_equal(hai_edits_result_size(&e, 7), 7);
    assert_int_equal(hai_edits_wire_size(&e), 0);
    assert_int_equal(hai_edits_wire_read(&e, "", 0, 7), 0);
    hai_edits_reset(&e);
    hai_edits_free(&e);
    hai_edits_free(&e);
}

static void ceiling(void **state) {
    struct hai_edits e;

    (void) state;

    hai_edits_init(&e, 0);
    for (size_t i = 0; i < HAI_EDITS_MAX; i++) {
        add(&e, HAI_EDITS_MAX - i, 0, "x");
    }
    assert_int_equal(hai_edits_add(&e, 0, 0, "x", 1), -1);
    assert_int_equal(hai_edits_sort(&e, HAI_EDITS_MAX), 0);
    assert_int_equal(e.list[0].offset, 1);
    hai_edits_free(&e);
}

static void texts(void **state) {
    static const size_t lengths[] = {0, 1, 10, 4000, 96, 1, 50000, 3, 100000};
    char *text[COUNT(lengths)], *first;
    struct hai_edits e;
    size_t sum = 0;

    (void) state;

    for (size_t i = 0; i < COUNT(lengths); i++) {
        sum += lengths[i];
    }
    hai_edits_init(&e, sum);

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT(lengths); i++) {
            text[i] = hai_edits_text(&e, lengths[i]);
            assert_non_null(text[i]);
            memset(text[i], (int) i, lengths[i]);
        }
        assert_null(hai_edits_text(&e, 1));
        assert_null(hai_edits_text(&e, SIZE_MAX));
        assert_non_null(hai_edits_text(&e, 0));

        for (size_t i = 0; i < COUNT(lengths); i++) {
            for (size_t k = 0; k < lengths[i]; k++) {
                assert_int_equal(text[i][k], i);
            }
        }

        /* the first block is used again */
        first = text[0];
        hai_edits_reset(&e);
        assert_ptr_equal(hai_edits_text(&e, 1), first);
        hai_edits_reset(&e);
    }

    hai_edits_free(&e);

    /* and the ceiling is still there */
    assert_null(hai_edits_text(&e, sum + 1));
    assert_non_null(hai_edits_text(&e, sum));
    hai_edits_free(&e);
}

/* The wire form of what is read is what was read, or it is refused. */
static int read_wire(const char *wire, size_t len, uint64_t size) {
    char *copy = malloc(len ? len : 1), *again;
    struct hai_edits e;
    int rc;

    assert_non_null(copy);
    memcpy(copy, wire, len);
    hai_edits_init(&e, 0);
    add(&e, 77, 7, "old");

    rc = hai_edits_wire_read(&e, copy, len, size);
    if (rc == 0) {
        assert_int_equal(hai_edits_sort(&e, size), 0);
        assert_int_equal(hai_edits_wire_size(&e), len);
        again = malloc(len ? len : 1);
        assert_non_null(again);
        assert_ptr_equal(hai_edits_wire_write(&e, again), again + len);
        assert_memory_equal(again, wire, len);
        free(again);
    } else {
        assert_int_equal(rc, -1);
        assert_int_equal(e.n, 0);
    }

    hai_edits_free(&e);
    free(copy);
    return rc;
}

static void wire(void **state) {
    static const char whole[] = "0 0 3\nabc"
                                "0 2 0\n"
                                "2 0 12\n1 2 3\n4 5 6\n"
                                "10 90 1\n\n";
    const size_t len = sizeof(whole) - 1;

    (void) state;

    assert_int_equal(read_wire(whole, len, 100), 0);
    assert_int_equal(read_wire(whole, len, 101), 0);
    assert_int_equal(read_wire(whole, len, 99), -1);

    for (size_t i = 0; i < len; i++) {
        bool record = i == 0 || i == 9 || i == 15 || i == 34;

        assert_int_equal(read_wire(whole, i, 100), record ? 0 : -1);
    }
}

static void wire_refused(void **state) {
    static const char *const refused[] = {
        " 0 0 1\nx",
        "0  0 1\nx",
        "0 0 1 \nx",
        "0 0 1\r\nx",
        "0 0 1\n",
        "0 0 2\nx",
        "0 0 1\nxy",
        "0 0\nx",
        "0 0 1 x",
        "+0 0 1\nx",
        "-1 0 1\nx",
        "0 -1 1\nx",
        "0 0 -1\nx",
        "00 0 1\nx",
        "0 00 1\nx",
        "0 0 01\nx",
        "0x1 0 1\nx",
        "1e0 0 1\nx",
        "\t0 0 1\nx",
        "0 0 1\nx\n",
        "101 0 1\nx",
        "100 1 0\n",
        "0 101 0\n",
        "50 51 0\n",
        "18446744073709551615 0 1\nx",
        "18446744073709551616 0 1\nx",
        "18446744073709551617 0 1\nx",
        "0 18446744073709551615 1\nx",
        "1 18446744073709551615 1\nx",
        "0 0 18446744073709551615\nx",
        "0 0 18446744073709551617\nx",
        "0 0 9223372036854775808\nx",
        "99999999999999999999 0 1\nx",
        "100000000000000000000 0 1\nx",
        "000000000000000000000 0 1\nx",
        "5 0 1\nx4 0 1\ny",
        "5 2 1\nx6 0 1\ny",
        "5 2 1\nx5 0 1\ny",
        "0 0 1\nx ",
        "\n",
        " ",
        "0",
        "0 0 0\n", /* changes nothing, so its wire form would be another */
    };

    (void) state;

    for (size_t i = 0; i < COUNT(refused); i++) {
        if (read_wire(refused[i], strlen(refused[i]), 100) != -1) {
            fail_msg("read: %s", refused[i]);
        }
    }

    assert_int_equal(read_wire("0 0 1\n\0", 7, 100), 0);
    assert_int_equal(read_wire("0 0\0 1\nx", 8, 100), -1);
    assert_int_equal(read_wire("18446744073709551615 0 1\nx", 26, UINT64_MAX),
                     0);
    assert_int_equal(read_wire("18446744073709551614 1 1\nx", 26, UINT64_MAX),
                     0);
    assert_int_equal(read_wire("18446744073709551615 1 1\nx", 26, UINT64_MAX),
                     -1);
    assert_int_equal(read_wire("100 0 1\nx", 9, 100), 0);
    assert_int_equal(read_wire("0 100 0\n", 8, 100), 0);
}

static void too_many(void **state) {
    size_t len = (HAI_EDITS_MAX + 1) * 7;
    char *wire = malloc(len);
    struct hai_edits e;

    (void) state;

    assert_non_null(wire);
    for (size_t i = 0; i < len; i += 7) {
        memcpy(wire + i, "0 0 1\nx", 7);
    }

    hai_edits_init(&e, 0);
    assert_int_equal(hai_edits_wire_read(&e, wire, len, 0), -1);
    assert_int_equal(e.n, 0);
    assert_int_equal(hai_edits_wire_read(&e, wire, len - 7, 0), 0);
    assert_int_equal(e.n, HAI_EDITS_MAX);

    hai_edits_free(&e);
    free(wire);
}

static void apis(void **state) {
    static const struct {
        const char *name;
        enum hai_api api;
    } names[] = {
        {"openai.chat", HAI_API_OPENAI_CHAT},
        {"openai.responses", HAI_API_OPENAI_RESPONSES},
        {"openai.completions", HAI_API_OPENAI_COMPLETIONS},
        {"anthropic.messages", HAI_API_ANTHROPIC_MESSAGES},
        {"anthropic.batches", HAI_API_OTHER},
        {"openai.embeddings", HAI_API_OTHER},
        {"openai.chats", HAI_API_OTHER},
        {"openai.cha", HAI_API_OTHER},
        {"OpenAI.chat", HAI_API_OTHER},
        {"", HAI_API_OTHER},
    };

    (void) state;

    for (size_t i = 0; i < COUNT(names); i++) {
        assert_int_equal(hai_api_of(names[i].name, strlen(names[i].name)),
                         names[i].api);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sorted),   cmocka_unit_test(stable),
        cmocka_unit_test(overlaps), cmocka_unit_test(nothing),
        cmocka_unit_test(ceiling),  cmocka_unit_test(texts),
        cmocka_unit_test(wire),     cmocka_unit_test(wire_refused),
        cmocka_unit_test(too_many), cmocka_unit_test(apis),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
