/*
 * Edits of a request body: what is inserted and left out, in offsets of the
 * original body; and their form on the wire between rule engine and module
 * (docs/internals/rules.md, "Edits").  Every byte that no edit names stays.
 */

#ifndef HAI_EDIT_H
#define HAI_EDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HAI_EDITS_MAX 65536 /* of one list */

struct hai_edit {
    uint64_t offset;  /* in the original body */
    uint64_t del;     /* bytes of the original left out from there on */
    const char *text; /* put in their place; borrowed, or of the arena */
    size_t len;
};

struct hai_arena;

/* A list of edits with the memory that their texts may lie in. */
struct hai_edits {
    struct hai_edit *list;
    size_t n;
    size_t size;
    struct hai_arena *arena; /* private */
    size_t text_max;         /* ceiling of the arena's bytes */
    size_t text_len;
};

/* text_max: bytes that hai_edits_text() gives out at most. */
void hai_edits_init(struct hai_edits *e, size_t text_max);

/* Forgets the edits and their texts; keeps a first block of memory. */
void hai_edits_reset(struct hai_edits *e);

void hai_edits_free(struct hai_edits *e);

/* len bytes that live until the next reset; NULL without memory or beyond
 * the ceiling. */
char *hai_edits_text(struct hai_edits *e, size_t len);

/*
 * Adds an edit, in any order; one that changes nothing is left out.  text has
 * to live as long as the list is used.  0, or -1 without memory or beyond
 * HAI_EDITS_MAX.
 */
int hai_edits_add(struct hai_edits *e, uint64_t offset, uint64_t del,
                  const char *text, size_t len);

/*
 * Sorts by offset; edits at one offset keep the order in which they were
 * added.  -1 when two overlap or one reaches behind size, the body's length,
 * and without memory.
 */
int hai_edits_sort(struct hai_edits *e, uint64_t size);

/* Length of the body of that size after the edits. */
uint64_t hai_edits_result_size(const struct hai_edits *e, uint64_t size);

/* Bytes of the wire form. */
size_t hai_edits_wire_size(const struct hai_edits *e);

/* Writes the wire form, hai_edits_wire_size() bytes, and returns its end. */
char *hai_edits_wire_write(const struct hai_edits *e, char *p);

/*
 * Reads the wire form of edits of a body of that size; the texts stay where
 * they are.  0, or -1 for anything that is not exactly sorted, complete
 * records within the body.  *e is emptied first.
 */
int hai_edits_wire_read(struct hai_edits *e, const char *p, size_t len,
                        uint64_t size);

#endif
