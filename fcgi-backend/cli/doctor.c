/*
 * hoody-ai doctor, see doctor.h: gathers what the checks look at, runs them
 * one by one and prints what they say.
 */

#define _GNU_SOURCE /* pipe2() */

#include "cli.h"
#include "child.h"
#include "doctor.h"

#include "lib/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NAME "hoody-ai doctor"

static const struct hai_check checks[] = {
    {"nginx.binary", NULL, hai_doctor_nginx_binary, 1},
    {"nginx.config", "nginx.binary", hai_doctor_nginx_config, 1},
    {"nginx.module", "nginx.binary", hai_doctor_nginx_module, 1},
    {"nginx.user", NULL, hai_doctor_nginx_user, 1},
    {"nginx.locations", NULL, hai_doctor_nginx_locations, 1},
    {"secrets", NULL, hai_doctor_secrets, 1},
    {"passwords", NULL, hai_doctor_passwords, 1},
    {"tls.config", NULL, hai_doctor_tls_config, 1},
    {"tls.online", NULL, hai_doctor_tls_online, 1},
    {"redis.reachable", NULL, hai_doctor_redis_reachable, 1},
    {"redis.socket", "redis.reachable", hai_doctor_redis_socket, 1},
    {"redis.version", "redis.reachable", hai_doctor_redis_version, 1},
    {"redis.acl", "redis.reachable", hai_doctor_redis_acl, 1},
    {"redis.memory", "redis.reachable", hai_doctor_redis_memory, 1},
    {"redis.persistence", "redis.reachable", hai_doctor_redis_persistence, 1},
    {"redis.replicas", "redis.reachable", hai_doctor_redis_replicas, 1},
    {"redis.feed", "redis.reachable", hai_doctor_redis_feed, 1},
    {"redis.network", "redis.reachable", hai_doctor_redis_network, 1},
    {"redis.clock", "redis.reachable", hai_doctor_redis_clock, 1},
    {"registry", "redis.reachable", hai_doctor_registry, 6},
    {"gateway", NULL, hai_doctor_gateway, 1},
    {"rules.engine", NULL, hai_doctor_rules_engine, 1},
    {"rules.socket", "rules.engine", hai_doctor_rules_socket, 1},
    {"events.worker", "redis.reachable", hai_doctor_events_worker, 1},
    {"host.clock", NULL, hai_doctor_clock, 1},
    {"host.firewall", NULL, hai_doctor_firewall, 1},
    {"host.forwarding", NULL, hai_doctor_forwarding, 1},
    {"host.rp_filter", NULL, hai_doctor_rp_filter, 1},
    {"kernel.peerpidfd", NULL, hai_doctor_peerpidfd, 1},
    {"kernel.namespaces", NULL, hai_doctor_namespaces, 1},
    {"kernel.hidepid", NULL, hai_doctor_hidepid, 1},
    {"kernel.memlock", NULL, hai_doctor_memlock, 1},
    {"kernel.core", NULL, hai_doctor_core, 1},
};

#define N_CHECKS (sizeof(checks) / sizeof(checks[0]))

static const char *const results[] = {"ok", "skip", "warn", "fail"};

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Printable ASCII alone: it goes to terminals, and into JSON. */
static void clean(char *text) {
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~') {
            *text = '?';
        }
    }
}

void hai_doctor_say(struct hai_finding *f, enum hai_doctor_result result,
                    const char *mend, const char *format, ...) {
    char text[sizeof(f->text)];
    size_t len = strlen(f->text);
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    clean(text);
    if (len > 0 && result < f->result) {
        return;
    }
    if (len > 0 && result == f->result) {
        if (len + 8 < sizeof(f->text)) {
            snprintf(f->text + len, sizeof(f->text) - len, "; %.*s",
                     (int) (sizeof(f->text) - len - 3), text);
        }
    } else {
        f->result = result;
        memcpy(f->text, text, sizeof(text));
        f->mend[0] = '\0';
    }
    if (mend != NULL && f->mend[0] == '\0') {
        snprintf(f->mend, sizeof(f->mend), "%s", mend);
    }
}

