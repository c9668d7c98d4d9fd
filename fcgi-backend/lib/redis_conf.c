/*
 * What --redis says, see redis.h.  A message never repeats the value of a
 * word: a password may have been put where none belongs.
 */

#include "redis_internal.h"

#include "hai_slot.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIS_PORT 6379
#define SENTINEL_PORT 26379
#define WORDS_MAX 64

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

int hai_redis_address_set(struct hai_redis_address *address, const char *name,
                          int port) {
    size_t len = strlen(name), i;

    if (len == 0 || len >= sizeof(address->name)) {
        return -1;
    }
    for (i = 0; i < len; i++) {
        if (name[i] <= ' ' || name[i] >= 0x7f || (port > 0 && name[i] == '/')) {
            return -1;
        }
    }
    memcpy(address->name, name, len + 1);
    address->port = port;
    return 0;
}

void hai_redis_address_text(const struct hai_redis_address *address, char *text,
                            size_t size) {
    if (address->port == 0) {
        snprintf(text, size, "unix:%s", address->name);
    } else if (strchr(address->name, ':') != NULL) {
        snprintf(text, size, "[%s]:%d", address->name, address->port);
    } else {
        snprintf(text, size, "%s:%d", address->name, address->port);
    }
}

bool hai_redis_address_equal(const struct hai_redis_address *a,
                             const struct hai_redis_address *b) {
    return a->port == b->port && strcmp(a->name, b->name) == 0;
}

/* unix:/path, host, host:port, [address] or [address]:port. */
static int parse_address(struct hai_redis_address *address, char *word,
                         int port) {
    char *colon = strrchr(word, ':'), *host = word;
    size_t len;

    if (strncmp(word, "unix:", 5) == 0) {
        return word[5] == '/' ? hai_redis_address_set(address, word + 5, 0)
                              : -1;
    }
    if (colon != NULL && (word[0] != '[' || colon[-1] == ']')) {
        if (parse_number(colon + 1, 1, 65535, &port) != 0) {
            return -1;
        }
        *colon = '\0';
    }
    len = strlen(host);
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        host++;
    } else if (strpbrk(host, ":@[]") != NULL) {
        return -1;
    }
    return hai_redis_address_set(address, host, port);
}

enum { UNKNOWN = 1 }; /* beside 0 and -1 */

static int parse_parameter(struct hai_redis_conf *conf, const char *name,
                           size_t len, const char *value) {
    const struct {
        const char *name;
        char **text;
        long *ms;
    } table[] = {
        {"user", &conf->user, NULL},
        {"password_file", &conf->password_file, NULL},
        {"connect_timeout", NULL, &conf->connect_timeout_ms},
        {"max_stale", NULL, &conf->max_stale_ms},
        {"sentinel", &conf->master, NULL},
        {"sentinel_user", &conf->sentinel_user, NULL},
        {"sentinel_password_file", &conf->sentinel_password_file, NULL},
    };
    size_t i;

    if (len == 2 && memcmp(name, "db", 2) == 0) {
        return parse_number(value, 0, INT_MAX, &conf->db);
    }
    if (len == 7 && memcmp(name, "cluster", 7) == 0) {
        conf->mode = HAI_REDIS_CLUSTER;
        return strcmp(value, "on") == 0 ? 0 : -1;
    }
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strlen(table[i].name) == len
            && memcmp(table[i].name, name, len) == 0) {
            return table[i].text != NULL ? set_copy(table[i].text, value)
                                         : parse_time(value, table[i].ms);
        }
    }
    return UNKNOWN;
}

/* A word with a "=" is a parameter; a path may have one too. */
static bool is_parameter(const char *word) {
    return strchr(word, '=') != NULL && strncmp(word, "unix:", 5) != 0;
}

static int parse_parameters(struct hai_redis_conf *conf, char *const *word,
                            size_t n, char *error, size_t size) {
    size_t i, len;

    for (i = 0; i < n; i++) {
        if (!is_parameter(word[i])) {
            continue;
        }
        len = strcspn(word[i], "=");

        switch (parse_parameter(conf, word[i], len, word[i] + len + 1)) {
        case 0:
            break;
        case UNKNOWN:
            snprintf(error, size,
                     "word %zu has a \"=\" and is no parameter of Redis",
                     i + 1);
            return -1;
        default:
            snprintf(error, size, "invalid value in \"%.*s=\"", (int) len,
                     word[i]);
            return -1;
        }
    }
    return 0;
}

