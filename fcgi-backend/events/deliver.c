/*
 * The thread that delivers webhooks.  The retry list in Redis owns every
 * delivery; this thread leases those that are due, makes one attempt, and
 * says what became of it.  A lease of a program that died ends by itself.
 */

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "lib/log.h"
#include "link.h"
#include "store.h"
#include "url.h"
#include "webhook.h"
#include "worker.h"

#define JOBS 256        /* leased at a time */
#define RUNNING 32      /* transfers at a time, */
#define HOST_RUNNING 4  /* and to one host */
#define HOST_JOBS 32    /* leased of one host */
#define LEASE_MS 30000  /* longer than waiting and a transfer's time-out */
#define WAIT_MS 15000   /* for a place among the transfers */
#define LINGER_MS 5000  /* for running ones at the end */
#define TICK_MS 1000    /* how often the list is looked at anyway */
#define LETTERS_TOLD 10 /* dead letters in the log, each second */

enum job_state {
    JOB_FREE,
    JOB_WAITING,  /* for its transfer */
    JOB_RUNNING,  /* libcurl has it */
    JOB_SETTLING, /* Redis is to hear of its outcome */
};

struct job {
    enum job_state state;
    char *id;
    uint64_t lease; /* its end, which also names it */
    uint64_t taken; /* monotonic */
    char *payload;
    char *rule_id;
    char *eid;
    uint64_t attempts; /* made so far */
    struct hai_rules *rules;
    const struct hai_rule *rule; /* of these rules */
    struct hai_url url;
    struct hai_transfer transfer;
    enum hai_outcome outcome;
    uint64_t due; /* of HAI_OUTCOME_LATER */
    char error[256];
};

struct deliver {
    struct hai_worker *w;
    struct hai_link link;
    struct job job[JOBS];
    uint64_t next_take;   /* monotonic */
    uint64_t next_beat;   /* the same */
    uint64_t next_settle; /* after an error of Redis */
    uint64_t told_store;
    uint64_t second; /* of the dead letters told */
    unsigned told;
};

static void free_job(struct job *job) {
    hai_transfer_free(&job->transfer);
    hai_url_free(&job->url);
    if (job->rules != NULL) {
        hai_rules_unref(job->rules);
    }
    free(job->id);
    free(job->payload);
    free(job->rule_id);
    free(job->eid);
    memset(job, 0, sizeof(*job));
}

static void settle(struct job *job, enum hai_outcome outcome, uint64_t due) {
    job->outcome = outcome;
    job->due = due;
    job->state = JOB_SETTLING;
}

/* After an attempt that failed. */
static void settle_failed(struct deliver *d, struct job *job,
                          enum hai_outcome outcome, long retry_after) {
    job->attempts++;

    if (outcome == HAI_OUTCOME_LATER && job->attempts >= d->w->attempts) {
        outcome = HAI_OUTCOME_DEAD;
    }
    settle(job, outcome,
           hai_now()
               + hai_backoff(d->w->backoff, (unsigned) job->attempts,
                             retry_after, hai_random()));
}

static void tell_dead(struct deliver *d, const struct job *job) {
    uint64_t second = hai_now_monotonic() / 1000;

    if (second != d->second) {
        if (d->told > LETTERS_TOLD) {
            hai_log(HAI_LOG_WARN, "webhook: %u more dead letters",
                    d->told - LETTERS_TOLD);
        }
        d->second = second;
        d->told = 0;
    }
    if (d->told++ < LETTERS_TOLD) {
        hai_log(HAI_LOG_WARN,
                "webhook: entry %s, rule \"%s\": given up after %" PRIu64
                " attempts: %s",
                job->id, job->rule_id, job->attempts, job->error);
    }
}

static char *dump_job(const struct job *job) {
    json_t *object = json_object();
    char *text = NULL;

    if (object != NULL
        && json_object_set_new(object, "payload", json_string(job->payload))
               == 0
        && json_object_set_new(object, "rule", json_string(job->rule_id)) == 0
        && json_object_set_new(object, "eid", json_string(job->eid)) == 0
        && json_object_set_new(object, "attempts",
                               json_integer((json_int_t) job->attempts))
               == 0)
    {
        text = json_dumps(object, JSON_COMPACT);
    }
    json_decref(object);
    return text;
}

static void add_pair(struct hai_args *args, const char *name,
                     const char *value) {
    if (value != NULL && *value != '\0') {
        hai_args_str(args, name);
        hai_args_str(args, value);
    }
}

