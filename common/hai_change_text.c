/*
 * Texts of changes: their JSON form, and whether a place begins or ends with
 * one already.
 *
 * That is decided on unescaped text, since callers escape as they like.  The
 * text of a place is the sequence of what was added before, the body's own
 * text, what was added behind; never more of it is decoded than the text in
 * question is long.  For the end of a long string that means to begin inside
 * of it, which hai_walk_tail() can; a few bytes are read first, because they
 * nearly always say that it does not end so.
 */

#include "hai_change_core.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK 256

/* --- JSON ----------------------------------------------------------------- */

/* What follows the backslash for a control character; 0: u00XX. */
static const char short_escapes[0x20] = {
    ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};

bool hai_json_escaped_size(struct hai_slice text, size_t *size) {
    const uint8_t *p = (const uint8_t *) text.data, *end = p + text.len;

    *size = text.len;

    while ((p = hai_skip_text(p, end)) < end) {
        if (*p >= 0x80) {
            return false;
        }
        *size += *p >= 0x20 || short_escapes[*p] ? 1 : 5;
        p++;
    }

    return true;
}

char *hai_json_escape(char *to, struct hai_slice text) {
    const uint8_t *p = (const uint8_t *) text.data, *end = p + text.len;
    const uint8_t *next;

    for (;;) {
        next = hai_skip_text(p, end);
        memcpy(to, p, (size_t) (next - p));
        to += next - p;
        if (next == end) {
            return to;
        }

        *to++ = '\\';
        if (*next >= 0x20) {
            *to++ = (char) *next;
        } else if (short_escapes[*next]) {
            *to++ = short_escapes[*next];
        } else {
            *to++ = 'u';
            *to++ = '0';
            *to++ = '0';
            *to++ = (char) ('0' + (*next >> 4));
            *to++ = "0123456789abcdef"[*next & 0xf];
        }
        p = next + 1;
    }
}

bool hai_text_check(struct hai_job *job, struct hai_text *text) {
    return hai_json_escaped_size(text->text, &text->len)
           || hai_job_fail(job, HAI_CHANGE_SHAPE,
                           "the text of a rule is not UTF-8");
}

/* A separator, the escaped text and a separator again; returns their end. */
static char *escape(char *p, struct hai_slice text) {
    static const char separator[HAI_SEPARATOR_JSON_LEN] = {'\\', 'n', '\\',
                                                           'n'};

    memcpy(p, separator, sizeof(separator));
    p = hai_json_escape(p + sizeof(separator), text);
    memcpy(p, separator, sizeof(separator));

    return p + sizeof(separator);
}

char *hai_change_escape(struct hai_change *change, char *room,
                        const char *end) {
    size_t size;

    if (change->text.len == 0 || !hai_json_escaped_size(change->text, &size)
        || (size_t) (end - room) < size + HAI_CHANGE_ESCAPED_MORE)
    {
        return room;
    }

    change->escaped = (struct hai_slice){room, size};
    return escape(room, change->text);
}

/* Makes the escaped form of a text that is going to be used. */
static bool make(struct hai_job *job, struct hai_text *text) {
    char *p;

    if (text->json) {
        return true;
    }

    p = hai_job_memory(job, text->len + 2 * HAI_SEPARATOR_JSON_LEN);
    if (p == NULL) {
        return false;
    }

    text->json = p;
    escape(p, text->text);

    return true;
}

/* --- the body's own text -------------------------------------------------- */

/*
 * Compares text with the beginning of a string of the body.  Returns how many
 * bytes are the same, which is all of one of them; SIZE_MAX: they differ.
 */
static size_t match_head(const struct hai_job *job,
                         const struct hai_json_value *value, const char *text,
                         size_t len) {
    char chunk[CHUNK];
    struct hai_walk w;
    size_t done = 0, n;

    hai_walk_start(&w, job->body, value->start + 1);

    while (done < len && (n = hai_walk_text(&w, chunk, sizeof(chunk))) > 0) {
        if (n > len - done) {
            n = len - done;
        }
        if (memcmp(chunk, text + done, n) != 0) {
            return SIZE_MAX;
        }
        done += n;
    }

    return done;
}

/* Reads what n bytes before the closing quote hold; text has room for it. */
static void read_tail(const struct hai_job *job, struct hai_tail *tail,
                      const struct hai_json_value *value, char *text,
                      size_t n) {
    struct hai_walk w;
    size_t len = 0, got, blur;

    tail->whole = hai_walk_tail(&w, job->body, value->start, value->end, n);

    while ((got = hai_walk_text(&w, text + len, n + HAI_WALK_SPARE - len)) > 0)
    {
        len += got;
    }

    blur = tail->whole ? 0 : len < HAI_WALK_BLUR ? len : HAI_WALK_BLUR;
    tail->read = true;
    tail->text = text + blur;
    tail->len = len - blur;
}

/* As match_head(), of the ends. */
static size_t match_tail(const struct hai_tail *tail, const char *text,
                         size_t len) {
    size_t n = len < tail->len ? len : tail->len;

    return memcmp(tail->text + tail->len - n, text + len - n, n) == 0
               ? n
               : SIZE_MAX;
}

