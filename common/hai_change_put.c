/* What places have gathered becomes edits. */

#include "hai_change_core.h"

#include <string.h>

/* Literal JSON with its length. */
#define JSON(text) (text), sizeof(text) - 1

uint64_t hai_job_top_offset(const struct hai_job *job) {
    return job->body->facts->object_start + 1;
}

bool hai_job_add_member(struct hai_job *job, const char *name, size_t len) {
    struct hai_slice key = {name, len};
    char *p, *end;
    size_t size;

    if (!hai_json_escaped_size(key, &size)) {
        return hai_job_fail(job, HAI_CHANGE_SHAPE,
                            "the name of a field is not UTF-8");
    }

    p = hai_job_memory(job, size + 4);
    if (p == NULL) {
        return false;
    }

    end = p;
    if (job->added++) {
        *end++ = ',';
    }
    *end++ = '"';
    end = hai_json_escape(end, key);
    *end++ = '"';
    *end++ = ':';

    return hai_job_put(job, hai_job_top_offset(job), 0, p, (size_t) (end - p));
}

/* The list's texts as the inside of one string. */
static bool put_joined(struct hai_job *job, uint64_t offset,
                       const struct hai_place *place) {
    const size_t sep = HAI_SEPARATOR_JSON_LEN;

    for (size_t i = place->low; i < place->high; i++) {
        const struct hai_text *t = place->list[i];
        bool first = i == place->low;

        if (!hai_job_put(job, offset, 0, first ? t->json + sep : t->json,
                         first ? t->len : t->len + sep))
        {
            return false;
        }
    }

    return true;
}

/* The list's texts from one to another as parts with commas between. */
static bool put_parts(struct hai_job *job, uint64_t offset,
                      const struct hai_place *place, size_t from, size_t to,
                      const char *part) {
    for (size_t i = from; i < to; i++) {
        const struct hai_text *t = place->list[i];

        if ((i > from && !hai_job_put(job, offset, 0, JSON(",")))
            || !hai_job_put(job, offset, 0, part, strlen(part))
            || !hai_job_put(job, offset, 0, JSON("\""))
            || !hai_job_put(job, offset, 0, t->json + HAI_SEPARATOR_JSON_LEN,
                            t->len)
            || !hai_job_put(job, offset, 0, JSON("\"}")))
        {
            return false;
        }
    }

    return true;
}

/* Into the body's own string or around its parts. */
static bool put_around(struct hai_job *job, const struct hai_place *place) {
    const size_t sep = HAI_SEPARATOR_JSON_LEN;
    static const char part[] = "{\"type\":\"text\",\"text\":";
    uint64_t start = place->start + 1, end = place->end - 1;

    if (place->kind == HAI_PLACE_PARTS) {
        if (place->empty) {
            return put_parts(job, start, place, place->low, place->high, part);
        }
        return put_parts(job, start, place, place->low, place->middle, part)
               && (place->low == place->middle
                   || hai_job_put(job, start, 0, JSON(",")))
               && (place->middle == place->high
                   || hai_job_put(job, end, 0, JSON(",")))
               && put_parts(job, end, place, place->middle, place->high, part);
    }

    if (place->empty) {
        return put_joined(job, start, place);
    }

    for (size_t i = place->low; i < place->high; i++) {
        const struct hai_text *t = place->list[i];
        bool before = i < place->middle;

        if (!hai_job_put(job, before ? start : end, 0,
                         before ? t->json + sep : t->json, t->len + sep))
        {
            return false;
        }
    }

    return true;
}