static redisContext *open_redis(const struct hai_redis_conf *conf,
                                struct hai_finding *f) {
    char error[256];
    redisContext *c =
        hai_redis_connect(conf, "hoody-ai-doctor", error, sizeof(error));

    if (c == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "See that Redis runs and is a master, and that "
                       "address, user and password of hoody_ai_redis are "
                       "right.",
                       "Redis: %s", error);
    }
    return c;
}

redisContext *hai_doctor_redis(const struct hai_doctor *d,
                               struct hai_finding *f) {
    return open_redis(&d->registry.conf, f);
}

redisContext *hai_doctor_admin(const struct hai_doctor *d,
                               struct hai_finding *f) {
    struct hai_redis_conf conf;
    redisContext *c = NULL;
    char error[256];

    if (d->admin == NULL) {
        return NULL;
    }
    if (hai_redis_conf_parse(&conf, d->admin, d->registry.server, error,
                             sizeof(error))
        != 0)
    {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, NULL, "--admin-redis: %s", error);
        return NULL;
    }
    c = open_redis(&conf, f);
    hai_redis_conf_free(&conf);
    return c;
}

/* In the child: the check, and its finding down the pipe. */
static void run_check(const struct hai_doctor *d, const struct hai_check *check,
                      int out) {
    struct hai_finding f;
    const char *p = (const char *) &f;
    size_t len = sizeof(f);
    ssize_t n;

    setpgid(0, 0);
    memset(&f, 0, sizeof(f));
    check->run(d, &f);
    if (f.text[0] == '\0') {
        hai_doctor_say(&f, HAI_DOCTOR_FAIL, NULL, "the check said nothing");
    }
    while (len > 0) {
        n = write(out, p, len);
        if (n <= 0 && errno != EINTR) {
            _exit(1);
        }
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t) n : 0;
    }
    _exit(0);
}

/* The finding of a child; -1: none in time, or it broke down. */
static int read_finding(int fd, int64_t end, struct hai_finding *f) {
    struct pollfd in = {.fd = fd, .events = POLLIN};
    char *p = (char *) f;
    size_t len = sizeof(*f);
    int64_t left;
    ssize_t n;

    while (len > 0) {
        left = end - now_ms();
        if (left <= 0) {
            return 1;
        }
        if (poll(&in, 1, (int) left) < 1) {
            continue;
        }
        n = read(fd, p, len);
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            return -1;
        }
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t) n : 0;
    }
    return 0;
}

/* The check in a process of its own, and never longer than the time-out. */
static void examine(const struct hai_doctor *d, const struct hai_check *check,
                    struct hai_finding *f) {
    long timeout_ms = d->timeout_ms * check->patience;
    int64_t end = now_ms() + timeout_ms;
    int fd[2], rc = -1, i;
    pid_t pid = -1;

    memset(f, 0, sizeof(*f));
    if (pipe2(fd, O_CLOEXEC) == 0) {
        pid = fork();
        if (pid == 0) {
            run_check(d, check, fd[1]);
        }
        close(fd[1]);
        rc = pid > 0 ? read_finding(fd[0], end, f) : -1;
        close(fd[0]);
    }
    if (pid > 0) {
        kill(-pid, SIGKILL); /* with what it has started */
        kill(pid, SIGKILL);
        for (i = 0; i < 500 && waitpid(pid, NULL, WNOHANG) == 0; i++) {
            poll(NULL, 0, 1); /* one that cannot be killed is left behind */
        }
    }
    if (rc != 0) {
        memset(f, 0, sizeof(*f));
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       rc > 0 ? "See what does not answer; --timeout allows "
                                "more."
                              : NULL,
                       rc > 0 ? "no answer within %ld ms"
                              : "the check broke down (%ld ms)",
                       timeout_ms);
    }
}

