/* SOURCES: common/hai_tools.c common/hai_walk.c common/hai_edit.c */
/* SOURCES: common/hai_json.c common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */

/*
 * New tool results of a request: which count as new, the names and inputs
 * of their calls.  Every case runs on the body in one piece, in every two
 * pieces and in pieces of one byte.  ' stands for " in bodies of this file.
 */

#include "hai_tools.h"

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

struct result {
    const char *id; /* NULL: the list ends */
    const char *name;
    const char *input;
};

struct test {
    enum hai_api api;
    const char *body;
    struct result results[4];
};

static struct hai_json *scanner;
static struct hai_tools tools;

static int set_up(void **state) {
    (void) state;
    scanner = hai_json_new();
    hai_tools_init(&tools);
    return scanner ? 0 : -1;
}

static int tear_down(void **state) {
    (void) state;
    hai_json_free(scanner);
    hai_tools_free(&tools);
    return 0;
}

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

static void scan(const char *text) {
    hai_json_reset(scanner);
    hai_json_feed(scanner, text, strlen(text));
    if (hai_json_finish(scanner) != HAI_JSON_OK) {
        fail_msg("%s: %s", hai_json_strerror(hai_json_finish(scanner)), text);
    }
}

static void assert_slice(const struct hai_slice *s, const char *text,
                         const char *body) {
    char *expected = quoted(text);

    if (s->len != strlen(expected)
        || (s->len && memcmp(s->data, expected, s->len) != 0))
    {
        fail_msg("\"%.*s\" instead of \"%s\" in %s", (int) s->len,
                 s->data ? s->data : "", expected, body);
    }
    free(expected);
}

static void check_one(const struct test *t, const struct hai_body *body) {
    size_t count = 0;

    assert_int_equal(hai_tools_read(&tools, body, t->api), 0);
    while (count < COUNT(t->results) && t->results[count].id) {
        count++;
    }
    if (tools.n != count) {
        fail_msg("%d results in %s", (int) tools.n, t->body);
    }
    assert_false(tools.more);

    for (size_t i = 0; i < count; i++) {
        assert_slice(&tools.list[i].id, t->results[i].id, t->body);
        assert_slice(&tools.list[i].name, t->results[i].name, t->body);
        assert_slice(&tools.list[i].input, t->results[i].input, t->body);
    }
}

/* With what the scanner knows of the messages, and without. */
static void check(const struct test *t, const struct hai_piece *pieces,
                  size_t n, size_t size) {
    struct hai_body body = {pieces, n, size, hai_json_facts(scanner),
                            hai_json_items(scanner)};

    check_one(t, &body);
    body.items = NULL;
    check_one(t, &body);
}

static struct hai_piece piece_of(const char *data, size_t len) {
    uint8_t *copy = malloc(len ? len : 1);

    assert_non_null(copy);
    memcpy(copy, data, len);
    return (struct hai_piece){copy, len};
}

static void run(const struct test *t) {
    char *text = quoted(t->body);
    size_t len = strlen(text);
    struct hai_piece *pieces = calloc(len + 1, sizeof(pieces[0]));

    assert_non_null(pieces);
    scan(text);

    for (size_t i = 0; i <= len; i++) {
        pieces[0] = piece_of(text, i);
        pieces[1] = piece_of(text + i, len - i);
        check(t, pieces, 2, len);
        free((uint8_t *) pieces[0].data);
        free((uint8_t *) pieces[1].data);
    }

    for (size_t i = 0; i < len; i++) {
        pieces[i] = piece_of(text + i, 1);
    }
    check(t, pieces, len, len);
    for (size_t i = 0; i < len; i++) {
        free((uint8_t *) pieces[i].data);
    }

    free(pieces);
    free(text);
}

static void run_all(const struct test *tests, size_t n) {
    for (size_t i = 0; i < n; i++) {
        run(&tests[i]);
    }
}

/* clang-format off */

