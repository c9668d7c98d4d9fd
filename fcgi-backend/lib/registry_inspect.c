/*
 * The checker's second part: asks the functions about each container, then
 * compares what all of them claim with one another and with the index.
 */

#include "registry_check_core.h"

#include "hai_identity.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CLAIM_SIZE 128
#define GROUP 16 /* containers in a call: well below a millisecond of Redis */
#define SHARED 7 /* keys that are the same for all */

/* A member of the index, "<claim> <name>", taken apart; borrowed.  The "p" in
 * front of a prefix's second member is left out. */
struct claim {
    const char *text;
    const char *name;
    size_t len; /* of the claim alone */
    unsigned bits;
};

static void split(const char *text, struct claim *claim) {
    const char *space, *slash;

    text += text[0] == 'p';
    space = strchr(text, ' ');
    claim->text = text;
    claim->len = space != NULL ? (size_t) (space - text) : strlen(text);
    claim->name = space != NULL ? space + 1 : "";
    slash = memchr(text, '/', claim->len);
    claim->bits = slash != NULL ? (unsigned) strtoul(slash + 1, NULL, 10) : 0;
}

/* Asks about up to GROUP containers in one call. */
static int send_inspect(struct hai_registry_checker *check, char *const *names,
                        size_t n) {
    static const char *const shared[SHARED] = {
        "containers",   "ai:enabled",   "events",       "schema",
        "index:owners", "index:claims", "index:version"};
    char(*key)[HAI_REGISTRY_KEY_SIZE] =
        calloc(SHARED + 2 * GROUP, sizeof(*key));
    const char *argv[3 + SHARED + 2 * GROUP] = {"FCALL_RO", "hoody_ai_inspect"};
    char rest[HAI_NAME_MAX + 16], number[24];
    size_t keys = SHARED + 2 * n, i;
    int rc = key == NULL ? -1 : 0;

    for (i = 0; i < keys && rc == 0; i++) {
        if (i < SHARED) {
            snprintf(rest, sizeof(rest), "%s", shared[i]);
        } else {
            snprintf(rest, sizeof(rest), "%s%s",
                     (i - SHARED) % 2 == 0 ? "container:" : "index:source:",
                     names[(i - SHARED) / 2]);
        }
        rc = hai_registry_key_text(key[i], check->w->server, rest);
        argv[3 + i] = key[i];
    }
    if (rc == 0) {
        snprintf(number, sizeof(number), "%zu", keys);
        argv[2] = number;
        rc = redisAppendCommandArgv(check->w->c, (int) (3 + keys), argv, NULL)
                     == REDIS_OK
                 ? 0
                 : -1;
    }
    free(key);
    return rc == 0 ? 0 : hai_registry_no_memory(check);
}

/* {exists, claims, kind, detail, kind, detail, ...} */
static bool is_answer(const redisReply *reply) {
    size_t i;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2
        || reply->elements % 2 != 0
        || reply->element[0]->type != REDIS_REPLY_INTEGER)
    {
        return false;
    }
    for (i = 1; i < reply->elements; i++) {
        if (reply->element[i]->type != REDIS_REPLY_STRING) {
            return false;
        }
    }
    return true;
}

/* About n containers. */
static bool are_answers(const redisReply *reply, size_t n) {
    size_t i;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != n) {
        return false;
    }
    for (i = 0; i < n; i++) {
        if (!is_answer(reply->element[i])) {
            return false;
        }
    }
    return true;
}

/* About one container, and another reply behind it. */
static bool is_pair(const redisReply *reply, size_t n) {
    return reply->type == REDIS_REPLY_ARRAY && reply->elements == n
           && are_answers(reply->element[0], 1);
}

/* The reply, if it is what is wanted; NULL with a message. */
static redisReply *receive(struct hai_registry_checker *check, size_t n,
                           bool (*wanted)(const redisReply *reply, size_t n)) {
    struct hai_write_result result;
    void *data = NULL;
    redisReply *reply;

    if (redisGetReply(check->w->c, &data) != REDIS_OK) {
        data = NULL;
    }
    reply = data;
    if (reply == NULL || !wanted(reply, n)) {
        memset(&result, 0, sizeof(result));
        hai_registry_failed(check->w->c, reply, &result);
        snprintf(check->error, check->size, "%s", result.text);
        freeReplyObject(reply);
        return NULL;
    }
    return reply;
}

/* As the index has them: prefixes are there twice. */
static int add_claim(struct hai_registry_checker *check, const char *name,
                     const char *claim) {
    char text[256];
    struct claim parts;
    int len = snprintf(text, sizeof(text), "p%s %s", claim, name);

    if (len <= 0 || (size_t) len >= sizeof(text)
        || hai_names_add(&check->claims, text + 1, (size_t) len - 1) != 0)
    {
        return hai_registry_no_memory(check);
    }
    split(text, &parts);
    if ((claim[0] == '4' && parts.bits < 32)
        || (claim[0] == '6' && parts.bits < 128))
    {
        if (hai_names_add(&check->claims, text, (size_t) len) != 0) {
            return hai_registry_no_memory(check);
        }
    }
    return 0;
}

