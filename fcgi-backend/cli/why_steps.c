/* hoody-ai why: the decision in words, see why.h. */

#define _GNU_SOURCE /* asprintf() */

#include "why.h"

#include "fetch.h"

#include "lib/rules.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define STEP_MAX 1024
#define NAMES_SHOWN 5

void hai_why_step(struct why *w, const char *name, enum hai_step state,
                  const char *format, ...) {
    static const char *const states[] = {"fine", "wrong", "note"};
    char text[STEP_MAX];
    va_list ap;
    char *p;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    for (p = text; *p != '\0'; p++) {
        if (*p < ' ' || *p > '~') {
            *p = '?';
        }
    }
    json_array_append_new(w->steps,
                          json_pack("{s:s, s:s, s:s}", "step", name, "is",
                                    states[state], "text", text));
}

static const char *prefix_text(const struct hai_addr *addr, char *to,
                               size_t size) {
    char text[INET6_ADDRSTRLEN] = "";

    inet_ntop(addr->len == 4 ? AF_INET : AF_INET6, addr->bytes, text,
              sizeof(text));
    if (addr->bits == addr->len * 8) {
        snprintf(to, size, "%s", text);
    } else {
        snprintf(to, size, "%s/%u", text, addr->bits);
    }
    return to;
}

static void explain_claim(struct why *w) {
    const struct hai_decision *d = &w->decision;

    if (d->reason == HAI_REASON_BAD_CREDENTIAL) {
        hai_why_step(w, "claim", HAI_STEP_WRONG,
                     "\"%s\" is no name of a container: 1 to %d of "
                     "[A-Za-z0-9_-] are wanted",
                     w->container, HAI_NAME_MAX);
    } else if (d->is_number && d->numbers == 1) {
        hai_why_step(w, "claim", HAI_STEP_FINE,
                     "number %s, of container \"%s\"", w->container,
                     d->container->c.name.data);
    } else if (d->is_number) {
        hai_why_step(w, "claim", HAI_STEP_WRONG,
                     "number %s, which %zu running containers have: it is "
                     "nobody's",
                     w->container, d->numbers);
    } else {
        hai_why_step(w, "claim", HAI_STEP_FINE, "name \"%s\"%s", w->container,
                     hai_number_valid(w->container, strlen(w->container))
                         ? ", and no container's number"
                         : "");
    }
}

static void explain_container(struct why *w) {
    const struct hai_decision *d = &w->decision;
    const struct hai_registry_entry *c;
    char expires[64] = "";

    if (d->container == NULL || !d->container->c.exists) {
        if (!d->is_number) {
            hai_why_step(w, "container", HAI_STEP_WRONG,
                         "there is no hash hoody:{%s}:container:%s%s",
                         w->registry.server, w->container,
                         d->container != NULL ? ", although a set has its name"
                                              : "");
        }
        return;
    }
    c = &d->container->c;
    if (c->ttl_ms >= 0) {
        snprintf(expires, sizeof(expires), ", expires in %" PRId64 " ms",
                 c->ttl_ms);
    }
    if (c->fault != NULL) {
        hai_why_step(w, "container", HAI_STEP_WRONG,
                     "its hash %s, so that gateways do not take it in",
                     c->fault);
    } else if (!hai_container_runs(c)) {
        hai_why_step(w, "container", HAI_STEP_WRONG,
                     "its status is \"%.200s\", not \"running\"%s",
                     c->status.data, expires);
    } else {
        hai_why_step(w, "container", HAI_STEP_FINE,
                     "its hash is there, status \"%s\"%s%s",
                     c->status.len > 0 ? "running" : "",
                     c->listed || c->enabled ? "" : ", in neither set",
                     expires);
    }
}

/* Who else claims the source, at most some of them in words. */
static void explain_others(struct why *w) {
    const struct hai_decision *d = &w->decision;
    char text[NAMES_SHOWN * (HAI_NAME_MAX + 2) + 1] = "";
    size_t i, n = 0, len = 0;

    for (i = 0; i < d->n; i++) {
        const struct hai_related *r = &d->related[i];

        if (r->by_source) {
            json_array_append_new(w->claimed_by, json_string(r->c.name.data));
        }
        if (hai_decision_is_other(d, r)) {
            if (n < NAMES_SHOWN) {
                len += (size_t) snprintf(text + len, sizeof(text) - len, "%s%s",
                                         n > 0 ? ", " : "", r->c.name.data);
            }
            n++;
        }
    }
    if (n == 0) {
        hai_why_step(w, "others", HAI_STEP_FINE,
                     "no other container claims "
                     "this source");
    } else {
        hai_why_step(w, "others",
                     d->reason == HAI_REASON_SHARED_SOURCE ? HAI_STEP_WRONG
                                                           : HAI_STEP_NOTE,
                     "%s%zu other%s%s: %s%s", d->more ? "at least " : "", n,
                     n > 1 ? "s have" : " has",
                     d->source.addr_len > 0
                         ? " this address, also through a prefix"
                         : " a part of this path as its cgroup",
                     text, n > NAMES_SHOWN ? ", ..." : "");
    }
}

