/* SOURCES: common/hai_usage.c common/hai_usage_json.c common/hai_usage_whole.c common/hai_calls.c common/hai_sse.c */
/* LIBS: -lcmocka */

/*
 * Token usage: documented paths and nothing else, over every split.  Each
 * input also goes through the portable code path, which is compiled into this
 * file under other names.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HAI_USAGE_SIMD 0
#include "lower_usage.h"

struct expected {
    long long input, output, cached;
    bool error;
};

/* A piece in memory of exactly its size, so that a read outside is seen. */
static void *exact(const char *data, size_t n) {
    void *copy = malloc(n > 0 ? n : 1);

    assert_non_null(copy);
    memcpy(copy, data, n);

    return copy;
}

static void feed(struct hai_usage_scan *us, struct hai_usage_scan *portable,
                 const char *data, size_t n) {
    void *copy = exact(data, n);

    hai_usage_feed(us, copy, n);
    lower_usage_feed(portable, copy, n);

    free(copy);
}

static void check_scan(const struct hai_usage_scan *us, struct expected e) {
    assert_int_equal(us->usage.input_tokens, e.input);
    assert_int_equal(us->usage.output_tokens, e.output);
    assert_int_equal(us->usage.cached_tokens, e.cached);
    assert_int_equal(us->usage.error, e.error);
    assert_int_equal(us->usage.reported,
                     e.input >= 0 || e.output >= 0 || e.cached >= 0);
}

/* Whole, in pieces of each size up to 70, and cut once at every place. */
static void check(enum hai_usage_kind kind, const char *text, size_t len,
                  struct expected e) {
    for (size_t size = 0; size <= 70 + len; size++) {
        struct hai_usage_scan us, portable;
        size_t at = 0;

        hai_usage_init(&us, kind);
        lower_usage_init(&portable, kind);

        if (size > 70) {
            at = size - 70;
            feed(&us, &portable, text, at);
            feed(&us, &portable, text + at, len - at);

        } else {
            size_t step = size == 0 ? len : size;

            for (; at < len; at += step) {
                feed(&us, &portable, text + at,
                     len - at < step ? len - at : step);
            }
        }

        check_scan(&us, e);
        check_scan(&portable, e);
    }
}

#define JSON(text, ...)                                                        \
    check(HAI_USAGE_JSON, text, sizeof(text) - 1,                              \
          (struct expected){__VA_ARGS__})
#define SSE(text, ...)                                                         \
    check(HAI_USAGE_SSE, text, sizeof(text) - 1, (struct expected){__VA_ARGS__})
#define NOTHING -1, -1, -1, false

static void openai_answers(void **state) {
    (void) state;

    JSON("{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"choices\":"
         "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
         "\"Hello \\\"you\\\" {[ \\\\\"},\"finish_reason\":\"stop\"}],"
         "\"usage\":{\"prompt_tokens\":19,\"completion_tokens\":10,"
         "\"total_tokens\":29,\"prompt_tokens_details\":{\"cached_tokens\":7,"
         "\"audio_tokens\":0},\"completion_tokens_details\":{"
         "\"reasoning_tokens\":0,\"cached_tokens\":99}}}",
         19, 10, 7, false);

    /* responses, in the order and layout of the API */
    JSON("{\n  \"id\" : \"resp_1\",\n  \"error\" : null,\n  \"output\": [\n"
         "    {\"type\": \"message\"}\n  ],\n  \"usage\" : {\n"
         "    \"input_tokens\" : 36 ,\n    \"input_tokens_details\" :\n {\n"
         "      \"cached_tokens\" : 5\n    },\n    \"output_tokens\":\t87\n"
         "  }\r\n}\n",
         36, 87, 5, false);

    JSON("{\"object\":\"list\",\"data\":[{\"embedding\":[0.1,-0.2]}],"
         "\"usage\":{\"prompt_tokens\":8,\"total_tokens\":8}}",
         8, -1, -1, false);

    JSON("{\"usage\":null}", NOTHING);
    JSON("{\"error\":{\"message\":\"no\",\"code\":\"x\"}}", -1, -1, -1, true);
    JSON("\xef\xbb\xbf {\"usage\":{\"input_tokens\":1}}", 1, -1, -1, false);
}

