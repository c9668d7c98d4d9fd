/* Functions and layout of the registry: what a writer finds, what it makes. */

#include "registry_internal.h"
#include "registry_library.h"

#include "registry_check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number that the library's text gives itself; 0: none. */
static long library_version(const char *code) {
    static const char line[] = "\nlocal VERSION = ";
    const char *at = strstr(code, line);

    return at != NULL ? strtol(at + sizeof(line) - 1, NULL, 10) : 0;
}

/* The text of the library in a reply of FUNCTION LIST ... WITHCODE; NULL where
 * it is not loaded. */
static const char *loaded_code(const redisReply *reply) {
    const redisReply *library;
    size_t i;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0
        || reply->element[0]->type != REDIS_REPLY_ARRAY)
    {
        return NULL;
    }
    library = reply->element[0];
    for (i = 0; i + 1 < library->elements; i += 2) {
        if (library->element[i]->type == REDIS_REPLY_STRING
            && strcmp(library->element[i]->str, "library_code") == 0
            && library->element[i + 1]->type == REDIS_REPLY_STRING)
        {
            return library->element[i + 1]->str;
        }
    }
    return NULL;
}

int hai_registry_load(struct hai_registry_writer *w, bool only_check,
                      char *error, size_t size) {
    redisReply *reply = hai_redis_command(w->c, error, size,
                                          "FUNCTION LIST LIBRARYNAME %s "
                                          "WITHCODE",
                                          HAI_REGISTRY_LIBRARY_NAME);
    const char *code;
    bool same, newer;

    if (reply == NULL) {
        return -1;
    }
    code = loaded_code(reply);
    same = code != NULL && strcmp(code, hai_registry_library) == 0;
    newer = code != NULL
            && library_version(code) > library_version(hai_registry_library);
    freeReplyObject(reply);
    if (same) {
        return 0;
    }
    if (newer) {
        snprintf(error, size, "Redis has newer functions than this program");
        return -1;
    }
    if (only_check) {
        return 1;
    }
    reply = hai_redis_command(w->c, error, size, "FUNCTION LOAD REPLACE %s",
                              hai_registry_library);
    if (reply == NULL) {
        return -1;
    }
    freeReplyObject(reply);
    return 1;
}

int hai_registry_schema(struct hai_registry_writer *w, long *schema,
                        char *error, size_t size) {
    char key[HAI_REGISTRY_KEY_SIZE], *end;
    redisReply *reply;
    int rc = -1;

    if (hai_registry_key_text(key, w->server, "schema") != 0) {
        snprintf(error, size, "the server's name is too long");
        return -1;
    }
    reply = hai_redis_command(w->c, error, size, "GET %s", key);
    if (reply == NULL) {
        return -1;
    }
    *schema = 1;
    if (reply->type == REDIS_REPLY_NIL) {
        rc = 0;
    } else if (reply->type == REDIS_REPLY_STRING) {
        errno = 0;
        *schema = strtol(reply->str, &end, 10);
        if (errno == 0 && end != reply->str && *end == '\0' && *schema > 0) {
            rc = 0;
        }
    }
    if (rc != 0) {
        snprintf(error, size, "%s holds no number", key);
    }
    freeReplyObject(reply);
    return rc;
}

int hai_registry_set_schema(struct hai_registry_writer *w, const char *from,
                            const char *to, long *now, char *error,
                            size_t size) {
    static const char *const names[] = {"schema", "containers", "ai:enabled",
                                        "index:owners", "index:claims"};
    char key[5][HAI_REGISTRY_KEY_SIZE];
    redisReply *reply;
    size_t i;
    int rc = -1;

    for (i = 0; i < 5; i++) {
        if (hai_registry_key_text(key[i], w->server, names[i]) != 0) {
            snprintf(error, size, "the server's name is too long");
            return -1;
        }
    }
    reply = hai_redis_command(
        w->c, error, size, "FCALL hoody_ai_set_schema 5 %s %s %s %s %s %s %s",
        key[0], key[1], key[2], key[3], key[4], from, to);
    if (reply == NULL) {
        return -1;
    }
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3
        && reply->element[1]->type == REDIS_REPLY_STRING)
    {
        *now = strtol(reply->element[1]->str, NULL, 10);
        rc = 0;
    } else {
        snprintf(error, size, "not the answer of this function");
    }
    freeReplyObject(reply);
    return rc;
}

int hai_registry_layout(struct hai_registry_writer *w, long schema, char *error,
                        size_t size) {
    if (schema == HAI_REGISTRY_SCHEMA) {
        return 0;
    }
    if (schema > HAI_REGISTRY_SCHEMA) {
        snprintf(error, size,
                 "the registry of \"%s\" has layout %ld, newer than %d, which "
                 "this program knows",
                 w->server, schema, HAI_REGISTRY_SCHEMA);
    } else {
        snprintf(error, size,
                 "the registry of \"%s\" has layout %ld: run \"hoody-ai "
                 "registry migrate\"",
                 w->server, schema);
    }
    return -1;
}

int hai_registry_writer_init(struct hai_registry_writer *w, redisContext *c,
                             const char *server, char *error, size_t size) {
    long schema = 1;

    w->c = c;
    w->server = server;
    if (hai_registry_load(w, false, error, size) < 0
        || hai_registry_set_schema(w, "empty", "2", &schema, error, size) != 0)
    {
        return -1;
    }
    return hai_registry_layout(w, schema, error, size);
}
