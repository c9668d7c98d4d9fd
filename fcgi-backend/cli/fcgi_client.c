/*
 * A FastCGI client for one question, see fcgi_client.h.  FastCGI
 * Specification 1.0, sections 3, 5 and 6.2.
 */

#include "fcgi_client.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BEGIN_REQUEST = 1, END_REQUEST = 3, PARAMS = 4, STDIN = 5, STDOUT = 6 };

#define HEADER 8
#define REQUEST_MAX 4096 /* parameters of all questions that are asked */

struct client {
    int fd;
    int64_t end; /* of all waiting, CLOCK_MONOTONIC */
    char *error;
    size_t error_size;
};

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int say(struct client *c, const char *reason) {
    snprintf(c->error, c->error_size, "%s", reason);
    return -1;
}

/* Waits until the socket can be read or written. */
static int wait_for(struct client *c, short events) {
    struct pollfd fd = {.fd = c->fd, .events = events};
    int64_t left;
    int n;

    for (;;) {
        left = c->end - now_ms();
        n = left > 0 ? poll(&fd, 1, (int) left) : 0;
        if (n > 0) {
            return 0;
        }
        if (n == 0) {
            return say(c, "no answer in time");
        }
        if (errno != EINTR) {
            return say(c, strerror(errno));
        }
    }
}

/* A connection on its way; 0 once it stands. */
static int connect_to(struct client *c, const struct sockaddr *addr,
                      socklen_t len, int family) {
    int error = 0;
    socklen_t size = sizeof(error);

    c->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0) {
        return say(c, strerror(errno));
    }
    if (connect(c->fd, addr, len) == 0) {
        return 0;
    }
    if (errno != EINPROGRESS) {
        return say(c, errno == EAGAIN ? "its queue is full" : strerror(errno));
    }
    if (wait_for(c, POLLOUT) != 0) {
        return -1;
    }
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        error = errno;
    }
    return error == 0 ? 0 : say(c, strerror(error));
}

static int open_unix(struct client *c, const char *path) {
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(addr.sun_path)) {
        return say(c, "the path is too long");
    }
    memcpy(addr.sun_path, path, strlen(path));
    return connect_to(c, (struct sockaddr *) &addr, sizeof(addr), AF_UNIX);
}

static int open_tcp(struct client *c, const char *address) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list, *ai;
    const char *colon = strrchr(address, ':');
    size_t len = colon != NULL ? (size_t) (colon - address) : 0;
    char host[256];
    int rc;

    if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
        address++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof(host)) {
        return say(c, "an absolute path or host:port is wanted");
    }
    /* getaddrinfo() cuts bits off larger ones */
    if (strlen(colon + 1) > 5 || strtol(colon + 1, NULL, 10) > 65535) {
        return say(c, "a port up to 65535 is wanted");
    }
    memcpy(host, address, len);
    host[len] = '\0';
    rc = getaddrinfo(host, colon + 1, &hints, &list);
    if (rc != 0) {
        return say(c, gai_strerror(rc));
    }
    rc = -1;
    for (ai = list; ai != NULL && rc != 0; ai = ai->ai_next) {
        if (c->fd >= 0) {
            close(c->fd);
        }
        rc = connect_to(c, ai->ai_addr, ai->ai_addrlen, ai->ai_family);
    }
    freeaddrinfo(list);
    return rc;
}

static size_t put_header(unsigned char *p, int type, size_t len) {
    p[0] = 1; /* version */
    p[1] = (unsigned char) type;
    p[2] = 0;
    p[3] = 1; /* the request's number */
    p[4] = (unsigned char) (len >> 8);
    p[5] = (unsigned char) len;
    p[6] = 0;
    p[7] = 0;
    return HEADER;
}

/* Parameters of less than 128 bytes each have a length of one byte. */
static int put_params(unsigned char *p, size_t size,
                      const struct hai_fcgi_param *params, size_t *len) {
    size_t n = 0, name, value;

    for (; params->name != NULL; params++) {
        name = strlen(params->name);
        value = strlen(params->value);
        if (name > 127 || value > 127 || n + 2 + name + value > size) {
            return -1;
        }
        p[n++] = (unsigned char) name;
        p[n++] = (unsigned char) value;
        memcpy(p + n, params->name, name);
        memcpy(p + n + name, params->value, value);
        n += name + value;
    }
    *len = n;
    return 0;
}

static int write_all(struct client *c, const unsigned char *p, size_t len) {
    while (len > 0) {
        ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);

        if (n >= 0) {
            p += n;
            len -= (size_t) n;
        } else if (errno == EAGAIN) {
            if (wait_for(c, POLLOUT) != 0) {
                return -1;
            }
        } else if (errno != EINTR) {
            return say(c, strerror(errno));
        }
    }
    return 0;
}

