/* Sorted lists of strings, for the registry's checker: they are collected,
 * sorted once, and then looked through side by side. */

#ifndef HAI_REGISTRY_NAMES_H
#define HAI_REGISTRY_NAMES_H

#include <stdbool.h>
#include <stddef.h>

struct hai_names {
    char **item;
    size_t n;
    size_t room;
};

/* Copies the bytes; 0 or -1 (no memory). */
int hai_names_add(struct hai_names *names, const char *text, size_t len);

/* In the order of bytes, each one once. */
void hai_names_sort(struct hai_names *names);

/* After hai_names_sort(). */
bool hai_names_have(const struct hai_names *names, const char *text);

void hai_names_free(struct hai_names *names);

#endif
