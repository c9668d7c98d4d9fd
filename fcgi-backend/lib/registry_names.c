/* Sorted lists of strings, see registry_names.h. */

#include "registry_names.h"

#include <stdlib.h>
#include <string.h>

int hai_names_add(struct hai_names *names, const char *text, size_t len) {
    char *copy = malloc(len + 1);

    if (copy == NULL) {
        return -1;
    }
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (names->n == names->room) {
        size_t room = names->room > 0 ? 2 * names->room : 256;
        char **item = realloc(names->item, room * sizeof(*item));

        if (item == NULL) {
            free(copy);
            return -1;
        }
        names->item = item;
        names->room = room;
    }
    names->item[names->n++] = copy;
    return 0;
}

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *) a, *(char *const *) b);
}

void hai_names_sort(struct hai_names *names) {
    size_t i, n = 0;

    if (names->n == 0) {
        return;
    }
    qsort(names->item, names->n, sizeof(*names->item), compare);
    for (i = 1; i < names->n; i++) {
        if (strcmp(names->item[i], names->item[n]) == 0) {
            free(names->item[i]);
        } else {
            names->item[++n] = names->item[i];
        }
    }
    names->n = n + 1;
}

bool hai_names_have(const struct hai_names *names, const char *text) {
    return names->n > 0
           && bsearch(&text, names->item, names->n, sizeof(*names->item),
                      compare)
                  != NULL;
}

void hai_names_free(struct hai_names *names) {
    size_t i;

    for (i = 0; i < names->n; i++) {
        free(names->item[i]);
    }
    free(names->item);
    memset(names, 0, sizeof(*names));
}
