/*
 * What rules want of a request body, and the edits that bring it about.  The
 * rule engine and the worker (for kept plans) call the same function, so both
 * make the same bytes.  docs/internals/rules.md, "Changes", says for each
 * dialect where a change goes.
 */

#ifndef HAI_CHANGE_H
#define HAI_CHANGE_H

#include "hai_body.h"
#include "hai_edit.h"
#include "hai_identity.h"

enum hai_change_op {
    HAI_CHANGE_APPEND,  /* text behind the system prompt */
    HAI_CHANGE_PREPEND, /* text before the system prompt */
    HAI_CHANGE_MESSAGE, /* text at the end of the newest user message */
    HAI_CHANGE_SET,     /* a top-level field: value, or min, max, fallback */
    HAI_CHANGE_REMOVE   /* a top-level field */
};

#define HAI_CHANGES_MAX 1024        /* of one body */
#define HAI_CHANGE_FIELD_MAX 256    /* bytes of a field's name */
#define HAI_CHANGE_PROMPTS_MAX 2048 /* strings in the array "prompt" */

/* Bytes added to all of them: a small body must not become a huge one. */
#define HAI_CHANGE_PROMPTS_TEXT (1024UL * 1024)

/* A text of no bytes changes nothing. */
struct hai_change {
    enum hai_change_op op;
    struct hai_slice text;  /* append, prepend, message: UTF-8, not escaped */
    struct hai_slice field; /* set, remove: UTF-8, not escaped */

    /* The text by hai_change_escape(), if somebody keeps it; else data NULL. */
    struct hai_slice escaped;

    /*
     * set: JSON texts, data NULL where not given.  Either value alone, or
     * min, max (numbers) and fallback (any value): a number beyond a bound
     * becomes the bound, what is no number and not null becomes max, or min;
     * an absent field or null becomes fallback, or stays.  A number of more
     * than 64 bytes counts as none.
     */
    struct hai_slice value;
    struct hai_slice min;
    struct hai_slice max;
    struct hai_slice fallback;
};

enum hai_change_status {
    HAI_CHANGE_OK = 0,
    HAI_CHANGE_SHAPE, /* the body has no place for it: invalid_body */
    HAI_CHANGE_NO_MEMORY
};

/*
 * May this field be set or removed?  Not what has a change of its own or
 * decides the form of the answer: messages, system, instructions, input,
 * prompt, stream.  Not what the scanner would refuse as ambiguous, what is
 * no UTF-8, empty, or too long.
 */
bool hai_change_field_valid(const char *name, size_t len);

/* Bytes that hai_change_escape() adds to an escaped text. */
#define HAI_CHANGE_ESCAPED_MORE 8

/*
 * Sets change->escaped, for a change that is applied to many bodies.  Writes
 * it to the room before end, which has to live as long as the change, and
 * returns the end of what was written.  Where there is no text, or it is not
 * UTF-8, or the room is too small, nothing is written, and
 * hai_changes_apply() does as without it.
 */
char *hai_change_escape(struct hai_change *change, char *room, const char *end);

/*
 * Applies the changes in their order.  *out is emptied and gets the sorted
 * edits, maybe none.  Their texts are its own, or change->escaped; nothing else
 * of the changes is needed any more, and nothing of the body.  On
 * HAI_CHANGE_SHAPE *why is a short English reason, static, without content of
 * the body; it is also the answer to a text that is not UTF-8, to a field that
 * may not be set and to too many changes.
 */
enum hai_change_status hai_changes_apply(const struct hai_body *body,
                                         enum hai_api api,
                                         const struct hai_change *changes,
                                         size_t n, struct hai_edits *out,
                                         const char **why);

/*
 * Is what a scan found of a body (model, stream, references to stored
 * objects) as true after these changes as before?  Only what sets or removes
 * a field can alter it.
 */
bool hai_changes_keep_facts(const struct hai_change *changes, size_t n);

#endif
