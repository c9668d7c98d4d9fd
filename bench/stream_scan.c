/* SOURCES: common/hai_sse.c common/hai_usage.c common/hai_usage_json.c common/hai_usage_whole.c common/hai_calls.c common/hai_mask.c */

/*
 * What each byte of an answer costs: ns for each event or answer and GB/s,
 * for the ends of events (sse), the usage and the masking with 1, 2 and 16
 * keys.  A stream is fed event by event, as a provider sends it.  The best of
 * several rounds.
 */

#define _POSIX_C_SOURCE 200809L

#include "hai_mask.h"
#include "hai_sse.h"
#include "hai_usage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 200
#define ROUND_NS 500000.0
#define PIECES 64
#define PIECE_SIZE 16384

struct sample {
    const char *name;
    enum hai_usage_kind kind;
    size_t n;
    char *piece[PIECES];
    size_t len[PIECES];
    size_t bytes;
};

typedef void (*scan_fn)(const struct hai_mask *m, struct sample *s);

static volatile uint64_t sink;

static double now_ns(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}

static void add(struct sample *s, const char *text, size_t len) {
    s->piece[s->n] = malloc(len);

    if (s->piece[s->n] == NULL) {
        perror("malloc");
        exit(1);
    }

    memcpy(s->piece[s->n], text, len);
    s->len[s->n++] = len;
    s->bytes += len;
}

static const char *const words[] = {
    " the",  " gateway", " reads",         " each",    " event", ",",
    " once", " and",     " keeps",         " nothing", " of",    " it",
    ".",     "\\n\\n",   " \\\"usage\\\"", " So",
};

static const char *word(size_t i) {
    return words[i * 7 % (sizeof(words) / sizeof(words[0]))];
}

static void openai_stream(struct sample *s) {
    char text[PIECE_SIZE];
    int n;

    s->name = "openai stream";
    s->kind = HAI_USAGE_SSE;

    while (s->n < PIECES - 1) {
        n = snprintf(
            text, sizeof(text),
            "data: {\"id\":\"chatcmpl-BqUz4kDcXw0TzjN2m7ZQyVb1rL9aE\","
            "\"object\":\"chat.completion.chunk\",\"created\":1752061234,"
            "\"model\":\"gpt-4o-2024-08-06\",\"service_tier\":\"default\","
            "\"system_fingerprint\":\"fp_a288987b44\",\"choices\":[{"
            "\"index\":0,\"delta\":{\"content\":\"%s\"},\"logprobs\":null,"
            "\"finish_reason\":null}],\"usage\":null}\n\n",
            word(s->n));
        add(s, text, (size_t) n);
    }

    n = snprintf(
        text, sizeof(text),
        "data: {\"id\":\"chatcmpl-BqUz4kDcXw0TzjN2m7ZQyVb1rL9aE\","
        "\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{"
        "\"prompt_tokens\":1019,\"completion_tokens\":63,"
        "\"total_tokens\":1082,\"prompt_tokens_details\":{"
        "\"cached_tokens\":512,\"audio_tokens\":0}}}\n\ndata: [DONE]\n\n");
    add(s, text, (size_t) n);
}

