/*
 * What an entry of the stream causes: a line in the audit log, a webhook,
 * entries `rule`.  docs/internals/events.md has the table.
 */

#ifndef HAI_EVENTS_EFFECTS_H
#define HAI_EVENTS_EFFECTS_H

#include "args.h"
#include "entry.h"
#include "lib/evaluate.h"

struct hai_effects {
    char *line; /* with its line end; or NULL */
    size_t line_len;
    char *delivery;          /* for the retry list; or NULL */
    struct hai_args derived; /* for hai_store_commit() */
};

/*
 * Of an entry `rule`, `denied`, `revoked`, `rules.reload` or `session.error`,
 * what it says itself; others cause nothing.  0, or -1 without memory.
 */
int hai_effects_direct(struct hai_effects *e, const struct hai_entry *entry,
                       bool audit);

/*
 * Of an entry `request` or `session.error`, what the rules say.  tags: of the
 * container.  0, or -1 without memory.
 */
int hai_effects_rules(struct hai_effects *e, const struct hai_entry *entry,
                      const struct hai_rules *rules, struct hai_slice tags,
                      struct hai_cooldown *cooldown, uint64_t now_ms);

/* May hai_effects_rules() have something to say? */
bool hai_effects_wanted(const struct hai_entry *entry,
                        const struct hai_rules *rules);

/* Does it cause anything but its acknowledgement? */
bool hai_effects_any(const struct hai_effects *e);

void hai_effects_init(struct hai_effects *e);
void hai_effects_free(struct hai_effects *e);

#endif
