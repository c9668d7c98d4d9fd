/* hoody-ai firewall print, apply, remove, watch: see firewall.h. */

#include "firewall.h"

#include "cli.h"
#include "lib/log.h"
#include "lib/options.h"
#include "lib/service.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char footer[] =
    "Exit status: 0 fine, 1 nftables refuses, 2 wrong usage, 3 Redis is not "
    "reachable.\n"
    "\n"
    "docs/FIREWALL.md tells what the rules do.";

/* What the commands share. */
struct settings {
    const char *name; /* of the command */
    const char *redis_spec;
    const char *server;
    const char *log_level;
    struct hai_option_list port, interface;
    long check;
    struct hai_redis_conf redis;
    struct hai_fw_gate gate;
    char host[HAI_SERVER_MAX + 1];
};

static const char *command; /* in front of a warning */

static void warn(const char *name, const char *reason) {
    fprintf(stderr, "%s: warning: container \"%s\": %s\n", command, name,
            reason);
}

/* Checks what was given; HAI_CLI_OK, or HAI_CLI_USAGE after a message. */
static int check(struct settings *set) {
    char error[256];

    set->gate = (struct hai_fw_gate){set->interface.item, set->interface.n,
                                     set->port.item, set->port.n};
    if (set->server == NULL) {
        if (gethostname(set->host, sizeof(set->host) - 1) != 0) {
            set->host[0] = '\0';
        }
        set->server = set->host;
    }
    if (!hai_service_server_valid(set->server)) {
        fprintf(stderr, "%s: --server: this is no name for a server\n",
                set->name);
        return HAI_CLI_USAGE;
    }
    if (hai_fw_gate_check(&set->gate, error, sizeof(error)) != 0) {
        fprintf(stderr, "%s: %s\n", set->name, error);
        return HAI_CLI_USAGE;
    }
    if (hai_redis_conf_parse(&set->redis, set->redis_spec, set->server, error,
                             sizeof(error))
        != 0)
    {
        fprintf(stderr, "%s: --redis: %s\n", set->name, error);
        return HAI_CLI_USAGE;
    }
    return HAI_CLI_OK;
}

/* The command line; -1 to go on, or an exit status. */
static int parse(struct settings *set, const char *summary, bool watch,
                 int argc, char **argv) {
    struct hai_option options[] = {
        {"redis", HAI_OPT_STRING, &set->redis_spec, "ADDRESS",
         "as hoody_ai_redis has it, in one argument\n(" HAI_REDIS_DEFAULT ")",
         0, 0, 0},
        {"server", HAI_OPT_STRING, &set->server, "NAME",
         "as hoody_ai_server has it (the host's name)", 0, 0, 0},
        {"interface", HAI_OPT_LIST, &set->interface, "NAME",
         "a bridge, or \"br-*\" for several, from which\nnothing but the "
         "ports below can be reached",
         0, 0, 0},
        {"port", HAI_OPT_LIST, &set->port, "PORT",
         "of the gateway: \"8080\", \"53/udp\"", 0, 0, 0},
        {"check", HAI_OPT_NUMBER, &set->check, "SECONDS",
         "how often to look whether the rules are still\nthere (5)", 1, 3600,
         0},
        {"log-level", HAI_OPT_STRING, &set->log_level, "LEVEL",
         "error, warn, info or debug (info)", 0, 0, 0},
        {0},
    };
    const struct hai_program program = {set->name, "[OPTION...]", summary,
                                        footer, options};
    int rc;

    if (!watch) {
        options[4] = (struct hai_option){0};
    }
    rc = hai_options_parse(&program, argc, argv, NULL);
    if (rc != 0) {
        return rc > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }
    rc = check(set);
    return rc == HAI_CLI_OK ? -1 : rc;
}

static struct settings defaults(const char *name) {
    command = name;
    return (struct settings){.name = name,
                             .redis_spec = HAI_REDIS_DEFAULT,
                             .log_level = "info",
                             .check = 5};
}

/* Reads the registry and makes the sets; an exit status. */
static int read_sets(struct settings *set, struct hai_fw_sets *sets) {
    struct hai_fw_registry registry = {0};
    struct hai_fw_host host;
    char error[256];
    redisContext *c;
    int rc;

    c = hai_redis_connect(&set->redis, "hoody-ai-firewall", error,
                          sizeof(error));
    if (c == NULL
        || hai_fw_registry_load(&registry, c, set->server, warn, error,
                                sizeof(error))
               != 0)
    {
        fprintf(stderr, "%s: Redis: %s\n", set->name, error);
        redisFree(c);
        return HAI_CLI_UNREACHABLE;
    }
    redisFree(c);
    rc = hai_fw_host_read(&host);
    if (rc == 0) {
        rc = hai_fw_sets_build(sets, &registry, &host, warn);
        free(host.addr);
    }
    hai_fw_registry_free(&registry);
    if (rc != 0) {
        fprintf(stderr, "%s: no memory\n", set->name);
        return HAI_CLI_PROBLEM;
    }
    return HAI_CLI_OK;
}

