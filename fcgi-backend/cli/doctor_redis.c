/* hoody-ai doctor: Redis, as far as the gateway's user sees it; what only
 * settings tell is for --admin-redis. */

#include "doctor.h"
#include "redis_version.h"

#include "lib/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* A load of a registry puts up to this into the buffer of a feed, for each
 * container that one transaction changes (redis-schema/redis.conf). */
#define FEED_BYTES 640

/* Where a connection leads: with Sentinel and Cluster no option says so. */
static const char *path_of(const redisContext *c) {
    return c->connection_type == REDIS_CONN_UNIX ? c->unix_sock.path : NULL;
}

void hai_doctor_redis_reachable(const struct hai_doctor *d,
                                struct hai_finding *f) {
    redisContext *c = hai_doctor_redis(d, f);

    if (c != NULL) {
        if (path_of(c) != NULL) {
            hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                           "unix:%s answers and is a master", path_of(c));
        } else {
            hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                           "%s:%d answers and is a master", c->tcp.host,
                           c->tcp.port);
        }
        redisFree(c);
    }
}

void hai_doctor_redis_socket(const struct hai_doctor *d,
                             struct hai_finding *f) {
    const struct hai_redis_conf *conf = &d->registry.conf;

    if (conf->mode != HAI_REDIS_FIXED || conf->address[0].port != 0) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "Redis is not at a unix socket");
    } else {
        hai_doctor_may_use(d, conf->address[0].name, f);
    }
}

/* A section of INFO, NULL after it has said so; freeReplyObject(). */
static redisReply *info(redisContext *c, const char *section,
                        struct hai_finding *f) {
    char error[256];
    redisReply *reply = c == NULL ? NULL
                                  : hai_redis_command(c, error, sizeof(error),
                                                      "INFO %s", section);

    if (c != NULL && reply == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Allow INFO, see "
                       "redis-schema/acl/gateway.acl.",
                       "INFO: %s", error);
    } else if (reply != NULL && reply->type != REDIS_REPLY_STRING) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, NULL, "unexpected answer to INFO");
        freeReplyObject(reply);
        reply = NULL;
    }
    return reply;
}

/* The value of a line "name:value", cut to size; false where it is not. */
static bool value_of(const redisReply *info, const char *name, char *to,
                     size_t size) {
    const char *at = info->str;
    size_t len = strlen(name), n;

    to[0] = '\0';
    while (at != NULL) {
        if (strncmp(at, name, len) == 0 && at[len] == ':') {
            at += len + 1;
            n = strcspn(at, "\r\n");
            n = n < size ? n : size - 1;
            memcpy(to, at, n);
            to[n] = '\0';
            return true;
        }
        at = strchr(at, '\n');
        at = at != NULL ? at + 1 : NULL;
    }
    return false;
}

void hai_doctor_redis_version(const struct hai_doctor *d,
                              struct hai_finding *f) {
    redisContext *c = hai_doctor_redis(d, f);
    redisReply *reply = info(c, "server", f);
    const char *wrong;
    char version[64];
    bool fatal;

    if (reply != NULL) {
        value_of(reply, "redis_version", version, sizeof(version));
        wrong = hai_redis_version_wrong(version, &fatal);
        if (wrong != NULL) {
            hai_doctor_say(f, fatal ? HAI_DOCTOR_FAIL : HAI_DOCTOR_WARN,
                           "Take the last release of Redis 7 or a later one.",
                           "%s %s", version, wrong);
        } else {
            hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "%s", version);
        }
    }
    freeReplyObject(reply);
    redisFree(c);
}

void hai_doctor_redis_memory(const struct hai_doctor *d,
                             struct hai_finding *f) {
    redisContext *c = hai_doctor_redis(d, f);
    redisReply *reply = info(c, "memory", f);
    char policy[64], max[32], used[32];
    double share;

    if (reply != NULL) {
        value_of(reply, "maxmemory_policy", policy, sizeof(policy));
        value_of(reply, "maxmemory", max, sizeof(max));
        value_of(reply, "used_memory", used, sizeof(used));
        share =
            strtod(max, NULL) > 0 ? strtod(used, NULL) / strtod(max, NULL) : 0;
        if (strcmp(policy, "noeviction") != 0) {
            hai_doctor_say(f, HAI_DOCTOR_FAIL,
                           "Set maxmemory-policy noeviction.",
                           "maxmemory-policy is %s: an evicted container "
                           "loses its access, an evicted set closes the gate "
                           "for all",
                           policy);
        } else if (share > 0.9) {
            hai_doctor_say(f, HAI_DOCTOR_WARN, "Raise maxmemory.",
                           "%.0f %% of maxmemory is in use: writes will be "
                           "refused",
                           share * 100);
        } else {
            hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "noeviction, maxmemory %s",
                           max);
        }
    }
    freeReplyObject(reply);
    redisFree(c);
}

