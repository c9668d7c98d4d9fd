/* Answers questions, see question.h. */

#include "question.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "plan.h"
#include "status.h"

#include <hai_facts.h>
#include <hai_plan.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEEP_MEMORY (1024UL * 1024)   /* of a buffer, between questions */
#define KEEP_BODY (4UL * 1024 * 1024) /* the same of the one for bodies */
#define CHUNK 65536                   /* read and scanned at a time */
#define EDITS_MEMORY (64UL * 1024 * 1024)

#define TYPE_JSON "application/json"
#define TYPE_PLAN "application/vnd.hoody.plan+json"
#define TYPE_SPLICE "application/vnd.hoody.splice"

/* A parameter of the question. */
struct parameter {
    const char *name;
    size_t max;
    bool filled; /* must not be empty */
};

enum {
    ASK,
    CONTAINER,
    CONTAINER_ID,
    TAGS,
    API,
    BODY,
    MODEL,
    REQUEST_ID,
    PARAMETERS
};

static const struct parameter parameters[PARAMETERS] = {
    [ASK] = {"HOODY_ASK", 16, true},
    [CONTAINER] = {"HOODY_CONTAINER", HAI_NAME_MAX, true},
    [CONTAINER_ID] = {"HOODY_CONTAINER_ID", 255, false},
    [TAGS] = {"HOODY_TAGS", 8192, false},
    [API] = {"HOODY_API", 64, true},
    [BODY] = {"HOODY_BODY", 16, true},
    [MODEL] = {"HOODY_MODEL", HAI_JSON_MAX_MODEL, false},
    [REQUEST_ID] = {"HOODY_REQUEST_ID", 255, true},
};

struct question {
    struct hai_engine *engine;
    struct hai_scratch *scratch;
    FCGX_Request *fcgi;
    struct hai_set *set;
    struct hai_slice value[PARAMETERS];
    struct hai_request request;
    struct hai_evaluate_hooks hooks;
};

const int hai_answer_codes[HAI_ANSWER_COUNT] = {
    [HAI_ANSWER_200] = 200, [HAI_ANSWER_204] = 204, [HAI_ANSWER_400] = 400,
    [HAI_ANSWER_403] = 403, [HAI_ANSWER_413] = 413, [HAI_ANSWER_503] = 503,
};

static const char *const reasons[HAI_ANSWER_COUNT] = {
    [HAI_ANSWER_200] = "OK",
    [HAI_ANSWER_204] = "No Content",
    [HAI_ANSWER_400] = "Bad Request",
    [HAI_ANSWER_403] = "Forbidden",
    [HAI_ANSWER_413] = "Content Too Large",
    [HAI_ANSWER_503] = "Service Unavailable",
};

int hai_scratch_init(struct hai_scratch *s) {
    *s = (struct hai_scratch){0};
    hai_edits_init(&s->edits, EDITS_MEMORY);
    s->scanner = hai_json_new();

    return s->scanner != NULL && hai_buf_room(&s->body, CHUNK) != NULL
                   && hai_buf_room(&s->answer, CHUNK) != NULL
               ? 0
               : -1;
}

void hai_scratch_free(struct hai_scratch *s) {
    hai_json_free(s->scanner);
    hai_edits_free(&s->edits);
    hai_buf_free(&s->body);
    hai_buf_free(&s->answer);
}

void hai_scratch_reset(struct hai_scratch *s) {
    hai_json_reset(s->scanner);
    hai_edits_reset(&s->edits);
    hai_buf_reset(&s->body, KEEP_BODY);
    hai_buf_reset(&s->answer, KEEP_MEMORY);
}

