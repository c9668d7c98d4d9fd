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

/* clang-format off */

static void messages(void **state) {
    static const struct test tests[] = {
        {CHAT, "{'messages':[]}",
               "{'messages':[{'role':'user','content':'M'}]}", {MESSAGE("M")}},
        {CHAT, "{'messages':[ ]}",
               "{'messages':[{'role':'system','content':'A'} ,"
               "{'role':'user','content':["
               "{'type':'text','text':'M'},{'type':'text','text':'N'}]}]}",
               {MESSAGE("M"), APPEND("A"), MESSAGE("N")}},
        {CHAT, "{'messages':[{'role':'system','content':'x'}]}",
               "{'messages':[{'role':'system','content':'x\\n\\nA'},"
               "{'role':'user','content':'M'}]}",
               {MESSAGE("M"), APPEND("A")}},
        {CHAT, "{'messages':[{'role':'user','content':'a'},"
               "{'role':'us\\u0065r','content':'b'},"
               "{'role':'tool','content':'c'}]}",
               "{'messages':[{'role':'user','content':'a'},"
               "{'role':'us\\u0065r','content':["
               "{'type':'text','text':'b'},{'type':'text','text':'M'}]},"
               "{'role':'tool','content':'c'}]}",
               {MESSAGE("M")}},
        {CHAT, "{'messages':[{'role':'user','content':["
               "{'type':'image_url','image_url':{'url':'x'}}]}]}",
               "{'messages':[{'role':'user','content':["
               "{'type':'image_url','image_url':{'url':'x'}},"
               "{'type':'text','text':'M'},{'type':'text','text':'M'}]}]}",
               {MESSAGE("M"), MESSAGE("M")}},
        {CHAT, "{'messages':[{'role':'user','content':[ ]}]}",
               "{'messages':[{'role':'user','content':[ "
               "{'type':'text','text':'M'}]}]}", {MESSAGE("M")}},
        {CHAT, "{'messages':[{'role':'user'}]}",
               "{'messages':[{'content':'M','role':'user'}]}", {MESSAGE("M")}},
        {CHAT, "{'messages':[{'role':'user','content':null}]}",
               "{'messages':[{'role':'user','content':["
               "{'type':'text','text':'M'},{'type':'text','text':'N'}]}]}",
               {MESSAGE("M"), MESSAGE("N")}},
        {CHAT, "{'messages':[{'role':'user','content':7}]}", NULL,
               {MESSAGE("M")}},
        {CHAT, "{'messages':[{'role':'user','content':[7]}]}", NULL,
               {MESSAGE("M")}},
        {CHAT, "{'messages':[7,{'role':'user','content':'x'}]}", NULL,
               {MESSAGE("M")}},
        {CHAT, "{'messages':[{'role':'user','content':'x'}]}", SAME,
               {MESSAGE(""), APPEND(""), PREPEND("")}},
    };

    (void) state;
    run_all(tests, COUNT(tests));
}

