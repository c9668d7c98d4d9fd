/* What the connectors share: their part of --runtime, and reading what a
 * runtime answers. */

#ifndef HAI_CONTROL_CONNECTOR_H
#define HAI_CONTROL_CONNECTOR_H

#include "runtime.h"

/* A word behind the socket, "name=value". */
struct hai_connector_word {
    const char *name;
    char **value; /* NULL before; what it points to is the caller's to free */
};

/*
 * Reads "<socket>[,<word>...]".  0 with *socket, a path, which the caller
 * frees; or -1 with *e, in which case all that was set has to be freed as well.
 */
int hai_connector_spec(const char *connector, const char *spec, char **socket,
                       const struct hai_connector_word *words, size_t n,
                       struct hai_runtime_error *e);

/* Adds a word to a list that realloc() may move; "" and NULL are none.  NULL
 * without memory, and then text is freed. */
char *hai_connector_add(char *text, const char *word);

/* A member that is a string, or "". */
const char *hai_connector_text(const json_t *object, const char *name);

/* A label: 1 for "true" and "1", 0 for any other text, -1 where it is not. */
int hai_connector_label(const json_t *labels, const char *name);

#endif