static int send_request(struct client *c, const struct hai_fcgi_param *params) {
    unsigned char buffer[REQUEST_MAX + 6 * HEADER] = {0}, *p = buffer;
    size_t len;

    p += put_header(p, BEGIN_REQUEST, 8);
    p[1] = 1; /* role: responder; the connection is closed afterwards */
    p += 8;
    if (put_params(p + HEADER, REQUEST_MAX, params, &len) != 0) {
        return say(c, "the parameters are too long");
    }
    p += put_header(p, PARAMS, len) + len;
    p += put_header(p, PARAMS, 0);
    p += put_header(p, STDIN, 0);
    return write_all(c, buffer, (size_t) (p - buffer));
}

static int read_exactly(struct client *c, unsigned char *p, size_t len) {
    while (len > 0) {
        ssize_t n = recv(c->fd, p, len, 0);

        if (n > 0) {
            p += n;
            len -= (size_t) n;
        } else if (n == 0) {
            return say(c, "the connection was closed before the answer's end");
        } else if (errno == EAGAIN) {
            if (wait_for(c, POLLIN) != 0) {
                return -1;
            }
        } else if (errno != EINTR) {
            return say(c, strerror(errno));
        }
    }
    return 0;
}

/* Adds what came on STDOUT, and a NUL behind it. */
static int add_content(struct client *c, char **data, size_t *len,
                       const unsigned char *content, size_t n) {
    char *larger;

    if (*len + n > HAI_FCGI_MAX_ANSWER) {
        return say(c, "the answer is too long");
    }
    larger = realloc(*data, *len + n + 1);
    if (larger == NULL) {
        return say(c, "no memory");
    }
    memcpy(larger + *len, content, n);
    *len += n;
    larger[*len] = '\0';
    *data = larger;
    return 0;
}

/* Reads records up to the end of the request. */
static int read_answer(struct client *c, char **data, size_t *len) {
    unsigned char header[HEADER] = {0}, content[65535 + 255] = {0};
    size_t n;

    *len = 0;
    for (;;) {
        if (read_exactly(c, header, HEADER) != 0) {
            return -1;
        }
        if (header[0] != 1) {
            return say(c, "what answers does not speak FastCGI");
        }
        n = (size_t) header[4] << 8 | header[5];
        if (read_exactly(c, content, n + header[6]) != 0) {
            return -1;
        }
        if (header[1] == STDOUT && add_content(c, data, len, content, n) != 0) {
            return -1;
        }
        if (header[1] == END_REQUEST) {
            break;
        }
    }
    if (n < 5 || content[4] != 0) {
        return say(c, "the request was refused by FastCGI");
    }
    return add_content(c, data, len, content, 0); /* there may be none */
}

/* Lines of a header up to an empty one, then the body; line ends are LF or CR
 * LF. */
static int split_answer(struct client *c, struct hai_fcgi_answer *answer,
                        size_t len) {
    char *p = answer->data, *line_end;

    answer->status = 200;
    for (;;) {
        line_end = strchr(p, '\n');
        if (line_end == NULL) {
            return say(c, "the answer has no header");
        }
        if (line_end == p || (line_end == p + 1 && *p == '\r')) {
            break;
        }
        if (strncmp(p, "Status:", 7) == 0) {
            answer->status = (int) strtol(p + 7, NULL, 10);
        }
        p = line_end + 1;
    }
    answer->body = line_end + 1;
    answer->len = len - (size_t) (answer->body - answer->data);
    return 0;
}

int hai_fcgi_ask(const char *address, const struct hai_fcgi_param *params,
                 int timeout_ms, struct hai_fcgi_answer *answer, char *error,
                 size_t size) {
    struct client c = {.fd = -1, .end = now_ms() + timeout_ms};
    size_t len;
    int rc;

    c.error = error;
    c.error_size = size;
    memset(answer, 0, sizeof(*answer));
    if (strncmp(address, "unix:", 5) == 0) {
        address += 5;
    }
    rc = *address == '/' ? open_unix(&c, address) : open_tcp(&c, address);
    if (rc == 0) {
        rc = send_request(&c, params);
    }
    if (rc == 0) {
        rc = read_answer(&c, &answer->data, &len);
    }
    if (rc == 0) {
        rc = split_answer(&c, answer, len);
    }
    if (c.fd >= 0) {
        close(c.fd);
    }
    if (rc != 0) {
        hai_fcgi_answer_free(answer);
    }
    return rc;
}

void hai_fcgi_answer_free(struct hai_fcgi_answer *answer) {
    free(answer->data);
    memset(answer, 0, sizeof(*answer));
}
