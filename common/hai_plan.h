/*
 * The engine's answer to the question "plan": application/vnd.hoody.plan+json
 * (docs/internals/rules.md, "Plans").  Pure: text in, changes out.
 */

#ifndef HAI_PLAN_H
#define HAI_PLAN_H

#include "hai_change.h"

#define HAI_PLAN_MAX (1024 * 1024)
#define HAI_PLAN_EPOCH_MAX 128 /* bytes */

struct hai_plan {
    struct hai_slice epoch; /* of the rules that it was made from */
    bool ask_body;          /* ask for each request, with the body */
    bool any_model;         /* ... whatever its model */
    struct hai_change *changes;
    size_t n;
    size_t memory; /* bytes that this plan takes */
};

/*
 * Reads a plan of at most HAI_PLAN_MAX bytes and HAI_CHANGES_MAX edits into one block of memory that
 * keeps nothing of the input; NULL with a short static reason in *error.
 * The caller frees it with hai_plan_free(), which takes NULL.
 */
struct hai_plan *hai_plan_read(const char *json, size_t len,
                               const char **error);
void hai_plan_free(struct hai_plan *plan);

#endif
