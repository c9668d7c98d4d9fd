/* SOURCES: fcgi-backend/control/locks.c fcgi-backend/control/websocket.c */
/* SOURCES: fcgi-backend/control/view.c fcgi-backend/control/call.c */
/* SOURCES: fcgi-backend/lib/time_text.c fcgi-backend/lib/log.c */
/* SOURCES: fcgi-backend/lib/registry_writer.c */
/* SOURCES: fcgi-backend/lib/registry_call.c fcgi-backend/lib/redis.c */
/* SOURCES: fcgi-backend/lib/file.c common/hai_identity.c */
/* SOURCES: fcgi-backend/lib/redis_conf.c fcgi-backend/lib/redis_find.c */
/* SOURCES: fcgi-backend/lib/redis_feed.c common/hai_slot.c */
/* LIBS: -lfcgi -ljansson -lhiredis -lcrypto -lpthread */

/*
 * The control API in pieces: locks of names, a runtime's stream of events,
 * what a body may want.
 */

#include "control/call.h"
#include "control/locks.h"
#include "control/view.h"
#include "control/websocket.h"

#include "lib/registry_library.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

const char hai_registry_library[] = ""; /* no Redis here */

/* --- locks ----------------------------------------------------------------- */

struct holder {
    struct hai_lock_table *locks;
    bool taken;
};

static void *take_later(void *data) {
    struct holder *h = data;

    h->taken = hai_lock(h->locks, "one", 10000);
    return NULL;
}

static void test_locks(void **state) {
    struct hai_lock_table *locks = hai_locks_new(2);
    struct timespec pause = {0, 20 * 1000 * 1000};
    struct holder other = {locks, false};
    char longer[300] = "";
    pthread_t thread;

    (void) state;
    assert_non_null(locks);
    assert_true(hai_lock(locks, "one", 0));
    assert_false(hai_lock(locks, "one", 0));
    assert_false(hai_lock(locks, "one", 20));
    assert_true(hai_lock(locks, "two", 0));
    /* no place for a third one */
    assert_false(hai_lock(locks, "three", 0));
    /* nor ever for one that is longer than a name */
    memset(longer, 'x', sizeof(longer) - 1);
    hai_unlock(locks, "two");
    assert_false(hai_lock(locks, longer, 0));
    assert_true(hai_lock(locks, "two", 0));

    assert_int_equal(pthread_create(&thread, NULL, take_later, &other), 0);
    nanosleep(&pause, NULL);
    assert_false(other.taken);
    hai_unlock(locks, "one");
    pthread_join(thread, NULL);
    assert_true(other.taken);
    assert_false(hai_lock(locks, "one", 0));

    hai_unlock(locks, "two");
    assert_true(hai_lock(locks, "three", 0));
    hai_locks_free(locks);
}

/* Of two processes: the file is opened twice. */
static void test_locks_shared(void **state) {
    char path[] = "/tmp/hai-locks.XXXXXX", error[256];
    struct hai_lock_table *a = hai_locks_new(4), *b = hai_locks_new(4);
    struct hai_lock_table *c = hai_locks_new(4);
    int fd = mkstemp(path);

    (void) state;
    assert_true(fd >= 0 && a != NULL && b != NULL && c != NULL);
    assert_string_equal(hai_locks_mark(a), "");
    assert_int_equal(hai_locks_share(a, path, "s1", error, sizeof(error)), 0);
    assert_int_equal(hai_locks_share(b, path, "s1", error, sizeof(error)), 0);
    assert_int_equal(hai_locks_share(c, path, "s2", error, sizeof(error)), 0);
    assert_string_equal(hai_locks_mark(a), hai_locks_mark(b));
    assert_true(strlen(hai_locks_mark(a)) > 36);

    assert_true(hai_lock(a, "one", 0));
    assert_false(hai_lock(b, "one", 0));
    assert_false(hai_lock(b, "one", 30));
    assert_true(hai_lock(b, "two", 0));
    assert_false(hai_lock(a, "two", 0));
    /* the same name of another server */
    assert_true(hai_lock(c, "one", 0));

    /* one that was not had is not let go */
    hai_unlock(a, "one");
    assert_true(hai_lock(b, "one", 0));
    assert_false(hai_lock(a, "one", 0));

    /* nor does a process hold anything that has ended */
    hai_locks_free(b);
    assert_true(hai_lock(a, "one", 0));
    assert_true(hai_lock(a, "two", 0));

    hai_locks_free(a);
    hai_locks_free(c);
    close(fd);

    /* what others can open is not taken */
    a = hai_locks_new(1);
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_equal(hai_locks_share(a, path, "s1", error, sizeof(error)), -1);
    hai_locks_free(a);
    assert_int_equal(unlink(path), 0);
    a = hai_locks_new(1);
    assert_int_equal(hai_locks_share(a, "/nowhere/x", "s", error, 256), -1);
    hai_locks_free(a);
}

