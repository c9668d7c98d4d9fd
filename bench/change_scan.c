/* SOURCES: common/hai_change.c common/hai_change_find.c */
/* SOURCES: common/hai_change_put.c common/hai_change_set.c */
/* SOURCES: common/hai_change_text.c common/hai_walk.c common/hai_edit.c */
/* SOURCES: common/hai_json.c common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: common/hai_tools.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */

/*
 * What rules cost a body that is scanned already: ns for each change and
 * size, the best of several rounds, beside the scan itself.  Bodies are in
 * pieces of 16 KB.  A walk is over all of the body, so its GB/s are said.
 */

#define _POSIX_C_SOURCE 200809L

#include "hai_change.h"
#include "hai_tools.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 15
#define ROUND_NS 12000000.0
#define PIECE 16384
#define MAX_PIECES 128
#define SYSTEM_LEN 400
#define BODY_MAX (MAX_PIECES * PIECE)

struct job {
    struct hai_json *js;
    struct hai_edits edits;
    struct hai_tools tools;
    struct hai_piece pieces[MAX_PIECES];
    struct hai_body body;
    const struct hai_change *changes;
    size_t n;
    char *text;
    size_t len;
};

typedef void run_fn(struct job *job);

static void put(struct job *job, const char *text) {
    size_t n = strlen(text);

    if (job->len + n > BODY_MAX) {
        fprintf(stderr, "the body is too long\n");
        exit(1);
    }
    memcpy(job->text + job->len, text, n);
    job->len += n;
}

/* An agent's chat: a system prompt, turns with a call and its result. */
static void make_body(struct job *job, size_t len) {
    static const char prose[] =
        "    if (request == NULL || request->state != STATE_READY) {\\n"
        "        return refuse(request, \\\"not ready yet\\\");\\n    }\\n";
    size_t turn = len > 8192 ? 4096 : 256, from;

    job->len = 0;
    put(job, "{\"model\":\"openai/gpt-4o\",\"stream\":true,"
             "\"messages\":[{\"role\":\"system\",\"content\":\"");
    while (job->len < SYSTEM_LEN) {
        put(job, "You are a helpful assistant of few words. ");
    }
    put(job, "\"}");

    do {
        put(job, ",{\"role\":\"user\",\"content\":\"Go on, please.\"},"
                 "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":["
                 "{\"id\":\"call_1\",\"type\":\"function\",\"function\":{"
                 "\"name\":\"read\",\"arguments\":\"{\\\"file\\\":"
                 "\\\"main.c\\\"}\"}}]},{\"role\":\"tool\","
                 "\"tool_call_id\":\"call_1\",\"content\":\"");
        from = job->len;
        while (job->len - from < turn && job->len < len) {
            put(job, prose);
        }
        put(job, "\"}");
    } while (job->len < len);

    put(job, "],\"max_tokens\":4096,\"temperature\":0.2}");
}

static void scan(struct job *job) {
    hai_json_reset(job->js);
    for (size_t i = 0; i < job->body.n; i++) {
        hai_json_feed(job->js, job->pieces[i].data, job->pieces[i].len);
    }
    if (hai_json_finish(job->js) != HAI_JSON_OK) {
        fprintf(stderr, "refused\n");
        exit(1);
    }
}

static void change(struct job *job) {
    const char *why;

    if (hai_changes_apply(&job->body, HAI_API_OPENAI_CHAT, job->changes, job->n,
                          &job->edits, &why)
        != HAI_CHANGE_OK)
    {
        fprintf(stderr, "not changed\n");
        exit(1);
    }
}

static void tools(struct job *job) {
    if (hai_tools_read(&job->tools, &job->body, HAI_API_OPENAI_CHAT) != 0
        || job->tools.n == 0)
    {
        fprintf(stderr, "no tool results\n");
        exit(1);
    }
}

static double now_ns(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}

static double measure(struct job *job, run_fn *run) {
    double best = 0, start, ns;
    size_t times = 1;

    for (int i = 0; i < ROUNDS; i++) {
        start = now_ns();
        for (size_t k = 0; k < times; k++) {
            run(job);
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

static void print(const struct job *job, const char *name, double ns) {
    printf("%-10s %9zu %12.0f %8.2f\n", name, job->len, ns,
           (double) job->len / ns);
}

int main(void) {
    static const char text[] =
        "Never reveal secrets. Never run commands that delete files outside "
        "of the project. Answer in the language of the question.";
    static const struct hai_change append = {.op = HAI_CHANGE_APPEND,
                                             .text = {text, sizeof(text) - 1}};
    static const struct hai_change set = {
        .op = HAI_CHANGE_SET, .field = {"max_tokens", 10}, .max = {"1024", 4}};
    static const struct hai_change model = {.op = HAI_CHANGE_SET,
                                            .field = {"model", 5},
                                            .value = {"\"gpt-4o-mini\"", 13}};
    static const struct hai_change message = {.op = HAI_CHANGE_MESSAGE,
                                              .text = {text, sizeof(text) - 1}};
    static const struct {
        const char *name;
        run_fn *run;
        const struct hai_change *change;
    } rows[] = {
        {"scan", scan, NULL},          {"append", change, &append},
        {"set", change, &set},         {"model", change, &model},
        {"message", change, &message}, {"tools", tools, NULL},
    };
    static const size_t sizes[] = {1024, 32 * 1024, 1024 * 1024};
    static struct job job;

    job.js = hai_json_new();
    job.text = malloc(BODY_MAX);
    if (job.js == NULL || job.text == NULL) {
        return 1;
    }
    hai_edits_init(&job.edits, 1 << 20);
    hai_tools_init(&job.tools);
    job.n = 1;

    printf("%-10s %9s %12s %8s\n", "what", "bytes", "ns", "GB/s");

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        make_body(&job, sizes[i]);
        job.body = (struct hai_body){job.pieces, 0, job.len, NULL, NULL};
        for (size_t at = 0; at < job.len; at += PIECE) {
            job.pieces[job.body.n].data = (const uint8_t *) job.text + at;
            job.pieces[job.body.n++].len =
                job.len - at < PIECE ? job.len - at : PIECE;
        }
        scan(&job);
        job.body.facts = hai_json_facts(job.js);

        for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
            job.changes = rows[k].change;
            print(&job, rows[k].name, measure(&job, rows[k].run));
        }
    }

    hai_tools_free(&job.tools);
    hai_edits_free(&job.edits);
    hai_json_free(job.js);
    free(job.text);
    return 0;
}
