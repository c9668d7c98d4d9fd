/* hoody-ai-control: the control API, and the connector to the runtime. */

#include "answer.h"
#include "audit.h"
#include "auth.h"
#include "control.h"
#include "locks.h"
#include "refused.h"
#include "runtime.h"
#include "sync.h"

#include "lib/fcgi_server.h"
#include "lib/log.h"
#include "lib/options.h"
#include "lib/service.h"

#include <curl/curl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME "hoody-ai-control"
#define RUN_FOLDER "/run/hoody-ai"
#define FREE_THREADS 2 /* that never wait for the runtime */
#define STOP_MS 30000  /* a runtime may be in the middle of something */
#define SYNC_MS 15000  /* the same of a pass, which begins anew next time */

/* From command line and file. */
struct settings {
    const char *socket;
    const char *socket_mode;
    const char *socket_group;
    const char *redis;
    const char *server;
    const char *tokens;
    const char *runtime;
    const char *lock_file;
    const char *audit_log;
    const char *models;
    const char *user;
    const char *log_level;
    long threads;
};

static const char footer[] =
    "A socket that was passed is used instead of --socket: one of systemd\n"
    "(LISTEN_FDS), or descriptor 0 (spawn-fcgi).\n"
    "\n"
    "Signals:\n"
    "  HUP                 reads tokens again, opens the audit log again, and\n"
    "                      reconciles with the runtime\n"
    "  TERM, INT           answers what has arrived, and ends\n"
    "\n"
    "Exit status: 0, 1 when it cannot serve, 2 for a wrong option.\n"
    "\n"
    "docs/CONTROL.md tells how to run it.\n";

static int parse(struct settings *set, int argc, char **argv) {
    const struct hai_option options[] = {
        {"socket", HAI_OPT_STRING, &set->socket, "ADDRESS",
         "where nginx reaches it: an absolute path or host:port "
         "(" RUN_FOLDER "/control.fcgi)",
         0, 0, 0},
        {"socket-mode", HAI_OPT_STRING, &set->socket_mode, "MODE",
         "of the path, in octal (0660)", 0, 0, 0},
        {"socket-group", HAI_OPT_STRING, &set->socket_group, "GROUP",
         "of the path: the one of nginx's workers", 0, 0, 0},
        {"runtime", HAI_OPT_STRING, &set->runtime, "SPEC",
         "docker=SOCKET, incus=SOCKET or static=FILE; without it, create "
         "registers only",
         0, 0, 0},
        {"lock-file", HAI_OPT_STRING, &set->lock_file, "FILE",
         "with a runtime: the same for all programs that serve it "
         "(control.lock beside the socket)",
         0, 0, 0},
        {"tokens", HAI_OPT_STRING, &set->tokens, "FILE",
         "with the tokens that are valid; without it only root on the unix "
         "socket is",
         0, 0, 0},
        {"audit-log", HAI_OPT_STRING, &set->audit_log, "FILE",
         "for what was done by whom, as JSON lines; Redis has it as well", 0, 0,
         0},
        {"models", HAI_OPT_STRING, &set->models, "FILE",
         "what GET /api/v1/ai/models answers: a JSON list", 0, 0, 0},
        {"redis", HAI_OPT_STRING, &set->redis, "ADDRESS",
         "as hoody_ai_redis has it, in one argument (" HAI_REDIS_DEFAULT ")", 0,
         0, 0},
        {"server", HAI_OPT_STRING, &set->server, "NAME",
         "as hoody_ai_server has it (the host's name)", 0, 0, 0},
        {"threads", HAI_OPT_NUMBER, &set->threads, "N",
         "calls at a time that may wait for the runtime; with one, two threads "
         "more answer what waits for nobody (8)",
         1, 64, 0},
        {"log-level", HAI_OPT_STRING, &set->log_level, "LEVEL",
         "error, warn, info or debug (info)", 0, 0, 0},
        {"user", HAI_OPT_STRING, &set->user, "NAME",
         "becomes this user, once it listens", 0, 0, 0},
        {0},
    };
    const struct hai_program program = {
        .name = NAME,
        .usage = "[OPTION...]",
        .summary = "Answers the control API over FastCGI, and keeps the "
                   "registry true to the\ncontainer runtime.",
        .footer = footer,
        .options = options,
    };

    return hai_options_parse(&program, argc, argv, NULL);
}

/* Calls that wait for a runtime are no more than --threads: others wait for
 * nobody. */
static unsigned threads_of(const struct settings *set) {
    return (unsigned) set->threads + (set->runtime != NULL ? FREE_THREADS : 0);
}

/* Beside the socket, so that programs which are one another's spare find each
 * other. */
