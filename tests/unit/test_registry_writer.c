/* SOURCES: fcgi-backend/lib/registry_writer.c fcgi-backend/lib/registry_call.c */
/* SOURCES: fcgi-backend/lib/registry_schema.c fcgi-backend/lib/redis.c */
/* SOURCES: fcgi-backend/lib/file.c fcgi-backend/lib/log.c */
/* SOURCES: fcgi-backend/lib/redis_conf.c fcgi-backend/lib/redis_find.c */
/* SOURCES: fcgi-backend/lib/redis_feed.c common/hai_slot.c */
/* LIBS: -lhiredis -lpthread */
/*
 * The C interface of the registry's writer against a Redis of its own.  What
 * the functions themselves do is shown by tests/nginx/functions.t.
 *
 * HAI_REGISTRY_CONTAINERS=100000 creates as many, and says how long it took.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/registry_library.h"
#include "lib/registry_writer.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* what the Makefile makes of it for the programs */
__asm__(".section .rodata\n"
        ".global hai_registry_library\n"
        "hai_registry_library:\n"
        ".incbin \"redis-schema/hoody_ai.lua\"\n"
        ".byte 0\n"
        ".previous\n");

static char folder[] = "/tmp/hai-writer.XXXXXX";
static char path[64];
static pid_t server;
static struct hai_registry_writer w;
static struct hai_write_result result;

static void start(void) {
    server = fork();
    assert_true(server >= 0);
    if (server == 0) {
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket",
               path, "--dir", folder, "--save", "", "--loglevel", "warning",
               "--logfile", "redis.log", (char *) NULL);
        _exit(127);
    }
}

