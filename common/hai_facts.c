/*
 * The line of hai_facts.h: "<size> <start> <end> <flags> <model>".  Sizes and
 * offsets are decimal, start and end are those of the model's value, 0 and 0
 * without one; flags are two bytes, 's' or '-' for a stream and 'r' or '-'
 * for a reference.
 */

#include "hai_facts.h"

#include <string.h>

#define DIGITS 20 /* of the largest 64-bit number */

bool hai_facts_stored(const struct hai_json_facts *facts) {
    const struct hai_json_value *prompt = &facts->top[HAI_KEY_PROMPT];

    return facts->file_id || facts->top[HAI_KEY_PREVIOUS_RESPONSE_ID].end > 0
           || facts->top[HAI_KEY_CONVERSATION].end > 0
           || (prompt->end > 0 && prompt->type == '{');
}

/* No space, which ends a field and which a header's reader trims. */
static bool plain(const char *s, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (s[i] < '!' || s[i] > '~') {
            return false;
        }
    }

    return true;
}

static char *put(char *p, uint64_t n) {
    char digits[DIGITS], *d = digits + DIGITS;

    do {
        *--d = (char) ('0' + n % 10);
        n /= 10;
    } while (n > 0);

    memcpy(p, d, (size_t) (digits + DIGITS - d));
    p += digits + DIGITS - d;
    *p++ = ' ';

    return p;
}

size_t hai_facts_write(const struct hai_json_facts *facts, uint64_t size,
                       char *line) {
    const struct hai_json_value *model = &facts->top[HAI_KEY_MODEL];
    char *p = line;

    if (!plain(facts->model, facts->model_len)) {
        return 0;
    }

    p = put(p, size);
    p = put(p, facts->model_len > 0 ? model->start : 0);
    p = put(p, facts->model_len > 0 ? model->end : 0);
    *p++ = facts->stream ? 's' : '-';
    *p++ = hai_facts_stored(facts) ? 'r' : '-';

    if (facts->model_len > 0) {
        *p++ = ' ';
        memcpy(p, facts->model, facts->model_len);
        p += facts->model_len;
    }

    *p = '\0';

    return (size_t) (p - line);
}

/* A number and the space behind it; NULL where that is not what comes. */
static const char *take(const char *p, const char *end, uint64_t *n) {
    const char *start = p;

    *n = 0;

    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        if (p - start == DIGITS - 1) {
            return NULL;
        }

        *n = *n * 10 + (uint64_t) (*p - '0');
    }

    if (p == start || p == end || *p != ' ' || (*start == '0' && p - start > 1))
    {
        return NULL;
    }

    return p + 1;
}

bool hai_facts_read(struct hai_json_facts *facts, uint64_t size,
                    const char *line, size_t len) {
    const char *p = line, *end = line + len;
    struct hai_json_value *model = &facts->top[HAI_KEY_MODEL];
    uint64_t told;
    size_t n;

    memset(facts, 0, sizeof(*facts));

    p = take(p, end, &told);
    if (p != NULL) {
        p = take(p, end, &model->start);
    }
    if (p != NULL) {
        p = take(p, end, &model->end);
    }

    if (p == NULL || told != size || model->end > size || end - p < 2
        || (p[0] != 's' && p[0] != '-') || (p[1] != 'r' && p[1] != '-'))
    {
        return false;
    }

    facts->stream = p[0] == 's';
    facts->file_id = p[1] == 'r';
    p += 2;

    if (p == end) {
        return model->start == 0 && model->end == 0;
    }

    n = (size_t) (end - p) - 1;

    /* the value has two quotes */
    if (*p != ' ' || n == 0 || n > HAI_JSON_MAX_MODEL || !plain(p + 1, n)
        || model->end < model->start || model->end - model->start < n + 2)
    {
        return false;
    }

    model->type = '"';
    facts->model_len = n;
    memcpy(facts->model, p + 1, n);

    return true;
}