static void anthropic_answers(void **state) {
    (void) state;

    JSON("{\"id\":\"msg_1\",\"type\":\"message\",\"content\":[{\"type\":"
         "\"text\",\"text\":\"Hi\"}],\"usage\":{\"input_tokens\":2095,"
         "\"cache_creation_input_tokens\":3,\"cache_creation\":{"
         "\"input_tokens\":8},\"cache_read_input_tokens\":50,"
         "\"output_tokens\":503}}",
         2095, 503, 50, false);
    JSON("{\"input_tokens\":2095}", 2095, -1, -1, false);
    JSON("{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}", -1,
         -1, -1, true);
    JSON("{ \"type\" : \"error\" }", -1, -1, -1, true);
    JSON("{\"type\":\"errors\"}", NOTHING);
    JSON("{\"type\":\"err\",\"or\":1}", NOTHING);
}

static void streams(void **state) {
    (void) state;

    SSE("data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}],"
        "\"usage\":null}\n\n"
        "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,"
        "\"completion_tokens\":1}}\n\n"
        "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,"
        "\"completion_tokens\":4}}\n\n"
        "data: [DONE]\n\n",
        3, 4, -1, false);

    SSE("event: message_start\r\ndata: {\"type\":\"message_start\","
        "\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1,"
        "\"cache_read_input_tokens\":4}}}\r\n\r\n"
        "event: ping\r\ndata: {\"type\": \"ping\"}\r\n\r\n"
        "event: message_delta\r\ndata: {\"type\":\"message_delta\",\"delta\":"
        "{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}"
        "\r\n\r\n",
        25, 15, 4, false);

    SSE("event: response.completed\ndata: {\"type\":\"response.completed\","
        "\"response\":{\"id\":\"r\",\"error\":null,\"output\":[{\"usage\":{"
        "\"input_tokens\":1}}],\"usage\":{\"input_tokens\":37,"
        "\"input_tokens_details\":{\"cached_tokens\":2},"
        "\"output_tokens\":11}}}\n\n",
        37, 11, 2, false);

    SSE("data: {\"type\":\"response.failed\",\"response\":{\"error\":{"
        "\"code\":\"server_error\"},\"usage\":null}}\n\n",
        -1, -1, -1, true);
    SSE("event: error\rdata: {\"type\":\"error\",\"error\":{}}\r\r", -1, -1, -1,
        true);
}

static void lines_of_events(void **state) {
    (void) state;

    /* several data lines, comments between, a blank only once optional */
    SSE("\xef\xbb\xbf"
        "data:{\"usage\":\n: {\"no\"\nid: 7\n"
        "data:{\"prompt_tokens\"\ndata\ndata: :4}\ndata:}\n\n",
        4, -1, -1, false);
    SSE("data:  {\"usage\":{\"prompt_tokens\":4}}\r\r", 4, -1, -1, false);

    /* a line end is a blank, so it ends a number */
    SSE("data:{\"usage\":{\"prompt_tokens\":1\ndata:2}}\n\n", NOTHING);

    /* other fields are not data, nor is a mark that is not at the start */
    SSE("dat: {\"usage\":{\"prompt_tokens\":4}}\n\n", NOTHING);
    SSE("data : {\"usage\":{\"prompt_tokens\":4}}\n\n", NOTHING);
    SSE("datas: {\"usage\":{\"prompt_tokens\":4}}\n\n", NOTHING);
    SSE(" data: {\"usage\":{\"prompt_tokens\":4}}\n\n", NOTHING);
    SSE(":data: {\"usage\":{\"prompt_tokens\":4}}\n\n", NOTHING);
    SSE("\xef\xbb"
        "data: {\"usage\":{\"prompt_tokens\":4}}\n\n",
        NOTHING);
    SSE("\n\xef\xbb\xbf"
        "data: {\"usage\":{\"prompt_tokens\":4}}\n\n",
        NOTHING);

    /* after an event that is no JSON or ends too early */
    SSE("data: {\"a\":\"\\\n\ndata: {\"usage\":{\"prompt_tokens\":4}}\n\n", 4,
        -1, -1, false);
    SSE("data: {\"usage\":{\n\ndata: {\"prompt_tokens\":4}\n\n", NOTHING);
    SSE("data: }}}]\n\ndata: {\"a\":[[[{\n\n"
        "data: {\"usage\":{\"prompt_tokens\":4}}\n\n",
        4, -1, -1, false);
}

