/* SOURCES: common/hai_change.c common/hai_change_find.c */
/* SOURCES: common/hai_change_put.c common/hai_change_set.c */
/* SOURCES: common/hai_change_text.c common/hai_walk.c common/hai_edit.c */
/* SOURCES: common/hai_json.c common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: tests/unit/change_model.c tests/unit/change_run.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */
/* LIBS: -ljansson */

/*
 * Changes of bodies at random, compared with the same changes of a tree; and
 * long texts, escaped in any way, that are there already.
 */

#include "change_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct writer {
    char text[4096];
    size_t len;
    uint64_t random;
};

static unsigned roll(struct writer *w, unsigned n) {
    w->random = w->random * UINT64_C(6364136223846793005) + 1;
    return (unsigned) (w->random >> 33) % n;
}

static void put(struct writer *w, const char *text) {
    size_t n = strlen(text);

    assert_true(w->len + n < sizeof(w->text));
    memcpy(w->text + w->len, text, n + 1);
    w->len += n;
}

static void put_space(struct writer *w) {
    static const char *const spaces[] = {"", "", "", " ", "\n", " \t "};

    put(w, spaces[roll(w, COUNT(spaces))]);
}

static void put_token(struct writer *w, const char *text) {
    put_space(w);
    put(w, text);
    put_space(w);
}

/* A name, some of its letters escaped. */
static void put_name(struct writer *w, const char *name) {
    char escape[8];

    put_space(w);
    put(w, "\"");
    for (; *name; name++) {
        if (roll(w, 20) == 0) {
            snprintf(escape, sizeof(escape), "\\u%04x", (unsigned) *name);
        } else {
            snprintf(escape, sizeof(escape), "%c", *name);
        }
        put(w, escape);
    }
    put(w, "\"");
    put_space(w);
}

static void put_key(struct writer *w, const char *name) {
    put_name(w, name);
    put_token(w, ":");
}

/* Few letters, so that texts often begin and end like one another. */
static void put_string(struct writer *w) {
    static const char *const letters[] = {
        "a",       "b",       "a",   "\\n",    "\\\\",    "\\\"",
        "\\u0061", "\\u000a", "\\/", "\u00e9", "\\u00e9", "\\ud83d\\ude00",
        "\\u005c", "{"};

    put_space(w);
    put(w, "\"");
    for (unsigned n = roll(w, 3) ? roll(w, 6) : 0; n > 0; n--) {
        put(w, letters[roll(w, COUNT(letters))]);
    }
    put(w, "\"");
    put_space(w);
}

static void put_other(struct writer *w) {
    static const char *const values[] = {"1",
                                         "-2.5e3",
                                         "true",
                                         "false",
                                         "null",
                                         "{}",
                                         "[]",
                                         "\"]}\\\"\"",
                                         "[{\"role\":[1,[2]]},\"}\"]",
                                         "{\"text\":{\"a\":\"\\\\\"}}",
                                         "120"};

    put_token(w, values[roll(w, COUNT(values))]);
}

static void put_part(struct writer *w) {
    static const char *const types[] = {"text", "input_text", "image"};

    put_token(w, "{");
    if (roll(w, 4) == 0) {
        put_key(w, "other");
        put_other(w);
        put(w, ",");
    }
    if (roll(w, 8)) {
        put_key(w, "type");
        put_name(w, types[roll(w, 4) ? 0 : roll(w, COUNT(types))]);
        put(w, ",");
    }
    put_key(w, "text");
    if (roll(w, 10)) {
        put_string(w);
    } else {
        put_other(w);
    }
    put_token(w, "}");
}

static void put_content(struct writer *w) {
    switch (roll(w, 12)) {
    case 0:
        put_other(w);
        return;
    case 1:
        put_token(w, "null");
        return;
    case 2:
    case 3:
    case 4:
        put_token(w, "[");
        for (unsigned n = roll(w, 4), i = 0; i < n; i++) {
            put(w, i ? "," : "");
            put_part(w);
        }
        put_token(w, "]");
        return;
    default:
        put_string(w);
    }
}