static void explain_source(struct why *w) {
    const struct hai_decision *d = &w->decision;
    const struct hai_related *r = d->container;
    char prefix[INET6_ADDRSTRLEN + 8];

    if (d->reason == HAI_REASON_PEER_REPLACED) {
        hai_why_step(w, "peer", HAI_STEP_WRONG,
                     "%s, from which realip takes another address, is a "
                     "container's: it could name any source",
                     w->peer);
    }
    if (r == NULL || !hai_container_runs(&r->c)) {
        return;
    }
    if (d->source.addr_len == 0) {
        if (d->bare) {
            hai_why_step(w, "source", HAI_STEP_WRONG,
                         "the bare name \"%s\" does not count there: the "
                         "folder above it is not host root's alone",
                         r->c.cgroup.data);
        } else if (d->reason == HAI_REASON_WRONG_SOURCE) {
            hai_why_step(w, "source", HAI_STEP_WRONG,
                         "cgroup %s is not in \"%s\", what is registered "
                         "for \"%s\"",
                         w->cgroup, r->c.cgroup.data, r->c.name.data);
        } else {
            hai_why_step(w, "source", HAI_STEP_FINE,
                         "cgroup %s is in \"%s\", registered for \"%s\"",
                         w->cgroup, r->c.cgroup.data, r->c.name.data);
        }
    } else if (r->by_source) {
        hai_why_step(w, "source", HAI_STEP_FINE,
                     "%s is registered for \"%s\" as %s", w->from,
                     r->c.name.data,
                     prefix_text(&r->prefix, prefix, sizeof(prefix)));
    } else {
        hai_why_step(w, "source", HAI_STEP_WRONG,
                     "%s is not registered for \"%s\", which has %.300s",
                     w->from, r->c.name.data,
                     r->c.addresses.len > 0 ? r->c.addresses.data
                                            : "no address");
    }
    explain_others(w);
}

static void explain_gate(struct why *w) {
    const struct hai_related *r = w->decision.container;

    if (r == NULL || !hai_container_runs(&r->c)) {
        return;
    }
    if (w->sum.enabled_wrong) {
        hai_why_step(w, "gate", HAI_STEP_WRONG,
                     "hoody:{%s}:ai:enabled is not a set: AI is off for all",
                     w->registry.server);
    } else {
        hai_why_step(w, "gate", r->c.enabled ? HAI_STEP_FINE : HAI_STEP_WRONG,
                     "\"%s\" is %shoody:{%s}:ai:enabled", r->c.name.data,
                     r->c.enabled ? "in " : "not in ", w->registry.server);
    }
}

static void explain_route(struct why *w) {
    if (w->path == NULL) {
        hai_why_step(w, "route", HAI_STEP_NOTE,
                     "not asked: --method and --uri");
    } else if (w->route == NULL) {
        hai_why_step(w, "route", HAI_STEP_WRONG, "%s \"%s\" is no route",
                     w->method, w->path);
    } else if (w->route->stored && !w->stored) {
        hai_why_step(w, "route", HAI_STEP_WRONG,
                     "%s \"%s\" is about objects that are stored at the "
                     "provider, which hoody_ai_stored does not allow",
                     w->method, w->path);
    } else {
        hai_why_step(w, "route", HAI_STEP_FINE, "%s \"%s\" is %s", w->method,
                     w->path, w->route->api);
    }
}

void hai_why_explain(struct why *w) {
    explain_claim(w);
    if (w->decision.reason != HAI_REASON_BAD_CREDENTIAL) {
        explain_container(w);
        explain_source(w);
        explain_gate(w);
    }
    explain_route(w);
}

