/* SOURCES: fcgi-backend/lib/rules.c fcgi-backend/lib/rules_document.c */
/* SOURCES: fcgi-backend/lib/rules_read.c fcgi-backend/lib/rules_check.c */
/* SOURCES: fcgi-backend/lib/rules_webhook.c fcgi-backend/lib/rules_match.c */
/* SOURCES: fcgi-backend/lib/rules_text.c fcgi-backend/lib/locate.c */
/* SOURCES: fcgi-backend/lib/file.c common/hai_json.c */
/* SOURCES: common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */
/* LIBS: -ljansson -lcrypto */

/*
 * Documents of rules: what is accepted, and what is said about what is not;
 * the overlay; the digest.
 */

#include "lib/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define TEXT(s) (s), sizeof(s) - 1

static char file[] = "/tmp/hai-rules.XXXXXX";
static char said[16384]; /* "LINE:COLUMN level rule reason\n" for each */

/* The fields themselves are the business of common/hai_change_set.c. */
bool hai_change_field_valid(const char *name, size_t len) {
    return !(len == 6 && memcmp(name, "stream", 6) == 0);
}

static void say(void *data, bool is_error, const char *where, int line,
                int column, const char *rule, const char *reason) {
    size_t used = strlen(said);

    (void) data;
    assert_true(strcmp(where, file) == 0 || strcmp(where, "overlay") == 0);
    snprintf(said + used, sizeof(said) - used, "%d:%d %s %s %s\n", line, column,
             is_error ? "error" : "warning", rule, reason);
}

static const struct hai_rule_report report = {say, NULL};

static void write_file(const char *text, size_t len) {
    FILE *out = fopen(file, "w");

    assert_non_null(out);
    assert_int_equal(fwrite(text, 1, len, out), len);
    assert_int_equal(fclose(out), 0);
}

static struct hai_rules *
load_with(const char *text, const struct hai_rule_overlay *overlay, size_t n) {
    said[0] = '\0';
    write_file(text, strlen(text));
    return hai_rules_load(file, overlay, n, &report);
}

static struct hai_rules *load(const char *text) {
    return load_with(text, NULL, 0);
}

/* A document with one rule of these parts. */
static const char *one(const char *trigger, const char *action,
                       const char *more) {
    static char text[4096];

    snprintf(text, sizeof(text),
             "{\"rules\":[\n{\"id\":\"a\",\n\"trigger\":{%s},\n\"action\":{%s}"
             "\n%s}]}",
             trigger, action, more);
    return text;
}

#define SYSTEM "\"event\":\"chat.system.transform\""
#define PARAMS "\"event\":\"chat.params\""
#define APPEND "\"type\":\"append\",\"content\":\"x\""

static void refuse(const char *text, const char *message) {
    struct hai_rules *rules = load(text);

    if (rules != NULL || strcmp(said, message) != 0) {
        hai_rules_unref(rules);
        fail_msg("%.200s\n%s: \"%s\" is wanted, not \"%s\"", text,
                 rules != NULL ? "accepted" : "refused", message, said);
    }
}

