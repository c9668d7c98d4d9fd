/* What the rule engine says of itself, in rules_status.c. */

#ifndef HAI_ENGINE_STATUS_H
#define HAI_ENGINE_STATUS_H

#include <jansson.h>
#include <stddef.h>

#define HAI_CLI_ENGINE_SOCKET "/run/hoody-ai/rules.sock"

/* An object; NULL with a message in error. */
json_t *hai_cli_engine_status(const char *address, int timeout_ms, char *error,
                              size_t size);

#endif
