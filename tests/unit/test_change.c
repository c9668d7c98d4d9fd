/* SOURCES: common/hai_change.c common/hai_change_find.c */
/* SOURCES: common/hai_change_put.c common/hai_change_set.c */
/* SOURCES: common/hai_change_text.c common/hai_walk.c common/hai_edit.c */
/* SOURCES: common/hai_json.c common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: tests/unit/change_model.c */
/* LIBS: -ljansson */

/*
 * Changes of bodies: what each makes of each shape, byte for byte.  Every
 * case runs on the body in one piece, in every two pieces and in pieces of
 * one byte; the result is compared with the same changes of a tree.
 *
 * In bodies, results and values of this file ' stands for ".
 */

#include "change_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define CHAT HAI_API_OPENAI_CHAT
#define RESPONSES HAI_API_OPENAI_RESPONSES
#define COMPLETIONS HAI_API_OPENAI_COMPLETIONS
#define ANTHROPIC HAI_API_ANTHROPIC_MESSAGES
#define OTHER HAI_API_OTHER

#define MAX_CHANGES 8

struct want {
    enum hai_change_op op;
    const char *text; /* or field; NULL: the list ends */
    const char *value;
    const char *min;
    const char *max;
    const char *fallback;
};

/* clang-format off */
#define APPEND(text) {HAI_CHANGE_APPEND, text, NULL, NULL, NULL, NULL}
#define PREPEND(text) {HAI_CHANGE_PREPEND, text, NULL, NULL, NULL, NULL}
#define MESSAGE(text) {HAI_CHANGE_MESSAGE, text, NULL, NULL, NULL, NULL}
#define SET(field, value) {HAI_CHANGE_SET, field, value, NULL, NULL, NULL}
#define BOUND(field, min, max, fallback)                                       \
    {HAI_CHANGE_SET, field, NULL, min, max, fallback}
#define REMOVE(field) {HAI_CHANGE_REMOVE, field, NULL, NULL, NULL, NULL}
/* clang-format on */

struct test {
    enum hai_api api;
    const char *body;
    const char *result; /* NULL: HAI_CHANGE_SHAPE; SAME: nothing changes */
    struct want changes[MAX_CHANGES];
};

static const char SAME[] = "";

static struct hai_json *scanner;
static struct hai_edits edits;

static int set_up(void **state) {
    (void) state;
    scanner = hai_json_new();
    hai_edits_init(&edits, 1 << 20);
    return scanner ? 0 : -1;
}

static int tear_down(void **state) {
    (void) state;
    hai_json_free(scanner);
    hai_edits_free(&edits);
    return 0;
}

/* Quotes instead of apostrophes; free() it. */
static char *quoted(const char *text) {
    char *copy = strdup(text);

    assert_non_null(copy);
    for (char *p = copy; *p; p++) {
        if (*p == '\'') {
            *p = '"';
        }
    }

    return copy;
}

static void slice(struct hai_slice *s, const char *text) {
    if (text) {
        s->data = quoted(text);
        s->len = strlen(text);
    }
}

static size_t make_changes(struct hai_change *changes,
                           const struct want *want) {
    size_t n = 0;

    memset(changes, 0, MAX_CHANGES * sizeof(*changes));

    for (; n < MAX_CHANGES && want[n].text; n++) {
        changes[n].op = want[n].op;
        if (want[n].op == HAI_CHANGE_SET || want[n].op == HAI_CHANGE_REMOVE) {
            slice(&changes[n].field, want[n].text);
        } else {
            slice(&changes[n].text, want[n].text);
        }
        slice(&changes[n].value, want[n].value);
        slice(&changes[n].min, want[n].min);
        slice(&changes[n].max, want[n].max);
        slice(&changes[n].fallback, want[n].fallback);
    }

    return n;
}

static void free_changes(struct hai_change *changes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        free((char *) changes[i].text.data);
        free((char *) changes[i].field.data);
        free((char *) changes[i].value.data);
        free((char *) changes[i].min.data);
        free((char *) changes[i].max.data);
        free((char *) changes[i].fallback.data);
    }
}

