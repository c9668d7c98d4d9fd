/* One question to a FastCGI program, with a time-out over all of it. */

#ifndef HAI_FCGI_CLIENT_H
#define HAI_FCGI_CLIENT_H

#include <stddef.h>

struct hai_fcgi_param {
    const char *name; /* NULL ends a list; at most 127 bytes */
    const char *value;
};

struct hai_fcgi_answer {
    int status; /* of the header "Status", 200 without one */
    char *data; /* header and body; freed with hai_fcgi_answer_free() */
    const char *body;
    size_t len; /* of the body */
};

#define HAI_FCGI_MAX_ANSWER (4 * 1024 * 1024)

/*
 * Asks the program at `address` (a path that begins with /, "unix:" and a
 * path, or host:port), without a body.  0; or -1 with a message in error, when
 * nobody listens there, or the answer is late or none of FastCGI.
 */
int hai_fcgi_ask(const char *address, const struct hai_fcgi_param *params,
                 int timeout_ms, struct hai_fcgi_answer *answer, char *error,
                 size_t size);

void hai_fcgi_answer_free(struct hai_fcgi_answer *answer);

#endif
