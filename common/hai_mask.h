/*
 * Finds configured keys in a byte stream and overwrites them with as many
 * asterisks, over any split into pieces (design, section 6 "Masking").
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
 */
size_t hai_mask_apply(const struct hai_mask *m, void *p, size_t n);

/*
 * The same for a stream of pieces.  `held` is the caller's memory of at least
 * m->longest * 2 bytes that keeps a tail between calls.
 */
struct hai_mask_stream {
    uint8_t *held;   /* the caller sets it, */
    size_t held_len; /* and 0 here */
    size_t held_key; /* private: the key that the held bytes begin */
};

/*
 * Feeds p[0..n).  On return the caller sends, in this order: the first
 * *release bytes of ms->held, then the first (return value) bytes of p; the
 * rest of p has been copied to the hold and must not be sent.  After sending,
 * the caller calls hai_mask_settle().  When *release is 0 and the return
 * value is n nothing is held: the common case costs only the search.
 */
size_t hai_mask_feed(const struct hai_mask *m, struct hai_mask_stream *ms,
                     void *p, size_t n, size_t *release);

/*
 * Drops the released bytes from the hold, and wipes them there.  At the end of
 * the stream the bytes still held are sent as they are: what belongs to a
 * complete key is masked in them already.
 */
void hai_mask_settle(struct hai_mask_stream *ms, size_t release);

#endif