static void chat(void **state) {
    static const struct test tests[] = {
        {CHAT, "{}", {{NULL, NULL, NULL}}},
        {CHAT, "{'messages':'x'}", {{NULL, NULL, NULL}}},
        {CHAT, "{'messages':[]}", {{NULL, NULL, NULL}}},
        {CHAT, "{'messages':[1,[],'x',{},{'role':1},{'role':'tool'}]}",
               {{"", "", ""}}},

        {CHAT, "{'messages':[{'role':'user','content':'x'},"
               "{'role':'assistant','content':null,'tool_calls':["
               "{'id':'c1','type':'function','function':"
               "{'name':'bash','arguments':'{\\\"command\\\":\\\"ls \\\\u0041\\\"}'}},"
               "{'function':{'arguments':'','name':'re\\u0061d'},"
               "'id':'c\\u0032'}]},"
               "{'role':'tool','tool_call_id':'c2','content':'x'},"
               "{'content':[{'type':'text','text':'y'}],"
               "'tool_call_id':'\\u00631','r\\u006fle':'too\\u006c'},"
               "{'role':'tool','tool_call_id':'c3','content':''}]}",
               {{"c2", "read", ""}, {"c1", "bash", "{'command':'ls \\u0041'}"},
                {"c3", "", ""}}},

        /* what the assistant has answered already is old */
        {CHAT, "{'messages':["
               "{'role':'assistant','tool_calls':[{'id':'c1','function':"
               "{'name':'f','arguments':'{}'}}]},"
               "{'role':'tool','tool_call_id':'c1','content':'x'},"
               "{'role':'assistant','content':'done'},"
               "{'role':'user','content':'and now?'}]}",
               {{NULL, NULL, NULL}}},

        /* a call's id again: the newer call */
        {CHAT, "{'messages':["
               "{'role':'assistant','tool_calls':[{'id':'c1','function':"
               "{'name':'f','arguments':'{}'}}]},"
               "{'role':'tool','tool_call_id':'c1','content':'x'},"
               "{'role':'assistant','tool_calls':[{'id':'c1','function':"
               "{'name':'g','arguments':'[]'}}]},"
               "{'role':'tool','tool_call_id':'c1','content':'x'}]}",
               {{"c1", "g", "[]"}}},

        /* custom tools have an input that is no JSON; old functions no id */
        {CHAT, "{'messages':["
               "{'role':'assistant','tool_calls':[{'id':'c1','type':'custom',"
               "'custom':{'name':'f','input':'a \\n b'}}]},"
               "{'role':'tool','tool_call_id':'c1','content':'x'},"
               "{'role':'function','name':'g','content':'x'}]}",
               {{"c1", "f", "'a \\n b'"}, {"", "g", ""}}},

        /* keys of other dialects and types say nothing */
        {CHAT, "{'messages':["
               "{'role':'assistant','tool_calls':["
               "{'id':'c1','type':'function','custom':{'name':'g','input':'x'},"
               "'function':{'name':'f','arguments':'1','input':'2'},"
               "'call_id':'c2'},"
               "{'id':'c2','function':{'name':'f2','action':3,'arguments':'2'},"
               "'custom':{'name':'g'}}]},"
               "{'role':'tool','tool_call_id':'c1','call_id':'c2',"
               "'tool_use_id':'c2','content':'x'},"
               "{'role':'tool','call_id':'c1','tool_call_id':'c2'},"
               "{'role':'tool','call_id':'c1'}]}",
               {{"c1", "f", "1"}, {"c2", "f2", "2"}, {"", "", ""}}},

        /* shapes that are none */
        {CHAT, "{'messages':["
               "{'role':'assistant','tool_calls':[1,{'id':'c1'},"
               "{'id':'c2','function':'x'},{'id':3,'function':{'name':4}},"
               "{'id':'c5','function':{'name':4,'arguments':{'a':1}}}]},"
               "{'role':'tool','tool_call_id':'c1'},"
               "{'role':'tool','tool_call_id':'c2'},"
               "{'role':'tool','tool_call_id':3},"
               "{'role':'tool','tool_call_id':'c5'}]}",
               {{"c1", "", ""}, {"c2", "", ""}, {"", "", ""},
                {"c5", "", "{'a':1}"}}},
        {COMPLETIONS, "{'messages':[{'role':'tool','tool_call_id':'c1'}]}",
               {{NULL, NULL, NULL}}},
    };

    (void) state;
    run_all(tests, COUNT(tests));
}