static void make_letter(struct hai_args *letter, const struct job *job) {
    add_pair(letter, "id", job->id);
    add_pair(letter, "eid", job->eid);
    add_pair(letter, "rule", job->rule_id);
    add_pair(letter, "url", job->url.shown);
    hai_args_str(letter, "attempts");
    hai_args_num(letter, job->attempts);
    add_pair(letter, "error", job->error);
    hai_args_str(letter, "ts");
    hai_args_num(letter, hai_now());
    add_pair(letter, "payload", job->payload);
}

static int send_outcome(struct deliver *d, const struct job *job) {
    struct hai_args args, letter;
    char *data;
    int rc;

    hai_args_init(&args);
    hai_args_init(&letter);

    switch (job->outcome) {
    case HAI_OUTCOME_DONE:
        hai_store_done(&args, d->w, job->id, job->lease);
        break;
    case HAI_OUTCOME_LATER:
        data = dump_job(job);
        if (data == NULL) {
            args.failed = true;
        } else {
            hai_store_later(&args, d->w, job->id, job->lease, job->due, data);
        }
        free(data);
        break;
    case HAI_OUTCOME_DEAD:
        make_letter(&letter, job);
        hai_store_dead(&args, d->w, job->id, job->lease, &letter);
        break;
    }

    rc = hai_link_send(&d->link, &args);
    hai_args_free(&args);
    hai_args_free(&letter);
    return rc;
}

/* Tells Redis the outcomes that it has not heard of.  What it cannot take now
 * is told again; repeating it changes nothing. */
static void send_outcomes(struct deliver *d) {
    bool sent[JOBS] = {false};

    if (hai_now_monotonic() < d->next_settle) {
        return;
    }

    for (size_t i = 0; i < JOBS; i++) {
        if (d->job[i].state == JOB_SETTLING) {
            if (!hai_link_up(&d->link) || send_outcome(d, &d->job[i]) != 0) {
                return;
            }
            sent[i] = true;
        }
    }

    for (size_t i = 0; i < JOBS; i++) {
        redisReply *reply;

        if (!sent[i]) {
            continue;
        }
        reply = hai_link_read(&d->link);
        if (reply != NULL) {
            if (d->job[i].outcome == HAI_OUTCOME_DEAD) {
                tell_dead(d, &d->job[i]);
            }
            free_job(&d->job[i]);
            freeReplyObject(reply);
            continue;
        }
        if (d->link.c == NULL) {
            return;
        }
        hai_tell(&d->told_store, "webhook: an outcome waits", d->link.error);
        d->next_settle = hai_now_monotonic() + TICK_MS;
    }
}

static size_t count_host(const struct deliver *d, const struct job *of,
                         bool running) {
    size_t n = 0;

    for (size_t i = 0; i < JOBS; i++) {
        const struct job *job = &d->job[i];

        if (job != of && job->url.host != NULL
            && (job->state == JOB_RUNNING
                || (!running && job->state == JOB_WAITING))
            && strcmp(job->url.host, of->url.host) == 0)
        {
            n++;
        }
    }
    return n;
}

static size_t count_state(const struct deliver *d, enum job_state state) {
    size_t n = 0;

    for (size_t i = 0; i < JOBS; i++) {
        n += d->job[i].state == state ? 1 : 0;
    }
    return n;
}

/* The rule as it is now; without one the delivery is dead. */
static void find_rule(struct deliver *d, struct job *job) {
    const char *why = "the rule is gone";
    int rc;

    job->rules = hai_worker_rules(d->w);

    for (size_t i = 0; i < job->rules->n; i++) {
        const struct hai_rule *rule = &job->rules->rule[i];

        if (strcmp(rule->id, job->rule_id) != 0) {
            continue;
        }
        if (!rule->enabled) {
            why = "the rule is disabled";
        } else if (rule->action != HAI_ACT_WEBHOOK || rule->url == NULL) {
            why = "the rule has no webhook any more";
        } else {
            job->rule = rule;
        }
        break;
    }

    if (job->rule == NULL) {
        snprintf(job->error, sizeof(job->error), "%s", why);
        settle(job, HAI_OUTCOME_DEAD, 0);
        return;
    }

    rc = hai_url_parse(&job->url, job->rule->url);
    if (rc == -1) {
        snprintf(job->error, sizeof(job->error), "the rule's url is invalid");
        settle(job, HAI_OUTCOME_DEAD, 0);
    } else if (rc != 0) {
        settle(job, HAI_OUTCOME_LATER, hai_now() + TICK_MS);
    }
}

