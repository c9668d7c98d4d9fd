/*
 * Edits of a request body, see hai_edit.h.  Texts lie in blocks of an arena
 * that doubles; the first one is kept by a reset, so a worker that changes
 * one body after the other allocates once.
 */

#include "hai_edit.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_EDITS 8
#define FIRST_BLOCK 4096
#define LAST_BLOCK                                                             \
    (1024 * 1024) /* blocks do not grow beyond, if they need not */

#define MAX_DIGITS 20 /* of a 64-bit number */

/* Newest first; the last one is the first that was made. */
struct hai_arena {
    struct hai_arena *next;
    size_t size;
    size_t used;
    char data[];
};

void hai_edits_init(struct hai_edits *e, size_t text_max) {
    memset(e, 0, sizeof(*e));
    e->text_max = text_max;
}

void hai_edits_reset(struct hai_edits *e) {
    struct hai_arena *next;

    while (e->arena && e->arena->next) {
        next = e->arena->next;
        free(e->arena);
        e->arena = next;
    }

    if (e->arena) {
        e->arena->used = 0;
    }

    e->n = 0;
    e->text_len = 0;
}

void hai_edits_free(struct hai_edits *e) {
    hai_edits_reset(e);
    free(e->arena);
    free(e->list);
    hai_edits_init(e, e->text_max);
}

char *hai_edits_text(struct hai_edits *e, size_t len) {
    struct hai_arena *a = e->arena;
    size_t size;
    char *text;

    if (len > e->text_max - e->text_len) {
        return NULL;
    }

    if (a == NULL || len > a->size - a->used) {
        size = a == NULL                  ? FIRST_BLOCK
               : a->size < LAST_BLOCK / 2 ? a->size * 2
                                          : LAST_BLOCK;
        if (size < len) {
            size = len;
        }

        a = malloc(sizeof(*a) + size);
        if (a == NULL) {
            return NULL;
        }
        a->next = e->arena;
        a->size = size;
        a->used = 0;
        e->arena = a;
    }

    text = a->data + a->used;
    a->used += len;
    e->text_len += len;
    return text;
}

int hai_edits_add(struct hai_edits *e, uint64_t offset, uint64_t del,
                  const char *text, size_t len) {
    struct hai_edit *list;
    size_t size;

    if (del == 0 && len == 0) {
        return 0;
    }

    if (e->n == e->size) {
        size = e->size ? e->size * 2 : FIRST_EDITS;
        if (e->n == HAI_EDITS_MAX) {
            return -1;
        }
        list = realloc(e->list, size * sizeof(list[0]));
        if (list == NULL) {
            return -1;
        }
        e->list = list;
        e->size = size;
    }

    e->list[e->n++] = (struct hai_edit){offset, del, text, len};
    return 0;
}

static bool is_sorted(const struct hai_edits *e) {
    for (size_t i = 1; i < e->n; i++) {
        if (e->list[i].offset < e->list[i - 1].offset) {
            return false;
        }
    }

    return true;
}

/* Merges the sorted from[0..half) and from[half..n), the first before its
 * equals of the second. */
static void merge(struct hai_edit *to, const struct hai_edit *from, size_t half,
                  size_t n) {
    size_t a = 0, b = half;

    for (size_t i = 0; i < n; i++) {
        if (b == n || (a < half && from[a].offset <= from[b].offset)) {
            to[i] = from[a++];
        } else {
            to[i] = from[b++];
        }
    }
}

/* Runs of 1, 2, 4 and so on are merged, to and fro. */
static int merge_sort(struct hai_edits *e) {
    struct hai_edit *from = e->list, *to, *swap;
    size_t half, n;

    to = malloc(e->size * sizeof(to[0]));
    if (to == NULL) {
        return -1;
    }

    for (size_t run = 1; run < e->n; run *= 2) {
        for (size_t i = 0; i < e->n; i += n) {
            n = e->n - i < 2 * run ? e->n - i : 2 * run;
            half = n < run ? n : run;
            merge(to + i, from + i, half, n);
        }
        swap = from;
        from = to;
        to = swap;
    }

    e->list = from;
    free(to);
    return 0;
}

int hai_edits_sort(struct hai_edits *e, uint64_t size) {
    uint64_t end = 0;

    if (!is_sorted(e) && merge_sort(e) != 0) {
        return -1;
    }

    for (size_t i = 0; i < e->n; i++) {
        const struct hai_edit *edit = &e->list[i];

        if (edit->offset < end || edit->offset > size
            || edit->del > size - edit->offset)
        {
            return -1;
        }
        end = edit->offset + edit->del;
    }

    return 0;
}

uint64_t hai_edits_result_size(const struct hai_edits *e, uint64_t size) {
    for (size_t i = 0; i < e->n; i++) {
        size = size - e->list[i].del + e->list[i].len;
    }

    return size;
}

/* --- the wire ------------------------------------------------------------ */

static size_t digits(uint64_t number) {
    size_t n = 1;

    for (; number >= 10; number /= 10) {
        n++;
    }

    return n;
}

static char *write_number(char *p, uint64_t number, char behind) {
    char *end = p + digits(number);

    for (char *q = end; q > p; number /= 10) {
        *--q = (char) ('0' + number % 10);
    }

    *end = behind;
    return end + 1;
}

/* Takes a number and the byte that must follow; NULL: there is none. */
static const char *read_number(const char *p, const char *end, char behind,
                               uint64_t *number) {
    const char *first = p;
    uint64_t value = 0, digit;

    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        digit = (uint64_t) (*p - '0');
        if (p - first == MAX_DIGITS || value > (UINT64_MAX - digit) / 10) {
            return NULL;
        }
        value = value * 10 + digit;
    }

    if (p == first || (*first == '0' && p - first > 1) || p == end
        || *p != behind) {
        return NULL;
    }

    *number = value;
    return p + 1;
}

size_t hai_edits_wire_size(const struct hai_edits *e) {
    size_t size = 0;

    for (size_t i = 0; i < e->n; i++) {
        const struct hai_edit *edit = &e->list[i];

        size += digits(edit->offset) + digits(edit->del) + digits(edit->len) + 3
                + edit->len;
    }

    return size;
}

char *hai_edits_wire_write(const struct hai_edits *e, char *p) {
    for (size_t i = 0; i < e->n; i++) {
        const struct hai_edit *edit = &e->list[i];

        p = write_number(p, edit->offset, ' ');
        p = write_number(p, edit->del, ' ');
        p = write_number(p, edit->len, '\n');
        if (edit->len) {
            memcpy(p, edit->text, edit->len);
            p += edit->len;
        }
    }

    return p;
}

int hai_edits_wire_read(struct hai_edits *e, const char *p, size_t len,
                        uint64_t size) {
    const char *end = p + len;
    uint64_t offset, del, text_len, behind = 0;

    hai_edits_reset(e);

    while (p < end) {
        if ((p = read_number(p, end, ' ', &offset)) == NULL
            || (p = read_number(p, end, ' ', &del)) == NULL
            || (p = read_number(p, end, '\n', &text_len)) == NULL
            || offset < behind || offset > size || del > size - offset
            || text_len > (uint64_t) (end - p) || (del == 0 && text_len == 0)
            || hai_edits_add(e, offset, del, p, (size_t) text_len) != 0)
        {
            hai_edits_reset(e);
            return -1;
        }

        behind = offset + del;
        p += text_len;
    }

    return 0;
}
