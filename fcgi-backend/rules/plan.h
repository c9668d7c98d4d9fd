/*
 * Writes the answer to the question `plan`, which common/hai_plan.c reads
 * (docs/internals/rules.md, "Plans").
 */

#ifndef HAI_RULES_PLAN_H
#define HAI_RULES_PLAN_H

#include "buf.h"
#include "hai_change.h"

/* message changes have no place in a plan: false, nothing is written. */
bool hai_plan_write(struct hai_buf *b, const char *epoch,
                    const struct hai_change *changes, size_t n);

/* "Ask with each body", of any model or of the one that was asked about. */
void hai_plan_write_ask(struct hai_buf *b, const char *epoch, bool any_model);

#endif
