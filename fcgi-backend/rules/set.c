/* The rule set in force, see set.h. */

#include "set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fired_unref(struct hai_fired *fired) {
    if (fired != NULL && atomic_fetch_sub(&fired->refs, 1) == 1) {
        free(fired);
    }
}

/* A rule mostly stays where it was: look there first. */
static struct hai_fired *fired_find(const struct hai_set *set,
                                    const struct hai_rule *rule) {
    const struct hai_rules *rules = set->rules;
    size_t i;

    if (rule->index < rules->n
        && strcmp(rules->rule[rule->index].id, rule->id) == 0)
    {
        return set->fired[rule->index];
    }

    for (i = 0; i < rules->n; i++) {
        if (strcmp(rules->rule[i].id, rule->id) == 0) {
            return set->fired[i];
        }
    }

    return NULL;
}

struct hai_set *hai_set_new(struct hai_rules *rules, const char *epoch,
                            const struct hai_set *before) {
    struct hai_set *set;
    size_t i;

    set = calloc(1, sizeof(*set));
    if (set == NULL) {
        return NULL;
    }

    atomic_init(&set->refs, 1);
    set->rules = hai_rules_ref(rules);
    snprintf(set->epoch, sizeof(set->epoch), "%s", epoch);

    set->fired = calloc(rules->n + 1, sizeof(*set->fired));
    if (set->fired == NULL) {
        hai_set_unref(set);
        return NULL;
    }

    for (i = 0; i < rules->n; i++) {
        struct hai_fired *fired = NULL;

        if (before != NULL) {
            fired = fired_find(before, &rules->rule[i]);
        }

        if (fired == NULL) {
            fired = calloc(1, sizeof(*fired));
            if (fired == NULL) {
                hai_set_unref(set);
                return NULL;
            }
        }

        atomic_fetch_add(&fired->refs, 1);
        set->fired[i] = fired;
    }

    return set;
}

void hai_set_unref(struct hai_set *set) {
    size_t i;

    if (set == NULL || atomic_fetch_sub(&set->refs, 1) != 1) {
        return;
    }

    if (set->fired != NULL) {
        for (i = 0; i < set->rules->n; i++) {
            fired_unref(set->fired[i]);
        }
    }

    free(set->fired);
    hai_rules_unref(set->rules);
    free(set);
}

int hai_current_init(struct hai_current *current) {
    current->set = NULL;

    return pthread_mutex_init(&current->lock, NULL) == 0 ? 0 : -1;
}

void hai_current_destroy(struct hai_current *current) {
    hai_set_unref(current->set);
    pthread_mutex_destroy(&current->lock);
}

struct hai_set *hai_current_take(struct hai_current *current) {
    struct hai_set *set;

    pthread_mutex_lock(&current->lock);

    set = current->set;
    if (set != NULL) {
        atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    }

    pthread_mutex_unlock(&current->lock);

    return set;
}

void hai_current_put(struct hai_current *current, struct hai_set *set) {
    struct hai_set *before;

    pthread_mutex_lock(&current->lock);
    before = current->set;
    current->set = set;
    pthread_mutex_unlock(&current->lock);

    hai_set_unref(before);
}
