/*
 * A container as the registry has it, and as the API shows it; and what a
 * body wants changed, as the registry takes it.
 */

#ifndef HAI_CONTROL_VIEW_H
#define HAI_CONTROL_VIEW_H

#include "call.h"

/* The object of the API; NULL without memory. */
json_t *hai_view_container(const struct hai_control *control, const char *name,
                           const struct hai_container_read *read);

/* What is said of a container in the audit: the same without values of
 * environment variables. */
json_t *hai_view_audit(const json_t *container);

/* A change that a body asks for.  The strings belong to it. */
struct hai_change_request {
    struct hai_container container;
    char *name; /* creating: the container's; else the new one, or NULL */
    bool has_ai;
    bool ai;
    struct hai_container_field more[24];
    json_t *body; /* borrowed from the call */
    char *owned[64];
    size_t n_owned;
};

/*
 * Reads call->body.  0; or -1: the call is answered with 400.  Fields that
 * the platform knows and this host does not have are accepted and left out;
 * others are refused.
 */
int hai_view_parse(struct hai_call *call, bool creating,
                   struct hai_change_request *change);
void hai_change_request_free(struct hai_change_request *change);

/* [A-Za-z0-9_-], 3 to 100 of them. */
bool hai_view_name_valid(const char *name);

/* 24 lower case hex digits. */
bool hai_view_id_valid(const char *id);

#endif