static int add_claims(struct hai_registry_checker *check, const char *name,
                      char *claims) {
    char *save = NULL, *claim;

    for (claim = strtok_r(claims, " ", &save); claim != NULL;
         claim = strtok_r(NULL, " ", &save))
    {
        if (add_claim(check, name, claim) != 0) {
            return -1;
        }
    }
    return 0;
}

static int take(struct hai_registry_checker *check, const char *name,
                const redisReply *reply) {
    size_t i;

    check->report->containers += reply->element[0]->integer == 1;
    for (i = 2; i + 1 < reply->elements; i += 2) {
        const char *kind = reply->element[i]->str;

        if ((strcmp(kind, "index_drift") == 0
             || strcmp(kind, "stale_index") == 0)
            && hai_names_add(&check->drifted, name, strlen(name)) != 0)
        {
            return hai_registry_no_memory(check);
        }
        if (hai_registry_found(check, kind, name, reply->element[i + 1]->str)
            != 0) {
            return -1;
        }
    }
    return add_claims(check, name, reply->element[1]->str);
}

static size_t group_at(const struct hai_names *names, size_t at) {
    return names->n - at < GROUP ? names->n - at : GROUP;
}

int hai_registry_inspect(struct hai_registry_checker *check) {
    const struct hai_names *names = &check->names;
    size_t sent = 0, done = 0, n, i;

    while (done < names->n) {
        redisReply *reply;
        int rc = 0;

        while (sent < names->n && sent < done + HAI_REGISTRY_BATCH) {
            n = group_at(names, sent);
            if (send_inspect(check, names->item + sent, n) != 0) {
                return -1;
            }
            sent += n;
        }
        n = group_at(names, done);
        reply = receive(check, n, are_answers);
        if (reply == NULL) {
            return -1;
        }
        for (i = 0; i < n && rc == 0; i++) {
            rc = take(check, names->item[done + i], reply->element[i]);
        }
        freeReplyObject(reply);
        if (rc != 0) {
            return -1;
        }
        done += n;
        if (check->options->progress != NULL) {
            check->options->progress("containers", done, names->n);
        }
    }
    hai_names_sort(&check->claims);
    hai_names_sort(&check->drifted);
    return 0;
}

static bool has_claim(const redisReply *answer, const struct claim *claim) {
    const char *at = answer->element[1]->str;

    while (*at != '\0') {
        size_t len = strcspn(at, " ");

        if (len == claim->len && memcmp(at, claim->text, len) == 0) {
            return true;
        }
        at += len;
        at += strspn(at, " ");
    }
    return false;
}

/*
 * Containers change while they are looked at, so that what two of them said
 * is confirmed by a look at both at once.  1: both claim it; 0, or -1 with a
 * message.
 */
static int both_claim(struct hai_registry_checker *check, const struct claim *a,
                      const struct claim *b) {
    char name[2][HAI_NAME_MAX + 1], *const names[2] = {name[0], name[1]};
    redisReply *reply;
    int rc;

    snprintf(name[0], sizeof(name[0]), "%s", a->name);
    snprintf(name[1], sizeof(name[1]), "%s", b->name);
    if (send_inspect(check, names, 2) != 0) {
        return -1;
    }
    reply = receive(check, 2, are_answers);
    if (reply == NULL) {
        return -1;
    }
    rc = has_claim(reply->element[0], a) && has_claim(reply->element[1], b);
    freeReplyObject(reply);
    return rc;
}

/* Two replies that say that the commands were queued, and one before. */
static int skip(struct hai_registry_checker *check, int n) {
    void *reply = NULL;

    while (n-- > 0) {
        if (redisGetReply(check->w->c, &reply) != REDIS_OK || reply == NULL
            || ((redisReply *) reply)->type != REDIS_REPLY_STATUS)
        {
            struct hai_write_result result = {0};

            hai_registry_failed(check->w->c, reply, &result);
            snprintf(check->error, check->size, "%s", result.text);
            freeReplyObject(reply);
            return -1;
        }
        freeReplyObject(reply);
    }
    return 0;
}

/* Is it in the index, and the container does not claim it?  At one moment. */
static int is_orphan(struct hai_registry_checker *check, const char *member,
                     const struct claim *claim) {
    char name[HAI_NAME_MAX + 1], key[HAI_REGISTRY_KEY_SIZE];
    char *const names[] = {name};
    redisContext *c = check->w->c;
    redisReply *reply;
    int rc;

    snprintf(name, sizeof(name), "%s", claim->name);
    if (hai_registry_key_text(key, check->w->server, "index:owners") != 0
        || redisAppendCommand(c, "MULTI") != REDIS_OK
        || send_inspect(check, names, 1) != 0
        || redisAppendCommand(c, "ZSCORE %s %s", key, member) != REDIS_OK
        || redisAppendCommand(c, "EXEC") != REDIS_OK)
    {
        return hai_registry_no_memory(check);
    }
    if (skip(check, 3) != 0) {
        return -1;
    }
    reply = receive(check, 2, is_pair);
    if (reply == NULL) {
        return -1;
    }
    rc = reply->element[1]->type != REDIS_REPLY_NIL
         && !has_claim(reply->element[0]->element[0], claim);
    freeReplyObject(reply);
    return rc;
}

