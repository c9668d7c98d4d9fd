/*
 * Tokens of the control API and the file that knows them: SHA-256 of each,
 * never the token (docs/CONTROL.md, "Tokens").
 */

#ifndef HAI_TOKENS_H
#define HAI_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HAI_TOKEN_PREFIX "hdy_"
#define HAI_TOKEN_LEN 47 /* prefix and 43 characters of base64url */
#define HAI_TOKEN_ID_MAX 64
#define HAI_PROJECT_ID_LEN 24

enum hai_right { HAI_RIGHT_READ = 1, HAI_RIGHT_WRITE = 2 };

/* What somebody may do: in all projects, and in single ones. */
struct hai_rights {
    unsigned all; /* HAI_RIGHT_... */
    struct hai_project_right {
        char project[HAI_PROJECT_ID_LEN + 1];
        unsigned rights;
    } * project;
    size_t n;
};

/* In this project; NULL or "": a container without one. */
unsigned hai_rights_in(const struct hai_rights *r, const char *project);

/* In any project at all. */
unsigned hai_rights_any(const struct hai_rights *r);

struct hai_tokens; /* the file, as it was read */

/*
 * Reads the file: a JSON object {"tokens": [...], "uids": [...]}.  NULL with a
 * message in error that names file, line and cause.  A file that others may
 * read or write, or that is not the user's or root's, is refused.
 */
struct hai_tokens *hai_tokens_read(const char *path, char *error, size_t size);
void hai_tokens_free(struct hai_tokens *tokens);

enum hai_token_check { HAI_TOKEN_OK, HAI_TOKEN_UNKNOWN, HAI_TOKEN_EXPIRED };

/* *id and *rights are borrowed from tokens. */
enum hai_token_check hai_tokens_find(const struct hai_tokens *tokens,
                                     const char *token, size_t len,
                                     int64_t now_ms, const char **id,
                                     const struct hai_rights **rights);

/* NULL: the file gives this uid nothing. */
const struct hai_rights *hai_tokens_uid(const struct hai_tokens *tokens,
                                        uid_t uid);

/* What is known of a token, for lists. */
struct hai_token_info {
    const char *id;
    const char *name;       /* or "" */
    const char *scopes;     /* separated by spaces */
    const char *created_at; /* ISO 8601 */
    const char *expires_at; /* or NULL */
};

size_t hai_tokens_n(const struct hai_tokens *tokens);
struct hai_token_info hai_tokens_info(const struct hai_tokens *tokens,
                                      size_t i);

/*
 * Makes a token and adds it to the file, which is made where it is missing;
 * the new file replaces the old one in one step, under a lock.  token has
 * HAI_TOKEN_LEN + 1 bytes; id has HAI_TOKEN_ID_MAX + 1.  expires_ms: since
 * 1970, 0: never.  0, or -1 with a message in error.
 */
int hai_tokens_create(const char *path, const char *name,
                      const char *const *scopes, size_t n_scopes,
                      int64_t now_ms, int64_t expires_ms, char *token, char *id,
                      char *error, size_t size);

/* 0; 1: there is none of this id; -1 with a message in error. */
int hai_tokens_revoke(const char *path, const char *id, char *error,
                      size_t size);

/* "read", "write", "read:<project>", "write:<project>" */
bool hai_scope_valid(const char *scope);

#endif
