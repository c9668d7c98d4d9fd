/*
 * hoody-ai doctor: may the gateway's user do what the module does, and
 * nothing else?
 *
 * Redis checks the rights of a command when it is queued in a transaction.
 * So all of them are sent behind MULTI, and the connection is closed without
 * EXEC: nothing is carried out, and no right to look into the ACL is needed.
 */

#include "doctor.h"

#include "lib/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 24

/* "@" is the prefix of the host's keys.  Never EXEC. */
static const char *const wanted[] = {
    "ROLE",
    "INFO server",
    "PING",
    "CLIENT ID",
    "CLIENT TRACKING ON REDIRECT 1 BCAST PREFIX @ai:",
    "SMEMBERS @ai:enabled",
    "PTTL @ai:enabled",
    "SMISMEMBER @ai:enabled a",
    "SCARD @ai:enabled",
    "SMEMBERS @containers",
    "SCARD @containers",
    "GET @generation",
    "GET @rules:epoch",
    "PTTL @container:a",
    "HMGET @container:a id number addresses cgroup tags status",
    "SCAN 0 MATCH @container:*",
    "XADD @events MAXLEN ~ 100000 * type a",
    "SUBSCRIBE __redis__:invalidate",
};

static const char *const unwanted[] = {
    "SADD @ai:enabled a",
    "SREM @ai:enabled a",
    "SADD @containers a",
    "HSET @container:a status running",
    "DEL @container:a",
    "SET @generation a",
    "SET @rules:epoch a",
    "HSET @rules a b",
    "XRANGE @events - +",
    "XTRIM @events MAXLEN 0",
    "DEL @events",
    "SMEMBERS hoody:{-another-}:ai:enabled",
    "KEYS *",
    "SWAPDB 0 1",
    "FLUSHALL",
    "CONFIG SET maxmemory 0",
    "ACL SETUSER a",
    "EVAL return 0 0",
};

/* Sends the command, its words separated by spaces. */
static int append(redisContext *c, const char *server, const char *command) {
    char text[1024], *word[WORDS_MAX], *save = NULL, *p;
    const char *argv[WORDS_MAX];
    const char *at = strchr(command, '@');
    int n = 0;

    if (at == NULL) {
        snprintf(text, sizeof(text), "%s", command);
    } else {
        snprintf(text, sizeof(text), "%.*shoody:{%s}:%s", (int) (at - command),
                 command, server, at + 1);
    }
    for (p = strtok_r(text, " ", &save); p != NULL && n < WORDS_MAX;
         p = strtok_r(NULL, " ", &save))
    {
        word[n] = p;
        argv[n] = word[n];
        n++;
    }
    return redisAppendCommandArgv(c, n, argv, NULL);
}

/*
 * Which of the commands are refused: *n of them, their names in text.  -1
 * without a connection.
 */
static int ask(const struct hai_doctor *d, const char *const *commands,
               size_t count, bool refused, size_t *n, char *text, size_t size,
               struct hai_finding *f) {
    redisContext *c = hai_doctor_redis(d, f);
    size_t i, len = 0;
    void *data = NULL;
    int rc = c != NULL ? 0 : -1;

    *n = 0;
    text[0] = '\0';
    if (rc == 0) {
        rc = redisAppendCommand(c, "MULTI");
    }
    for (i = 0; rc == 0 && i < count; i++) {
        rc = append(c, d->registry.server, commands[i]);
    }
    for (i = 0; rc == 0 && i < count + 1; i++) {
        const redisReply *reply;
        bool no;

        rc = redisGetReply(c, &data);
        if (rc != REDIS_OK) {
            break;
        }
        reply = data;
        no = reply->type == REDIS_REPLY_ERROR
             && strncmp(reply->str, "NOPERM", 6) == 0;
        if (i == 0 && no) {
            rc = refused ? 0 : 1; /* without MULTI nothing can be told */
            *n = 1;
            snprintf(text, size, "MULTI");
            freeReplyObject(data);
            break;
        }
        freeReplyObject(data);
        if (i > 0 && no == refused) {
            (*n)++;
            if (len + strlen(commands[i - 1]) + 3 < size) {
                len += (size_t) snprintf(text + len, size - len, "%s%s",
                                         len > 0 ? ", " : "", commands[i - 1]);
            }
        }
    }
    if (c != NULL && c->err != 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, NULL, "Redis: %s", c->errstr);
        rc = -1;
    }
    redisFree(c);
    return rc;
}

void hai_doctor_redis_acl(const struct hai_doctor *d, struct hai_finding *f) {
    const char *user =
        d->registry.conf.user != NULL ? d->registry.conf.user : "default";
    char text[160];
    size_t n;

    if (ask(d, wanted, sizeof(wanted) / sizeof(wanted[0]), true, &n, text,
            sizeof(text), f)
        < 0)
    {
        return;
    }
    if (n > 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Give the user the rights of "
                       "redis-schema/acl/gateway.acl.",
                       "user \"%s\" may not: %s", user, text);
        return;
    }
    if (ask(d, unwanted, sizeof(unwanted) / sizeof(unwanted[0]), false, &n,
            text, sizeof(text), f)
        < 0)
    {
        return;
    }
    if (n > 0) {
        hai_doctor_say(f, HAI_DOCTOR_WARN,
                       "Give the gateway a user of its own with the rights of "
                       "redis-schema/acl/gateway.acl.",
                       "user \"%s\" may do what the gateway need not: %zu "
                       "commands, %s",
                       user, n, text);
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                       "user \"%s\" may do what the module does, and nothing "
                       "else",
                       user);
    }
}
