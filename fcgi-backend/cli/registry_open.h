/* The options --redis and --server of subcommands that read the registry. */

#ifndef HAI_REGISTRY_OPEN_H
#define HAI_REGISTRY_OPEN_H

#include "lib/options.h"
#include "lib/redis.h"

struct hai_cli_registry {
    const char *redis;  /* what --redis says, HAI_REDIS_DEFAULT at first */
    const char *server; /* NULL: the host's name */
    struct hai_redis_conf conf;
    redisContext *c; /* of hai_cli_registry_open() */
};

#define HAI_CLI_REGISTRY_OPTIONS(r)                                            \
    {"redis",                                                                  \
     HAI_OPT_STRING,                                                           \
     &(r)->redis,                                                              \
     "ADDRESS",                                                                \
     "as hoody_ai_redis has it (" HAI_REDIS_DEFAULT ")",                       \
     0,                                                                        \
     0,                                                                        \
     0},                                                                       \
    {                                                                          \
        "server", HAI_OPT_STRING, &(r)->server, "NAME",                        \
            "as hoody_ai_server has it (the host's name)", 0, 0, 0             \
    }

/* Fills in server and conf.  0, or -1 after a message: wrong usage. */
int hai_cli_registry_init(struct hai_cli_registry *r, const char *program);

/* 0, or -1 with a message in error: it cannot be reached. */
int hai_cli_registry_open(struct hai_cli_registry *r, char *error, size_t size);

void hai_cli_registry_close(struct hai_cli_registry *r);

#endif
