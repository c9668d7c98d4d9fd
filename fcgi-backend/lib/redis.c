/* Redis for the programs, see redis.h. */

#include "redis.h"

#include "file.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#define PASSWORD_MAX 512
#define PONG_MS 1000
#define FEED_PREFIXES 16

static int say(char *error, size_t size, const char *what, const char *text) {
    snprintf(error, size, "%s\"%s\"", what, text);
    return -1;
}

/* "500ms", "5s", "2m", "1h"; without a unit seconds, as in nginx */
static int parse_time(const char *text, long *ms) {
    static const struct {
        const char *unit;
        long factor;
    } units[] = {
        {"ms", 1}, {"s", 1000}, {"", 1000}, {"m", 60000}, {"h", 3600000}};
    char *end;
    long n;
    size_t i;

    errno = 0;
    n = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || errno != 0) {
        return -1;
    }
    for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) == 0) {
            if (n < 1 || n > INT_MAX / units[i].factor) {
                return -1;
            }
            *ms = n * units[i].factor;
            return 0;
        }
    }
    return -1;
}

static int parse_number(const char *text, long min, long max, int *value) {
    char *end;
    long n;

    errno = 0;
    n = strtol(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || n < min
        || n > max)
    {
        return -1;
    }
    *value = (int) n;
    return 0;
}

static int set_copy(char **to, const char *text) {
    if (*text == '\0') {
        return -1;
    }
    free(*to);
    *to = strdup(text);
    return *to != NULL ? 0 : -1;
}

static int parse_address(struct hai_redis_conf *conf, char *word) {
    char *colon, *host = word;
    size_t len;

    if (strncmp(word, "unix:", 5) == 0) {
        return word[5] == '/' ? set_copy(&conf->path, word + 5) : -1;
    }
    colon = strrchr(word, ':');
    if (colon != NULL && (word[0] != '[' || colon[-1] == ']')) {
        if (parse_number(colon + 1, 1, 65535, &conf->port) != 0) {
            return -1;
        }
        *colon = '\0';
    }
    len = strlen(host);
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        host++;
    }
    return set_copy(&conf->host, host);
}

static int parse_parameter(struct hai_redis_conf *conf, const char *word) {
    const char *value = strchr(word, '=');
    size_t len = value != NULL ? (size_t) (value++ - word) : 0;

    if (len == 2 && memcmp(word, "db", 2) == 0) {
        return parse_number(value, 0, INT_MAX, &conf->db);
    }
    if (len == 4 && memcmp(word, "user", 4) == 0) {
        return set_copy(&conf->user, value);
    }
    if (len == 13 && memcmp(word, "password_file", 13) == 0) {
        return set_copy(&conf->password_file, value);
    }
    if (len == 15 && memcmp(word, "connect_timeout", 15) == 0) {
        return parse_time(value, &conf->connect_timeout_ms);
    }
    if (len == 9 && memcmp(word, "max_stale", 9) == 0) {
        return parse_time(value, &conf->max_stale_ms);
    }
    return -1;
}

static int parse_words(struct hai_redis_conf *conf, char *text, char *error,
                       size_t size) {
    char *save = NULL, *word = strtok_r(text, " ", &save);

    if (word == NULL) {
        snprintf(error, size, "no address of Redis");
        return -1;
    }
    if (parse_address(conf, word) != 0) {
        return say(error, size,
                   "unix:/path or host:port is wanted as the address of "
                   "Redis, not ",
                   word);
    }
    while ((word = strtok_r(NULL, " ", &save)) != NULL) {
        if (parse_parameter(conf, word) != 0) {
            return say(error, size, "invalid parameter of Redis: ", word);
        }
    }
    if (conf->user != NULL && conf->password_file == NULL) {
        snprintf(error, size, "user= of Redis needs password_file=");
        return -1;
    }
    return 0;
}

int hai_redis_conf_parse(struct hai_redis_conf *conf, const char *text,
                         char *error, size_t size) {
    char *copy = strdup(text);
    int rc;

    *conf = (struct hai_redis_conf){
        .port = 6379, .connect_timeout_ms = 1000, .max_stale_ms = 5000};
    if (copy == NULL) {
        snprintf(error, size, "no memory");
        return -1;
    }
    rc = parse_words(conf, copy, error, size);
    free(copy);
    if (rc != 0) {
        hai_redis_conf_free(conf);
    }
    return rc;
}

