/* Calls of the registry's functions, see registry_internal.h. */

#include "registry_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD 3 /* FCALL, the function, the number of keys */

static const struct {
    const char *text;
    bool named; /* the container's name follows */
} keys[HAI_REGISTRY_KEYS] = {
    {"container:", true},    {"containers", false},    {"ai:enabled", false},
    {"events", false},       {"schema", false},        {"index:owners", false},
    {"index:claims", false}, {"index:version", false}, {"index:source:", true},
    {"container:", true},    {"index:source:", true},
};

static int put_key(char *key, const char *server, const char *text,
                   const char *name) {
    int len;

    if (strlen(server) > HAI_REGISTRY_SERVER_MAX) {
        return -1;
    }
    len = snprintf(key, HAI_REGISTRY_KEY_SIZE, "hoody:{%s}:%s%s", server, text,
                   name);
    return len > 0 && len < HAI_REGISTRY_KEY_SIZE ? 0 : -1;
}

int hai_registry_key_text(char key[HAI_REGISTRY_KEY_SIZE], const char *server,
                          const char *rest) {
    return put_key(key, server, rest, "");
}

void hai_registry_call_word(struct hai_registry_call *call, const char *text,
                            size_t len) {
    if (call->argc < call->room) { /* begin() was told how many there are */
        call->argv[call->argc] = text;
        call->len[call->argc] = len;
        call->argc++;
    }
}

int hai_registry_call_begin(struct hai_registry_call *call, const char *server,
                            const char *command, const char *function,
                            const char *name, const char *new_name,
                            size_t extra) {
    size_t n = new_name != NULL ? HAI_REGISTRY_KEYS : HAI_REGISTRY_KEYS - 2;
    size_t i;

    memset(call, 0, sizeof(*call));
    for (i = 0; i < n; i++) {
        const char *of = i < HAI_REGISTRY_KEYS - 2 ? name : new_name;

        if (put_key(call->key[i], server, keys[i].text, keys[i].named ? of : "")
            != 0) {
            return -1;
        }
    }
    call->room = (int) (HEAD + n + extra);
    call->argv = calloc((size_t) call->room, sizeof(*call->argv));
    call->len = calloc((size_t) call->room, sizeof(*call->len));
    if (call->argv == NULL || call->len == NULL) {
        hai_registry_call_free(call);
        return -1;
    }
    snprintf(call->number[0], sizeof(call->number[0]), "%zu", n);
    hai_registry_call_word(call, command, strlen(command));
    hai_registry_call_word(call, function, strlen(function));
    hai_registry_call_word(call, call->number[0], strlen(call->number[0]));
    for (i = 0; i < n; i++) {
        hai_registry_call_word(call, call->key[i], strlen(call->key[i]));
    }
    return 0;
}

void hai_registry_call_free(struct hai_registry_call *call) {
    free(call->argv);
    free(call->len);
    call->argv = NULL;
    call->len = NULL;
    call->argc = 0;
    call->room = 0;
}

int hai_registry_call_send(redisContext *c,
                           const struct hai_registry_call *call) {
    return redisAppendCommandArgv(c, call->argc, call->argv, call->len)
                   == REDIS_OK
               ? 0
               : -1;
}

/* The next word of an error, cut to the size; what follows it is returned. */
static const char *take_word(const char *text, char *word, size_t size) {
    size_t len = strcspn(text, " ");

    snprintf(word, size, "%.*s", (int) len, text);
    text += len;
    return *text == ' ' ? text + 1 : text;
}

static void put_text(struct hai_write_result *result, const char *text) {
    char *p;

    snprintf(result->text, sizeof(result->text), "%s", text);
    for (p = result->text; *p != '\0'; p++) {
        if ((unsigned char) *p < 0x20 || *p == 0x7f) {
            *p = '?';
        }
    }
}

/* What kind of an error it is, and the words that this kind has. */
static enum hai_write_error classify(const char *text,
                                     struct hai_write_result *result) {
    char kind[16], number[24];
    const char *rest = take_word(text, kind, sizeof(kind));

    put_text(result, text);
    if (strcmp(kind, "INVALID") == 0) {
        rest = take_word(rest, result->field, sizeof(result->field));
        snprintf(result->text, sizeof(result->text), "%s: %s", result->field,
                 rest);
        return HAI_WRITE_INVALID;
    }
    if (strcmp(kind, "NOTFOUND") == 0) {
        put_text(result, "there is no such container");
        return HAI_WRITE_NOT_FOUND;
    }
    if (strcmp(kind, "EXISTS") == 0) {
        put_text(result, "there is a container of this name");
        return HAI_WRITE_EXISTS;
    }
    if (strcmp(kind, "CONFLICT") == 0) {
        take_word(rest, number, sizeof(number));
        result->version = strtoull(number, NULL, 10);
        put_text(result, "the container was changed in the meantime");
        return HAI_WRITE_CONFLICT;
    }
    if (strcmp(kind, "TAKEN") == 0) {
        rest = take_word(rest, result->field, sizeof(result->field));
        rest = take_word(rest, result->value, sizeof(result->value));
        take_word(rest, result->owner, sizeof(result->owner));
        snprintf(result->text, sizeof(result->text), "%s: \"%s\" has %s",
                 result->field, result->owner, result->value);
        return HAI_WRITE_TAKEN;
    }
    if (strcmp(kind, "SCHEMA") == 0) {
        return HAI_WRITE_SCHEMA;
    }
    if (strcmp(kind, "WRONGKEY") == 0 || strcmp(kind, "WRONGTYPE") == 0) {
        return HAI_WRITE_BROKEN;
    }
    if (strncmp(text, "ERR Function not found", 22) == 0
        || strncmp(text, "ERR hoody_ai:", 13) == 0)
    {
        return HAI_WRITE_LIBRARY;
    }
    return HAI_WRITE_REDIS;
}

enum hai_write_error hai_registry_failed(const redisContext *c,
                                         const redisReply *reply,
                                         struct hai_write_result *result) {
    if (reply == NULL) {
        put_text(result, c->err ? c->errstr : "no reply");
        result->error = HAI_WRITE_REDIS;
    } else if (reply->type == REDIS_REPLY_ERROR) {
        result->error = classify(reply->str, result);
    } else {
        put_text(result, "not the answer of this function");
        result->error = HAI_WRITE_LIBRARY;
    }
    return result->error;
}