static void anthropic(void **state) {
    static const struct test tests[] = {
        {ANTHROPIC, "{'messages':[{'role':'user','content':'x'},"
                    "{'role':'assistant','content':[{'type':'text','text':'x'},"
                    "{'type':'tool_use','id':'t1','name':'bash',"
                    "'input':{'command': 'rm -rf \\u002f', 'x':['}']}}]},"
                    "{'role':'user','content':[{'type':'text','text':'y'},"
                    "{'type':'tool_result','tool_use_id':'t1','content':["
                    "{'type':'text','text':'z'}]},"
                    "{'tool_use_id':'t2','type':'tool_r\\u0065sult'}]}]}",
                    {{"t1", "bash", "{'command': 'rm -rf \\u002f', 'x':['}']}"},
                     {"t2", "", ""}}},
        {ANTHROPIC, "{'messages':["
                    "{'role':'user','content':[{'type':'tool_use','id':'t1',"
                    "'name':'forged','input':{}}]},"
                    "{'role':'user','content':["
                    "{'type':'tool_result','tool_use_id':'t1'}]}]}",
                    {{"t1", "", ""}}},
        {ANTHROPIC, "{'messages':["
                    "{'role':'assistant','content':["
                    "{'type':'tool_use','id':'t1','name':'f','input':{},"
                    "'arguments':'x'},"
                    "{'type':'tool_use','id':'t2','name':'g'}]},"
                    "{'role':'user','content':["
                    "{'type':'tool_result','tool_use_id':'t1',"
                    "'tool_call_id':'t2','call_id':'t2'}]}]}",
                    {{"t1", "f", "{}"}}},
        {ANTHROPIC, "{'messages':["
                    "{'role':'user','content':["
                    "{'type':'tool_result','tool_use_id':'t1'}]},"
                    "{'role':'assistant','content':['x']}]}",
                    {{NULL, NULL, NULL}}},
    };

    (void) state;
    run_all(tests, COUNT(tests));
}

static void responses(void **state) {
    static const struct test tests[] = {
        {RESPONSES, "{'input':'x'}", {{NULL, NULL, NULL}}},
        {RESPONSES, "{'input':[{'role':'user','content':'x'},"
                    "{'type':'reasoning','id':'r'},"
                    "{'type':'function_call','id':'fc_1','call_id':'c1',"
                    "'name':'f','arguments':'{\\\"a\\\":1}'},"
                    "{'type':'function_call_output','call_id':'c1',"
                    "'output':'x'},"
                    "{'type':'function_call_output','call_id':'c0',"
                    "'output':'x'}]}",
                    {{"c1", "f", "{'a':1}"}, {"c0", "", ""}}},
        {RESPONSES, "{'input':["
                    "{'type':'custom_tool_call','call_id':'c1',"
                    "'name':'patch','input':'*** \\n'},"
                    "{'type':'local_shell_call','call_id':'c2',"
                    "'action':{'command':['ls']}},"
                    "{'type':'custom_tool_call_output','call_id':'c1'},"
                    "{'type':'local_shell_call_output','call_id':'c2'}]}",
                    {{"c1", "patch", "'*** \\n'"},
                     {"c2", "local_shell", "{'command':['ls']}"}}},
        {RESPONSES, "{'input':["
                    "{'type':'function_call','call_id':'c1','name':'f'},"
                    "{'type':'function_call_output','call_id':'c1'},"
                    "{'type':'message','role':'assistant','content':'x'}]}",
                    {{NULL, NULL, NULL}}},
        {RESPONSES, "{'input':["
                    "{'type':'function_call','call_id':'c1','name':'f',"
                    "'arguments':'1','input':'2','action':3},"
                    "{'type':'function_call','call_id':'c2','name':'g'},"
                    "{'type':'function_call_output','call_id':'c1',"
                    "'tool_call_id':'c2','tool_use_id':'c2'}]}",
                    {{"c1", "f", "1"}}},
        {RESPONSES, "{'input':["
                    "{'type':'function_call_output','call_id':'c1'},"
                    "{'type':'function_call','call_id':'c2','name':'f'}]}",
                    {{NULL, NULL, NULL}}},
    };

    (void) state;
    run_all(tests, COUNT(tests));
}

/* clang-format on */