/* The body with the edits, NUL ended; free() it. */
static char *splice(const char *body, size_t len) {
    uint64_t size = hai_edits_result_size(&edits, len);
    char *result = malloc((size_t) size + 1), *p = result;
    uint64_t at = 0;

    assert_non_null(result);
    for (size_t i = 0; i < edits.n; i++) {
        const struct hai_edit *e = &edits.list[i];

        assert_true(e->offset >= at && e->offset + e->del <= len);
        memcpy(p, body + at, (size_t) (e->offset - at));
        p += e->offset - at;
        if (e->len) {
            memcpy(p, e->text, e->len);
            p += e->len;
        }
        at = e->offset + e->del;
    }
    memcpy(p, body + at, (size_t) (len - at));
    p += len - at;
    *p = '\0';
    assert_int_equal(p - result, size);

    return result;
}

/* Each piece lies in a block of its own, so that a read beyond it is seen. */
static struct hai_piece piece_of(const char *data, size_t len) {
    uint8_t *copy = malloc(len ? len : 1);

    assert_non_null(copy);
    memcpy(copy, data, len);
    return (struct hai_piece){copy, len};
}

static void free_pieces(const struct hai_piece *pieces, size_t n) {
    for (size_t i = 0; i < n; i++) {
        free((uint8_t *) pieces[i].data);
    }
}

/* What the changes make of a body in pieces; NULL: HAI_CHANGE_SHAPE. */
static char *change(const struct hai_body *body, const char *text,
                    enum hai_api api, const struct hai_change *changes,
                    size_t n) {
    const char *why = NULL;
    enum hai_change_status status =
        hai_changes_apply(body, api, changes, n, &edits, &why);

    if (status == HAI_CHANGE_SHAPE) {
        assert_non_null(why);
        assert_int_equal(edits.n, 0);
        return NULL;
    }

    assert_int_equal(status, HAI_CHANGE_OK);
    return splice(text, (size_t) body->size);
}

static void assert_same(const char *a, const char *b, const char *body) {
    if ((a == NULL) != (b == NULL) || (a && strcmp(a, b) != 0)) {
        fail_msg("of %s\nbecame   %s\nnot      %s", body, a ? a : "(refused)",
                 b ? b : "(refused)");
    }
}

static void scan(const char *text) {
    hai_json_reset(scanner);
    hai_json_feed(scanner, text, strlen(text));
    if (hai_json_finish(scanner) != HAI_JSON_OK) {
        fail_msg("%s: %s", hai_json_strerror(hai_json_finish(scanner)), text);
    }
}

/* In one piece, in every two, in single bytes. */
static char *change_split(const char *text, enum hai_api api,
                          const struct hai_change *changes, size_t n) {
    size_t len = strlen(text);
    struct hai_piece *pieces = calloc(len + 2, sizeof(pieces[0]));
    struct hai_body body = {pieces, 1, len, hai_json_facts(scanner)};
    char *result, *other;

    assert_non_null(pieces);

    pieces[0] = piece_of(text, len);
    result = change(&body, text, api, changes, n);
    free_pieces(pieces, 1);

    for (size_t i = 0; i <= len; i++) {
        pieces[0] = piece_of(text, i);
        pieces[1] = piece_of(text + i, len - i);
        body.n = 2;
        other = change(&body, text, api, changes, n);
        assert_same(other, result, text);
        free(other);
        free_pieces(pieces, 2);
    }

    for (size_t i = 0; i < len; i++) {
        pieces[i] = piece_of(text + i, 1);
    }
    pieces[len] = piece_of(text, 0);
    body.n = len + 1;
    other = change(&body, text, api, changes, n);
    assert_same(other, result, text);
    free(other);
    free_pieces(pieces, len + 1);

    free(pieces);
    return result;
}

static void compare_with_model(const char *text, enum hai_api api,
                               const struct hai_change *changes, size_t n,
                               const char *result) {
    json_t *root = json_loads(text, JSON_ALLOW_NUL, NULL), *changed;
    bool done = true;

    assert_non_null(root);
    for (size_t i = 0; i < n && done; i++) {
        done = model_apply(root, api, &changes[i]);
    }
    if (done != (result != NULL)) {
        fail_msg("of %s: the model thinks otherwise", text);
    }

    if (result) {
        changed = json_loads(result, JSON_ALLOW_NUL, NULL);
        if (changed == NULL || !json_equal(root, changed)) {
            fail_msg("of %s\nbecame %s\nthe model has %s", text, result,
                     json_dumps(root, JSON_COMPACT));
        }
        json_decref(changed);
    }
    json_decref(root);
}

