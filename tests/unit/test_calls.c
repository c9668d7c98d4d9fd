/* SOURCES: common/hai_usage.c common/hai_usage_json.c common/hai_usage_whole.c common/hai_calls.c common/hai_sse.c */
/* LIBS: -lcmocka */

/*
 * Tool calls in answers as the providers' APIs document them, and in what
 * only looks like one, over every split.  Each input also goes through the
 * portable code path, which is compiled into this file under other names.
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

static void feed(struct hai_usage_scan *us, struct hai_usage_scan *portable,
                 const char *data, size_t n) {
    /* of exactly its size, so that a read outside is seen */
    void *copy = malloc(n > 0 ? n : 1);

    assert_non_null(copy);
    memcpy(copy, data, n);

    hai_usage_feed(us, copy, n);
    lower_usage_feed(portable, copy, n);

    free(copy);
}

static void check_calls(const struct hai_calls *calls, uint32_t count,
                        const char *names) {
    char text[HAI_CALLS_MAX_TEXT + 1];

    memcpy(text, calls->text, calls->text_len);
    text[calls->text_len] = '\0';

    assert_string_equal(text, names);
    assert_int_equal(calls->count, count);
}

/* Whole, byte by byte, in pieces of 7, and cut once at every place. */
static void check(enum hai_usage_kind kind, const char *text, uint32_t count,
                  const char *names) {
    size_t len = strlen(text);

    for (size_t cut = 0; cut <= len + 1; cut++) {
        struct hai_usage_scan us, portable;

        hai_usage_init(&us, kind);
        lower_usage_init(&portable, kind);

        if (cut < len) {
            feed(&us, &portable, text, cut);
            feed(&us, &portable, text + cut, len - cut);

        } else {
            size_t step = cut == len ? 1 : 7;

            for (size_t at = 0; at < len; at += step) {
                feed(&us, &portable, text + at,
                     len - at < step ? len - at : step);
            }
        }

        check_calls(&us.calls.calls, count, names);
        check_calls(&portable.calls.calls, count, names);
    }
}

#define JSON(text, count, names) check(HAI_USAGE_JSON, text, count, names)
#define SSE(text, count, names) check(HAI_USAGE_SSE, text, count, names)

static void openai_chat(void **state) {
    (void) state;

    JSON("{\n  \"id\": \"chatcmpl-abc123\",\n"
         "  \"object\": \"chat.completion\",\n  \"choices\": [\n    {\n"
         "      \"index\": 0,\n      \"message\": {\n"
         "        \"role\": \"assistant\",\n        \"content\": null,\n"
         "        \"tool_calls\": [\n          {\n"
         "            \"id\": \"call_abc123\",\n"
         "            \"type\": \"function\",\n            \"function\": {\n"
         "              \"name\": \"get_current_weather\",\n"
         "              \"arguments\": \"{\\n\\\"name\\\": \\\"Boston\\\"\\n}\""
         "\n            }\n          },\n          {\"type\": \"custom\", "
         "\"custom\": {\"input\": \"x\", \"name\": \"code_exec\"}},\n"
         "          {\"function\": {\"name\": \"get_current_weather\"}}\n"
         "        ]\n      },\n      \"finish_reason\": \"tool_calls\"\n"
         "    }\n  ],\n  \"usage\": {\"prompt_tokens\": 82}\n}\n",
         3, "get_current_weather code_exec");

    /* two choices, and the older form */
    JSON("{\"choices\":[{\"message\":{\"function_call\":{\"name\":\"old\","
         "\"arguments\":\"{}\"}}},{\"message\":{\"tool_calls\":[{\"function\":{"
         "\"name\":\"a.b:c/d-e_F9\"}}]}}]}",
         2, "old a.b:c/d-e_F9");

    JSON("{\"choices\":[{\"message\":{\"role\":\"assistant\",\"content\":"
         "\"No tools here, and that is all there is to be said\","
         "\"tool_calls\":null}}]}",
         0, "");
    JSON("{\"choices\":[{\"message\":{\"tool_calls\":[]}}]}", 0, "");
}

