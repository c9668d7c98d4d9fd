/* The file of tokens, see tokens.h. */

#define _GNU_SOURCE

#include "tokens.h"

#include "file.h"
#include "time_text.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIGEST 32
#define RANDOM 32
#define FILE_MAX (4UL * 1024 * 1024)
#define SCOPES_MAX 1024

struct token {
    const char *id;
    const char *name;
    const char *created_at;
    const char *expires_at;
    char *scopes;
    int64_t expires_ms; /* 0: never */
    unsigned char digest[DIGEST];
    struct hai_rights rights;
};

struct uid_rights {
    uid_t uid;
    struct hai_rights rights;
};

struct hai_tokens {
    json_t *root; /* has the strings */
    struct token *token;
    size_t n;
    struct uid_rights *uid;
    size_t n_uids;
};

static const char base64url[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

unsigned hai_rights_in(const struct hai_rights *r, const char *project) {
    unsigned rights = r->all;

    for (size_t i = 0; project != NULL && i < r->n; i++) {
        if (strcmp(r->project[i].project, project) == 0) {
            rights |= r->project[i].rights;
        }
    }

    return rights;
}

unsigned hai_rights_any(const struct hai_rights *r) {
    unsigned rights = r->all;

    for (size_t i = 0; i < r->n; i++) {
        rights |= r->project[i].rights;
    }

    return rights;
}

/* The right that a scope gives, and where its project begins; 0: none. */
static unsigned parse_scope(const char *scope, const char **project) {
    unsigned rights = 0;

    *project = NULL;

    if (strncmp(scope, "read", 4) == 0) {
        rights = HAI_RIGHT_READ;
        scope += 4;
    } else if (strncmp(scope, "write", 5) == 0) {
        rights = HAI_RIGHT_READ | HAI_RIGHT_WRITE;
        scope += 5;
    }

    if (rights == 0 || *scope == '\0') {
        return rights;
    }

    if (*scope != ':' || strlen(scope + 1) != HAI_PROJECT_ID_LEN
        || strspn(scope + 1, "0123456789abcdef") != HAI_PROJECT_ID_LEN)
    {
        return 0;
    }

    *project = scope + 1;

    return rights;
}

bool hai_scope_valid(const char *scope) {
    const char *project;

    return parse_scope(scope, &project) != 0;
}

/* 0; -1 without memory; 1: that is no list of scopes. */
static int add_scopes(struct hai_rights *r, const json_t *list) {
    size_t n = json_array_size(list);

    if (!json_is_array(list) || n == 0 || n > SCOPES_MAX) {
        return 1;
    }

    r->project = calloc(n, sizeof(*r->project));
    if (r->project == NULL) {
        return -1;
    }

    for (size_t i = 0; i < n; i++) {
        const char *scope = json_string_value(json_array_get(list, i));
        const char *project;
        unsigned rights;

        rights = scope != NULL ? parse_scope(scope, &project) : 0;
        if (rights == 0) {
            return 1;
        }

        if (project == NULL) {
            r->all |= rights;
            continue;
        }

        memcpy(r->project[r->n].project, project, HAI_PROJECT_ID_LEN + 1);
        r->project[r->n++].rights = rights;
    }

    return 0;
}

static char *join(const json_t *list) {
    size_t size = 1, len = 0, i;
    const json_t *item;
    char *text;

    json_array_foreach(list, i, item) {
        size += json_string_length(item) + 1;
    }

    text = malloc(size);
    if (text == NULL) {
        return NULL;
    }

    text[0] = '\0';
    json_array_foreach(list, i, item) {
        len += (size_t) snprintf(text + len, size - len, "%s%s",
                                 i > 0 ? " " : "", json_string_value(item));
    }

    return text;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_digest(const char *text, unsigned char *digest) {
    if (text == NULL || strlen(text) != 2 * DIGEST) {
        return false;
    }

    for (size_t i = 0; i < DIGEST; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

        if (high < 0 || low < 0) {
            return false;
        }

        digest[i] = (unsigned char) (high << 4 | low);
    }

    return true;
}

/* NULL, or what is wrong with it. */
static const char *read_token(struct token *t, const json_t *object) {
    const json_t *expires = json_object_get(object, "expires_at");
    const json_t *scopes = json_object_get(object, "scopes");

    t->id = json_string_value(json_object_get(object, "id"));
    t->name = json_string_value(json_object_get(object, "name"));
    t->created_at = json_string_value(json_object_get(object, "created_at"));
    t->expires_at = json_string_value(expires);

    if (t->id == NULL || *t->id == '\0' || strlen(t->id) > HAI_TOKEN_ID_MAX) {
        return "\"id\" is missing or too long";
    }

    if (!read_digest(json_string_value(json_object_get(object, "sha256")),
                     t->digest))
    {
        return "\"sha256\" is not 64 hex digits";
    }

    if (expires != NULL && !json_is_null(expires)
        && (t->expires_at == NULL
            || !hai_time_parse(t->expires_at, &t->expires_ms)))
    {
        return "\"expires_at\" is no time as in 2026-01-31T12:00:00.000Z";
    }

    switch (add_scopes(&t->rights, scopes)) {
    case 0:
        break;
    case 1:
        return "\"scopes\" is no list of read, write, read:<project>, "
               "write:<project>";
    default:
        return "no memory";
    }

    t->scopes = join(scopes);

    return t->scopes != NULL ? NULL : "no memory";
}

static const char *read_uid(struct uid_rights *u, const json_t *object) {
    const json_t *uid = json_object_get(object, "uid");

    if (!json_is_integer(uid) || json_integer_value(uid) < 0
        || json_integer_value(uid) >= (json_int_t) (uid_t) -1)
    {
        return "\"uid\" is no user's number";
    }

    u->uid = (uid_t) json_integer_value(uid);

    switch (add_scopes(&u->rights, json_object_get(object, "scopes"))) {
    case 0:
        return NULL;
    case 1:
        return "\"scopes\" is no list of read, write, read:<project>, "
               "write:<project>";
    default:
        return "no memory";
    }
}

static int read_all(struct hai_tokens *tokens, const char *path, char *error,
                    size_t size) {
    const json_t *list = json_object_get(tokens->root, "tokens");
    const json_t *uids = json_object_get(tokens->root, "uids");
    size_t n = json_array_size(list), n_uids = json_array_size(uids);

    if (!json_is_object(tokens->root) || (list != NULL && !json_is_array(list))
        || (uids != NULL && !json_is_array(uids)))
    {
        snprintf(error, size, "%s: not an object with \"tokens\" and \"uids\"",
                 path);
        return -1;
    }

    tokens->token = calloc(n + 1, sizeof(*tokens->token));
    tokens->uid = calloc(n_uids + 1, sizeof(*tokens->uid));
    if (tokens->token == NULL || tokens->uid == NULL) {
        snprintf(error, size, "%s: no memory", path);
        return -1;
    }

    while (tokens->n < n) {
        const char *wrong = read_token(&tokens->token[tokens->n],
                                       json_array_get(list, tokens->n));

        tokens->n++; /* what was made of it has to be freed */
        if (wrong != NULL) {
            snprintf(error, size, "%s: tokens[%zu]: %s", path, tokens->n - 1,
                     wrong);
            return -1;
        }
    }

    while (tokens->n_uids < n_uids) {
        const char *wrong = read_uid(&tokens->uid[tokens->n_uids],
                                     json_array_get(uids, tokens->n_uids));

        tokens->n_uids++;
        if (wrong != NULL) {
            snprintf(error, size, "%s: uids[%zu]: %s", path, tokens->n_uids - 1,
                     wrong);
            return -1;
        }
    }

    return 0;
}

/* Whoever can write it can do everything. */
static int check_file(const char *path, char *error, size_t size) {
    struct stat st;

    if (lstat(path, &st) != 0) {
        snprintf(error, size, "%s: %s", path, strerror(errno));
        return -1;
    }

    if (!S_ISREG(st.st_mode)) {
        snprintf(error, size, "%s: not a regular file", path);
        return -1;
    }

    if (st.st_uid != 0 && st.st_uid != geteuid()) {
        snprintf(error, size, "%s: belongs to neither root nor this user",
                 path);
        return -1;
    }

    if ((st.st_mode & (S_IRWXO | S_IWGRP | S_IXGRP)) != 0) {
        snprintf(error, size,
                 "%s: others may read it or its group may write it: "
                 "chmod 0600",
                 path);
        return -1;
    }

    return 0;
}

struct hai_tokens *hai_tokens_read(const char *path, char *error, size_t size) {
    struct hai_tokens *tokens;
    json_error_t wrong;
    char cause[160];
    char *text;
    size_t len;

    if (check_file(path, error, size) != 0) {
        return NULL;
    }

    text = hai_file_read(path, FILE_MAX, &len, cause, sizeof(cause));
    if (text == NULL) {
        snprintf(error, size, "%s: %s", path, cause);
        return NULL;
    }

    tokens = calloc(1, sizeof(*tokens));
    if (tokens == NULL) {
        snprintf(error, size, "%s: no memory", path);
        free(text);
        return NULL;
    }

    tokens->root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &wrong);
    free(text);

    if (tokens->root == NULL) {
        snprintf(error, size, "%s:%d:%d: %s", path, wrong.line, wrong.column,
                 wrong.text);
        hai_tokens_free(tokens);
        return NULL;
    }

    if (read_all(tokens, path, error, size) != 0) {
        hai_tokens_free(tokens);
        return NULL;
    }

    return tokens;
}

void hai_tokens_free(struct hai_tokens *tokens) {
    if (tokens == NULL) {
        return;
    }

    for (size_t i = 0; i < tokens->n; i++) {
        free(tokens->token[i].scopes);
        free(tokens->token[i].rights.project);
    }

    for (size_t i = 0; i < tokens->n_uids; i++) {
        free(tokens->uid[i].rights.project);
    }

    free(tokens->token);
    free(tokens->uid);
    json_decref(tokens->root);
    free(tokens);
}

static bool digest_of(const char *token, size_t len, unsigned char *digest) {
    return EVP_Digest(token, len, digest, NULL, EVP_sha256(), NULL) == 1;
}

enum hai_token_check hai_tokens_find(const struct hai_tokens *tokens,
                                     const char *token, size_t len,
                                     int64_t now_ms, const char **id,
                                     const struct hai_rights **rights) {
    const struct token *found = NULL;
    unsigned char digest[DIGEST];

    if (len != HAI_TOKEN_LEN || !digest_of(token, len, digest)) {
        return HAI_TOKEN_UNKNOWN;
    }

    /* all of them, so that the time tells nothing */
    for (size_t i = 0; i < tokens->n; i++) {
        if (CRYPTO_memcmp(tokens->token[i].digest, digest, DIGEST) == 0) {
            found = &tokens->token[i];
        }
    }

    if (found == NULL) {
        return HAI_TOKEN_UNKNOWN;
    }

    if (found->expires_ms != 0 && found->expires_ms <= now_ms) {
        return HAI_TOKEN_EXPIRED;
    }

    *id = found->id;
    *rights = &found->rights;

    return HAI_TOKEN_OK;
}

const struct hai_rights *hai_tokens_uid(const struct hai_tokens *tokens,
                                        uid_t uid) {
    for (size_t i = 0; i < tokens->n_uids; i++) {
        if (tokens->uid[i].uid == uid) {
            return &tokens->uid[i].rights;
        }
    }

    return NULL;
}

size_t hai_tokens_n(const struct hai_tokens *tokens) {
    return tokens->n;
}

struct hai_token_info hai_tokens_info(const struct hai_tokens *tokens,
                                      size_t i) {
    const struct token *t = &tokens->token[i];

    return (struct hai_token_info){
        .id = t->id,
        .name = t->name != NULL ? t->name : "",
        .scopes = t->scopes,
        .created_at = t->created_at != NULL ? t->created_at : "",
        .expires_at = t->expires_at,
    };
}

/* --- changes -------------------------------------------------------------- */

/* A lock beside the file: the file itself is replaced. */
static int lock_file(const char *path, char *error, size_t size) {
    char name[4096];
    int fd, n;

    n = snprintf(name, sizeof(name), "%s.lock", path);
    if (n < 0 || (size_t) n >= sizeof(name)) {
        snprintf(error, size, "%s: too long a name", path);
        return -1;
    }

    fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        snprintf(error, size, "%s: %s", name, strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }

    return fd;
}

static int write_file(const char *path, const json_t *root, char *error,
                      size_t size) {
    char name[4096];
    FILE *out;
    int fd, n, bad;

    n = snprintf(name, sizeof(name), "%s.XXXXXX", path);
    if (n < 0 || (size_t) n >= sizeof(name)) {
        snprintf(error, size, "%s: too long a name", path);
        return -1;
    }

    /* mode 0600 */
    fd = mkstemp(name);
    out = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (out == NULL) {
        snprintf(error, size, "%s: %s", name, strerror(errno));
        if (fd >= 0) {
            close(fd);
            unlink(name);
        }
        return -1;
    }

    bad = json_dumpf(root, out, JSON_INDENT(2)) != 0;
    bad |= fputc('\n', out) == EOF;
    bad |= fflush(out) != 0 || fsync(fileno(out)) != 0;
    bad |= fclose(out) != 0;

    if (bad || rename(name, path) != 0) {
        snprintf(error, size, "%s: %s", path, strerror(errno));
        unlink(name);
        return -1;
    }

    return 0;
}

/* The document to be changed; a new one where there is no file. */
static json_t *load(const char *path, char *error, size_t size) {
    struct hai_tokens *tokens;
    json_t *root;

    if (access(path, F_OK) != 0 && errno == ENOENT) {
        root = json_pack("{s:[],s:[]}", "tokens", "uids");
        if (root == NULL) {
            snprintf(error, size, "no memory");
        }
        return root;
    }

    tokens = hai_tokens_read(path, error, size);
    if (tokens == NULL) {
        return NULL;
    }

    root = json_incref(tokens->root);
    hai_tokens_free(tokens);

    return root;
}

static bool random_text(char *text, size_t len) {
    unsigned char bytes[RANDOM];
    unsigned bits = 0, value = 0;
    size_t used = 0;

    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        return false;
    }

    for (size_t i = 0; i < len; i++) {
        if (bits < 6 && used < sizeof(bytes)) {
            value = value << 8 | bytes[used++];
            bits += 8;
        } else if (bits < 6) {
            value <<= 6 - bits;
            bits = 6;
        }

        bits -= 6;
        text[i] = base64url[value >> bits & 63];
    }

    text[len] = '\0';
    OPENSSL_cleanse(bytes, sizeof(bytes));

    return true;
}