static void run(const struct test *t) {
    struct hai_change changes[MAX_CHANGES];
    size_t n = make_changes(changes, t->changes);
    char *body = quoted(t->body), *result, *expected = NULL;

    if (t->result) {
        expected = t->result == SAME ? strdup(body) : quoted(t->result);
        assert_non_null(expected);
    }

    scan(body);
    result = change_split(body, t->api, changes, n);
    assert_same(result, expected, body);
    compare_with_model(body, t->api, changes, n, result);
    if (result) {
        scan(result);
    }

    free(result);
    free(expected);
    free(body);
    free_changes(changes, n);
}

static void run_all(const struct test *tests, size_t n) {
    for (size_t i = 0; i < n; i++) {
        run(&tests[i]);
    }
}

/* clang-format off */

static void chat(void **state) {
    static const struct test tests[] = {
        /* no system message */
        {CHAT, "{'messages':[]}",
               "{'messages':[{'role':'system','content':'A'}]}", {APPEND("A")}},
        {CHAT, "{ 'messages' : [ ] }",
               "{ 'messages' : [{'role':'system','content':'A'} ] }",
               {PREPEND("A")}},
        {CHAT, "{'messages':[{'role':'user','content':'x'}]}",
               "{'messages':[{'role':'system','content':'B\\n\\nA'},"
                            "{'role':'user','content':'x'}]}",
               {APPEND("A"), PREPEND("B"), APPEND("A"), PREPEND("B")}},

        /* a string */
        {CHAT, "{'messages':[{'role':'system','content':'x'}]}",
               "{'messages':[{'role':'system','content':'x\\n\\nA'}]}",
               {APPEND("A")}},
        {CHAT, "{'messages':[{'role':'system','content':'x'}]}",
               "{'messages':[{'role':'system','content':'A\\n\\nx'}]}",
               {PREPEND("A")}},
        {CHAT, "{'messages':[{'role':'system','content':''}]}",
               "{'messages':[{'role':'system','content':'B\\n\\nA'}]}",
               {APPEND("A"), PREPEND("B")}},

        /* null, missing */
        {CHAT, "{'messages':[{'content':null,'role':'developer'}]}",
               "{'messages':[{'content':'A\\n\\nB','role':'developer'}]}",
               {APPEND("A"), APPEND("B")}},
        {CHAT, "{'messages':[{ 'role':'system' }]}",
               "{'messages':[{'content':'A', 'role':'system' }]}",
               {APPEND("A")}},

        /* parts */
        {CHAT, "{'messages':[{'role':'system','content':[]}]}",
               "{'messages':[{'role':'system','content':["
               "{'type':'text','text':'B'},{'type':'text','text':'A'}]}]}",
               {APPEND("A"), PREPEND("B")}},
        {CHAT, "{'messages':[{'role':'system','content':["
               "{'type':'text','text':'x'} ]}]}",
               "{'messages':[{'role':'system','content':["
               "{'type':'text','text':'B'},{'type':'text','text':'x'} ,"
               "{'type':'text','text':'A'},{'type':'text','text':'x'}]}]}",
               {APPEND("A"), PREPEND("B"), APPEND("A"), PREPEND("B"),
                APPEND("x"), APPEND("x")}},
        {CHAT, "{'messages':[{'role':'system','content':["
               "{'text':'bxa','type':'text'}]}]}", SAME,
               {APPEND("xa"), APPEND("a"), PREPEND("bx"), PREPEND("bxa")}},
        {CHAT, "{'messages':[{'role':'system','content':["
               "{'type':'other','text':'x'}]}]}",
               "{'messages':[{'role':'system','content':["
               "{'type':'other','text':'x'},{'type':'text','text':'x'}]}]}",
               {APPEND("x")}},

        /* several leading messages */
        {CHAT, "{'messages':[{'role':'system','content':'x'},"
               "{'role':'user','content':'u'},"
               "{'role':'system','content':'z'}]}",
               "{'messages':[{'role':'system','content':'P\\n\\nx\\n\\nA'},"
               "{'role':'user','content':'u'},"
               "{'role':'system','content':'z'}]}",
               {APPEND("A"), PREPEND("P")}},
        {CHAT, "{'messages':[{'role':'system','content':'x'},"
               "{'role':'developer','content':[]},{'role':'system'}]}",
               "{'messages':[{'role':'system','content':'P\\n\\nx'},"
               "{'role':'developer','content':[]},"
               "{'content':'A','role':'system'}]}",
               {APPEND("A"), PREPEND("P"), APPEND("A"), PREPEND("P")}},

        /* escapes in keys and roles, white space, other members */
        {CHAT, "{'m\\u0065ssages' : [ { 'n' : [{'role':1}] , 'r\\u006fle'\t:"
               "\n'syst\\u0065m' , 'cont\\u0065nt' : '\\u0078' } , 5 ] }",
               NULL, {APPEND("A")}},
        {CHAT, "{'messages' : [ { 'n' : [{'role':1}] , 'r\\u006fle'\t:"
               "\n'syst\\u0065m' , 'cont\\u0065nt' : '\\u0078' } ] }",
               "{'messages' : [ { 'n' : [{'role':1}] , 'r\\u006fle'\t:"
               "\n'syst\\u0065m' , 'cont\\u0065nt' : '\\u0078\\n\\nA' } ] }",
               {APPEND("A")}},

        /* shapes */
        {CHAT, "{}", NULL, {APPEND("A")}},
        {CHAT, "{'messages':null}", NULL, {APPEND("A")}},
        {CHAT, "{'messages':{}}", NULL, {PREPEND("A")}},
        {CHAT, "{'messages':'x'}", NULL, {MESSAGE("A")}},
        {CHAT, "{'messages':['x']}", NULL, {APPEND("A")}},
        {CHAT, "{'messages':[{}]}", NULL, {APPEND("A")}},
        {CHAT, "{'messages':[{'role':null}]}", NULL, {APPEND("A")}},
        {CHAT, "{'messages':[{'content':'x'}]}", NULL, {APPEND("A")}},
        {CHAT, "{'messages':[{'role':'system'},{'content':'x'}]}", NULL,
               {APPEND("A")}},
        {CHAT, "{'messages':[{'role':'system','content':1}]}", NULL,
               {APPEND("A")}},
        {CHAT, "{'messages':[{'role':'system','content':{}}]}", NULL,
               {APPEND("A")}},
        {CHAT, "{'messages':[{'role':'system','content':['x']}]}", NULL,
               {PREPEND("A")}},
        {CHAT, "{'messages':[{'role':'system','content':true}]}", NULL,
               {PREPEND("A")}},
        {OTHER, "{'messages':[]}", NULL, {APPEND("A")}},
        {OTHER, "{'messages':[]}", NULL, {MESSAGE("A")}},
    };

    (void) state;
    run_all(tests, COUNT(tests));
}