static void test_whole(void **state) {
    struct hai_rules *rules = load(
        "{\"mitm\":{\"$schema\":\"x\",\"tags\":[\"prod\",{\"id\":\"test\","
        "\"label\":\"Test\",\"description\":\"d\",\"color\":\"#fff\"}],"
        "\"rules\":[{\"id\":\"guard.rm-1_A\",\"name\":\"n\",\"enabled\":false,"
        "\"description\":\"d\",\"severity\":\"critical\",\"x-note\":1,"
        "\"trigger\":{\"event\":\"tool.execute.after\",\"tags\":[\"prod\"],"
        "\"containers\":[\"a*\",\"b\"],\"models\":[\"m/*\"],"
        "\"toolName\":\"Read\"},\"action\":{\"type\":\"message\","
        "\"content\":\"{{tool.input.path}}\"},\"cooldownMs\":5000,"
        "\"maxDepth\":3,\"blocking\":true,\"effectiveEnabled\":true,"
        "\"source\":\"base\",\"overlayState\":\"active\"},"
        "{\"id\":\"hook\",\"trigger\":{\"event\":\"session.error\"},"
        "\"action\":{\"type\":\"webhook\",\"url\":\"https://example.com/x\","
        "\"headers\":{\"X-Token\":\"t\"},\"secretFile\":\"/etc/s\"}}]},"
        "\"other\":{\"rules\":5}}");
    const struct hai_rule *r;

    (void) state;
    assert_string_equal(said, "");
    assert_non_null(rules);
    assert_int_equal(rules->n, 2);
    r = &rules->rule[0];
    assert_string_equal(r->id, "guard.rm-1_A");
    assert_string_equal(r->name, "n");
    assert_string_equal(r->severity, "critical");
    assert_false(r->enabled);
    assert_int_equal(r->event, HAI_EV_TOOL_AFTER);
    assert_int_equal(r->tags.n, 1);
    assert_int_equal(r->containers.n, 2);
    assert_string_equal(r->containers.item[1], "b");
    assert_string_equal(r->models.item[0], "m/*");
    assert_string_equal(r->tool, "Read");
    assert_int_equal(r->action, HAI_ACT_MESSAGE);
    assert_int_equal(r->cooldown_ms, 5000);
    assert_int_equal(r->max_depth, 3);
    assert_true(r->blocking);
    r = &rules->rule[1];
    assert_int_equal(r->index, 1);
    assert_true(r->enabled);
    assert_int_equal(r->max_depth, 1);
    assert_string_equal(r->url, "https://example.com/x");
    assert_string_equal(r->headers.item[0], "X-Token: t");
    assert_string_equal(r->secret_file, "/etc/s");
    hai_rules_unref(rules);
}

/* Values keep their digits; white space between tokens goes. */
static void test_values(void **state) {
    struct hai_rules *rules =
        load("{\"rules\":[{\"id\":\"a\",\"trigger\":{" PARAMS "},\"action\":{"
             "\"type\":\"set\",\"field\":\"t\",\"value\":{ \"a b\" : "
             "[ 0.10 , \"\\\" x\" ] } }},"
             "{\"id\":\"b\",\"trigger\":{" PARAMS "},\"action\":{\"type\":"
             "\"set\",\"field\":\"m\",\"min\":1e2,\"max\":4096.0,"
             "\"fallback\":null}},"
             "{\"id\":\"c\",\"trigger\":{" PARAMS "},\"action\":{\"type\":"
             "\"set\",\"field\":\"r\",\"remove\":true}}]}");

    (void) state;
    assert_string_equal(said, "");
    assert_non_null(rules);
    assert_string_equal(rules->rule[0].value, "{\"a b\":[0.10,\"\\\" x\"]}");
    assert_string_equal(rules->rule[1].min, "1e2");
    assert_string_equal(rules->rule[1].max, "4096.0");
    assert_string_equal(rules->rule[1].fallback, "null");
    assert_null(rules->rule[1].value);
    assert_true(rules->rule[2].remove);
    hai_rules_unref(rules);
}

static void test_syntax(void **state) {
    (void) state;
    refuse("", "1:0 error  '[' or '{' expected\n");
    refuse("{\"rules\":[\n  {]}", "2:4 error  string or '}' expected\n");
    refuse("{\"rules\":[],\n \"rules\":[]}",
           "2:8 error  duplicate object key\n");
    refuse("[]", "1:1 error  an object is wanted\n");
    refuse("{}", "1:1 error  neither \"mitm\" nor \"rules\" is there\n");
    refuse("{\"rules\":[],\"mitm\":{}}",
           "1:13 error  \"mitm\" beside \"rules\": which of them is meant?\n");
    refuse("{\"mitm\":{}}", "1:9 error  \"rules\" is missing\n");
    refuse("{\"mitm\":[]}", "1:9 error  \"mitm\": an object is wanted\n");
    refuse("{\"rules\":{}}", "1:10 error  \"rules\": an array is wanted\n");
    refuse("{\"rules\":[],\n  \"tag\":[]}",
           "2:3 error  \"tag\" is not known beside \"rules\"\n");
    refuse("{\"rules\":[5]}", "1:11 error  a rule is an object\n");
    refuse("{\"rules\":[],\"tags\":[{\"id\":\"a\",\"x\":1}]}",
           "1:31 error  \"tags\": \"x\" is not known\n");
    refuse("{\"rules\":[],\"tags\":[\"a\",\"a\"]}",
           "1:25 error  \"tags\": \"a\" is there twice\n");
}

