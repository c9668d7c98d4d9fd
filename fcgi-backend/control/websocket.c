/* Messages as signals, see websocket.h. */

#define _GNU_SOURCE

#include "websocket.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define HEAD_MAX 8192
#define LOOK_MS 200
#define OPEN_S 5
#define PING_MAX 125

enum { OP_CONTINUATION, OP_TEXT, OP_BINARY, OP_CLOSE = 8, OP_PING, OP_PONG };

struct hai_websocket {
    int fd;
    uint8_t head[14]; /* of the frame that is being read */
    size_t head_len;
    uint64_t left; /* of its content */
    unsigned op;
    bool final;
    bool in_frame;
    uint8_t ping[PING_MAX];
    size_t ping_len;
};

static int connect_to(const char *path, char *error, size_t size) {
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct timeval limit = {.tv_sec = OPEN_S};
    int fd;

    if (strlen(path) >= sizeof(addr.sun_path)) {
        snprintf(error, size, "too long a path");
        return -1;
    }
    memcpy(addr.sun_path, path, strlen(path));

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0
        || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0
        || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0
        || connect(fd, (struct sockaddr *) &addr, sizeof(addr)) != 0)
    {
        snprintf(error, size, "%s", strerror(errno));
        if (fd >= 0) {
            close(fd);
        }
        return -1;
    }

    return fd;
}

static bool send_all(int fd, const void *data, size_t len) {
    const char *p = data;

    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n <= 0) {
            return false;
        }
        p += n;
        len -= (size_t) n;
    }

    return true;
}

/* One byte at a time: what follows the head belongs to the frames. */
static bool read_head(int fd, char *head, size_t size) {
    for (size_t n = 0; n + 1 < size; n++) {
        if (recv(fd, head + n, 1, 0) != 1) {
            return false;
        }
        head[n + 1] = '\0';
        if (n >= 3 && memcmp(head + n - 3, "\r\n\r\n", 4) == 0) {
            return true;
        }
    }

    return false;
}

struct hai_websocket *hai_websocket_open(const char *socket, const char *path,
                                         char *error, size_t size) {
    unsigned char random[16], key[32];
    struct hai_websocket *ws;
    char head[HEAD_MAX];
    int n;

    ws = calloc(1, sizeof(*ws));
    if (ws == NULL || RAND_bytes(random, sizeof(random)) != 1) {
        snprintf(error, size, "no memory");
        free(ws);
        return NULL;
    }

    EVP_EncodeBlock(key, random, sizeof(random));

    ws->fd = connect_to(socket, error, size);
    if (ws->fd < 0) {
        free(ws);
        return NULL;
    }

    n = snprintf(head, sizeof(head),
                 "GET %s HTTP/1.1\r\nHost: runtime\r\nConnection: Upgrade\r\n"
                 "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                 "Sec-WebSocket-Key: %s\r\n\r\n",
                 path, (char *) key);

    if (n < 0 || (size_t) n >= sizeof(head)
        || !send_all(ws->fd, head, (size_t) n)
        || !read_head(ws->fd, head, sizeof(head))
        || strncmp(head, "HTTP/1.1 101", 12) != 0)
    {
        snprintf(error, size, "no stream of events there");
        hai_websocket_close(ws);
        return NULL;
    }

    return ws;
}

void hai_websocket_close(struct hai_websocket *ws) {
    if (ws != NULL) {
        close(ws->fd);
        free(ws);
    }
}

/* A client's frame is masked; zeros are a mask as good as any for this. */
static bool pong(struct hai_websocket *ws) {
    uint8_t frame[6 + PING_MAX] = {0x80 | OP_PONG,
                                   (uint8_t) (0x80 | ws->ping_len)};

    memcpy(frame + 6, ws->ping, ws->ping_len);

    return send_all(ws->fd, frame, 6 + ws->ping_len);
}

/* Bytes of a frame's head, known once two of them are there. */
static size_t head_size(const struct hai_websocket *ws) {
    size_t n = 2;

    if (ws->head_len < 2) {
        return n;
    }

    switch (ws->head[1] & 0x7f) {
    case 126:
        n += 2;
        break;
    case 127:
        n += 8;
        break;
    }

    return n + ((ws->head[1] & 0x80) != 0 ? 4 : 0);
}

static void begin_frame(struct hai_websocket *ws) {
    unsigned len = ws->head[1] & 0x7f;

    ws->op = ws->head[0] & 0x0f;
    ws->final = (ws->head[0] & 0x80) != 0;
    ws->left = len;

    if (len >= 126) {
        ws->left = 0;
        for (size_t i = 0; i < (len == 126 ? 2u : 8u); i++) {
            ws->left = ws->left << 8 | ws->head[2 + i];
        }
    }

    ws->in_frame = true;
    ws->head_len = 0;
    ws->ping_len = 0;
}

/* A whole frame is there.  1: a message has ended; 0; -1: it is over. */
static int end_frame(struct hai_websocket *ws) {
    ws->in_frame = false;

    switch (ws->op) {
    case OP_CLOSE:
        return -1;
    case OP_PING:
        return pong(ws) ? 0 : -1;
    case OP_PONG:
        return 0;
    default:
        return ws->final ? 1 : 0;
    }
}

/* Takes bytes in; as end_frame(). */
static int feed(struct hai_websocket *ws, const uint8_t *p, size_t n) {
    int rc, messages = 0;

    while (n > 0 || (ws->in_frame && ws->left == 0)) {
        if (!ws->in_frame) {
            ws->head[ws->head_len++] = *p++;
            n--;
            if (ws->head_len >= 2 && ws->head_len == head_size(ws)) {
                begin_frame(ws);
            }
            continue;
        }

        if (ws->left > 0) {
            size_t take = n < ws->left ? n : (size_t) ws->left;

            if (ws->op == OP_PING && take <= PING_MAX - ws->ping_len) {
                memcpy(ws->ping + ws->ping_len, p, take);
                ws->ping_len += take;
            }
            p += take;
            n -= take;
            ws->left -= take;
            if (ws->left > 0) {
                break;
            }
        }

        rc = end_frame(ws);
        if (rc < 0) {
            return -1;
        }
        messages |= rc;
    }

    return messages;
}

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);

    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int hai_websocket_wait(struct hai_websocket *ws, int timeout_ms,
                       const atomic_bool *stop) {
    int64_t until = now_ms() + timeout_ms;
    struct pollfd fds = {.fd = ws->fd, .events = POLLIN};
    uint8_t data[4096];
    ssize_t n;
    int rc;

    while (!atomic_load(stop) && now_ms() < until) {
        rc = poll(&fds, 1, LOOK_MS);
        if (rc < 0 && errno != EINTR) {
            return -1;
        }
        if (rc <= 0) {
            continue;
        }

        n = recv(ws->fd, data, sizeof(data), 0);
        if (n <= 0) {
            return -1;
        }

        rc = feed(ws, data, (size_t) n);
        if (rc != 0) {
            return rc;
        }
    }

    return 0;
}
