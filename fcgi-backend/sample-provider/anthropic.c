/* Messages of Anthropic: the events of a stream, and the whole answer. */

#include "api.h"

static void put_usage(struct hai_sp_answer *a, struct hai_sp_buf *b,
                      uint64_t out) {
    HAI_SP_PUT(b, "{\"input_tokens\":");
    hai_sp_buf_putu(b, a->usage_in);
    HAI_SP_PUT(b, ",\"cache_creation_input_tokens\":0,"
                  "\"cache_read_input_tokens\":");
    hai_sp_buf_putu(b, a->usage_cached);
    HAI_SP_PUT(b, ",\"output_tokens\":");
    hai_sp_buf_putu(b, out);
    HAI_SP_PUT(b, ",\"service_tier\":\"standard\"}");
}

/* The message object up to the inside of "content". */
static void message_head(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    HAI_SP_PUT(b, "{\"id\":\"");
    hai_sp_buf_puts(b, a->id);
    HAI_SP_PUT(b, "\",\"type\":\"message\",\"role\":\"assistant\","
                  "\"model\":\"");
    hai_sp_buf_put(b, a->model.data, a->model.len);
    HAI_SP_PUT(b, "\",\"content\":[");
}

static void tool_head(struct hai_sp_answer *a, struct hai_sp_buf *b) {
    HAI_SP_PUT(b, "{\"type\":\"tool_use\",\"id\":\"");
    hai_sp_buf_puts(b, a->call_id);
    HAI_SP_PUT(b, "\",\"name\":\"");
    hai_sp_buf_put(b, a->tool_name.data, a->tool_name.len);
    HAI_SP_PUT(b, "\",\"input\":");
}

static void message_whole(struct hai_sp_answer *a) {
    struct hai_sp_buf *b = &a->pre;

    message_head(a, b);
    if (a->tool) {
        tool_head(a, b);
        a->raw = true;
        b = &a->post;
        HAI_SP_PUT(b, "}],\"stop_reason\":\"tool_use\"");
    } else {
        HAI_SP_PUT(b, "{\"type\":\"text\",\"text\":\"");
        b = &a->post;
        HAI_SP_PUT(b, "\"}],\"stop_reason\":\"end_turn\"");
    }
    HAI_SP_PUT(b, ",\"stop_sequence\":null");
    if (a->usage) {
        HAI_SP_PUT(b, ",\"usage\":");
        put_usage(a, b, a->usage_out);
    }
    HAI_SP_PUT(b, "}");
}

static void message_open(struct hai_sp_answer *a) {
    struct hai_sp_buf *b = &a->pre;

    HAI_SP_PUT(b, "event: message_start\n"
                  "data: {\"type\":\"message_start\",\"message\":");
    message_head(a, b);
    HAI_SP_PUT(b, "],\"stop_reason\":null,\"stop_sequence\":null");
    if (a->usage) {
        HAI_SP_PUT(b, ",\"usage\":");
        put_usage(a, b, 1);
    }
    HAI_SP_PUT(b, "}}\n\n"
                  "event: content_block_start\n"
                  "data: {\"type\":\"content_block_start\",\"index\":0,"
                  "\"content_block\":");
    if (a->tool) {
        tool_head(a, b);
        HAI_SP_PUT(b, "{}}");
    } else {
        HAI_SP_PUT(b, "{\"type\":\"text\",\"text\":\"\"}");
    }
    HAI_SP_PUT(b, "}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n");
}

static void message_delta(struct hai_sp_answer *a) {
    struct hai_sp_buf *b = &a->pre;

    HAI_SP_PUT(b, "event: content_block_delta\n"
                  "data: {\"type\":\"content_block_delta\",\"index\":0,"
                  "\"delta\":{\"type\":\"");
    if (a->tool) {
        HAI_SP_PUT(b, "input_json_delta\",\"partial_json\":\"");
    } else {
        HAI_SP_PUT(b, "text_delta\",\"text\":\"");
    }
    if (a->clock) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        HAI_SP_PUT(b, "@");
        hai_sp_buf_putu(b, (uint64_t) ts.tv_sec * 1000000000
                               + (uint64_t) ts.tv_nsec);
        HAI_SP_PUT(b, "@");
    }
    HAI_SP_PUT(&a->post, "\"}}\n\n");
}

static void message_close(struct hai_sp_answer *a) {
    struct hai_sp_buf *b = &a->pre;

    HAI_SP_PUT(b, "event: content_block_stop\n"
                  "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
                  "event: message_delta\n"
                  "data: {\"type\":\"message_delta\",\"delta\":"
                  "{\"stop_reason\":\"");
    hai_sp_buf_puts(b, a->tool ? "tool_use" : "end_turn");
    HAI_SP_PUT(b, "\",\"stop_sequence\":null}");
    if (a->usage) {
        HAI_SP_PUT(b, ",\"usage\":{\"output_tokens\":");
        hai_sp_buf_putu(b, a->usage_out);
        HAI_SP_PUT(b, "}");
    }
    HAI_SP_PUT(b, "}\n\nevent: message_stop\n"
                  "data: {\"type\":\"message_stop\"}\n\n");
    a->step = HAI_SP_STEP_DONE;
}

static void message_error(struct hai_sp_answer *a) {
    HAI_SP_PUT(&a->pre, "event: error\n"
                        "data: {\"type\":\"error\",\"error\":{\"type\":"
                        "\"overloaded_error\",\"message\":\"The sample "
                        "provider was asked to fail.\"},\"request_id\":\"");
    hai_sp_buf_puts(&a->pre, a->request_id);
    HAI_SP_PUT(&a->pre, "\"}\n\n");
}

const struct hai_sp_format hai_sp_anthropic_message = {
    message_whole, message_open, message_delta, message_close, message_error,
};