/* --- a stream of events ---------------------------------------------------- */

struct server {
    int fd;
    const char *head;
    const void *frames;
    size_t len;
    size_t piece; /* bytes at a time */
    uint8_t got[64];
    ssize_t n_got;
};

static const char head_101[] = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
static char path[64];

static void *serve(void *data) {
    struct server *s = data;
    int fd = accept(s->fd, NULL, NULL);
    char request[2048];
    size_t n = 0;

    while (n + 1 < sizeof(request) && recv(fd, request + n, 1, 0) == 1) {
        request[++n] = '\0';
        if (n >= 4 && memcmp(request + n - 4, "\r\n\r\n", 4) == 0) {
            break;
        }
    }

    send(fd, s->head, strlen(s->head), MSG_NOSIGNAL);
    for (size_t i = 0; i < s->len; i += s->piece) {
        size_t left = s->len - i;

        send(fd, (const char *) s->frames + i,
             left < s->piece ? left : s->piece, MSG_NOSIGNAL);
    }

    shutdown(fd, SHUT_WR);
    s->n_got = recv(fd, s->got, sizeof(s->got), 0);
    close(fd);

    return NULL;
}

/* What wait() says one time after the other, until the end; up to 8. */
static size_t talk(struct server *s, int *said) {
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct hai_websocket *ws;
    atomic_bool stop = false;
    pthread_t thread;
    char error[128];
    size_t n = 0;

    snprintf(path, sizeof(path), "/tmp/hai-control.%ld.sock", (long) getpid());
    unlink(path);
    strcpy(addr.sun_path, path);
    s->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
    assert_int_equal(listen(s->fd, 1), 0);
    assert_int_equal(pthread_create(&thread, NULL, serve, s), 0);

    ws = hai_websocket_open(path, "/1.0/events", error, sizeof(error));
    while (ws != NULL && n < 8) {
        said[n] = hai_websocket_wait(ws, 5000, &stop);
        if (said[n++] < 0) {
            break;
        }
    }
    hai_websocket_close(ws);
    pthread_join(thread, NULL);
    close(s->fd);
    unlink(path);

    return ws != NULL ? n : 0;
}

static void test_websocket(void **state) {
    static const uint8_t frames[] = {
        0x81, 2,   'h', 'i',               /* a message */
        0x89, 3,   'a', 'b', 'c',          /* a ping */
        0x01, 1,   'x',                    /* one in two frames */
        0x80, 126, 0,   1,   'y', 0x88, 0, /* the end */
    };
    int said[8];

    (void) state;

    /* whole, and a byte at a time: the same, though not in as many pieces */
    for (size_t piece = sizeof(frames); piece > 0;
         piece = piece == sizeof(frames) ? 1 : 0)
    {
        struct server s = {.head = head_101,
                           .frames = frames,
                           .len = sizeof(frames),
                           .piece = piece};
        size_t n = talk(&s, said);

        assert_true(n >= 1);
        assert_int_equal(said[n - 1], -1);
        /* the answer to the ping is masked, with zeros */
        assert_int_equal(s.n_got, 9);
        assert_memory_equal(s.got,
                            "\x8a\x83\0\0\0\0"
                            "abc",
                            9);
    }
}

static void test_messages(void **state) {
    static const uint8_t frames[] = {0x81, 2, 'h', 'i', 0x8a, 0};
    static const uint8_t pong[] = {0x8a, 0, 0x01, 1, 'x'};
    struct server s = {.head = head_101,
                       .frames = frames,
                       .len = sizeof(frames),
                       .piece = sizeof(frames)};
    int said[8];

    (void) state;
    assert_int_equal(talk(&s, said), 2);
    assert_int_equal(said[0], 1);
    assert_int_equal(said[1], -1);

    /* neither a pong nor half a message is one */
    s = (struct server){.head = head_101,
                        .frames = pong,
                        .len = sizeof(pong),
                        .piece = sizeof(pong)};
    assert_int_equal(talk(&s, said), 1);
    assert_int_equal(said[0], -1);
}

