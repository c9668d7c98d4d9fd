/* SOURCES: common/hai_mask.c */
/* LIBS: -lcmocka */

/*
 * Masking against a naive reference: every split, overlaps, keys that begin
 * other keys, long keys, pieces of one byte.  All of it also on the portable
 * code path, which is compiled into this file under other names.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HAI_MASK_SIMD 0
#define hai_mask_init portable_mask_init
#define hai_mask_add portable_mask_add
#define hai_mask_apply portable_mask_apply
#define hai_mask_feed portable_mask_feed
#define hai_mask_settle portable_mask_settle
#include "hai_mask.c"
#undef hai_mask_init
#undef hai_mask_add
#undef hai_mask_apply
#undef hai_mask_feed
#undef hai_mask_settle

void hai_mask_init(struct hai_mask *m);
int hai_mask_add(struct hai_mask *m, const void *key, size_t len);
size_t hai_mask_apply(const struct hai_mask *m, void *p, size_t n);
size_t hai_mask_feed(const struct hai_mask *m, struct hai_mask_stream *ms,
                     void *p, size_t n, size_t *release);
void hai_mask_settle(struct hai_mask_stream *ms, size_t release);

typedef size_t (*apply_fn)(const struct hai_mask *, void *, size_t);
typedef size_t (*feed_fn)(const struct hai_mask *, struct hai_mask_stream *,
                          void *, size_t, size_t *);

static uint32_t seed = 1;

static uint32_t random_below(uint32_t n) {
    seed = seed * 1664525 + 1013904223;

    return (seed >> 8) % n;
}

static uint8_t *exact(const void *data, size_t n) {
    uint8_t *copy = malloc(n > 0 ? n : 1);

    assert_non_null(copy);

    if (n > 0) {
        memcpy(copy, data, n);
    }

    return copy;
}

static void reference(const struct hai_mask *m, const uint8_t *in,
                      uint8_t *out, size_t n) {
    memcpy(out, in, n);

    for (size_t k = 0; k < m->n; k++) {
        for (size_t i = 0; i + m->key[k].len <= n; i++) {
            if (memcmp(in + i, m->key[k].data, m->key[k].len) == 0) {
                memset(out + i, '*', m->key[k].len);
            }
        }
    }
}

static size_t reference_tail(const struct hai_mask *m, const uint8_t *p,
                             size_t n) {
    for (size_t tail = n; tail > 0; tail--) {
        for (size_t k = 0; k < m->n; k++) {
            if (m->key[k].len > tail
                && memcmp(p + n - tail, m->key[k].data, tail) == 0) {
                return tail;
            }
        }
    }

    return 0;
}

static void check_apply(const struct hai_mask *m, const uint8_t *in,
                        size_t n) {
    static const apply_fn applies[] = { hai_mask_apply, portable_mask_apply };
    uint8_t *expected = exact(in, n);

    reference(m, in, expected, n);

    for (size_t i = 0; i < 2; i++) {
        uint8_t *copy = exact(in, n);

        assert_int_equal(applies[i](m, copy, n), reference_tail(m, in, n));
        assert_memory_equal(copy, expected, n);
        free(copy);
    }

    free(expected);
}

/* Feeds pieces up to `most` bytes, of random sizes where most is negative. */
static void check_stream(const struct hai_mask *m, const uint8_t *in, size_t n,
                         long most) {
    static const feed_fn feeds[] = { hai_mask_feed, portable_mask_feed };
    uint8_t *expected = exact(in, n);

    reference(m, in, expected, n);

    for (size_t i = 0; i < 2; i++) {
        struct hai_mask_stream ms = { .held = malloc(m->longest * 2) };
        uint8_t *out = malloc(n * 2 + 1);
        size_t done = 0;
        size_t sent = 0;

        assert_non_null(ms.held);
        assert_non_null(out);

        while (done < n) {
            size_t len = most < 0 ? random_below((uint32_t) -most) + 1
                                  : (size_t) most;
            size_t release;

            if (len > n - done) {
                len = n - done;
            }

            uint8_t *piece = exact(in + done, len);
            size_t pass = feeds[i](m, &ms, piece, len, &release);

            done += len;

            memcpy(out + sent, ms.held, release);
            sent += release;
            memcpy(out + sent, piece, pass);
            sent += pass;
            free(piece);

            hai_mask_settle(&ms, release);

            /* what could still belong to a key is held, and nothing else */
            assert_int_equal(ms.held_len, reference_tail(m, in, done));
            assert_int_equal(sent + ms.held_len, done);
        }

        memcpy(out + sent, ms.held, ms.held_len);
        assert_memory_equal(out, expected, n);

        free(ms.held);
        free(out);
    }

    free(expected);
}

