/*
 * hoody-ai firewall watch: the feed of the registry on one connection, reads
 * on another.  Changes that come together are applied together, as the
 * difference to what the kernel has; whenever that fails, or the tables are
 * not as they were left, everything is written again.
 *
 * Redis away: the rules in force stay.
 */

#include "firewall.h"

#include "cli.h"
#include "lib/log.h"
#include "lib/service.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define GATHER_MS 10 /* a change may have company */
#define QUIET_MS 1000
#define RETRY_MS 1000
#define TRIES 5       /* while others change nftables */
#define KEYS_MAX 5000 /* more of them: everything is read again */

struct watch {
    const struct hai_fw_watch *set;
    struct hai_fw_nft *nft;
    redisContext *feed, *data;
    struct hai_fw_registry registry;
    struct hai_fw_sets applied; /* what the kernel has */
    bool in_force;              /* ... if it has */
    char *tables;               /* as they looked then */
    char **keys;                /* to be read again */
    size_t n, size;
    bool load; /* everything is to be read again */
    bool complained;
    int64_t alive, checked, attempt;
    int signals;
};

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void warn(const char *name, const char *reason) {
    hai_log(HAI_LOG_WARN, "container \"%s\": %s", name, reason);
}

static void forget_keys(struct watch *w) {
    size_t i;

    for (i = 0; i < w->n; i++) {
        free(w->keys[i]);
    }
    w->n = 0;
}

static void disconnect(struct watch *w, const char *why) {
    if (!w->complained) {
        w->complained = true;
        hai_log(HAI_LOG_ERROR, "Redis: %s; the rules in force stay", why);
    }
    redisFree(w->feed);
    redisFree(w->data);
    w->feed = NULL;
    w->data = NULL;
    w->attempt = now_ms() + RETRY_MS;
    forget_keys(w);
}

/* First the feed, then what is there: nothing falls between. */
static void connect_redis(struct watch *w) {
    char error[256], prefix[320];
    const char *const prefixes[] = {prefix};

    snprintf(prefix, sizeof(prefix), "hoody:{%s}:container:", w->set->server);
    w->feed = hai_redis_connect(w->set->redis, "hoody-ai-firewall-feed", error,
                                sizeof(error));
    if (w->feed == NULL
        || hai_redis_feed_start(w->feed, prefixes, 1, error, sizeof(error))
               != 0)
    {
        disconnect(w, error);
        return;
    }
    w->data = hai_redis_connect(w->set->redis, "hoody-ai-firewall", error,
                                sizeof(error));
    if (w->data == NULL) {
        disconnect(w, error);
        return;
    }
    w->alive = now_ms();
    w->load = true;
}

static void remember(struct watch *w, const char *key) {
    if (w->load) {
        return;
    }
    if (w->n == w->size && w->n < KEYS_MAX) {
        size_t size = w->size == 0 ? 64 : w->size * 2;
        void *grown = realloc(w->keys, size * sizeof(*w->keys));

        if (grown != NULL) {
            w->keys = grown;
            w->size = size;
        }
    }
    if (w->n < w->size && (w->keys[w->n] = strdup(key)) != NULL) {
        w->n++;
        return;
    }
    w->load = true;
}

/* Takes what the feed has to say. */
static void read_feed(struct watch *w) {
    bool quiet = now_ms() - w->alive >= QUIET_MS;
    redisReply *keys;
    char error[256];
    size_t i;
    int rc;

    /* with a time to wait it sends a heartbeat where there is nothing */
    while (
        (rc = hai_redis_feed_wait(w->feed, quiet, &keys, error, sizeof(error)))
        > 0)
    {
        quiet = false;
        w->alive = now_ms();
        if (keys == NULL) {
            w->load = true;
            continue;
        }
        for (i = 0; i < keys->elements; i++) {
            if (keys->element[i]->type == REDIS_REPLY_STRING) {
                remember(w, keys->element[i]->str);
            }
        }
        freeReplyObject(keys);
    }
    if (rc < 0) {
        disconnect(w, error);
    } else if (quiet) {
        w->alive = now_ms();
    }
}