static void put_message(struct writer *w, bool leading) {
    static const char *const roles[] = {"user",   "assistant", "tool",
                                        "system", "developer", "users"};
    bool first = true;

    if (roll(w, 60) == 0) {
        put_other(w);
        return;
    }

    put_token(w, "{");
    if (roll(w, 6) == 0) {
        put_key(w, "other");
        put_other(w);
        first = false;
    }
    if (roll(w, 4) == 0) {
        put(w, first ? "" : ",");
        put_key(w, "content");
        put_content(w);
        put(w, ",");
        put_key(w, "role");
        put_name(w, roles[leading ? 3 + roll(w, 2) : roll(w, COUNT(roles))]);
    } else {
        if (roll(w, 40)) {
            put(w, first ? "" : ",");
            put_key(w, "role");
            put_name(w, roles[leading ? 3 + roll(w, 2) : roll(w, 3)]);
            first = false;
        }
        if (roll(w, 6) == 0) {
            put(w, first ? "" : ",");
            put_key(w, "type");
            put_name(w, roll(w, 2) ? "message" : "reasoning");
            first = false;
        }
        if (roll(w, 8)) {
            put(w, first ? "" : ",");
            put_key(w, "content");
            put_content(w);
        }
    }
    put_token(w, "}");
}

static void put_messages(struct writer *w) {
    unsigned n = roll(w, 5), leading = roll(w, 3);

    put_token(w, "[");
    for (unsigned i = 0; i < n; i++) {
        put(w, i ? "," : "");
        put_message(w, i < leading);
    }
    put_token(w, "]");
}

static void put_member(struct writer *w, const char *name) {
    put_key(w, name);

    if (roll(w, 30) == 0) {
        put_other(w);
    } else if (strcmp(name, "messages") == 0) {
        put_messages(w);
    } else if (strcmp(name, "input") == 0 && roll(w, 3)) {
        put_messages(w);
    } else if (strcmp(name, "prompt") == 0 && roll(w, 2)) {
        put_token(w, "[");
        for (unsigned n = roll(w, 4), i = 0; i < n; i++) {
            put(w, i ? "," : "");
            put_string(w);
        }
        put_token(w, "]");
    } else if (name[1] == '\0' || strcmp(name, "tools") == 0) {
        put_other(w);
    } else {
        put_content(w);
    }
}

static void put_body(struct writer *w) {
    const char *names[] = {"messages", "system", "instructions",
                           "input",    "prompt", "tools",
                           "a",        "b",      "c",
                           "d"};
    bool first = true;

    w->len = 0;
    put_token(w, "{");
    for (size_t i = 0; i < COUNT(names); i++) {
        size_t k = i + roll(w, (unsigned) (COUNT(names) - i));
        const char *name = names[k];

        names[k] = names[i];
        if (roll(w, 5) < 3) {
            put(w, first ? "" : ",");
            put_member(w, name);
            first = false;
        }
    }
    put_token(w, "}");
}

static size_t random_changes(struct writer *w, struct want *want) {
    static const char *const texts[] = {
        "a",   "b",      "\n", "\\",     "\"",         "ab",    "aa",
        "a\n", "\u00e9", "/",  "a\n\nb", "\U0001f600", "b\n\na"};
    static const char *const fields[] = {"a", "b", "c", "d", "e", "tools"};
    static const char *const values[] = {"1", "'x'", "null", "[ 1]", "500"};
    size_t n = 1 + roll(w, 4);

    memset(want, 0, MAX_CHANGES * sizeof(*want));
    for (size_t i = 0; i < n; i++) {
        want[i].op = (enum hai_change_op) roll(w, 5);
        want[i].text = texts[roll(w, COUNT(texts))];
        if (want[i].op == HAI_CHANGE_SET || want[i].op == HAI_CHANGE_REMOVE) {
            want[i].text = fields[roll(w, COUNT(fields))];
        }
        if (want[i].op == HAI_CHANGE_SET && roll(w, 2)) {
            want[i].value = values[roll(w, COUNT(values))];
        } else if (want[i].op == HAI_CHANGE_SET) {
            want[i].min = roll(w, 2) ? "-10" : NULL;
            want[i].max = roll(w, 2) ? "100" : NULL;
            want[i].fallback = roll(w, 2) ? "5e1" : NULL;
        }
    }

    return n;
}