struct wrong {
    const char *trigger, *action, *more, *message;
};

/* Line and column are those of the key or value that is wrong. */
static void test_members(void **state) {
    static const struct wrong table[] = {
        {SYSTEM ",\"tag\":[\"x\"]", APPEND, "",
         "3:44 error a \"trigger.tag\" is not known\n"},
        {SYSTEM, APPEND, ",\"cooldownms\":1",
         "5:2 error a \"cooldownms\" is not known\n"},
        {"\"event\":\"chat\"", APPEND, "",
         "3:20 error a \"trigger.event\": chat.system.transform, chat.message, "
         "chat.params, tool.execute.before, tool.execute.after, session.error "
         "or session.idle is wanted\n"},
        {"", APPEND, "", "3:11 error a \"trigger.event\" is missing\n"},
        {SYSTEM, "\"content\":\"x\"", "",
         "4:10 error a \"action.type\" is missing\n"},
        {SYSTEM, "\"type\":\"replace\"", "",
         "4:18 error a \"action.type\": append, prepend, message, set, log or "
         "webhook is wanted\n"},
        {SYSTEM, "\"type\":\"append\"", "",
         "4:10 error a \"action.content\" is missing\n"},
        {SYSTEM, "\"type\":\"append\",\"content\":\"\"", "",
         "4:37 error a \"action.content\": must not be empty\n"},
        {SYSTEM, APPEND ",\"url\":\"x\"", "",
         "4:41 error a \"action.url\" does not go with the action "
         "\"append\"\n"},
        {SYSTEM ",\"tags\":[]", APPEND, "",
         "3:51 error a \"trigger.tags\": an empty list; leave it out where "
         "there is nothing to choose\n"},
        {SYSTEM ",\"tags\":\"x\"", APPEND, "",
         "3:51 error a \"trigger.tags\": an array of strings is wanted\n"},
        {SYSTEM ",\"tags\":[\"x\",\"y z\"]", APPEND, "",
         "3:56 error a \"trigger.tags\": must not have blanks in it\n"},
        {SYSTEM ",\"models\":[7]", APPEND, "",
         "3:54 error a \"trigger.models\": a string is wanted\n"},
        {SYSTEM ",\"toolName\":\"x\"", APPEND, "",
         "3:44 error a \"trigger.toolName\" goes with the events "
         "tool.execute.before and tool.execute.after only\n"},
        {SYSTEM, APPEND, ",\"enabled\":1",
         "5:12 error a \"enabled\": true or false is wanted\n"},
        {SYSTEM, APPEND, ",\"cooldownMs\":-1",
         "5:15 error a \"cooldownMs\": a whole number of milliseconds is "
         "wanted, 0 for none\n"},
        {SYSTEM, APPEND, ",\"maxDepth\":101",
         "5:13 error a \"maxDepth\": a whole number from 1 to 100 is wanted\n"},
        {SYSTEM, APPEND, ",\"severity\":2",
         "5:13 error a \"severity\": a string is wanted\n"},
        {"\"event\":\"session.error\"", APPEND, "",
         "4:11 error a the action \"append\" does not go with the event "
         "session.error, which is seen in answers: log or webhook is "
         "wanted\n"},
        {PARAMS, APPEND, "",
         "4:11 error a the action \"append\" does not go with the event "
         "chat.params, which is also seen where there is no prompt: take "
         "chat.system.transform or chat.message\n"},
        {SYSTEM, "\"type\":\"append\",\"content\":\"{{user}}\"", "",
         "4:37 error a \"action.content\": \"{{user}}\" is no template that "
         "is known (a literal \"{{\" is written \"{{{{\")\n"},
        {SYSTEM, "\"type\":\"append\",\"content\":\"{{model\"", "",
         "4:37 error a \"action.content\": \"{{model\" is no template that "
         "is known (a literal \"{{\" is written \"{{{{\")\n"},
        {SYSTEM, "\"type\":\"append\",\"content\":\"{{tool.name}}\"", "",
         "4:37 error a \"action.content\": \"{{tool.name}}\" is known to the "
         "events tool.execute.before and tool.execute.after only\n"},
        {"\"event\":\"tool.execute.before\"",
         "\"type\":\"log\",\"content\":\"{{tool.input.a}}\"", "",
         "4:34 error a \"action.content\": \"{{tool.input.a}}\" is known to "
         "the event tool.execute.after only\n"},
    };
    size_t i;

    (void) state;
    for (i = 0; i < COUNT(table); i++) {
        refuse(one(table[i].trigger, table[i].action, table[i].more),
               table[i].message);
    }
}