/* What is looked for at every place of a line, before and behind dull ones. */
static void dull_events(void **state) {
    static const struct {
        const char *member;
        struct expected e;
    } cases[] = {
        {"\"usage\":{\"prompt_tokens\":7}", {7, -1, -1, false}},
        {"\"usage\" : {\"output_tokens\" :8}", {-1, 8, -1, false}},
        {"\"input_tokens\":9", {9, -1, -1, false}},
        {"\"usage\":{\"input_tokens_details\":{\"cached_tokens\":6}}",
         {-1, -1, 6, false}},
        {"\"type\":\"error\"", {-1, -1, -1, true}},
        {"\"error\":{}", {-1, -1, -1, true}},
        {"\"usage\":null", {NOTHING}},
        {"\"error\":null", {NOTHING}},
        {"\"max_tokens\":5,\"nor\":\"terror\"", {NOTHING}},
    };
    static const char *const ends[] = {
        "\n\n",
        "\r\n\r\n",
        "\r\r",
        "\n\r",
    };
    char fill[101];
    char text[600];

    (void) state;

    memset(fill, 'x', sizeof(fill) - 1);
    fill[sizeof(fill) - 1] = '\0';

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int before = 0; before < 100; before++) {
            int n = snprintf(
                text, sizeof(text),
                "data: {\"a\":1}%sdata: {\"a\":\"%.*s\",%s,\"b\":\"%.*s\"}%s"
                "data:{\"logprobs\":[],\"choices\":\"nors\"}%s",
                ends[i % 4], before, fill, cases[i].member, before * 37 % 100,
                fill, ends[i % 4], ends[i % 4]);
            size_t cut = (size_t) n * (size_t) before / 100;

            for (int k = 0; k < 2; k++) {
                struct hai_usage_scan us, portable;
                size_t first = k == 0 ? (size_t) n : cut;

                hai_usage_init(&us, HAI_USAGE_SSE);
                lower_usage_init(&portable, HAI_USAGE_SSE);
                feed(&us, &portable, text, first);
                feed(&us, &portable, text + first, (size_t) n - first);
                check_scan(&us, cases[i].e);
                check_scan(&portable, cases[i].e);
            }
        }
    }

    /* a dull line that is not all of its event: it begins the JSON */
    SSE("data: {\"a\":\"a line that is longer than a vector is\",\ndata: "
        "\"usage\":{\"input_tokens\":5}}\n\n",
        5, -1, -1, false);
    SSE("data: {\"a\":\"a line that is longer than a vector is\"\r\ndata: "
        ",\"usage\":{\"input_tokens\":5}}\r\n\r\n",
        5, -1, -1, false);
    SSE("data: {\"a\":{\"b\":\"a line that is longer than a vector is\"\n"
        "data: ,\"usage\":{\"input_tokens\":5}}\n\n",
        NOTHING);
}

static void text_does_not_count(void **state) {
    (void) state;

    JSON("{\"a\":\"\\\",\\\"usage\\\":{\\\"input_tokens\\\":5}\"}", NOTHING);
    JSON("{\"a\":\"\\\\\",\"b\":\"\\\\\\\",\\\"usage\\\":{\"}", NOTHING);
    JSON("{\"x\\\"usage\":{\"input_tokens\":5}}", NOTHING);
    JSON("{\"choices\":[{\"usage\":{\"input_tokens\":5}}]}", NOTHING);
    JSON("{\"content\":{\"usage\":{\"input_tokens\":5}}}", NOTHING);
    JSON("{\"message\":{\"content\":[{\"input\":{\"usage\":{"
         "\"input_tokens\":5}}}],\"message\":{\"usage\":{"
         "\"input_tokens\":5}},\"input_tokens\":5}}",
         NOTHING);
    JSON("{\"usage\":[{\"input_tokens\":5}]}", NOTHING);
    JSON("{\"usage\":{\"usage\":{\"input_tokens\":5}}}", NOTHING);
    JSON("{\"usage\":{\"x\":[{\"input_tokens\":5}]}}", NOTHING);
    JSON("{\"xusage\":{\"input_tokens\":5}}", NOTHING);
    JSON("{\"usage \":{\"input_tokens\":5}}", NOTHING);
    JSON("{\"not_quite_as_long_as_usage\":{\"input_tokens\":5}}", NOTHING);
    JSON("{\"a\":\"usage\",\"b\":{\"input_tokens\":5}}", NOTHING);
    JSON("{\"usage\":\"\",\"b\":{\"input_tokens\":5}}", NOTHING);
    JSON("[{\"usage\":{\"input_tokens\":5}}]", NOTHING);
    JSON("\"{\"usage\":{\"input_tokens\":5}}", NOTHING);
    JSON("x {\"usage\":{\"input_tokens\":5}}", NOTHING);
    JSON("{\"a\":1}{\"usage\":{\"input_tokens\":5}}", NOTHING);
    JSON("{\"choices\":[{\"error\":{}}],\"x\":{\"type\":\"error\"}}", NOTHING);
    JSON("{\"error\":\"no\"}", NOTHING);
    JSON("{\"error\":null}", NOTHING);
    JSON("{]\"usage\":{\"input_tokens\":5}}", NOTHING);
}

