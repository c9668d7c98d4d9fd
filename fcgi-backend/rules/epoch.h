/*
 * The epoch of a rule set, "<milliseconds since 1970>-<digest>", and what an
 * engine does about the one that it finds in Redis (docs/internals/rules.md,
 * "The epoch").  Pure.
 */

#ifndef HAI_RULES_EPOCH_H
#define HAI_RULES_EPOCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HAI_DIGEST_LEN 16 /* hex digits */
#define HAI_EPOCH_SIZE 40 /* text with its NUL */

struct hai_epoch {
    uint64_t ms;
    char digest[HAI_DIGEST_LEN + 1];
};

enum hai_epoch_action {
    HAI_EPOCH_KEEP,   /* Redis has ours */
    HAI_EPOCH_ADOPT,  /* the same rules, published by somebody else */
    HAI_EPOCH_WRITE,  /* publish ours */
    HAI_EPOCH_FOREIGN /* somebody else published other rules: leave it */
};

/* 0, or -1 for anything that hai_epoch_write() would not write. */
int hai_epoch_parse(const char *text, size_t len, struct hai_epoch *epoch);

void hai_epoch_write(const struct hai_epoch *epoch, char text[HAI_EPOCH_SIZE]);

/*
 * found: what Redis has, NULL for no key.  fresh: our set has just changed.
 * For HAI_EPOCH_ADOPT and HAI_EPOCH_WRITE *own becomes what is in force from
 * now on; the latter is later than what was found and than now_ms.
 */
enum hai_epoch_action hai_epoch_decide(struct hai_epoch *own, const char *found,
                                       size_t len, bool fresh, uint64_t now_ms);

#endif