bool hai_place_put_system(struct hai_job *job, const struct hai_place *place) {
    if (place->low == place->high) {
        return true;
    }

    switch (place->kind) {
    case HAI_PLACE_STRING:
    case HAI_PLACE_PARTS:
        return put_around(job, place);
    case HAI_PLACE_NULL:
        return hai_job_put(job, place->start, place->end - place->start,
                           JSON("\""))
               && put_joined(job, place->end, place)
               && hai_job_put(job, place->end, 0, JSON("\""));
    case HAI_PLACE_MEMBER:
        return hai_job_put(job, place->start, 0, JSON("\"content\":\""))
               && put_joined(job, place->start, place)
               && hai_job_put(job, place->start, 0, JSON("\","));
    case HAI_PLACE_TOP:
        return hai_job_add_member(job, place->name, strlen(place->name))
               && hai_job_put(job, hai_job_top_offset(job), 0, JSON("\""))
               && put_joined(job, hai_job_top_offset(job), place)
               && hai_job_put(job, hai_job_top_offset(job), 0, JSON("\""));
    case HAI_PLACE_MESSAGE:
        return hai_job_put(job, place->start, 0,
                           JSON("{\"role\":\"system\",\"content\":\""))
               && put_joined(job, place->start, place)
               && hai_job_put(job, place->start, 0, JSON("\"}"))
               && (place->empty
                   || hai_job_put(job, place->start, 0, JSON(",")));
    }

    return true;
}

static const char *message_part(const struct hai_job *job) {
    return job->api == HAI_API_OPENAI_RESPONSES
               ? "{\"type\":\"input_text\",\"text\":"
               : "{\"type\":\"text\",\"text\":";
}

/* The texts as a content of their own. */
static bool put_content(struct hai_job *job, uint64_t offset,
                        const struct hai_place *place) {
    if (place->high - place->low == 1) {
        return hai_job_put(job, offset, 0, JSON("\""))
               && put_joined(job, offset, place)
               && hai_job_put(job, offset, 0, JSON("\""));
    }

    return hai_job_put(job, offset, 0, JSON("["))
           && put_parts(job, offset, place, place->low, place->high,
                        message_part(job))
           && hai_job_put(job, offset, 0, JSON("]"));
}

/* A message of the user around a content. */
static bool put_user(struct hai_job *job, uint64_t offset, bool array) {
    return (!array || hai_job_put(job, offset, 0, JSON("[")))
           && hai_job_put(job, offset, 0,
                          JSON("{\"role\":\"user\",\"content\":"));
}

static bool put_user_end(struct hai_job *job, uint64_t offset, bool array) {
    return hai_job_put(job, offset, 0, JSON("}"))
           && (!array || hai_job_put(job, offset, 0, JSON("]")));
}

bool hai_place_put_message(struct hai_job *job, const struct hai_place *place,
                           bool follows) {
    const char *part = message_part(job);
    uint64_t start = place->start, end = place->end;

    if (place->low == place->high) {
        return true;
    }

    switch (place->kind) {
    case HAI_PLACE_STRING:
        return (!place->input || put_user(job, start, true))
               && hai_job_put(job, start, 0, JSON("["))
               && hai_job_put(job, start, 0, part, strlen(part))
               && hai_job_put(job, end, 0, JSON("},"))
               && put_parts(job, end, place, place->low, place->high, part)
               && hai_job_put(job, end, 0, JSON("]"))
               && (!place->input || put_user_end(job, end, true));
    case HAI_PLACE_PARTS:
        return (place->empty || hai_job_put(job, end - 1, 0, JSON(",")))
               && put_parts(job, end - 1, place, place->low, place->high, part);
    case HAI_PLACE_NULL:
        return hai_job_put(job, start, end - start, NULL, 0)
               && (!place->input || put_user(job, end, true))
               && put_content(job, end, place)
               && (!place->input || put_user_end(job, end, true));
    case HAI_PLACE_MEMBER:
        return hai_job_put(job, start, 0, JSON("\"content\":"))
               && put_content(job, start, place)
               && hai_job_put(job, start, 0, JSON(","));
    case HAI_PLACE_TOP:
        return hai_job_add_member(job, place->name, strlen(place->name))
               && put_user(job, hai_job_top_offset(job), true)
               && put_content(job, hai_job_top_offset(job), place)
               && put_user_end(job, hai_job_top_offset(job), true);
    case HAI_PLACE_MESSAGE:
        return ((place->empty && !follows)
                || hai_job_put(job, start, 0, JSON(",")))
               && put_user(job, start, false) && put_content(job, start, place)
               && put_user_end(job, start, false);
    }

    return true;
}