static void numbers(void **state) {
    static const char *const bad[] = {
        "-1",
        "-0",
        "+1",
        "1.0",
        "1.5",
        "1e3",
        "1E3",
        ".5",
        "01",
        "00",
        "\"5\"",
        "null",
        "true",
        "[5]",
        "{}",
        "5 5",
        "5x",
        "0x5",
        "",
        "9007199254740992",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "18446744073709551617",
        "99999999999999999999999999999999999999999999999999999999999",
    };
    static const char *const good[] = {
        "0", "7", " 7 ", "\n\t\r 7\n\t\r ", "1234567890", "9007199254740991",
    };
    char text[200];
    int n;

    (void) state;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        n = snprintf(text, sizeof(text), "{\"usage\":{\"input_tokens\":%s}}",
                     bad[i]);
        check(HAI_USAGE_JSON, text, (size_t) n, (struct expected){NOTHING});

        /* a bad value leaves the good one before it */
        n = snprintf(text, sizeof(text),
                     "{\"usage\":{\"output_tokens\":6,"
                     "\"output_tokens\":%s,\"input_tokens\":3}}",
                     bad[i]);
        check(HAI_USAGE_JSON, text, (size_t) n,
              (struct expected){3, 6, -1, false});
    }

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        n = snprintf(text, sizeof(text), "{\"usage\":{\"input_tokens\":%s}}",
                     good[i]);
        check(HAI_USAGE_JSON, text, (size_t) n,
              (struct expected){atoll(good[i]), -1, -1, false});
    }

    JSON("{\"usage\":{\"input_tokens\":5", NOTHING);
    JSON("{\"usage\":{\"input_tokens\":5]", NOTHING);
}

/* Runs of backslashes of all lengths across the bounds of blocks. */
static void backslashes(void **state) {
    char text[400];

    (void) state;

    for (size_t run = 0; run < 140; run++) {
        for (size_t before = 50; before < 70; before += 3) {
            size_t n = (size_t) snprintf(text, sizeof(text), "{\"a\":\"");

            memset(text + n, 'x', before);
            n += before;
            memset(text + n, '\\', run);
            n += run;
            n += (size_t) snprintf(text + n, sizeof(text) - n,
                                   "\",\"usage\":{\"input_tokens\":5},\""
                                   "b\":\"\"}");

            for (size_t cut = 0; cut <= n; cut += n) {
                struct hai_usage_scan us, portable;

                hai_usage_init(&us, HAI_USAGE_JSON);
                lower_usage_init(&portable, HAI_USAGE_JSON);

                for (size_t at = 0; at < n; at += cut ? n : 1) {
                    feed(&us, &portable, text + at, cut ? n : 1);
                }

                assert_int_equal(us.usage.input_tokens, run % 2 ? -1 : 5);
                assert_int_equal(portable.usage.input_tokens, run % 2 ? -1 : 5);
            }
        }
    }
}

/*
 * Answers as providers send them, which are read whole when they come in one
 * piece, and what must not be taken out of them.
 */
