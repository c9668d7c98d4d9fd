/* Where texts of changes go in each dialect. */

#include "hai_change_core.h"

#include <string.h>

#define WORD_MAX 16 /* bytes of a role or type that is of interest */

/* What is of interest of a message. */
struct message {
    uint64_t inside; /* behind the brace */
    char role[WORD_MAX + HAI_WALK_SPARE];
    size_t role_len; /* SIZE_MAX: no role, or no string */
    char type[WORD_MAX + HAI_WALK_SPARE];
    size_t type_len;               /* the same */
    struct hai_json_value content; /* end 0: none */
};

static bool shape(struct hai_job *job, const char *why) {
    hai_job_fail(job, HAI_CHANGE_SHAPE, why);
    return false;
}

static size_t read_word(struct hai_walk *w, char *buf) {
    if (hai_walk_peek(w) == '"') {
        return hai_walk_string(w, buf, WORD_MAX);
    }

    hai_walk_skip(w);
    return SIZE_MAX;
}

static bool is(const char *text, size_t len, const char *word) {
    return len != SIZE_MAX && hai_walk_is(text, len, word);
}

static bool is_role(const struct message *m, const char *role) {
    return is(m->role, m->role_len, role);
}

static bool is_leading(const struct message *m) {
    return is_role(m, "system") || is_role(m, "developer");
}

/*
 * Takes a message whose brace is next; of one that does not lead, only what
 * is before its role, where leading ones are looked for.
 */
static void read_message(struct hai_walk *w, struct message *m,
                         bool leading_only) {
    struct hai_walk_key key;

    m->role_len = m->type_len = SIZE_MAX;
    m->content.end = 0;
    hai_walk_take(w);
    m->inside = hai_walk_offset(w);

    while (hai_walk_member(w, &key)) {
        if (hai_walk_key_is(&key, "role")) {
            m->role_len = read_word(w, m->role);
            if (leading_only && !is_leading(m)) {
                return;
            }
        } else if (hai_walk_key_is(&key, "type")) {
            m->type_len = read_word(w, m->type);
        } else if (hai_walk_key_is(&key, "content")) {
            hai_walk_value(w, &m->content);
        } else {
            hai_walk_skip(w);
        }
    }
}

/*
 * A key that some reader would take for "text" after all: in other letters, or
 * with a NUL.  Two of them may say two things.
 */
static bool looks_like_text(const struct hai_walk_key *key) {
    static const char name[] = "text";
    size_t n = 0;

    for (size_t i = 0; i < key->len; i++) {
        if (key->text[i] == '\0') {
            if (n == sizeof(name) - 1) {
                return true;
            }
        } else if (n == sizeof(name) - 1
                   || (key->text[i] != name[n]
                       && key->text[i] != name[n] - 'a' + 'A'))
        {
            return false;
        } else {
            n++;
        }
    }

    return n == sizeof(name) - 1;
}

/* The text of a part or block of text, whose brace is next. */
static void read_part(struct hai_walk *w, struct hai_json_value *text) {
    char type[WORD_MAX + HAI_WALK_SPARE];
    size_t type_len = SIZE_MAX;
    struct hai_walk_key key;
    bool doubtful = false;

    text->end = 0;
    hai_walk_take(w);

    while (hai_walk_member(w, &key)) {
        if (hai_walk_key_is(&key, "type")) {
            type_len = read_word(w, type);
        } else if (hai_walk_key_is(&key, "text")) {
            hai_walk_value(w, text);
        } else {
            doubtful |= key.len <= HAI_WALK_KEY && looks_like_text(&key);
            hai_walk_skip(w);
        }
    }

    if (doubtful || !is(type, type_len, "text") || text->type != '"') {
        text->end = 0;
    }
}

/* Looks into an array of parts: is it empty, and its first and last text. */
static bool read_parts(struct hai_job *job, struct hai_place *place) {
    struct hai_walk w, last;

    hai_walk_start(&w, job->body, place->start);
    hai_walk_take(&w);
    place->empty = true;

    while (hai_walk_element(&w)) {
        if (hai_walk_peek(&w) != '{') {
            return shape(job, "a part of a content is no object");
        }

        last = w;
        if (place->empty) {
            place->empty = false;
            read_part(&w, &place->first);
        } else {
            hai_walk_skip(&w);
        }
    }

    if (!place->empty) {
        read_part(&last, &place->last);
    }

    return true;
}

bool hai_place_value(struct hai_job *job, struct hai_place *place,
                     const struct hai_json_value *value, bool parts,
                     const char *why) {
    place->start = value->start;
    place->end = value->end;

    switch (value->type) {
    case '"':
        place->kind = HAI_PLACE_STRING;
        place->empty = value->end - value->start == 2;
        place->first = place->last = *value;
        return true;
    case 'n':
        place->kind = HAI_PLACE_NULL;
        place->empty = true;
        return true;
    case '[':
        if (parts) {
            place->kind = HAI_PLACE_PARTS;
            return read_parts(job, place);
        }
        /* fall through */
    default:
        return shape(job, why);
    }
}

