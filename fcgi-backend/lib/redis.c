/* A connection to Redis, see redis.h. */

#include "redis_internal.h"

#include "file.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#define PASSWORD_MAX 512
#define FIND_PAUSE_MS 500

int64_t hai_redis_now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static char *read_password(const char *file, size_t *len, char *error,
                           size_t size) {
    char reason[128], *password;
    struct stat st;

    if (stat(file, &st) == 0 && (st.st_mode & 007) != 0) {
        snprintf(error, size, "%s: others than its owner and group have access",
                 file);
        return NULL;
    }
    password = hai_file_read(file, PASSWORD_MAX, len, reason, sizeof(reason));
    if (password == NULL) {
        snprintf(error, size, "%s: %s", file, reason);
        return NULL;
    }
    while (*len > 0
           && (password[*len - 1] == '\n' || password[*len - 1] == '\r')) {
        (*len)--;
    }
    if (*len == 0) {
        snprintf(error, size, "%s: there is no password in it", file);
        free(password);
        return NULL;
    }
    return password;
}

/* Says no more than the first word of an error: old servers repeat what they
 * were sent. */
int hai_redis_log_in(redisContext *c, const char *user, const char *file,
                     char *error, size_t size) {
    redisReply *reply;
    char *password;
    size_t len;
    int rc = -1;

    if (file == NULL) {
        return 0;
    }
    password = read_password(file, &len, error, size);
    if (password == NULL) {
        return -1;
    }
    reply = user != NULL ? redisCommand(c, "AUTH %s %b", user, password, len)
                         : redisCommand(c, "AUTH %b", password, len);
    explicit_bzero(password, len);
    free(password);
    if (reply == NULL) {
        snprintf(error, size, "AUTH: %s", c->errstr);
    } else if (reply->type == REDIS_REPLY_ERROR) {
        snprintf(error, size, "AUTH: %.*s", (int) strcspn(reply->str, " "),
                 reply->str);
    } else {
        rc = 0;
    }
    freeReplyObject(reply);
    return rc;
}

static int check_role(redisContext *c, char *error, size_t size) {
    redisReply *reply = hai_redis_command(c, error, size, "ROLE");
    bool master;

    if (reply == NULL) {
        return -1;
    }
    master = reply->type == REDIS_REPLY_ARRAY && reply->elements > 0
             && reply->element[0]->type == REDIS_REPLY_STRING
             && strcmp(reply->element[0]->str, "master") == 0;
    freeReplyObject(reply);
    if (!master) {
        snprintf(error, size, "Redis is no master");
        return -1;
    }
    return 0;
}

/*
 * A write that passes all that a write has to pass (rights, owner of the slot,
 * replicas) and then fails, because no entry may have the id 0-0.
 */
static int try_write(redisContext *c, const char *key, char *error,
                     size_t size) {
    static const char wanted[] = "ERR The ID specified in XADD";
    redisReply *reply =
        hai_redis_command(c, error, size, "XADD %s 0-0 - -", key);

    if (reply != NULL) {
        freeReplyObject(reply);
        snprintf(error, size, "an entry 0-0 was taken: this is no Redis");
        return -1;
    }
    return c->err == 0 && strncmp(error, wanted, sizeof(wanted) - 1) == 0 ? 0
                                                                          : -1;
}

int hai_redis_beat(redisContext *c, const struct hai_redis_conf *conf,
                   char *error, size_t size) {
    if (conf->mode == HAI_REDIS_FIXED) {
        return 0;
    }
    if (check_role(c, error, size) != 0) {
        return -1;
    }
    return try_write(c, conf->events, error, size);
}

