/* What the connectors share, see connector.h. */

#include "connector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(struct hai_runtime_error *e) {
    return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
}

static int take_word(const char *connector, const char *word,
                     const struct hai_connector_word *words, size_t n,
                     struct hai_runtime_error *e) {
    size_t len = strcspn(word, "=");

    for (size_t i = 0; i < n; i++) {
        if (word[len] == '=' && strlen(words[i].name) == len
            && memcmp(words[i].name, word, len) == 0 && *words[i].value == NULL)
        {
            *words[i].value = strdup(word + len + 1);
            return *words[i].value != NULL ? 0 : no_memory(e);
        }
    }

    return hai_runtime_fail(e, HAI_RUNTIME_INVALID,
                            "%s=: \"%s\" is unknown, or there twice", connector,
                            word);
}

int hai_connector_spec(const char *connector, const char *spec, char **socket,
                       const struct hai_connector_word *words, size_t n,
                       struct hai_runtime_error *e) {
    char *copy = strdup(spec), *next = NULL, *word;
    int rc = 0;

    if (copy == NULL) {
        return no_memory(e);
    }

    word = strtok_r(copy, ",", &next);
    if (word != NULL && strncmp(word, "unix:", 5) == 0) {
        word += 5;
    }

    if (word == NULL || *word != '/') {
        rc = hai_runtime_fail(e, HAI_RUNTIME_INVALID,
                              "%s=: the path of a unix socket is missing",
                              connector);
    } else if ((*socket = strdup(word)) == NULL) {
        rc = no_memory(e);
    }

    while (rc == 0 && (word = strtok_r(NULL, ",", &next)) != NULL) {
        rc = take_word(connector, word, words, n, e);
    }

    free(copy);

    return rc;
}

char *hai_connector_add(char *text, const char *word) {
    size_t len = strlen(text), n = word != NULL ? strlen(word) : 0;
    char *more;

    if (n == 0) {
        return text;
    }

    more = realloc(text, len + n + 2);
    if (more == NULL) {
        free(text);
        return NULL;
    }

    snprintf(more + len, n + 2, "%s%s", len > 0 ? " " : "", word);

    return more;
}

const char *hai_connector_text(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

int hai_connector_label(const json_t *labels, const char *name) {
    const char *text = json_string_value(json_object_get(labels, name));

    if (text == NULL) {
        return -1;
    }

    return strcmp(text, "true") == 0 || strcmp(text, "1") == 0;
}