static char *copy_member(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));

    return strdup(text != NULL ? text : "");
}

/* A delivery from the list.  What nobody can read becomes a dead letter. */
static void add_job(struct deliver *d, struct job *job, const redisReply *id,
                    const redisReply *data, uint64_t lease) {
    json_t *object = json_loadb(data->str, data->len, 0, NULL);
    json_int_t attempts;

    memset(job, 0, sizeof(*job));
    job->state = JOB_WAITING;
    job->lease = lease;
    job->taken = hai_now_monotonic();
    job->id = strdup(id->str);
    job->payload = copy_member(object, "payload");
    job->rule_id = copy_member(object, "rule");
    job->eid = copy_member(object, "eid");
    attempts = json_integer_value(json_object_get(object, "attempts"));
    job->attempts = attempts > 0 ? (uint64_t) attempts : 0;
    json_decref(object);

    if (job->id == NULL || job->payload == NULL || job->rule_id == NULL
        || job->eid == NULL)
    {
        free_job(job); /* its lease ends */
        return;
    }

    if (job->payload[0] == '\0') {
        snprintf(job->error, sizeof(job->error), "unreadable delivery");
        settle(job, HAI_OUTCOME_DEAD, 0);
        return;
    }

    find_rule(d, job);

    /* others wait behind a slow host, not among those that are leased */
    if (job->state == JOB_WAITING && count_host(d, job, false) >= HOST_JOBS) {
        settle(job, HAI_OUTCOME_LATER,
               hai_now() + TICK_MS + hai_random() % (4 * TICK_MS));
    }
}

static void take_reply(struct deliver *d, const redisReply *reply,
                       uint64_t lease, uint64_t now) {
    uint64_t due = 0;
    size_t place = 0;

    if (reply->elements == 0) {
        return;
    }

    if (reply->element[0]->type == REDIS_REPLY_STRING) {
        due = strtoull(reply->element[0]->str, NULL, 10);
        if (due < now + TICK_MS) {
            d->next_take = hai_now_monotonic() + (due > now ? due - now : 0);
        }
    }

    for (size_t i = 1; i + 1 < reply->elements; i += 2) {
        if (reply->element[i]->type != REDIS_REPLY_STRING
            || reply->element[i + 1]->type != REDIS_REPLY_STRING)
        {
            continue;
        }
        while (place < JOBS && d->job[place].state != JOB_FREE) {
            place++;
        }
        if (place == JOBS) {
            break;
        }
        add_job(d, &d->job[place], reply->element[i], reply->element[i + 1],
                lease);
    }
}

static void take(struct deliver *d) {
    size_t room = count_state(d, JOB_FREE);
    uint64_t now = hai_now();
    uint64_t lease = now + LEASE_MS;
    struct hai_args args;
    redisReply *reply;

    if (hai_worker_take(d->w, &d->w->handed_over)) {
        d->next_take = 0;
    }
    if (room == 0 || hai_now_monotonic() < d->next_take
        || !hai_link_up(&d->link)) {
        return;
    }

    /* an empty list is read without a write, on no master as well */
    if (hai_now_monotonic() >= d->next_beat) {
        d->next_beat = hai_now_monotonic() + TICK_MS;
        if (!hai_link_beat(&d->link)) {
            return;
        }
    }

    d->next_take = hai_now_monotonic() + TICK_MS;

    hai_args_init(&args);
    hai_store_take(&args, d->w, lease, room);
    reply = hai_link_call(&d->link, &args);
    hai_args_free(&args);

    if (reply == NULL && d->link.c != NULL) {
        hai_tell(&d->told_store, "webhooks wait", d->link.error);
    } else if (reply != NULL && reply->type == REDIS_REPLY_ARRAY) {
        take_reply(d, reply, lease, now);
    }
    freeReplyObject(reply);
}

static void start(struct deliver *d, struct job *job) {
    enum hai_outcome outcome =
        hai_transfer_begin(&job->transfer, d->w, job->rule, job->url.https,
                           job->payload, job->error, sizeof(job->error));

    if (outcome != HAI_OUTCOME_DONE) {
        settle_failed(d, job, outcome, 0);
        return;
    }

    if (curl_multi_add_handle(d->w->multi, job->transfer.easy) != CURLM_OK) {
        hai_transfer_free(&job->transfer);
        snprintf(job->error, sizeof(job->error), "no memory");
        settle_failed(d, job, HAI_OUTCOME_LATER, 0);
        return;
    }
    job->state = JOB_RUNNING;
}

