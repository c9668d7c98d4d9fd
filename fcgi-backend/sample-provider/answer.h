/*
 * An answer: what is said, and how far it has been written.
 *
 * An answer is a row of events, an event is bytes before the text, a range of
 * the text, and bytes behind it.  Only the event being written exists in
 * memory, so a text of any size costs nothing.
 */

#ifndef HAI_SP_ANSWER_H
#define HAI_SP_ANSWER_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "buf.h"
#include "control.h"
#include "http.h"

struct hai_sp_answer;

/* Where an answer stands. */
enum hai_sp_step {
    HAI_SP_STEP_OPEN,  /* before the first delta */
    HAI_SP_STEP_DELTA, /* the text, one delta at a time */
    HAI_SP_STEP_CLOSE, /* the events behind the text, see "closing" */
    HAI_SP_STEP_DONE
};

/* How one API writes its parts; each puts one event into pre and post. */
struct hai_sp_format {
    void (*whole)(struct hai_sp_answer *a);
    void (*open)(struct hai_sp_answer *a);
    void (*delta)(struct hai_sp_answer *a);
    void (*close)(struct hai_sp_answer *a); /* moves on to DONE itself */
    void (*error)(struct hai_sp_answer *a);
};

/* The text: "len" bytes of a pattern that repeats. */
struct hai_sp_text {
    const char *pattern; /* valid UTF-8 */
    size_t period;
    uint64_t len;
    bool plain; /* nothing in it needs a JSON escape */
};

struct hai_sp_answer {
    const struct hai_sp_format *format; /* NULL: the body is "pre" alone */
    bool anthropic;
    bool stream;
    int status;
    const char *content_type;
    char id[40];
    char call_id[40];
    char request_id[40];
    time_t created;
    struct hai_sp_buf model; /* escaped */

    struct hai_sp_text text;
    struct hai_sp_buf text_own;
    bool tool;                   /* the text is the arguments of a call */
    struct hai_sp_buf tool_name; /* escaped */

    uint64_t usage_in;
    uint64_t usage_out;
    uint64_t usage_cached;
    bool usage;       /* report it */
    bool usage_event; /* OpenAI: the client asked for it in the stream */

    /* progress */
    enum hai_sp_step step;
    unsigned closing;    /* count of events behind the text */
    unsigned seq;        /* sequence_number */
    uint64_t pos;        /* of the text */
    uint64_t chunk_size; /* bytes of text a delta */
    uint64_t deltas;     /* written so far */
    bool clock;

    /* the event being written */
    bool event;
    bool raw; /* the text goes out without JSON escapes */
    struct hai_sp_buf pre;
    struct hai_sp_buf post;
    uint64_t from;
    uint64_t to;
    size_t pre_sent;
    size_t post_sent;
};

void hai_sp_answer_init(struct hai_sp_answer *a);
void hai_sp_answer_free(struct hai_sp_answer *a);

/* Ready for the next request; keeps memory of modest size. */
void hai_sp_answer_reset(struct hai_sp_answer *a);

/*
 * Chooses the text, the size of the deltas and the usage after what the
 * client asked.  "key" is the API key that arrived.  Returns 0, or -1 without
 * memory.
 */
int hai_sp_answer_text(struct hai_sp_answer *a, const struct hai_sp_control *c,
                       const struct hai_sp_request *r, struct hai_sp_slice key);

/* Bytes of a whole answer's body (step OPEN, not a stream). */
uint64_t hai_sp_answer_length(const struct hai_sp_answer *a);

/* Prepares the next event; there is one unless the step is DONE. */
void hai_sp_answer_next(struct hai_sp_answer *a);

/* Prepares an error event as the last one. */
void hai_sp_answer_fail(struct hai_sp_answer *a);

/*
 * Writes at most about 32 KB of the event to out and clears a->event at its
 * end.
 */
void hai_sp_answer_emit(struct hai_sp_answer *a, struct hai_sp_buf *out);

/* An upper bound of what one hai_sp_answer_emit() writes. */
#define HAI_SP_EMIT_MAX 65000

/* Must be called once before any thread starts. */
void hai_sp_answer_setup(void);

#endif
