/* SOURCES: common/hai_mask.c */
/* LIBS: -lcmocka */

/*
 * Masking against a naive reference: overlaps, keys that begin other keys,
 * long keys, and streams in any pieces, held and joined as the module's body
 * filter does it.  All of it also on the portable code path, which is
 * compiled into this file under other names.
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
#include "hai_mask.c"
#undef hai_mask_init
#undef hai_mask_add
#undef hai_mask_apply

void hai_mask_init(struct hai_mask *m);
int hai_mask_add(struct hai_mask *m, const void *key, size_t len);
size_t hai_mask_apply(const struct hai_mask *m, void *p, size_t n);

typedef size_t (*apply_fn)(const struct hai_mask *, void *, size_t);

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

static void reference(const struct hai_mask *m, const uint8_t *in, uint8_t *out,
                      size_t n) {
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

static void check_apply(const struct hai_mask *m, const uint8_t *in, size_t n) {
    static const apply_fn applies[] = {hai_mask_apply, portable_mask_apply};
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

/* Bytes outside of all keys are as they came, and no key is there. */
static void check_sent(const struct hai_mask *m, const uint8_t *in,
                       const uint8_t *expected, const uint8_t *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        assert_true(out[i] == in[i] || (out[i] == '*' && expected[i] == '*'));
    }

    for (size_t k = 0; k < m->n; k++) {
        for (size_t i = 0; i + m->key[k].len <= n; i++) {
            assert_memory_not_equal(out + i, m->key[k].data, m->key[k].len);
        }
    }
}

/*
 * In pieces of `most` bytes, of random sizes up to it where it is negative.
 * For `whole` events a part of what could be sent is held now and then.
 */
static void check_stream(const struct hai_mask *m, const uint8_t *in, size_t n,
                         long most, bool whole) {
    static const apply_fn applies[] = {hai_mask_apply, portable_mask_apply};
    uint8_t *expected = exact(in, n);

    reference(m, in, expected, n);

    for (size_t i = 0; i < 2; i++) {
        uint8_t *out = malloc(n + 1);
        size_t done = 0;
        size_t sent = 0;

        assert_non_null(out);

        /* the hold is out[sent .. done), each search in a copy of its own */
        while (done < n) {
            size_t len =
                most < 0 ? random_below((uint32_t) -most) + 1 : (size_t) most;

            if (len > n - done) {
                len = n - done;
            }

            memcpy(out + done, in + done, len);

            size_t held = done - sent;
            size_t from = held > m->longest ? done - m->longest : sent;

            done += len;

            uint8_t *piece = exact(out + from, done - from);
            size_t tail = applies[i](m, piece, done - from);

            assert_int_equal(tail, reference_tail(m, out + from, done - from));
            memcpy(out + from, piece, done - from);
            free(piece);

            size_t pass = done - sent - tail;

            if (whole && pass > 0 && random_below(2)) {
                pass = random_below((uint32_t) pass);
            }

            sent += pass;
        }

        check_sent(m, in, expected, out, n);
        free(out);
    }

    free(expected);
}