/* As people write it. */
static void put_claim(const struct claim *claim, char *text, size_t size) {
    unsigned char bytes[16] = {0};
    char address[INET6_ADDRSTRLEN], byte[3] = "";
    size_t i, n = claim->text[0] == '4' ? 4 : 16;

    if (claim->text[0] == 'i' || claim->text[0] == 'n'
        || claim->len != 1 + 2 * n + 4)
    {
        snprintf(text, size, "%.*s", (int) (claim->len - 1), claim->text + 1);
        return;
    }
    for (i = 0; i < n; i++) {
        memcpy(byte, claim->text + 1 + 2 * i, 2);
        bytes[i] = (unsigned char) strtoul(byte, NULL, 16);
    }
    if (inet_ntop(n == 4 ? AF_INET : AF_INET6, bytes, address, sizeof(address))
        == NULL)
    {
        address[0] = '\0';
    }
    if (claim->bits == 8 * n) {
        snprintf(text, size, "%s", address);
    } else {
        snprintf(text, size, "%s/%u", address, claim->bits);
    }
}

/* Does the first one lie around the second, or is it the same? */
static bool is_around(const struct claim *a, const struct claim *b) {
    size_t whole = a->bits / 4;
    unsigned rest = a->bits % 4, x, y;
    char digit[2] = "";

    if (a->text[0] != b->text[0]) {
        return false;
    }
    if (a->text[0] == 'i' || a->text[0] == 'n') {
        return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
    }
    if (a->bits > b->bits || memcmp(a->text + 1, b->text + 1, whole) != 0) {
        return false;
    }
    if (rest == 0) {
        return true;
    }
    digit[0] = a->text[1 + whole];
    x = (unsigned) strtoul(digit, NULL, 16);
    digit[0] = b->text[1 + whole];
    y = (unsigned) strtoul(digit, NULL, 16);
    return ((x ^ y) >> (4 - rest)) == 0;
}

static int twice(struct hai_registry_checker *check, const struct claim *a,
                 const struct claim *b) {
    const char *kind = b->text[0] == 'i'   ? "duplicate_id"
                       : b->text[0] == 'n' ? "duplicate_number"
                                           : "duplicate_address";
    char text[CLAIM_SIZE], detail[CLAIM_SIZE + 160];
    int rc = both_claim(check, a, b);

    if (rc != 1) {
        return rc;
    }
    put_claim(b, text, sizeof(text));
    snprintf(detail, sizeof(detail), "%s: \"%s\" claims it too", text, a->name);
    return hai_registry_found(check, kind, b->name, detail);
}

/* Claims sort by their first address, wide ones first: those around the next
 * one are the last ones seen that have not ended yet. */
static int duplicates(struct hai_registry_checker *check) {
    const struct hai_names *claims = &check->claims;
    struct claim *stack = calloc(claims->n + 1, sizeof(*stack));
    size_t depth = 0, i, j;
    int rc = 0;

    if (stack == NULL) {
        return hai_registry_no_memory(check);
    }
    for (i = 0; i < claims->n && rc == 0; i++) {
        struct claim claim;

        if (claims->item[i][0] == 'p') {
            break; /* the same ones again, and the last ones */
        }
        split(claims->item[i], &claim);
        while (depth > 0 && !is_around(&stack[depth - 1], &claim)) {
            depth--;
        }
        for (j = depth; j > 0; j--) {
            if (strcmp(stack[j - 1].name, claim.name) != 0) {
                rc = twice(check, &stack[j - 1], &claim);
                break;
            }
        }
        stack[depth++] = claim;
    }
    free(stack);
    return rc;
}

static int orphan(struct hai_registry_checker *check, const char *member) {
    char text[256], detail[CLAIM_SIZE + 64], shown[CLAIM_SIZE];
    struct claim claim;
    int rc, len;

    split(member, &claim);
    rc = is_orphan(check, member, &claim);
    if (rc != 1) {
        return rc;
    }
    len = snprintf(text, sizeof(text), "%s %.*s", claim.name,
                   (int) (claim.name - member - 1), member);
    if (len <= 0 || (size_t) len >= sizeof(text)
        || hai_names_add(&check->orphans, text, (size_t) len) != 0
        || hai_names_add(&check->broken, claim.name, strlen(claim.name)) != 0)
    {
        return hai_registry_no_memory(check);
    }
    if (hai_names_have(&check->drifted, claim.name)) {
        return 0; /* has been told */
    }
    put_claim(&claim, shown, sizeof(shown));
    snprintf(detail, sizeof(detail), "the index has %s, the container has not",
             shown);
    return hai_registry_found(check, "stale_index", claim.name, detail);
}

int hai_registry_compare(struct hai_registry_checker *check) {
    size_t i;

    for (i = 0; i < check->owners.n; i++) {
        if (!hai_names_have(&check->claims, check->owners.item[i])
            && orphan(check, check->owners.item[i]) != 0)
        {
            return -1;
        }
    }
    hai_names_sort(&check->orphans);
    return duplicates(check);
}