void hai_why_limits(struct why *w) {
    static const char *const names[] = {"limit_rpm", "limit_tpm",
                                        "limit_concurrency", "budget_usd_month",
                                        "budget_tokens_day"};
    const size_t n = sizeof(names) / sizeof(names[0]);
    char text[STEP_MAX] = "", error[256], *key = NULL, *rest;
    redisReply *reply = NULL;
    size_t i, len = 0;

    if (asprintf(&rest, "container:%s", w->decision.container->c.name.data)
        >= 0) {
        key = hai_registry_key(w->registry.server, rest);
        free(rest);
    }
    if (key != NULL) {
        reply = hai_redis_command(w->registry.c, error, sizeof(error),
                                  "HMGET %s %s %s %s %s %s", key, names[0],
                                  names[1], names[2], names[3], names[4]);
    }
    free(key);
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
        || reply->elements != n) {
        hai_why_step(w, "limits", HAI_STEP_NOTE, "cannot be read");
    } else {
        for (i = 0; i < n; i++) {
            if (reply->element[i]->type == REDIS_REPLY_STRING) {
                len += (size_t) snprintf(text + len, sizeof(text) - len,
                                         "%s%s=%.40s", len > 0 ? ", " : "",
                                         names[i], reply->element[i]->str);
            }
        }
        hai_why_step(w, "limits", HAI_STEP_NOTE, "%s",
                     len > 0 ? text : "none set");
        if (len > 0) {
            hai_why_step(w, "limits", HAI_STEP_NOTE,
                         "this version does not enforce them");
        }
    }
    freeReplyObject(reply);
}

static void say(void *data, bool is_error, const char *where, int line,
                int column, const char *rule, const char *reason) {
    (void) column;
    if (is_error) {
        hai_why_step(data, "rules", HAI_STEP_NOTE, "%s:%d: %s%s%s", where, line,
                     rule, *rule != '\0' ? ": " : "", reason);
    }
}

/* Of a rule that may apply: what it waits for, NULL if it does not. */
static const char *applies(struct why *w, const struct hai_rule *rule) {
    const struct hai_registry_entry *c = &w->decision.container->c;
    struct hai_rule_facts facts = {
        .container = c->name,
        .container_id = c->id,
        .tags = c->tags,
        .model = {w->model != NULL ? w->model : "",
                  w->model != NULL ? strlen(w->model) : 0},
        .event = rule->event,
        .depth = 1};
    const char *filter;

    if (rule->tool != NULL) {
        facts.tool = (struct hai_slice){rule->tool, strlen(rule->tool)};
    }
    if (!hai_rule_applies(rule, &facts, &filter)) {
        return NULL;
    }
    if (rule->tool != NULL) {
        return ", for one tool";
    }
    return w->model == NULL && rule->models.n > 0 ? ", for some models" : "";
}

static void list_rules(struct why *w, const struct hai_rules *rules) {
    size_t i, n = 0;

    for (i = 0; i < rules->n; i++) {
        const struct hai_rule *rule = &rules->rule[i];
        const char *only = applies(w, rule);

        if (only != NULL) {
            hai_why_step(w, "rule", HAI_STEP_NOTE, "%.200s (%s, %s%s%s)",
                         rule->id, hai_rule_event_name(rule->event),
                         hai_rule_action_name(rule->action),
                         rule->blocking ? ", blocking" : "", only);
            n++;
        }
    }
    hai_why_step(w, "rules", HAI_STEP_NOTE,
                 "%zu of %zu may apply, where hoody_ai_rules is on%s", n,
                 rules->n,
                 w->rules == NULL ? "; of the overlay alone, --rules names "
                                    "the file"
                                  : "");
}

void hai_why_rules(struct why *w) {
    struct hai_rule_report report = {say, w};
    struct hai_rule_overlay *overlay = NULL;
    struct hai_rules *rules;
    redisReply *reply = NULL;
    char error[256] = "no memory", *key;
    size_t n = 0, i;

    key = hai_registry_key(w->registry.server, "rules");
    if (key != NULL) {
        reply = hai_redis_command(w->registry.c, error, sizeof(error),
                                  "HGETALL %s", key);
    }
    free(key);
    if (reply == NULL) {
        hai_why_step(w, "rules", HAI_STEP_NOTE,
                     "the overlay cannot be read: %s", error);
    } else if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0) {
        overlay = calloc(reply->elements / 2, sizeof(*overlay));
        for (i = 0; overlay != NULL && i < reply->elements / 2; i++, n++) {
            const redisReply *id = reply->element[2 * i];
            const redisReply *json = reply->element[2 * i + 1];

            overlay[i] = (struct hai_rule_overlay){id->str, id->len, json->str,
                                                   json->len};
        }
    }
    rules = hai_rules_load(w->rules, overlay, n, &report);
    if (rules != NULL) {
        list_rules(w, rules);
        hai_rules_unref(rules);
    }
    free(overlay);
    freeReplyObject(reply);
}

