/* OpenAI's chat, completions and responses: events and whole answers. */

#include "api.h"

#include <stdio.h>

#include "json.h"

static void put_usage(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    HAI_SP_PUT(b, "{\"prompt_tokens\":");
    hai_sp_buf_putu(b, a->usage_in);
    HAI_SP_PUT(b, ",\"completion_tokens\":");
    hai_sp_buf_putu(b, a->usage_out);
    HAI_SP_PUT(b, ",\"total_tokens\":");
    hai_sp_buf_putu(b, a->usage_in + a->usage_out);
    HAI_SP_PUT(b, ",\"prompt_tokens_details\":{\"cached_tokens\":");
    hai_sp_buf_putu(b, a->usage_cached);
    HAI_SP_PUT(b, ",\"audio_tokens\":0},\"completion_tokens_details\":{"
                  "\"reasoning_tokens\":0,\"audio_tokens\":0,"
                  "\"accepted_prediction_tokens\":0,"
                  "\"rejected_prediction_tokens\":0}}");
}

static void put_model(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    HAI_SP_PUT(b, "\"model\":\"");
    hai_sp_buf_put(b, a->model.data, a->model.len);
    HAI_SP_PUT(b, "\"");
}

static void put_tool_name(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    hai_sp_buf_put(b, a->tool_name.data, a->tool_name.len);
}

/* CLOCK_MONOTONIC inside the delta's text */
static void put_clock(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    if (a->clock) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        HAI_SP_PUT(b, "@");
        hai_sp_buf_putu(b, (uint64_t) ts.tv_sec * 1000000000
                               + (uint64_t) ts.tv_nsec);
        HAI_SP_PUT(b, "@");
    }
}

static void put_error(struct hai_sp_answer *a) {
    HAI_SP_PUT(&a->pre, "data: {\"error\":{\"message\":\"The sample provider "
                        "was asked to fail.\",\"type\":\"server_error\","
                        "\"param\":null,\"code\":\"server_error\"}}\n\n");
}

static void put_id(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    HAI_SP_PUT(b, "{\"id\":\"");
    hai_sp_buf_puts(b, a->id);
    HAI_SP_PUT(b, "\",");
}

static void put_created(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    HAI_SP_PUT(b, "\"created\":");
    hai_sp_buf_putu(b, (uint64_t) a->created);
    HAI_SP_PUT(b, ",");
    put_model(a, b);
}

/* chat/completions */

static void chat_whole(struct hai_sp_answer *a) {
    struct hai_sp_buf *b = &a->pre;

    put_id(a, b);
    HAI_SP_PUT(b, "\"object\":\"chat.completion\",");
    put_created(a, b);
    HAI_SP_PUT(b, ",\"choices\":[{\"index\":0,\"message\":"
                  "{\"role\":\"assistant\",");
    if (a->tool) {
        HAI_SP_PUT(b, "\"content\":null,\"refusal\":null,\"annotations\":[],"
                      "\"tool_calls\":[{\"id\":\"");
        hai_sp_buf_puts(b, a->call_id);
        HAI_SP_PUT(b, "\",\"type\":\"function\",\"function\":{\"name\":\"");
        put_tool_name(a, b);
        HAI_SP_PUT(b, "\",\"arguments\":\"");
        b = &a->post;
        HAI_SP_PUT(b, "\"}}]},\"logprobs\":null,"
                      "\"finish_reason\":\"tool_calls\"}]");
    } else {
        HAI_SP_PUT(b, "\"content\":\"");
        b = &a->post;
        HAI_SP_PUT(b, "\",\"refusal\":null,\"annotations\":[]},"
                      "\"logprobs\":null,\"finish_reason\":\"stop\"}]");
    }
    if (a->usage) {
        HAI_SP_PUT(b, ",\"usage\":");
        put_usage(a, b);
    }
    HAI_SP_PUT(b, ",\"service_tier\":\"default\","
                  "\"system_fingerprint\":\"fp_sample\"}");
}

static void chat_head(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    HAI_SP_PUT(b, "data: ");
    put_id(a, b);
    HAI_SP_PUT(b, "\"object\":\"chat.completion.chunk\",");
    put_created(a, b);
    HAI_SP_PUT(b, ",\"service_tier\":\"default\","
                  "\"system_fingerprint\":\"fp_sample\",\"choices\":[");
}

static void chat_tail(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    if (a->usage && a->usage_event) {
        HAI_SP_PUT(b, "],\"usage\":null}\n\n");
    } else {
        HAI_SP_PUT(b, "]}\n\n");
    }
}

