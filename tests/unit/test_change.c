/* SOURCES: common/hai_change.c common/hai_change_find.c */
/* SOURCES: common/hai_change_put.c common/hai_change_set.c */
/* SOURCES: common/hai_change_text.c common/hai_walk.c common/hai_edit.c */
/* SOURCES: common/hai_json.c common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: tests/unit/change_model.c tests/unit/change_run.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */
/* LIBS: -ljansson */

/* Changes of bodies: what each makes of each shape, byte for byte. */

#include "change_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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
    change_tests(tests, COUNT(tests));
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
    change_tests(tests, COUNT(tests));
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
    change_tests(tests, COUNT(tests));
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
    change_tests(tests, COUNT(tests));
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
    change_tests(tests, COUNT(tests));
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
        /* not in a part that somebody could read in another way */
        {CHAT, "{'messages':[{'role':'system','content':["
               "{'type':'text','text':'a','Text':'x'}]}]}",
               "{'messages':[{'role':'system','content':["
               "{'type':'text','text':'a'},"
               "{'type':'text','text':'a','Text':'x'},"
               "{'type':'text','text':'a'}]}]}",
               {APPEND("a"), PREPEND("a")}},
        {ANTHROPIC, "{'system':[{'type':'text','text':'a','texts':'x',"
               "'Tex':1,'txet':2}]}", SAME, {APPEND("a")}},
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
    change_tests(tests, COUNT(tests));
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
    change_tests(tests, COUNT(tests));
}

/* clang-format on */

int main(void) {
    const struct CMUnitTest all[] = {
        cmocka_unit_test(chat),      cmocka_unit_test(anthropic),
        cmocka_unit_test(responses), cmocka_unit_test(completions),
        cmocka_unit_test(messages),  cmocka_unit_test(there_already),
        cmocka_unit_test(fields),
    };

    return cmocka_run_group_tests(all, change_set_up, change_tear_down);
}