static void whole_answers(void **state) {
    (void) state;

    /* chat completion with a tool call, whose arguments are a string */
    JSON("{\"id\":\"chatcmpl-B\",\"object\":\"chat.completion\",\"created\":"
         "1752061234,\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"index\":0,"
         "\"message\":{\"role\":\"assistant\",\"content\":null,\"tool_calls\":"
         "[{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":"
         "\"f\",\"arguments\":\"{\\\"usage\\\":{\\\"prompt_tokens\\\":5}}\"}}],"
         "\"refusal\":null},\"logprobs\":null,\"finish_reason\":"
         "\"tool_calls\"}],\"usage\":{\"prompt_tokens\":1019,"
         "\"completion_tokens\":63,\"total_tokens\":1082,"
         "\"prompt_tokens_details\":{\"cached_tokens\":512,\"audio_tokens\":"
         "0},\"completion_tokens_details\":{\"reasoning_tokens\":0,"
         "\"cached_tokens\":99}},\"service_tier\":\"default\"}\n",
         1019, 63, 512, false);

    /* responses: an error that is null, a usage inside of the output */
    JSON("{\"id\":\"resp_67ccd2bed1ec8190b14f964abc\",\"object\":\"response\","
         "\"status\":\"completed\",\"error\":null,\"max_output_tokens\":7,"
         "\"output\":[{\"type\":\"message\",\"usage\":{\"input_tokens\":8},"
         "\"content\":[{\"type\":\"output_text\",\"text\":\"}]}\"}]}],"
         "\"usage\":{\"input_tokens\":36,\"input_tokens_details\":{"
         "\"cached_tokens\":5},\"output_tokens\":87,"
         "\"output_tokens_details\":{\"reasoning_tokens\":0},"
         "\"total_tokens\":123},\"user\":null,\"metadata\":{}}",
         36, 87, 5, false);

    JSON("{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,"
         "\"embedding\":[-0.0069,-0.0053,1e-05]}],\"model\":"
         "\"text-embedding-3-small\",\"usage\":{\"prompt_tokens\":5,"
         "\"total_tokens\":5}}",
         5, -1, -1, false);

    JSON("{\"id\":\"msg_01XFDUDYJgAACzvnptvVoYEL\",\"type\":\"message\","
         "\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":"
         "\"toolu_1\",\"name\":\"f\",\"input\":{\"usage\":{\"input_tokens\":3},"
         "\"error\":{}}}],\"stop_reason\":\"tool_use\",\"usage\":{"
         "\"input_tokens\":2095,\"cache_creation_input_tokens\":0,"
         "\"cache_read_input_tokens\":50,\"cache_creation\":{"
         "\"ephemeral_5m_input_tokens\":0,\"input_tokens\":1},"
         "\"output_tokens\":503,\"service_tier\":\"standard\"}}",
         2095, 503, 50, false);

    JSON("{ \"context_management\" : { \"original_input_tokens\" : 70000 } ,\n"
         "  \"input_tokens\"\t: 25000 \r\n}  \n",
         25000, -1, -1, false);

    /* errors, near the beginning and far from it */
    JSON("{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
         "\"message\":\"Overloaded\"},\"request_id\":\"req_011CSHoEeqs5C35K\"}",
         -1, -1, -1, true);
    JSON("{\"error\":{\"message\":\"Incorrect API key provided: {key\","
         "\"type\":\"invalid_request_error\",\"param\":null,\"code\":"
         "\"invalid_api_key\"}}",
         -1, -1, -1, true);
    JSON("{\"request_id\":\"req_011CSHoEeqs5C35K2UUqR7Fy\",\"error\" : {"
         "\"message\":\"A long enough text to be read whole\"}}",
         -1, -1, -1, true);
    JSON("{\"request_id\":\"req_011CSHoEeqs5C35K2UUqR7Fy\","
         "\"type\" : \"error\","
         "\"message\":\"A long enough text to be read whole\"}",
         -1, -1, -1, true);
    JSON("{\"request_id\":\"req_011CSHoEeqs5C35K2UUqR7Fy\",\"kind\":\"error\","
         "\"type\":\"errors\",\"list\":[{\"type\":\"error\"}]}",
         NOTHING);

    /* the last one wins, a value that is no count changes nothing */
    JSON("{\"id\":\"an answer with the same key twice\",\"usage\":{"
         "\"input_tokens\":1,\"output_tokens\":2},\"x\":[{}],\"usage\":{"
         "\"output_tokens\":4,\"input_tokens\":3,\"input_tokens\":\"5\"}}",
         3, 4, -1, false);

    /* a name as a value, in an unwatched member, under an escape */
    JSON("{\"model\":\"usage\",\"status\":\"input_tokens\",\"user\":\"cursor\","
         "\"x\":{\"usage\":{\"input_tokens\":5},\"output_tokens\":6},"
         "\"a\\\"usage\":{\"input_tokens\":7},\"\\\"input_tokens\":8}",
         NOTHING);
    JSON("{\"usage\":{\"model\":\"a name that is long enough\"},\"other\":{"
         "\"input_tokens\":5},\"more\":[{\"output_tokens\":6}]}",
         NOTHING);

    /* a brace at the end of a piece that is no end of the document */
    JSON("{\"text\":\"a string that has braces }}}}}}}}}}}}}}}} in it }\\\\\","
         "\"a\":{\"b\":{}},\"c\":{\"d\":{}},\"usage\":{\"input_tokens\":4,"
         "\"x\":{}}}",
         4, -1, -1, false);

    /* no JSON: each way of reading gives the same all the same */
    JSON("{\"id\":\"a document that is not right\",\"usage\":x{"
         "\"input_tokens\":5},\"output_tokens\":6}",
         5, -1, -1, false);
    JSON("{\"id\":\"a document that is not right\",\"usage\":{\"x\":1],"
         "\"usage\":{\"input_tokens\":5}}",
         NOTHING);
    JSON("{\"id\":\"a document that is not right\",\"type\" : \"error\":4,"
         "\"x\":\"error\"}",
         -1, -1, -1, true);
    JSON("{\"id\":\"two documents and more of them, one by one\"}"
         "{\"usage\":{\"input_tokens\":5}}",
         NOTHING);
}