static void test_set(void **state) {
    static const struct wrong table[] = {
        {PARAMS, "\"type\":\"set\",\"value\":1", "",
         "4:10 error a \"action.field\" is missing\n"},
        {PARAMS, "\"type\":\"set\",\"field\":\"stream\",\"value\":1", "",
         "4:32 error a \"action.field\": this field cannot be set: messages, "
         "system, instructions, input and prompt have actions of their own, "
         "stream is the caller's\n"},
        {PARAMS, "\"type\":\"set\",\"field\":\"x\"", "",
         "4:24 error a the action \"set\" takes one of \"value\", \"remove\", "
         "or \"min\" and \"max\"\n"},
        {PARAMS, "\"type\":\"set\",\"field\":\"x\",\"value\":1,\"max\":2", "",
         "4:24 error a the action \"set\" takes one of \"value\", \"remove\", "
         "or \"min\" and \"max\"\n"},
        {PARAMS, "\"type\":\"set\",\"field\":\"x\",\"remove\":false", "",
         "4:45 error a \"action.remove\": true is wanted; leave it out where "
         "nothing is to be removed\n"},
        {PARAMS, "\"type\":\"set\",\"field\":\"x\",\"min\":\"1\"", "",
         "4:42 error a \"action.min\": a number is wanted\n"},
        {PARAMS, "\"type\":\"set\",\"field\":\"x\",\"min\":2,\"max\":1", "",
         "4:36 error a \"action.min\" is greater than \"action.max\"\n"},
        {PARAMS, "\"type\":\"set\",\"field\":\"x\",\"value\":1,\"fallback\":1",
         "",
         "4:46 error a \"action.fallback\" goes with \"min\" and \"max\" "
         "only\n"},
        {PARAMS, "\"type\":\"set\",\"field\":\"model\",\"min\":1", "",
         "4:40 error a \"action.min\": a model is no number\n"},
        {PARAMS, "\"type\":\"set\",\"field\":\"model\",\"value\":\"\"", "",
         NULL},
        {PARAMS, "\"type\":\"set\",\"field\":\"model\",\"value\":5", "", NULL},
    };
    struct hai_rules *rules;
    size_t i;

    (void) state;
    for (i = 0; i < COUNT(table); i++) {
        const char *text =
            one(table[i].trigger, table[i].action, table[i].more);

        if (table[i].message != NULL) {
            refuse(text, table[i].message);
            continue;
        }
        rules = load(text);
        assert_null(rules);
        assert_non_null(strstr(said, "a request with it would be refused"));
    }
}

