/*
 * Finds what does not fit together in a registry, and puts right what is
 * beyond doubt.  What is wrong with one container is decided by the functions
 * of redis-schema/hoody_ai.lua, in one step and on what is there at that
 * moment: writers may go on meanwhile.
 */

#ifndef HAI_REGISTRY_CHECK_H
#define HAI_REGISTRY_CHECK_H

#include "registry_writer.h"

struct hai_registry_finding {
    const char *kind; /* static: a word of the table in docs/REGISTRY.md */
    char *subject;    /* a container's name, or a key or member */
    char *detail;
    bool can_repair;
    bool repaired;
};

struct hai_registry_report {
    struct hai_registry_finding *finding;
    size_t n;
    size_t room;
    size_t repaired;
    size_t containers; /* hashes that there are */
    long schema;
};

struct hai_registry_check_options {
    bool repair;
    /* told now and then, with what is being done; NULL: nobody is */
    void (*progress)(const char *what, size_t done, size_t of);
};

/* 0 when everything was looked at; or -1 with a message.  In both cases
 * hai_registry_report_free(). */
int hai_registry_check(struct hai_registry_writer *w,
                       const struct hai_registry_check_options *options,
                       struct hai_registry_report *report, char *error,
                       size_t size);
void hai_registry_report_free(struct hai_registry_report *report);

/*
 * From an older layout to the current one: 1 when it was done, 0 when nothing
 * was to be done, -1 with a message.  May be interrupted and begun again; the
 * functions but disable and delete refuse to write until it is through.
 */
int hai_registry_migrate(struct hai_registry_writer *w,
                         const struct hai_registry_check_options *options,
                         size_t *containers, char *error, size_t size);

/*
 * Are the functions in Redis those of this program?  0: yes; 1: they were
 * not, and now are (only_check: they are not); -1 with a message, also where
 * Redis has newer ones.
 */
int hai_registry_load(struct hai_registry_writer *w, bool only_check,
                      char *error, size_t size);

/* 0: the current layout; or -1 with a message that says what to do. */
int hai_registry_layout(struct hai_registry_writer *w, long schema, char *error,
                        size_t size);

#endif
