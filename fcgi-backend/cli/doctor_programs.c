/* hoody-ai doctor: the programs beside nginx, and nginx as it runs. */

#include "doctor.h"
#include "engine_status.h"
#include "fetch.h"

#include "lib/registry.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP "hoody-ai-events"
#define LAG_MAX 10000

/* The first "hoody_ai_rules" that is on. */
static const struct hai_nginx_node *find_rules(const struct hai_doctor *d) {
    const struct hai_nginx_node *node = d->tree;

    while (node != NULL && (node = hai_nginx_next(node)) != NULL) {
        if (hai_nginx_is(node, "hoody_ai_rules") && node->n > 1
            && strcmp(node->word[1], "off") != 0)
        {
            return node;
        }
    }
    return NULL;
}

/* Where its location sends the questions. */
static const char *find_socket(const struct hai_doctor *d, const char *uri) {
    const struct hai_nginx_node *node = d->tree, *upstream;
    const char *to = "";

    while (*to == '\0' && (node = hai_nginx_next(node)) != NULL) {
        if (hai_nginx_is(node, "location")
            && strcmp(node->word[node->n - 1], uri) == 0) {
            to = hai_nginx_value(node, "fastcgi_pass");
        }
    }
    upstream = hai_doctor_upstream(d, to);
    if (upstream != NULL) {
        to = hai_nginx_value(upstream, "server");
    }
    return *to != '\0' ? to : HAI_CLI_ENGINE_SOCKET;
}

/* The engine's address; NULL after it has said that there is none. */
static const char *engine_address(const struct hai_doctor *d,
                                  struct hai_finding *f) {
    const struct hai_nginx_node *rules = find_rules(d);

    if (d->rules_socket != NULL) {
        return d->rules_socket;
    }
    if (rules == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "hoody_ai_rules is not used");
        return NULL;
    }
    return find_socket(d, rules->word[1]);
}

void hai_doctor_rules_socket(const struct hai_doctor *d,
                             struct hai_finding *f) {
    const char *address = engine_address(d, f);

    if (address == NULL) {
        return;
    }
    if (strncmp(address, "unix:", 5) == 0) {
        address += 5;
    }
    if (*address != '/') {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "the engine is not at a unix socket");
    } else {
        hai_doctor_may_use(d, address, f);
    }
}

/* The epoch in Redis, "" where there is none. */
static void read_epoch(const struct hai_doctor *d, char *to, size_t size,
                       struct hai_finding *f) {
    char *key = hai_registry_key(d->registry.server, "rules:epoch"), error[128];
    redisContext *c = hai_doctor_redis(d, f);
    redisReply *reply = NULL;

    to[0] = '\0';
    if (c != NULL && key != NULL) {
        reply = hai_redis_command(c, error, sizeof(error), "GET %s", key);
    }
    if (reply != NULL && reply->type == REDIS_REPLY_STRING) {
        snprintf(to, size, "%s", reply->str);
    }
    freeReplyObject(reply);
    free(key);
    redisFree(c);
}

static void judge_engine(const struct hai_doctor *d, json_t *status,
                         struct hai_finding *f) {
    const char *epoch = json_string_value(json_object_get(status, "epoch"));
    json_t *error = json_object_get(status, "last_error");
    char published[160];

    read_epoch(d, published, sizeof(published), f);
    if (error != NULL && !json_is_null(error)) {
        hai_doctor_say(f, HAI_DOCTOR_WARN, "hoody-ai rules status names it.",
                       "the last reload failed, older rules are in force");
    }
    if (epoch == NULL || strcmp(epoch, published) != 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "See that engine and gateway have the same Redis and "
                       "server, and that the engine may write its epoch.",
                       "the engine's epoch is %.100s, that in Redis %.100s",
                       epoch != NULL ? epoch : "none",
                       *published != '\0' ? published : "none");
    } else {
        hai_doctor_say(
            f, HAI_DOCTOR_OK, NULL, "%" JSON_INTEGER_FORMAT " rules, epoch %s",
            json_integer_value(json_object_get(status, "rules")), epoch);
    }
}

void hai_doctor_rules_engine(const struct hai_doctor *d,
                             struct hai_finding *f) {
    const char *address = engine_address(d, f);
    char error[256];
    json_t *status;

    if (address == NULL) {
        return;
    }
    status = hai_cli_engine_status(address, (int) (d->timeout_ms * 9 / 10),
                                   error, sizeof(error));
    if (status == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Start it: systemctl start hoody-ai-rules.socket "
                       "hoody-ai-rules.service",
                       "the rule engine at %s: %s", address, error);
        return;
    }
    judge_engine(d, status, f);
    json_decref(status);
}

