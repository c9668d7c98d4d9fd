/* From a request to an answer, see api.h: key, path, and what was asked for. */

#include "api.h"

#include <jansson.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "json.h"

#define MAX_ITEMS 4096
#define MAX_DIMENSIONS 4096

/* What a handler works with. */
struct call {
    struct hai_sp_answer *a;
    const struct hai_sp_request *r;
    const struct hai_sp_control *c;
    struct hai_sp_ids *ids;
    struct hai_sp_slice key;
    struct hai_sp_slice id; /* what stands for "*" in the route */
    struct hai_sp_facts facts;
};

int hai_sp_ids_init(struct hai_sp_ids *ids) {
    return getrandom(&ids->state, sizeof(ids->state), 0)
                   == (ssize_t) sizeof(ids->state)
               ? 0
               : -1;
}

/* splitmix64: ids need to differ, not to be secret */
static uint64_t next_random(struct hai_sp_ids *ids) {
    uint64_t z = (ids->state += UINT64_C(0x9E3779B97F4A7C15));

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* prefix and 24 characters */
static void make_id(struct hai_sp_ids *ids, char out[40], const char *prefix) {
    static const char set[] =
        "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    size_t n = strlen(prefix);
    uint64_t bits = 0;
    int i;

    memcpy(out, prefix, n);
    for (i = 0; i < 24; i++) {
        if (i % 10 == 0) {
            bits = next_random(ids);
        }
        out[n++] = set[bits % 62];
        bits /= 64;
    }
    out[n] = '\0';
}

struct hai_sp_slice hai_sp_api_path(const struct hai_sp_request *r) {
    struct hai_sp_slice s = hai_sp_slice(r, r->uri);
    const char *query = memchr(s.p, '?', s.n);

    if (query != NULL) {
        s.n = (size_t) (query - s.p);
    }
    return s;
}

/* The path behind the last "/v1/", or behind the first slash. */
static struct hai_sp_slice route_of(const struct hai_sp_request *r) {
    struct hai_sp_slice s = hai_sp_api_path(r);
    size_t i;

    for (i = s.n; i >= 4; i--) {
        if (memcmp(s.p + i - 4, "/v1/", 4) == 0) {
            s.p += i;
            s.n -= i;
            return s;
        }
    }
    if (s.n > 0 && s.p[0] == '/') {
        s.p++;
        s.n--;
    }
    return s;
}

struct hai_sp_slice hai_sp_api_key(const struct hai_sp_request *r) {
    static const char *const names[] = {"x-api-key", "api-key"};
    struct hai_sp_slice s = hai_sp_http_header(r, "authorization");
    size_t i;

    if (s.n > 7 && strncasecmp(s.p, "bearer ", 7) == 0) {
        s.p += 7;
        s.n -= 7;
        while (s.n > 0 && *s.p == ' ') {
            s.p++;
            s.n--;
        }
        return s;
    }
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        s = hai_sp_http_header(r, names[i]);
        if (s.n > 0) {
            return s;
        }
    }
    return (struct hai_sp_slice){"", 0};
}

static bool key_known(const struct hai_sp_keys *keys, struct hai_sp_slice s) {
    size_t i;

    if (keys->count == 0) {
        return true;
    }
    for (i = 0; i < keys->count; i++) {
        if (strlen(keys->key[i]) == s.n
            && CRYPTO_memcmp(keys->key[i], s.p, s.n) == 0) {
            return true;
        }
    }
    return false;
}

static const char *error_type(bool anthropic, int status) {
    switch (status) {
    case 401:
        return anthropic ? "authentication_error" : "invalid_request_error";
    case 403:
        return "permission_error";
    case 404:
        return anthropic ? "not_found_error" : "invalid_request_error";
    case 413:
        return anthropic ? "request_too_large" : "invalid_request_error";
    case 429:
        return anthropic ? "rate_limit_error" : "requests";
    case 504:
        return anthropic ? "timeout_error" : "server_error";
    case 529:
        return anthropic ? "overloaded_error" : "server_error";
    default:
        break;
    }
    if (status >= 500) {
        return anthropic ? "api_error" : "server_error";
    }
    return "invalid_request_error";
}