static void anthropic_stream(struct sample *s) {
    char text[PIECE_SIZE];
    int n;

    s->name = "anthropic stream";
    s->kind = HAI_USAGE_SSE;

    n = snprintf(
        text, sizeof(text),
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{"
        "\"id\":\"msg_01XFDUDYJgAACzvnptvVoYEL\",\"type\":\"message\","
        "\"role\":\"assistant\",\"model\":\"claude-sonnet-4-20250514\","
        "\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":1019,"
        "\"cache_read_input_tokens\":512,\"output_tokens\":1}}}\n\n");
    add(s, text, (size_t) n);

    while (s->n < PIECES - 1) {
        n = snprintf(text, sizeof(text),
                     "event: content_block_delta\ndata: {\"type\":"
                     "\"content_block_delta\",\"index\":0,\"delta\":{\"type\":"
                     "\"text_delta\",\"text\":\"%s\"}}\n\n",
                     word(s->n));
        add(s, text, (size_t) n);
    }

    n = snprintf(
        text, sizeof(text),
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{"
        "\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{"
        "\"output_tokens\":63}}\n\nevent: message_stop\n"
        "data: {\"type\":\"message_stop\"}\n\n");
    add(s, text, (size_t) n);
}

static void answer(struct sample *s, const char *name, size_t size) {
    char text[PIECE_SIZE];
    size_t n;

    s->name = name;
    s->kind = HAI_USAGE_JSON;

    n = (size_t) snprintf(
        text, sizeof(text),
        "{\"id\":\"chatcmpl-BqUz4kDcXw0TzjN2m7ZQyVb1rL9aE\",\"object\":"
        "\"chat.completion\",\"created\":1752061234,\"model\":"
        "\"gpt-4o-2024-08-06\",\"choices\":[{\"index\":0,\"message\":{"
        "\"role\":\"assistant\",\"content\":\"");

    for (size_t i = 0; n < size - 420; i++) {
        n += (size_t) snprintf(text + n, sizeof(text) - n, "%s", word(i));
    }

    n += (size_t) snprintf(
        text + n, sizeof(text) - n,
        "\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,"
        "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1019,"
        "\"completion_tokens\":63,\"total_tokens\":1082,"
        "\"prompt_tokens_details\":{\"cached_tokens\":512,"
        "\"audio_tokens\":0},\"completion_tokens_details\":{"
        "\"reasoning_tokens\":0,\"audio_tokens\":0,"
        "\"accepted_prediction_tokens\":0,"
        "\"rejected_prediction_tokens\":0}},\"service_tier\":\"default\","
        "\"system_fingerprint\":\"fp_a288987b44\"}\n");
    add(s, text, n);
}

static void scan_sse(const struct hai_mask *m, struct sample *s) {
    struct hai_sse sse;

    (void) m;

    hai_sse_init(&sse);

    for (size_t i = 0; i < s->n; i++) {
        sink += hai_sse_feed(&sse, s->piece[i], s->len[i]);
    }
}

static void scan_usage(const struct hai_mask *m, struct sample *s) {
    struct hai_usage_scan us;

    (void) m;

    hai_usage_init(&us, s->kind);

    for (size_t i = 0; i < s->n; i++) {
        hai_usage_feed(&us, s->piece[i], s->len[i]);
    }

    if (us.usage.input_tokens != 1019 || us.usage.output_tokens != 63
        || us.usage.cached_tokens != 512)
    {
        fprintf(stderr, "%s: wrong usage\n", s->name);
        exit(1);
    }
}

static void scan_mask(const struct hai_mask *m, struct sample *s) {
    for (size_t i = 0; i < s->n; i++) {
        sink += hai_mask_apply(m, s->piece[i], s->len[i]);
    }
}

static void measure(const char *what, scan_fn scan, const struct hai_mask *m,
                    struct sample *s) {
    double best = 1e18;

    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        double took;
        size_t times = 0;

        do {
            for (int i = 0; i < 16; i++) {
                scan(m, s);
            }
            times += 16;
            took = now_ns() - start;
        } while (took < ROUND_NS);

        if (took / (double) times < best) {
            best = took / (double) times;
        }
    }

    printf("%-18s %-9s %6.0f bytes %9.1f ns %7.2f GB/s\n", s->name, what,
           (double) s->bytes / (double) s->n, best / (double) s->n,
           (double) s->bytes / best);
}

static void use_keys(struct hai_mask *m, size_t n) {
    static char keys[16][128];
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
                                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    uint32_t random = 12345;

    hai_mask_init(m);

    for (size_t k = 0; k < n; k++) {
        size_t len = k % 2 ? 108 : 64;

        strcpy(keys[k], k % 2 ? "sk-ant-api03-" : "sk-proj-");

        for (size_t i = strlen(keys[k]); i < len; i++) {
            random = random * 1664525 + 1013904223;
            keys[k][i] = letters[random >> 26];
        }

        hai_mask_add(m, keys[k], len);
    }
}

int main(void) {
    static struct sample samples[4];
    struct hai_mask mask;

    openai_stream(&samples[0]);
    anthropic_stream(&samples[1]);
    answer(&samples[2], "json answer", 1024);
    answer(&samples[3], "json answer", 12288);

    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        struct sample *s = &samples[i];

        if (s->kind == HAI_USAGE_SSE) {
            measure("sse", scan_sse, &mask, s);
        }

        measure("usage", scan_usage, &mask, s);

        use_keys(&mask, 1);
        measure("mask 1", scan_mask, &mask, s);
        use_keys(&mask, 2);
        measure("mask 2", scan_mask, &mask, s);
        use_keys(&mask, 16);
        measure("mask 16", scan_mask, &mask, s);

        for (size_t k = 0; k < s->n; k++) {
            free(s->piece[k]);
        }
    }

    return 0;
}
