/*
 * SipHash-1-3 (Aumasson and Bernstein, 2012) over 64-bit words: who does not
 * know the seed cannot choose inputs whose hashes collide.
 */

#ifndef HAI_SIP_H
#define HAI_SIP_H

#include <stddef.h>
#include <stdint.h>

struct hai_sip {
    uint64_t v0, v1, v2, v3;
};

static inline uint64_t hai_sip_rotate(uint64_t x, int n) {
    return x << n | x >> (64 - n);
}

static inline void hai_sip_round(struct hai_sip *s) {
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = hai_sip_rotate(s->v1, 13) ^ s->v0;
    s->v3 = hai_sip_rotate(s->v3, 16) ^ s->v2;
    s->v0 = hai_sip_rotate(s->v0, 32) + s->v3;
    s->v2 += s->v1;
    s->v3 = hai_sip_rotate(s->v3, 21) ^ s->v0;
    s->v1 = hai_sip_rotate(s->v1, 17) ^ s->v2;
    s->v2 = hai_sip_rotate(s->v2, 32);
}

static inline void hai_sip_start(struct hai_sip *s, const uint64_t seed[2]) {
    s->v0 = seed[0] ^ UINT64_C(0x736f6d6570736575);
    s->v1 = seed[1] ^ UINT64_C(0x646f72616e646f6d);
    s->v2 = seed[0] ^ UINT64_C(0x6c7967656e657261);
    s->v3 = seed[1] ^ UINT64_C(0x7465646279746573);
}

static inline void hai_sip_word(struct hai_sip *s, uint64_t word) {
    s->v3 ^= word;
    hai_sip_round(s);
    s->v0 ^= word;
}

/* rest: the bytes behind the last word, fewer than 8. */
static inline uint64_t hai_sip_end(struct hai_sip *s, uint64_t rest,
                                   size_t len) {
    hai_sip_word(s, rest | (uint64_t) len << 56);
    s->v2 ^= 0xff;
    hai_sip_round(s);
    hai_sip_round(s);
    hai_sip_round(s);

    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

#endif