static void read_one(const char *text, enum hai_api api) {
    struct hai_piece piece = {(const uint8_t *) text, strlen(text)};
    struct hai_body body = {&piece, 1, piece.len, hai_json_facts(scanner),
                            hai_json_items(scanner)};

    scan(text);
    assert_int_equal(hai_tools_read(&tools, &body, api), 0);
}

/* More calls and results than are looked at. */
static void many(void **state) {
    size_t n = HAI_TOOLS_MAX + 10, size = 256 * (n + 4);
    char *text = malloc(size), *p, id[16];

    (void) state;
    assert_non_null(text);

    p = text
        + sprintf(text, "{\"messages\":[{\"role\":\"assistant\","
                        "\"tool_calls\":[");
    for (size_t i = 0; i < n; i++) {
        p += sprintf(p,
                     "%s{\"id\":\"c%d\",\"function\":{\"name\":\"f%d\","
                     "\"arguments\":\"{}\"}}",
                     i ? "," : "", (int) i, (int) i);
    }
    p += sprintf(p, "]}");
    for (size_t i = 0; i < n; i++) {
        p += sprintf(p, ",{\"role\":\"tool\",\"tool_call_id\":\"c%d\"}",
                     (int) i);
    }
    sprintf(p, "]}");

    read_one(text, CHAT);
    assert_int_equal(tools.n, HAI_TOOLS_MAX);
    assert_true(tools.more);

    /* the last calls are known */
    for (size_t i = 0; i < tools.n; i++) {
        snprintf(id, sizeof(id), "c%d", (int) i);
        assert_slice(&tools.list[i].id, id, "many");
        id[0] = 'f';
        assert_slice(&tools.list[i].name, i < 10 ? "" : id, "many");
    }

    free(text);
}

