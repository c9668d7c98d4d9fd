/* hoody-ai-rules: answers the gateway's questions about rules. */

#include "engine.h"
#include "lib/clock.h"
#include "lib/fcgi_server.h"
#include "lib/log.h"
#include "lib/options.h"
#include "lib/service.h"
#include "loader.h"
#include "question.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAME "hoody-ai-rules"
#define COOLDOWNS 65536 /* of rule and container */
#define SEEN 65536      /* tool results that were logged */
#define LOAD_MS 500     /* until questions are taken, loaded or not */
#define QUESTION_MS 10000
#define STOP_MS 5000

/* From command line and file. */
struct settings {
    const char *socket;
    const char *socket_mode;
    const char *socket_group;
    const char *rules;
    const char *redis;
    const char *server;
    const char *user;
    const char *log_level;
    long threads;
    bool no_plan;
};

static const char footer[] =
    "A socket that was passed is used instead of --socket: one of systemd\n"
    "(LISTEN_FDS), or descriptor 0 (spawn-fcgi).\n"
    "\n"
    "Signals:\n"
    "  HUP                 reads file and overlay again\n"
    "  TERM, INT           answers what has arrived, for 5 s at most, and "
    "ends\n"
    "\n"
    "Exit status: 0, 1 when it cannot serve, 2 for a wrong option.\n"
    "\n"
    "docs/ENGINE.md tells how to run it, docs/RULES.md what rules look like.\n";

static int parse(struct settings *set, int argc, char **argv) {
    const struct hai_option options[] = {
        {"socket", HAI_OPT_STRING, &set->socket, "ADDRESS",
         "where to listen: an absolute path or host:port "
         "(/run/hoody-ai/rules.sock)",
         0, 0, 0},
        {"socket-mode", HAI_OPT_STRING, &set->socket_mode, "MODE",
         "of the path, in octal (0660)", 0, 0, 0},
        {"socket-group", HAI_OPT_STRING, &set->socket_group, "GROUP",
         "of the path: the one of nginx's workers", 0, 0, 0},
        {"rules", HAI_OPT_STRING, &set->rules, "FILE",
         "with the base rules; without it only the overlay counts", 0, 0, 0},
        {"threads", HAI_OPT_NUMBER, &set->threads, "N",
         "questions answered at a time (16)", 1, 256, 0},
        {"redis", HAI_OPT_STRING, &set->redis, "ADDRESS",
         "as hoody_ai_redis has it, in one argument (" HAI_REDIS_DEFAULT ")", 0,
         0, 0},
        {"server", HAI_OPT_STRING, &set->server, "NAME",
         "as hoody_ai_server has it (the host's name)", 0, 0, 0},
        {"no-plan", HAI_OPT_FLAG, &set->no_plan, NULL,
         "have every body sent, whatever the rules say: for tests", 0, 0, 0},
        {"log-level", HAI_OPT_STRING, &set->log_level, "LEVEL",
         "error, warn, info or debug (info)", 0, 0, 0},
        {"user", HAI_OPT_STRING, &set->user, "NAME",
         "becomes this user, once it listens", 0, 0, 0},
        {0},
    };
    const struct hai_program program = {
        .name = NAME,
        .usage = "[OPTION...]",
        .summary = "Tells the gateway, over FastCGI, what the rules want of a "
                   "request.",
        .footer = footer,
        .options = options,
    };

    return hai_options_parse(&program, argc, argv, NULL);
}

static char *key(const char *server, const char *rest) {
    size_t size = strlen(server) + strlen(rest) + sizeof("hoody:{}:");
    char *text = malloc(size);

    if (text != NULL) {
        snprintf(text, size, "hoody:{%s}:%s", server, rest);
    }

    return text;
}

static void engine_free(struct hai_engine *engine) {
    hai_current_destroy(&engine->current);
    hai_cooldown_free(engine->cooldown);
    hai_seen_free(engine->seen);
    hai_redis_conf_free(&engine->redis);
    pthread_mutex_destroy(&engine->state.lock);
    free(engine->rules_key);
    free(engine->epoch_key);
    free(engine->events_key);
}

/* 0, or -1 after a message. */
static int engine_init(struct hai_engine *engine, const struct settings *set) {
    const char *server = set->server;
    char error[256];

    if (hai_service_server(NAME, &server) != 0) {
        return -1;
    }

    if (hai_redis_conf_parse(&engine->redis, set->redis, server, error,
                             sizeof(error))
        != 0)
    {
        fprintf(stderr, NAME ": --redis: %s\n", error);
        return -1;
    }

    engine->file = set->rules;
    engine->server = server;
    engine->no_plan = set->no_plan;
    engine->threads = set->threads;
    engine->rules_key = key(server, "rules");
    engine->epoch_key = key(server, "rules:epoch");
    engine->events_key = key(server, "events");
    engine->cooldown = hai_cooldown_new(COOLDOWNS);
    engine->seen = hai_seen_new(SEEN);

    if (engine->rules_key == NULL || engine->epoch_key == NULL
        || engine->events_key == NULL || engine->cooldown == NULL
        || engine->seen == NULL || hai_current_init(&engine->current) != 0
        || pthread_mutex_init(&engine->state.lock, NULL) != 0)
    {
        fprintf(stderr, NAME ": no memory\n");
        return -1;
    }

    return 0;
}