static json_t *describe(const char *id, const char *token, const char *name,
                        const char *const *scopes, size_t n_scopes,
                        int64_t now_ms, int64_t expires_ms) {
    char created[HAI_TIME_SIZE], expires[HAI_TIME_SIZE];
    unsigned char digest[DIGEST];
    char hex[2 * DIGEST + 1];
    json_t *list;

    if (!digest_of(token, HAI_TOKEN_LEN, digest)) {
        return NULL;
    }

    for (size_t i = 0; i < DIGEST; i++) {
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }

    hai_time_text(now_ms, created);
    hai_time_text(expires_ms, expires);

    list = json_array();
    for (size_t i = 0; i < n_scopes; i++) {
        if (json_array_append_new(list, json_string(scopes[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }

    return json_pack("{s:s,s:s,s:s,s:o,s:s,s:s?}", "id", id, "sha256", hex,
                     "name", name != NULL ? name : "", "scopes", list,
                     "created_at", created, "expires_at",
                     expires_ms != 0 ? expires : NULL);
}

int hai_tokens_create(const char *path, const char *name,
                      const char *const *scopes, size_t n_scopes,
                      int64_t now_ms, int64_t expires_ms, char *token, char *id,
                      char *error, size_t size) {
    json_t *root = NULL, *list, *object;
    int lock, rc = -1;

    for (size_t i = 0; i < n_scopes; i++) {
        if (!hai_scope_valid(scopes[i])) {
            snprintf(error, size,
                     "scope \"%.64s\": none of read, write, read:<project>, "
                     "write:<project>",
                     scopes[i]);
            return -1;
        }
    }

    memcpy(token, HAI_TOKEN_PREFIX, sizeof(HAI_TOKEN_PREFIX));
    memcpy(id, "tok-", sizeof("tok-"));
    if (!random_text(token + sizeof(HAI_TOKEN_PREFIX) - 1,
                     HAI_TOKEN_LEN - sizeof(HAI_TOKEN_PREFIX) + 1)
        || !random_text(id + 4, 12))
    {
        snprintf(error, size, "no random bytes");
        return -1;
    }

    lock = lock_file(path, error, size);
    if (lock < 0) {
        return -1;
    }

    root = load(path, error, size);
    if (root == NULL) {
        goto done;
    }

    list = json_object_get(root, "tokens");
    if (list == NULL) {
        list = json_array();
        json_object_set_new(root, "tokens", list);
    }

    object = describe(id, token, name, scopes, n_scopes, now_ms, expires_ms);
    if (json_array_append_new(list, object) != 0) {
        snprintf(error, size, "no memory, or the name is not UTF-8");
        goto done;
    }

    rc = write_file(path, root, error, size);

done:
    json_decref(root);
    close(lock);

    return rc;
}

int hai_tokens_revoke(const char *path, const char *id, char *error,
                      size_t size) {
    json_t *root = NULL, *list, *object;
    int lock, rc = -1;
    size_t i;

    if (access(path, F_OK) != 0) {
        snprintf(error, size, "%s: %s", path, strerror(errno));
        return -1;
    }

    lock = lock_file(path, error, size);
    if (lock < 0) {
        return -1;
    }

    root = load(path, error, size);
    if (root == NULL) {
        goto done;
    }

    rc = 1;
    list = json_object_get(root, "tokens");
    json_array_foreach(list, i, object) {
        const char *has = json_string_value(json_object_get(object, "id"));

        if (has != NULL && strcmp(has, id) == 0) {
            json_array_remove(list, i);
            rc = write_file(path, root, error, size);
            break;
        }
    }

done:
    json_decref(root);
    close(lock);

    return rc;
}
