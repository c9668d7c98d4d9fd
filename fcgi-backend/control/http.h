/* HTTP to a runtime's API on a unix socket, with libcurl. */

#ifndef HAI_CONTROL_HTTP_H
#define HAI_CONTROL_HTTP_H

#include "runtime.h"

#include <curl/curl.h>
#include <jansson.h>

#define HAI_HTTP_TEXT 512

/*
 * One request.  body: sent as JSON, or NULL.  *reply: the answer's JSON, or
 * NULL where it has none; the caller frees it.  Returns the status; -1 with *e
 * filled in where there is no answer within timeout_ms.
 */
long hai_http(const char *socket, const char *method, const char *path,
              const json_t *body, long timeout_ms, json_t **reply,
              struct hai_runtime_error *e);

/* What follows from a status that is not wanted: fills in *e with the member
 * of the reply that says why; -1. */
int hai_http_fail(long status, const json_t *reply, const char *member,
                  struct hai_runtime_error *e);

#endif