static void check_text(const struct hai_mask *m, const char *text) {
    size_t n = strlen(text);

    check_apply(m, (const uint8_t *) text, n);

    for (long most = 1; most <= (long) n; most++) {
        check_stream(m, (const uint8_t *) text, n, most);
    }
}

static void add(struct hai_mask *m, const char *key) {
    assert_int_equal(hai_mask_add(m, key, strlen(key)), 0);
}

static void overwrites(void **state) {
    struct hai_mask m;
    char text[] = "key sk-abc123, again sk-abc123sk-abc12";
    size_t tail;

    (void) state;

    hai_mask_init(&m);
    add(&m, "sk-abc123");

    tail = hai_mask_apply(&m, text, strlen(text));
    assert_string_equal(text, "key *********, again *********sk-abc12");
    assert_int_equal(tail, 8);

    assert_int_equal(hai_mask_apply(&m, text, 0), 0);
}

static void adding(void **state) {
    static uint8_t keys[HAI_MASK_MAX_KEYS + 1][2];
    static uint8_t large[KEY_MAX + 1];
    struct hai_mask m;

    (void) state;

    hai_mask_init(&m);
    assert_int_equal(hai_mask_add(&m, large, 0), -1);
    assert_int_equal(hai_mask_add(&m, large, KEY_MAX + 1), -1);
    assert_int_equal(m.n, 0);

    for (uint8_t i = 0; i < HAI_MASK_MAX_KEYS; i++) {
        keys[i][0] = 'k';
        keys[i][1] = i;
        assert_int_equal(hai_mask_add(&m, keys[i], 2), 0);
        assert_int_equal(hai_mask_add(&m, keys[i], 2), 0);
    }

    assert_int_equal(m.n, HAI_MASK_MAX_KEYS);
    assert_int_equal(m.longest, 2);
    assert_int_equal(hai_mask_add(&m, "other", 5), -1);
    assert_int_equal(hai_mask_add(&m, keys[7], 2), 0);
    assert_int_equal(m.longest, 2);
}

static void no_keys(void **state) {
    struct hai_mask_stream ms = { .held = NULL };
    char text[] = "sk-abc123";
    struct hai_mask m;
    size_t release;

    (void) state;

    hai_mask_init(&m);
    assert_int_equal(hai_mask_apply(&m, text, 9), 0);
    assert_int_equal(hai_mask_feed(&m, &ms, text, 9, &release), 9);
    assert_int_equal(release, 0);
    hai_mask_settle(&ms, release);
    assert_string_equal(text, "sk-abc123");
}

static void overlaps(void **state) {
    struct hai_mask m;

    (void) state;

    hai_mask_init(&m);
    add(&m, "abc");
    add(&m, "cde");
    add(&m, "abcdefgh");
    add(&m, "efghi");
    add(&m, "d");
    check_text(&m, "abcde abcdabcdefghi xcde ab abc abcdefg abcdefghi");

    hai_mask_init(&m);
    add(&m, "aa");
    add(&m, "aaaaa");
    check_text(&m, "a");
    check_text(&m, "aa");
    check_text(&m, "aaaaaaaaabaaaabaa");

    hai_mask_init(&m);
    add(&m, "abab");
    add(&m, "babaa");
    check_text(&m, "abababaabababbabaa");

    /* asterisks in keys are bytes like others */
    hai_mask_init(&m);
    add(&m, "a**b");
    add(&m, "**c");
    check_text(&m, "a**ba**c**b***c");
}