static void test_webhook(void **state) {
    static const struct {
        const char *action, *reason;
    } table[] = {
        {"", "\"action.url\" is missing"},
        {",\"url\":\"ftp://h\"", "a URL with https:// or http:// is wanted"},
        {",\"url\":\"https:///x\"", "there is no host in it"},
        {",\"url\":\"https://u:p@h/\"", "user and password do not belong"},
        {",\"url\":\"https://h:99999/\"", "a port from 1 to 65535"},
        {",\"url\":\"https://h:0/\"", "a port from 1 to 65535"},
        {",\"url\":\"https://h:/\"", "a port from 1 to 65535"},
        {",\"url\":\"https://h:8x/\"", "a port from 1 to 65535"},
        {",\"url\":\"https://[::1\"", "a port from 1 to 65535"},
        {",\"url\":\"https://[::1]:70000\"", "a port from 1 to 65535"},
        {",\"url\":\"https://h/a b\"", "printable ASCII without blanks"},
        {",\"url\":\"https://h\",\"secretFile\":\"s\"",
         "an absolute path is wanted"},
        {",\"url\":\"https://h\",\"headers\":{\"A\":\"b\\r\\nC: d\"}",
         "control characters and line ends cannot be sent"},
        {",\"url\":\"https://h\",\"headers\":{\"A b\":\"c\"}",
         "is no name of a header"},
        {",\"url\":\"https://h\",\"headers\":{\"host\":\"c\"}",
         "is set by the event worker itself"},
        {",\"url\":\"https://h\",\"headers\":{\"upgrade\":\"c\"}",
         "is set by the event worker itself"},
        {",\"url\":\"https://h\",\"headers\":{\"A\":\"c\",\"a\":\"d\"}",
         "is there twice"},
        {",\"url\":\"https://h\",\"headers\":{\"A\":1}",
         "a string of at most 4096 bytes"},
        {",\"url\":\"https://h\",\"headers\":[]", "an object of at most 32"},
    };
    char action[256];
    size_t i;

    (void) state;
    for (i = 0; i < COUNT(table); i++) {
        snprintf(action, sizeof(action), "\"type\":\"webhook\"%s",
                 table[i].action);
        assert_null(load(one("\"event\":\"session.idle\"", action, "")));
        if (strstr(said, table[i].reason) == NULL) {
            fail_msg("\"%s\" not in \"%s\"", table[i].reason, said);
        }
    }
}

static void test_ids(void **state) {
    (void) state;
    refuse("{\"rules\":[{\"trigger\":{" SYSTEM "},\"action\":{" APPEND "}}]}",
           "1:11 error  \"id\" is missing\n");
    refuse("{\"rules\":[{\"id\":\"a b\",\"trigger\":{" SYSTEM "},"
           "\"action\":{" APPEND "}}]}",
           "1:17 error  \"id\": 1 to 64 of the characters A-Z a-z 0-9 _ . - "
           "are wanted\n");
    refuse("{\"rules\":[\n{\"id\":\"a\",\"trigger\":{" SYSTEM "},"
           "\"action\":{" APPEND "}},\n{\"id\":\"a\",\"trigger\":{" SYSTEM "},"
           "\"action\":{" APPEND "}}]}",
           "3:7 error a there is another rule with this id\n");
}

/* All that is wrong is told at once, up to a limit. */
static void test_many_errors(void **state) {
    char text[8192] = "{\"rules\":[";
    int i, lines = 0;
    const char *p;

    (void) state;
    for (i = 0; i < 30; i++) {
        strcat(text, i > 0 ? ",{}" : "{}");
    }
    strcat(text, "]}");
    assert_null(load(text));
    for (p = said; (p = strchr(p, '\n')) != NULL; p++) {
        lines++;
    }
    assert_int_equal(lines, 21);
    assert_non_null(strstr(said, "so many errors"));
}

/* What the parser says never quotes the document: a header may be secret. */
static void test_no_quotes(void **state) {
    (void) state;
    assert_null(load("{\"rules\":[{\"headers\":{\"A\":\"hunter2\" \"x\"}}]}"));
    assert_null(strstr(said, "hunter2"));
    assert_null(load("{\"rules\":[{\"A\":hunter2}]}"));
    assert_null(strstr(said, "hunter2"));
}

