/* One HTTP GET, for the status page of a gateway. */

#ifndef HAI_FETCH_H
#define HAI_FETCH_H

#include <jansson.h>
#include <stddef.h>

#define HAI_FETCH_MAX (64 * 1024 * 1024)

/*
 * The JSON object at an http or https URL.  NULL with a message in error when
 * it cannot be had within timeout_ms, or is something else.
 */
json_t *hai_fetch_json(const char *url, long timeout_ms, char *error,
                       size_t size);

#endif