/* Brings the registry up to date; false when there is nothing to apply. */
static bool read_registry(struct watch *w) {
    char error[256];
    int rc;

    if (w->data == NULL || (!w->load && w->n == 0)) {
        return false;
    }
    if (w->load) {
        rc = hai_fw_registry_load(&w->registry, w->data, w->set->server, warn,
                                  error, sizeof(error));
    } else {
        rc = hai_fw_registry_update(&w->registry, w->data, w->set->server,
                                    w->keys, w->n, warn, error, sizeof(error));
    }
    if (rc != 0) {
        disconnect(w, error);
        return false;
    }
    forget_keys(w);
    w->load = false;
    if (w->complained) {
        w->complained = false;
        hai_log(HAI_LOG_INFO, "Redis: connected again");
    }
    return true;
}

/* The difference, or all of it; NULL without memory. */
static char *text_of(struct watch *w, const struct hai_fw_sets *sets,
                     size_t *changes) {
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);

    if (out == NULL) {
        return NULL;
    }
    *changes = 1;
    if (w->in_force) {
        *changes = hai_fw_delta(out, &w->applied, sets);
    } else {
        hai_fw_text(out, sets, w->set->gate);
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/*
 * Everything, and how it then looks.  Only where nobody else has changed
 * anything in between is that what was written: it is what the tables are
 * compared with from now on.
 */
static int write_whole(struct watch *w, const char *text, char *error,
                       size_t size) {
    uint32_t before, after;

    for (unsigned i = 0; i < TRIES; i++) {
        free(w->tables);
        w->tables = NULL;

        if (hai_fw_generation(&before, error, size) != 0
            || hai_fw_nft_run(w->nft, text, error, size) != 0)
        {
            return -1;
        }

        w->tables = hai_fw_nft_tables(w->nft, error, size);
        if (w->tables == NULL || hai_fw_generation(&after, error, size) != 0) {
            return -1;
        }

        if (after == before + 1) {
            return 0;
        }
    }

    snprintf(error, size, "nftables is changed by others all the time");
    return -1;
}

/* One attempt; 0, or -1 with a message. */
static int write_sets(struct watch *w, const struct hai_fw_sets *sets,
                      char *error, size_t size) {
    size_t changes;
    bool whole = !w->in_force;
    char *text = text_of(w, sets, &changes);
    int rc = 0;

    if (text == NULL) {
        snprintf(error, size, "no memory");
        return -1;
    }
    if (whole) {
        rc = write_whole(w, text, error, size);
    } else if (changes > 0) {
        rc = hai_fw_nft_run(w->nft, text, error, size);
    }
    free(text);
    if (rc != 0) {
        return -1;
    }
    if (changes > 0) {
        hai_log(HAI_LOG_INFO, "%s, %zu containers",
                whole ? "applied" : "changed", w->registry.n);
    }
    return 0;
}

static void apply(struct watch *w) {
    struct hai_fw_host host;
    struct hai_fw_sets sets;
    char error[512];
    int rc;

    if (hai_fw_host_read(&host) != 0) {
        hai_log(HAI_LOG_ERROR, "the host's addresses cannot be read");
        w->checked = now_ms();
        return;
    }
    rc = hai_fw_sets_build(&sets, &w->registry, &host, warn);
    free(host.addr);
    if (rc != 0) {
        hai_log(HAI_LOG_ERROR, "no memory");
        return;
    }
    rc = write_sets(w, &sets, error, sizeof(error));
    if (rc != 0 && w->in_force) {
        hai_log(HAI_LOG_WARN, "%s; everything is written again", error);
        w->in_force = false;
        rc = write_sets(w, &sets, error, sizeof(error));
    }
    w->in_force = rc == 0;
    hai_fw_sets_free(&w->applied);
    w->applied = sets;
    w->checked = now_ms();
    if (rc != 0) {
        hai_log(HAI_LOG_ERROR, "%s", error);
    }
}

/* Are the tables as they were left?  Tried again where the last one failed. */
static void check(struct watch *w) {
    char error[512], *tables = NULL;

    w->checked = now_ms();
    if (w->registry.n == 0 && w->tables == NULL && !w->in_force
        && w->data == NULL) {
        return; /* never had a registry */
    }
    if (w->in_force) {
        tables = hai_fw_nft_tables(w->nft, error, sizeof(error));
        if (tables != NULL && w->tables != NULL
            && strcmp(tables, w->tables) == 0) {
            free(tables);
            return;
        }
        free(tables);
        hai_log(HAI_LOG_WARN, "the tables are not as they were left: they are "
                              "written again");
        w->in_force = false;
    }
    apply(w);
}

/* How long there is nothing to do by itself. */
static int idle_ms(const struct watch *w) {
    int64_t now = now_ms(), next = w->checked + w->set->check_ms;

    if (w->feed == NULL && w->attempt < next) {
        next = w->attempt;
    }
    if (w->feed != NULL && w->alive + QUIET_MS < next) {
        next = w->alive + QUIET_MS;
    }
    return next > now ? (int) (next - now) : 0;
}

/* Waits; the signal that came, or 0. */
static int wait_for_change(struct watch *w) {
    struct signalfd_siginfo info;
    struct pollfd fds[3] = {
        {.fd = w->signals, .events = POLLIN},
        {.fd = w->feed != NULL ? w->feed->fd : -1, .events = POLLIN},
        {.fd = w->data != NULL ? w->data->fd : -1, .events = POLLIN},
    };

    if (poll(fds, 3, idle_ms(w)) < 0 && errno != EINTR) {
        hai_log(HAI_LOG_ERROR, "poll: %s", strerror(errno));
    }
    if (fds[0].revents != 0
        && read(w->signals, &info, sizeof(info)) == (ssize_t) sizeof(info))
    {
        return (int) info.ssi_signo;
    }
    /* nothing was asked on this connection: it is over */
    if (fds[2].revents != 0) {
        disconnect(w, "the connection was closed");
    } else if (fds[1].revents != 0) {
        struct timespec gather = {.tv_nsec = GATHER_MS * 1000000L};

        nanosleep(&gather, NULL);
    }
    return 0;
}

static void loop(struct watch *w) {
    int sig;

    do {
        if (w->feed == NULL && now_ms() >= w->attempt) {
            connect_redis(w);
        }
        if (w->feed != NULL) {
            read_feed(w);
        }
        if (read_registry(w)) {
            apply(w);
        }
        if (now_ms() - w->checked >= w->set->check_ms) {
            check(w);
        }
        sig = wait_for_change(w);
        if (sig == SIGHUP) {
            hai_log(HAI_LOG_INFO, "reads everything again");
            w->in_force = false;
            w->load = true;
        }
    } while (sig != SIGTERM && sig != SIGINT);
}

static int open_signals(void) {
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int hai_fw_watch(const struct hai_fw_watch *set) {
    struct watch w = {.set = set};
    char error[256];

    if (hai_service_signals() != 0 || (w.signals = open_signals()) < 0) {
        hai_log(HAI_LOG_ERROR, "cannot block signals");
        return HAI_CLI_PROBLEM;
    }
    w.nft = hai_fw_nft_new(error, sizeof(error));
    if (w.nft == NULL) {
        hai_log(HAI_LOG_ERROR, "%s", error);
        close(w.signals);
        return HAI_CLI_PROBLEM;
    }
    w.checked = now_ms();
    loop(&w);
    hai_log(HAI_LOG_INFO, "ends, the rules stay");

    redisFree(w.feed);
    redisFree(w.data);
    hai_fw_nft_free(w.nft);
    hai_fw_registry_free(&w.registry);
    hai_fw_sets_free(&w.applied);
    forget_keys(&w);
    free(w.keys);
    free(w.tables);
    close(w.signals);
    return HAI_CLI_OK;
}