static const char *error_code(int status) {
    switch (status) {
    case 401:
        return "\"invalid_api_key\"";
    case 404:
        return "\"not_found\"";
    case 429:
        return "\"rate_limit_exceeded\"";
    default:
        return "null";
    }
}

/* The message is printed as it is: a literal without quotes in it. */
static void set_error(struct hai_sp_answer *a, int status,
                      const char *message) {
    const char *type = error_type(a->anthropic, status);

    a->format = NULL;
    a->stream = false;
    a->status = status;
    a->content_type = "application/json";
    hai_sp_buf_clear(&a->pre);
    if (a->anthropic) {
        hai_sp_buf_printf(&a->pre,
                          "{\"type\":\"error\",\"error\":{\"type\":\"%s\","
                          "\"message\":\"%s\"},\"request_id\":\"%s\"}",
                          type, message, a->request_id);
    } else {
        hai_sp_buf_printf(&a->pre,
                          "{\"error\":{\"message\":\"%s\",\"type\":\"%s\","
                          "\"param\":null,\"code\":%s}}",
                          message, type, error_code(status));
    }
}

static bool is_multipart(const struct hai_sp_request *r) {
    struct hai_sp_slice type = hai_sp_http_header(r, "content-type");

    return type.n >= 10 && strncasecmp(type.p, "multipart/", 10) == 0;
}

/* Scans the body of a JSON route and notes the model; false: refused. */
static bool read_body(struct call *x) {
    struct hai_sp_slice body = hai_sp_request_body(x->r);
    struct hai_sp_slice model;

    if (is_multipart(x->r)) {
        HAI_SP_PUT(&x->a->model, "sample-model");
        return true;
    }
    if (hai_sp_json_scan(body.p, body.n, &x->facts) != 0) {
        set_error(x->a, 400,
                  "We could not parse the JSON body of your request.");
        return false;
    }
    model = x->facts.top[HAI_SP_KEY_MODEL];
    if (model.n >= 2 && model.p[0] == '"') {
        /* it is escaped as its sender escaped it */
        hai_sp_buf_put(&x->a->model, model.p + 1, model.n - 2);
    } else {
        HAI_SP_PUT(&x->a->model, "sample-model");
    }
    return true;
}

static bool is_true(struct hai_sp_slice s) {
    return s.n == 4 && memcmp(s.p, "true", 4) == 0;
}

static bool wants_usage(struct hai_sp_slice options) {
    json_t *root;
    bool yes;

    if (options.p == NULL) {
        return false;
    }
    root = json_loadb(options.p, options.n, JSON_DECODE_ANY, NULL);
    yes = json_is_true(json_object_get(root, "include_usage"));
    json_decref(root);
    return yes;
}

/* The four APIs that speak. */
static void speak(struct call *x, const struct hai_sp_format *format,
                  const char *prefix, const char *call_prefix) {
    struct hai_sp_answer *a = x->a;

    if (!read_body(x)) {
        return;
    }
    make_id(x->ids, a->id, prefix);
    a->stream = is_true(x->facts.top[HAI_SP_KEY_STREAM]);
    a->usage_event = wants_usage(x->facts.top[HAI_SP_KEY_STREAM_OPTIONS]);
    if (call_prefix != NULL) {
        make_id(x->ids, a->call_id, call_prefix);
        hai_sp_tool(a, x->c, &x->facts);
    }
    if (hai_sp_answer_text(a, x->c, x->r, x->key) != 0) {
        a->pre.failed = true;
        return;
    }
    a->format = format;
    if (a->stream) {
        a->content_type = "text/event-stream; charset=utf-8";
    } else {
        format->whole(a);
    }
}

