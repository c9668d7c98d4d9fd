/*
 * hoody-ai why: what a gateway would answer to a request, and what that is
 * based on.  Reads only; the decision is lib/registry_decide.h's.
 */

#include "cli.h"
#include "uri.h"
#include "why.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAME "hoody-ai why"
#define PREFIX "container-"
#define PROGRESS_MS 500 /* what takes longer says so */

/* Who asks at the terminal sees that something happens. */
struct pass {
    struct why *w;
    int64_t began, said;
    bool no_memory;
};

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int add(void *data, const struct hai_registry_entry *c) {
    struct pass *pass = data;

    pass->no_memory = hai_decision_add(&pass->w->decision, c) != 0;
    return pass->no_memory ? -1 : 0;
}

static void progress(void *data, size_t done, size_t total) {
    struct pass *pass = data;
    int64_t now = now_ms();

    if (now - pass->began >= PROGRESS_MS && now - pass->said >= PROGRESS_MS) {
        fprintf(stderr, "%s: %zu of %zu containers\n", NAME, done, total);
        pass->said = now;
    }
}

/* Reads the registry into the decision. */
static int read_registry(struct why *w, char *error, size_t size) {
    struct pass pass = {.w = w, .began = now_ms()};
    struct hai_registry_hooks hooks = {add, progress, &pass};
    int rc;

    if (hai_cli_registry_open(&w->registry, error, size) != 0) {
        return -1;
    }
    rc = hai_registry_each(w->registry.c, w->registry.server, &hooks, &w->sum,
                           error, size);
    if (pass.no_memory) {
        snprintf(error, size, "no memory");
    }
    return rc;
}

static int complain(const char *option, const char *reason) {
    fprintf(stderr, "%s: %s: %s; see --help\n", NAME, option, reason);
    return -1;
}

/* What the gateway's location leaves of the URI; w->path is set. */
static int split_uri(struct why *w) {
    char *uri = hai_uri_normalise(w->uri), *at;
    size_t len;

    if (uri == NULL) {
        return complain("--uri", "nginx itself answers 400 to it");
    }
    if (w->location != NULL) {
        len = strlen(w->location);
    } else {
        at = strstr(uri, "/v1/");
        if (at == NULL) {
            free(uri);
            return complain("--location", "the location of nginx is wanted "
                                          "when the URI has no /v1/");
        }
        len = (size_t) (at - uri) + strlen("/v1/");
    }
    if (w->location != NULL
        && (len == 0 || strncmp(uri, w->location, len) != 0
            || (w->location[len - 1] != '/' && uri[len] != '/')))
    {
        free(uri);
        return complain("--uri", "it is not in this location");
    }
    w->path = strdup(uri + len + (uri[len - 1] != '/'));
    free(uri);
    return w->path != NULL ? 0 : complain("--uri", "no memory");
}

static enum hai_method method_of(const char *name) {
    if (strcmp(name, "GET") == 0) {
        return HAI_GET;
    }
    if (strcmp(name, "POST") == 0) {
        return HAI_POST;
    }
    return strcmp(name, "DELETE") == 0 ? HAI_DELETE : HAI_OTHER_METHOD;
}

/* Checks the question; 0, or -1 after a message. */
static int prepare(struct why *w, struct hai_source *source) {
    if (w->claim == NULL) {
        return complain("--container", "it is wanted");
    }
    if ((w->from != NULL) == (w->cgroup != NULL)) {
        return complain("--from, --cgroup", "one of them is wanted");
    }
    memset(source, 0, sizeof(*source));
    if (w->from != NULL
        && hai_source_address(w->from, source->addr, &source->addr_len) != 0)
    {
        return complain("--from", "an IPv4 or IPv6 address is wanted");
    }
    if (w->peer != NULL
        && (w->from == NULL
            || hai_source_address(w->peer, source->peer, &source->peer_len)
                   != 0))
    {
        return complain("--peer", "an address is wanted, beside --from");
    }
    if (w->cgroup != NULL) {
        if (w->cgroup[0] != '/') {
            return complain("--cgroup", "the path of /proc/PID/cgroup is "
                                        "wanted, behind \"0::\"");
        }
        source->cgroup = (struct hai_slice){w->cgroup, strlen(w->cgroup)};
    }
    if (w->uri == NULL && w->method != NULL) {
        return complain("--uri", "it is wanted beside --method");
    }
    if (w->uri != NULL) {
        if (w->method == NULL) {
            w->method = "POST";
        }
        if (split_uri(w) != 0) {
            return -1;
        }
        w->route =
            hai_route_find(w->path, strlen(w->path), method_of(w->method));
    }
    w->container = w->claim;
    if (strncmp(w->claim, PREFIX, strlen(PREFIX)) == 0) {
        w->container += strlen(PREFIX);
    }
    return 0;
}