void hai_doctor_redis_persistence(const struct hai_doctor *d,
                                  struct hai_finding *f) {
    redisContext *c = hai_doctor_redis(d, f);
    redisReply *reply = info(c, "persistence", f);
    char aof[8], written[16], saved[16];

    if (reply != NULL) {
        value_of(reply, "aof_enabled", aof, sizeof(aof));
        value_of(reply, "aof_last_write_status", written, sizeof(written));
        value_of(reply, "rdb_last_bgsave_status", saved, sizeof(saved));
        if (strcmp(written, "err") == 0 || strcmp(saved, "err") == 0) {
            hai_doctor_say(f, HAI_DOCTOR_FAIL,
                           "See the log of Redis, and the disk.",
                           "the last write to the disk failed");
        } else if (strcmp(aof, "1") != 0) {
            hai_doctor_say(f, HAI_DOCTOR_WARN,
                           "Set appendonly yes and appendfsync always, see "
                           "redis-schema/redis.conf.",
                           "no append-only file: a container that was "
                           "disabled may be enabled again after a crash");
        } else {
            hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                           "an append-only file is written");
        }
    }
    freeReplyObject(reply);
    redisFree(c);
}

void hai_doctor_redis_replicas(const struct hai_doctor *d,
                               struct hai_finding *f) {
    bool sentinel = strstr(d->registry.redis, "sentinel=") != NULL;
    redisContext *c = hai_doctor_redis(d, f);
    redisReply *reply = info(c, "replication", f);
    char replicas[16], good[16];

    if (reply != NULL) {
        value_of(reply, "connected_slaves", replicas, sizeof(replicas));
        if (!sentinel && strcmp(replicas, "0") == 0) {
            hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "there are no replicas");
        } else if (!value_of(reply, "min_slaves_good_slaves", good,
                             sizeof(good))) {
            hai_doctor_say(f, HAI_DOCTOR_FAIL,
                           "Set min-replicas-to-write 1 and a short "
                           "min-replicas-max-lag.",
                           "%s replicas, and no min-replicas-to-write: a "
                           "master that was cut off goes on",
                           replicas);
        } else {
            hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                           "%s replicas, %s of them good", replicas, good);
        }
    }
    freeReplyObject(reply);
    redisFree(c);
}

/* The hard and soft limits of pubsub clients in bytes. */
static bool read_limits(const char *text, double *hard, double *soft) {
    static const char name[] = "pubsub ";
    const char *at = strstr(text, name);
    char *end;

    if (at == NULL) {
        return false;
    }
    at += sizeof(name) - 1;
    *hard = strtod(at, &end);
    if (end == at || *end != ' ') {
        return false;
    }
    at = end + 1;
    *soft = strtod(at, &end);
    return end != at;
}

/* SCARD of a set, 0 when it cannot be had. */
static long long count_of(const struct hai_doctor *d, redisContext *c,
                          const char *rest) {
    char *key = hai_registry_key(d->registry.server, rest), error[128];
    redisReply *reply = NULL;
    long long n;

    if (key != NULL) {
        reply = hai_redis_command(c, error, sizeof(error), "SCARD %s", key);
    }
    n = reply != NULL && reply->type == REDIS_REPLY_INTEGER ? reply->integer
                                                            : 0;
    freeReplyObject(reply);
    free(key);
    return n;
}

void hai_doctor_redis_feed(const struct hai_doctor *d, struct hai_finding *f) {
    redisContext *c = hai_doctor_admin(d, f);
    redisReply *reply = NULL;
    double hard, soft, need;
    char error[256];

    if (c == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "the feed's output limit is a setting: --admin-redis");
        return;
    }
    reply = hai_redis_command(c, error, sizeof(error),
                              "CONFIG GET client-output-buffer-limit");
    if (reply == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "CONFIG GET: %s", error);
    } else if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
               || reply->element[1]->type != REDIS_REPLY_STRING
               || !read_limits(reply->element[1]->str, &hard, &soft))
    {
        hai_doctor_say(f, HAI_DOCTOR_WARN, NULL,
                       "unexpected answer to CONFIG GET");
    } else {
        need = (double) count_of(d, c, "containers") * FEED_BYTES;
        need = need > 1024 * 1024 ? need : 1024 * 1024;
        if ((hard > 0 && hard < need) || (soft > 0 && soft < need / 4)) {
            hai_doctor_say(f, HAI_DOCTOR_WARN,
                           "Set client-output-buffer-limit pubsub 64mb 16mb "
                           "30.",
                           "client-output-buffer-limit of pubsub is %.0f "
                           "and %.0f bytes: the feed is cut when many "
                           "containers change at once",
                           hard, soft);
        } else {
            hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                           "room for %.0f bytes of the change feed", hard);
        }
    }
    freeReplyObject(reply);
    redisFree(c);
}