static void chat_open(struct hai_sp_answer *a) {
    struct hai_sp_buf *b = &a->pre;

    chat_head(a, b);
    HAI_SP_PUT(b, "{\"index\":0,\"delta\":{\"role\":\"assistant\",");
    if (a->tool) {
        HAI_SP_PUT(b, "\"content\":null,\"tool_calls\":[{\"index\":0,"
                      "\"id\":\"");
        hai_sp_buf_puts(b, a->call_id);
        HAI_SP_PUT(b, "\",\"type\":\"function\",\"function\":{\"name\":\"");
        put_tool_name(a, b);
        HAI_SP_PUT(b, "\",\"arguments\":\"\"}}],\"refusal\":null}");
    } else {
        HAI_SP_PUT(b, "\"content\":\"\",\"refusal\":null}");
    }
    HAI_SP_PUT(b, ",\"logprobs\":null,\"finish_reason\":null}");
    chat_tail(a, b);
}

static void chat_delta(struct hai_sp_answer *a) {
    struct hai_sp_buf *b = &a->pre;

    chat_head(a, b);
    if (a->tool) {
        HAI_SP_PUT(b, "{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,"
                      "\"function\":{\"arguments\":\"");
        b = &a->post;
        HAI_SP_PUT(b, "\"}}]},\"logprobs\":null,\"finish_reason\":null}");
    } else {
        HAI_SP_PUT(b, "{\"index\":0,\"delta\":{\"content\":\"");
        put_clock(a, b);
        b = &a->post;
        HAI_SP_PUT(b, "\"},\"logprobs\":null,\"finish_reason\":null}");
    }
    chat_tail(a, b);
}

static void chat_close(struct hai_sp_answer *a) {
    struct hai_sp_buf *b = &a->pre;

    chat_head(a, b);
    HAI_SP_PUT(b, "{\"index\":0,\"delta\":{},\"logprobs\":null,"
                  "\"finish_reason\":\"");
    hai_sp_buf_puts(b, a->tool ? "tool_calls" : "stop");
    HAI_SP_PUT(b, "\"}");
    chat_tail(a, b);
    if (a->usage && a->usage_event) {
        chat_head(a, b);
        HAI_SP_PUT(b, "],\"usage\":");
        put_usage(a, b);
        HAI_SP_PUT(b, "}\n\n");
    }
    HAI_SP_PUT(b, "data: [DONE]\n\n");
    a->step = HAI_SP_STEP_DONE;
}

const struct hai_sp_format hai_sp_openai_chat = {
    chat_whole, chat_open, chat_delta, chat_close, put_error,
};

/* completions */

static void text_head(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    put_id(a, b);
    HAI_SP_PUT(b, "\"object\":\"text_completion\",");
    put_created(a, b);
    HAI_SP_PUT(b, ",\"system_fingerprint\":\"fp_sample\",\"choices\":[");
}

static void text_whole(struct hai_sp_answer *a) {
    text_head(a, &a->pre);
    HAI_SP_PUT(&a->pre, "{\"text\":\"");
    HAI_SP_PUT(&a->post, "\",\"index\":0,\"logprobs\":null,"
                         "\"finish_reason\":\"stop\"}]");
    if (a->usage) {
        HAI_SP_PUT(&a->post, ",\"usage\":");
        put_usage(a, &a->post);
    }
    HAI_SP_PUT(&a->post, "}");
}

static void text_open(struct hai_sp_answer *a) {
    (void) a; /* this API has no opening event */
}

static void text_delta(struct hai_sp_answer *a) {
    HAI_SP_PUT(&a->pre, "data: ");
    text_head(a, &a->pre);
    HAI_SP_PUT(&a->pre, "{\"text\":\"");
    put_clock(a, &a->pre);
    HAI_SP_PUT(&a->post, "\",\"index\":0,\"logprobs\":null,"
                         "\"finish_reason\":null}");
    chat_tail(a, &a->post);
}

static void text_close(struct hai_sp_answer *a) {
    struct hai_sp_buf *b = &a->pre;

    HAI_SP_PUT(b, "data: ");
    text_head(a, b);
    HAI_SP_PUT(b, "{\"text\":\"\",\"index\":0,\"logprobs\":null,"
                  "\"finish_reason\":\"stop\"}");
    chat_tail(a, b);
    if (a->usage && a->usage_event) {
        HAI_SP_PUT(b, "data: ");
        text_head(a, b);
        HAI_SP_PUT(b, "],\"usage\":");
        put_usage(a, b);
        HAI_SP_PUT(b, "}\n\n");
    }
    HAI_SP_PUT(b, "data: [DONE]\n\n");
    a->step = HAI_SP_STEP_DONE;
}