static void check_text(const struct hai_mask *m, const char *text) {
    const uint8_t *in = (const uint8_t *) text;
    size_t n = strlen(text);

    for (size_t len = 0; len <= n; len++) {
        check_apply(m, in, len);
    }

    for (long most = 1; most <= (long) n; most++) {
        check_stream(m, in, n, most, false);
        check_stream(m, in, n, most, true);
        check_stream(m, in, n, -most, true);
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
    char text[] = "sk-abc123";
    struct hai_mask m;

    (void) state;

    hai_mask_init(&m);
    assert_int_equal(hai_mask_apply(&m, text, 9), 0);
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
    check_apply(&m, (const uint8_t *) "a**ba**c**b***c", 15);
}

/* The longest tail that could begin a key, as the bytes were before. */
static void tails(void **state) {
    static const struct {
        const char *text;
        size_t tail;
        const char *after;
    } cases[] = {
        {"", 0, ""},
        {"s", 1, "s"},
        {"sk", 2, "sk"},
        {"x sk-abc12", 8, "x sk-abc12"},
        {"x sk-abc123", 0, "x *********"},
        {"x sk-abc12x", 0, "x sk-abc12x"},
        {"sk-abc12 ", 0, "sk-abc12 "},
        {"ssks", 1, "ssks"},
        {"sksk-", 3, "sksk-"},
        {"k-abc123", 0, "k-abc123"},
        /* of two keys, the longer tail */
        {"x pq", 2, "x pq"},
        {"x pqr", 3, "x pqr"},
        {"x pqrs", 2, "x ****"},
        {"x pqrst", 3, "x ****t"},
        {"x pqrstu", 1, "x ******"},
        /* a whole key that begins a longer one */
        {"uv", 2, "**"},
        {"uvuv", 2, "****"},
        {"uvu", 1, "**u"},
        {"uvw", 3, "**w"},
        {"uvwx", 0, "****"},
    };
    struct hai_mask m;

    (void) state;

    hai_mask_init(&m);
    add(&m, "sk-abc123");
    add(&m, "pqrs");
    add(&m, "rstu");
    add(&m, "uv");
    add(&m, "uvwx");

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n = strlen(cases[i].text);
        uint8_t *copy = exact(cases[i].text, n);

        assert_int_equal(hai_mask_apply(&m, copy, n), cases[i].tail);
        assert_memory_equal(copy, cases[i].after, n);
        free(copy);

        check_text(&m, cases[i].text);
    }
}

/* A key with a byte that tokens do not have may end a piece anywhere. */
static void odd_keys(void **state) {
    struct hai_mask m;
    char text[] = "a b\n";

    (void) state;

    hai_mask_init(&m);
    add(&m, "abc");
    assert_int_equal(hai_mask_apply(&m, text, 3), 0);

    add(&m, "b\n\"c");
    assert_int_equal(hai_mask_apply(&m, text, 4), 2);
    check_text(&m, "a b\n\"cb\n\"abcb\n");
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
    check_stream(&m, key, sizeof(key), 1000, true);
    check_stream(&m, key, sizeof(key), -30000, true);

    /* begun, whole, and cut off by the end */
    memcpy(text, key, 5000);
    memcpy(text + 5000, key, sizeof(key));
    memcpy(text + 5000 + sizeof(key), key, 3999);
    check_apply(&m, text, 5000 + sizeof(key) + 3999);
    check_stream(&m, text, 5000 + sizeof(key) + 3999, -3000, true);
    check_stream(&m, text, 5000 + sizeof(key) + 3999, 4096, true);

    /* one byte at a time, without the reference's quadratic tail */
    hai_mask_init(&m);
    assert_int_equal(hai_mask_add(&m, key, 700), 0);
    check_stream(&m, key, 1500, 1, true);
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
                keys[k][i] = (uint8_t) ('+' + random_below(letters));
            }
            assert_int_equal(hai_mask_add(&m, keys[k], len), 0);
        }

        for (size_t i = 0; i < n;) {
            const struct hai_mask_key *key =
                &m.key[random_below((uint32_t) m.n)];
            size_t len = random_below((uint32_t) key->len + 1);

            text[i++] = (uint8_t) ('+' + random_below(letters));
            for (size_t j = 0; j < len && i < n; j++) {
                text[i++] = key->data[j];
            }
        }

        check_apply(&m, text, n);
        check_stream(&m, text, n, 1, true);
        check_stream(&m, text, n, -(long) (1 + random_below(60)), true);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overwrites), cmocka_unit_test(adding),
        cmocka_unit_test(no_keys),    cmocka_unit_test(overlaps),
        cmocka_unit_test(tails),      cmocka_unit_test(odd_keys),
        cmocka_unit_test(long_keys),  cmocka_unit_test(random_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
