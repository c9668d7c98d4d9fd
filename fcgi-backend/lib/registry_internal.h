/* What the files of the registry's writer and checker share, and nobody else:
 * the calls of the functions in redis-schema/hoody_ai.lua. */

#ifndef HAI_REGISTRY_INTERNAL_H
#define HAI_REGISTRY_INTERNAL_H

#include "registry_writer.h"

#define HAI_REGISTRY_SERVER_MAX 255
#define HAI_REGISTRY_KEY_SIZE 512
#define HAI_REGISTRY_KEYS 11

/* The words of one FCALL; strings are borrowed, but for the keys. */
struct hai_registry_call {
    const char **argv;
    size_t *len;
    int argc;
    int room;
    char number[3][24];
    char key[HAI_REGISTRY_KEYS][HAI_REGISTRY_KEY_SIZE];
};

/*
 * Begins a call of hoody_ai_<function> with the keys of a container; new_name
 * only for rename, or NULL.  extra: how many words may follow.  0; or -1:
 * names that make no keys, or no memory.  hai_registry_call_free().
 */
int hai_registry_call_begin(struct hai_registry_call *call, const char *server,
                            const char *command, const char *function,
                            const char *name, const char *new_name,
                            size_t extra);
void hai_registry_call_word(struct hai_registry_call *call, const char *text,
                            size_t len);
void hai_registry_call_free(struct hai_registry_call *call);

/* 0, or -1. */
int hai_registry_call_send(redisContext *c,
                           const struct hai_registry_call *call);

/* Takes an error reply (or NULL: none came) apart. */
enum hai_write_error hai_registry_failed(const redisContext *c,
                                         const redisReply *reply,
                                         struct hai_write_result *result);

/* "hoody:{<server>}:<rest>"; 0 or -1. */
int hai_registry_key_text(char key[HAI_REGISTRY_KEY_SIZE], const char *server,
                          const char *rest);

/*
 * Moves the layout on from one to another, only where it is that one, see
 * set_schema() of the library.  0 with *now; or -1 with a message.
 */
int hai_registry_set_schema(struct hai_registry_writer *w, const char *from,
                            const char *to, long *now, char *error,
                            size_t size);

/* The layout of the registry, 1 where nothing says so.  0; or -1 with a
 * message, also where it is no number. */
int hai_registry_schema(struct hai_registry_writer *w, long *schema,
                        char *error, size_t size);

#endif
