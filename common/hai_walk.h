/*
 * A cursor over a JSON body that the scanner (hai_json.h) has accepted: to
 * its members and elements, over its values, into its strings.  It believes
 * what it reads, so nothing else may be walked; but whatever it reads, it
 * stays within the pieces and comes to an end.  Private to common/.
 *
 * A walk is a value: a copy of it is a place to come back to.
 */

#ifndef HAI_WALK_H
#define HAI_WALK_H

#include "hai_body.h"
#include "hai_json_skip.h"

#define HAI_WALK_SPARE 4   /* bytes that a buffer has beyond what is asked */
#define HAI_WALK_KEY 256   /* bytes of a longer key are not kept */
#define HAI_WALK_BLUR 7    /* see hai_walk_tail() */
#define HAI_WALK_ESCAPED 6 /* bytes in the body for a byte of text, at most */

struct hai_walk {
    const struct hai_piece *piece; /* the one of p */
    const struct hai_piece *last;
    const uint8_t *p;
    const uint8_t *end; /* of the piece */
    uint64_t end_offset;
    hai_skip_fn *skip_strings;
};

struct hai_walk_key {
    uint64_t start; /* offset of its opening quote */
    size_t len;     /* more than HAI_WALK_KEY: it is longer than that */
    char text[HAI_WALK_KEY + HAI_WALK_SPARE]; /* unescaped */
};

/* Begins at an offset, which is at most the body's size. */
void hai_walk_start(struct hai_walk *w, const struct hai_body *body,
                    uint64_t offset);

/* Goes on at a later offset. */
void hai_walk_jump(struct hai_walk *w, uint64_t offset);

/* Puts w on a piece that has bytes left; false at the end of the body. */
bool hai_walk_next_piece(struct hai_walk *w);

static inline uint64_t hai_walk_offset(const struct hai_walk *w) {
    return w->end_offset - (uint64_t) (w->end - w->p);
}

/* The next byte, which stays; 0 at the end of the body. */
static inline uint8_t hai_walk_peek(struct hai_walk *w) {
    return w->p < w->end || hai_walk_next_piece(w) ? *w->p : 0;
}

/* Takes a byte. */
static inline uint8_t hai_walk_take(struct hai_walk *w) {
    return w->p < w->end || hai_walk_next_piece(w) ? *w->p++ : 0;
}

/* Takes white space and returns the byte behind it, which stays. */
uint8_t hai_walk_spaces(struct hai_walk *w);

static inline uint8_t hai_walk_space(struct hai_walk *w) {
    return likely(w->p<w->end && * w->p> ' ') ? *w->p : hai_walk_spaces(w);
}

/*
 * Inside of an object, behind its brace or behind one of its values: takes
 * what is up to the next value and its key.  false: took the closing brace.
 */
bool hai_walk_member(struct hai_walk *w, struct hai_walk_key *key);

/* The same inside of an array. */
bool hai_walk_element(struct hai_walk *w);

/* Takes n bytes as they are, which the body has to have. */
void hai_walk_copy(struct hai_walk *w, char *buf, size_t n);

/* Takes a value of any kind. */
void hai_walk_skip(struct hai_walk *w);

/* The same, and says where it lies. */
void hai_walk_value(struct hai_walk *w, struct hai_json_value *value);

/*
 * Takes a string whose opening quote is next.  buf has room for max +
 * HAI_WALK_SPARE bytes.  Returns the length of the text; max + 1: it is
 * longer, and what is in buf is of no use.
 */
size_t hai_walk_string(struct hai_walk *w, char *buf, size_t max);

/*
 * Inside of a string: the next bytes of its text, up to size, which is more
 * than HAI_WALK_SPARE.  0 at the closing quote, which stays.
 */
size_t hai_walk_text(struct hai_walk *w, char *buf, size_t size);

/*
 * Begins inside of the string value that lies from start to end with its
 * quotes, so that the next n bytes, or fewer, are up to the closing quote.
 * Returns whether that is the beginning of the text; else what is read first
 * may be the rest of a longer escape: up to HAI_WALK_BLUR bytes of text are
 * not to be believed.
 */
bool hai_walk_tail(struct hai_walk *w, const struct hai_body *body,
                   uint64_t start, uint64_t end, uint64_t n);

/* Does the key, or a string of that length, say this? */
static inline bool hai_walk_is(const char *text, size_t len, const char *name) {
    return len == strlen(name) && memcmp(text, name, len) == 0;
}

static inline bool hai_walk_key_is(const struct hai_walk_key *key,
                                   const char *name) {
    return hai_walk_is(key->text, key->len, name);
}

#endif
