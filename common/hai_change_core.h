/*
 * What the parts of hai_change.c share: one call of hai_changes_apply(), and
 * the places where texts go.  Private.
 *
 * Nothing is written while changes are looked at.  A place gathers the texts
 * that go before and behind what the body has there, so that a change sees
 * what the earlier ones made; in the end each place becomes edits.
 */

#ifndef HAI_CHANGE_CORE_H
#define HAI_CHANGE_CORE_H

#include "hai_change.h"
#include "hai_walk.h"

/* Between text and text. */
#define HAI_SEPARATOR "\n\n"
#define HAI_SEPARATOR_LEN 2
#define HAI_SEPARATOR_JSON_LEN (HAI_CHANGE_ESCAPED_MORE / 2) /* escaped */

#define HAI_TAIL_NEAR 128 /* bytes that answer most questions */

/*
 * A text of a change; json: escaped, a separator before and behind it, of the
 * arena or the change's own.
 */
struct hai_text {
    struct hai_slice text;
    const char *json;
    size_t len; /* of the escaped text alone */
};

struct hai_job {
    const struct hai_body *body;
    enum hai_api api;
    const struct hai_change *changes;
    size_t n;
    struct hai_edits *out;

    enum hai_change_status status;
    const char *why;

    struct hai_text *texts; /* of changes of texts; json NULL: not yet made */
    const struct hai_text **slots; /* what places gather their texts in */
    size_t longest;                /* text, in bytes */

    size_t added; /* members of the body's own object */
};

/* The last bytes of a string of the body. */
struct hai_tail {
    const char *text;
    size_t len;
    bool read;
    bool whole; /* that is all of it */
};

enum hai_place_kind {
    HAI_PLACE_STRING, /* a string */
    HAI_PLACE_PARTS,  /* an array of parts or blocks */
    HAI_PLACE_NULL,   /* null, to be replaced */
    HAI_PLACE_MEMBER, /* missing in the message that begins at start - 1 */
    HAI_PLACE_TOP,    /* missing in the body's own object */
    HAI_PLACE_MESSAGE /* missing with its message, which belongs at start */
};

struct hai_place {
    enum hai_place_kind kind;
    const char *name; /* the key, of HAI_PLACE_MEMBER and HAI_PLACE_TOP */
    uint64_t start;   /* of the value, or where the new one goes */
    uint64_t end;
    bool empty; /* the string, the array; also the array of messages */
    bool input; /* it is no content, but is to become an array of messages */

    /*
     * What the body's own text is: the string, or of the first and the last
     * part; end 0: there is none, or it is no text.
     */
    struct hai_json_value first;
    struct hai_json_value last;

    /* list[low .. middle) go before that, list[middle .. high) behind it */
    const struct hai_text **list;
    size_t low;
    size_t middle;
    size_t high;

    struct hai_tail near;
    struct hai_tail far;
    char *far_memory;
    char near_text[HAI_TAIL_NEAR + HAI_WALK_SPARE];
};

/* The places of one body, but for prompts. */
struct hai_places {
    struct hai_place system;      /* append goes there */
    struct hai_place first;       /* prepend, if that is another one */
    struct hai_place *prepend_to; /* NULL: not looked for yet */
    struct hai_place message;
    bool message_found;
};

/* Sets the status and returns false, as everything here that fails. */
bool hai_job_fail(struct hai_job *job, enum hai_change_status status,
                  const char *why);

/* Adds an edit; text is of the arena or static. */
bool hai_job_put(struct hai_job *job, uint64_t offset, uint64_t del,
                 const char *text, size_t len);

/* len bytes of the arena, or NULL and the status. */
char *hai_job_memory(struct hai_job *job, size_t len);

/* hai_change_text.c */

/* Bytes of a text as the inside of a JSON string; false: it is not UTF-8. */
bool hai_json_escaped_size(struct hai_slice text, size_t *size);

/* Writes them and returns their end. */
char *hai_json_escape(char *p, struct hai_slice text);

/* Measures the escaped form of a text; false: it is not UTF-8. */
bool hai_text_check(struct hai_job *job, struct hai_text *text);

/* The list of a place, the number of it, is empty then. */
void hai_place_init(struct hai_job *job, struct hai_place *place,
                    size_t number);
void hai_place_free(struct hai_place *place);

/* Adds a text unless the place ends, or begins, with it. */
bool hai_place_append(struct hai_job *job, struct hai_place *place,
                      struct hai_text *text);
bool hai_place_prepend(struct hai_job *job, struct hai_place *place,
                       struct hai_text *text);

/* Adds a text at the end in any case. */
bool hai_place_add(struct hai_job *job, struct hai_place *place,
                   struct hai_text *text);

/* hai_change_find.c */

/*
 * Finds the places of the system prompt, or of the message; else
 * HAI_CHANGE_SHAPE.
 */
bool hai_places_find_system(struct hai_job *job, struct hai_places *places);
bool hai_places_find_message(struct hai_job *job, struct hai_place *place);

/* A place whose value is there: a string, parts where they can be, null. */
bool hai_place_value(struct hai_job *job, struct hai_place *place,
                     const struct hai_json_value *value, bool parts,
                     const char *why);

/* The value of a deciding key, there or not. */
bool hai_place_top(struct hai_job *job, struct hai_place *place,
                   enum hai_json_key key, const char *name, bool parts,
                   const char *why);

/* hai_change_put.c */

/* Begins a new member of the body's own object; its value is put then. */
bool hai_job_add_member(struct hai_job *job, const char *name, size_t len);

/* New members come first: their place is known without a walk. */
uint64_t hai_job_top_offset(const struct hai_job *job);

/* Edits of a place of the system prompt, or of a prompt. */
bool hai_place_put_system(struct hai_job *job, const struct hai_place *place);

/* Of the message; follows: a new system message is before it in the array. */
bool hai_place_put_message(struct hai_job *job, const struct hai_place *place,
                           bool follows);

/* hai_change_set.c */

/* Applies the changes of fields, after all others. */
bool hai_fields_apply(struct hai_job *job);

#endif
