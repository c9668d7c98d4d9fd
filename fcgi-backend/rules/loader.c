/*
 * The thread that loads rules, see loader.h.
 *
 *   connected     feed (invalidations) and data (reads, the epoch) belong
 *                 together: when one is lost both are closed
 *   dirty         what has to be done: the overlay to be read, a set to be
 *                 made, the epoch to be looked at
 *   fresh         the set in force is not the one of the published epoch
 *
 * The feed is begun before the overlay is read, so no change is missed.
 */

#include "loader.h"

#include "watch.h"
#include "lib/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 400   /* looks at the file */
#define QUIET_MS 1000 /* then the feed has to prove that it is alive */
#define PAUSE_MIN_MS 100
#define PAUSE_MAX_MS 5000
#define FOREIGN_MS 1000 /* that long another engine may be ahead of us */

struct hai_loader {
    struct hai_engine *engine;
    pthread_t thread;
    int wake; /* eventfd */
    atomic_bool reload;

    struct hai_file_watch file;

    redisContext *feed;
    redisContext *data;
    uint64_t alive_ms; /* when the feed said something */
    uint64_t next_attempt_ms;
    int pause_ms;
    bool complained; /* about Redis, since it was connected last */

    redisReply *overlay; /* of HGETALL, as it was read last */

    struct hai_rules *rules; /* in force */
    struct hai_epoch epoch;  /* of it */
    bool fresh;

    bool read_overlay;
    bool make_set;
    bool forced; /* SIGHUP */
    bool look_at_epoch;
    uint64_t foreign_ms; /* since when another epoch is there; 0: it is not */
    bool foreign_said;
};