/* The end of a block at each place of a whole answer. */
static void whole_blocks(void **state) {
    char text[400];

    (void) state;

    for (int before = 0; before < 140; before++) {
        for (int run = 0; run < 4; run++) {
            int n = snprintf(
                text, sizeof(text),
                "{\"a\":\"%*s%.*s\",\"b\":[{}],\"usage\":{"
                "\"prompt_tokens_details\":{\"cached_tokens\":6},"
                "\"prompt_tokens\":7,\"output_tokens\":8},\"error\":{}}%*s",
                before, "", 2 * run, "\\\\\\\\\\\\", before % 7, "");
            struct hai_usage_scan us, portable;

            hai_usage_init(&us, HAI_USAGE_JSON);
            lower_usage_init(&portable, HAI_USAGE_JSON);
            feed(&us, &portable, text, (size_t) n);
            check_scan(&us, (struct expected){7, 8, 6, true});
            check_scan(&portable, (struct expected){7, 8, 6, true});
        }
    }
}

/* Any number of blanks between a key and its colon, deep nesting. */
static void long_and_deep(void **state) {
    size_t size = 300000;
    char *text = malloc(size);
    struct hai_usage_scan us;
    size_t n;

    (void) state;

    assert_non_null(text);

    n = (size_t) snprintf(text, size, "{\"a\":");
    memset(text + n, '[', 100000);
    n += 100000;
    memset(text + n, ']', 100000);
    n += 100000;
    n += (size_t) snprintf(text + n, size - n, ",\"usage\"");
    memset(text + n, ' ', 5000);
    n += 5000;
    n += (size_t) snprintf(text + n, size - n, ":{\"input_tokens\":5}}");

    for (size_t step = 1; step < 5000; step = step * 3 + 1) {
        hai_usage_init(&us, HAI_USAGE_JSON);

        for (size_t at = 0; at < n; at += step) {
            hai_usage_feed(&us, text + at, n - at < step ? n - at : step);
        }

        assert_int_equal(us.usage.input_tokens, 5);
    }

    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openai_answers), cmocka_unit_test(anthropic_answers),
        cmocka_unit_test(streams),        cmocka_unit_test(lines_of_events),
        cmocka_unit_test(dull_events),    cmocka_unit_test(text_does_not_count),
        cmocka_unit_test(numbers),        cmocka_unit_test(backslashes),
        cmocka_unit_test(whole_answers),  cmocka_unit_test(whole_blocks),
        cmocka_unit_test(long_and_deep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