/* Text that is there is found, however the caller escapes it. */
static void there_already(void **state) {
    static const struct test tests[] = {
        {ANTHROPIC, "{'system':'x\\u0061\\u0062'}", SAME,
                    {APPEND("ab"), APPEND("b"), APPEND("xab")}},
        {ANTHROPIC, "{'system':'ab'}", "{'system':'ab\\n\\nxab'}",
                    {APPEND("xab")}},
        {ANTHROPIC, "{'system':'\\u000a\\u005c\\/'}", SAME,
                    {APPEND("\n\\/"), PREPEND("\n\\/"), PREPEND("\n")}},
        {ANTHROPIC, "{'system':'\\ud83d\\ude00'}", SAME,
                    {APPEND("\xf0\x9f\x98\x80"), PREPEND("\xf0\x9f\x98\x80")}},
        {ANTHROPIC, "{'system':'\xf0\x9f\x98\x80'}", SAME,
                    {APPEND("\xf0\x9f\x98\x80"), PREPEND("\xf0\x9f\x98\x80")}},
        /* across what was added */
        {ANTHROPIC, "{'system':'x'}", "{'system':'p\\n\\nx\\n\\na'}",
                    {APPEND("a"), APPEND("x\n\na"), APPEND("\n\na"),
                     APPEND("\na"), PREPEND("p"), APPEND("p\n\nx\n\na"),
                     PREPEND("p\n\nx\n\na"), PREPEND("p\n")}},
        {ANTHROPIC, "{'system':'x'}",
                    "{'system':'x\\n\\na\\n\\nq\\nx\\n\\na'}",
                    {APPEND("a"), APPEND("q\nx\n\na")}},
        {ANTHROPIC, "{}", "{'system':'b\\n\\na'}",
                    {APPEND("a"), PREPEND("b"), APPEND("b\n\na"),
                     PREPEND("b\n\na"), APPEND("\n\na"), PREPEND("b\n")}},
        {CHAT, "{'messages':[{'role':'user'}]}",
               "{'messages':[{'role':'system','content':'\\n'},"
               "{'role':'user'}]}", {PREPEND("\n"), APPEND("\n")}},
        /* parts are texts of their own */
        {ANTHROPIC, "{'system':[{'type':'text','text':'a'}]}",
                    "{'system':[{'type':'text','text':'a'},"
                    "{'type':'text','text':'b'},"
                    "{'type':'text','text':'a\\n\\nb'}]}",
                    {APPEND("b"), APPEND("a\n\nb"), APPEND("\nb")}},
    };

    (void) state;
    run_all(tests, COUNT(tests));
}

