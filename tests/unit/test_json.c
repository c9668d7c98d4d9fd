/* SOURCES: common/hai_json.c common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */

/*
 * The request scanner: what it accepts, what it refuses and where, and that
 * neither depends on how a body was split.
 */

#include "hai_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* A literal with its length, so that it may hold NUL. */
#define TEXT(s) (s), sizeof(s) - 1

struct result {
    enum hai_json_status status;
    uint64_t error_offset;
    struct hai_json_facts facts;
    struct hai_json_items items;
};

static struct hai_json *scanner;

static int set_up(void **state) {
    (void) state;
    scanner = hai_json_new();
    return scanner ? 0 : -1;
}

static int tear_down(void **state) {
    (void) state;
    hai_json_free(scanner);
    return 0;
}

/* The bytes get a block of their own, so that a read beyond them is seen. */
static void feed(const char *data, size_t n) {
    char *copy = malloc(n ? n : 1);

    assert_non_null(copy);
    memcpy(copy, data, n);
    hai_json_feed(scanner, copy, n);
    free(copy);
}

static void take_result(struct result *r) {
    r->status = hai_json_finish(scanner);
    r->error_offset = hai_json_error_offset(scanner);
    r->facts = *hai_json_facts(scanner);
    r->items = *hai_json_items(scanner);
}

/* Scans in pieces: up to a, up to b, the rest. */
static void scan3(const char *data, size_t n, size_t a, size_t b,
                  struct result *r) {
    hai_json_reset(scanner);
    feed(data, a);
    feed(data + a, b - a);
    feed(data + b, n - b);
    take_result(r);
}

static void scan_bytes(const char *data, size_t n, struct result *r) {
    hai_json_reset(scanner);
    for (size_t i = 0; i < n; i++) {
        feed(data + i, 1);
    }
    take_result(r);
}

static void assert_same(const struct result *x, const struct result *y) {
    assert_int_equal(x->status, y->status);

    if (x->status != HAI_JSON_OK) {
        assert_int_equal(x->error_offset, y->error_offset);
        return;
    }

    for (int i = 0; i < HAI_KEY_COUNT; i++) {
        assert_int_equal(x->facts.top[i].start, y->facts.top[i].start);
        assert_int_equal(x->facts.top[i].end, y->facts.top[i].end);
        assert_int_equal(x->facts.top[i].type, y->facts.top[i].type);
    }
    assert_int_equal(x->facts.object_start, y->facts.object_start);
    assert_int_equal(x->facts.object_end, y->facts.object_end);
    assert_int_equal(x->facts.object_empty, y->facts.object_empty);
    assert_int_equal(x->facts.stream, y->facts.stream);
    assert_int_equal(x->facts.file_id, y->facts.file_id);
    assert_int_equal(x->facts.model_len, y->facts.model_len);
    assert_string_equal(x->facts.model, y->facts.model);

    assert_int_equal(x->items.key, y->items.key);
    assert_int_equal(x->items.n, y->items.n);
    for (uint64_t i = 0; i < x->items.n && i < HAI_JSON_ITEMS; i++) {
        assert_int_equal(x->items.start[i], y->items.start[i]);
    }
}

/*
 * White space behind the body changes nothing, but that all of it is read by
 * the fast path, which wants some bytes behind each token.
 */
static void scan_padded(const char *data, size_t n, struct result *r) {
    char *padded = malloc(n + 100);

    assert_non_null(padded);
    memcpy(padded, data, n);
    memset(padded + n, ' ', 100);
    scan3(padded, n + 100, 0, 0, r);
    free(padded);
}

/* Scans whole, in every two pieces and byte by byte; all must agree. */
static void scan(const char *data, size_t n, struct result *r) {
    struct result other;

    scan3(data, n, 0, 0, r);

    if (r->status == HAI_JSON_OK || r->error_offset < n) {
        scan_padded(data, n, &other);
        assert_same(r, &other);
    }

    for (size_t i = 1; i < n; i++) {
        scan3(data, n, 0, i, &other);
        assert_same(r, &other);
    }

    scan_bytes(data, n, &other);
    assert_same(r, &other);
}

static void judge(const char *data, size_t n, enum hai_json_status status) {
    struct result r;

    scan(data, n, &r);
    if (r.status != status) {
        print_error("%.*s\nis: %s, should be: %s\n", (int) n, data,
                    hai_json_strerror(r.status), hai_json_strerror(status));
    }
    assert_int_equal(r.status, status);
}

/* v as the value of a member. */
static void judge_value(const char *v, size_t n, enum hai_json_status status) {
    char body[1024];

    assert_true(n + 6 < sizeof(body));
    memcpy(body, "{\"a\":", 5);
    memcpy(body + 5, v, n);
    body[5 + n] = '}';
    judge(body, n + 6, status);
}

static void accepts_values(void **state) {
    static const struct {
        const char *s;
        size_t n;
    } values[] = {
        {TEXT("0")},
        {TEXT("-0")},
        {TEXT("10")},
        {TEXT("-12.50")},
        {TEXT("1e5")},
        {TEXT("1E+5")},
        {TEXT("0e-0")},
        {TEXT("0.0e00")},
        {TEXT("123456789012345678901234567890")},
        {TEXT("1e999")},
        {TEXT("true")},
        {TEXT("false")},
        {TEXT("null")},
        {TEXT("[]")},
        {TEXT("{}")},
        {TEXT("[ ]")},
        {TEXT("{ }")},
        {TEXT("[[],[[]],{}]")},
        {TEXT("[1,\t2 ,\r\n3]")},
        {TEXT("[null,true,false,-1,\"\",{\"\":\"\"}]")},
        {TEXT(" \"x\" ")},
        {TEXT("\"\"")},
        {TEXT("\"\x7f\"")},
        {TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"")},
        {TEXT("\"\\u0041\\uabCD\\uFFFF\\u0000\"")},
        {TEXT("\"\\ud800\\udc00\\uDBFF\\uDFFF\"")},
        {TEXT("\"\xc2\x80\xdf\xbf\"")},
        {TEXT("\"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\"")},
        {TEXT("\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\"")},
        {TEXT("\"\xef\xbb\xbf\"")}, /* inside a string it is a letter */
        {TEXT("\"// no comment\"")}};

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        judge_value(values[i].s, values[i].n, HAI_JSON_OK);
    }
}