uint64_t hai_wall_ms(void) {
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

uint64_t hai_mono_ms(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

static void disconnect(struct hai_loader *l, const char *why) {
    struct hai_load_state *state = &l->engine->state;

    if (l->feed != NULL) {
        redisFree(l->feed);
    }

    if (l->data != NULL) {
        redisFree(l->data);
    }

    l->feed = NULL;
    l->data = NULL;

    pthread_mutex_lock(&state->lock);
    state->redis = false;
    pthread_mutex_unlock(&state->lock);

    if (!l->complained) {
        l->complained = true;
        hai_log(HAI_LOG_ERROR, "Redis: %s", why);
    }

    l->pause_ms = l->pause_ms == 0 ? PAUSE_MIN_MS : l->pause_ms * 2;
    if (l->pause_ms > PAUSE_MAX_MS) {
        l->pause_ms = PAUSE_MAX_MS;
    }

    l->next_attempt_ms = hai_mono_ms() + (uint64_t) l->pause_ms / 2
                         + (uint64_t) random() % ((uint64_t) l->pause_ms / 2);
}

static void connect_redis(struct hai_loader *l) {
    const char *const prefixes[] = {l->engine->rules_key};
    const struct hai_redis_conf *conf = &l->engine->redis;
    char error[256];

    l->feed =
        hai_redis_connect(conf, "hoody-ai-rules-feed", error, sizeof(error));
    if (l->feed == NULL
        || hai_redis_feed_start(l->feed, prefixes, 1, error, sizeof(error))
               != 0)
    {
        disconnect(l, error);
        return;
    }

    l->data = hai_redis_connect(conf, "hoody-ai-rules", error, sizeof(error));
    if (l->data == NULL) {
        disconnect(l, error);
        return;
    }

    l->alive_ms = hai_mono_ms();
    l->read_overlay = true;
    l->look_at_epoch = true;
}

/* Everything that a connection is for has worked. */
static void connected(struct hai_loader *l) {
    struct hai_load_state *state = &l->engine->state;
    bool before;

    l->pause_ms = 0;
    l->complained = false;

    pthread_mutex_lock(&state->lock);
    before = state->redis;
    state->redis = true;
    pthread_mutex_unlock(&state->lock);

    if (!before) {
        hai_log(HAI_LOG_INFO, "Redis: connected");
    }
}

static void read_overlay(struct hai_loader *l) {
    redisReply *reply;
    char error[256];

    reply = hai_redis_command(l->data, error, sizeof(error), "HGETALL %s",
                              l->engine->rules_key);
    if (reply == NULL) {
        disconnect(l, error);
        return;
    }

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements % 2 != 0) {
        freeReplyObject(reply);
        disconnect(l, "no hash was answered to HGETALL");
        return;
    }

    if (l->overlay != NULL) {
        freeReplyObject(l->overlay);
    }

    l->overlay = reply;
    l->read_overlay = false;
    l->make_set = true;
}

/* Gives the set to the workers, with the epoch as it is now. */
static int put_set(struct hai_loader *l) {
    struct hai_current *current = &l->engine->current;
    char text[HAI_EPOCH_SIZE];
    struct hai_set *set;

    hai_epoch_write(&l->epoch, text);

    /* only this thread changes it: no reference is needed */
    set = hai_set_new(l->rules, text, current->set);
    if (set == NULL) {
        hai_log(HAI_LOG_ERROR, "no memory for a rule set");
        return -1;
    }

    hai_current_put(current, set);

    return 0;
}

static int set_epoch(struct hai_loader *l) {
    char text[HAI_EPOCH_SIZE], error[256];
    redisReply *reply;

    hai_epoch_write(&l->epoch, text);

    reply = hai_redis_command(l->data, error, sizeof(error), "SET %s %s",
                              l->engine->epoch_key, text);
    if (reply == NULL) {
        disconnect(l, error);
        return -1;
    }

    freeReplyObject(reply);
    hai_log(HAI_LOG_INFO, "epoch %s is published", text);

    return 0;
}

/*
 * Brings the epoch of Redis and ours together.  The workers have the set with
 * its final epoch before anybody can read that in Redis.
 */
static void publish(struct hai_loader *l) {
    enum hai_epoch_action action;
    redisReply *reply;
    char error[256];

    reply = hai_redis_command(l->data, error, sizeof(error), "GET %s",
                              l->engine->epoch_key);
    if (reply == NULL) {
        disconnect(l, error);
        return;
    }

    action = hai_epoch_decide(
        &l->epoch, reply->type == REDIS_REPLY_STRING ? reply->str : NULL,
        reply->len, l->fresh, hai_wall_ms());
    freeReplyObject(reply);

    l->look_at_epoch = false;

    if (action == HAI_EPOCH_FOREIGN) {
        if (l->foreign_ms == 0) {
            l->foreign_ms = hai_mono_ms();
        }

        return;
    }

    l->foreign_ms = 0;
    l->foreign_said = false;

    if ((action != HAI_EPOCH_KEEP || l->fresh) && put_set(l) != 0) {
        l->look_at_epoch = true;
        return;
    }

    if (action == HAI_EPOCH_WRITE && set_epoch(l) != 0) {
        l->look_at_epoch = true;
        return;
    }

    l->fresh = false;
}

static void report(void *data, bool is_error, const char *where, int line,
                   int column, const char *rule, const char *reason) {
    struct hai_load_error *first = data;
    char place[48] = "", name[160] = "";

    if (line > 0) {
        snprintf(place, sizeof(place), ":%d:%d", line, column);
    }

    if (rule != NULL && *rule != '\0') {
        snprintf(name, sizeof(name), " rule \"%s\":", rule);
    }

    hai_log(is_error ? HAI_LOG_ERROR : HAI_LOG_WARN, "%s%s:%s %s", where, place,
            name, reason);

    if (!is_error || first->at != 0) {
        return;
    }

    snprintf(first->where, sizeof(first->where), "%s", where);
    first->line = line;
    first->column = column;
    snprintf(first->rule, sizeof(first->rule), "%s", rule ? rule : "");
    snprintf(first->reason, sizeof(first->reason), "%s", reason);
    first->at = hai_wall_ms();
}

/* The entry rules.reload. */
static void tell(struct hai_loader *l, const struct hai_load_error *error) {
    char epoch[HAI_EPOCH_SIZE] = "", count[24] = "0", reason[1024] = "";
    struct hai_field fields[4];
    size_t i;

    if (l->rules != NULL) {
        hai_epoch_write(&l->epoch, epoch);
        snprintf(count, sizeof(count), "%zu", l->rules->n);
    }

    if (error != NULL) {
        snprintf(reason, sizeof(reason), "%s:%d:%d: %s%s%s", error->where,
                 error->line, error->column, error->rule,
                 *error->rule ? ": " : "", error->reason);
    }

    fields[0].name = "status";
    fields[0].value.data = error == NULL ? "ok" : "failed";
    fields[1].name = "epoch";
    fields[1].value.data = epoch;
    fields[2].name = "rules";
    fields[2].value.data = count;
    fields[3].name = "reason";
    fields[3].value.data = reason;

    for (i = 0; i < 4; i++) {
        fields[i].value.len = strlen(fields[i].value.data);
    }

    hai_entries_add(&l->engine->entries, "rules.reload", fields, 4);
}

static struct hai_rules *load(struct hai_loader *l,
                              struct hai_load_error *error) {
    struct hai_rule_report to = {report, error};
    struct hai_rule_overlay *overlay = NULL;
    struct hai_rules *rules;
    size_t n = l->overlay->elements / 2, i;

    if (n > 0) {
        overlay = calloc(n, sizeof(*overlay));
        if (overlay == NULL) {
            report(error, true, "overlay", 0, 0, "", "no memory");
            return NULL;
        }
    }

    for (i = 0; i < n; i++) {
        const redisReply *id = l->overlay->element[2 * i];
        const redisReply *json = l->overlay->element[2 * i + 1];

        overlay[i].id = id->str;
        overlay[i].id_len = id->len;
        overlay[i].json = json->str;
        overlay[i].json_len = json->len;
    }

    rules = hai_rules_load(l->engine->file, overlay, n, &to);
    free(overlay);

    return rules;
}

static void make_set(struct hai_loader *l) {
    struct hai_load_state *state = &l->engine->state;
    struct hai_load_error error = {0};
    bool forced = l->forced, changed, failed_before;
    struct hai_rules *rules;

    l->make_set = false;
    l->forced = false;

    if (l->engine->file != NULL) {
        hai_file_watch_loading(&l->file);
    }

    rules = load(l, &error);

    pthread_mutex_lock(&state->lock);

    failed_before = state->error.at != 0;
    state->error = error;

    if (rules != NULL) {
        state->loaded_at = hai_wall_ms();
        state->overlay = (unsigned) (l->overlay->elements / 2);
    }

    pthread_mutex_unlock(&state->lock);

    if (rules == NULL) {
        atomic_fetch_add(&l->engine->counters.reloads_failed, 1);
        hai_log(HAI_LOG_ERROR, "rules are refused, %s",
                l->rules != NULL ? "the last good set stays in force"
                                 : "there is no set: no question is answered");
        tell(l, &error);
        return;
    }

    atomic_fetch_add(&l->engine->counters.reloads, 1);
    changed = l->rules == NULL || strcmp(l->epoch.digest, rules->digest) != 0;

    hai_rules_unref(l->rules);
    l->rules = rules;

    if (changed) {
        uint64_t now = hai_wall_ms();

        l->epoch.ms = l->epoch.ms + 1 > now ? l->epoch.ms + 1 : now;
        snprintf(l->epoch.digest, sizeof(l->epoch.digest), "%s", rules->digest);
        l->fresh = true;
        l->foreign_ms = 0;
        hai_log(HAI_LOG_INFO, "rules in force: %zu", rules->n);
    }

    /* with Redis the epoch that it has is looked at first: maybe another
     * engine has published these rules */
    if (l->fresh && l->data != NULL) {
        publish(l);
    }

    if (!changed || l->fresh) {
        put_set(l);
    }

    if (changed || failed_before || forced) {
        tell(l, NULL);
    }
}

/* Takes all that the feed has to say. */
static void read_feed(struct hai_loader *l) {
    bool quiet = hai_mono_ms() - l->alive_ms >= QUIET_MS;
    redisReply *keys;
    char error[256];
    size_t i;
    int rc;

    /* with a time to wait it sends a heartbeat where there is nothing */
    while (
        (rc = hai_redis_feed_wait(l->feed, quiet, &keys, error, sizeof(error)))
        > 0)
    {
        quiet = false;
        l->alive_ms = hai_mono_ms();

        if (keys == NULL) {
            l->read_overlay = true;
            l->look_at_epoch = true;
            continue;
        }

        for (i = 0; i < keys->elements; i++) {
            const redisReply *key = keys->element[i];

            if (key->type != REDIS_REPLY_STRING) {
                continue;
            }

            if (strcmp(key->str, l->engine->rules_key) == 0) {
                l->read_overlay = true;

            } else if (strcmp(key->str, l->engine->epoch_key) == 0) {
                l->look_at_epoch = true;
            }
        }

        freeReplyObject(keys);
    }

    if (rc < 0) {
        disconnect(l, error);

    } else if (quiet) {
        l->alive_ms = hai_mono_ms();
    }
}

static void complain_foreign(struct hai_loader *l) {
    if (l->foreign_ms != 0 && !l->foreign_said
        && hai_mono_ms() - l->foreign_ms >= FOREIGN_MS)
    {
        l->foreign_said = true;
        hai_log(HAI_LOG_ERROR,
                "another engine published other rules for \"%s\""
                ": the gateway refuses the plans of this one",
                l->engine->server);
    }
}

/* Waits for something to do. */
static void wait_for_change(struct hai_loader *l) {
    struct pollfd fds[4];
    int timeout = TICK_MS;
    uint64_t now, value;

    fds[0] = (struct pollfd){.fd = l->wake, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = -1, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = -1, .events = POLLIN};
    fds[3] = (struct pollfd){.fd = -1, .events = POLLIN};

    if (l->engine->file != NULL) {
        fds[1].fd = l->file.fd;
    }

    if (l->feed != NULL) {
        fds[2].fd = l->feed->fd;
        fds[3].fd = l->data->fd;

    } else {
        now = hai_mono_ms();

        if (l->next_attempt_ms <= now) {
            timeout = 0;

        } else if (l->next_attempt_ms - now < TICK_MS) {
            timeout = (int) (l->next_attempt_ms - now);
        }
    }

    if (poll(fds, 4, timeout) < 0 && errno != EINTR) {
        hai_log(HAI_LOG_ERROR, "poll: %s", strerror(errno));
    }

    if (fds[0].revents != 0) {
        (void) !read(l->wake, &value, sizeof(value));
    }

    if (l->engine->file != NULL
        && (fds[1].revents != 0 ? hai_file_watch_notified(&l->file)
                                : hai_file_watch_poll(&l->file)))
    {
        l->make_set = true;
    }

    /* nothing was asked on this connection: it is over */
    if (fds[3].revents != 0) {
        disconnect(l, "the connection was closed");
    }
}

static void *loader_main(void *data) {
    struct hai_loader *l = data;
    struct hai_engine *engine = l->engine;

    while (!atomic_load(&engine->stopping)) {
        if (atomic_exchange(&l->reload, false)) {
            l->forced = true;
            l->make_set = true;
            l->read_overlay = true;
        }

        if (l->feed == NULL && hai_mono_ms() >= l->next_attempt_ms) {
            connect_redis(l);
        }

        if (l->feed != NULL) {
            read_feed(l);
        }

        if (l->read_overlay && l->data != NULL) {
            read_overlay(l);
        }

        /* the file alone is not the whole: wait for the overlay */
        if (l->make_set && l->overlay != NULL) {
            make_set(l);
        }

        if (l->look_at_epoch && l->data != NULL && l->rules != NULL) {
            publish(l);
        }

        if (l->data != NULL && !l->read_overlay) {
            connected(l);
        }

        complain_foreign(l);
        wait_for_change(l);
    }

    return NULL;
}

struct hai_loader *hai_loader_start(struct hai_engine *engine) {
    struct hai_loader *l;

    l = calloc(1, sizeof(*l));
    if (l == NULL) {
        hai_log(HAI_LOG_ERROR, "no memory");
        return NULL;
    }

    l->engine = engine;
    l->make_set = true;
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (l->wake < 0
        || (engine->file != NULL
            && hai_file_watch_init(&l->file, engine->file) != 0)
        || pthread_create(&l->thread, NULL, loader_main, l) != 0)
    {
        hai_log(HAI_LOG_ERROR, "cannot start the loader: %s", strerror(errno));

        if (l->wake >= 0) {
            close(l->wake);
        }

        free(l);
        return NULL;
    }

    return l;
}

static void wake(struct hai_loader *l) {
    uint64_t one = 1;

    (void) !write(l->wake, &one, sizeof(one));
}

void hai_loader_reload(struct hai_loader *l) {
    atomic_store(&l->reload, true);
    wake(l);
}

void hai_loader_stop(struct hai_loader *l) {
    wake(l);
    pthread_join(l->thread, NULL);

    if (l->feed != NULL) {
        redisFree(l->feed);
    }

    if (l->data != NULL) {
        redisFree(l->data);
    }

    if (l->overlay != NULL) {
        freeReplyObject(l->overlay);
    }

    if (l->engine->file != NULL) {
        hai_file_watch_free(&l->file);
    }

    hai_rules_unref(l->rules);
    close(l->wake);
    free(l);
}