static int share_locks(struct hai_control *control, const struct settings *set,
                       char *error, size_t size) {
    const char *socket = hai_service_path(set->socket);
    const char *slash = *socket == '/' ? strrchr(socket, '/') : NULL;
    char path[PATH_MAX];

    if (set->lock_file != NULL) {
        return hai_locks_share(control->locks, set->lock_file, control->server,
                               error, size);
    }

    snprintf(path, sizeof(path), "%.*s/control.lock",
             slash != NULL ? (int) (slash - socket) : PATH_MAX,
             slash != NULL ? socket : RUN_FOLDER);

    return hai_locks_share(control->locks, path, control->server, error, size);
}

/* 0; or the exit status after a message. */
static int prepare(struct hai_control *control, const struct settings *set) {
    char error[512];

    control->server = set->server;
    if (hai_service_server(NAME, &control->server) != 0) {
        return 2;
    }

    if (hai_redis_conf_parse(&control->redis, set->redis, control->server,
                             error, sizeof(error))
        != 0)
    {
        fprintf(stderr, NAME ": --redis: %s\n", error);
        return 2;
    }

    control->tokens_path = set->tokens;
    control->models_path = set->models;

    control->auth = hai_auth_new(set->tokens, error, sizeof(error));
    if (control->auth == NULL) {
        fprintf(stderr, NAME ": --tokens: %s\n", error);
        return 2;
    }

    control->audit = hai_audit_log_new(set->audit_log, control->server, error,
                                       sizeof(error));
    if (control->audit == NULL) {
        fprintf(stderr, NAME ": --audit-log: %s\n", error);
        return 2;
    }

    /* a thread holds two names at most */
    control->locks = hai_locks_new(2 * threads_of(set) + 2);
    if (control->locks == NULL) {
        fprintf(stderr, NAME ": no memory\n");
        return 1;
    }

    if (set->runtime != NULL) {
        control->runtime = hai_runtime_open(set->runtime, error, sizeof(error));
        if (control->runtime == NULL) {
            fprintf(stderr, NAME ": --runtime: %s\n", error);
            return 2;
        }

        /* two that do not know of each other would undo what they do */
        if (share_locks(control, set, error, sizeof(error)) != 0) {
            fprintf(stderr, NAME ": --lock-file: %s\n", error);
            return 1;
        }
    }

    return 0;
}

static void control_free(struct hai_control *control) {
    hai_runtime_close(control->runtime);
    hai_locks_free(control->locks);
    hai_audit_log_free(control->audit);
    hai_auth_free(control->auth);
    hai_redis_conf_free(&control->redis);
}

static void reload(struct hai_control *control) {
    char error[512];

    hai_log(HAI_LOG_INFO, "reads everything again");

    if (hai_auth_reload(control->auth, error, sizeof(error)) != 0) {
        hai_log(HAI_LOG_ERROR, "no token is valid: %s", error);
    }

    if (hai_audit_log_reopen(control->audit, error, sizeof(error)) != 0) {
        hai_log(HAI_LOG_ERROR, "the audit log stays: %s", error);
    }

    if (control->sync != NULL) {
        hai_sync_wake(control->sync);
    }
}

static int run(struct hai_control *control, const struct settings *set,
               int fd) {
    struct hai_fcgi_server *server;
    int sig;

    control->refused = hai_refused_start(control);
    if (control->refused == NULL) {
        return 1;
    }

    if (control->runtime != NULL) {
        control->sync = hai_sync_start(control);
        if (control->sync == NULL) {
            return 1;
        }
    }

    control->waiting_max = (unsigned) set->threads;
    server = hai_answer_start(control, fd, threads_of(set));
    if (server == NULL) {
        return 1;
    }

    hai_log(HAI_LOG_INFO, "ready");

    while ((sig = hai_service_wait(HAI_FCGI_TICK_MS)) != SIGTERM) {
        if (sig == SIGHUP) {
            reload(control);
        }

        hai_fcgi_server_tick(server);
    }

    hai_log(HAI_LOG_INFO, "ends");
    atomic_store(&control->stopping, true);

    if (!hai_fcgi_server_stop(server, STOP_MS)) {
        hai_log(HAI_LOG_WARN, "a call does not end");
        _exit(0);
    }

    hai_refused_stop(control->refused);

    if (control->sync != NULL && !hai_sync_stop(control->sync, SYNC_MS)) {
        hai_log(HAI_LOG_WARN, "the runtime does not answer");
        _exit(0);
    }

    return 0;
}

int main(int argc, char **argv) {
    static struct hai_control control;
    struct settings set = {
        .socket = RUN_FOLDER "/control.fcgi",
        .redis = HAI_REDIS_DEFAULT,
        .log_level = "info",
        .threads = 8,
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

    if (hai_service_signals() != 0 || curl_global_init(CURL_GLOBAL_ALL) != 0) {
        hai_log(HAI_LOG_ERROR, "cannot start");
        return 1;
    }

    rc = prepare(&control, &set);
    if (rc != 0) {
        return rc;
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
        rc = 1;
    } else {
        rc = run(&control, &set, fd);
    }

    if (own) {
        unlink(hai_service_path(set.socket));
    }

    if (rc == 0) {
        control_free(&control);
        curl_global_cleanup();
    }

    return rc;
}
