/* SOURCES: common/hai_mask.c */

/*
 * Input: how the stream is cut, the number of keys, each key with its length
 * before it, the stream.  Any split gives what a naive reference gives for the
 * whole, and what is held is the longest tail that begins a key.
 */

#include "hai_mask.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t expected[MOST], out[MOST + 2 * 256], held[2 * 256];
    struct hai_mask_stream ms = { .held = held };
    const uint8_t *end = data + size;
    struct hai_mask m;
    size_t sent = 0;

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

    for (size_t done = 0; done < n;) {
        size_t len = cut & 64 ? cut >> 20 & 127 : cut >> 24 & 3;
        size_t release;

        len = len + 1 < n - done ? len + 1 : n - done;
        cut = cut * 1664525 + 1013904223;

        /* memory of its own, so that an access outside is seen */
        uint8_t *piece = malloc(len);

        if (piece == NULL) {
            return 0;
        }
        memcpy(piece, data + done, len);
        done += len;

        size_t pass = hai_mask_feed(&m, &ms, piece, len, &release);

        memcpy(out + sent, ms.held, release);
        sent += release;
        memcpy(out + sent, piece, pass);
        sent += pass;
        free(piece);

        hai_mask_settle(&ms, release);
        check(ms.held_len == reference_tail(&m, data, done));
        check(sent + ms.held_len == done);
    }

    memcpy(out + sent, ms.held, ms.held_len);
    check(memcmp(out, expected, n) == 0);

    return 0;
}