/* A length that is never kept, a head that is none. */
static void test_bad_websocket(void **state) {
    static const uint8_t huge[] = {0x81, 127,  0xff, 0xff, 0xff, 0xff,
                                   0xff, 0xff, 0xff, 0xff, 'x'};
    static const uint8_t big_ping[] = {0x89, 126, 0x01, 0x00};
    struct server s = {
        .head = head_101, .frames = huge, .len = sizeof(huge), .piece = 3};
    int said[8];

    (void) state;
    assert_int_equal(talk(&s, said), 1);
    assert_int_equal(said[0], -1);

    s = (struct server){.head = head_101,
                        .frames = big_ping,
                        .len = sizeof(big_ping),
                        .piece = 4};
    assert_int_equal(talk(&s, said), 1);
    assert_int_equal(said[0], -1);

    s = (struct server){.head = "HTTP/1.1 200 OK\r\n\r\n",
                        .frames = huge,
                        .len = 0,
                        .piece = 1};
    assert_int_equal(talk(&s, said), 0);

    s = (struct server){
        .head = "nonsense", .frames = huge, .len = 0, .piece = 1};
    assert_int_equal(talk(&s, said), 0);
}

/* --- what a body may want -------------------------------------------------- */

static int parse(const char *text, bool creating, struct hai_call *call,
                 struct hai_change_request *change) {
    *call = (struct hai_call){0};
    call->body = json_loads(text, 0, NULL);
    assert_non_null(call->body);

    return hai_view_parse(call, creating, change);
}

static void end(struct hai_call *call, struct hai_change_request *change) {
    hai_change_request_free(change);
    json_decref(call->body);
    json_decref(call->data);
}

static void test_parse(void **state) {
    struct hai_change_request change;
    struct hai_call call;

    (void) state;
    assert_int_equal(parse("{\"name\": \"dev-env\", \"ai\": true, \"tags\": "
                           "[\"a\", \"b\"], \"comment\": null, \"limit_rpm\": "
                           "5, \"environment_vars\": {\"A\": \"1\"}}",
                           true, &call, &change),
                     0);
    assert_string_equal(change.name, "dev-env");
    assert_true(change.has_ai && change.ai);
    assert_string_equal(change.container.tags, "a b");
    assert_null(change.container.addresses);
    assert_int_equal(change.container.n_more, 3);
    end(&call, &change);

    /* any name */
    assert_int_equal(parse("{\"name\": \"rand\"}", true, &call, &change), 0);
    assert_null(change.name);
    end(&call, &change);

    /* of the platform, and nothing here */
    assert_int_equal(parse("{\"kvm\": true}", true, &call, &change), 0);
    assert_int_equal(change.container.n_more, 0);
    end(&call, &change);
}

static void test_bad_bodies(void **state) {
    static const char *const bad[] = {
        "{\"name\": \"a/../b\"}",
        "{\"name\": \"a.b.c\"}",
        "{\"project_id\": \"bbbbbbbbbbbbbbbbbbbbbbbb\"}",
        "{\"runtime\": \"docker\"}",
        "{\"runtime_id\": \"x\"}",
        "{\"version\": 1}",
        "{\"enabled\": true}",
        "{\"ai\": 1}",
        "{\"tags\": [\"a b\"]}",
        "{\"tags\": [1]}",
        "{\"comment\": \"a\\u0001b\"}",
        "{\"mac\": \"a\\nb\"}",
        "{\"color\": \"#12345g\"}",
        "{\"limit_rpm\": 1.5}",
        "{\"limit_rpm\": -1}",
        "{\"limit_rpm\": 1000000000000000000}",
        "{\"environment_vars\": {\"a=b\": \"x\"}}",
        "{\"environment_vars\": {\"a\": 1}}",
        "{\"environment_vars\": []}",
    };
    struct hai_change_request change;
    struct hai_call call;

    (void) state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_int_equal(parse(bad[i], true, &call, &change), -1);
        assert_int_equal(call.status, 400);
        end(&call, &change);
    }

    /* only at first */
    assert_int_equal(
        parse("{\"container_image\": \"x\"}", false, &call, &change), -1);
    end(&call, &change);
}

static void test_words(void **state) {
    (void) state;
    assert_true(hai_view_name_valid("abc"));
    assert_false(hai_view_name_valid("ab"));
    assert_false(hai_view_name_valid("a b"));
    assert_true(hai_view_id_valid("0123456789abcdef01234567"));
    assert_false(hai_view_id_valid("0123456789ABCDEF01234567"));
    assert_false(hai_view_id_valid("0123456789abcdef0123456"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_locks),     cmocka_unit_test(test_locks_shared),
        cmocka_unit_test(test_websocket), cmocka_unit_test(test_bad_websocket),
        cmocka_unit_test(test_parse),     cmocka_unit_test(test_bad_bodies),
        cmocka_unit_test(test_words),     cmocka_unit_test(test_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