const struct hai_sp_format hai_sp_openai_completion = {
    text_whole, text_open, text_delta, text_close, put_error,
};

/* responses */

static void response_usage(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    if (!a->usage) {
        HAI_SP_PUT(b, "null");
        return;
    }
    HAI_SP_PUT(b, "{\"input_tokens\":");
    hai_sp_buf_putu(b, a->usage_in);
    HAI_SP_PUT(b, ",\"input_tokens_details\":{\"cached_tokens\":");
    hai_sp_buf_putu(b, a->usage_cached);
    HAI_SP_PUT(b, "},\"output_tokens\":");
    hai_sp_buf_putu(b, a->usage_out);
    HAI_SP_PUT(b, ",\"output_tokens_details\":{\"reasoning_tokens\":0},"
                  "\"total_tokens\":");
    hai_sp_buf_putu(b, a->usage_in + a->usage_out);
    HAI_SP_PUT(b, "}");
}

/* The response object up to the inside of "output". */
static void response_head(struct hai_sp_answer *a, struct hai_sp_buf *b,
                          const char *status) {
    put_id(a, b);
    HAI_SP_PUT(b, "\"object\":\"response\",\"created_at\":");
    hai_sp_buf_putu(b, (uint64_t) a->created);
    hai_sp_buf_printf(b, ",\"status\":\"%s\",", status);
    HAI_SP_PUT(b, "\"background\":false,\"error\":null,"
                  "\"incomplete_details\":null,\"instructions\":null,"
                  "\"max_output_tokens\":null,\"metadata\":{},"
                  "\"parallel_tool_calls\":true,"
                  "\"previous_response_id\":null,"
                  "\"reasoning\":{\"effort\":null,\"summary\":null},"
                  "\"service_tier\":\"default\",\"store\":true,"
                  "\"temperature\":1.0,"
                  "\"text\":{\"format\":{\"type\":\"text\"}},"
                  "\"tool_choice\":\"auto\",\"tools\":[],\"top_p\":1.0,"
                  "\"truncation\":\"disabled\",\"user\":null,");
    put_model(a, b);
    HAI_SP_PUT(b, ",\"output\":[");
}

static void response_tail(struct hai_sp_answer *a, struct hai_sp_buf *b,
                          bool usage) {
    HAI_SP_PUT(b, "],\"usage\":");
    if (usage) {
        response_usage(a, b);
    } else {
        HAI_SP_PUT(b, "null");
    }
    HAI_SP_PUT(b, "}");
}

/* An output item up to where its text goes. */
static void item_head(struct hai_sp_answer *a, struct hai_sp_buf *b,
                      const char *status) {
    if (a->tool) {
        hai_sp_buf_printf(b,
                          "{\"id\":\"fc_%s\",\"type\":\"function_call\","
                          "\"status\":\"%s\",\"call_id\":\"%s\",\"name\":\"",
                          a->id + 5, status, a->call_id);
        put_tool_name(a, b);
        HAI_SP_PUT(b, "\",\"arguments\":\"");
    } else {
        hai_sp_buf_printf(b,
                          "{\"id\":\"msg_%s\",\"type\":\"message\","
                          "\"status\":\"%s\",\"role\":\"assistant\","
                          "\"content\":[{\"type\":\"output_text\","
                          "\"annotations\":[],\"logprobs\":[],\"text\":\"",
                          a->id + 5, status);
    }
}

static void item_tail(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    if (a->tool) {
        HAI_SP_PUT(b, "\"}");
    } else {
        HAI_SP_PUT(b, "\"}]}");
    }
}

static void response_whole(struct hai_sp_answer *a) {
    response_head(a, &a->pre, "completed");
    item_head(a, &a->pre, "completed");
    item_tail(a, &a->post);
    response_tail(a, &a->post, true);
}

static void response_event(struct hai_sp_answer *a, struct hai_sp_buf *b,
                           const char *name) {
    hai_sp_buf_printf(b,
                      "event: response.%s\ndata: {\"type\":\"response.%s\","
                      "\"sequence_number\":%u,",
                      name, name, a->seq++);
}