static void start_waiting(struct deliver *d) {
    size_t running = count_state(d, JOB_RUNNING);

    for (size_t i = 0; i < JOBS; i++) {
        struct job *job = &d->job[i];

        if (job->state != JOB_WAITING) {
            continue;
        }
        if (hai_now_monotonic() - job->taken > WAIT_MS) {
            settle(job, HAI_OUTCOME_LATER, hai_now());
        } else if (running < RUNNING && count_host(d, job, true) < HOST_RUNNING)
        {
            start(d, job);
            running += job->state == JOB_RUNNING ? 1 : 0;
        }
    }
}

static void end_transfer(struct deliver *d, struct job *job, CURLcode code) {
    enum hai_outcome outcome;
    long retry_after;

    outcome = hai_transfer_end(&job->transfer, code, &retry_after, job->error,
                               sizeof(job->error));
    curl_multi_remove_handle(d->w->multi, job->transfer.easy);
    hai_transfer_free(&job->transfer);

    if (outcome == HAI_OUTCOME_DONE) {
        settle(job, HAI_OUTCOME_DONE, 0);
    } else {
        hai_log(HAI_LOG_DEBUG, "webhook: entry %s, rule \"%s\": %s", job->id,
                job->rule_id, job->error);
        settle_failed(d, job, outcome, retry_after);
    }
}

static void end_transfers(struct deliver *d) {
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(d->w->multi, &left)) != NULL) {
        CURLcode code = message->data.result;
        CURL *easy = message->easy_handle;

        for (size_t i = 0; message->msg == CURLMSG_DONE && i < JOBS; i++) {
            if (d->job[i].state == JOB_RUNNING
                && d->job[i].transfer.easy == easy) {
                end_transfer(d, &d->job[i], code);
                break;
            }
        }
    }
}

/* Back on the list, due at once: the attempt does not count. */
static void release(struct deliver *d, enum job_state state) {
    for (size_t i = 0; i < JOBS; i++) {
        struct job *job = &d->job[i];

        if (job->state != state) {
            continue;
        }
        if (state == JOB_RUNNING) {
            curl_multi_remove_handle(d->w->multi, job->transfer.easy);
            hai_transfer_free(&job->transfer);
        }
        settle(job, HAI_OUTCOME_LATER, hai_now());
    }
}

static int pause_ms(const struct deliver *d, bool ready) {
    uint64_t now = hai_now_monotonic();

    if (!ready || count_state(d, JOB_FREE) == 0) {
        return TICK_MS / 10;
    }
    if (count_state(d, JOB_SETTLING) > 0 || d->link.c == NULL) {
        return TICK_MS / 20;
    }
    return d->next_take > now ? (int) (d->next_take - now) : 0;
}

static void turn(struct deliver *d, bool stopping) {
    struct hai_rules *rules = hai_worker_rules(d->w);
    int running;

    (void) curl_multi_perform(d->w->multi, &running);
    end_transfers(d);
    send_outcomes(d);

    if (!stopping && rules != NULL) {
        take(d);
        start_waiting(d);
        (void) curl_multi_perform(d->w->multi, &running);
    }

    (void) curl_multi_poll(d->w->multi, NULL, 0,
                           stopping ? TICK_MS / 20 : pause_ms(d, rules != NULL),
                           NULL);
    if (rules != NULL) {
        hai_rules_unref(rules);
    }
}

void *hai_deliver(void *worker) {
    struct hai_worker *w = worker;
    struct deliver *d = calloc(1, sizeof(*d));
    uint64_t end;

    if (d == NULL) {
        hai_worker_fail("no memory");
    }

    d->w = w;
    hai_link_init(&d->link, &w->redis, "hoody-ai-events-webhooks");

    while (!hai_worker_stopping(w)) {
        turn(d, false);
    }

    release(d, JOB_WAITING);
    end = hai_now_monotonic() + LINGER_MS;

    while (count_state(d, JOB_RUNNING) > 0 && hai_now_monotonic() < end) {
        turn(d, true);
    }
    release(d, JOB_RUNNING);
    send_outcomes(d);

    for (size_t i = 0; i < JOBS; i++) {
        if (d->job[i].state != JOB_FREE) {
            free_job(&d->job[i]); /* its lease ends */
        }
    }
    hai_link_close(&d->link);
    free(d);
    return NULL;
}
