/* SOURCES: common/hai_plan.c common/hai_walk.c common/hai_change_set.c */
/* SOURCES: common/hai_change.c common/hai_change_find.c */
/* SOURCES: common/hai_change_put.c common/hai_change_text.c */
/* SOURCES: common/hai_edit.c common/hai_json.c common/hai_json_names.c */
/* SOURCES: common/hai_json_skip.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */

/*
 * Plans: what is read of one, and everything that is none.  ' stands for "
 * in plans of this file.
 */

#include "hai_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* From a block of exactly its size, which is gone when the plan is used. */
static struct hai_plan *read_text(const char *text, size_t len,
                                  const char **error) {
    struct hai_plan *plan;
    char *copy = malloc(len ? len : 1);

    assert_non_null(copy);
    for (size_t i = 0; i < len; i++) {
        copy[i] = (char) (text[i] == '\'' ? '"' : text[i]);
    }

    *error = NULL;
    plan = hai_plan_read(copy, len, error);
    memset(copy, 'x', len);
    free(copy);
    assert_true((plan == NULL) == (*error != NULL));

    return plan;
}

static struct hai_plan *read_plan(const char *text) {
    const char *error;
    struct hai_plan *plan = read_text(text, strlen(text), &error);

    if (plan == NULL) {
        fail_msg("%s: %s", error, text);
    }

    return plan;
}

static void assert_slice(const struct hai_slice *s, const char *text) {
    if (text == NULL) {
        assert_null(s->data);
        return;
    }
    assert_non_null(s->data);
    assert_int_equal(s->len, strlen(text));
    assert_memory_equal(s->data, text, s->len);
}

static void read_edits(void **state) {
    static const char text[] =
        "{ 'epoch' : '17-9f' , '\\u0065dits':["
        "{'op':'append','target':'system','text':'N\\u0065ver \\ud83d\\ude00'},"
        "{'text':'','target':'sys\\u0074em','op':'prepend'},"
        "{'op':'set','target':'max_tokens','max':4096,'fallback':1024},"
        "{'op':'set','target':'a','min':-1.5e3},"
        "{'op':'set','target':'model','value':'gpt\\u002d4'},"
        "{'op':'set','target':'x','value':{ 'a' : [ null ] } },"
        "{'op':'set','target':'y','value':null},"
        "{'op':'set','target':'q','fallback':null},"
        "{'op':'set','target':'tools','remove':true}"
        "] }";
    struct hai_plan *plan = read_plan(text);
    const struct hai_change *c = plan->changes;

    (void) state;

    assert_slice(&plan->epoch, "17-9f");
    assert_false(plan->ask_body);
    assert_int_equal(plan->n, 9);
    assert_in_range(plan->memory, sizeof(*plan) + 9 * sizeof(*c),
                    sizeof(*plan) + 9 * (sizeof(*c) + HAI_CHANGE_ESCAPED_MORE)
                        + 2 * sizeof(text) + 16);

    assert_int_equal(c[0].op, HAI_CHANGE_APPEND);
    assert_slice(&c[0].text, "Never \xf0\x9f\x98\x80");
    assert_slice(&c[0].field, NULL);
    assert_slice(&c[0].value, NULL);

    assert_int_equal(c[1].op, HAI_CHANGE_PREPEND);
    assert_slice(&c[1].text, "");

    assert_int_equal(c[2].op, HAI_CHANGE_SET);
    assert_slice(&c[2].field, "max_tokens");
    assert_slice(&c[2].max, "4096");
    assert_slice(&c[2].min, NULL);
    assert_slice(&c[2].fallback, "1024");
    assert_slice(&c[2].value, NULL);
    assert_slice(&c[2].text, NULL);

    assert_slice(&c[3].min, "-1.5e3");
    assert_slice(&c[4].value, "\"gpt\\u002d4\"");
    assert_slice(&c[5].value, "{ \"a\" : [ null ] }");
    assert_slice(&c[6].value, "null");
    assert_slice(&c[7].fallback, "null");

    assert_int_equal(c[8].op, HAI_CHANGE_REMOVE);
    assert_slice(&c[8].field, "tools");

    hai_plan_free(plan);
}

/* The escaped form of a plan's only text, or none. */
static void assert_escaped(const char *text, const char *escaped) {
    char json[4096];
    const struct hai_slice *s;
    struct hai_plan *plan;

    snprintf(json, sizeof(json),
             "{'edits':[{'op':'append','target':'system','text':'%s'}],"
             "'epoch':'1'}",
             text);
    plan = read_plan(json);
    s = &plan->changes[0].escaped;

    if (escaped == NULL) {
        assert_null(s->data);
    } else {
        assert_int_equal(s->len, strlen(escaped));
        assert_memory_equal(s->data, "\\n\\n", 4);
        assert_memory_equal(s->data + 4, escaped, s->len);
        assert_memory_equal(s->data + 4 + s->len, "\\n\\n", 4);
    }

    hai_plan_free(plan);
}

