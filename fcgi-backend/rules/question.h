/*
 * One question of the gateway: its parameters and body, the evaluation, the
 * answer (docs/internals/rules.md, "Questions").
 */

#ifndef HAI_RULES_QUESTION_H
#define HAI_RULES_QUESTION_H

#include "buf.h"
#include "engine.h"
#include "hai_edit.h"
#include "hai_json.h"

#include <fcgiapp.h>

#define HAI_BODY_MAX (64UL * 1024 * 1024)

/* What a worker keeps from question to question. */
struct hai_scratch {
    struct hai_json *scanner;
    struct hai_edits edits;
    struct hai_buf body;   /* as it was received */
    struct hai_buf answer; /* body of the answer */
};

/* 0, or -1 without memory.  Both may be given to hai_scratch_free(). */
int hai_scratch_init(struct hai_scratch *s);
void hai_scratch_free(struct hai_scratch *s);

/* Makes it ready for the next question; what a large one took is given
 * back. */
void hai_scratch_reset(struct hai_scratch *s);

/*
 * Reads the question's body and writes the answer to the request's stream.
 * 0, or -1: the connection is broken, or has bytes that nobody will read, and
 * cannot be kept.
 */
int hai_question_answer(struct hai_engine *engine, struct hai_scratch *s,
                        FCGX_Request *request);

#endif