static redisContext *connect_to(void) {
    struct timeval timeout = {10, 0};
    const struct timespec pause = {0, 10000000};
    int i;

    for (i = 0; i < 1000; i++) {
        redisContext *c = redisConnectUnixWithTimeout(path, timeout);

        if (c != NULL && !c->err && redisSetTimeout(c, timeout) == REDIS_OK) {
            return c;
        }
        redisFree(c);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static int set_up(void **state) {
    char error[256];
    redisContext *c;

    (void) state;
    signal(SIGPIPE, SIG_IGN); /* as the programs do */
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/s", folder);
    start();
    c = connect_to();
    assert_non_null(c);
    if (hai_registry_writer_init(&w, c, "unit", error, sizeof(error)) != 0) {
        fail_msg("%s", error);
    }
    return 0;
}

static int tear_down(void **state) {
    char log[80];

    (void) state;
    redisFree(w.c);
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    snprintf(log, sizeof(log), "%s/redis.log", folder);
    unlink(log);
    unlink(path);
    rmdir(folder);
    return 0;
}

static struct hai_container container(const char *name, const char *id) {
    return (struct hai_container){.name = name, .id = id};
}

static void test_life(void **state) {
    struct hai_container a = container("dev-env", "0123456789abcdef01234567");
    const struct hai_container_field more[] = {{"comment", "a b", 3}};
    struct hai_container_read read;
    uint64_t version;
    char name[101];
    size_t len;

    (void) state;
    a.number = "7";
    a.addresses = "192.0.2.7 2001:db8::7";
    a.ai = HAI_AI_ON;
    a.more = more;
    a.n_more = 1;
    assert_int_equal(hai_registry_create(&w, &a, NULL, &result), HAI_WRITE_OK);
    assert_true(result.changed);
    assert_false(result.ignored);
    assert_true(result.version > 0);
    version = result.version;

    assert_int_equal(hai_registry_read(&w, "dev-env", &read, &result),
                     HAI_WRITE_OK);
    assert_true(read.exists);
    assert_true(read.enabled);
    assert_true(read.version == version);
    assert_string_equal(hai_registry_read_field(&read, "comment", &len), "a b");
    assert_int_equal(len, 3);
    assert_string_equal(hai_registry_read_field(&read, "status", NULL),
                        "running");
    assert_null(hai_registry_read_field(&read, "tags", NULL));
    hai_registry_read_free(&read);

    assert_int_equal(hai_registry_find_id(&w, a.id, name, &result),
                     HAI_WRITE_OK);
    assert_string_equal(name, "dev-env");
    assert_int_equal(
        hai_registry_find_id(&w, "ffffffffffffffffffffffff", name, &result),
        HAI_WRITE_NOT_FOUND);
    assert_int_equal(hai_registry_find_id(&w, "*", name, &result),
                     HAI_WRITE_INVALID);

    assert_int_equal(hai_registry_create(&w, &a, NULL, &result),
                     HAI_WRITE_EXISTS);
    assert_int_equal(hai_registry_disable(&w, "dev-env", NULL, &result),
                     HAI_WRITE_OK);
    assert_true(result.version > version);
    assert_int_equal(hai_registry_enable(&w, "dev-env", NULL, &result),
                     HAI_WRITE_OK);
    assert_int_equal(
        hai_registry_set_addresses(&w, "dev-env", "192.0.2.8", NULL, &result),
        HAI_WRITE_OK);
    a = (struct hai_container){.name = "dev-env", .id = a.id, .tags = "new"};
    assert_int_equal(hai_registry_rename(&w, &a, "other", NULL, &result),
                     HAI_WRITE_OK);
    assert_int_equal(hai_registry_find_id(&w, a.id, name, &result),
                     HAI_WRITE_OK);
    assert_string_equal(name, "other");

    /* "" takes a field away, NULL leaves it */
    a = (struct hai_container){.name = "other", .number = "", .tags = "x y"};
    assert_int_equal(hai_registry_update(&w, &a, NULL, &result), HAI_WRITE_OK);
    assert_int_equal(hai_registry_read(&w, "other", &read, &result),
                     HAI_WRITE_OK);
    assert_null(hai_registry_read_field(&read, "number", NULL));
    assert_string_equal(hai_registry_read_field(&read, "tags", NULL), "x y");
    assert_string_equal(hai_registry_read_field(&read, "addresses", NULL),
                        "192.0.2.8");
    hai_registry_read_free(&read);

    assert_int_equal(hai_registry_delete(&w, "other", NULL, &result),
                     HAI_WRITE_OK);
    assert_true(result.changed);
    assert_int_equal(hai_registry_delete(&w, "other", NULL, &result),
                     HAI_WRITE_OK);
    assert_false(result.changed);
    assert_int_equal(hai_registry_read(&w, "other", &read, &result),
                     HAI_WRITE_OK);
    assert_false(read.exists);
    hai_registry_read_free(&read);
}

static void test_errors(void **state) {
    struct hai_container a = container("a", "aaaaaaaaaaaaaaaaaaaaaaaa");
    struct hai_container b = container("b", "bbbbbbbbbbbbbbbbbbbbbbbb");
    const struct hai_container_field option[] = {{"@now", "1", 1}};
    struct hai_write_options how = {0};
    char name[200];
    uint64_t version;

    (void) state;
    a.addresses = "192.0.2.0/24";
    assert_int_equal(hai_registry_create(&w, &a, NULL, &result), HAI_WRITE_OK);
    version = result.version;
    b.addresses = "192.0.2.77";
    assert_int_equal(hai_registry_create(&w, &b, NULL, &result),
                     HAI_WRITE_TAKEN);
    assert_string_equal(result.field, "addresses");
    assert_string_equal(result.value, "192.0.2.77");
    assert_string_equal(result.owner, "a");

    b.addresses = "192.0.2.256";
    assert_int_equal(hai_registry_create(&w, &b, NULL, &result),
                     HAI_WRITE_INVALID);
    assert_string_equal(result.field, "addresses");
    assert_string_equal(result.text, "addresses: 192.0.2.256 is no address");

    b.addresses = NULL;
    assert_int_equal(hai_registry_update(&w, &b, NULL, &result),
                     HAI_WRITE_NOT_FOUND);
    b.more = option;
    b.n_more = 1;
    assert_int_equal(hai_registry_create(&w, &b, NULL, &result),
                     HAI_WRITE_INVALID);

    how.if_version = version + 1;
    assert_int_equal(hai_registry_enable(&w, "a", &how, &result),
                     HAI_WRITE_CONFLICT);
    assert_true(result.version == version);

    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(hai_registry_delete(&w, name, NULL, &result),
                     HAI_WRITE_INVALID);
    assert_int_equal(hai_registry_delete(&w, "a b", NULL, &result),
                     HAI_WRITE_INVALID);
    assert_int_equal(hai_registry_delete(&w, "", NULL, &result),
                     HAI_WRITE_INVALID);

    how = (struct hai_write_options){.source_version = UINT64_MAX,
                                     .now_ms = 1234567890123};
    assert_int_equal(hai_registry_update(&w, &a, &how, &result), HAI_WRITE_OK);
    assert_false(result.changed);
    how.source_version--;
    assert_int_equal(hai_registry_update(&w, &a, &how, &result), HAI_WRITE_OK);
    assert_true(result.ignored);
}

static void ask(const char *command) {
    redisReply *reply = redisCommand(w.c, command);

    assert_non_null(reply);
    assert_int_not_equal(reply->type, REDIS_REPLY_ERROR);
    freeReplyObject(reply);
}

/* What init() finds, and what each writer hears where it was not called. */
static void test_init(void **state) {
    char error[256];
    struct hai_container a = container("a", NULL);

    (void) state;
    ask("SET hoody:{unit}:schema 3");
    assert_int_equal(
        hai_registry_writer_init(&w, w.c, "unit", error, sizeof(error)), -1);
    assert_non_null(strstr(error, "newer"));
    assert_int_equal(hai_registry_update(&w, &a, NULL, &result),
                     HAI_WRITE_SCHEMA);

    ask("DEL hoody:{unit}:schema");
    assert_int_equal(
        hai_registry_writer_init(&w, w.c, "unit", error, sizeof(error)), -1);
    assert_non_null(strstr(error, "registry migrate"));

    ask("SET hoody:{unit}:schema 2");
    ask("FUNCTION FLUSH");
    assert_int_equal(hai_registry_update(&w, &a, NULL, &result),
                     HAI_WRITE_LIBRARY);
    assert_int_equal(
        hai_registry_writer_init(&w, w.c, "unit", error, sizeof(error)), 0);
    assert_int_equal(hai_registry_update(&w, &a, NULL, &result), HAI_WRITE_OK);

    ask("DEL hoody:{unit}:events");
    ask("SET hoody:{unit}:events x");
    a.tags = "other";
    assert_int_equal(hai_registry_update(&w, &a, NULL, &result),
                     HAI_WRITE_BROKEN);
    ask("DEL hoody:{unit}:events");
}

static double seconds(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static void test_many(void **state) {
    const char *wanted = getenv("HAI_REGISTRY_CONTAINERS");
    size_t n = wanted != NULL ? strtoul(wanted, NULL, 10) : 2000;
    size_t sent = 0, done;
    double begun = seconds();

    (void) state;
    for (done = 0; done < n; done++) {
        while (sent < n && sent < done + 256) {
            char name[32], id[32], number[32], addresses[80];
            const struct hai_container c = {.name = name,
                                            .id = id,
                                            .number = number,
                                            .addresses = addresses,
                                            .tags = "prod eu",
                                            .ai = HAI_AI_ON};
            unsigned i = (unsigned) sent;

            snprintf(name, sizeof(name), "many-%u", i);
            snprintf(id, sizeof(id), "%024x", i);
            snprintf(number, sizeof(number), "%u", i + 100);
            snprintf(addresses, sizeof(addresses),
                     "10.%u.%u.%u 2001:db8::%x:%x", i >> 16, i >> 8 & 0xff,
                     i & 0xff, i >> 16, i & 0xffff);
            assert_int_equal(hai_registry_send(&w, true, &c, NULL, &result),
                             HAI_WRITE_OK);
            sent++;
        }
        assert_int_equal(hai_registry_receive(&w, &result), HAI_WRITE_OK);
        assert_true(result.changed);
    }
    print_message("# %zu containers created in %.2f s\n", n, seconds() - begun);
}

/* Last: Redis is gone. */
static void test_gone(void **state) {
    struct hai_container a = container("a", NULL);

    (void) state;
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    assert_int_equal(hai_registry_update(&w, &a, NULL, &result),
                     HAI_WRITE_REDIS);
    assert_int_not_equal(w.c->err, 0);
    assert_true(result.text[0] != '\0');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life), cmocka_unit_test(test_errors),
        cmocka_unit_test(test_init), cmocka_unit_test(test_many),
        cmocka_unit_test(test_gone),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