static void post_chat(struct call *x) {
    speak(x, &hai_sp_openai_chat, "chatcmpl-", "call_");
}

static void post_completions(struct call *x) {
    speak(x, &hai_sp_openai_completion, "cmpl-", NULL);
}

static void post_responses(struct call *x) {
    speak(x, &hai_sp_openai_response, "resp_", "call_");
}

static void post_messages(struct call *x) {
    speak(x, &hai_sp_anthropic_message, "msg_", "toolu_");
}

static void count_tokens(struct call *x) {
    if (read_body(x)) {
        uint64_t n = x->c->usage_given ? x->c->usage_in
                                       : (hai_sp_request_body(x->r).n + 3) / 4;

        hai_sp_buf_printf(&x->a->pre, "{\"input_tokens\":%llu}",
                          (unsigned long long) n);
    }
}

static void put_id(struct call *x, struct hai_sp_buf *b) {
    hai_sp_json_escape(b, x->id.p, x->id.n);
}

/* A stored response: the same object that was made once, with this id. */
static void get_response(struct call *x) {
    struct hai_sp_answer *a = x->a;

    if (x->id.n < 6 || x->id.n >= sizeof(a->id)
        || memcmp(x->id.p, "resp_", 5) != 0) {
        set_error(a, 404, "Response not found.");
        return;
    }
    HAI_SP_PUT(&a->model, "sample-model");
    memcpy(a->id, x->id.p, x->id.n);
    a->id[x->id.n] = '\0';
    if (hai_sp_answer_text(a, x->c, x->r, x->key) != 0) {
        a->pre.failed = true;
        return;
    }
    a->format = &hai_sp_openai_response;
    a->format->whole(a);
}

static void delete_object(struct call *x, const char *object) {
    HAI_SP_PUT(&x->a->pre, "{\"id\":\"");
    put_id(x, &x->a->pre);
    hai_sp_buf_printf(&x->a->pre, "\",\"object\":\"%s\",\"deleted\":true}",
                      object);
}

static void delete_response(struct call *x) {
    delete_object(x, "response");
}

static void delete_file(struct call *x) {
    delete_object(x, "file");
}

static void get_input_items(struct call *x) {
    HAI_SP_PUT(&x->a->pre, "{\"object\":\"list\",\"data\":[],"
                           "\"first_id\":null,\"last_id\":null,"
                           "\"has_more\":false}");
}

static const char *const models[] = {
    "gpt-4o",
    "gpt-4o-mini",
    "claude-sample",
    "sample-model",
};

static void put_model(struct call *x, const char *p, size_t n) {
    struct hai_sp_buf *b = &x->a->pre;

    if (x->a->anthropic) {
        HAI_SP_PUT(b, "{\"type\":\"model\",\"id\":\"");
        hai_sp_json_escape(b, p, n);
        HAI_SP_PUT(b, "\",\"display_name\":\"");
        hai_sp_json_escape(b, p, n);
        HAI_SP_PUT(b, "\",\"created_at\":\"2025-01-01T00:00:00Z\"}");
    } else {
        HAI_SP_PUT(b, "{\"id\":\"");
        hai_sp_json_escape(b, p, n);
        HAI_SP_PUT(b, "\",\"object\":\"model\",\"created\":1735689600,"
                      "\"owned_by\":\"sample\"}");
    }
}

static void get_models(struct call *x) {
    struct hai_sp_buf *b = &x->a->pre;
    const size_t count = sizeof(models) / sizeof(models[0]);
    size_t i;

    hai_sp_buf_puts(b, x->a->anthropic ? "{\"data\":["
                                       : "{\"object\":\"list\",\"data\":[");
    for (i = 0; i < count; i++) {
        if (i > 0) {
            HAI_SP_PUT(b, ",");
        }
        put_model(x, models[i], strlen(models[i]));
    }
    if (x->a->anthropic) {
        hai_sp_buf_printf(b,
                          "],\"has_more\":false,\"first_id\":\"%s\","
                          "\"last_id\":\"%s\"}",
                          models[0], models[count - 1]);
    } else {
        HAI_SP_PUT(b, "]}");
    }
}