static void test_warnings(void **state) {
    struct hai_rules *rules = load(one(SYSTEM, APPEND, ",\"blocking\":true"));

    (void) state;
    assert_non_null(rules);
    assert_string_equal(said, "5:2 warning a \"blocking\" does nothing with "
                              "the action \"append\"\n");
    hai_rules_unref(rules);

    rules = load(
        "{\"tags\":[\"prod\"],\"rules\":[{\"id\":\"a\",\"trigger\":{" SYSTEM
        ",\"tags\":[\"prod\",\"prd\"]},\"action\":{" APPEND "}}]}");
    assert_non_null(rules);
    assert_string_equal(said, "1:95 warning a the tag \"prd\" is not in the "
                              "document's list of tags\n");
    hai_rules_unref(rules);
}

static void test_ceilings(void **state) {
    size_t size = 5 * 1024 * 1024, n, i;
    char *text = malloc(size);

    (void) state;
    assert_non_null(text);
    memset(text, ' ', size);
    said[0] = '\0';
    write_file(text, size);
    assert_null(hai_rules_load(file, NULL, 0, &report));
    assert_string_equal(said, "0:0 error  cannot be read: larger than 4194304 "
                              "bytes\n");

    n = (size_t) sprintf(text, "{\"rules\":[");
    for (i = 0; i <= 2000; i++) {
        n += (size_t) sprintf(text + n,
                              "%s{\"id\":\"r%zu\",\"trigger\":{" SYSTEM "},"
                              "\"action\":{" APPEND "}}",
                              i > 0 ? ",\n" : "", i);
    }
    sprintf(text + n, "]}");
    refuse(text, "2001:1 error  more than 2000 rules\n");

    n = (size_t) sprintf(text, "{\"rules\":[{\"id\":\"a\",\"trigger\":{" SYSTEM
                               "},\"action\":{\"type\":\"append\","
                               "\"content\":\"");
    memset(text + n, 'x', 65537);
    sprintf(text + n + 65537, "\"}}]}");
    assert_null(load(text));
    assert_non_null(strstr(said, "longer than 65536 bytes"));
    free(text);
}

static void test_missing_file(void **state) {
    (void) state;
    said[0] = '\0';
    unlink(file);
    assert_null(hai_rules_load(file, NULL, 0, &report));
    assert_string_equal(said, "0:0 error  cannot be read: No such file or "
                              "directory\n");
}

#define BASE                                                                   \
    "{\"rules\":[{\"id\":\"b\",\"trigger\":{" SYSTEM "},\"action\":{" APPEND   \
    "}},{\"id\":\"a\",\"enabled\":false,\"trigger\":{" SYSTEM "},"             \
    "\"action\":{" APPEND "}}]}"
#define OTHER(id, content)                                                     \
    "{\"id\":\"" id "\",\"trigger\":{" SYSTEM                                  \
    "},\"action\":{\"type\":\"append\",\"content\":\"" content "\"}}"

static void test_overlay(void **state) {
    const struct hai_rule_overlay overlay[] = {
        {TEXT("z"), TEXT(OTHER("z", "z"))},
        {TEXT("a"), TEXT("{\"id\":\"a\",\"enabledOverride\":true}")},
        {TEXT("c"), TEXT(OTHER("c", "c"))},
        {TEXT("b"), TEXT(OTHER("b", "new"))},
        {TEXT("gone"), TEXT("{\"id\":\"gone\",\"enabledOverride\":false}")},
    };
    struct hai_rules *rules = load_with(BASE, overlay, COUNT(overlay));

    (void) state;
    assert_non_null(rules);
    assert_string_equal(said, "1:14 warning gone \"enabledOverride\": there is "
                              "no such rule\n");
    assert_int_equal(rules->n, 4);
    assert_string_equal(rules->rule[0].id, "b");
    assert_string_equal(rules->rule[0].content, "new");
    assert_true(rules->rule[0].overlay);
    assert_string_equal(rules->rule[1].id, "a");
    assert_true(rules->rule[1].enabled);
    assert_true(rules->rule[1].overridden);
    assert_false(rules->rule[1].overlay);
    assert_string_equal(rules->rule[2].id, "c");
    assert_string_equal(rules->rule[3].id, "z");
    assert_int_equal(rules->rule[3].index, 3);
    hai_rules_unref(rules);

    said[0] = '\0';
    rules = hai_rules_load(NULL, overlay, 1, &report);
    assert_non_null(rules);
    assert_int_equal(rules->n, 1);
    hai_rules_unref(rules);
    rules = hai_rules_load(NULL, NULL, 0, &report);
    assert_non_null(rules);
    assert_int_equal(rules->n, 0);
    hai_rules_unref(rules);
    assert_string_equal(said, "");
}

