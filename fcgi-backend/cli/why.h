/* hoody-ai why: what its files share. */

#ifndef HAI_WHY_H
#define HAI_WHY_H

#include "registry_open.h"

#include "lib/registry_decide.h"

#include <jansson.h>

struct why {
    struct hai_cli_registry registry;
    const char *claim, *from, *peer, *cgroup;
    const char *method, *uri, *location, *model, *rules, *gateway;
    bool stored;
    long timeout_ms;

    struct hai_registry_sum sum;
    struct hai_decision decision;
    const char *container; /* of the claim, a prefix taken off */
    const struct hai_route *route;
    char *path; /* behind the location; NULL: nothing was asked */
    json_t *steps;
    json_t *claimed_by; /* names of all that claim the source */
};

enum hai_step { HAI_STEP_FINE, HAI_STEP_WRONG, HAI_STEP_NOTE };

/* Adds a step; what is no printable ASCII becomes "?". */
void hai_why_step(struct why *w, const char *name, enum hai_step state,
                  const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* The steps, from what the decision has: claim to gate. */
void hai_why_explain(struct why *w);

/* The steps that do not decide: limits and rules. */
void hai_why_limits(struct why *w);
void hai_why_rules(struct why *w);

/*
 * What a gateway's workers have of the registry.  HAI_REASON_OK, or what they
 * answer at this moment whatever is in Redis.
 */
enum hai_reason hai_why_gateway(struct why *w);

/* How to mend it: one sentence or two. */
const char *hai_why_mend(const struct why *w, enum hai_reason reason);

#endif