static int hex_digit(char c) {
    const char *set = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(set, c | 0x20) : NULL;

    return at != NULL ? (int) (at - set) : -1;
}

/* SDKs send the slash of a model's name as %2F. */
static void get_model(struct call *x) {
    struct hai_sp_buf *name = &x->a->model;
    size_t i;

    for (i = 0; i < x->id.n; i++) {
        char c = x->id.p[i];

        if (c == '%' && x->id.n - i > 2 && hex_digit(x->id.p[i + 1]) >= 0
            && hex_digit(x->id.p[i + 2]) >= 0)
        {
            c = (char) (hex_digit(x->id.p[i + 1]) * 16
                        + hex_digit(x->id.p[i + 2]));
            i += 2;
        }
        hai_sp_buf_put(name, &c, 1);
    }
    if (name->failed) {
        x->a->pre.failed = true;
        return;
    }
    put_model(x, name->data, name->len);
}

/* A string counts once, an array by its strings or token arrays. */
static size_t count_items(json_t *input) {
    size_t n = json_array_size(input);

    if (n == 0 || json_is_integer(json_array_get(input, 0))) {
        return 1;
    }
    return n < MAX_ITEMS ? n : MAX_ITEMS;
}

/* Little-endian floats of one value as base64, the SDK's own default. */
static void put_vector(struct hai_sp_buf *b, size_t dimensions, bool base64) {
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                              "abcdefghijklmnopqrstuvwxyz0123456789+/";
    static const unsigned char half[4] = {0x00, 0x00, 0x00, 0x3f};
    size_t bytes = dimensions * 4;
    size_t i;

    if (!base64) {
        HAI_SP_PUT(b, "[");
        for (i = 0; i < dimensions; i++) {
            hai_sp_buf_puts(b, i > 0 ? ",0.5" : "0.5");
        }
        HAI_SP_PUT(b, "]");
        return;
    }
    HAI_SP_PUT(b, "\"");
    for (i = 0; i < bytes; i += 3) {
        unsigned v = (unsigned) half[i % 4] << 16;
        char out[4];

        if (i + 1 < bytes) {
            v |= (unsigned) half[(i + 1) % 4] << 8;
        }
        if (i + 2 < bytes) {
            v |= half[(i + 2) % 4];
        }
        out[0] = set[v >> 18];
        out[1] = set[(v >> 12) & 63];
        out[2] = i + 1 < bytes ? set[(v >> 6) & 63] : '=';
        out[3] = i + 2 < bytes ? set[v & 63] : '=';
        hai_sp_buf_put(b, out, sizeof(out));
    }
    HAI_SP_PUT(b, "\"");
}

static void post_embeddings(struct call *x) {
    struct hai_sp_buf *b = &x->a->pre;
    struct hai_sp_slice body = hai_sp_request_body(x->r);
    unsigned long long tokens = (body.n + 3) / 4;
    const char *encoding;
    json_int_t dimensions;
    json_t *root;
    size_t i, n;

    if (!read_body(x)) {
        return;
    }
    root = json_loadb(body.p, body.n, 0, NULL);
    n = count_items(json_object_get(root, "input"));
    dimensions = json_integer_value(json_object_get(root, "dimensions"));
    if (dimensions <= 0 || dimensions > MAX_DIMENSIONS) {
        dimensions = 8;
    }
    encoding = json_string_value(json_object_get(root, "encoding_format"));
    HAI_SP_PUT(b, "{\"object\":\"list\",\"data\":[");
    for (i = 0; i < n; i++) {
        hai_sp_buf_printf(b,
                          "%s{\"object\":\"embedding\",\"index\":%zu,"
                          "\"embedding\":",
                          i > 0 ? "," : "", i);
        put_vector(b, (size_t) dimensions,
                   encoding != NULL && strcmp(encoding, "base64") == 0);
        HAI_SP_PUT(b, "}");
    }
    json_decref(root);
    if (x->c->usage_given) {
        tokens = x->c->usage_in;
    }
    HAI_SP_PUT(b, "],\"model\":\"");
    hai_sp_buf_put(b, x->a->model.data, x->a->model.len);
    HAI_SP_PUT(b, "\"");
    if (!x->c->usage_none) {
        hai_sp_buf_printf(b,
                          ",\"usage\":{\"prompt_tokens\":%llu,"
                          "\"total_tokens\":%llu}",
                          tokens, tokens);
    }
    HAI_SP_PUT(b, "}");
}