/* Names, ids and inputs that are as long as they may be, or longer. */
static void lengths(void **state) {
    static char word[HAI_TOOLS_MAX_INPUT + 16];
    char *text = malloc(4 * HAI_TOOLS_MAX_INPUT);

    (void) state;
    assert_non_null(text);

    memset(word, 'x', sizeof(word));

    for (int n = 255; n <= 258; n++) {
        sprintf(text,
                "{\"messages\":[{\"role\":\"assistant\",\"content\":["
                "{\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"%.*s\"},"
                "{\"type\":\"tool_use\",\"id\":\"%.*s\",\"name\":\"f\"}]},"
                "{\"role\":\"user\",\"content\":["
                "{\"type\":\"tool_result\",\"tool_use_id\":\"a\"},"
                "{\"type\":\"tool_result\",\"tool_use_id\":\"%.*s\"}]}]}",
                n, word, n, word, n, word);
        read_one(text, ANTHROPIC);
        assert_int_equal(tools.n, 2);
        assert_int_equal(tools.list[0].name.len, n <= 256 ? n : 0);
        assert_int_equal(tools.list[1].id.len, n <= 256 ? n : 0);
        assert_int_equal(tools.list[1].name.len, n <= 256 ? 1 : 0);
    }

    for (int n = HAI_TOOLS_MAX_INPUT - 3; n <= HAI_TOOLS_MAX_INPUT + 1; n++) {
        sprintf(text,
                "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":["
                "{\"id\":\"a\",\"function\":{\"name\":\"f\","
                "\"arguments\":\"%.*s\"}},"
                "{\"id\":\"b\",\"type\":\"custom\",\"custom\":{\"name\":\"f\","
                "\"input\":\"%.*s\"}}]},"
                "{\"role\":\"tool\",\"tool_call_id\":\"a\"},"
                "{\"role\":\"tool\",\"tool_call_id\":\"b\"}]}",
                n, word, n, word);
        read_one(text, CHAT);
        assert_int_equal(tools.n, 2);
        assert_int_equal(tools.list[0].input.len,
                         n <= HAI_TOOLS_MAX_INPUT ? n : 0);
        assert_int_equal(tools.list[1].input.len,
                         n + 2 <= HAI_TOOLS_MAX_INPUT ? n + 2 : 0);
    }

    /* and it is forgotten */
    read_one("{}", CHAT);
    assert_int_equal(tools.n, 0);
    assert_null(tools.list);

    free(text);
}

/* What tools has, as text. */
static char *told(void) {
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    fprintf(f, "%d more %d", (int) tools.n, tools.more);
    for (size_t i = 0; i < tools.n; i++) {
        const struct hai_tool_result *r = &tools.list[i];

        fprintf(f, "; %.*s %.*s %.*s", (int) r->id.len,
                r->id.data ? r->id.data : "", (int) r->name.len,
                r->name.data ? r->name.data : "", (int) r->input.len,
                r->input.data ? r->input.data : "");
    }
    fclose(f);
    assert_non_null(text);

    return text;
}

static uint32_t seed;

static unsigned any(unsigned n) {
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % n;
}

/* One of the messages of a dialect; names and ids are few, so they meet. */
static void put_item(FILE *f, enum hai_api api) {
    static const char *const roles[] = {"assistant", "user", "tool", "system"};
    static const char *const types[] = {
        "function_call", "function_call_output", "reasoning",
        "message",       "local_shell_call",     "custom_tool_call"};
    unsigned id = any(6), name = any(3);

    switch (any(40)) {
    case 0:
        fputs("\"assistant\"", f);
        return;
    case 1:
        fputs("[{\"role\":\"assistant\",\"tool_calls\":[]}]", f);
        return;
    case 2:
        fputs("{}", f);
        return;
    default:
        break;
    }

    if (api == RESPONSES) {
        fprintf(f,
                "{\"type\":\"%s\",\"role\":\"%s\",\"call_id\":\"c%u\","
                "\"name\":\"f%u\",\"arguments\":\"%u\"}",
                types[any(6)], any(8) ? "user" : "assistant", id, name, any(9));
        return;
    }

    fprintf(f, "{\"role\":\"%s\"", roles[any(8) ? any(2) * 2 : any(4)]);
    if (api == CHAT) {
        fprintf(f,
                ",\"tool_call_id\":\"c%u\",\"tool_calls\":[{\"id\":\"c%u\","
                "\"function\":{\"name\":\"f%u\",\"arguments\":\"%u\"}}]}",
                any(6), id, name, any(9));
    } else {
        fprintf(f,
                ",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":"
                "\"c%u\"},{\"type\":\"tool_use\",\"id\":\"c%u\",\"name\":"
                "\"f%u\",\"input\":%u}]}",
                any(6), id, name, any(9));
    }
}

/* What the scanner knows of the messages changes no answer. */
static void from_the_end(void **state) {
    static const enum hai_api apis[] = {CHAT, ANTHROPIC, RESPONSES};
    size_t found = 0;

    (void) state;

    for (uint32_t round = 0; round < 3000; round++) {
        enum hai_api api = apis[round % 3];
        struct hai_piece piece;
        struct hai_body body = {&piece, 1, 0, hai_json_facts(scanner), NULL};
        unsigned n;
        char *text = NULL, *whole, *end;
        size_t len;
        FILE *f = open_memstream(&text, &len);

        assert_non_null(f);
        seed = round;
        n = any(4) ? any(12) : any(200);
        fprintf(f, "{\"%s\":[", api == RESPONSES ? "input" : "messages");
        for (unsigned i = 0; i < n; i++) {
            fputs(i ? "," : "", f);
            put_item(f, api);
        }
        if (any(10) == 0) {
            fprintf(f, "],\"%s\":[", api == RESPONSES ? "messages" : "input");
            put_item(f, api);
        }
        fputs("]}", f);
        fclose(f);
        assert_non_null(text);

        scan(text);
        piece = (struct hai_piece){(const uint8_t *) text, len};
        body.size = len;
        assert_int_equal(hai_tools_read(&tools, &body, api), 0);
        whole = told();

        body.items = hai_json_items(scanner);
        assert_int_equal(hai_tools_read(&tools, &body, api), 0);
        end = told();

        if (strcmp(whole, end) != 0) {
            fail_msg("%s instead of %s in %s", end, whole, text);
        }
        found += tools.n;

        free(whole);
        free(end);
        free(text);
    }

    assert_true(found > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chat),      cmocka_unit_test(anthropic),
        cmocka_unit_test(responses), cmocka_unit_test(many),
        cmocka_unit_test(lengths),   cmocka_unit_test(from_the_end),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