enum hai_reason hai_why_gateway(struct why *w) {
    json_t *page, *workers, *worker;
    size_t i, loaded = 0, fresh = 0, n;
    json_int_t max_stale;
    char error[256];

    page = hai_fetch_json(w->gateway, w->timeout_ms, error, sizeof(error));
    workers = json_object_get(page, "workers");
    n = json_array_size(workers);
    max_stale = json_integer_value(json_object_get(page, "max_stale_ms"));
    if (page == NULL || n == 0 || max_stale <= 0) {
        hai_why_step(w, "gateway", HAI_STEP_NOTE, "%.300s: %s", w->gateway,
                     page == NULL ? error : "no status page of a gateway");
        json_decref(page);
        return HAI_REASON_OK;
    }
    json_array_foreach(workers, i, worker) {
        bool has = json_is_true(json_object_get(worker, "loaded"));
        json_int_t age = json_integer_value(json_object_get(worker, "age_ms"));
        bool stale = age >= max_stale;

        loaded += has;
        fresh += has && !stale;
        hai_why_step(
            w, "gateway", has && !stale ? HAI_STEP_FINE : HAI_STEP_WRONG,
            "worker %" JSON_INTEGER_FORMAT ": %s, %" JSON_INTEGER_FORMAT
            " containers, %" JSON_INTEGER_FORMAT " ms old%s%s",
            json_integer_value(json_object_get(worker, "worker")),
            has ? "loaded" : "not loaded yet",
            json_integer_value(json_object_get(worker, "containers")), age,
            stale && has ? ", too old" : "",
            json_is_true(json_object_get(worker, "connected"))
                ? ""
                : ", not connected to Redis");
    }
    json_decref(page);
    if (fresh > 0) {
        return HAI_REASON_OK;
    }
    return loaded > 0 ? HAI_REASON_STALE : HAI_REASON_NOT_LOADED;
}

const char *hai_why_mend(const struct why *w, enum hai_reason reason) {
    const struct hai_related *r = w->decision.container;

    switch (reason) {
    case HAI_REASON_OK:
        return NULL;
    case HAI_REASON_BAD_CREDENTIAL:
        return "The credential is \"container-\" and the container's name or "
               "number.";
    case HAI_REASON_NO_CONTAINER:
        if (r != NULL && r->c.exists) {
            return "Write the container's hash anew, as redis-schema/schema.md "
                   "says.";
        }
        return "Register the container, or use the name or number of one that "
               "is; case counts. See that --server is what hoody_ai_server "
               "says.";
    case HAI_REASON_NOT_RUNNING:
        return "Start the container, or set its field \"status\" to "
               "\"running\".";
    case HAI_REASON_WRONG_SOURCE:
        if (w->decision.bare) {
            return "Register the absolute path of the container's cgroup.";
        }
        return w->decision.source.addr_len > 0
                   ? "Add the address to the container's field \"addresses\" "
                     "if it is its own; else the credential is used in another "
                     "place than its container, or something between them "
                     "replaces the address."
                   : "Set the container's field \"cgroup\" to its absolute "
                     "path.";
    case HAI_REASON_SHARED_SOURCE:
        return "Take the source from the containers that do not have it any "
               "more: what two claim is nobody's.";
    case HAI_REASON_SHARED_NUMBER:
        return "Give each container a number of its own, or use the name.";
    case HAI_REASON_PEER_REPLACED:
        return "Take the container's address out of set_real_ip_from.";
    case HAI_REASON_DISABLED:
        return w->sum.enabled_wrong
                   ? "Delete the key ai:enabled and write the set anew."
                   : "Add the name to the set ai:enabled.";
    case HAI_REASON_ROUTE:
        return "Use a route and method of docs/DIRECTIVES.md, "
               "\"hoody_ai\".";
    case HAI_REASON_NOT_LOADED:
    case HAI_REASON_STALE:
        return "See that the gateway reaches Redis: hoody-ai doctor.";
    default:
        return NULL;
    }
}