static void openai_chat_stream(void **state) {
    (void) state;

    SSE("data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\","
        "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\","
        "\"content\":null,\"tool_calls\":[{\"index\":0,\"id\":\"call_1\","
        "\"type\":\"function\",\"function\":{\"name\":\"get_weather\","
        "\"arguments\":\"\"}}],\"refusal\":null},\"finish_reason\":null}]}\n\n"
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{"
        "\"index\":0,\"function\":{\"arguments\":\"{\\\"name\\\":\"}}]}}]}\n\n"
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{"
        "\"index\":0,\"function\":{\"name\":\"\",\"arguments\":\"1}\"}}]}}]}"
        "\n\n"
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{"
        "\"index\":1,\"id\":\"call_2\",\"type\":\"function\",\"function\":{"
        "\"name\":\"get_time\",\"arguments\":\"\"}}]}}]}\n\n"
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":"
        "\"tool_calls\"}]}\n\ndata: [DONE]\n\n",
        2, "get_weather get_time");

    SSE("data: {\"choices\":[{\"delta\":{\"function_call\":{\"name\":\"old\"}}}"
        "]}\r\n\r\ndata: {\"choices\":[{\"delta\":{\"function_call\":{"
        "\"arguments\":\"{}\"}}}]}\r\n\r\n",
        1, "old");

    /* what belongs into a document does not count in an event */
    SSE("data: {\"choices\":[{\"message\":{\"tool_calls\":[{\"function\":{"
        "\"name\":\"a\"}}]}}]}\n\ndata: {\"content\":[{\"type\":\"tool_use\","
        "\"name\":\"a\"}]}\n\n",
        0, "");
    JSON("{\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"name\":"
         "\"a\"}}]}}],\"item\":{\"type\":\"function_call\",\"name\":\"a\"}}",
         0, "");
}

static void openai_responses(void **state) {
    (void) state;

    JSON("{\"id\":\"resp_1\",\"object\":\"response\",\"error\":null,"
         "\"output\":[{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[]},"
         "{\"id\":\"fc_1\",\"type\":\"function_call\",\"status\":\"completed\","
         "\"arguments\":\"{}\",\"call_id\":\"call_1\",\"name\":\"get_weather\"}"
         ",{\"name\":\"run\",\"input\":\"x\",\"type\":\"custom_tool_call\"},"
         "{\"type\":\"message\",\"name\":\"no\",\"content\":[{\"type\":"
         "\"function_call\",\"name\":\"no\"}]},{\"type\":\"web_search_call\","
         "\"name\":\"no\"}],\"parallel_tool_calls\":true,\"tools\":[{\"type\":"
         "\"function\",\"name\":\"get_weather\"}],\"usage\":{\"input_tokens\":5"
         "}}",
         2, "get_weather run");

    SSE("event: response.created\ndata: {\"type\":\"response.created\","
        "\"response\":{\"id\":\"resp_1\",\"output\":[],\"parallel_tool_calls\":"
        "true,\"tools\":[{\"type\":\"function\",\"name\":\"get_weather\"}]}}"
        "\n\nevent: response.output_item.added\ndata: {\"type\":"
        "\"response.output_item.added\",\"output_index\":0,\"item\":{\"id\":"
        "\"fc_1\",\"type\":\"function_call\",\"status\":\"in_progress\","
        "\"arguments\":\"\",\"call_id\":\"call_1\",\"name\":\"get_weather\"}}"
        "\n\ndata: {\"type\":\"response.function_call_arguments.delta\","
        "\"delta\":\"{}\"}\n\nevent: response.output_item.done\ndata: {\"type\""
        ":\"response.output_item.done\",\"item\":{\"type\":\"function_call\","
        "\"name\":\"get_weather\"}}\n\nevent: response.output_item.added\n"
        "data: {\"item\":{\"name\":\"run\",\"type\":\"custom_tool_call\"},\n"
        "data: \"type\":\"response.output_item.added\"}\n\n"
        "event: response.completed\ndata: {\"type\":\"response.completed\","
        "\"response\":{\"output\":[{\"type\":\"function_call\",\"name\":"
        "\"get_weather\"}],\"usage\":{\"input_tokens\":5}}}\n\n",
        2, "get_weather run");
}

static void anthropic_messages(void **state) {
    (void) state;

    JSON("{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\","
         "\"content\":[{\"type\":\"text\",\"text\":\"I'll check.\"},{\"type\":"
         "\"tool_use\",\"id\":\"toolu_1\",\"name\":\"get_weather\",\"input\":{"
         "\"name\":\"no\",\"type\":\"text\",\"content\":[{\"type\":"
         "\"tool_use\",\"name\":\"no\"}]}},{\"input\":{},\"name\":\"get_time\","
         "\"id\":\"toolu_2\",\"type\":\"tool_use\"},{\"type\":"
         "\"server_tool_use\",\"name\":\"web_search\"}],\"stop_reason\":"
         "\"tool_use\",\"usage\":{\"input_tokens\":5,\"output_tokens\":6}}",
         2, "get_weather get_time");

    SSE("event: message_start\ndata: {\"type\":\"message_start\",\"message\":{"
        "\"content\":[],\"usage\":{\"input_tokens\":5}}}\n\n"
        "event: content_block_start\ndata: {\"type\":\"content_block_start\","
        "\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
        "event: content_block_start\ndata: {\"type\":\"content_block_start\","
        "\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":"
        "\"toolu_1\",\"name\":\"get_weather\",\"input\":{}}}\n\n"
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\","
        "\"index\":1,\"delta\":{\"type\":\"input_json_delta\","
        "\"partial_json\":\"{\\\"type\\\":\\\"tool_use\\\"\"}}\n\n"
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{"
        "\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":9}}\n\n",
        1, "get_weather");
}

/* A model may write anything. */
static void text_does_not_count(void **state) {
    (void) state;

    JSON("{\"choices\":[{\"message\":{\"content\":\"\\\"},\\\"tool_calls\\\":[{"
         "\\\"function\\\":{\\\"name\\\":\\\"a\\\"}}]\",\"x\":\"tool_calls\"}}]"
         "}",
         0, "");
    JSON("{\"content\":[{\"type\":\"text\",\"text\":\"\\\\\",\"name\":"
         "\"tool_use\"},{\"type\":\"text\",\"text\":\"\\\\\\\",\\\"type\\\":"
         "\\\"tool_use\\\"\",\"name\":\"no\"}]}",
         0, "");
    SSE("data: {\"choices\":[{\"delta\":{\"content\":\"{\\\"tool_calls\\\":[{"
        "\\\"function\\\":{\\\"name\\\":\\\"a\\\"}}]}\"}}]}\n\n"
        "data: \"tool_calls\"\n\n: {\"choices\":[{\"delta\":{\"tool_calls\":[{"
        "\"function\":{\"name\":\"a\"}}]}}]}\n\n",
        0, "");

    /* at other places */
    JSON("{\"message\":{\"tool_calls\":[{\"function\":{\"name\":\"a\"}}]},"
         "\"choices\":{\"message\":{\"tool_calls\":[{\"function\":{\"name\":"
         "\"a\"}}]}},\"content\":{\"type\":\"tool_use\",\"name\":\"a\"},"
         "\"output\":[[{\"type\":\"function_call\",\"name\":\"a\"}]]}",
         0, "");
    JSON("[{\"content\":[{\"type\":\"tool_use\",\"name\":\"a\"}]}]", 0, "");
    JSON("{\"id\":\"one document and then another one that is not read\"}"
         "{\"content\":[{\"type\":\"tool_use\",\"name\":\"a\"}]}",
         0, "");
    JSON("{\"content\":[{\"type\":\"tool_use\",\"name\":\"a\"}},{\"type\":"
         "\"tool_use\",\"name\":\"b\"}]}",
         1, "a");
}

/* Counted, but left out. */
static void names(void **state) {
    (void) state;

#define CALL(name) "{\"type\":\"tool_use\",\"name\":" name "}"
#define TEN "0123456789"

    JSON("{\"content\":[" CALL("\"a b\"") "," CALL("\"a\\u0062\"") "," CALL(
             "\"\xc3\xa4\"") "," CALL("\"a\\\"b\"") "," CALL("\"\\\\\"") "]}",
         5, "");

    JSON("{\"content\":[" CALL("\"" TEN TEN TEN TEN TEN TEN "abcd\"") "," CALL(
             "\"" TEN TEN TEN TEN TEN TEN "abcde\"") "]}",
         2, TEN TEN TEN TEN TEN TEN "abcd");

    JSON("{\"content\":[" CALL("\"\"") "," CALL("null") "," CALL("5") "," CALL(
             "[\"a\"]") "," CALL("{\"name\":\"a\"}") ",{\"type\":\"tool_use\"},"
                                                     "{\"name\":\"a\"}]}",
         0, "");

    /* part of a name that is known */
    JSON("{\"content\":[" CALL("\"ab\"") "," CALL("\"a\"") "," CALL(
             "\"b\"") "," CALL("\"ab\"") "]}",
         4, "ab a b");

#undef CALL
#undef TEN
}

/* More names than are listed, and more text. */
static void bounds(void **state) {
    char text[4096];
    struct hai_usage_scan us, portable;
    size_t n;

    (void) state;

    for (int width = 2; width <= 60; width += 29) {
        n = (size_t) snprintf(text, sizeof(text), "{\"content\":[");

        for (int i = 0; i < 20; i++) {
            n += (size_t) snprintf(text + n, sizeof(text) - n,
                                   "{\"type\":\"tool_use\",\"name\":\"%0*d\"},",
                                   width, i);
        }

        n += (size_t) snprintf(text + n, sizeof(text) - n, "{}]}");

        hai_usage_init(&us, HAI_USAGE_JSON);
        lower_usage_init(&portable, HAI_USAGE_JSON);
        feed(&us, &portable, text, n);

        assert_int_equal(us.calls.calls.count, 20);
        assert_int_equal(us.calls.calls.names, width == 60 ? 8 : 16);
        assert_int_equal(us.calls.calls.text_len,
                         us.calls.calls.names * (width + 1) - 1);
        assert_memory_equal(us.calls.calls.text, portable.calls.calls.text,
                            us.calls.calls.text_len);
    }

    hai_usage_init(&us, HAI_USAGE_JSON);
    us.calls.calls.count = UINT32_MAX - 1;
    hai_usage_feed(&us, text, n);
    assert_int_equal(us.calls.calls.count, UINT32_MAX);
}

/* The word that tells of a call at each place of a whole answer. */
static void whole_blocks(void **state) {
    static const char *const calls[] = {
        "\"choices\":[{\"message\":{\"tool_calls\":[{\"function\":{\"name\":"
        "\"a\"}}]}}]",
        "\"choices\":[{\"message\":{\"function_call\":{\"name\":\"a\"}}}]",
        "\"output\":[{\"name\":\"a\",\"type\":\"custom_tool_call\"}]",
        "\"content\":[{\"type\":\"tool_use\",\"name\":\"a\"}]",
    };
    char text[512];

    (void) state;

    for (int before = 0; before < 140; before++) {
        for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
            struct hai_usage_scan us, portable;
            int n = snprintf(text, sizeof(text), "{\"x\":\"%*s\",%s}%*s",
                             before, "", calls[i], before % 7, "");

            hai_usage_init(&us, HAI_USAGE_JSON);
            lower_usage_init(&portable, HAI_USAGE_JSON);
            feed(&us, &portable, text, (size_t) n);
            check_calls(&us.calls.calls, 1, "a");
            check_calls(&portable.calls.calls, 1, "a");

            n = snprintf(text, sizeof(text), "{%s,\"x\":\"%*s\"}", calls[i],
                         before, "");

            hai_usage_init(&us, HAI_USAGE_JSON);
            lower_usage_init(&portable, HAI_USAGE_JSON);
            feed(&us, &portable, text, (size_t) n);
            check_calls(&us.calls.calls, 1, "a");
            check_calls(&portable.calls.calls, 1, "a");
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openai_chat),
        cmocka_unit_test(openai_chat_stream),
        cmocka_unit_test(openai_responses),
        cmocka_unit_test(anthropic_messages),
        cmocka_unit_test(text_does_not_count),
        cmocka_unit_test(names),
        cmocka_unit_test(bounds),
        cmocka_unit_test(whole_blocks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