bool hai_place_top(struct hai_job *job, struct hai_place *place,
                   enum hai_json_key key, const char *name, bool parts,
                   const char *why) {
    const struct hai_json_value *value = &job->body->facts->top[key];

    if (value->end) {
        return hai_place_value(job, place, value, parts, why);
    }

    place->kind = HAI_PLACE_TOP;
    place->name = name;
    place->empty = true;
    return true;
}

/* The content of a message. */
static bool place_content(struct hai_job *job, struct hai_place *place,
                          const struct message *m) {
    if (m->content.end) {
        return hai_place_value(job, place, &m->content, true,
                               "the content of a message is no text");
    }

    place->kind = HAI_PLACE_MEMBER;
    place->name = "content";
    place->start = m->inside;
    place->empty = true;
    return true;
}

/* Begins to walk over an array of messages. */
static bool start_messages(struct hai_job *job, struct hai_walk *w,
                           enum hai_json_key key, const char *why) {
    const struct hai_json_value *value = &job->body->facts->top[key];

    if (value->end == 0 || value->type != '[') {
        return shape(job, why);
    }

    hai_walk_start(w, job->body, value->start + 1);
    return true;
}

static bool find_leading(struct hai_job *job, struct hai_places *places) {
    struct message m, first, last;
    struct hai_walk w;
    size_t n = 0;
    uint64_t start;

    if (!start_messages(job, &w, HAI_KEY_MESSAGES, "messages is no array")) {
        return false;
    }
    start = hai_walk_offset(&w);
    places->system.empty = true;

    while (hai_walk_element(&w)) {
        places->system.empty = false;
        if (hai_walk_peek(&w) != '{') {
            return shape(job, "a message is no object");
        }

        read_message(&w, &m, true);
        if (m.role_len == SIZE_MAX) {
            return shape(job, "a leading message has no role");
        }
        if (!is_leading(&m)) {
            break;
        }

        last = m;
        if (n++ == 0) {
            first = m;
        }
    }

    places->prepend_to = &places->system;

    if (n == 0) {
        places->system.kind = HAI_PLACE_MESSAGE;
        places->system.start = start;
        places->system.end = start;
        return true;
    }

    if (n > 1) {
        places->prepend_to = &places->first;
        if (!place_content(job, &places->first, &first)) {
            return false;
        }
    }

    return place_content(job, &places->system, &last);
}

bool hai_places_find_system(struct hai_job *job, struct hai_places *places) {
    places->prepend_to = &places->system;

    switch (job->api) {
    case HAI_API_OPENAI_CHAT:
        return find_leading(job, places);
    case HAI_API_OPENAI_RESPONSES:
        return hai_place_top(job, &places->system, HAI_KEY_INSTRUCTIONS,
                             "instructions", false,
                             "instructions is no string");
    case HAI_API_ANTHROPIC_MESSAGES:
        return hai_place_top(job, &places->system, HAI_KEY_SYSTEM, "system",
                             true, "system is neither a string nor an array");
    default:
        return shape(job, "the API has no system prompt");
    }
}

/* Is it a message of the user, and not another item? */
static bool is_user(const struct message *m) {
    return is_role(m, "user")
           && (m->type_len == SIZE_MAX || is(m->type, m->type_len, "message"));
}

/* The newest message of the user, or where a new one goes. */
static bool find_newest(struct hai_job *job, struct hai_place *place,
                        enum hai_json_key key, const char *why) {
    struct message m, newest;
    bool found = false;
    struct hai_walk w;

    if (!start_messages(job, &w, key, why)) {
        return false;
    }
    place->empty = true;

    while (hai_walk_element(&w)) {
        place->empty = false;
        if (hai_walk_peek(&w) != '{') {
            return shape(job, "a message is no object");
        }

        read_message(&w, &m, false);
        if (is_user(&m)) {
            newest = m;
            found = true;
        }
    }

    if (found) {
        return place_content(job, place, &newest);
    }

    place->kind = HAI_PLACE_MESSAGE;
    place->start = place->end = job->body->facts->top[key].end - 1;
    return true;
}

bool hai_places_find_message(struct hai_job *job, struct hai_place *place) {
    const struct hai_json_value *input = &job->body->facts->top[HAI_KEY_INPUT];

    switch (job->api) {
    case HAI_API_OPENAI_CHAT:
    case HAI_API_ANTHROPIC_MESSAGES:
        return find_newest(job, place, HAI_KEY_MESSAGES,
                           "messages is no array");
    case HAI_API_OPENAI_RESPONSES:
        if (input->end && input->type == '[') {
            return find_newest(job, place, HAI_KEY_INPUT, NULL);
        }
        if (!hai_place_top(job, place, HAI_KEY_INPUT, "input", false,
                           "input is neither a string nor an array"))
        {
            return false;
        }
        place->input = true;
        return true;
    default:
        return shape(job, "the API has no messages");
    }
}
