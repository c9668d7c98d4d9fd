/*
 * The rule set in force: rules with the epoch under which they are known, and
 * how often each has fired.  Any thread takes a reference; the watcher puts
 * another one in its place.
 */

#ifndef HAI_RULES_SET_H
#define HAI_RULES_SET_H

#include "epoch.h"
#include "lib/rules.h"

#include <pthread.h>
#include <stdatomic.h>

/* How often the rule of an id fired; goes from set to set. */
struct hai_fired {
    atomic_size_t refs;
    atomic_ullong n;
};

struct hai_set {
    atomic_size_t refs;
    struct hai_rules *rules;
    char epoch[HAI_EPOCH_SIZE];
    struct hai_fired **fired; /* by index of the rule */
};

/*
 * The lock is held for the few instructions that a reference takes.  It is
 * what makes taking one safe: between reading the pointer and counting the
 * reference the set cannot be given up by the watcher.
 */
struct hai_current {
    pthread_mutex_t lock;
    struct hai_set *set; /* NULL until the first one was loaded */
};

/*
 * A set with a reference to these rules.  The counters of rules that `before`
 * (may be NULL) has too are shared with it.  NULL without memory.
 */
struct hai_set *hai_set_new(struct hai_rules *rules, const char *epoch,
                            const struct hai_set *before);
void hai_set_unref(struct hai_set *set);

int hai_current_init(struct hai_current *current);
void hai_current_destroy(struct hai_current *current);

/* A reference that the caller gives back with hai_set_unref(), or NULL. */
struct hai_set *hai_current_take(struct hai_current *current);

/* Takes the caller's reference over. */
void hai_current_put(struct hai_current *current, struct hai_set *set);

#endif