static void *scratch_new(void *data) {
    struct hai_scratch *s = calloc(1, sizeof(*s));

    (void) data;

    if (s != NULL && hai_scratch_init(s) != 0) {
        hai_scratch_free(s);
        free(s);
        return NULL;
    }

    return s;
}

static void scratch_reset(void *scratch) {
    hai_scratch_reset(scratch);
}

static void scratch_free(void *scratch) {
    hai_scratch_free(scratch);
    free(scratch);
}

static int answer(void *data, void *scratch, struct hai_fcgi_thread *thread,
                  FCGX_Request *request) {
    (void) thread;

    return hai_question_answer(data, scratch, request);
}

/* From the first thread to the last. */
static int run(struct hai_engine *engine, const struct settings *set, int fd,
               bool own) {
    const struct hai_fcgi_owner owner = {
        .data = engine,
        .counters = &engine->fcgi,
        .threads = (size_t) engine->threads,
        .limit_ms = QUESTION_MS,
        .scratch_new = scratch_new,
        .scratch_free = scratch_free,
        .scratch_reset = scratch_reset,
        .answer = answer,
    };
    struct hai_fcgi_server *server;
    struct hai_loader *loader;
    int sig;

    if (hai_entries_start(&engine->entries, &engine->redis, engine->events_key)
        != 0)
    {
        hai_log(HAI_LOG_ERROR, "cannot start the writer of entries");
        return 1;
    }

    loader = hai_loader_start(engine);
    if (loader == NULL) {
        return 1;
    }

    /* who asks meanwhile waits, instead of being told that there is no set */
    hai_loader_wait(loader, LOAD_MS);

    server = hai_fcgi_server_start(&owner, fd);
    if (server == NULL) {
        return 1;
    }

    hai_log(HAI_LOG_INFO, "ready");

    while ((sig = hai_service_wait(HAI_FCGI_TICK_MS)) != SIGTERM) {
        if (sig == SIGHUP) {
            hai_log(HAI_LOG_INFO, "reads everything again");
            hai_loader_reload(loader);
        }

        hai_fcgi_server_tick(server);
        hai_entries_look(&engine->entries);
    }

    hai_log(HAI_LOG_INFO, "ends");
    atomic_store(&engine->stopping, true);

    /* before the socket is closed: the next engine may have the path then */
    if (own && unlink(hai_service_path(set->socket)) != 0) {
        hai_log(errno == EACCES ? HAI_LOG_INFO : HAI_LOG_WARN,
                "\"%s\" stays: %s", hai_service_path(set->socket),
                strerror(errno));
    }

    if (!hai_fcgi_server_stop(server, STOP_MS)) {
        hai_log(HAI_LOG_WARN, "a thread does not end");
        _exit(0);
    }

    hai_loader_stop(loader);
    hai_entries_stop(&engine->entries);

    return 0;
}

int main(int argc, char **argv) {
    static struct hai_engine engine;
    struct settings set = {
        .socket = "/run/hoody-ai/rules.sock",
        .redis = HAI_REDIS_DEFAULT,
        .log_level = "info",
        .threads = 16,
    };
    char error[512];
    bool own;
    int rc, fd;

    rc = parse(&set, argc, argv);
    if (rc != 0) {
        return rc > 0 ? 0 : 2;
    }

    if (hai_service_log(NAME, set.log_level) != 0) {
        return 2;
    }

    srandom((unsigned) (hai_wall_ms() ^ (uint64_t) getpid()));

    if (engine_init(&engine, &set) != 0) {
        return 2;
    }

    if (hai_service_signals() != 0) {
        hai_log(HAI_LOG_ERROR, "cannot block signals");
        return 1;
    }

    fd = hai_service_listen(set.socket, set.socket_mode, set.socket_group, &own,
                            error, sizeof(error));
    if (fd < 0) {
        hai_log(HAI_LOG_ERROR, "%s", error);
        return 1;
    }

    if (set.user != NULL
        && hai_service_user(set.user, error, sizeof(error)) != 0) {
        hai_log(HAI_LOG_ERROR, "%s", error);

        if (own) {
            unlink(hai_service_path(set.socket));
        }

        return 1;
    }

    rc = run(&engine, &set, fd, own);

    if (rc == 0) {
        engine_free(&engine);

    } else if (own) {
        unlink(hai_service_path(set.socket));
    }

    return rc;
}