void hai_redis_conf_free(struct hai_redis_conf *conf) {
    free(conf->path);
    free(conf->host);
    free(conf->user);
    free(conf->password_file);
    memset(conf, 0, sizeof(*conf));
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
static int log_in(redisContext *c, const struct hai_redis_conf *conf,
                  char *error, size_t size) {
    redisReply *reply;
    char *password;
    size_t len;
    int rc = -1;

    if (conf->password_file == NULL) {
        return 0;
    }
    password = read_password(conf->password_file, &len, error, size);
    if (password == NULL) {
        return -1;
    }
    reply = conf->user != NULL
                ? redisCommand(c, "AUTH %s %b", conf->user, password, len)
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

static int select_master(redisContext *c, const struct hai_redis_conf *conf,
                         const char *name, char *error, size_t size) {
    redisReply *reply =
        hai_redis_command(c, error, size, "SELECT %d", conf->db);
    int rc = -1;

    if (reply == NULL) {
        return -1;
    }
    freeReplyObject(reply);

    reply = hai_redis_command(c, error, size, "ROLE");
    if (reply == NULL) {
        return -1;
    }
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0
        && reply->element[0]->type == REDIS_REPLY_STRING
        && strcmp(reply->element[0]->str, "master") == 0)
    {
        rc = 0;
    } else {
        snprintf(error, size, "Redis is no master");
    }
    freeReplyObject(reply);

    /* its name is for people; a server may refuse it */
    if (rc == 0) {
        freeReplyObject(redisCommand(c, "CLIENT SETNAME %s", name));
        if (c->err) {
            snprintf(error, size, "%s", c->errstr);
            rc = -1;
        }
    }
    return rc;
}

redisContext *hai_redis_connect(const struct hai_redis_conf *conf,
                                const char *client_name, char *error,
                                size_t size) {
    struct timeval timeout = {conf->connect_timeout_ms / 1000,
                              conf->connect_timeout_ms % 1000 * 1000};
    redisContext *c;

    c = conf->path != NULL
            ? redisConnectUnixWithTimeout(conf->path, timeout)
            : redisConnectWithTimeout(conf->host, conf->port, timeout);
    if (c == NULL || c->err) {
        snprintf(error, size, "%s", c != NULL ? c->errstr : "no memory");
        redisFree(c);
        return NULL;
    }
    if (redisSetTimeout(c, timeout) != REDIS_OK) {
        snprintf(error, size, "%s", c->errstr);
        redisFree(c);
        return NULL;
    }
    if (log_in(c, conf, error, size) != 0
        || select_master(c, conf, client_name, error, size) != 0)
    {
        redisFree(c);
        return NULL;
    }
    return c;
}

/* What is no error, or NULL with a message. */
static redisReply *checked(redisContext *c, redisReply *reply, char *error,
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
    return checked(c, reply, error, size);
}

int hai_redis_feed_start(redisContext *c, const char *const *prefixes, size_t n,
                         char *error, size_t size) {
    const char *argv[6 + 2 * FEED_PREFIXES] = {"CLIENT", "TRACKING", "ON",
                                               "REDIRECT"};
    char id[24];
    redisReply *reply;
    int argc = 4;
    size_t i;

    if (n > FEED_PREFIXES) {
        snprintf(error, size, "too many prefixes");
        return -1;
    }
    reply = hai_redis_command(c, error, size, "CLIENT ID");
    if (reply == NULL) {
        return -1;
    }
    snprintf(id, sizeof(id), "%lld", reply->integer);
    freeReplyObject(reply);

    argv[argc++] = id;
    argv[argc++] = "BCAST";
    for (i = 0; i < n; i++) {
        argv[argc++] = "PREFIX";
        argv[argc++] = prefixes[i];
    }
    reply = checked(c, redisCommandArgv(c, argc, argv, NULL), error, size);
    if (reply == NULL) {
        return -1;
    }
    freeReplyObject(reply);

    reply = hai_redis_command(c, error, size, "SUBSCRIBE __redis__:invalidate");
    if (reply == NULL) {
        return -1;
    }
    freeReplyObject(reply);
    return 0;
}

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The keys of a message; false for anything else, such as a pong. */
static bool take_keys(redisReply *reply, redisReply **keys) {
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3
        || reply->element[0]->type != REDIS_REPLY_STRING
        || strcmp(reply->element[0]->str, "message") != 0)
    {
        return false;
    }
    *keys = NULL;
    if (reply->element[2]->type == REDIS_REPLY_ARRAY) {
        *keys = reply->element[2];
        reply->element[2] = NULL;
    }
    return true;
}

/*
 * The next message until the end of time: 1 with its keys, 2 for another
 * reply, 0 none, -1 lost.
 */
static int next_message(redisContext *c, int64_t end, redisReply **keys,
                        char *error, size_t size) {
    struct pollfd fd = {.fd = c->fd, .events = POLLIN};
    void *reply;
    bool is_message;
    int n;

    for (;;) {
        int64_t left = end - now_ms();

        if (redisGetReplyFromReader(c, &reply) != REDIS_OK) {
            snprintf(error, size, "%s", c->errstr);
            return -1;
        }
        if (reply != NULL) {
            is_message = take_keys(reply, keys);
            freeReplyObject(reply);
            return is_message ? 1 : 2;
        }
        n = poll(&fd, 1, left > 0 ? (int) left : 0);
        if (n == 0) {
            return 0;
        }
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            snprintf(error, size, "poll: %s", strerror(errno));
            return -1;
        }
        if (redisBufferRead(c) != REDIS_OK) {
            snprintf(error, size, "%s", c->errstr);
            return -1;
        }
    }
}

static int send_ping(redisContext *c, char *error, size_t size) {
    int done = 0;

    if (redisAppendCommand(c, "PING") != REDIS_OK) {
        snprintf(error, size, "%s", c->errstr);
        return -1;
    }
    while (!done) {
        if (redisBufferWrite(c, &done) != REDIS_OK) {
            snprintf(error, size, "%s", c->errstr);
            return -1;
        }
    }
    return 0;
}

/*
 * Nothing came in all that time: is anybody there?  A pong that comes only
 * after a message is met, and passed over, by a later call.
 */
static int heartbeat(redisContext *c, redisReply **keys, char *error,
                     size_t size) {
    int rc;

    if (send_ping(c, error, size) != 0) {
        return -1;
    }
    rc = next_message(c, now_ms() + PONG_MS, keys, error, size);
    if (rc == 0) {
        snprintf(error, size, "no answer to PING within %d ms", PONG_MS);
        return -1;
    }
    return rc == 2 ? 0 : rc;
}

int hai_redis_feed_wait(redisContext *c, int timeout_ms, redisReply **keys,
                        char *error, size_t size) {
    int64_t end = now_ms() + timeout_ms;
    int rc;

    *keys = NULL;
    do {
        rc = next_message(c, end, keys, error, size);
    } while (rc == 2);
    if (rc == 0 && timeout_ms > 0) {
        rc = heartbeat(c, keys, error, size);
    }
    return rc;
}
