/*
 * Which bytes of JSON are escaped, for 64 of them at a time.  Private to those
 * who read it in blocks.
 */

#ifndef HAI_ESCAPED_H
#define HAI_ESCAPED_H

#include <stdint.h>

/*
 * The escaped bytes among len, at most 64, given their backslashes, whose bits
 * from len on are zero.  *carry, 0 or 1: whether the first byte is escaped by
 * the one before; then the same of the byte behind them, which can have a bit
 * in the result too.
 *
 * In a run of backslashes, mostly of one, every second byte is escaped,
 * counted from the run's first, and the byte behind the run belongs to the
 * row.  So runs are told apart by the parity of their first bit: adding that
 * bit to a run carries through it and clears it.
 */
static inline uint64_t hai_escaped_bytes(uint64_t backslashes, unsigned len,
                                         uint64_t *carry) {
    const uint64_t even_bits = UINT64_C(0x5555555555555555);
    uint64_t first, even, odd, escaped, over;

    if (__builtin_expect((backslashes & (backslashes << 1 | *carry)) == 0, 1)) {
        escaped = backslashes << 1 | *carry;
        over = backslashes >> 63;

    } else {
        backslashes &= ~*carry;
        first = backslashes & ~(backslashes << 1);
        even = backslashes & ~(backslashes + (first & even_bits));
        odd = backslashes & ~even;
        escaped =
            ((even << 1) & ~even_bits) | ((odd << 1) & even_bits) | *carry;
        over = odd >> 63;
    }

    *carry = len < 64 ? escaped >> len & 1 : over;
    return escaped;
}

#endif
