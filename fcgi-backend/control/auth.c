/*
 * Callers, see auth.h.  The file of tokens is looked at for each call (one
 * stat), so that a token that was taken back ends at once; what was read is
 * replaced under a lock and copied out of it.
 */

#include "auth.h"

#include "lib/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct hai_auth {
    const char *path;
    pthread_mutex_t lock; /* for all below */
    struct hai_tokens *tokens;
    struct timespec changed;
    ino_t inode;
    off_t size;
};

struct hai_auth *hai_auth_new(const char *path, char *error, size_t size) {
    struct hai_auth *auth = calloc(1, sizeof(*auth));

    if (auth == NULL || pthread_mutex_init(&auth->lock, NULL) != 0) {
        snprintf(error, size, "no memory");
        free(auth);
        return NULL;
    }

    auth->path = path;

    if (path != NULL && hai_auth_reload(auth, error, size) != 0) {
        hai_auth_free(auth);
        return NULL;
    }

    return auth;
}

void hai_auth_free(struct hai_auth *auth) {
    if (auth != NULL) {
        pthread_mutex_destroy(&auth->lock);
        hai_tokens_free(auth->tokens);
        free(auth);
    }
}

/* Under the lock.  A file that is gone, or cannot be read, knows no token. */
static int load(struct hai_auth *auth, char *error, size_t size) {
    struct hai_tokens *tokens;
    struct stat st = {0};

    if (stat(auth->path, &st) != 0 && errno != ENOENT) {
        snprintf(error, size, "%s: %s", auth->path, strerror(errno));
        return -1;
    }

    if (auth->inode == st.st_ino && auth->size == st.st_size
        && auth->changed.tv_sec == st.st_mtim.tv_sec
        && auth->changed.tv_nsec == st.st_mtim.tv_nsec)
    {
        return 0;
    }

    tokens = hai_tokens_read(auth->path, error, size);

    hai_tokens_free(auth->tokens);
    auth->tokens = tokens;
    auth->inode = st.st_ino;
    auth->size = st.st_size;
    auth->changed = st.st_mtim;

    return tokens != NULL ? 0 : -1;
}

int hai_auth_reload(struct hai_auth *auth, char *error, size_t size) {
    int rc = 0;

    pthread_mutex_lock(&auth->lock);
    if (auth->path != NULL) {
        auth->inode = 0;
        auth->size = -1;
        rc = load(auth, error, size);
    }
    pthread_mutex_unlock(&auth->lock);

    return rc;
}

static bool copy_rights(struct hai_rights *to, const struct hai_rights *from) {
    to->all = from->all;
    to->n = 0;

    if (from->n == 0) {
        return true;
    }

    to->project = malloc(from->n * sizeof(*to->project));
    if (to->project == NULL) {
        return false;
    }

    memcpy(to->project, from->project, from->n * sizeof(*to->project));
    to->n = from->n;

    return true;
}

static int by_token(struct hai_auth *auth, struct hai_call *call,
                    const char *text) {
    const struct hai_rights *rights;
    enum hai_token_check check;
    const char *id;
    bool copied;

    /* "Bearer <token>", or the token alone */
    if (strncasecmp(text, "Bearer ", 7) == 0) {
        text += 7;
        text += strspn(text, " ");
    }

    if (auth->tokens == NULL) {
        return hai_fail(call, 401, "Invalid token");
    }

    check = hai_tokens_find(auth->tokens, text, strlen(text), call->now_ms, &id,
                            &rights);

    if (check == HAI_TOKEN_EXPIRED) {
        return hai_fail(call, 401, "Token has expired");
    }
    if (check != HAI_TOKEN_OK) {
        return hai_fail(call, 401, "Invalid token");
    }

    snprintf(call->caller.who, sizeof(call->caller.who), "token:%s", id);
    copied = copy_rights(&call->caller.rights, rights);

    return copied ? 0 : hai_fail_memory(call);
}

static int by_uid(struct hai_auth *auth, struct hai_call *call,
                  const char *text) {
    const struct hai_rights *rights = NULL;
    unsigned long uid;
    char *end;

    errno = 0;
    uid = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0
        || uid >= (uid_t) -1)
    {
        return hai_fail(call, 401, "Authentication token is missing");
    }

    snprintf(call->caller.who, sizeof(call->caller.who), "uid:%lu", uid);

    if (uid == 0) {
        call->caller.rights.all = HAI_RIGHT_READ | HAI_RIGHT_WRITE;
        return 0;
    }

    if (auth->tokens != NULL) {
        rights = hai_tokens_uid(auth->tokens, (uid_t) uid);
    }

    if (rights == NULL) {
        return hai_fail(call, 401, "Authentication token is missing");
    }

    return copy_rights(&call->caller.rights, rights) ? 0
                                                     : hai_fail_memory(call);
}

int hai_auth_identify(struct hai_auth *auth, struct hai_call *call) {
    const char *header = hai_call_param(call, "HTTP_AUTHORIZATION");
    const char *uid = hai_call_param(call, "HOODY_PEER_UID");
    char error[512];
    int rc;

    pthread_mutex_lock(&auth->lock);

    if (auth->path != NULL && load(auth, error, sizeof(error)) != 0) {
        hai_log(HAI_LOG_ERROR, "no token is valid: %s", error);
    }

    rc = *header != '\0' ? by_token(auth, call, header)
                         : by_uid(auth, call, uid);

    pthread_mutex_unlock(&auth->lock);

    return rc;
}

bool hai_auth_may(const struct hai_call *call, enum hai_right right,
                  const char *project) {
    return (hai_rights_in(&call->caller.rights, project) & right) != 0;
}