static void print_text(struct why *w, enum hai_reason reason, bool known) {
    const struct hai_refusal *refusal = hai_refusal(reason);
    bool color = hai_cli_color(stdout, false);
    const char *mend = hai_why_mend(w, reason);
    json_t *step;
    size_t i;

    json_array_foreach(w->steps, i, step) {
        const char *is = json_string_value(json_object_get(step, "is"));
        const char *text = json_string_value(json_object_get(step, "text"));
        bool wrong = strcmp(is, "wrong") == 0;

        printf("%-11s", json_string_value(json_object_get(step, "step")));
        if (color && strcmp(is, "note") != 0) {
            fputs(wrong ? HAI_CLI_RED : HAI_CLI_GREEN, stdout);
        }
        fputs(wrong                     ? "NO  "
              : strcmp(is, "fine") == 0 ? "yes "
                                        : "-   ",
              stdout);
        if (color && strcmp(is, "note") != 0) {
            fputs(HAI_CLI_PLAIN, stdout);
        }
        printf("%s\n", text);
    }
    if (!known) {
        return;
    }
    if (reason == HAI_REASON_OK) {
        printf("%-11sadmitted\n", "answer");
    } else {
        printf("%-11s%d %s, reason %s\n", "answer", refusal->status,
               refusal->code, refusal->reason);
    }
    if (mend != NULL) {
        printf("%-11s%s\n", "mend", mend);
    }
}

static int print_json(struct why *w, enum hai_reason reason, bool known) {
    const struct hai_refusal *refusal = hai_refusal(reason);
    const char *mend = hai_why_mend(w, reason);
    const struct hai_related *r = w->decision.container;
    json_t *json;
    int rc;

    json = json_pack("{s:O, s:O, s:s?}", "steps", w->steps, "claimed_by",
                     w->claimed_by, "container",
                     r != NULL && hai_container_runs(&r->c) ? r->c.name.data
                                                            : NULL);
    if (known) {
        json_t *answer = json_pack("{s:b, s:i, s:s, s:s, s:s?}", "admitted",
                                   reason == HAI_REASON_OK, "status",
                                   refusal->status, "code", refusal->code,
                                   "reason", refusal->reason, "mend", mend);

        json_object_update(json, answer);
        json_decref(answer);
    } else {
        json_object_set_new(json, "admitted", json_null());
    }
    rc = json != NULL ? json_dumpf(json, stdout, JSON_INDENT(2)) : -1;
    json_decref(json);
    putchar('\n');
    return rc;
}

static int answer(struct why *w, bool json) {
    enum hai_reason reason = HAI_REASON_OK, gateway = HAI_REASON_OK;
    char error[256];
    bool known;

    known = read_registry(w, error, sizeof(error)) == 0;
    if (known) {
        hai_decision_end(&w->decision);
        hai_why_explain(w);
        reason = w->decision.reason;
        if (reason == HAI_REASON_OK && w->path != NULL
            && (w->route == NULL || (w->route->stored && !w->stored)))
        {
            reason = HAI_REASON_ROUTE;
        }
        if (w->decision.container != NULL
            && hai_container_runs(&w->decision.container->c))
        {
            hai_why_limits(w);
            hai_why_rules(w);
        }
    } else {
        hai_why_step(w, "registry", HAI_STEP_WRONG, "cannot be read: %s",
                     error);
        hai_why_step(w, "registry", HAI_STEP_NOTE,
                     "a gateway that cannot either answers from what it knows "
                     "for max_stale, then 503 registry_unavailable");
    }
    if (w->gateway != NULL) {
        gateway = hai_why_gateway(w);
        if (gateway != HAI_REASON_OK
            && w->decision.reason != HAI_REASON_BAD_CREDENTIAL) {
            reason = gateway;
            known = true;
        }
    }
    if (json) {
        if (print_json(w, reason, known) != 0) {
            return HAI_CLI_USAGE;
        }
    } else {
        print_text(w, reason, known);
    }
    if (!known) {
        return HAI_CLI_USAGE;
    }
    return reason == HAI_REASON_OK ? HAI_CLI_OK : HAI_CLI_PROBLEM;
}