static void post_moderations(struct call *x) {
    static const char *const categories[] = {
        "harassment", "hate",     "self-harm",
        "sexual",     "violence", "violence/graphic",
    };
    struct hai_sp_buf *b = &x->a->pre;
    char id[40];
    size_t i;

    if (!read_body(x)) {
        return;
    }
    make_id(x->ids, id, "modr-");
    hai_sp_buf_printf(b, "{\"id\":\"%s\",\"model\":\"", id);
    hai_sp_buf_put(b, x->a->model.data, x->a->model.len);
    HAI_SP_PUT(b, "\",\"results\":[{\"flagged\":false,\"categories\":{");
    for (i = 0; i < sizeof(categories) / sizeof(categories[0]); i++) {
        hai_sp_buf_printf(b, "%s\"%s\":false", i > 0 ? "," : "", categories[i]);
    }
    HAI_SP_PUT(b, "},\"category_scores\":{");
    for (i = 0; i < sizeof(categories) / sizeof(categories[0]); i++) {
        hai_sp_buf_printf(b, "%s\"%s\":0.0001", i > 0 ? "," : "",
                          categories[i]);
    }
    HAI_SP_PUT(b, "}}]}");
}

/* A PNG of one transparent pixel. */
static void post_images(struct call *x) {
    if (!read_body(x)) {
        return;
    }
    hai_sp_buf_printf(&x->a->pre,
                      "{\"created\":%lld,\"data\":[{\"b64_json\":\""
                      "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR"
                      "42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII=\"}]}",
                      (long long) x->a->created);
}

static void post_transcription(struct call *x) {
    HAI_SP_PUT(&x->a->pre, "{\"text\":\"Hello from the sample provider.\"}");
}

/* Not sound, but bytes of a type that nobody takes for text. */
static void post_speech(struct call *x) {
    if (read_body(x)) {
        x->a->content_type = "audio/mpeg";
        HAI_SP_PUT(&x->a->pre, "\xff\xfb\x90\x00sample provider audio\x00");
    }
}

static void put_file(struct call *x, const char *p, size_t n) {
    struct hai_sp_buf *b = &x->a->pre;

    HAI_SP_PUT(b, "{\"id\":\"");
    hai_sp_json_escape(b, p, n);
    hai_sp_buf_printf(b,
                      "\",\"object\":\"file\",\"bytes\":%zu,"
                      "\"created_at\":%lld,\"filename\":\"sample.jsonl\","
                      "\"purpose\":\"batch\",\"status\":\"processed\"}",
                      hai_sp_request_body(x->r).n, (long long) x->a->created);
}

static void post_file(struct call *x) {
    char id[40];

    make_id(x->ids, id, "file-");
    put_file(x, id, strlen(id));
}

static void get_file(struct call *x) {
    put_file(x, x->id.p, x->id.n);
}

static void get_file_content(struct call *x) {
    x->a->content_type = "application/octet-stream";
    HAI_SP_PUT(&x->a->pre, "{\"custom_id\":\"sample\"}\n");
}

static void get_files(struct call *x) {
    static const char id[] = "file-sample";

    HAI_SP_PUT(&x->a->pre, "{\"object\":\"list\",\"data\":[");
    put_file(x, id, sizeof(id) - 1);
    HAI_SP_PUT(&x->a->pre, "],\"has_more\":false}");
}