/* A member of one group of XINFO GROUPS, NULL: there is none. */
static const redisReply *member(const redisReply *group, const char *name) {
    size_t i;

    for (i = 0; i + 1 < group->elements; i += 2) {
        if (group->element[i]->type == REDIS_REPLY_STRING
            && strcmp(group->element[i]->str, name) == 0)
        {
            return group->element[i + 1];
        }
    }
    return NULL;
}

static void judge_groups(const redisReply *groups, struct hai_finding *f) {
    const redisReply *name, *lag, *pending;
    size_t i;

    for (i = 0; i < groups->elements; i++) {
        name = member(groups->element[i], "name");
        if (name == NULL || name->type != REDIS_REPLY_STRING
            || strcmp(name->str, GROUP) != 0)
        {
            continue;
        }
        lag = member(groups->element[i], "lag");
        pending = member(groups->element[i], "pending");
        if ((lag != NULL && lag->type == REDIS_REPLY_INTEGER
             && lag->integer > LAG_MAX)
            || (pending != NULL && pending->type == REDIS_REPLY_INTEGER
                && pending->integer > LAG_MAX))
        {
            hai_doctor_say(f, HAI_DOCTOR_WARN,
                           "See that hoody-ai-events runs, and its log.",
                           "it is far behind: more than %d entries", LAG_MAX);
        } else {
            hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "it is %lld entries behind",
                           lag != NULL && lag->type == REDIS_REPLY_INTEGER
                               ? lag->integer
                               : 0);
        }
        return;
    }
    hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                   "hoody-ai-events has never read this stream");
}

void hai_doctor_events_worker(const struct hai_doctor *d,
                              struct hai_finding *f) {
    redisContext *c = hai_doctor_admin(d, f);
    char *key = hai_registry_key(d->registry.server, "events"), error[256];
    redisReply *reply;

    if (c == NULL || key == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "the event worker's place is for --admin-redis to see");
        free(key);
        redisFree(c);
        return;
    }
    reply = hai_redis_command(c, error, sizeof(error), "XINFO GROUPS %s", key);
    if (reply == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "XINFO GROUPS: %s", error);
    } else {
        judge_groups(reply, f);
    }
    freeReplyObject(reply);
    free(key);
    redisFree(c);
}

static void judge_worker(json_t *worker, json_int_t max_stale,
                         struct hai_finding *f) {
    json_int_t age = json_integer_value(json_object_get(worker, "age_ms"));
    json_int_t number = json_integer_value(json_object_get(worker, "worker"));
    const char *mend = "See the error log of nginx, and redis.reachable.";

    if (!json_is_true(json_object_get(worker, "loaded"))) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, mend,
                       "worker %" JSON_INTEGER_FORMAT
                       " has not loaded the registry",
                       number);
    } else if (age >= max_stale) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, mend,
                       "worker %" JSON_INTEGER_FORMAT
                       " has a registry that is %" JSON_INTEGER_FORMAT
                       " ms old",
                       number, age);
    }
    if (!json_is_true(json_object_get(worker, "events_connected"))) {
        hai_doctor_say(
            f, HAI_DOCTOR_WARN, mend,
            "worker %" JSON_INTEGER_FORMAT " cannot write its events", number);
    }
}

void hai_doctor_gateway(const struct hai_doctor *d, struct hai_finding *f) {
    json_t *page, *workers, *worker;
    json_int_t max_stale;
    const char *version;
    char error[256];
    size_t i;

    if (d->gateway == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "its status page is named with --gateway");
        return;
    }
    page = hai_fetch_json(d->gateway, d->timeout_ms * 9 / 10, error,
                          sizeof(error));
    workers = json_object_get(page, "workers");
    version = json_string_value(json_object_get(page, "version"));
    max_stale = json_integer_value(json_object_get(page, "max_stale_ms"));
    if (json_array_size(workers) == 0 || version == NULL || max_stale <= 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "See that nginx runs, and that the location has "
                       "hoody_ai_status and lets this host in.",
                       "%.300s: %s", d->gateway,
                       page == NULL ? error : "no status page of a gateway");
        json_decref(page);
        return;
    }
    if (strcmp(version, HAI_VERSION) != 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, "Restart nginx.",
                       "it runs version %s, the programs are " HAI_VERSION,
                       version);
    }
    json_array_foreach(workers, i, worker) {
        judge_worker(worker, max_stale, f);
    }
    hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "%zu workers have the registry",
                   json_array_size(workers));
    json_decref(page);
}