static int run(struct why *w, bool json) {
    struct hai_source source;
    int status = HAI_CLI_USAGE;

    w->steps = json_array();
    w->claimed_by = json_array();
    if (w->steps == NULL || w->claimed_by == NULL) {
        fprintf(stderr, "%s: no memory\n", NAME);
    } else if (hai_cli_registry_init(&w->registry, NAME) == 0
               && prepare(w, &source) == 0)
    {
        hai_decision_begin(
            &w->decision,
            (struct hai_slice){w->container, strlen(w->container)}, &source);
        status = answer(w, json);
    }
    hai_decision_free(&w->decision);
    hai_cli_registry_close(&w->registry);
    free(w->path);
    json_decref(w->steps);
    json_decref(w->claimed_by);
    return status;
}

int hai_cli_why(int argc, char **argv) {
    struct why w = {.registry = {.redis = HAI_REDIS_DEFAULT},
                    .timeout_ms = 2000};
    const char *output = "text";
    const struct hai_option options[] = {
        {"container", HAI_OPT_STRING, &w.claim, "X",
         "the claim: a name or a number, as behind\n"
         "\"container-\" in the credential",
         0, 0, 0},
        {"from", HAI_OPT_STRING, &w.from, "ADDR",
         "the address that the request comes from", 0, 0, 0},
        {"peer", HAI_OPT_STRING, &w.peer, "ADDR",
         "the connection's own address, where realip or the\n"
         "PROXY protocol has put --from in its place",
         0, 0, 0},
        {"cgroup", HAI_OPT_STRING, &w.cgroup, "PATH",
         "in place of --from, for a unix socket: what\n"
         "/proc/PID/cgroup of the caller has behind \"0::\"",
         0, 0, 0},
        {"method", HAI_OPT_STRING, &w.method, "METHOD", "of the request (POST)",
         0, 0, 0},
        {"uri", HAI_OPT_STRING, &w.uri, "URI",
         "of the request: is the route allowed?", 0, 0, 0},
        {"location", HAI_OPT_STRING, &w.location, "PREFIX",
         "of nginx, that the URI is in (up to /v1/)", 0, 0, 0},
        {"stored", HAI_OPT_FLAG, &w.stored, NULL, "hoody_ai_stored is on there",
         0, 0, 0},
        {"model", HAI_OPT_STRING, &w.model, "NAME",
         "of the request, for the rules", 0, 0, 0},
        {"rules", HAI_OPT_STRING, &w.rules, "FILE",
         "of the rule engine; without it the overlay alone\nis looked at", 0, 0,
         0},
        {"gateway", HAI_OPT_STRING, &w.gateway, "URL",
         "of a hoody_ai_status page with ?format=json: what\n"
         "that gateway has of the registry",
         0, 0, 0},
        HAI_CLI_REGISTRY_OPTIONS(&w.registry),
        {"timeout", HAI_OPT_NUMBER, &w.timeout_ms, "MS",
         "for --gateway, in milliseconds (2000)", 1, 60000, 0},
        {"output", HAI_OPT_STRING, &output, "FORMAT", "text or json (text)", 0,
         0, 'o'},
        {NULL, HAI_OPT_FLAG, NULL, NULL, NULL, 0, 0, 0},
    };
    const struct hai_program program = {
        NAME, "--container X --from ADDR [OPTION...]",
        "Tells what a gateway would answer to a request, and why.",
        "Exit status: 0 admitted, 1 refused, 2 that cannot be known, or wrong "
        "usage.",
        options};
    bool json;
    int rc;

    if (!hai_cli_begin(&program, argc, argv, NULL, &output, &json, &rc)) {
        return rc;
    }
    return run(&w, json);
}