/* Texts are kept as they go into bodies, in the room that the plan has. */
static void escapes(void **state) {
    char text[3001], room[64];

    (void) state;

    assert_escaped("", NULL);
    assert_escaped("a\\/b", "a/b");
    assert_escaped("\\u0041\\u00e9\\ud83d\\ude00", "A\xc3\xa9\xf0\x9f\x98\x80");
    assert_escaped("\\n\\u000a\\\"\\\\\\u0001\\u001f",
                   "\\n\\n\\\"\\\\\\u0001\\u001f");

    /* nothing becomes longer */
    for (size_t i = 0; i < sizeof(text) - 1; i += 6) {
        memcpy(text + i, "\\u0001", 6);
    }
    text[sizeof(text) - 1] = '\0';
    assert_escaped(text, text);

    for (size_t i = 0; i < sizeof(text) - 1; i += 2) {
        memcpy(text + i, "\\n", 2);
    }
    assert_escaped(text, text);

    /* and what does not fit is left alone */
    struct hai_change change = {.text = {"\n\x01", 2}};

    assert_ptr_equal(hai_change_escape(&change, room, room + 15), room);
    assert_null(change.escaped.data);
    assert_ptr_equal(hai_change_escape(&change, room, room + 16), room + 16);
    assert_int_equal(change.escaped.len, 8);

    change = (struct hai_change){.text = {"\xed\xa0\x80", 3}};
    assert_ptr_equal(hai_change_escape(&change, room, room + sizeof(room)),
                     room);
    assert_null(change.escaped.data);
}

static void others(void **state) {
    struct hai_plan *plan;

    (void) state;

    plan = read_plan("{'epoch':17.50e1,'edits':[]}");
    assert_slice(&plan->epoch, "17.50e1");
    assert_int_equal(plan->n, 0);
    hai_plan_free(plan);

    plan = read_plan("{'ask':'body','epoch':'\\u0031'}");
    assert_slice(&plan->epoch, "1");
    assert_true(plan->ask_body);
    assert_false(plan->any_model);
    hai_plan_free(plan);

    plan = read_plan("{'models':'any','ask':'body','epoch':'1'}");
    assert_true(plan->ask_body);
    assert_true(plan->any_model);
    assert_int_equal(plan->n, 0);
    hai_plan_free(plan);

    hai_plan_free(NULL);
}

