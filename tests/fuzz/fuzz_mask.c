/* SOURCES: common/hai_mask.c */

/*
 * Input: how the stream is cut, the number of keys, each key with its length
 * before it, the stream.  One piece: what a naive reference gives.  Many
 * pieces, held and joined as the module's body filter does it: no key is in
 * what is sent, and nothing is changed that is not part of a key.
 */

#define _GNU_SOURCE /* memmem */

#include "hai_mask.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MOST 4096 /* the reference takes the square of this */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int right) {
    if (!right) {
        abort();
    }
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
    for (size_t tail = n < m->longest ? n : m->longest; tail > 0; tail--) {
        for (size_t k = 0; k < m->n; k++) {
            if (m->key[k].len > tail
                && memcmp(p + n - tail, m->key[k].data, tail) == 0) {
                return tail;
            }
        }
    }

    return 0;
}

static bool has_key(const struct hai_mask *m, const uint8_t *p, size_t n) {
    for (size_t k = 0; k < m->n; k++) {
        if (memmem(p, n, m->key[k].data, m->key[k].len) != NULL) {
            return true;
        }
    }

    return false;
}

/*
 * The body filter: what may begin a key is held, and more where an event has
 * no end yet; the next piece is appended, and of what was held the longest
 * key's length is searched again.
 */
static void stream(const struct hai_mask *m, const uint8_t *in, uint8_t *out,
                   size_t n, uint32_t cut) {
    size_t sent = 0;
    size_t done = 0;

    while (done < n) {
        size_t held = done - sent;
        size_t from = held > m->longest ? held - m->longest : 0;
        size_t len = cut & 64 ? cut >> 20 & 127 : cut >> 24 & 3;

        len = len + 1 < n - done ? len + 1 : n - done;
        cut = cut * 1664525 + 1013904223;
        done += len;

        /* memory of its own, so that an access outside is seen */
        size_t size = done - sent - from;
        uint8_t *hold = malloc(size);

        if (hold == NULL) {
            exit(1);
        }

        memcpy(hold, out + sent + from, size - len);
        memcpy(hold + size - len, in + done - len, len);

        size_t tail = hai_mask_apply(m, hold, size);

        check(tail < m->longest && tail <= size);
        memcpy(out + sent + from, hold, size);
        free(hold);

        size_t pass = done - sent - tail;

        if (cut & 1 << 16) {
            pass = pass * (cut >> 17 & 7) / 8; /* the end of an event */
        }

        sent += pass;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t expected[MOST], out[MOST];
    const uint8_t *end = data + size;
    bool asterisk = false;
    struct hai_mask m;

    if (size < 2 || size > MOST) {
        return 0;
    }

    uint32_t cut = *data++;
    size_t keys = *data++ % 8 + 1;

    hai_mask_init(&m);

    for (size_t k = 0; k < keys && data < end; k++) {
        size_t len = *data++;

        if (len > (size_t) (end - data)) {
            len = (size_t) (end - data);
        }

        check(hai_mask_add(&m, data, len) == (len == 0 ? -1 : 0));
        asterisk |= memchr(data, '*', len) != NULL;
        data += len;
    }

    size_t n = (size_t) (end - data);
    uint8_t *copy = malloc(n + 1);

    if (copy == NULL) {
        return 0;
    }

    reference(&m, data, expected, n);
    memcpy(copy, data, n);
    check(hai_mask_apply(&m, copy, n) == reference_tail(&m, data, n));
    check(memcmp(copy, expected, n) == 0);
    free(copy);

    if (m.n == 0) {
        return 0;
    }

    stream(&m, data, out, n, cut);

    /* a key with asterisks can be made of what masking leaves */
    if (asterisk) {
        return 0;
    }

    check(!has_key(&m, out, n));

    for (size_t i = 0; i < n; i++) {
        check(out[i] == data[i] || (out[i] == '*' && expected[i] == '*'));
    }

    return 0;
}
