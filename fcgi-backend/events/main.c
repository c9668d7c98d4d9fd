/*
 * hoody-ai-events: acts on what happened.  Options, start, signals; the work
 * is done by the threads of worker.h.
 */

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/log.h"
#include "lib/options.h"
#include "lib/service.h"
#include "worker.h"

#define NAME "hoody-ai-events"
#define ATTEMPTS 8
#define BACKOFF_MS 1000

struct arguments {
    const char *redis;
    const char *server;
    const char *log_level;
    const char *user;
    struct hai_option_list allow;
    long attempts;
    long backoff;
};

static int parse(struct arguments *a, struct hai_worker *w, int argc,
                 char **argv) {
    const struct hai_option options[] = {
        {.name = "redis",
         .type = HAI_OPT_STRING,
         .value = &a->redis,
         .arg = "ADDRESS",
         .help = "as in hoody_ai_redis (" HAI_REDIS_DEFAULT ")"},
        {.name = "server",
         .type = HAI_OPT_STRING,
         .value = &a->server,
         .arg = "NAME",
         .help = "as in hoody_ai_server (the host's name)"},
        {.name = "rules",
         .type = HAI_OPT_STRING,
         .value = &w->rules_file,
         .arg = "FILE",
         .help = "the rule document; the overlay is read anyway"},
        {.name = "audit-log",
         .type = HAI_OPT_STRING,
         .value = &w->audit_file,
         .arg = "FILE",
         .help = "append JSON lines here; SIGHUP opens it anew"},
        {.name = "webhook-allow",
         .type = HAI_OPT_LIST,
         .value = &a->allow,
         .arg = "CIDR",
         .help = "addresses for webhooks, also http (may repeat)"},
        {.name = "webhook-attempts",
         .type = HAI_OPT_NUMBER,
         .value = &a->attempts,
         .arg = "N",
         .help = "attempts before it is a dead letter (8)",
         .min = 1,
         .max = 100},
        {.name = "webhook-backoff",
         .type = HAI_OPT_NUMBER,
         .value = &a->backoff,
         .arg = "MS",
         .help = "shortest pause; the longest is 300 times that (1000)",
         .min = 10,
         .max = 60000},
        {.name = "webhook-ca",
         .type = HAI_OPT_STRING,
         .value = &w->ca_file,
         .arg = "FILE",
         .help = "trust these certificates, not the system's"},
        {.name = "log-level",
         .type = HAI_OPT_STRING,
         .value = &a->log_level,
         .arg = "LEVEL",
         .help = "error, warn, info or debug (info)"},
        {.name = "user",
         .type = HAI_OPT_STRING,
         .value = &a->user,
         .arg = "NAME",
         .help = "become this user after the start as root"},
        {.name = NULL},
    };
    const struct hai_program program = {
        .name = NAME,
        .usage = "[OPTION...]",
        .summary = "Reads the gateway's events: sends webhooks, writes the "
                   "audit log.",
        .footer = "SIGHUP reads the rules again and opens the audit log anew; "
                  "SIGTERM ends.\n",
        .options = options,
    };

    return hai_options_parse(&program, argc, argv, NULL);
}

static int set_allowed(struct hai_worker *w, const struct hai_option_list *l) {
    const char *why;

    w->allowed = calloc(l->n + 1, sizeof(*w->allowed));
    if (w->allowed == NULL) {
        fprintf(stderr, NAME ": no memory\n");
        return -1;
    }

    for (size_t i = 0; i < l->n; i++) {
        if (hai_cidr_parse(&w->allowed[i], l->item[i], &why) != 0) {
            fprintf(stderr, NAME ": --webhook-allow \"%s\": %s\n", l->item[i],
                    why);
            return -1;
        }
    }
    w->n_allowed = l->n;
    return 0;
}

/* Everything that can be wrong with the command line, before anything
 * happens. */