static int parse_addresses(struct hai_redis_conf *conf, char *const *word,
                           size_t n, char *error, size_t size) {
    int port = conf->mode == HAI_REDIS_SENTINEL ? SENTINEL_PORT : REDIS_PORT;
    size_t i;

    for (i = 0; i < n; i++) {
        if (is_parameter(word[i])) {
            continue;
        }
        if (conf->n == HAI_REDIS_ADDRESSES) {
            snprintf(error, size, "more than %d addresses of Redis",
                     HAI_REDIS_ADDRESSES);
            return -1;
        }
        if (parse_address(&conf->address[conf->n], word[i], port) != 0) {
            snprintf(error, size,
                     "unix:/path or host:port is wanted as the address of "
                     "Redis, word %zu is neither",
                     i + 1);
            return -1;
        }
        conf->n++;
    }
    return 0;
}

/* Do the words go together? */
static const char *contradiction(const struct hai_redis_conf *conf) {
    if (conf->master != NULL && conf->mode == HAI_REDIS_CLUSTER) {
        return "sentinel= and cluster= of Redis exclude each other";
    }
    if (conf->n == 0) {
        return "no address of Redis";
    }
    if (conf->n > 1 && conf->mode == HAI_REDIS_FIXED) {
        return "several addresses of Redis need sentinel= or cluster=on";
    }
    if (conf->mode == HAI_REDIS_CLUSTER && conf->db != 0) {
        return "a cluster of Redis has no db= but 0";
    }
    if (conf->mode != HAI_REDIS_SENTINEL
        && (conf->sentinel_user != NULL
            || conf->sentinel_password_file != NULL))
    {
        return "sentinel_user= and sentinel_password_file= need sentinel=";
    }
    if (conf->user != NULL && conf->password_file == NULL) {
        return "user= of Redis needs password_file=";
    }
    if (conf->sentinel_user != NULL && conf->sentinel_password_file == NULL) {
        return "sentinel_user= of Redis needs sentinel_password_file=";
    }
    return NULL;
}

static int parse_words(struct hai_redis_conf *conf, char *text, char *error,
                       size_t size) {
    char *word[WORDS_MAX], *save = NULL, *next;
    const char *why;
    size_t n = 0;

    for (next = strtok_r(text, " ", &save); next != NULL;
         next = strtok_r(NULL, " ", &save))
    {
        if (n == WORDS_MAX) {
            snprintf(error, size, "too many words");
            return -1;
        }
        word[n++] = next;
    }

    if (parse_parameters(conf, word, n, error, size) != 0) {
        return -1;
    }
    if (conf->master != NULL && conf->mode == HAI_REDIS_FIXED) {
        conf->mode = HAI_REDIS_SENTINEL;
    }
    if (parse_addresses(conf, word, n, error, size) != 0) {
        return -1;
    }

    why = contradiction(conf);
    if (why != NULL) {
        snprintf(error, size, "%s", why);
        return -1;
    }
    return 0;
}

/* What it takes to find the master. */
static int prepare(struct hai_redis_conf *conf, const char *server) {
    size_t len = strlen(server) + sizeof("hoody:{}:events");

    if (conf->mode == HAI_REDIS_FIXED) {
        return 0;
    }
    conf->events = malloc(len);
    conf->known = hai_redis_known_new(conf);
    if (conf->events == NULL || conf->known == NULL) {
        return -1;
    }
    snprintf(conf->events, len, "hoody:{%s}:events", server);
    conf->slot = hai_slot(server, strlen(server));
    return 0;
}

int hai_redis_conf_parse(struct hai_redis_conf *conf, const char *text,
                         const char *server, char *error, size_t size) {
    char *copy = strdup(text);
    int rc;

    *conf = (struct hai_redis_conf){.connect_timeout_ms = 1000,
                                    .max_stale_ms = 5000};
    rc = copy != NULL ? parse_words(conf, copy, error, size) : -1;
    if (copy == NULL || (rc == 0 && prepare(conf, server) != 0)) {
        snprintf(error, size, "no memory");
        rc = -1;
    }
    if (copy != NULL) {
        explicit_bzero(copy, strlen(text));
        free(copy);
    }
    if (rc != 0) {
        hai_redis_conf_free(conf);
    }
    return rc;
}

void hai_redis_conf_free(struct hai_redis_conf *conf) {
    hai_redis_known_free(conf->known);
    free(conf->master);
    free(conf->user);
    free(conf->password_file);
    free(conf->sentinel_user);
    free(conf->sentinel_password_file);
    free(conf->events);
    memset(conf, 0, sizeof(*conf));
}