static void print_text(const char *name, const struct hai_finding *f) {
    static const char *const colors[] = {HAI_CLI_GREEN, "", HAI_CLI_BOLD,
                                         HAI_CLI_RED};
    bool color = hai_cli_color(stdout, false);

    printf("%s%-4s%s  %-18s %s\n", color ? colors[f->result] : "",
           results[f->result], color ? HAI_CLI_PLAIN : "", name, f->text);
    if (f->mend[0] != '\0' && f->result >= HAI_DOCTOR_WARN) {
        printf("      how to mend: %s\n", f->mend);
    }
    fflush(stdout);
}

static void add_json(json_t *list, const char *name,
                     const struct hai_finding *f) {
    json_t *one = json_pack("{s:s, s:s, s:s}", "check", name, "result",
                            results[f->result], "text", f->text);

    if (one != NULL && f->result >= HAI_DOCTOR_WARN && f->mend[0] != '\0') {
        json_object_set_new(one, "mend", json_string(f->mend));
    }
    json_array_append_new(list, one);
}

static bool is_fine(const struct hai_finding *found, const char *name) {
    size_t i;

    for (i = 0; i < N_CHECKS; i++) {
        if (strcmp(checks[i].name, name) == 0) {
            return found[i].result == HAI_DOCTOR_OK
                   || found[i].result == HAI_DOCTOR_WARN;
        }
    }
    return true;
}

static int run_all(const struct hai_doctor *d, bool json, bool strict) {
    static struct hai_finding found[N_CHECKS];
    size_t i, count[4] = {0, 0, 0, 0};
    json_t *list = json_array(), *all;

    for (i = 0; i < N_CHECKS; i++) {
        if (checks[i].needs != NULL && !is_fine(found, checks[i].needs)) {
            hai_doctor_say(&found[i], HAI_DOCTOR_SKIP, NULL, "needs %s",
                           checks[i].needs);
        } else {
            examine(d, &checks[i], &found[i]);
        }
        count[found[i].result]++;
        if (json) {
            add_json(list, checks[i].name, &found[i]);
        } else {
            print_text(checks[i].name, &found[i]);
        }
    }
    if (json) {
        all = json_pack("{s:o, s:i, s:i, s:i, s:i}", "checks", list, "ok",
                        (int) count[HAI_DOCTOR_OK], "warnings",
                        (int) count[HAI_DOCTOR_WARN], "failed",
                        (int) count[HAI_DOCTOR_FAIL], "skipped",
                        (int) count[HAI_DOCTOR_SKIP]);
        if (all == NULL || json_dumpf(all, stdout, JSON_INDENT(2)) != 0) {
            count[HAI_DOCTOR_FAIL]++;
        }
        putchar('\n');
        json_decref(all);
    } else {
        json_decref(list);
        printf("%zu ok, %zu warnings, %zu failed, %zu skipped\n",
               count[HAI_DOCTOR_OK], count[HAI_DOCTOR_WARN],
               count[HAI_DOCTOR_FAIL], count[HAI_DOCTOR_SKIP]);
    }
    return count[HAI_DOCTOR_FAIL] > 0 || (strict && count[HAI_DOCTOR_WARN] > 0)
               ? HAI_CLI_PROBLEM
               : HAI_CLI_OK;
}

/* The words of hoody_ai_redis behind its name, with spaces between; nginx
 * looks for the password's file beside its own. */
static const char *join_words(const struct hai_doctor *d,
                              const struct hai_nginx_node *node) {
    static const char file[] = "password_file=";
    static char text[4096];
    size_t len = 0, i, n;

    for (i = 1; i < node->n; i++) {
        const char *word = node->word[i];

        n = strncmp(word, file, sizeof(file) - 1) == 0 ? sizeof(file) - 1 : 0;
        len += (size_t) snprintf(text + len, sizeof(text) - len, "%s%.*s%s%s%s",
                                 i > 1 ? " " : "", (int) n, word,
                                 n > 0 && word[n] != '/' ? d->conf_dir : "",
                                 n > 0 && word[n] != '/' ? "/" : "", word + n);
        if (len >= sizeof(text)) {
            return NULL;
        }
    }
    return text;
}

