/* SOURCES: common/hai_sse.c */
/* LIBS: -lcmocka */

/*
 * Ends of events over every split.  Each input also goes through the portable
 * code path, which is compiled into this file under other names.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HAI_SSE_SIMD 0
#define hai_sse_init portable_sse_init
#define hai_sse_feed portable_sse_feed
#define hai_sse_find_eol portable_sse_find_eol
#include "hai_sse.c"
#undef hai_sse_init
#undef hai_sse_feed
#undef hai_sse_find_eol

void hai_sse_init(struct hai_sse *sse);
size_t hai_sse_feed(struct hai_sse *sse, const void *data, size_t n);
const uint8_t *hai_sse_find_eol(const uint8_t *start, const uint8_t *p,
                                const uint8_t *end);

/* A piece in memory of exactly its size, so that a read outside is seen. */
static void *exact(const char *data, size_t n) {
    void *copy = malloc(n > 0 ? n : 1);

    assert_non_null(copy);
    memcpy(copy, data, n);

    return copy;
}

/* marked: a '|' wherever everything before it may pass. */
static void check_ends(const char *marked, bool in_event) {
    char text[200];
    size_t ends[200] = {0}; /* for each length: how much has passed */
    size_t end = 0;
    size_t n = 0;

    for (const char *p = marked; *p != '\0'; p++) {
        if (*p == '|') {
            end = n;

        } else {
            text[n++] = *p;
        }
        ends[n] = end;
    }

    for (size_t first = 0; first <= n; first++) {
        for (size_t second = first; second <= n; second++) {
            size_t cuts[] = {0, first, second, n};
            struct hai_sse sse, portable;
            size_t passed = 0;

            hai_sse_init(&sse);
            portable_sse_init(&portable);

            for (int i = 0; i < 3; i++) {
                size_t len = cuts[i + 1] - cuts[i];
                void *copy = exact(text + cuts[i], len);
                size_t pass = hai_sse_feed(&sse, copy, len);

                assert_int_equal(pass, portable_sse_feed(&portable, copy, len));
                assert_int_equal(sse.in_event, portable.in_event);
                free(copy);

                if (pass > 0) {
                    passed = cuts[i] + pass;
                }

                assert_int_equal(passed, ends[cuts[i + 1]]);
            }

            assert_int_equal(sse.in_event, in_event);
        }
    }
}

static void ends_of_events(void **state) {
    (void) state;

    check_ends("data: a\n\n|data: b\n\n|", false);
    check_ends("data: a\r\n\r|\n|data: b\r\n\r|\n|", false);
    check_ends("data: a\r\r|data: b\r\r|", false);
    check_ends("event: x\ndata: a\ndata: b\n\n|data", true);
    check_ends(": comment\n|:\r|\n|\n|\r|\n|\r|\r|", false);
    check_ends("data: a\n: comment\n\n|: comment\n|: unfinished", false);
    check_ends("data: a\r\n: comment\r\n", true);
    check_ends("\xef\xbb\xbf: comment\n|data: x\n\n|", false);
    check_ends("\xef\xbb\xbf\n|", false);
    check_ends("\xef\xbb", false);
    check_ends("\xef: odd\n\n|", false);
    check_ends("\xef\xbb: odd\n", true);
    check_ends("", false);
    check_ends("\n|\xef\xbb\xbf: a field\n", true);
    check_ends("data: a line that is longer than any vector register is, "
               "\"}]\"\n\n|data: \r\n\r|\n|",
               false);
}

/* Every length, every place of the line end, many beginnings. */
static void ends_of_lines(void **state) {
    char text[200];

    (void) state;

    memset(text, '\r' | 0x80, sizeof(text));

    for (size_t n = 0; n <= sizeof(text); n++) {
        for (size_t at = 0; at <= n; at++) {
            uint8_t *p = exact(text, n);

            if (at < n) {
                p[at] = at & 1 ? '\n' : '\r';
            }

            for (size_t from = 0; from <= n; from += 1 + n / 20) {
                const uint8_t *eol = p + (at < from ? n : at);

                assert_ptr_equal(hai_sse_find_eol(p, p + from, p + n), eol);
                assert_ptr_equal(portable_sse_find_eol(p, p + from, p + n),
                                 eol);
            }

            free(p);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_of_events),
        cmocka_unit_test(ends_of_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