static void refuses_values(void **state) {
    static const struct {
        const char *s;
        size_t n;
    } values[] = {{TEXT("")},
                  {TEXT("01")},
                  {TEXT("-01")},
                  {TEXT("-")},
                  {TEXT("+1")},
                  {TEXT("1.")},
                  {TEXT(".5")},
                  {TEXT("1.e1")},
                  {TEXT("1e")},
                  {TEXT("1e+")},
                  {TEXT("1e1.5")},
                  {TEXT("- 1")},
                  {TEXT("0x10")},
                  {TEXT("1_000")},
                  {TEXT("--1")},
                  {TEXT("1-")},
                  {TEXT("00")},
                  {TEXT("1e1e1")},
                  {TEXT("1.2.3")},
                  {TEXT("NaN")},
                  {TEXT("Infinity")},
                  {TEXT("-Infinity")},
                  {TEXT("True")},
                  {TEXT("nul")},
                  {TEXT("nulll")},
                  {TEXT("tru e")},
                  {TEXT("undefined")},
                  {TEXT("'x'")},
                  {TEXT("[1,]")},
                  {TEXT("[,1]")},
                  {TEXT("[1 2]")},
                  {TEXT("[1,,2]")},
                  {TEXT("[")},
                  {TEXT("]")},
                  {TEXT("[1}")},
                  {TEXT("{\"b\":1]")},
                  {TEXT("{\"b\"}")},
                  {TEXT("{\"b\",1}")},
                  {TEXT("{\"b\":}")},
                  {TEXT("{\"b\":1,}")},
                  {TEXT("{,}")},
                  {TEXT("{b:1}")},
                  {TEXT("{1:1}")},
                  {TEXT("{\"b\"::1}")},
                  {TEXT("{\"b\" 1}")},
                  {TEXT("{null:1}")},
                  {TEXT("{[]:1}")},
                  {TEXT("1 1")},
                  {TEXT("\"a\" \"b\"")},
                  {TEXT("1,")},
                  {TEXT("/* c */ 1")},
                  {TEXT("1 // c")},
                  {TEXT("1\f")},
                  {TEXT("1\v")},
                  {TEXT("\xc2\xa0"
                        "1")},
                  {TEXT("1\0")},
                  {TEXT("\"")},
                  {TEXT("\"abc")},
                  {TEXT("\"\\\"")},
                  {TEXT("\"\\x41\"")},
                  {TEXT("\"\\a\"")},
                  {TEXT("\"\\'\"")},
                  {TEXT("\"\\U0041\"")},
                  {TEXT("\"\\0\"")},
                  {TEXT("\"\\\n\"")},
                  {TEXT("\"\\u\"")},
                  {TEXT("\"\\u12\"")},
                  {TEXT("\"\\u123\"")},
                  {TEXT("\"\\u123g\"")},
                  {TEXT("\"\\u-123\"")},
                  {TEXT("\"\\u 123\"")},
                  {TEXT("\"\n\"")},
                  {TEXT("\"\t\"")},
                  {TEXT("\"\0\"")},
                  {TEXT("\"\x1f\"")},
                  {TEXT("\"\\\xc3\xa9\"")}};

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        judge_value(values[i].s, values[i].n, HAI_JSON_SYNTAX);
    }
}

static void refuses_what_is_not_utf8(void **state) {
    static const struct {
        const char *s;
        size_t n;
    } texts[] = {{TEXT("\x80")},
                 {TEXT("\xbf")},
                 {TEXT("\xc0\x80")},
                 {TEXT("\xc1\xbf")},
                 {TEXT("\xe0\x80\x80")},
                 {TEXT("\xe0\x9f\xbf")},
                 {TEXT("\xed\xa0\x80")},
                 {TEXT("\xed\xbf\xbf")},
                 {TEXT("\xf0\x80\x80\x80")},
                 {TEXT("\xf0\x8f\xbf\xbf")},
                 {TEXT("\xf4\x90\x80\x80")},
                 {TEXT("\xf5\x80\x80\x80")},
                 {TEXT("\xf8\x88\x80\x80\x80")},
                 {TEXT("\xfe")},
                 {TEXT("\xff")},
                 {TEXT("\xc2")},
                 {TEXT("\xc2 ")},
                 {TEXT("\xe2\x82")},
                 {TEXT("\xe2\x82 ")},
                 {TEXT("\xe2 \xac")},
                 {TEXT("\xf0\x9f\x98")},
                 {TEXT("\xf0\x9f\x98 ")},
                 {TEXT("\xc2\xc2\x80")},
                 {TEXT("\xc2\x80\x80")},
                 {TEXT("\xe2\x82\xac\x80")},
                 {TEXT("\xf0\x9f\x98\x80\x80")},
                 {TEXT("\xc2\\u0041")},
                 {TEXT("\\ud800")},
                 {TEXT("\\udc00")},
                 {TEXT("\\udfff")},
                 {TEXT("\\udbffx")},
                 {TEXT("\\ud800\\n")},
                 {TEXT("\\ud800\\u0041")},
                 {TEXT("\\ud800\\ud800\\udc00")},
                 {TEXT("\\udc00\\ud800")}};
    char value[300];
    size_t pad;

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        /* in the first block of 64 bytes, across its end, in the second */
        for (pad = 0; pad < 80; pad += pad < 54 || pad > 66 ? 9 : 1) {
            value[0] = '"';
            memset(value + 1, 'x', pad);
            memcpy(value + 1 + pad, texts[i].s, texts[i].n);
            memset(value + 1 + pad + texts[i].n, 'y', 70);
            value[1 + pad + texts[i].n + 70] = '"';
            judge_value(value, 1 + pad + texts[i].n + 71, HAI_JSON_UTF8);
        }
    }
}

