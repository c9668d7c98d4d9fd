/* See registry_open.h. */

#include "registry_open.h"

#include "lib/service.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int hai_cli_registry_init(struct hai_cli_registry *r, const char *program) {
    static char host[HAI_SERVER_MAX + 1];
    char error[256];

    if (r->server == NULL) {
        if (gethostname(host, sizeof(host) - 1) != 0) {
            host[0] = '\0';
        }
        r->server = host;
    }
    if (!hai_service_server_valid(r->server)) {
        fprintf(stderr, "%s: --server: \"%s\" is no name for a server\n",
                program, r->server);
        return -1;
    }
    if (hai_redis_conf_parse(&r->conf, r->redis, r->server, error,
                             sizeof(error))
        != 0)
    {
        fprintf(stderr, "%s: --redis: %s\n", program, error);
        return -1;
    }
    return 0;
}

int hai_cli_registry_open(struct hai_cli_registry *r, char *error,
                          size_t size) {
    r->c = hai_redis_connect(&r->conf, "hoody-ai", error, size);
    return r->c != NULL ? 0 : -1;
}

void hai_cli_registry_close(struct hai_cli_registry *r) {
    redisFree(r->c);
    r->c = NULL;
    hai_redis_conf_free(&r->conf);
}
