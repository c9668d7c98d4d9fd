/* Who calls, and what they may.  Used by all threads. */

#ifndef HAI_CONTROL_AUTH_H
#define HAI_CONTROL_AUTH_H

#include "call.h"

struct hai_auth;

/* path: the file of tokens, or NULL.  NULL with a message in error. */
struct hai_auth *hai_auth_new(const char *path, char *error, size_t size);
void hai_auth_free(struct hai_auth *auth);

/* Reads the file again; on failure the old set stays.  0, or -1. */
int hai_auth_reload(struct hai_auth *auth, char *error, size_t size);

/* Fills in call->caller.  0; or -1: the call is answered with 401. */
int hai_auth_identify(struct hai_auth *auth, struct hai_call *call);

/* May the caller do that in this project ("": none)? */
bool hai_auth_may(const struct hai_call *call, enum hai_right right,
                  const char *project);

#endif