static void refuses_what_is_no_object(void **state) {
    (void) state;
    judge(TEXT(""), HAI_JSON_SYNTAX);
    judge(TEXT(" \n"), HAI_JSON_SYNTAX);
    judge(TEXT("[]"), HAI_JSON_NOT_OBJECT);
    judge(TEXT(" \"x\""), HAI_JSON_NOT_OBJECT);
    judge(TEXT("1"), HAI_JSON_NOT_OBJECT);
    judge(TEXT("-"), HAI_JSON_NOT_OBJECT);
    judge(TEXT("null"), HAI_JSON_NOT_OBJECT);
    judge(TEXT("}"), HAI_JSON_SYNTAX);
    judge(TEXT("\0"), HAI_JSON_SYNTAX);
    judge(TEXT("x"), HAI_JSON_SYNTAX);
    judge(TEXT("\xef\xbb\xbf{}"), HAI_JSON_UTF8);
    judge(TEXT("\xff\xfe{\0}\0"), HAI_JSON_UTF8);
    judge(TEXT("{\0}\0"), HAI_JSON_SYNTAX);
    judge(TEXT("{}"), HAI_JSON_OK);
    judge(TEXT("\t\r\n {} \r\n\t"), HAI_JSON_OK);
    judge(TEXT("{}{}"), HAI_JSON_SYNTAX);
    judge(TEXT("{} x"), HAI_JSON_SYNTAX);
    judge(TEXT("{},"), HAI_JSON_SYNTAX);
    judge(TEXT("{}\0"), HAI_JSON_SYNTAX);
    judge(TEXT("{"), HAI_JSON_SYNTAX);
}

static void limits_depth(void **state) {
    char body[2 * HAI_JSON_MAX_DEPTH + 16];
    size_t n;

    (void) state;
    for (size_t depth = HAI_JSON_MAX_DEPTH - 1; depth <= HAI_JSON_MAX_DEPTH + 1;
         depth++)
    {
        n = 0;
        memcpy(body, "{\"a\":", 5);
        n += 5;
        memset(body + n, '[', depth - 1);
        n += depth - 1;
        memset(body + n, ']', depth - 1);
        n += depth - 1;
        body[n++] = '}';
        judge(body, n,
              depth <= HAI_JSON_MAX_DEPTH ? HAI_JSON_OK : HAI_JSON_DEPTH);
    }
}

static void refuses_repeated_keys(void **state) {
    (void) state;
    judge(TEXT("{\"a\":1,\"a\":2}"), HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"\":1,\"\":2}"), HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"a\":1,\"\\u0061\":2}"), HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"system\":\"\",\"\\u0073ystem\":\"\"}"),
          HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"a longer key\":1,\"a longer k\\u0065y\":2}"),
          HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":2}"),
          HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"\xc3\xa9\":1,\"\\u00E9\":2}"), HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"\xe2\x82\xac\":1,\"\\u20ac\":2}"), HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"a\\/b\":1,\"a/b\":2}"), HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"a\\u0000\":1,\"a\":2}"), HAI_JSON_OK);
    judge(TEXT("{\"a\":1,\"A\":2,\"aa\":3,\"\":4}"), HAI_JSON_OK);
    judge(TEXT("{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":1}]}"),
          HAI_JSON_OK);

    /* in what decides, at any depth */
    judge(TEXT("{\"messages\":[{\"role\":1,\"role\":2}]}"),
          HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"messages\":[[{\"x\":{\"y\":[{\"z\":1,\"z\":2}]}}]]}"),
          HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"messages\":[{\"input\":{\"z\":1,\"z\":2}}]}"),
          HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"input\":[{\"z\":1,\"z\":2}]}"), HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"system\":[{\"z\":1,\"z\":2}]}"), HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"instructions\":{\"z\":1,\"z\":2}}"), HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"tools\":[{\"f\":{\"z\":1,\"z\":2}}]}"),
          HAI_JSON_DUPLICATE_KEY);
    judge(TEXT("{\"\\u0074ools\":[{\"z\":1,\"z\":2}]}"),
          HAI_JSON_DUPLICATE_KEY);

    /* elsewhere it decides nothing, also behind what does */
    judge(TEXT("{\"metadata\":{\"z\":1,\"z\":2}}"), HAI_JSON_OK);
    judge(TEXT("{\"messages\":[{}],\"metadata\":{\"z\":1,\"z\":2}}"),
          HAI_JSON_OK);
}

static void refuses_ambiguous_keys(void **state) {
    static const char *const keys[] = {"Model",
                                       "MODEL",
                                       "mOdel",
                                       "Stream",
                                       "\xc5\xbftream",
                                       "\\u017fTREAM",
                                       "Messages",
                                       "me\xc3\x9f"
                                       "ages",
                                       "me\xe1\xba\x9e"
                                       "ages",
                                       "\xc5\xbfystem",
                                       "sy\xef\xac\x86"
                                       "em",
                                       "\xef\xac\x85ream",
                                       "Instructions",
                                       "\xc4\xb1nput",
                                       "\xc4\xb0NPUT",
                                       "i\xcc\x87nput",
                                       "Input",
                                       "Prompt",
                                       "TOOLS",
                                       "tool\xc5\xbf",
                                       "\\u004dodel",
                                       "model\\u0000",
                                       "\\u0000model",
                                       "mo\\u0000del",
                                       "model\\u0000x",
                                       "MODEL\\u0000\xe4\xb8\xad",
                                       "Previous_Response_ID",
                                       "CONVERSATION"};
    static const char *const roles[] = {"Role",      "ROLE", "Content",
                                        "contenT",   "Type", "type\\u0000",
                                        "\\u0052ole"};
    static const char *const places[] = {
        "{\"messages\":[{\"%s\":1}]}",
        "{\"messages\":[{\"content\":[{\"source\":{\"%s\":1}}]}]}",
        "{\"input\":[{\"%s\":1}]}", "{\"system\":[{\"%s\":1}]}"};
    static const char *const innocent[] = {
        "{\"Modell\":1}",
        "{\"models\":1}",
        "{\"Role\":1}",
        "{\"\xe2\x84\xaa\":1}",
        "{\"mode\\u0000l2\":1}",
        "{\"a\\u0000b\":1}",
        "{\"\\u0000\":1}",
        "{\"metadata\":{\"Model\":1,\"Role\":1}}",
        "{\"tools\":[{\"properties\":{\"Type\":1,\"type\":2}}]}",
        "{\"messages\":[{\"Name\":1,\"Model\":1}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"tool_use\","
        "\"input\":{\"Type\":1,\"a\":[{\"Content\":2}]}}]}]}",
        "{\"\xef\xbd\x8d"
        "odel\":1}"};
    char body[256];
    int n;

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        n = snprintf(body, sizeof(body), "{\"x\":0,\"%s\":1}", keys[i]);
        judge(body, (size_t) n, HAI_JSON_AMBIGUOUS_KEY);
    }

    for (size_t i = 0; i < ARRAY_SIZE(roles); i++) {
        for (size_t k = 0; k < ARRAY_SIZE(places); k++) {
            n = snprintf(body, sizeof(body), places[k], roles[i]);
            judge(body, (size_t) n, HAI_JSON_AMBIGUOUS_KEY);
        }
    }

    for (size_t i = 0; i < ARRAY_SIZE(innocent); i++) {
        judge(innocent[i], strlen(innocent[i]), HAI_JSON_OK);
    }

    /* what follows a tool's arguments is looked at again */
    judge(TEXT("{\"messages\":[{\"input\":{\"Type\":1},\"Type\":2}]}"),
          HAI_JSON_AMBIGUOUS_KEY);
}