/* Is a stranger without a password answered? */
static bool answers_stranger(const char *path, const char *host, int port,
                             long timeout_ms) {
    struct timeval t = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    redisContext *c = path != NULL ? redisConnectUnixWithTimeout(path, t)
                                   : redisConnectWithTimeout(host, port, t);
    redisReply *reply = NULL;
    bool answers;

    if (c != NULL && c->err == 0 && redisSetTimeout(c, t) == REDIS_OK) {
        reply = redisCommand(c, "PING");
    }
    answers = reply != NULL && reply->type != REDIS_REPLY_ERROR;
    freeReplyObject(reply);
    redisFree(c);
    return answers;
}

static bool is_loopback(const char *host) {
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0
           || strcmp(host, "localhost") == 0;
}

void hai_doctor_redis_network(const struct hai_doctor *d,
                              struct hai_finding *f) {
    const struct hai_redis_conf *conf = &d->registry.conf;
    const char *mend = "Give each user a password: redis-schema/acl/, with the "
                       "default user off; listen on a unix socket alone.";
    redisContext *c = hai_doctor_redis(d, f);
    redisReply *reply = info(c, "server", f);
    const char *path, *host;
    struct stat st;
    char text[16];
    int port;

    if (reply == NULL) {
        redisFree(c);
        return;
    }
    path = path_of(c);
    host = path == NULL ? c->tcp.host : NULL;
    value_of(reply, "tcp_port", text, sizeof(text));
    port = (int) strtol(text, NULL, 10);
    if (path == NULL && !is_loopback(host)
        && answers_stranger(NULL, host, c->tcp.port, conf->connect_timeout_ms))
    {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, mend,
                       "%s:%d answers anybody in the network", host,
                       c->tcp.port);
    } else if (port > 0
               && answers_stranger(NULL, path != NULL ? "127.0.0.1" : host,
                                   port, conf->connect_timeout_ms))
    {
        hai_doctor_say(f, HAI_DOCTOR_WARN, mend,
                       "anybody on this host may write the registry through "
                       "port %d",
                       port);
    } else if (path != NULL && stat(path, &st) == 0
               && (st.st_mode & S_IWOTH) != 0
               && answers_stranger(path, NULL, 0, conf->connect_timeout_ms))
    {
        hai_doctor_say(f, HAI_DOCTOR_WARN, mend,
                       "anybody on this host may write the registry through "
                       "%s",
                       path);
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "strangers are not answered");
    }
    freeReplyObject(reply);
    redisFree(c);
}

void hai_doctor_redis_clock(const struct hai_doctor *d, struct hai_finding *f) {
    redisContext *c = hai_doctor_redis(d, f);
    struct timespec before, after;
    redisReply *reply;
    double theirs, ours, skew;
    char text[32];

    clock_gettime(CLOCK_REALTIME, &before);
    reply = info(c, "server", f);
    clock_gettime(CLOCK_REALTIME, &after);
    if (reply == NULL) {
        redisFree(c);
        return;
    }
    if (!value_of(reply, "server_time_usec", text, sizeof(text))) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "this Redis does not tell its time in INFO");
    } else {
        theirs = strtod(text, NULL) / 1e6;
        ours = ((double) before.tv_sec + (double) before.tv_nsec / 1e9
                + (double) after.tv_sec + (double) after.tv_nsec / 1e9)
               / 2;
        skew = theirs - ours;
        if (skew > 2 || skew < -2) {
            hai_doctor_say(
                f, HAI_DOCTOR_WARN, "Let a time service set both clocks.",
                "the clock of Redis is %.1f s %s this host's: times "
                "of events and expiries are off",
                skew > 0 ? skew : -skew, skew > 0 ? "ahead of" : "behind");
        } else {
            hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                           "%.0f ms from the clock of Redis", skew * 1000);
        }
    }
    freeReplyObject(reply);
    redisFree(c);
}