static void refuse_overlay(const char *id, size_t id_len, const char *json,
                           const char *message) {
    const struct hai_rule_overlay overlay[] = {
        {TEXT("ok"), TEXT(OTHER("ok", "x"))}, {id, id_len, json, strlen(json)}};

    assert_null(load_with(BASE, overlay, COUNT(overlay)));
    assert_string_equal(said, message);
}

static void test_bad_overlay(void **state) {
    (void) state;
    refuse_overlay(TEXT("x"), "{", "1:1 error x string or '}' expected\n");
    refuse_overlay(TEXT("x"), OTHER("y", "x"),
                   "1:7 error x \"id\": not the name of its field in the "
                   "overlay\n");
    refuse_overlay(TEXT("x y"), OTHER("y", "x"),
                   "0:0 error  a field of the overlay whose name is no id\n");
    refuse_overlay(TEXT("a"), "{\"id\":\"a\",\"enabledOverride\":1}",
                   "1:29 error a \"enabledOverride\": true or false is "
                   "wanted\n");
    refuse_overlay(TEXT("a"),
                   "{\"id\":\"a\",\"enabledOverride\":true,\"blocking\":true}",
                   "1:34 error a \"blocking\" does not go with "
                   "\"enabledOverride\"\n");
    refuse_overlay(TEXT("x"), "[]", "1:1 error  a rule is an object\n");
}

static void digest_of(const char *text, char digest[17]) {
    struct hai_rules *rules = load(text);

    assert_non_null(rules);
    memcpy(digest, rules->digest, 17);
    assert_int_equal(strspn(digest, "0123456789abcdef"), 16);
    hai_rules_unref(rules);
}

/* Of what the rules do, not of how they are written down. */
static void test_digest(void **state) {
    char a[17], b[17];

    (void) state;
    digest_of("{\"rules\":[" OTHER("a", "x") "]}", a);
    digest_of("{\"mitm\" : {\"tags\":[\"t\"],\"rules\" : [ {\"action\": "
              "{\"content\":\"\\u0078\", \"type\":\"append\"}, \"maxDepth\":1, "
              "\"description\":\"d\", \"blocking\":false, \"trigger\":{" SYSTEM
              "},\"id\":\"a\"} ]}}",
              b);
    assert_string_equal(a, b);
    digest_of("{\"rules\":[" OTHER("a", "y") "]}", b);
    assert_string_not_equal(a, b);
    digest_of("{\"rules\":[" OTHER("b", "x") "]}", b);
    assert_string_not_equal(a, b);
    digest_of("{\"rules\":[" OTHER("a", "x") "," OTHER("b", "x") "]}", a);
    digest_of("{\"rules\":[" OTHER("b", "x") "," OTHER("a", "x") "]}", b);
    assert_string_not_equal(a, b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),     cmocka_unit_test(test_values),
        cmocka_unit_test(test_syntax),    cmocka_unit_test(test_members),
        cmocka_unit_test(test_set),       cmocka_unit_test(test_webhook),
        cmocka_unit_test(test_ids),       cmocka_unit_test(test_many_errors),
        cmocka_unit_test(test_no_quotes), cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_ceilings),  cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_overlay),   cmocka_unit_test(test_bad_overlay),
        cmocka_unit_test(test_digest),
    };
    int fd = mkstemp(file), rc;

    if (fd < 0) {
        return 1;
    }
    close(fd);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(file);
    return rc;
}