static void refused(void **state) {
    static const char *const plans[] = {
        "",
        "{",
        "[]",
        "null",
        "{}",
        "{'epoch':'1'}",
        "{'edits':[]}",
        "{'ask':'body'}",
        "{'epoch':'1','edits':[],'ask':'body'}",
        "{'epoch':'1','ask':'plan'}",
        "{'epoch':'1','ask':true}",
        "{'epoch':'1','ask':'bodybodybodybodybody'}",
        "{'epoch':'1','edits':[],'models':'any'}",
        "{'epoch':'1','ask':'body','models':'all'}",
        "{'epoch':'1','ask':'body','models':['any']}",
        "{'epoch':'','edits':[]}",
        "{'epoch':null,'edits':[]}",
        "{'epoch':true,'edits':[]}",
        "{'epoch':['1'],'edits':[]}",
        "{'epoch':'1','epoch':'1','edits':[]}",
        "{'epoch':'1','edits':[],'edits':[]}",
        "{'epoch':'1','edits':{}}",
        "{'epoch':'1','edits':null}",
        "{'epoch':'1','edits':[],'x':1}",
        "{'epoch':'1','Epoch':'1','edits':[]}",
        "{'epoch':'1','edits':[]} x",
        "{'epoch':'1','edits':[],}",
    };
    static const char *const edits[] = {
        "1",
        "'append'",
        "[]",
        "null",
        "{}",
        "{'op':'append'}",
        "{'op':'append','target':'system'}",
        "{'op':'append','text':'x'}",
        "{'target':'system','text':'x'}",
        "{'op':'delete','target':'system','text':'x'}",
        "{'op':'message','target':'system','text':'x'}",
        "{'op':'appendappendappendappend','target':'system','text':'x'}",
        "{'op':1,'target':'system','text':'x'}",
        "{'op':'append','target':'system','text':1}",
        "{'op':'append','target':'system','text':null}",
        "{'op':'append','target':'user','text':'x'}",
        "{'op':'append','target':1,'text':'x'}",
        "{'op':'append','target':'system','text':'x','x':1}",
        "{'op':'append','target':'system','text':'x','value':1}",
        "{'op':'append','target':'system','text':'x','text':'y'}",
        "{'op':'append','op':'append','target':'system','text':'x'}",
        "{'op':'append','o\\u0070':'append','target':'system','text':'x'}",
        "{'op':'set','target':'a'}",
        "{'op':'set','value':1}",
        "{'op':'set','target':'a','text':'x'}",
        "{'op':'set','target':'a','value':1,'text':'x'}",
        "{'op':'set','target':'a','value':1,'max':2}",
        "{'op':'set','target':'a','value':1,'remove':true}",
        "{'op':'set','target':'a','max':1,'remove':true}",
        "{'op':'set','target':'a','remove':false}",
        "{'op':'set','target':'a','remove':1}",
        "{'op':'set','target':'a','max':'1'}",
        "{'op':'set','target':'a','max':null}",
        "{'op':'set','target':'a','min':[1]}",
        "{'op':'set','target':'a','min':true}",
        "{'op':'set','target':'','value':1}",
        "{'op':'set','target':'system','value':1}",
        "{'op':'set','target':'messages','remove':true}",
        "{'op':'set','target':'stream','value':true}",
        "{'op':'set','target':'Model','value':'x'}",
        "{'op':'set','target':'a','value':1},",
        "{'op':'set','target':'a','value':1},2",
    };
    const char *error;
    char text[512];

    (void) state;

    for (size_t i = 0; i < COUNT(plans); i++) {
        if (read_text(plans[i], strlen(plans[i]), &error)) {
            fail_msg("read: %s", plans[i]);
        }
    }

    for (size_t i = 0; i < COUNT(edits); i++) {
        snprintf(text, sizeof(text), "{'epoch':'1','edits':[%s]}", edits[i]);
        if (read_text(text, strlen(text), &error)) {
            fail_msg("read: %s", text);
        }
        snprintf(text, sizeof(text),
                 "{'edits':[{'op':'set','target':'a','value':1},%s],"
                 "'epoch':'1'}",
                 edits[i]);
        if (read_text(text, strlen(text), &error)) {
            fail_msg("read: %s", text);
        }
    }
}

/* No beginning of a plan is one. */
static void cut(void **state) {
    static const char text[] =
        "{'epoch':'1','edits':[{'op':'append','target':'system','text':'\\n'},"
        "{'op':'set','target':'a','max':4,'min':1,'fallback':[1]}]}";
    const char *error;

    (void) state;

    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        assert_null(read_text(text, i, &error));
    }
    hai_plan_free(read_plan(text));
}

static void ceilings(void **state) {
    size_t size = HAI_PLAN_MAX + 64, len;
    char *text = malloc(size), *p;
    struct hai_plan *plan;
    const char *error;

    (void) state;
    assert_non_null(text);

    for (size_t n = HAI_CHANGES_MAX; n <= HAI_CHANGES_MAX + 1; n++) {
        p = text + sprintf(text, "{'epoch':1,'edits':[");
        for (size_t i = 0; i < n; i++) {
            p += sprintf(p, "%s{'op':'set','target':'a','value':1}",
                         i ? "," : "");
        }
        p += sprintf(p, "]}");
        plan = read_text(text, (size_t) (p - text), &error);
        assert_int_equal(plan != NULL, n == HAI_CHANGES_MAX);
        hai_plan_free(plan);
    }

    for (size_t n = HAI_PLAN_EPOCH_MAX; n <= HAI_PLAN_EPOCH_MAX + 1; n++) {
        len =
            (size_t) sprintf(text, "{'epoch':'%0*d','ask':'body'}", (int) n, 1);
        plan = read_text(text, len, &error);
        assert_int_equal(plan != NULL, n == HAI_PLAN_EPOCH_MAX);
        hai_plan_free(plan);
    }

    len = (size_t) sprintf(text, "{'epoch':1,'edits':[]}");
    memset(text + len, ' ', size - len);
    plan = read_text(text, HAI_PLAN_MAX, &error);
    assert_non_null(plan);
    hai_plan_free(plan);
    assert_null(read_text(text, HAI_PLAN_MAX + 1, &error));

    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_edits), cmocka_unit_test(escapes),
        cmocka_unit_test(others),     cmocka_unit_test(refused),
        cmocka_unit_test(cut),        cmocka_unit_test(ceilings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