static void put_batch(struct call *x, const char *p, size_t n,
                      const char *status) {
    struct hai_sp_buf *b = &x->a->pre;

    HAI_SP_PUT(b, "{\"id\":\"");
    hai_sp_json_escape(b, p, n);
    if (x->a->anthropic) {
        hai_sp_buf_printf(b,
                          "\",\"type\":\"message_batch\","
                          "\"processing_status\":\"%s\",\"request_counts\":"
                          "{\"processing\":1,\"succeeded\":0,\"errored\":0,"
                          "\"canceled\":0,\"expired\":0},\"ended_at\":null,"
                          "\"created_at\":\"2025-01-01T00:00:00Z\","
                          "\"expires_at\":\"2025-01-02T00:00:00Z\","
                          "\"archived_at\":null,"
                          "\"cancel_initiated_at\":null,"
                          "\"results_url\":null}",
                          status);
    } else {
        hai_sp_buf_printf(b,
                          "\",\"object\":\"batch\",\"endpoint\":"
                          "\"/v1/chat/completions\",\"errors\":null,"
                          "\"input_file_id\":\"file-sample\","
                          "\"completion_window\":\"24h\",\"status\":\"%s\","
                          "\"output_file_id\":null,\"error_file_id\":null,"
                          "\"created_at\":%lld,\"request_counts\":"
                          "{\"total\":1,\"completed\":0,\"failed\":0},"
                          "\"metadata\":null}",
                          status, (long long) x->a->created);
    }
}

static void post_batch(struct call *x) {
    char id[40];

    if (read_body(x)) {
        make_id(x->ids, id, x->a->anthropic ? "msgbatch_" : "batch_");
        put_batch(x, id, strlen(id),
                  x->a->anthropic ? "in_progress" : "validating");
    }
}

static void get_batch(struct call *x) {
    put_batch(x, x->id.p, x->id.n, "in_progress");
}

static void cancel_batch(struct call *x) {
    put_batch(x, x->id.p, x->id.n,
              x->a->anthropic ? "canceling" : "cancelling");
}

static void delete_batch(struct call *x) {
    HAI_SP_PUT(&x->a->pre, "{\"id\":\"");
    put_id(x, &x->a->pre);
    HAI_SP_PUT(&x->a->pre, "\",\"type\":\"message_batch_deleted\"}");
}

static void get_batch_results(struct call *x) {
    x->a->content_type = "application/x-jsonl";
    HAI_SP_PUT(&x->a->pre, "{\"custom_id\":\"sample\",\"result\":"
                           "{\"type\":\"canceled\"}}\n");
}

static void get_batches(struct call *x) {
    const char *id = x->a->anthropic ? "msgbatch_sample" : "batch_sample";

    hai_sp_buf_puts(&x->a->pre, x->a->anthropic
                                    ? "{\"data\":["
                                    : "{\"object\":\"list\",\"data\":[");
    put_batch(x, id, strlen(id), "in_progress");
    hai_sp_buf_printf(&x->a->pre,
                      "],\"first_id\":\"%s\",\"last_id\":\"%s\","
                      "\"has_more\":false}",
                      id, id);
}

/*
 * "*" is one segment, "**" all the rest: names of models may have slashes.
 */