static void anthropic(void **state) {
    static const struct test tests[] = {
        {ANTHROPIC, "{}", "{'system':'A'}", {APPEND("A")}},
        {ANTHROPIC, "{ 'a':1}", "{'system':'B\\n\\nA', 'a':1}",
                    {APPEND("A"), PREPEND("B")}},
        {ANTHROPIC, "{'system':null}", "{'system':'A'}", {PREPEND("A")}},
        {ANTHROPIC, "{'system':'x','a':1}", "{'system':'x\\n\\nA','a':1}",
                    {APPEND("A")}},
        {ANTHROPIC, "{'system' : [ ]}",
                    "{'system' : [{'type':'text','text':'A'} ]}",
                    {APPEND("A")}},
        {ANTHROPIC, "{'\\u0073ystem':[{'type':'text','text':'x',"
                    "'cache_control':{'type':'ephemeral'}}]}",
                    "{'\\u0073ystem':[{'type':'text','text':'B'},"
                    "{'type':'text','text':'x',"
                    "'cache_control':{'type':'ephemeral'}},"
                    "{'type':'text','text':'A'}]}",
                    {APPEND("A"), PREPEND("B")}},
        {ANTHROPIC, "{'system':1}", NULL, {APPEND("A")}},
        {ANTHROPIC, "{'system':{}}", NULL, {APPEND("A")}},
        {ANTHROPIC, "{'system':[[]]}", NULL, {APPEND("A")}},
        {ANTHROPIC, "{'messages':[{'role':'user','content':'u'},"
                    "{'role':'assistant','content':'{'}],'system':'x'}",
                    "{'messages':[{'role':'user','content':["
                    "{'type':'text','text':'u'},{'type':'text','text':'M'}]},"
                    "{'role':'assistant','content':'{'}],"
                    "'system':'x\\n\\nA'}",
                    {MESSAGE("M"), APPEND("A")}},
    };

    (void) state;
    run_all(tests, COUNT(tests));
}