static void fields(void **state) {
    static const struct test tests[] = {
        {OTHER, "{}", "{'a':1}", {SET("a", "1")}},
        {OTHER, "{ }", "{'a':1,'b':{'c':[]} }",
                {SET("a", "1"), SET("b", "{'c':[]}")}},
        {OTHER, "{'x':0}", "{'a':1,'b':2,'x':0}",
                {SET("a", "1"), SET("b", "2")}},
        {OTHER, "{'a' : [1,{'b':2}] ,'b':3}", "{'a' : 7 ,'b':8}",
                {SET("a", "7"), SET("b", "8")}},
        {OTHER, "{'\\u0061':1}", "{'\\u0061':2}", {SET("a", "2")}},
        {OTHER, "{'x':{'a':1}}", "{'a':2,'x':{'a':1}}", {SET("a", "2")}},
        {OTHER, "{'a':1}", "{'a':3}", {SET("a", "2"), SET("a", "3")}},
        {OTHER, "{}", "{'q\\'\\n':1}", {SET("q'\n", "1")}},
        {CHAT, "{'messages':[],'model':'x','tools':[1]}",
               "{'messages':[],'model':'gpt','tools':[]}",
               {SET("model", "'gpt'"), SET("tools", "[]")}},

        /* removed at the beginning, in the middle, at the end, all */
        {OTHER, "{'a':1,'b':2,'c':3}", "{'b':2,'c':3}", {REMOVE("a")}},
        {OTHER, "{'a':1,'b':2,'c':3}", "{'a':1,'c':3}", {REMOVE("b")}},
        {OTHER, "{'a':1,'b':2,'c':3}", "{'a':1,'b':2}", {REMOVE("c")}},
        {OTHER, "{ 'a' : 1 , 'b' : 2 , 'c' : 3 }", "{ 'b' : 2 , 'c' : 3 }",
                {REMOVE("a")}},
        {OTHER, "{ 'a' : 1 , 'b' : 2 , 'c' : 3 }", "{ 'a' : 1 , 'c' : 3 }",
                {REMOVE("b")}},
        {OTHER, "{ 'a' : 1 , 'b' : 2 , 'c' : 3 }", "{ 'a' : 1 , 'b' : 2 }",
                {REMOVE("c")}},
        {OTHER, "{'a':1,'b':2,'c':3}", "{'c':3}", {REMOVE("b"), REMOVE("a")}},
        {OTHER, "{'a':1,'b':2,'c':3}", "{'b':2}", {REMOVE("c"), REMOVE("a")}},
        {OTHER, "{'a':1,'b':2,'c':3}", "{'a':1}", {REMOVE("c"), REMOVE("b")}},
        {OTHER, "{ 'a':1, 'b':2 }", "{  }", {REMOVE("b"), REMOVE("a")}},
        {OTHER, "{'a':1}", "{}", {REMOVE("a")}},
        {OTHER, "{'a':1}", SAME, {REMOVE("b")}},
        {OTHER, "{}", SAME, {REMOVE("b")}},
        {CHAT, "{'tools':[1],'model':'x'}", "{'model':'x'}", {REMOVE("tools")}},
        {CHAT, "{'a':1,'model':'x'}", "{'a':1}", {REMOVE("model")}},

        /* and something is added */
        {OTHER, "{'a':1}", "{'b':2,'c':3}",
                {REMOVE("a"), SET("b", "2"), SET("c", "3")}},
        {OTHER, "{'a':1,'x':0}", "{'b':2,'x':0}", {REMOVE("a"), SET("b", "2")}},
        {ANTHROPIC, "{'a':1}", "{'system':'A','b':2}",
                    {REMOVE("a"), SET("b", "2"), APPEND("A")}},
        {RESPONSES, "{}",
                    "{'instructions':'A','input':[{'role':'user',"
                    "'content':'M'}],'b':2}",
                    {SET("b", "2"), MESSAGE("M"), APPEND("A")}},
        {ANTHROPIC, "{'x':0,'system':null,'a':1}", "{'x':0,'system':'A'}",
                    {REMOVE("a"), APPEND("A")}},

        /* several changes of one field */
        {OTHER, "{'a':1,'x':0}", "{'a':2,'x':0}",
                {SET("a", "5"), REMOVE("a"), SET("a", "2")}},
        {OTHER, "{'x':0,'a':1}", "{'x':0}", {SET("a", "5"), REMOVE("a")}},
        {OTHER, "{'x':0}", SAME, {SET("a", "5"), REMOVE("a")}},
        {OTHER, "{'x':0}", "{'a':7,'x':0}",
                {SET("a", "5"), REMOVE("a"), BOUND("a", NULL, NULL, "7")}},
        {OTHER, "{'x':0}", "{'a':3,'x':0}",
                {SET("a", "5"), BOUND("a", NULL, "3", NULL)}},

        /* bounds */
        {OTHER, "{'a':5000}", "{'a':4096}", {BOUND("a", NULL, "4096", "10")}},
        {OTHER, "{'a':4096}", SAME, {BOUND("a", "1", "4096", "10")}},
        {OTHER, "{'a':0}", "{'a':1}", {BOUND("a", "1", "4096", "10")}},
        {OTHER, "{'a':-5e3}", "{'a':-1}", {BOUND("a", "-1", NULL, NULL)}},
        {OTHER, "{'a':null}", "{'a':10}", {BOUND("a", "1", "4096", "10")}},
        {OTHER, "{}", "{'a':10}", {BOUND("a", "1", "4096", "10")}},
        {OTHER, "{'a':null}", SAME, {BOUND("a", "1", "4096", NULL)}},
        {OTHER, "{}", SAME, {BOUND("a", "1", "4096", NULL)}},
        {OTHER, "{'a':'99999'}", "{'a':4096}", {BOUND("a", "1", "4096", "10")}},
        {OTHER, "{'a':[]}", "{'a':1}", {BOUND("a", "1", NULL, "10")}},
        {OTHER, "{'a':true}", SAME, {BOUND("a", NULL, NULL, "10")}},
        {OTHER, "{'a':1e4}", "{'a':4096}", {BOUND("a", NULL, "4096", NULL)}},
        {OTHER, "{'a':1E+4}", "{'a':4096}", {BOUND("a", NULL, "4096", NULL)}},
        {OTHER, "{'a':40960e-1}", SAME, {BOUND("a", "4096", "4096", NULL)}},
        {OTHER, "{'a':0.000}", SAME, {BOUND("a", "0", "-0", NULL)}},
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

/* --- what tables and trees do not say ------------------------------------ */

/* The body in one piece, and in pieces of three bytes; free() the result. */
static char *change_text(const char *text, enum hai_api api,
                         const struct hai_change *changes, size_t n) {
    size_t len = strlen(text), count = 0;
    struct hai_piece whole = {(const uint8_t *) text, len};
    struct hai_body body = {&whole, 1, len, hai_json_facts(scanner)};
    struct hai_piece *pieces = calloc(len / 3 + 1, sizeof(pieces[0]));
    char *result, *other;

    assert_non_null(pieces);
    scan(text);
    result = change(&body, text, api, changes, n);

    for (size_t i = 0; i < len; i += 3, count++) {
        pieces[count].data = (const uint8_t *) text + i;
        pieces[count].len = len - i < 3 ? len - i : 3;
    }
    body.pieces = pieces;
    body.n = count;
    other = change(&body, text, api, changes, n);
    assert_same(other, result, text);

    free(other);
    free(pieces);
    return result;
}

static void fields_refused(void **state) {
    static const char *const refused[] = {"messages",
                                          "system",
                                          "instructions",
                                          "input",
                                          "prompt",
                                          "stream",
                                          "Model",
                                          "MESSAGES",
                                          "\xc5\xbftream",
                                          "",
                                          "model\xff",
                                          "\xed\xa0\x80",
                                          "s\xc4\xb1ystem\xc0",
                                          "to\x80"};
    static const char *const allowed[] = {
        "model", "tools", "max_tokens", "conversation",
        "x",     "a\"b",  "\xc3\xa9",   "Temperature"};
    struct hai_change change = {.op = HAI_CHANGE_SET, .value = {"1", 1}};
    char name[HAI_CHANGE_FIELD_MAX + 1];

    (void) state;

    for (size_t i = 0; i < COUNT(refused); i++) {
        assert_false(hai_change_field_valid(refused[i], strlen(refused[i])));
        change.field = (struct hai_slice){refused[i], strlen(refused[i])};
        change.op = i % 2 ? HAI_CHANGE_SET : HAI_CHANGE_REMOVE;
        assert_null(change_text("{\"x\":1}", OTHER, &change, 1));
    }
    for (size_t i = 0; i < COUNT(allowed); i++) {
        assert_true(hai_change_field_valid(allowed[i], strlen(allowed[i])));
    }

    assert_false(hai_change_field_valid("model\0", 6));
    assert_false(hai_change_field_valid("mo\0del", 6));
    memset(name, 'x', sizeof(name));
    assert_true(hai_change_field_valid(name, sizeof(name) - 1));
    assert_false(hai_change_field_valid(name, sizeof(name)));
}

static void texts_refused(void **state) {
    static const char *const refused[] = {"\xff",         "a\xc3",
                                          "\xed\xa0\x80", "\xc0\x80",
                                          "\x80",         "\xf4\x90\x80\x80"};
    static const enum hai_change_op ops[] = {
        HAI_CHANGE_APPEND, HAI_CHANGE_PREPEND, HAI_CHANGE_MESSAGE};
    struct hai_change change = {.op = HAI_CHANGE_APPEND};

    (void) state;

    for (size_t i = 0; i < COUNT(refused); i++) {
        change.text = (struct hai_slice){refused[i], strlen(refused[i])};
        for (size_t k = 0; k < COUNT(ops); k++) {
            change.op = ops[k];
            assert_null(change_text("{\"messages\":[]}", CHAT, &change, 1));
            assert_null(
                change_text("{\"prompt\":\"\"}", COMPLETIONS, &change, 1));
        }
    }
}

/* Every byte below the space, and what else is escaped. */
static void escapes(void **state) {
    static const char all[] =
        "\0\1\2\3\4\5\6\7\b\t\n\v\f\r\16\17\20\21\22\23\24\25\26\27\30\31"
        "\32\33\34\35\36\37 !\"/\\\x7f\xc3\xa9";
    static const char expected[] =
        "{\"system\":\"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006"
        "\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f\\u0010\\u0011\\u0012"
        "\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b"
        "\\u001c\\u001d\\u001e\\u001f !\\\"/\\\\\x7f\xc3\xa9\"}";
    struct hai_change change = {.op = HAI_CHANGE_APPEND,
                                .text = {all, sizeof(all) - 1}};
    char *result, *again;

    (void) state;

    result = change_text("{}", ANTHROPIC, &change, 1);
    assert_string_equal(result, expected);

    /* and it is found again, from both sides */
    again = change_text(result, ANTHROPIC, &change, 1);
    assert_string_equal(again, expected);
    free(again);
    change.op = HAI_CHANGE_PREPEND;
    again = change_text(result, ANTHROPIC, &change, 1);
    assert_string_equal(again, expected);
    free(again);
    free(result);
}

/* Numbers are compared as they are written, not as a double holds them. */
static void numbers(void **state) {
    static const struct {
        const char *number;
        const char *max;
        bool beyond;
    } rows[] = {
        {"4096.00000000000000000000000000001", "4096", true},
        {"4096.00000000000000000000000000000", "4096", false},
        {"4095.99999999999999999999999999999", "4096", false},
        {"18446744073709551616", "18446744073709551615", true},
        {"18446744073709551615", "18446744073709551615", false},
        {"1e400", "4096", true},
        {"-1e400", "4096", false},
        {"1e-400", "0", true},
        {"1e-400", "1e-401", true},
        {"1e-401", "1e-400", false},
        {"-1e-400", "0", false},
        {"-0", "0", false},
        {"0", "-0.0e5", false},
        {"0e99999999999999999999", "0", false},
        {"1e99999999999999999999", "1e999999999999", false},
        {"0.001", "1e-3", false},
        {"0.0011", "1e-3", true},
        {"10", "1e1", false},
        {"100E-1", "10", false},
        {"101E-1", "10", true},
        {"-1", "-2", true},
        {"-2", "-1", false},
        {"-10", "-9", false},
        {"5", "-5", true},
        {"-5", "5", false},
        {"123", "1230", false},
        {"1230", "123", true},
        {"9", "10", false},
        /* more than 64 bytes are no number */
        {"0.000000000000000000000000000000000000000000000000000000000000001",
         "5", true},
        {"0.00000000000000000000000000000000000000000000000000000000000001",
         "5", false},
    };
    struct hai_change change = {.op = HAI_CHANGE_SET, .field = {"a", 1}};
    char body[128], expected[128], *result;

    (void) state;

    for (size_t i = 0; i < COUNT(rows); i++) {
        change.max = (struct hai_slice){rows[i].max, strlen(rows[i].max)};
        snprintf(body, sizeof(body), "{\"a\":%s}", rows[i].number);
        snprintf(expected, sizeof(expected), "{\"a\":%s}",
                 rows[i].beyond ? rows[i].max : rows[i].number);
        result = change_text(body, OTHER, &change, 1);
        assert_string_equal(result, expected);
        free(result);
    }
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

/*
 * A million backslashes, and many texts that are compared with them.  It is
 * no measurement: what is not linear takes minutes.
 */
static void backslashes(void **state) {
    enum { N = 1000000, CHANGES = 512 };
    static char text[2048];
    struct hai_change *changes = calloc(CHANGES, sizeof(changes[0]));
    char *body = malloc(N + 64), *result;
    size_t head = strlen("{\"system\":\"");

    (void) state;
    assert_non_null(changes);
    assert_non_null(body);

    memset(text, '\\', sizeof(text));
    strcpy(body, "{\"system\":\"");
    memset(body + head, '\\', N);
    strcpy(body + head + N, "\"}");

    for (size_t i = 0; i < CHANGES; i++) {
        changes[i].op = i % 2 ? HAI_CHANGE_PREPEND : HAI_CHANGE_APPEND;
        changes[i].text = (struct hai_slice){text, 1 + i * 4 % sizeof(text)};
    }
    result = change_text(body, ANTHROPIC, changes, CHANGES);
    assert_string_equal(result, body);
    free(result);

    /* an odd number, the last one is the escape of a letter */
    body[head] = 'y';
    strcpy(body + head + N, "n\"}");
    for (size_t i = 0; i < CHANGES; i++) {
        changes[i].text = (struct hai_slice){"\n", 1};
        changes[i].op = HAI_CHANGE_APPEND;
    }
    result = change_text(body, ANTHROPIC, changes, CHANGES);
    assert_string_equal(result, body);
    free(result);

    free(body);
    free(changes);
}

static void ceilings(void **state) {
    struct hai_change *changes =
        calloc(HAI_CHANGES_MAX + 1, sizeof(changes[0]));
    size_t len = 16 + 3 * (HAI_CHANGE_PROMPTS_MAX + 1);
    char *body = malloc(len), *p, *result;

    (void) state;
    assert_non_null(changes);
    assert_non_null(body);

    for (size_t i = 0; i <= HAI_CHANGES_MAX; i++) {
        changes[i].op = HAI_CHANGE_APPEND;
        changes[i].text = (struct hai_slice){i % 2 ? "x" : "y", 1};
    }
    assert_null(change_text("{\"system\":\"\"}", ANTHROPIC, changes,
                            HAI_CHANGES_MAX + 1));
    result =
        change_text("{\"system\":\"\"}", ANTHROPIC, changes, HAI_CHANGES_MAX);
    assert_int_equal(strlen(result), 13 + 5 * HAI_CHANGES_MAX - 4);
    free(result);

    for (size_t n = HAI_CHANGE_PROMPTS_MAX; n <= HAI_CHANGE_PROMPTS_MAX + 1;
         n++) {
        p = body + sprintf(body, "{\"prompt\":[");
        for (size_t i = 0; i < n; i++) {
            p += sprintf(p, "%s\"\"", i ? "," : "");
        }
        strcpy(p, "]}");
        result = change_text(body, COMPLETIONS, changes, 1);
        assert_int_equal(result != NULL, n == HAI_CHANGE_PROMPTS_MAX);
        free(result);
    }

    free(body);
    free(changes);
}

static void no_memory(void **state) {
    struct hai_change change = {.op = HAI_CHANGE_APPEND, .text = {"abc", 3}};
    static const char text[] = "{\"messages\":[]}";
    struct hai_piece piece = {(const uint8_t *) text, sizeof(text) - 1};
    struct hai_body body = {&piece, 1, piece.len, hai_json_facts(scanner)};
    struct hai_edits little;
    const char *why = NULL;

    (void) state;

    scan(text);
    hai_edits_init(&little, 4);
    assert_int_equal(hai_changes_apply(&body, CHAT, &change, 1, &little, &why),
                     HAI_CHANGE_NO_MEMORY);
    assert_int_equal(little.n, 0);
    assert_int_equal(hai_changes_apply(&body, CHAT, &change, 0, &little, &why),
                     HAI_CHANGE_OK);
    hai_edits_free(&little);
}

int main(void) {
    const struct CMUnitTest all[] = {
        cmocka_unit_test(chat),           cmocka_unit_test(anthropic),
        cmocka_unit_test(responses),      cmocka_unit_test(completions),
        cmocka_unit_test(messages),       cmocka_unit_test(there_already),
        cmocka_unit_test(fields),         cmocka_unit_test(at_random),
        cmocka_unit_test(fields_refused), cmocka_unit_test(texts_refused),
        cmocka_unit_test(escapes),        cmocka_unit_test(numbers),
        cmocka_unit_test(long_texts),     cmocka_unit_test(backslashes),
        cmocka_unit_test(ceilings),       cmocka_unit_test(no_memory),
    };

    return cmocka_run_group_tests(all, set_up, tear_down);
}
