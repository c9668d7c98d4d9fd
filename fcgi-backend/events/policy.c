/* Outcomes and back-off, see policy.h. */

#include "policy.h"

enum hai_outcome hai_outcome_of(long status) {
    if (status >= 200 && status < 300) {
        return HAI_OUTCOME_DONE;
    }
    if (status == 408 || status == 429 || status >= 500 || status < 200) {
        return HAI_OUTCOME_LATER;
    }
    return HAI_OUTCOME_DEAD;
}

uint64_t hai_backoff(uint64_t shortest, unsigned attempt, long retry_after,
                     uint64_t random) {
    uint64_t longest = shortest * HAI_BACKOFF_FACTOR;
    uint64_t ceiling = shortest;
    uint64_t pause, asked;

    for (unsigned i = 0; i < attempt && ceiling < longest; i++) {
        ceiling *= 2;
    }
    if (ceiling > longest) {
        ceiling = longest;
    }

    pause = shortest + random % (ceiling - shortest + 1);

    if (retry_after > 0) {
        if (retry_after > HAI_RETRY_AFTER_MAX) {
            retry_after = HAI_RETRY_AFTER_MAX;
        }
        asked = (uint64_t) retry_after * 1000;
        if (asked > pause) {
            pause = asked;
        }
    }
    return pause;
}