static void responses(void **state) {
    static const struct test tests[] = {
        {RESPONSES, "{}", "{'instructions':'A'}", {APPEND("A")}},
        {RESPONSES, "{'instructions':null}", "{'instructions':'B\\n\\nA'}",
                    {APPEND("A"), PREPEND("B")}},
        {RESPONSES, "{'instructions':'x'}",
                    "{'instructions':'B\\n\\nx\\n\\nA'}",
                    {APPEND("A"), PREPEND("B")}},
        {RESPONSES, "{'instructions':[]}", NULL, {APPEND("A")}},
        {RESPONSES, "{'instructions':1}", NULL, {APPEND("A")}},

        {RESPONSES, "{'input':'u'}",
                    "{'input':[{'role':'user','content':["
                    "{'type':'input_text','text':'u'},"
                    "{'type':'input_text','text':'M'},"
                    "{'type':'input_text','text':'N'}]}]}",
                    {MESSAGE("M"), MESSAGE("N")}},
        {RESPONSES, "{'input':null}",
                    "{'input':[{'role':'user','content':'M'}]}",
                    {MESSAGE("M")}},
        {RESPONSES, "{}",
                    "{'instructions':'A','input':[{'role':'user','content':["
                    "{'type':'input_text','text':'M'},"
                    "{'type':'input_text','text':'N'}]}]}",
                    {MESSAGE("M"), APPEND("A"), MESSAGE("N")}},
        {RESPONSES, "{'input':[]}",
                    "{'input':[{'role':'user','content':'M'}]}",
                    {MESSAGE("M")}},
        {RESPONSES, "{'input':[{'type':'message','role':'user','content':'u'},"
                    "{'type':'function_call_output','role':'user'},"
                    "{'role':'assistant','content':'a'}]}",
                    "{'input':[{'type':'message','role':'user','content':["
                    "{'type':'input_text','text':'u'},"
                    "{'type':'input_text','text':'M'}]},"
                    "{'type':'function_call_output','role':'user'},"
                    "{'role':'assistant','content':'a'}]}",
                    {MESSAGE("M")}},
        {RESPONSES, "{'input':1}", NULL, {MESSAGE("M")}},
        {RESPONSES, "{'input':{}}", NULL, {MESSAGE("M")}},
        {RESPONSES, "{'input':['x']}", NULL, {MESSAGE("M")}},
    };

    (void) state;
    run_all(tests, COUNT(tests));
}

static void completions(void **state) {
    static const struct test tests[] = {
        {COMPLETIONS, "{}", "{'prompt':'A'}", {APPEND("A")}},
        {COMPLETIONS, "{'a':1}", "{'prompt':'B\\n\\nA\\n\\nM','a':1}",
                      {APPEND("A"), PREPEND("B"), MESSAGE("M")}},
        {COMPLETIONS, "{'prompt':null}", "{'prompt':'A'}", {PREPEND("A")}},
        {COMPLETIONS, "{'prompt':''}", "{'prompt':'A'}", {PREPEND("A")}},
        {COMPLETIONS, "{'prompt':'x'}", "{'prompt':'A\\n\\nx'}",
                      {APPEND("A"), APPEND("A"), PREPEND("A")}},
        {COMPLETIONS, "{'prompt':'A'}", SAME, {APPEND("A"), PREPEND("A")}},
        {COMPLETIONS, "{'prompt':[ 'x' , '' , 'A' ]}",
                      "{'prompt':[ 'A\\n\\nx\\n\\nM' , 'A\\n\\nM' ,"
                      " 'A\\n\\nM' ]}",
                      {APPEND("A"), MESSAGE("M")}},
        {COMPLETIONS, "{'prompt':[]}", NULL, {APPEND("A")}},
        {COMPLETIONS, "{'prompt':[1,2]}", NULL, {APPEND("A")}},
        {COMPLETIONS, "{'prompt':['x',[1]]}", NULL, {APPEND("A")}},
        {COMPLETIONS, "{'prompt':1}", NULL, {APPEND("A")}},
        {COMPLETIONS, "{'prompt':{}}", NULL, {MESSAGE("M")}},
    };

    (void) state;
    run_all(tests, COUNT(tests));
}

/* clang-format on */

/* --- bodies at random --------------------------------------------------- */

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

    for (int i = 0; i < 4000; i++) {
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
    assert_in_range(refused, 200, 2800);
}

int main(void) {
    const struct CMUnitTest all[] = {
        cmocka_unit_test(chat),      cmocka_unit_test(anthropic),
        cmocka_unit_test(responses), cmocka_unit_test(completions),
        cmocka_unit_test(at_random),
    };

    return cmocka_run_group_tests(all, set_up, tear_down);
}