static void judges_the_model(void **state) {
    static const struct {
        const char *s;
        size_t n;
        enum hai_json_status status;
    } models[] = {{TEXT("\"gpt-4o\""), HAI_JSON_OK},
                  {TEXT("\"x\""), HAI_JSON_OK},
                  {TEXT("\"\xe6\xa8\xa1 \\\" \\\\\""), HAI_JSON_OK},
                  {TEXT("\"\""), HAI_JSON_MODEL},
                  {TEXT("null"), HAI_JSON_MODEL},
                  {TEXT("1"), HAI_JSON_MODEL},
                  {TEXT("true"), HAI_JSON_MODEL},
                  {TEXT("[\"x\"]"), HAI_JSON_MODEL},
                  {TEXT("{}"), HAI_JSON_MODEL},
                  {TEXT("}"), HAI_JSON_SYNTAX},
                  {TEXT("\"a\\nb\""), HAI_JSON_MODEL},
                  {TEXT("\"a\\u001f\""), HAI_JSON_MODEL},
                  {TEXT("\"a\x7f\""), HAI_JSON_MODEL},
                  {TEXT("\"\\u007f\""), HAI_JSON_MODEL},
                  {TEXT("\"\\u0085\""), HAI_JSON_MODEL},
                  {TEXT("\"\xc2\x9f\""), HAI_JSON_MODEL},
                  {TEXT("\"\xc2\xa0\""), HAI_JSON_OK},
                  {TEXT("\"\\u0000\""), HAI_JSON_AMBIGUOUS_KEY},
                  {TEXT("\"gpt\\u0000\""), HAI_JSON_AMBIGUOUS_KEY},
                  {TEXT("\"a\nb\""), HAI_JSON_SYNTAX}};
    char body[700];
    struct result r;
    size_t n;

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(models); i++) {
        memcpy(body, "{\"model\":", 9);
        memcpy(body + 9, models[i].s, models[i].n);
        body[9 + models[i].n] = '}';
        judge(body, models[i].n + 10, models[i].status);
    }

    for (size_t len = 255; len <= 258; len++) {
        n = (size_t) snprintf(body, sizeof(body), "{\"model\":\"%0*d\"}",
                              (int) len, 0);
        scan(body, n, &r);
        assert_int_equal(r.status, len <= 256 ? HAI_JSON_OK : HAI_JSON_MODEL);

        /* the same length after unescaping */
        n = (size_t) snprintf(body, sizeof(body), "{\"model\":\"\\u00e9%0*d\"}",
                              (int) len - 2, 0);
        scan(body, n, &r);
        assert_int_equal(r.status, len <= 256 ? HAI_JSON_OK : HAI_JSON_MODEL);
    }

    scan(TEXT("{\"m\\u006fdel\":\"\\u0067pt\\/\\ud83d\\ude00\"}"), &r);
    assert_int_equal(r.status, HAI_JSON_OK);
    assert_string_equal(r.facts.model, "gpt/\xf0\x9f\x98\x80");
    assert_int_equal(r.facts.model_len, 8);
}

static void assert_place(const char *body, const struct hai_json_value *v,
                         char type, const char *text) {
    assert_int_equal(v->type, type);
    assert_int_equal(v->end - v->start, strlen(text));
    assert_memory_equal(body + v->start, text, strlen(text));
}