/* What nginx says of itself, and its configuration. */
static void gather(struct hai_doctor *d) {
    const struct hai_nginx_node *http = NULL, *node;

    hai_doctor_read_conf(d);
    if (d->tree != NULL) {
        http = hai_nginx_child(d->tree, "http");
    }
    if (http != NULL) {
        node = hai_nginx_child(http, "hoody_ai_redis");
        d->redis_from_nginx = node != NULL ? join_words(d, node) : NULL;
        if (d->registry.server == NULL
            && hai_nginx_child(http, "hoody_ai_server") != NULL)
        {
            d->registry.server = hai_nginx_value(http, "hoody_ai_server");
        }
    }
    if (d->registry.redis == NULL) {
        d->registry.redis = d->redis_from_nginx != NULL ? d->redis_from_nginx
                                                        : HAI_REDIS_DEFAULT;
    }
}

int hai_cli_doctor(int argc, char **argv) {
    struct hai_doctor d = {.nginx = "nginx", .timeout_ms = 5000};
    const char *output = "text";
    bool json, strict = false;
    const struct hai_option options[] = {
        {"nginx", HAI_OPT_STRING, &d.nginx, "BIN",
         "the program (nginx, looked for in PATH)", 0, 0, 0},
        {"conf", HAI_OPT_STRING, &d.conf, "FILE",
         "its configuration (what it was built with)", 0, 0, 0},
        {"prefix", HAI_OPT_STRING, &d.prefix, "DIR", "nginx -p, if it has one",
         0, 0, 0},
        {"redis", HAI_OPT_STRING, &d.registry.redis, "ADDRESS",
         "as the gateway's user (what hoody_ai_redis says)", 0, 0, 0},
        {"admin-redis", HAI_OPT_STRING, &d.admin, "ADDRESS",
         "the same as a user who may see settings and the\n"
         "event worker's group",
         0, 0, 0},
        {"server", HAI_OPT_STRING, &d.registry.server, "NAME",
         "(what hoody_ai_server says)", 0, 0, 0},
        {"rules-socket", HAI_OPT_STRING, &d.rules_socket, "ADDRESS",
         "of the rule engine (what the configuration says)", 0, 0, 0},
        {"gateway", HAI_OPT_STRING, &d.gateway, "URL",
         "of a hoody_ai_status page with ?format=json", 0, 0, 0},
        {"online", HAI_OPT_FLAG, &d.online, NULL,
         "ask the providers for their certificates", 0, 0, 0},
        {"strict", HAI_OPT_FLAG, &strict, NULL, "warnings count as failures", 0,
         0, 0},
        {"timeout", HAI_OPT_NUMBER, &d.timeout_ms, "MS",
         "for each check, in milliseconds (5000)", 100, 600000, 0},
        {"output", HAI_OPT_STRING, &output, "FORMAT", "text or json (text)", 0,
         0, 'o'},
        {NULL, HAI_OPT_FLAG, NULL, NULL, NULL, 0, 0, 0},
    };
    const struct hai_program program = {
        NAME, "[OPTION...]",
        "Looks at a gateway and what is around it, and says how to mend what "
        "is wrong.\nMost of it is for root to see; nothing is changed.",
        "Exit status: 0 nothing failed, 1 a check failed, 2 wrong usage.",
        options};
    int rc;

    if (!hai_cli_begin(&program, argc, argv, NULL, &output, &json, &rc)) {
        return rc;
    }
    signal(SIGPIPE, SIG_IGN);
    gather(&d);
    if (hai_cli_registry_init(&d.registry, NAME) != 0) {
        rc = HAI_CLI_USAGE;
    } else {
        rc = run_all(&d, json, strict);
    }
    hai_cli_registry_close(&d.registry);
    hai_nginx_conf_free(d.tree);
    return rc;
}