static void response_state(struct hai_sp_answer *a, const char *name) {
    response_event(a, &a->pre, name);
    HAI_SP_PUT(&a->pre, "\"response\":");
    response_head(a, &a->pre, "in_progress");
    response_tail(a, &a->pre, false);
    HAI_SP_PUT(&a->pre, "}\n\n");
}

/* item_id and the place of the text */
static void response_place(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    hai_sp_buf_printf(b, "\"item_id\":\"%s_%s\",\"output_index\":0,",
                      a->tool ? "fc" : "msg", a->id + 5);
    if (!a->tool) {
        HAI_SP_PUT(b, "\"content_index\":0,");
    }
}

static void response_open(struct hai_sp_answer *a) {
    struct hai_sp_buf *b = &a->pre;

    response_state(a, "created");
    response_state(a, "in_progress");
    response_event(a, b, "output_item.added");
    HAI_SP_PUT(b, "\"output_index\":0,\"item\":");
    if (a->tool) {
        item_head(a, b, "in_progress");
        item_tail(a, b);
        HAI_SP_PUT(b, "}\n\n");
        return;
    }
    hai_sp_buf_printf(b,
                      "{\"id\":\"msg_%s\",\"type\":\"message\","
                      "\"status\":\"in_progress\",\"role\":\"assistant\","
                      "\"content\":[]}}\n\n",
                      a->id + 5);
    response_event(a, b, "content_part.added");
    response_place(a, b);
    HAI_SP_PUT(b, "\"part\":{\"type\":\"output_text\",\"annotations\":[],"
                  "\"logprobs\":[],\"text\":\"\"}}\n\n");
}

static void response_delta(struct hai_sp_answer *a) {
    response_event(a, &a->pre,
                   a->tool ? "function_call_arguments.delta"
                           : "output_text.delta");
    response_place(a, &a->pre);
    if (a->tool) {
        HAI_SP_PUT(&a->pre, "\"delta\":\"");
    } else {
        HAI_SP_PUT(&a->pre, "\"logprobs\":[],\"delta\":\"");
    }
    put_clock(a, &a->pre);
    HAI_SP_PUT(&a->post, "\"}\n\n");
}

/* Four events say the whole text once more each. */
static void response_close(struct hai_sp_answer *a) {
    struct hai_sp_buf *pre = &a->pre;
    struct hai_sp_buf *post = &a->post;

    a->from = 0;
    a->to = a->text.len;
    switch (a->closing++) {
    case 0:
        if (a->tool) {
            response_event(a, pre, "function_call_arguments.done");
            response_place(a, pre);
            HAI_SP_PUT(pre, "\"name\":\"");
            put_tool_name(a, pre);
            HAI_SP_PUT(pre, "\",\"arguments\":\"");
            a->closing++; /* there is no content part */
        } else {
            response_event(a, pre, "output_text.done");
            response_place(a, pre);
            HAI_SP_PUT(pre, "\"logprobs\":[],\"text\":\"");
        }
        HAI_SP_PUT(post, "\"}\n\n");
        break;

    case 1:
        response_event(a, pre, "content_part.done");
        response_place(a, pre);
        HAI_SP_PUT(pre, "\"part\":{\"type\":\"output_text\","
                        "\"annotations\":[],\"logprobs\":[],\"text\":\"");
        HAI_SP_PUT(post, "\"}}\n\n");
        break;

    case 2:
        response_event(a, pre, "output_item.done");
        HAI_SP_PUT(pre, "\"output_index\":0,\"item\":");
        item_head(a, pre, "completed");
        item_tail(a, post);
        HAI_SP_PUT(post, "}\n\n");
        break;

    default:
        response_event(a, pre, "completed");
        HAI_SP_PUT(pre, "\"response\":");
        response_head(a, pre, "completed");
        item_head(a, pre, "completed");
        item_tail(a, post);
        response_tail(a, post, true);
        HAI_SP_PUT(post, "}\n\n");
        a->step = HAI_SP_STEP_DONE;
        break;
    }
}

static void response_error(struct hai_sp_answer *a) {
    hai_sp_buf_printf(&a->pre,
                      "event: error\ndata: {\"type\":\"error\","
                      "\"sequence_number\":%u,\"code\":\"server_error\","
                      "\"message\":\"The sample provider was asked to "
                      "fail.\",\"param\":null}\n\n",
                      a->seq++);
}

const struct hai_sp_format hai_sp_openai_response = {
    response_whole, response_open,  response_delta,
    response_close, response_error,
};
