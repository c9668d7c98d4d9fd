/*
 * Finds configured keys in a byte stream and overwrites them with as many
 * asterisks (design, section 6 "Masking").
 * Holds pointers to the keys, never a copy: the keys stay in locked memory.
 */

#ifndef HAI_MASK_H
#define HAI_MASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HAI_MASK_MAX_KEYS 64

struct hai_mask_key {
    const uint8_t *data; /* borrowed */
    size_t len;          /* 1 .. 8192 */
};

struct hai_mask {
    struct hai_mask_key key[HAI_MASK_MAX_KEYS];
    size_t n;
    size_t longest;

    /* private: where in each key its two rarest bytes are, and whether a
       key has a byte that tokens do not have */
    uint16_t rare[HAI_MASK_MAX_KEYS][2];
    bool odd;
};

/* Empties the set. */
void hai_mask_init(struct hai_mask *m);

/* Adds a key (equal ones are kept once).  0, or -1 when full or len is out of
 * range. */
int hai_mask_add(struct hai_mask *m, const void *key, size_t len);

/*
 * Overwrites every complete occurrence in p[0..n), overlapping ones too.
 * Returns the length of the longest tail of p that could be the beginning of
 * a key (at most longest - 1; computed on the bytes before masking, so a tail
 * that overlaps a masked occurrence counts).
 *
 * A stream: hold that tail back, append the next piece to it, apply again.
 * More may be held; of what was held only the last m->longest bytes need to
 * be looked at again.  Then no key is ever sent, and nothing is changed that
 * is not part of a key, unless a key itself has asterisks.
 */
size_t hai_mask_apply(const struct hai_mask *m, void *p, size_t n);

#endif