/* A header line with what the scan found in the body; "" without one. */
static const char *found(const struct question *q, char *line, size_t size) {
    static const char name[] = "X-Hoody-Body: ";
    const struct hai_body *body = q->request.body;
    size_t n = sizeof(name) - 1;

    *line = '\0';

    if (body != NULL && size >= n + HAI_FACTS_LINE + 2) {
        size_t len = hai_facts_write(body->facts, body->size, line + n);

        if (len > 0) {
            memcpy(line, name, n);
            memcpy(line + n + len, "\r\n", 3);
        }
    }

    return line;
}

/*
 * Head and body leave together where they fit into libfcgi's buffer.  facts:
 * what the scan found is still true of the body after this answer.
 */
static int answer(struct question *q, enum hai_answer_status status,
                  const char *type, bool epoch, bool facts) {
    const struct hai_buf *b = &q->scratch->answer;
    FCGX_Stream *out = q->fcgi->out;
    char line[HAI_FACTS_LINE + 32], head[256 + sizeof(line)];
    int n;

    if (status != HAI_ANSWER_204 && b->len > 0 && type == NULL) {
        type = TYPE_JSON;
    }

    n = snprintf(head, sizeof(head),
                 "Status: %d %s\r\n%s%s%s%s%s%s%sContent-Length: %zu\r\n\r\n",
                 hai_answer_codes[status], reasons[status],
                 type != NULL ? "Content-Type: " : "", type != NULL ? type : "",
                 type != NULL ? "\r\n" : "", epoch ? "X-Hoody-Epoch: " : "",
                 epoch ? q->set->epoch : "", epoch ? "\r\n" : "",
                 facts ? found(q, line, sizeof(line)) : "", b->len);

    atomic_fetch_add_explicit(&q->engine->counters.answers[status], 1,
                              memory_order_relaxed);

    if (n < 0 || (size_t) n >= sizeof(head) || FCGX_PutStr(head, n, out) != n) {
        return -1;
    }

    /* both are far below INT_MAX */
    if (b->len > 0 && FCGX_PutStr(b->data, (int) b->len, out) != (int) b->len) {
        return -1;
    }

    return 0;
}

static int answer_error(struct question *q, enum hai_answer_status status,
                        const char *code, const char *message) {
    struct hai_buf *b = &q->scratch->answer;

    hai_buf_reset(b, KEEP_MEMORY);
    hai_buf_text(b, "{\"error\":{\"code\":");
    hai_buf_json(b, code, strlen(code));
    hai_buf_text(b, ",\"message\":");
    hai_buf_json(b, message, strlen(message));
    hai_buf_text(b, "}}");

    if (b->failed) {
        return -1;
    }

    return answer(q, status, NULL, false, false);
}

static int unavailable(struct question *q, const char *message) {
    return answer_error(q, HAI_ANSWER_503, "rules_unavailable", message);
}

static int bad_question(struct question *q, const char *message) {
    return answer_error(q, HAI_ANSWER_400, "bad_question", message);
}

/*
 * Takes the standard input to its end; without that a kept connection would
 * begin its next question in the middle of it.  length: what there may be of
 * it, which makes room at once.  0; 1: more than there may be; -1: the
 * connection is broken.
 */
static int read_input(struct question *q, bool keep, size_t length) {
    struct hai_scratch *s = q->scratch;
    enum hai_json_status status = HAI_JSON_OK;
    size_t total = 0;
    char *p;
    int n;

    if (keep && hai_buf_room(&s->body, length + CHUNK) == NULL) {
        return 1;
    }

    do {
        p = hai_buf_room(&s->body, CHUNK);
        if (p == NULL) {
            return 1;
        }

        n = FCGX_GetStr(p, CHUNK, q->fcgi->in);
        total += (size_t) n;

        if (total > HAI_BODY_MAX) {
            return 1;
        }

        if (keep) {
            s->body.len += (size_t) n;

            if (status == HAI_JSON_OK) {
                status = hai_json_feed(s->scanner, p, (size_t) n);
            }
        }
    } while (n == CHUNK);

    return FCGX_GetError(q->fcgi->in) == 0 ? 0 : -1;
}