static void finds_the_facts(void **state) {
    static const char body[] =
        " {\"stream\" : true , \"model\":\"m\",\n"
        "\"messages\":[ {\"role\":\"user\",\"content\":\"a ] \\\" }\"} ],"
        "\"system\": null,\"instructions\":-1.5e3 ,\"input\":{\"a\":[1]},"
        "\"prompt\":7,\"tools\":[],\"previous_response_id\":\"r\","
        "\"conversation\":false}  ";
    static const struct {
        enum hai_json_key key;
        char type;
        const char *text;
    } places[] = {{HAI_KEY_STREAM, 't', "true"},
                  {HAI_KEY_MODEL, '"', "\"m\""},
                  {HAI_KEY_MESSAGES, '[',
                   "[ {\"role\":\"user\",\"content\":\"a ] \\\" }\"} ]"},
                  {HAI_KEY_SYSTEM, 'n', "null"},
                  {HAI_KEY_INSTRUCTIONS, '0', "-1.5e3"},
                  {HAI_KEY_INPUT, '{', "{\"a\":[1]}"},
                  {HAI_KEY_PROMPT, '0', "7"},
                  {HAI_KEY_TOOLS, '[', "[]"},
                  {HAI_KEY_PREVIOUS_RESPONSE_ID, '"', "\"r\""},
                  {HAI_KEY_CONVERSATION, 'f', "false"}};
    struct result r;

    (void) state;
    scan(TEXT(body), &r);
    assert_int_equal(r.status, HAI_JSON_OK);
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        assert_place(body, &r.facts.top[places[i].key], places[i].type,
                     places[i].text);
    }
    assert_true(r.facts.stream);
    assert_false(r.facts.file_id);
    assert_false(r.facts.object_empty);
    assert_int_equal(r.facts.object_start, 1);
    assert_int_equal(r.facts.object_end, sizeof(body) - 4);
    assert_string_equal(r.facts.model, "m");

    /* nothing of it is left for the next body */
    scan(TEXT("{ }"), &r);
    assert_int_equal(r.status, HAI_JSON_OK);
    for (int i = 0; i < HAI_KEY_COUNT; i++) {
        assert_int_equal(r.facts.top[i].end, 0);
    }
    assert_true(r.facts.object_empty);
    assert_false(r.facts.stream);
    assert_int_equal(r.facts.model_len, 0);
    assert_int_equal(r.facts.object_end, 2);

    scan(TEXT("{\"stream\":\"true\",\"a\":{\"stream\":true}}"), &r);
    assert_int_equal(r.status, HAI_JSON_OK);
    assert_false(r.facts.stream);

    scan(TEXT("{\"a\":[[{\"\\u0066ile_id\":{}}]]}"), &r);
    assert_true(r.facts.file_id);
    scan(TEXT("{\"messages\":[{\"file_id\":\"f\"}]}"), &r);
    assert_true(r.facts.file_id);
    assert_false(r.facts.object_empty);
}

/* Elements that are objects, of the arrays "messages" and "input" alone. */
static void finds_the_items(void **state) {
    static const struct {
        const char *body; /* a ! stands before each brace that is meant */
        int key;
    } cases[] = {
        {"{\"messages\":[!{\"role\":\"user\",\"content\":\"a\"},!{\"role\":"
         "\"user\",\"content\":[{\"role\":\"x\"},{\"role\":\"y\"}]}]}",
         HAI_KEY_MESSAGES},
        {"{\"messages\":[\"a\",1,[{}],!{} , !{\"a\":{\"b\":{}}}]}",
         HAI_KEY_MESSAGES},
        {"{\"messages\":{\"messages\":[{},{}]},\"tools\":[{}]}", -1},
        {"{\"messages\":{\"a\":{},\"b\":{}},\"input\":{\"c\":{}}}", -1},
        {"{\"messages\":[],\"input\":\"x\",\"other\":[{},{}]}", -1},
        {"{\"messages\":[{},{}],\"input\":[!{}]}", HAI_KEY_INPUT},
        {"{\"input\":[!{\"role\":\"a\"},!{\"role\":\"b\"}],\"messages\":[]}",
         HAI_KEY_INPUT},
        {"{\"messages\":[!{\"role\":\"user\",\"content\":\"},{\\\"role\\\":\""
         "},!{\"role\":\"user\",\"content\":\"b\"}]}",
         HAI_KEY_MESSAGES},
    };
    struct result r;

    (void) state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[256];
        uint64_t start[8];
        size_t n = 0, len = 0;

        for (const char *p = cases[i].body; *p; p++) {
            if (*p == '!') {
                start[n++] = len;
            } else {
                body[len++] = *p;
            }
        }

        scan(body, len, &r);
        assert_int_equal(r.status, HAI_JSON_OK);
        assert_int_equal(r.items.key, cases[i].key);
        assert_int_equal(r.items.n, n);
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(r.items.start[k], start[k]);
        }
    }
}

/* Of more items the last ones are known. */
static void keeps_the_last_items(void **state) {
    static const char item[] = "{\"role\":\"user\",\"content\":\"a\"}";
    static const char head[] = "{\"messages\":[";
    const size_t n = 3 * HAI_JSON_ITEMS + 5;
    char *body = malloc(sizeof(head) + n * sizeof(item) + 4), *p;
    const struct hai_json_items *items;

    (void) state;
    assert_non_null(body);

    p = stpcpy(body, head);
    for (size_t i = 0; i < n; i++) {
        p = stpcpy(stpcpy(p, i ? "," : ""), item);
    }
    p = stpcpy(p, "]}");

    hai_json_reset(scanner);
    feed(body, (size_t) (p - body));
    assert_int_equal(hai_json_finish(scanner), HAI_JSON_OK);
    items = hai_json_items(scanner);
    assert_int_equal(items->n, n);
    for (size_t i = n - HAI_JSON_ITEMS; i < n; i++) {
        assert_int_equal(items->start[i % HAI_JSON_ITEMS],
                         sizeof(head) - 1 + i * sizeof(item));
    }
    free(body);
}

static void says_where(void **state) {
    static const struct {
        const char *body;
        uint64_t offset;
    } cases[] = {{"{\"a\":01}", 6},
                 {"{\"a\":tru}", 8},
                 {"{\"a\":1", 6},
                 {"{\"a\":1,\"a\":2}", 7},
                 {"{\"Model\":2}", 1},
                 {"{\"model\":\"\"}", 9},
                 {"{} x", 3},
                 {"[]", 0},
                 {"{\"a\":\"\xe2\x82x\"}", 8},
                 {"{\"a\":\"\\ud800x\"}", 12}};
    struct result r;

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        scan(cases[i].body, strlen(cases[i].body), &r);
        assert_int_not_equal(r.status, HAI_JSON_OK);
        assert_int_equal(r.error_offset, cases[i].offset);
    }
}