static int configure(struct hai_worker *w, const struct arguments *a) {
    enum hai_log_level level = HAI_LOG_INFO;
    const char *server = a->server;
    char error[256];

    if (hai_log_level_parse(a->log_level, &level) != 0) {
        fprintf(stderr,
                NAME ": --log-level \"%s\": error, warn, info or "
                     "debug\n",
                a->log_level);
        return -1;
    }
    hai_log_init(NAME, level);

    if (hai_service_server(NAME, &server) != 0) {
        return -1;
    }

    if (hai_redis_conf_parse(&w->redis, a->redis, server, error, sizeof(error))
        != 0)
    {
        fprintf(stderr, NAME ": --redis: %s\n", error);
        return -1;
    }

    if (w->ca_file != NULL && access(w->ca_file, R_OK) != 0) {
        fprintf(stderr, NAME ": --webhook-ca: cannot read %s\n", w->ca_file);
        return -1;
    }

    if (set_allowed(w, &a->allow) != 0) {
        return -1;
    }
    w->attempts = (unsigned) a->attempts;
    w->backoff = (unsigned) a->backoff;

    if (hai_worker_init(w, server) != 0) {
        fprintf(stderr, NAME ": no memory\n");
        return -1;
    }
    return 0;
}

static int start(struct hai_worker *w, const struct arguments *a) {
    char error[256];

    /* a limit on file sizes is an error of write() like others */
    if (hai_service_signals() != 0 || signal(SIGXFSZ, SIG_IGN) == SIG_ERR) {
        hai_log(HAI_LOG_ERROR, "signals could not be set up");
        return -1;
    }
    if (a->user != NULL && hai_service_user(a->user, error, sizeof(error)) != 0)
    {
        hai_log(HAI_LOG_ERROR, "%s", error);
        return -1;
    }
    if (w->audit_file != NULL
        && hai_audit_open(&w->audit, w->audit_file, error, sizeof(error)) != 0)
    {
        hai_log(HAI_LOG_ERROR, "audit log: %s", error);
        return -1;
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK
        || (w->multi = curl_multi_init()) == NULL)
    {
        hai_log(HAI_LOG_ERROR, "libcurl could not be set up");
        return -1;
    }
    return 0;
}

/* Until a signal says that it is over. */
static void serve(struct hai_worker *w) {
    for (;;) {
        switch (hai_service_wait(-1)) {
        case SIGHUP:
            hai_worker_tell(w, &w->reload);
            hai_worker_tell(w, &w->reopen);
            break;
        case SIGTERM:
            return;
        default:
            break;
        }
    }
}

static int run(struct hai_worker *w) {
    void *(*const work[])(void *) = {hai_follow, hai_reader, hai_deliver};
    pthread_t thread[sizeof(work) / sizeof(work[0])];
    size_t n = 0;
    int rc = 0;

    for (; n < sizeof(work) / sizeof(work[0]); n++) {
        if (pthread_create(&thread[n], NULL, work[n], w) != 0) {
            hai_log(HAI_LOG_ERROR, "a thread could not be made");
            rc = 1;
            break;
        }
    }

    if (rc == 0) {
        hai_log(HAI_LOG_INFO, "started, reading %s", w->events);
        serve(w);
        hai_log(HAI_LOG_INFO, "stopping");
    }

    hai_worker_tell(w, &w->stop);
    curl_multi_wakeup(w->multi);

    while (n > 0) {
        pthread_join(thread[--n], NULL);
    }
    return rc;
}

int main(int argc, char **argv) {
    struct arguments a = {
        .redis = HAI_REDIS_DEFAULT,
        .log_level = "info",
        .attempts = ATTEMPTS,
        .backoff = BACKOFF_MS,
    };
    struct hai_worker w = {.audit = {.fd = -1}};
    int rc = parse(&a, &w, argc, argv);

    if (rc != 0) {
        return rc > 0 ? EXIT_SUCCESS : 2;
    }
    if (configure(&w, &a) != 0) {
        hai_redis_conf_free(&w.redis);
        free(w.allowed);
        return 2;
    }

    rc = start(&w, &a) == 0 ? run(&w) : 1;

    if (w.multi != NULL) {
        curl_multi_cleanup(w.multi);
    }
    curl_global_cleanup();
    hai_audit_close(&w.audit);
    hai_worker_free(&w);
    return rc;
}