static const struct route {
    const char *method;
    const char *pattern;
    void (*handler)(struct call *x);
} routes[] = {
    {"POST", "chat/completions", post_chat},
    {"POST", "messages", post_messages},
    {"POST", "responses", post_responses},
    {"POST", "completions", post_completions},
    {"POST", "embeddings", post_embeddings},
    {"POST", "messages/count_tokens", count_tokens},
    {"POST", "messages/batches", post_batch},
    {"GET", "messages/batches", get_batches},
    {"GET", "messages/batches/*", get_batch},
    {"DELETE", "messages/batches/*", delete_batch},
    {"POST", "messages/batches/*/cancel", cancel_batch},
    {"GET", "messages/batches/*/results", get_batch_results},
    {"GET", "responses/*", get_response},
    {"DELETE", "responses/*", delete_response},
    {"POST", "responses/*/cancel", get_response},
    {"GET", "responses/*/input_items", get_input_items},
    {"GET", "models", get_models},
    {"GET", "models/**", get_model},
    {"POST", "moderations", post_moderations},
    {"POST", "images/generations", post_images},
    {"POST", "images/edits", post_images},
    {"POST", "images/variations", post_images},
    {"POST", "audio/transcriptions", post_transcription},
    {"POST", "audio/translations", post_transcription},
    {"POST", "audio/speech", post_speech},
    {"POST", "files", post_file},
    {"GET", "files", get_files},
    {"GET", "files/*", get_file},
    {"DELETE", "files/*", delete_file},
    {"GET", "files/*/content", get_file_content},
    {"POST", "batches", post_batch},
    {"GET", "batches", get_batches},
    {"GET", "batches/*", get_batch},
    {"POST", "batches/*/cancel", cancel_batch},
};

static bool match(const char *pattern, struct hai_sp_slice s,
                  struct hai_sp_slice *id) {
    const char *p = s.p;
    const char *end = s.p + s.n;

    while (*pattern != '\0') {
        const char *start = p;

        if (*pattern != '*') {
            if (p == end || *p++ != *pattern++) {
                return false;
            }
            continue;
        }
        if (pattern[1] == '*') {
            p = end;
            pattern++;
        } else {
            while (p < end && *p != '/') {
                p++;
            }
        }
        if (p == start) {
            return false;
        }
        *id = (struct hai_sp_slice){start, (size_t) (p - start)};
        pattern++;
    }
    return p == end;
}

/* Runs the handler, or writes 404 or 405. */
static void dispatch(struct call *x, struct hai_sp_slice route) {
    struct hai_sp_slice method = hai_sp_slice(x->r, x->r->method);
    bool other_method = false;
    size_t i;

    for (i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        if (!match(routes[i].pattern, route, &x->id)) {
            continue;
        }
        if (strlen(routes[i].method) == method.n
            && memcmp(routes[i].method, method.p, method.n) == 0)
        {
            routes[i].handler(x);
            return;
        }
        other_method = true;
    }
    if (other_method) {
        set_error(x->a, 405, "Not allowed to use this method here.");
    } else {
        set_error(x->a, 404, "Unknown request URL.");
    }
}

static void begin(struct hai_sp_answer *a, struct hai_sp_ids *ids) {
    a->created = time(NULL);
    make_id(ids, a->request_id, "req_");
}

int hai_sp_api_answer(struct hai_sp_answer *a, const struct hai_sp_request *r,
                      const struct hai_sp_control *c,
                      const struct hai_sp_keys *keys, struct hai_sp_ids *ids) {
    struct hai_sp_slice route = route_of(r);
    struct call x = {.a = a, .r = r, .c = c, .ids = ids};

    begin(a, ids);
    a->anthropic = (route.n >= 8 && memcmp(route.p, "messages", 8) == 0)
                   || hai_sp_http_header(r, "anthropic-version").p != NULL;
    x.key = hai_sp_api_key(r);
    if (!key_known(keys, x.key)) {
        set_error(a, 401,
                  x.key.n > 0 ? "Incorrect API key provided."
                              : "You did not provide an API key.");
    } else if (c->status != 0) {
        set_error(a, c->status, "The sample provider was asked to fail.");
    } else {
        dispatch(&x, route);
    }
    return a->pre.failed || a->post.failed ? -1 : 0;
}

void hai_sp_api_refuse(struct hai_sp_answer *a, int status, const char *message,
                       struct hai_sp_ids *ids) {
    begin(a, ids);
    set_error(a, status, message);
}
