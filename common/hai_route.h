/*
 * The routes that the gateway passes on, everything else is denied (design,
 * sections 4 and 14.4).  Pure: a path and a method in, a route out.
 */

#ifndef HAI_ROUTE_H
#define HAI_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

enum hai_method {
    HAI_GET = 1,
    HAI_POST = 2,
    HAI_DELETE = 4,
    HAI_OTHER_METHOD = 8
};

/* What the body of a request on this route may be. */
enum hai_body_kind {
    HAI_BODY_NONE,    /* no body */
    HAI_BODY_JSON,    /* one JSON object, not empty */
    HAI_BODY_FORM,    /* multipart/form-data, else one JSON object */
    HAI_BODY_OPTIONAL /* as HAI_BODY_FORM, or empty */
};

/*
 * How rules see a request on this route (docs/internals/rules.md, "The way of
 * a request").  A body that is not JSON where JSON or a form is allowed is
 * opaque as well.
 */
enum hai_route_rules {
    HAI_RULES_NONE,    /* not at all: nothing that a rule could be about */
    HAI_RULES_JSON,    /* rules change its body */
    HAI_RULES_OPAQUE,  /* rules apply, but cannot look into the request */
    HAI_RULES_OPTIONAL /* HAI_RULES_NONE with an empty body, else OPAQUE */
};

struct hai_route {
    const char *pattern;
    size_t len;       /* of the pattern */
    unsigned methods; /* of enum hai_method */
    const char *api;  /* value of HOODY_API and $hoody_ai_api */
    enum hai_body_kind body;
    enum hai_route_rules rules;
    bool stored;    /* reads or writes objects kept at the provider's account */
    bool anthropic; /* errors have Anthropic's shape */
};

/*
 * Finds the route of a normalised path relative to the location's prefix
 * ("chat/completions"); no query, no leading slash.  NULL: not allowed.
 */
const struct hai_route *hai_route_find(const char *path, size_t len,
                                       enum hai_method method);

/*
 * Does a model say something new on this route?  Not where tokens are counted,
 * or a stored answer is read again.
 */
bool hai_route_is_turn(const struct hai_route *route);

/* Do errors for this path, known route or not, have Anthropic's shape? */
bool hai_route_is_anthropic(const char *path, size_t len);

#endif