/* Every two cuts of bodies with a bit of everything, and long strings. */
static void answers_the_same_for_any_split(void **state) {
    static const char *const bodies[] = {
        ("{\"model\":\"gpt-\\u0034o\",\"stream\":true,\"messages\":[{\"role\":"
         "\"user\",\"content\":\"\\ud83d\\ude00 \xe4\xb8\xad\\n\"}],"
         "\"n\":[-1.5e+3,0,null,false]}"),
        "{\"input\":[{\"a long key here\":1,\"a long \\u006bey here\":2}]}",
        ("{\"x\":\"abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrst\\\\"
         "uvwxy\xf0\x9f\x98\x80\\\"0123456789\\\\\\\\\",\"b\":"
         "\"\xed\xa0\x80\"}")};
    struct result whole, r;
    size_t n;

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        n = strlen(bodies[i]);
        scan3(bodies[i], n, 0, 0, &whole);
        for (size_t a = 0; a <= n; a++) {
            for (size_t b = a; b <= n; b++) {
                scan3(bodies[i], n, a, b, &r);
                assert_same(&whole, &r);
            }
        }
    }
}

/*
 * Messages are read in larger steps than other objects: every two of these,
 * and one more, in every place, whole against byte by byte, where there are
 * no such steps.
 */
static void reads_messages_as_other_objects(void **state) {
    static const char *const places[][2] = {
        {"{\"messages\":[", "]}"},       {"{\"input\":[", "],\"stream\":true}"},
        {"{\"messages\":[[", "]]}"},     {"{\"system\":[{\"a\":[", "]}]}"},
        {"{\"tools\":[", "]}"},          {"{\"other\":[", "]}"},
        {"{\"messages\":{\"a\":", "}}"}, {"{\"messages\":", "}"}};
    static const char *const messages[] = {
        "{\"role\":\"user\",\"content\":\"x\"}",
        "{\"role\":\"user\",\"content\":\"x\",\"name\":\"y\"}",
        "{\"role\":\"user\",\"content\":\"x\",\"role\":\"y\"}",
        "{\"role\":\"a\",\"role\":\"b\",\"content\":\"x\"}",
        "{\"role\":\"a\",\"content\":\"b\",\"content\":\"c\"}",
        "{\"content\":\"a\",\"role\":\"b\"}",
        "{\"content\":\"a\",\"role\":\"b\",\"content\":\"c\"}",
        "{\"content\":\"a\",\"content\":\"b\"}",
        "{\"role\":{\"role\":\"a\",\"content\":\"b\"},\"content\":\"c\"}",
        "{\"role\":\"a\",\"content\":[{\"text\":\"b\"}],\"file_id\":\"c\"}",
        "{\"role\":\"a\",\"content\":\"b\",\"input\":{\"Role\":\"c\"}}",
        "{\"role\":\"a\",\"input\":\"b\",\"Content\":\"c\"}",
        "{\"role\":\"\\n\",\"content\":7}",
        "{\"role\" :\"a\", \"content\": \"b\" }",
        "{\"type\":\"a\",\"content\":\"b\"}",
        "\"x\",\"content\":\"y\"",
        "[\"x\"]",
        "[\"x\"},{\"role\":\"y\"]",
        "{}"};
    static const char *const between[] = {",", ", ", "", ":"};
    const size_t n_messages = ARRAY_SIZE(messages);
    const size_t rows = n_messages * n_messages;
    struct result whole, r;
    char body[512];
    int n;

    (void) state;
    for (size_t p = 0; p < ARRAY_SIZE(places); p++) {
        for (size_t i = 0; i < rows * ARRAY_SIZE(between); i++) {
            n = snprintf(body, sizeof(body), "%s%s%s%s%s%s%s%100s",
                         places[p][0], messages[i % n_messages],
                         between[i / rows],
                         messages[i / n_messages % n_messages], ",",
                         messages[i % 5], places[p][1], "");
            assert_true(n > 0 && (size_t) n < sizeof(body));
            scan3(body, (size_t) n, 0, 0, &whole);
            scan_bytes(body, (size_t) n, &r);
            assert_same(&whole, &r);
        }
    }
}

/* An object whose keys are in the table, between two messages. */
static void forgets_many_keys_of_a_message(void **state) {
    struct hai_json_facts facts;
    char body[4096];
    struct result r;
    int n = snprintf(body, sizeof(body), "{\"messages\":[{\"role\":\"a\"");

    (void) state;
    for (int i = 0; i < 100; i++) {
        n += snprintf(body + n, sizeof(body) - (size_t) n, ",\"k%d\":\"v\"", i);
    }
    for (int i = 0; i < 3; i++) {
        n += snprintf(body + n, sizeof(body) - (size_t) n,
                      "},{\"role\":\"a\",\"content\":\"b\",\"k%d\":\"v\"", i);
    }
    n += snprintf(body + n, sizeof(body) - (size_t) n, "}]%100s}", "");

    scan3(body, (size_t) n, 0, 0, &r);
    assert_int_equal(r.status, HAI_JSON_OK);
    facts = r.facts;
    scan_bytes(body, (size_t) n, &r);
    assert_int_equal(r.status, HAI_JSON_OK);
    assert_int_equal(r.facts.object_end, facts.object_end);

    /* and the table has nothing left of it for the next body */
    scan(TEXT("{\"messages\":[{\"k1\":1,\"k1\":2}]}"), &r);
    assert_int_equal(r.status, HAI_JSON_DUPLICATE_KEY);
}

static const char *const pieces[] = {
    "a", "plain text ", "0123456789abcdef0123456789abcdef", "\\n", "\\\\",
    "\\\"", "\\/",
    /* what is not skipped in the first way */
    "\\u00e9", "\\ud83d\\ude00", "\xc3\xa9", "\xe4\xb8\xad", "\xf0\x9f\x98\x80",
    "\xef\xbf\xbf",
    /* from here on seldom */
    "\xe4\xb8", "\x80", "\\x", "\n", "\\u12g4", "\\udc00", "\xed\xa0"};

#define SIMPLE_PIECES 7
#define GOOD_PIECES 13

/*
 * Long strings made of pieces at random: the wide skipping and the byte-wise
 * code (the same bytes one by one) must agree, also on what is wrong.
 */