int hai_redis_enter(redisContext *c, const struct hai_redis_conf *conf,
                    const char *client_name, char *error, size_t size) {
    redisReply *reply =
        hai_redis_command(c, error, size, "SELECT %d", conf->db);

    if (reply == NULL) {
        return -1;
    }
    freeReplyObject(reply);

    if (conf->mode == HAI_REDIS_FIXED
            ? check_role(c, error, size) != 0
            : hai_redis_beat(c, conf, error, size) != 0)
    {
        return -1;
    }

    /* its name is for people; a server may refuse it */
    freeReplyObject(redisCommand(c, "CLIENT SETNAME %s", client_name));
    if (c->err) {
        snprintf(error, size, "%s", c->errstr);
        return -1;
    }
    return 0;
}

redisContext *hai_redis_reach(const struct hai_redis_conf *conf,
                              const struct hai_redis_address *address,
                              char *error, size_t size) {
    struct timeval timeout = {conf->connect_timeout_ms / 1000,
                              conf->connect_timeout_ms % 1000 * 1000};
    redisContext *c;

    c = address->port == 0
            ? redisConnectUnixWithTimeout(address->name, timeout)
            : redisConnectWithTimeout(address->name, address->port, timeout);
    if (c == NULL || c->err || redisSetTimeout(c, timeout) != REDIS_OK) {
        snprintf(error, size, "%s", c != NULL ? c->errstr : "no memory");
        redisFree(c);
        return NULL;
    }
    return c;
}

redisContext *hai_redis_connect(const struct hai_redis_conf *conf,
                                const char *client_name, char *error,
                                size_t size) {
    redisContext *c;

    if (conf->mode != HAI_REDIS_FIXED) {
        return hai_redis_find(conf, client_name, error, size);
    }
    c = hai_redis_reach(conf, &conf->address[0], error, size);
    if (c == NULL) {
        return NULL;
    }
    if (hai_redis_log_in(c, conf->user, conf->password_file, error, size) != 0
        || hai_redis_enter(c, conf, client_name, error, size) != 0)
    {
        redisFree(c);
        return NULL;
    }
    return c;
}

int hai_redis_pause(const struct hai_redis_conf *conf, int last_ms, int min_ms,
                    int max_ms) {
    int ms = last_ms == 0 ? min_ms : last_ms * 2;

    if (conf->mode != HAI_REDIS_FIXED && max_ms > FIND_PAUSE_MS) {
        max_ms = FIND_PAUSE_MS;
    }
    return ms < max_ms ? ms : max_ms;
}

bool hai_redis_elsewhere(const char *error) {
    static const char *const words[] = {
        "READONLY",   "MOVED",       "ASK",       "TRYAGAIN",
        "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN"};
    size_t i, len = strcspn(error, " ");

    for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strlen(words[i]) == len && memcmp(words[i], error, len) == 0) {
            return true;
        }
    }
    return false;
}

bool hai_redis_same(const struct hai_redis_conf *conf, const redisContext *a,
                    const redisContext *b) {
    struct sockaddr_storage to_a, to_b;
    socklen_t len_a = sizeof(to_a), len_b = sizeof(to_b);

    if (conf->mode == HAI_REDIS_FIXED) {
        return true;
    }
    memset(&to_a, 0, sizeof(to_a));
    memset(&to_b, 0, sizeof(to_b));

    return getpeername(a->fd, (struct sockaddr *) &to_a, &len_a) == 0
           && getpeername(b->fd, (struct sockaddr *) &to_b, &len_b) == 0
           && len_a == len_b && memcmp(&to_a, &to_b, len_a) == 0;
}

redisReply *hai_redis_checked(redisContext *c, redisReply *reply, char *error,
                              size_t size) {
    if (reply == NULL) {
        snprintf(error, size, "%s", c->err ? c->errstr : "no reply");
        return NULL;
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        snprintf(error, size, "%s", reply->str);
        freeReplyObject(reply);
        return NULL;
    }
    return reply;
}

redisReply *hai_redis_command(redisContext *c, char *error, size_t size,
                              const char *format, ...) {
    redisReply *reply;
    va_list ap;

    va_start(ap, format);
    reply = redisvCommand(c, format, ap);
    va_end(ap);
    return hai_redis_checked(c, reply, error, size);
}