static bool match_value_tail(struct hai_job *job, struct hai_place *place,
                             const char *text, size_t len, size_t *same) {
    uint64_t size = place->last.end - place->last.start;
    uint64_t n;
    char *memory;

    if (!place->near.read) {
        read_tail(job, &place->near, &place->last, place->near_text,
                  HAI_TAIL_NEAR);
    }

    *same = match_tail(&place->near, text, len);
    if (*same == SIZE_MAX || *same == len || place->near.whole) {
        return true;
    }

    if (!place->far.read) {
        n = HAI_WALK_ESCAPED * ((uint64_t) job->longest + 2 * HAI_WALK_BLUR);
        if (n > size) {
            n = size;
        }

        memory = malloc((size_t) n + HAI_WALK_SPARE);
        if (memory == NULL) {
            return hai_job_fail(job, HAI_CHANGE_NO_MEMORY, NULL);
        }
        place->far_memory = memory;
        read_tail(job, &place->far, &place->last, memory, (size_t) n);
    }

    *same = match_tail(&place->far, text, len);
    return true;
}

/* --- places --------------------------------------------------------------- */

void hai_place_init(struct hai_job *job, struct hai_place *place,
                    size_t number) {
    memset(place, 0, offsetof(struct hai_place, near_text));
    place->list = job->slots + number * 2 * job->n;
    place->low = place->middle = place->high = job->n;
}

void hai_place_free(struct hai_place *place) {
    free(place->far_memory);
    place->far_memory = NULL;
}

/* Is there text of the body between what is added? */
static bool has_own(const struct hai_place *place) {
    return !place->empty
           && (place->kind == HAI_PLACE_STRING
               || place->kind == HAI_PLACE_PARTS);
}

/* The separator's part of a comparison from the beginning or the end. */
static bool take_separator(const char *text, size_t *len, bool end) {
    size_t n = *len < HAI_SEPARATOR_LEN ? *len : HAI_SEPARATOR_LEN;

    *len -= n;
    return memcmp(end ? text + *len : text, HAI_SEPARATOR, n) == 0;
}

static bool ends_with(struct hai_job *job, struct hai_place *place,
                      struct hai_slice text, bool *yes) {
    bool own_due = has_own(place), first = true;
    size_t i = place->high, left = text.len, n;

    *yes = false;

    while (left > 0) {
        if (i == place->low && !(i == place->middle && own_due)) {
            return true;
        }
        if (!first) {
            if (place->kind == HAI_PLACE_PARTS
                || !take_separator(text.data, &left, true)) {
                return true;
            }
        }
        first = false;

        if (i == place->middle && own_due) {
            own_due = false;
            if (place->last.end == 0) {
                return true;
            }
            if (!match_value_tail(job, place, text.data, left, &n)) {
                return false;
            }

        } else {
            const struct hai_slice *added = &place->list[--i]->text;
            struct hai_tail tail = {added->data, added->len, true, true};

            n = match_tail(&tail, text.data, left);
        }

        if (n == SIZE_MAX) {
            return true;
        }
        left -= n;
    }

    *yes = true;
    return true;
}

static bool begins_with(const struct hai_job *job,
                        const struct hai_place *place, struct hai_slice text) {
    bool own_due = has_own(place), first = true;
    size_t i = place->low, n, left, before;

    while (text.len > 0) {
        if (i == place->high && !(i == place->middle && own_due)) {
            return false;
        }
        if (!first) {
            left = text.len;
            if (place->kind == HAI_PLACE_PARTS
                || !take_separator(text.data, &left, false)) {
                return false;
            }
            before = text.len - left;
            text.data += before;
            text.len = left;
            if (left == 0) {
                return true;
            }
        }
        first = false;

        if (i == place->middle && own_due) {
            own_due = false;
            if (place->first.end == 0) {
                return false;
            }
            n = match_head(job, &place->first, text.data, text.len);

        } else {
            const struct hai_slice *added = &place->list[i++]->text;

            n = added->len < text.len ? added->len : text.len;
            if (memcmp(added->data, text.data, n) != 0) {
                return false;
            }
        }

        if (n == SIZE_MAX) {
            return false;
        }
        text.data += n;
        text.len -= n;
    }

    return true;
}

bool hai_place_append(struct hai_job *job, struct hai_place *place,
                      struct hai_text *text) {
    bool there;

    return ends_with(job, place, text->text, &there)
           && (there || hai_place_add(job, place, text));
}

bool hai_place_prepend(struct hai_job *job, struct hai_place *place,
                       struct hai_text *text) {
    if (begins_with(job, place, text->text)) {
        return true;
    }
    if (!make(job, text)) {
        return false;
    }

    place->list[--place->low] = text;
    return true;
}

bool hai_place_add(struct hai_job *job, struct hai_place *place,
                   struct hai_text *text) {
    if (!make(job, text)) {
        return false;
    }

    place->list[place->high++] = text;
    return true;
}
