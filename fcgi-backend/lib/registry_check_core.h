/* What the files of the registry's checker share. */

#ifndef HAI_REGISTRY_CHECK_CORE_H
#define HAI_REGISTRY_CHECK_CORE_H

#include "registry_check.h"
#include "registry_internal.h"
#include "registry_names.h"

#define HAI_REGISTRY_BATCH 256 /* calls that are under way */

struct hai_registry_checker {
    struct hai_registry_writer *w;
    const struct hai_registry_check_options *options;
    struct hai_registry_report *report;
    bool migrating; /* only index and versions are put right */
    bool unusable;  /* keys of wrong types: the functions cannot look */
    bool rebuild;   /* the index is of a wrong type */
    char *error;
    size_t size;

    struct hai_names names;   /* of what may be a container */
    struct hai_names owners;  /* members of the index as they are */
    struct hai_names claims;  /* "<claim> <name>" as the hashes make them */
    struct hai_names orphans; /* "<name> <claim>": in the index only */
    struct hai_names drifted; /* whose part of the index is built anew */
    struct hai_names broken;  /* to be put right */
};

/* Each returns 0, or -1 with a message. */
int hai_registry_collect_types(struct hai_registry_checker *check);
int hai_registry_collect(struct hai_registry_checker *check);
int hai_registry_inspect(struct hai_registry_checker *check);
int hai_registry_compare(struct hai_registry_checker *check);
int hai_registry_repair(struct hai_registry_checker *check);

/* Adds to the report; kind is one of the table in registry_check.c. */
int hai_registry_found(struct hai_registry_checker *check, const char *kind,
                       const char *subject, const char *detail);

int hai_registry_no_memory(struct hai_registry_checker *check);

#endif