/* Whatever a body looks like, its edits make what the tree becomes. */
static void at_random(void **state) {
    struct hai_change changes[MAX_CHANGES];
    struct want want[MAX_CHANGES];
    struct writer w = {.random = 1};
    size_t n, refused = 0;
    char *result;

    (void) state;

    for (int i = 0; i < 2000; i++) {
        enum hai_api api = (enum hai_api) roll(&w, 4);

        put_body(&w);
        random_changes(&w, want);
        n = make_changes(changes, want);

        scan(w.text);
        result = change_split(w.text, api, changes, n);
        compare_with_model(w.text, api, changes, n, result);
        if (result) {
            scan(result);
        } else {
            refused++;
        }

        free(result);
        free_changes(changes, n);
    }

    /* the shapes are well mixed */
    assert_in_range(refused, 100, 1400);
}

/* A system prompt of many characters, each escaped in any way. */
static size_t put_long(struct writer *w, char *text, size_t n) {
    static const struct {
        const char *text;
        const char *json[4];
    } letters[] = {
        {"a", {"a", "\\u0061", "a", "a"}},
        {"\\", {"\\\\", "\\u005c", "\\u005C", "\\\\"}},
        {"\"", {"\\\"", "\\u0022", "\\\"", "\\\""}},
        {"/", {"/", "\\/", "\\u002f", "/"}},
        {"\n", {"\\n", "\\u000a", "\\u000A", "\\n"}},
        {"\u00e9", {"\u00e9", "\\u00e9", "\\u00E9", "\u00e9"}},
        {"\U0001f600",
         {"\U0001f600", "\\ud83d\\ude00", "\\uD83D\\uDE00", "\\ud83d\\ude00"}},
        {"u0061", {"u0061", "u0061", "\\u00750061", "u0\\u003061"}},
    };
    size_t len = 0, k, last = 0;

    w->len = 0;
    put(w, "{\"system\":\"");
    while (n-- > 0) {
        k = roll(w, 4) ? last : roll(w, COUNT(letters));
        last = k;
        put(w, letters[k].json[roll(w, 4)]);
        memcpy(text + len, letters[k].text, strlen(letters[k].text));
        len += strlen(letters[k].text);
    }
    put(w, "\"}");

    return len;
}

static void long_texts(void **state) {
    struct writer w = {.random = 5};
    struct hai_change change;
    char text[4096], other[4096], *result;
    size_t len, n;

    (void) state;

    for (int i = 0; i < 600; i++) {
        len = put_long(&w, text, 20 + (size_t) i / 3);
        memcpy(other, text, len);
        memset(&change, 0, sizeof(change));
        n = 1 + roll(&w, (unsigned) len);

        /* a character must not be cut */
        change.op = HAI_CHANGE_APPEND;
        while ((text[len - n] & 0xc0) == 0x80) {
            n++;
        }
        change.text = (struct hai_slice){text + len - n, n};
        result = change_text(w.text, ANTHROPIC, &change, 1);
        assert_same(result, w.text, w.text);
        free(result);

        other[len - n] = 'Z';
        if ((text[len - n] & 0x80) == 0) {
            change.text.data = other + len - n;
            result = change_text(w.text, ANTHROPIC, &change, 1);
            assert_true(strlen(result) > strlen(w.text));
            compare_with_model(w.text, ANTHROPIC, &change, 1, result);
            free(result);
        }

        change.op = HAI_CHANGE_PREPEND;
        while (n < len && (text[n] & 0xc0) == 0x80) {
            n++;
        }
        change.text = (struct hai_slice){text, n};
        result = change_text(w.text, ANTHROPIC, &change, 1);
        assert_same(result, w.text, w.text);
        free(result);
    }
}

int main(void) {
    const struct CMUnitTest all[] = {
        cmocka_unit_test(at_random),
        cmocka_unit_test(long_texts),
    };

    return cmocka_run_group_tests(all, change_set_up, change_tear_down);
}