/* The hold is wiped behind what it holds. */
static void settles(void **state) {
    static const uint8_t zeros[18];
    uint8_t held[18];
    struct hai_mask_stream ms = { .held = held };
    struct hai_mask m;
    char first[] = "x sk-abc1";
    char second[] = "24";
    size_t release;

    (void) state;

    hai_mask_init(&m);
    add(&m, "sk-abc123");
    memset(held, 0, sizeof(held));

    assert_int_equal(hai_mask_feed(&m, &ms, first, 9, &release), 2);
    assert_int_equal(release, 0);
    hai_mask_settle(&ms, release);
    assert_int_equal(ms.held_len, 7);

    assert_int_equal(hai_mask_feed(&m, &ms, second, 0, &release), 0);
    assert_int_equal(release, 0);

    assert_int_equal(hai_mask_feed(&m, &ms, second, 2, &release), 2);
    assert_int_equal(release, 7);
    assert_memory_equal(held, "sk-abc1", 7);
    hai_mask_settle(&ms, release);
    assert_int_equal(ms.held_len, 0);
    assert_memory_equal(held, zeros, sizeof(held));
}

static void long_keys(void **state) {
    static uint8_t key[KEY_MAX], text[3 * KEY_MAX + 100];
    struct hai_mask m;

    (void) state;

    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = (uint8_t) ('0' + random_below(64));
    }

    hai_mask_init(&m);
    assert_int_equal(hai_mask_add(&m, key, sizeof(key)), 0);
    assert_int_equal(hai_mask_add(&m, key, 4000), 0);

    /* the key is the whole stream */
    check_apply(&m, key, sizeof(key));
    check_stream(&m, key, sizeof(key), 1000);
    check_stream(&m, key, sizeof(key), -30000);

    /* begun, whole, and cut off by the end */
    memcpy(text, key, 5000);
    memcpy(text + 5000, key, sizeof(key));
    memcpy(text + 5000 + sizeof(key), key, 3999);
    check_apply(&m, text, 5000 + sizeof(key) + 3999);
    check_stream(&m, text, 5000 + sizeof(key) + 3999, -3000);
    check_stream(&m, text, 5000 + sizeof(key) + 3999, 4096);

    /* one byte at a time, without the reference's quadratic tail */
    hai_mask_init(&m);
    assert_int_equal(hai_mask_add(&m, key, 700), 0);
    check_stream(&m, key, 1500, 1);
}

/* Few letters make overlaps frequent, all lengths hit all vector tails. */
static void random_keys(void **state) {
    uint8_t keys[HAI_MASK_MAX_KEYS][24];
    uint8_t text[200];

    (void) state;

    for (int round = 0; round < 4000; round++) {
        uint32_t letters = 1 + random_below(round % 8 == 0 ? 40 : 3);
        size_t n = random_below(sizeof(text)) + 1;
        size_t count = 1 + random_below(round % 16 == 0 ? 20 : 3);
        struct hai_mask m;

        hai_mask_init(&m);

        for (size_t k = 0; k < count; k++) {
            size_t len = 1 + random_below(sizeof(keys[k]));

            for (size_t i = 0; i < len; i++) {
                keys[k][i] = (uint8_t) ('#' + random_below(letters));
            }
            assert_int_equal(hai_mask_add(&m, keys[k], len), 0);
        }

        for (size_t i = 0; i < n;) {
            const struct hai_mask_key *key = &m.key[random_below(
                (uint32_t) m.n)];
            size_t len = random_below((uint32_t) key->len + 1);

            text[i++] = (uint8_t) ('#' + random_below(letters));
            for (size_t j = 0; j < len && i < n; j++) {
                text[i++] = key->data[j];
            }
        }

        check_apply(&m, text, n);
        check_stream(&m, text, n, 1);
        check_stream(&m, text, n, -(long) (1 + random_below(60)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overwrites),
        cmocka_unit_test(adding),
        cmocka_unit_test(no_keys),
        cmocka_unit_test(overlaps),
        cmocka_unit_test(settles),
        cmocka_unit_test(long_keys),
        cmocka_unit_test(random_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
