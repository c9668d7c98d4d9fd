/* SOURCES: common/hai_json.c common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */

/*
 * How fast bodies are scanned: GB/s and ns for each size and shape, the best
 * of several rounds, one scanner that is reset for each body as a worker
 * does it.
 */

#define _POSIX_C_SOURCE 200809L

#include "hai_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 15
#define ROUND_NS 12000000.0

struct buffer {
    char *data;
    size_t len;
    size_t size;
};

struct shape {
    const char *name;
    const char *text[6]; /* inside of a string, repeated */
    const char *tokens;  /* instead: an item of a message's content */
};

static const struct shape shapes[] = {
    {"prose",
     {"The gateway reads a body once and keeps no tree of it. ",
      "Most of what a model is asked is plain text like this sentence, ",
      "with commas, full stops and the odd (bracketed) remark; ",
      "a quarter of the words are short and none needs an escape. ", NULL},
     NULL},
    {"agent",
     {/* an escape every 40 to 80 bytes */
      "    if (request == NULL || request->state != STATE_READY) {\\n",
      "        return refuse(request, \\\"not ready yet, try later\\\");\\n",
      "    }\\n",
      "The function above is called from the event loop of the worker,\\n",
      "so it must not wait for anything that could take longer.\\n\\n", NULL},
     NULL},
    {"cjk",
     {"\u7f51\u5173\u53ea\u8bfb\u53d6\u4e00\u6b21\u8bf7\u6c42\u4f53\uff0c",
      "\u4e0d\u4fdd\u7559\u8bed\u6cd5\u6811\u3002\u5927\u90e8\u5206\u5185",
      "\u5bb9\u662f\u666e\u901a\u6587\u672c\u3002", NULL},
     NULL},
    {"mixed",
     {"Gr\u00fc\u00dfe aus K\u00f6ln, d\u00e9j\u00e0 vu, caf\u00e9s ",
      "and plain words between, \u2014 \u201cquoted\u201d \U0001F600 ok. ",
      NULL},
     NULL},
    {"escapes",
     {/* one in three bytes */
      "\\\"a\\\":\\\"b\\\",\\n\\t\\\"c\\\\d\\\":[1,2]\\n", NULL},
     NULL},
    {"u-escapes",
     {"\\u7f51\\u5173\\u53ea\\u8bfb\\u53d6\\u4e00\\u6b21 ", NULL},
     NULL},
    {"tokens",
     {NULL},
     "{\"type\":\"text\",\"text\":\"hi\",\"id\":12,\"ok\":true,"
     "\"annotations\":[],\"n\":[1,2,-3.5]}"}};

static void append(struct buffer *b, const char *s) {
    size_t n = strlen(s);

    if (b->len + n > b->size) {
        b->size = (b->len + n) * 2;
        b->data = realloc(b->data, b->size);
        if (b->data == NULL) {
            abort();
        }
    }

    memcpy(b->data + b->len, s, n);
    b->len += n;
}

/* A chat body of at least about len bytes. */
static void make_body(struct buffer *b, const struct shape *shape, size_t len) {
    size_t message = len > 8192 ? 4096 : len / 2, from;
    bool first = true;

    b->len = 0;
    append(b, "{\"model\":\"openai/gpt-4o\",\"stream\":true,"
              "\"temperature\":0.2,\"max_tokens\":4096,\"messages\":["
              "{\"role\":\"system\",\"content\":\"You are helpful.\"}");

    while (first || b->len + message / 2 < len) {
        first = false;
        append(b, ",{\"role\":\"user\",\"content\":");
        from = b->len;

        if (shape->tokens) {
            append(b, "[");
            append(b, shape->tokens);
            while (b->len - from < message) {
                append(b, ",");
                append(b, shape->tokens);
            }
            append(b, "]}");
            continue;
        }

        append(b, "\"");
        for (size_t i = 0; b->len - from < message; i++) {
            if (shape->text[i] == NULL) {
                i = 0;
            }
            append(b, shape->text[i]);
        }
        append(b, "\"}");
    }

    append(b, "]}");
}

static double now_ns(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}

static void scan(struct hai_json *js, const struct buffer *b) {
    hai_json_reset(js);
    if (hai_json_feed(js, b->data, b->len) != HAI_JSON_OK
        || hai_json_finish(js) != HAI_JSON_OK)
    {
        fprintf(stderr, "refused: %s\n",
                hai_json_strerror(hai_json_finish(js)));
        exit(1);
    }
}

static double measure(struct hai_json *js, const struct buffer *b) {
    double best = 0, start, ns;
    size_t times = 1;

    for (int i = 0; i < ROUNDS; i++) {
        start = now_ns();
        for (size_t k = 0; k < times; k++) {
            scan(js, b);
        }
        ns = (now_ns() - start) / (double) times;
        if (i == 0) {
            times = (size_t) (ROUND_NS / ns) + 1;
        } else if (best == 0 || ns < best) {
            best = ns;
        }
    }

    return best;
}

int main(void) {
    static const size_t sizes[] = {1024, 32 * 1024, 1024 * 1024};
    struct buffer b = {NULL, 0, 0};
    struct hai_json *js = hai_json_new();
    double ns;

    if (js == NULL) {
        return 1;
    }

    printf("%-10s %9s %12s %8s\n", "shape", "bytes", "ns", "GB/s");

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
            make_body(&b, &shapes[i], sizes[k]);
            ns = measure(js, &b);
            printf("%-10s %9zu %12.0f %8.2f\n", shapes[i].name, b.len, ns,
                   (double) b.len / ns);
        }
    }

    hai_json_free(js);
    free(b.data);
    return 0;
}
