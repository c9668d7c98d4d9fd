/* The control API for the subcommands: HTTP with libcurl, envelopes opened. */

#ifndef HAI_CLI_API_H
#define HAI_CLI_API_H

#include "lib/options.h"

#include <jansson.h>
#include <stdbool.h>

#define HAI_API_SOCKET "/run/hoody-ai/control.sock"

/* Where it is, and who asks.  For a subcommand's table of options. */
struct hai_api {
    const char *where; /* a path, or http(s)://host[:port] */
    const char *token_file;
    const char *output; /* table, json, yaml, name */
    bool no_color;
};

#define HAI_API_DEFAULT                                                        \
    {                                                                          \
        .where = HAI_API_SOCKET, .output = "table"                             \
    }

#define HAI_API_OPTIONS(api)                                                   \
    {"api",                                                                    \
     HAI_OPT_STRING,                                                           \
     &(api).where,                                                             \
     "ADDRESS",                                                                \
     "of the control API: a unix socket or a URL (" HAI_API_SOCKET ")",        \
     0,                                                                        \
     0,                                                                        \
     0},                                                                       \
        {"token-file",                                                         \
         HAI_OPT_STRING,                                                       \
         &(api).token_file,                                                    \
         "FILE",                                                               \
         "with the token; else $HOODY_TOKEN; else, on the socket, who you "    \
         "are",                                                                \
         0,                                                                    \
         0,                                                                    \
         0},                                                                   \
        {"output",                                                             \
         HAI_OPT_STRING,                                                       \
         &(api).output,                                                        \
         "FORMAT",                                                             \
         "table, json, yaml or name (table)",                                  \
         0,                                                                    \
         0,                                                                    \
         'o'},                                                                 \
    {                                                                          \
        "no-color", HAI_OPT_FLAG, &(api).no_color, NULL,                       \
            "plain text on a terminal too", 0, 0, 0                            \
    }

/* For the end of each --help. */
#define HAI_API_EXIT                                                           \
    "Exit status: 0 done, 1 the API refused (what it says is on standard "     \
    "error),\n2 wrong usage, 3 the API is not reachable."

/*
 * One call; path: below /api/v1, body: taken over, or NULL.  The `data` of the
 * answer, which the caller frees (json_null() where it has none); or NULL with
 * *status as the exit status, after a message.
 */
json_t *hai_api_call(const struct hai_api *api, const char *command,
                     const char *method, const char *path, json_t *body,
                     int *status);

/* The id of a container that is named by id or name; false as above. */
bool hai_api_container(const struct hai_api *api, const char *command,
                       const char *which, char id[25], int *status);

/* Is the format one of those?  After a message if not. */
bool hai_api_format(const struct hai_api *api, const char *command);

/* A column of a table: its title, and the member that it shows. */
struct hai_column {
    const char *title;
    const char *member;
};

/*
 * Writes an object, or a list of them, as api->output says; name: the member
 * that "-o name" shows.  Frees data.  Returns the exit status.
 */
int hai_api_show(const struct hai_api *api, json_t *data,
                 const struct hai_column *columns, size_t n, const char *name);

#endif
