/* The table of operations, the same as openapi.json, see route.h. */

#include "route.h"

#include "auth.h"
#include "connection.h"
#include "handlers.h"

#include <stdio.h>
#include <string.h>

struct route {
    const char *method;
    const char *path;     /* "*" stands for one segment */
    enum hai_right right; /* 0: for everybody, without asking who it is */
    hai_handler handler;
    const char *action; /* for the audit; NULL: reads are not in it */
};

#define CONTAINERS "/api/v1/containers"
#define PROJECT "/api/v1/projects/*/containers"
#define SNAPSHOTS CONTAINERS "/*/snapshots"
#define READ HAI_RIGHT_READ
#define WRITE HAI_RIGHT_WRITE

static const struct route routes[] = {
    {"GET", "/api/v1/health", 0, hai_health, NULL},
    {"GET", "/api/v1/ai/models", READ, hai_models_list, NULL},
    {"GET", "/api/v1/audit", READ, hai_audit_list, NULL},
    {"GET", "/api/v1/audit/ai", READ, hai_audit_ai, NULL},

    {"GET", CONTAINERS, READ, hai_containers_list, NULL},
    {"GET", PROJECT, READ, hai_containers_list_project, NULL},
    {"POST", PROJECT, WRITE, hai_containers_create, "container.create"},
    {"GET", CONTAINERS "/*", READ, hai_containers_get, NULL},
    {"PUT", CONTAINERS "/*", WRITE, hai_containers_update, "container.update"},
    {"PATCH", CONTAINERS "/*", WRITE, hai_containers_update,
     "container.update"},
    {"DELETE", CONTAINERS "/*", WRITE, hai_containers_delete,
     "container.delete"},

    {"GET", SNAPSHOTS, READ, hai_snapshots_list, NULL},
    {"POST", SNAPSHOTS, WRITE, hai_snapshots_create, "snapshot.create"},
    {"PUT", SNAPSHOTS "/*", WRITE, hai_snapshots_restore, "snapshot.restore"},
    {"PATCH", SNAPSHOTS "/*", WRITE, hai_snapshots_restore, "snapshot.restore"},
    {"DELETE", SNAPSHOTS "/*", WRITE, hai_snapshots_delete, "snapshot.delete"},
    {"PUT", SNAPSHOTS "/*/alias", WRITE, hai_snapshots_alias, "snapshot.alias"},
    {"PATCH", SNAPSHOTS "/*/alias", WRITE, hai_snapshots_alias,
     "snapshot.alias"},

    {"POST", CONTAINERS "/*/start", WRITE, hai_containers_operate,
     "container.start"},
    {"POST", CONTAINERS "/*/stop", WRITE, hai_containers_operate,
     "container.stop"},
    {"POST", CONTAINERS "/*/force-stop", WRITE, hai_containers_operate,
     "container.force-stop"},
    {"POST", CONTAINERS "/*/restart", WRITE, hai_containers_operate,
     "container.restart"},
    {"POST", CONTAINERS "/*/pause", WRITE, hai_containers_operate,
     "container.pause"},
    {"POST", CONTAINERS "/*/resume", WRITE, hai_containers_operate,
     "container.resume"},
};

#define N_ROUTES (sizeof(routes) / sizeof(*routes))

static bool matches(const char *path, const struct hai_call *call) {
    size_t n = 0;

    while (*path == '/') {
        size_t len = strcspn(++path, "/");

        if (n == call->n_segments) {
            return false;
        }

        if (!(len == 1 && *path == '*')
            && (strlen(call->segment[n]) != len
                || memcmp(call->segment[n], path, len) != 0))
        {
            return false;
        }

        path += len;
        n++;
    }

    return n == call->n_segments;
}

/* What else could be asked there, for Allow. */
static const char *allowed(const struct hai_call *call) {
    static const struct {
        const char *path;
        const char *methods;
    } known[] = {
        {PROJECT, "GET, HEAD, POST"},
        {SNAPSHOTS, "GET, HEAD, POST"},
        {SNAPSHOTS "/*", "PUT, PATCH, DELETE"},
        {SNAPSHOTS "/*/alias", "PUT, PATCH"},
        {CONTAINERS "/*", "GET, HEAD, PUT, PATCH, DELETE"},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (matches(known[i].path, call)) {
            return known[i].methods;
        }
    }

    for (size_t i = 0; i < N_ROUTES; i++) {
        if (matches(routes[i].path, call)) {
            return strcmp(routes[i].method, "GET") == 0 ? "GET, HEAD"
                                                        : routes[i].method;
        }
    }

    return NULL;
}

static const struct route *find(const struct hai_call *call) {
    const char *method = call->method;

    if (strcmp(method, "HEAD") == 0) {
        method = "GET";
    }

    for (size_t i = 0; i < N_ROUTES; i++) {
        if (strcmp(routes[i].method, method) == 0
            && matches(routes[i].path, call)) {
            return &routes[i];
        }
    }

    return NULL;
}

void hai_route(struct hai_call *call) {
    const struct route *route = find(call);

    if (route == NULL) {
        call->allow = allowed(call);

        if (call->allow != NULL) {
            hai_fail(call, 405, "%s is not allowed here", call->method);
        } else {
            hai_fail(call, 404, "Not found");
        }
        return;
    }

    if (route->right != 0 && hai_auth_identify(call->control->auth, call) != 0)
    {
        /* who asked is not known, so it is only counted */
        return;
    }

    /* not before: it would be work that anybody can ask for */
    call->writer = hai_connection_open(call->connection, call->control);
    call->action = route->action;

    if (route->right != 0
        && (hai_rights_any(&call->caller.rights) & route->right) == 0)
    {
        hai_fail(call, 403, "The token lacks the scope \"%s\"",
                 route->right == HAI_RIGHT_READ ? "read" : "write");
        return;
    }

    if (call->writer == NULL && route->handler != hai_health) {
        call->retry_after = 1;
        hai_fail_code(call, 503, "REGISTRY_UNAVAILABLE", NULL,
                      "The registry cannot be reached now");
        return;
    }

    route->handler(call);
}