/* -1: no number; -2: not given; more than HAI_BODY_MAX for what is. */
static long content_length(FCGX_Request *fcgi) {
    const char *text = FCGX_GetParam("CONTENT_LENGTH", fcgi->envp);
    long n = 0;

    if (text == NULL || *text == '\0') {
        return -2;
    }

    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') {
            return -1;
        }

        if (n <= (long) HAI_BODY_MAX) {
            n = n * 10 + (*text - '0');
        }
    }

    return n;
}

static bool is(struct hai_slice s, const char *text) {
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

/* NULL, or what is wrong with the parameters; then *message is it. */
static const char *read_parameters(struct question *q, char *message,
                                   size_t size) {
    struct hai_rule_facts *facts = &q->request.facts;
    const char *wrong = NULL, *text;
    size_t i;

    for (i = 0; i < PARAMETERS && wrong == NULL; i++) {
        text = FCGX_GetParam(parameters[i].name, q->fcgi->envp);

        if (text == NULL) {
            wrong = "is missing";
            break;
        }

        q->value[i].data = text;
        q->value[i].len = strlen(text);

        if (q->value[i].len == 0 && parameters[i].filled) {
            wrong = "is empty";
            break;
        }

        if (q->value[i].len > parameters[i].max) {
            wrong = "is too long";
            break;
        }

        if (i == CONTAINER && !hai_name_valid(text, q->value[i].len)) {
            wrong = "is no name";
            break;
        }

        if (i == BODY && !is(q->value[i], "json") && !is(q->value[i], "opaque"))
        {
            wrong = "is neither json nor opaque";
            break;
        }
    }

    if (wrong != NULL) {
        snprintf(message, size, "%s %s", parameters[i].name, wrong);
        return message;
    }

    facts->container = q->value[CONTAINER];
    facts->container_id = q->value[CONTAINER_ID];
    facts->tags = q->value[TAGS];
    facts->model = q->value[MODEL];
    facts->depth = 1;
    q->request.api = hai_api_of(q->value[API].data, q->value[API].len);
    q->request.opaque = is(q->value[BODY], "opaque");

    return NULL;
}

/* Counts, and writes the entry of those that are there to be read. */
static void fired(void *data, const struct hai_rule *rule,
                  const struct hai_rule_facts *facts, const char *text,
                  size_t len) {
    struct question *q = data;
    const char *event = hai_rule_event_name(facts->event);
    const char *action = hai_rule_action_name(rule->action);
    struct hai_slice tool = {"", 0};
    char depth[16];
    int n;

    atomic_fetch_add_explicit(&q->set->fired[rule->index]->n, 1,
                              memory_order_relaxed);

    /* a refusal has a text too, whatever the rule's action is */
    if (text == NULL && rule->action != HAI_ACT_WEBHOOK) {
        return;
    }

    if (facts->tool.data != NULL) {
        tool = facts->tool;
    }

    n = snprintf(depth, sizeof(depth), "%u", facts->depth);

    const struct hai_field fields[] = {
        {"request_id", q->value[REQUEST_ID]},
        {"container", facts->container},
        {"container_id", facts->container_id},
        {"api", q->value[API]},
        {"model", facts->model},
        {"rule", {rule->id, strlen(rule->id)}},
        {"event", {event, strlen(event)}},
        {"action", {action, strlen(action)}},
        {"tool", tool},
        {"depth", {depth, (size_t) n}},
        {"message", {text, len < HAI_EVALUATE_TEXT ? len : HAI_EVALUATE_TEXT}},
    };

    hai_entries_add(&q->engine->entries, "rule", fields,
                    sizeof(fields) / sizeof(*fields) - (text == NULL));
}

static int answer_refused(struct question *q, const struct hai_evaluation *e) {
    struct hai_buf *b = &q->scratch->answer;

    hai_buf_text(b, "{\"error\":{\"code\":\"blocked_by_rule\",\"message\":");
    hai_buf_json(b, e->text, e->len);

    if (e->rule != NULL) {
        hai_buf_text(b, ",\"rule\":");
        hai_buf_json(b, e->rule->id, strlen(e->rule->id));
    }

    hai_buf_text(b, "}}");

    return b->failed ? unavailable(q, "no memory")
                     : answer(q, HAI_ANSWER_403, TYPE_JSON, false, false);
}

static int answer_plan(struct question *q) {
    struct hai_buf *b = &q->scratch->answer;
    struct hai_evaluation e = {0};
    int rc;

    hai_evaluate_plan(&e, q->set->rules, &q->request, &q->hooks);

    if (q->engine->no_plan && !q->request.opaque) {
        e.verdict = HAI_VERDICT_ASK_BODY;
    }

    switch (e.verdict) {
    case HAI_VERDICT_PASS:
        rc = answer(q, HAI_ANSWER_204, NULL, true, true);
        break;

    case HAI_VERDICT_REFUSED:
        rc = answer_refused(q, &e);
        break;

    case HAI_VERDICT_CHANGES:
    case HAI_VERDICT_ASK_BODY:
        /* what a worker would not read as a plan it can ask for each time */
        if (e.verdict == HAI_VERDICT_ASK_BODY
            || !hai_plan_write(b, q->set->epoch, e.changes, e.n)
            || b->len > HAI_PLAN_MAX)
        {
            b->len = 0;
            hai_plan_write_ask(b, q->set->epoch, e.any_model);
        }

        rc = b->failed ? unavailable(q, "no memory")
                       : answer(q, HAI_ANSWER_200, TYPE_PLAN, false, false);
        break;

    default:
        rc = unavailable(q, "no memory");
        break;
    }

    hai_evaluation_free(&e);

    return rc;
}

static int answer_changes(struct question *q, const struct hai_evaluation *e) {
    struct hai_edits *edits = &q->scratch->edits;
    struct hai_buf *b = &q->scratch->answer;
    const char *why = "";
    size_t size;
    char *p;

    switch (hai_changes_apply(q->request.body, q->request.api, e->changes, e->n,
                              edits, &why))
    {
    case HAI_CHANGE_OK:
        break;

    case HAI_CHANGE_SHAPE:
        return answer_error(q, HAI_ANSWER_400, "invalid_body", why);

    default:
        return unavailable(q, "no memory");
    }

    if (edits->n == 0) {
        return answer(q, HAI_ANSWER_204, NULL, true, true);
    }

    size = hai_edits_wire_size(edits);
    p = hai_buf_room(b, size);
    if (p == NULL || size > EDITS_MEMORY) {
        return unavailable(q, "no memory");
    }

    hai_edits_wire_write(edits, p);
    b->len += size;

    return answer(q, HAI_ANSWER_200, TYPE_SPLICE, true,
                  hai_changes_keep_facts(e->changes, e->n));
}

/* The name of a prompt that the provider keeps: it cannot be looked into. */
static bool has_stored_prompt(const struct hai_body *body) {
    const struct hai_json_value *prompt = &body->facts->top[HAI_KEY_PROMPT];

    return prompt->end > 0 && prompt->type == '{';
}

static int answer_body(struct question *q) {
    struct hai_scratch *s = q->scratch;
    enum hai_json_status status;
    struct hai_evaluate_memory memory;
    struct hai_evaluation e = {0};
    struct hai_piece piece;
    struct hai_body body;
    int rc;

    /* after a refusal it stays refused */
    status = hai_json_finish(s->scanner);

    if (status == HAI_JSON_NO_MEMORY) {
        return unavailable(q, "no memory");
    }

    if (status != HAI_JSON_OK) {
        return answer_error(q, HAI_ANSWER_400, "invalid_body",
                            hai_json_strerror(status));
    }

    piece.data = (const uint8_t *) s->body.data;
    piece.len = s->body.len;
    body.pieces = &piece;
    body.n = 1;
    body.size = s->body.len;
    body.facts = hai_json_facts(s->scanner);
    body.items = hai_json_items(s->scanner);
    q->request.body = &body;

    /* a worker that need not know the model has not looked for it */
    q->request.facts.model.data = body.facts->model;
    q->request.facts.model.len = body.facts->model_len;

    memory.cooldown = q->engine->cooldown;
    memory.seen = q->engine->seen;
    memory.now_ms = hai_mono_ms();

    if (has_stored_prompt(&body)) {
        q->request.opaque = true;
        hai_evaluate_plan(&e, q->set->rules, &q->request, &q->hooks);
    } else {
        hai_evaluate(&e, q->set->rules, &q->request, &memory, &q->hooks);
    }

    switch (e.verdict) {
    case HAI_VERDICT_PASS:
        rc = answer(q, HAI_ANSWER_204, NULL, true, true);
        break;

    case HAI_VERDICT_CHANGES:
        rc = answer_changes(q, &e);
        break;

    case HAI_VERDICT_REFUSED:
        rc = answer_refused(q, &e);
        break;

    case HAI_VERDICT_INVALID:
        rc = answer_error(q, HAI_ANSWER_400, "invalid_body",
                          e.why != NULL ? e.why : "not what the API takes");
        break;

    default:
        rc = unavailable(q, "no memory");
        break;
    }

    hai_evaluation_free(&e);

    return rc;
}

static int answer_status(struct question *q) {
    struct hai_buf *b = &q->scratch->answer;

    hai_status_write(q->engine, b);

    return b->failed ? unavailable(q, "no memory")
                     : answer(q, HAI_ANSWER_200, TYPE_JSON, false, false);
}

static int answer_question(struct question *q, bool with_body, bool complete) {
    struct hai_counters *counters = &q->engine->counters;
    char message[64];
    int rc;

    if (read_parameters(q, message, sizeof(message)) != NULL) {
        return bad_question(q, message);
    }

    if (with_body && q->request.opaque) {
        return bad_question(q, "an opaque body cannot be asked about");
    }

    if (!with_body && !is(q->value[ASK], "plan")) {
        return bad_question(q, "HOODY_ASK is unknown");
    }

    if (!complete) {
        return bad_question(q, "the body is not what CONTENT_LENGTH says");
    }

    atomic_fetch_add_explicit(with_body ? &counters->body : &counters->plan, 1,
                              memory_order_relaxed);

    /* as late as may be: a body that took long is judged by today's rules */
    q->set = hai_current_take(&q->engine->current);
    if (q->set == NULL) {
        return unavailable(q, "the rules were not loaded yet");
    }

    rc = with_body ? answer_body(q) : answer_plan(q);

    hai_set_unref(q->set);

    return rc;
}

int hai_question_answer(struct hai_engine *engine, struct hai_scratch *s,
                        FCGX_Request *fcgi) {
    struct question q = {.engine = engine, .scratch = s, .fcgi = fcgi};
    const char *ask = FCGX_GetParam("HOODY_ASK", fcgi->envp);
    long length = content_length(fcgi);
    bool with_body, complete;
    int rc;

    q.hooks.fired = fired;
    q.hooks.data = &q;

    with_body = ask != NULL && strcmp(ask, "body") == 0;

    if (with_body && length > (long) HAI_BODY_MAX) {
        rc = 1;

    } else {
        rc = read_input(&q, with_body, length > 0 ? (size_t) length : 0);
    }

    if (rc < 0) {
        return -1;
    }

    if (rc > 0) {
        answer_error(&q, HAI_ANSWER_413, "bad_question", "too large");
        return -1;
    }

    if (ask != NULL && strcmp(ask, "status") == 0) {
        return answer_status(&q);
    }

    complete = !with_body || length == -2 || (size_t) length == s->body.len;

    return answer_question(&q, with_body, complete);
}