static void skips_as_it_reads(void **state) {
    unsigned seed = 20240229, refused = 0;
    struct result whole, r;
    char body[700];
    size_t n, piece, at;

    (void) state;
    for (int i = 0; i < 4000; i++) {
        n = (size_t) snprintf(body, sizeof(body), "{\"a\":\"");
        while (n < 400) {
            seed = seed * 1103515245 + 12345;
            piece = (seed >> 16) % (i % 2 ? SIMPLE_PIECES : GOOD_PIECES);
            if ((seed >> 8) % 61 == 0) {
                piece = (seed >> 16) % ARRAY_SIZE(pieces);
            }
            memcpy(body + n, pieces[piece], strlen(pieces[piece]));
            n += strlen(pieces[piece]);
        }
        memcpy(body + n, "\"}", 2);
        n += 2;

        at = (seed >> 16) % n;
        scan3(body, n, 0, 0, &whole);
        scan_bytes(body, n, &r);
        assert_same(&whole, &r);
        scan3(body, n, at / 2, at, &r);
        assert_same(&whole, &r);
        refused += whole.status != HAI_JSON_OK;
    }

    assert_in_range(refused, 100, 3900);
}

/* Every byte behind a backslash, in the places where a block can have it. */
static void knows_every_escape(void **state) {
    static const size_t places[] = {8, 40, 69, 70, 71, 134};
    struct result whole, r;
    char body[256];

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        for (int c = 0; c < 256; c++) {
            memset(body, 'x', sizeof(body));
            memcpy(body, "{\"a\":\"", 6);
            memcpy(body + sizeof(body) - 2, "\"}", 2);
            body[places[i] - 1] = '\\';
            body[places[i]] = (char) c;

            scan3(body, sizeof(body), 0, 0, &whole);
            assert_int_equal(whole.status == HAI_JSON_OK,
                             c != 0 && strchr("\"\\/bfnrt", c) != NULL);
            scan_bytes(body, sizeof(body), &r);
            assert_same(&whole, &r);
        }
    }
}

/*
 * Conversations at random: contents of all lengths from one block to the next,
 * and between them what it is in most bodies, or nearly that.
 */
static void reads_on_in_the_next_message(void **state) {
    static const char *const places[][2] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"", "\"}]}"},
        {"{\"input\":[{\"role\":\"user\",\"content\":\"", "\"}],\"n\":1}"},
        {"{\"system\":[{\"role\":\"user\",\"content\":\"", "\"}]}"},
        {"{\"messages\":{\"role\":\"user\",\"content\":\"", "\"}}"},
        {"{\"messages\":[[{\"role\":\"user\",\"content\":\"", "\"}]]}"}};
    static const char *const gaps[] = {
        "\"},{\"role\":\"user\",\"content\":\"",
        "\"},{\"role\":\"assistant\",\"content\":\"",
        /* from here on seldom */
        "\"},{\"role\":\"tool\",\"content\":\"",
        "\"},{\"role\":\"assistant\",\"content\": \"",
        "\"},{\"role\":\"user\",\"name\":\"x\",\"content\":\"",
        "\"},{\"role\":\"user\",\"content\":7},{\"role\":\"a\",\"content\":\"",
        "\",\"x\":[{\"role\":\"user\",\"content\":\"a\"}],\"y\":\"",
        "\"},{\"role\":\"user\",\"content\":\"x\",\"content\":\"",
        "\"},{\"role\":\"user\",\"Content\":\"",
        "\"},{\"role\":\"assistant\",\"content\"\"",
        "\"}],{\"role\":\"user\",\"content\":\""};
    unsigned seed = 20261130, refused = 0, items = 0;
    struct result whole, r;
    size_t n, place, len, part, at;
    const char *text;
    char body[1400];

    (void) state;
    for (int i = 0; i < 1500; i++) {
        place = i % 3 ? 0 : (size_t) i / 3 % ARRAY_SIZE(places);
        n = (size_t) sprintf(body, "%s", places[place][0]);

        while (n < 1000) {
            seed = seed * 1103515245 + 12345;
            len = (seed >> 16) % 100;
            for (size_t k = 0; k < len; k++) {
                body[n++] = 'x';
            }

            /* in every other body nothing but plain text */
            for (unsigned k = (seed >> 8) % 3; i % 2 && k; k--) {
                seed = seed * 1103515245 + 12345;
                part =
                    (seed >> 16) % (i % 4 == 1 ? SIMPLE_PIECES : GOOD_PIECES);
                if ((seed >> 8) % 131 == 0) {
                    part = (seed >> 16) % ARRAY_SIZE(pieces);
                }
                n += (size_t) sprintf(body + n, "%s", pieces[part]);
            }

            seed = seed * 1103515245 + 12345;
            text = gaps[(seed >> 16) % 2];
            if ((seed >> 8) % 31 == 0) {
                text = gaps[(seed >> 16) % ARRAY_SIZE(gaps)];
            }
            n += (size_t) sprintf(body + n, "%s", text);
        }
        n += (size_t) sprintf(body + n, "%s", places[place][1]);

        scan3(body, n, 0, 0, &whole);
        scan_bytes(body, n, &r);
        assert_same(&whole, &r);
        for (unsigned k = 0; k < 5; k++) {
            seed = seed * 1103515245 + 12345;
            at = (seed >> 16) % n;
            scan3(body, n, at / 2, at, &r);
            assert_same(&whole, &r);
        }
        refused += whole.status != HAI_JSON_OK;
        items += whole.status == HAI_JSON_OK && whole.items.n > 5;
    }

    assert_in_range(refused, 100, 1000);
    assert_in_range(items, 300, 1400);
}

/* An object of n keys; each with a prefix, so short and long ones. */
static char *many_keys(size_t n, const char *prefix, bool repeat, size_t *len) {
    char *body = malloc(n * (strlen(prefix) + 16) + 64);
    size_t at;

    assert_non_null(body);
    at = (size_t) sprintf(body, "{\"tools\":{");
    for (size_t i = 0; i < n; i++) {
        at += (size_t) sprintf(body + at, "\"%s%zx\":{},", prefix, i);
    }
    at += (size_t) sprintf(body + at, "\"%s%zx\":1}}", prefix,
                           repeat ? n / 2 : n);
    *len = at;

    return body;
}

