/*
 * The same changes on jansson's tree: what the edits of hai_changes_apply()
 * are compared with, in the unit test and in the fuzzer.  Written from the
 * table in docs/internals/rules.md, with nothing of the code under test.
 */

#ifndef CHANGE_MODEL_H
#define CHANGE_MODEL_H

#include "hai_change.h"

#include <jansson.h>

/* Applies one change to root; false: it has no place for it. */
bool model_apply(json_t *root, enum hai_api api, const struct hai_change *c);

#endif
