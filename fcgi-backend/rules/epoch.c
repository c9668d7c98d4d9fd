/* Epochs of rule sets, see epoch.h. */

#include "epoch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MS_DIGITS 15 /* until the year 33658 */

int hai_epoch_parse(const char *text, size_t len, struct hai_epoch *epoch) {
    uint64_t ms = 0;
    size_t i;

    for (i = 0; i < len && text[i] >= '0' && text[i] <= '9'; i++) {
        if (i == MS_DIGITS) {
            return -1;
        }

        ms = ms * 10 + (uint64_t) (text[i] - '0');
    }

    if (i == 0 || (i > 1 && text[0] == '0') || i == len || text[i] != '-'
        || len - i - 1 != HAI_DIGEST_LEN)
    {
        return -1;
    }

    text += i + 1;

    for (i = 0; i < HAI_DIGEST_LEN; i++) {
        if (!(text[i] >= '0' && text[i] <= '9')
            && !(text[i] >= 'a' && text[i] <= 'f')) {
            return -1;
        }
    }

    epoch->ms = ms;
    memcpy(epoch->digest, text, HAI_DIGEST_LEN);
    epoch->digest[HAI_DIGEST_LEN] = '\0';

    return 0;
}

void hai_epoch_write(const struct hai_epoch *epoch, char text[HAI_EPOCH_SIZE]) {
    snprintf(text, HAI_EPOCH_SIZE, "%" PRIu64 "-%s", epoch->ms, epoch->digest);
}

enum hai_epoch_action hai_epoch_decide(struct hai_epoch *own, const char *found,
                                       size_t len, bool fresh,
                                       uint64_t now_ms) {
    struct hai_epoch other = {0};
    bool known;

    if (found == NULL) {
        own->ms = own->ms + 1 > now_ms ? own->ms + 1 : now_ms;
        return HAI_EPOCH_WRITE;
    }

    known = hai_epoch_parse(found, len, &other) == 0;

    if (known && strcmp(other.digest, own->digest) == 0) {
        if (other.ms == own->ms) {
            return HAI_EPOCH_KEEP;
        }

        own->ms = other.ms;
        return HAI_EPOCH_ADOPT;
    }

    /* what is no epoch was not written by an engine */
    if (!fresh && known && other.ms > own->ms) {
        return HAI_EPOCH_FOREIGN;
    }

    /* ours is newer, or replaces what an earlier set of ours published */
    own->ms = now_ms > other.ms ? now_ms : other.ms + 1;

    return HAI_EPOCH_WRITE;
}