static double scan_time(const char *body, size_t n,
                        enum hai_json_status status) {
    struct timespec a, b;
    double ns, best = 0;

    for (int i = 0; i < 5; i++) {
        timespec_get(&a, TIME_UTC);
        hai_json_reset(scanner);
        hai_json_feed(scanner, body, n);
        assert_int_equal(hai_json_finish(scanner), status);
        timespec_get(&b, TIME_UTC);
        ns = (double) (b.tv_sec - a.tv_sec) * 1e9
             + (double) (b.tv_nsec - a.tv_nsec);
        best = i == 0 || ns < best ? ns : best;
    }

    return best;
}

static void takes_many_keys_in_linear_time(void **state) {
    static const char *const prefixes[] = {"", "a_longer_key_"};
    char *small, *large;
    size_t small_len, large_len;
    double small_ns, large_ns;

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        small = many_keys(1000, prefixes[i], false, &small_len);
        large = many_keys(100000, prefixes[i], false, &large_len);
        small_ns = scan_time(small, small_len, HAI_JSON_OK);
        large_ns = scan_time(large, large_len, HAI_JSON_OK);
        /* a hundred times as many, which do not fit into the processor's
           caches; ten thousand times as long were quadratic */
        assert_true(large_ns < 2000 * small_ns);
        free(small);
        free(large);

        for (size_t n = 1; n <= 100000; n = n < 70 ? n + 1 : n * 10) {
            small = many_keys(n, prefixes[i], true, &small_len);
            scan_time(small, small_len, HAI_JSON_DUPLICATE_KEY);
            free(small);
        }
    }
}

/* Large objects in large objects: each knows its own keys only. */
static void keeps_nested_keys_apart(void **state) {
    char body[32768];
    size_t n = 0;

    (void) state;
    for (int repeat = 0; repeat < 2; repeat++) {
        n = (size_t) sprintf(body, "{\"input\":");
        for (int depth = 0; depth < 6; depth++) {
            n += (size_t) sprintf(body + n, "{");
            for (int i = 0; i < 20 + 20 * depth; i++) {
                n += (size_t) sprintf(body + n, "\"key%d\":0,", i);
            }
            n += (size_t) sprintf(body + n, "\"in\":");
        }
        n += (size_t) sprintf(body + n, "0");
        for (int depth = 5; depth >= 0; depth--) {
            for (int i = 200; i < 300; i++) {
                n += (size_t) sprintf(body + n, ",\"key%d\":0", i);
            }
            n += (size_t) sprintf(body + n,
                                  repeat && depth == 0 ? ",\"key3\":0}" : "}");
        }
        n += (size_t) sprintf(body + n, "}");
        scan_time(body, n, repeat ? HAI_JSON_DUPLICATE_KEY : HAI_JSON_OK);
    }
}

static void refuses_more_keys_than_it_remembers(void **state) {
    char *body;
    size_t n;

    (void) state;
    /* with the key "tools" and the last one */
    body = many_keys(HAI_JSON_MAX_KEYS - 2, "", false, &n);
    scan_time(body, n, HAI_JSON_OK);
    free(body);
    body = many_keys(HAI_JSON_MAX_KEYS - 1, "", false, &n);
    scan_time(body, n, HAI_JSON_DEPTH);
    free(body);
}

static void takes_long_keys(void **state) {
    static char body[4000];
    struct result r;
    size_t n;

    (void) state;
    for (size_t len = 250; len < 280; len++) {
        n = (size_t) snprintf(body, sizeof(body),
                              "{\"%0*d\":1,\"\\u0030%0*d\":2}", (int) len, 0,
                              (int) len - 1, 0);
        scan(body, n, &r);
        assert_int_equal(r.status, HAI_JSON_DUPLICATE_KEY);
        n = (size_t) snprintf(body, sizeof(body),
                              "{\"%0*d\":1,\"\\u0030%0*d\":2}", (int) len, 0,
                              (int) len, 0);
        scan(body, n, &r);
        assert_int_equal(r.status, HAI_JSON_OK);
    }
}

static void keeps_a_refusal(void **state) {
    (void) state;
    hai_json_reset(scanner);
    assert_int_equal(hai_json_feed(scanner, "{x", 2), HAI_JSON_SYNTAX);
    assert_int_equal(hai_json_feed(scanner, "}", 1), HAI_JSON_SYNTAX);
    assert_int_equal(hai_json_finish(scanner), HAI_JSON_SYNTAX);
    assert_int_equal(hai_json_error_offset(scanner), 1);

    hai_json_reset(scanner);
    assert_int_equal(hai_json_feed(scanner, NULL, 0), HAI_JSON_OK);
    assert_int_equal(hai_json_feed(scanner, "{}", 2), HAI_JSON_OK);
    assert_int_equal(hai_json_finish(scanner), HAI_JSON_OK);

    for (int st = HAI_JSON_OK; st <= HAI_JSON_NO_MEMORY; st++) {
        assert_true(strlen(hai_json_strerror(st)) > 0);
    }
    hai_json_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_values),
        cmocka_unit_test(refuses_values),
        cmocka_unit_test(refuses_what_is_not_utf8),
        cmocka_unit_test(refuses_what_is_no_object),
        cmocka_unit_test(limits_depth),
        cmocka_unit_test(refuses_repeated_keys),
        cmocka_unit_test(refuses_ambiguous_keys),
        cmocka_unit_test(judges_the_model),
        cmocka_unit_test(finds_the_facts),
        cmocka_unit_test(finds_the_items),
        cmocka_unit_test(keeps_the_last_items),
        cmocka_unit_test(says_where),
        cmocka_unit_test(answers_the_same_for_any_split),
        cmocka_unit_test(reads_messages_as_other_objects),
        cmocka_unit_test(forgets_many_keys_of_a_message),
        cmocka_unit_test(skips_as_it_reads),
        cmocka_unit_test(knows_every_escape),
        cmocka_unit_test(reads_on_in_the_next_message),
        cmocka_unit_test(takes_many_keys_in_linear_time),
        cmocka_unit_test(keeps_nested_keys_apart),
        cmocka_unit_test(refuses_more_keys_than_it_remembers),
        cmocka_unit_test(takes_long_keys),
        cmocka_unit_test(keeps_a_refusal)};

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