/* Has the kernel take a text, which is freed; an exit status. */
static int run(const char *name, char *text) {
    struct hai_fw_nft *nft;
    char error[512];
    int rc = HAI_CLI_PROBLEM;

    nft = hai_fw_nft_new(error, sizeof(error));
    if (nft != NULL && hai_fw_nft_run(nft, text, error, sizeof(error)) == 0) {
        rc = HAI_CLI_OK;
    } else {
        fprintf(stderr, "%s: ", name);
        hai_cli_put(stderr, error, strlen(error));
        fputc('\n', stderr);
    }
    hai_fw_nft_free(nft);
    free(text);
    return rc;
}

int hai_cli_firewall_print(int argc, char **argv) {
    struct settings set = defaults("hoody-ai firewall print");
    struct hai_fw_sets sets;
    int rc = parse(&set, "Writes the ruleset that the registry asks for.",
                   false, argc, argv);

    if (rc >= 0) {
        return rc;
    }
    rc = read_sets(&set, &sets);
    if (rc == HAI_CLI_OK) {
        hai_fw_text(stdout, &sets, &set.gate);
        hai_fw_sets_free(&sets);
    }
    hai_redis_conf_free(&set.redis);
    return rc;
}

int hai_cli_firewall_apply(int argc, char **argv) {
    struct settings set = defaults("hoody-ai firewall apply");
    struct hai_fw_sets sets;
    char *text = NULL;
    size_t len = 0;
    FILE *out;
    int rc = parse(&set,
                   "Has the kernel take the ruleset that the registry asks "
                   "for, at once and in\nplace of the last one.",
                   false, argc, argv);

    if (rc >= 0) {
        return rc;
    }
    rc = read_sets(&set, &sets);
    hai_redis_conf_free(&set.redis);
    if (rc != HAI_CLI_OK) {
        return rc;
    }
    out = open_memstream(&text, &len);
    if (out != NULL) {
        hai_fw_text(out, &sets, &set.gate);
    }
    hai_fw_sets_free(&sets);
    if (out == NULL || fclose(out) != 0) {
        fprintf(stderr, "%s: no memory\n", set.name);
        free(text);
        return HAI_CLI_PROBLEM;
    }
    return run(set.name, text);
}

int hai_cli_firewall_remove(int argc, char **argv) {
    static const char name[] = "hoody-ai firewall remove";
    const struct hai_option options[] = {{0}};
    const struct hai_program program = {
        name, "[OPTION...]",
        "Takes the tables of this program out of the "
        "kernel, if they are there.",
        footer, options};
    char *text = NULL;
    size_t len = 0;
    FILE *out;
    int rc = hai_options_parse(&program, argc, argv, NULL);

    if (rc != 0) {
        return rc > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }
    out = open_memstream(&text, &len);
    if (out != NULL) {
        hai_fw_text_remove(out);
    }
    if (out == NULL || fclose(out) != 0) {
        fprintf(stderr, "%s: no memory\n", name);
        free(text);
        return HAI_CLI_PROBLEM;
    }
    return run(name, text);
}

int hai_cli_firewall_watch(int argc, char **argv) {
    struct settings set = defaults("hoody-ai firewall watch");
    enum hai_log_level level;
    int rc = parse(&set,
                   "Keeps the ruleset as the registry asks for, until it is "
                   "ended by SIGTERM; the\nrules stay.  SIGHUP: reads and "
                   "applies everything again.",
                   true, argc, argv);

    if (rc >= 0) {
        return rc;
    }
    if (hai_log_level_parse(set.log_level, &level) != 0) {
        fprintf(stderr,
                "%s: --log-level: error, warn, info or debug is "
                "wanted\n",
                set.name);
        hai_redis_conf_free(&set.redis);
        return HAI_CLI_USAGE;
    }
    hai_log_init("hoody-ai-firewall", level);
    rc = hai_fw_watch(&(struct hai_fw_watch){&set.redis, set.server, &set.gate,
                                             set.check * 1000});
    hai_redis_conf_free(&set.redis);
    return rc;
}
