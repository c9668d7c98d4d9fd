/*
 * What a scan found, in one line: so the rule engine, which has scanned a
 * body, can tell the worker that will send it (docs/internals/rules.md,
 * "X-Hoody-Body").
 */

#ifndef HAI_FACTS_H
#define HAI_FACTS_H

#include "hai_json.h"

/* Bytes of the line at most, NUL included. */
#define HAI_FACTS_LINE (3 * 20 + 4 + 2 + HAI_JSON_MAX_MODEL + 1)

/* Does the body name an object that the provider keeps: a file, an earlier
 * answer, a conversation, a prompt? */
bool hai_facts_stored(const struct hai_json_facts *facts);

/*
 * Writes what is known of an accepted body of that size to line, which has
 * HAI_FACTS_LINE bytes, and ends it with NUL.  Returns its length, or 0 for a
 * body that such a line cannot tell of: where the model has bytes other than
 * printable ASCII, or a space.
 */
size_t hai_facts_write(const struct hai_json_facts *facts, uint64_t size,
                       char *line);

/*
 * Reads a line about a body of that size; false for anything else than
 * hai_facts_write() makes.  Of the facts are then known: the model and where
 * it lies, stream, and what hai_facts_stored() tells.  The rest is as if the
 * body had no more in it.
 */
bool hai_facts_read(struct hai_json_facts *facts, uint64_t size,
                    const char *line, size_t len);

#endif
