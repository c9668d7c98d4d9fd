/* SOURCES: fcgi-backend/lib/redis.c fcgi-backend/lib/file.c */
/* LIBS: -lhiredis */

/*
 * What --redis says, and what is said where nobody or nothing fit answers.
 * The feed is tested with the programs, against a real Redis.
 */

#include "lib/redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char error[256];

static void test_defaults(void **state) {
    struct hai_redis_conf conf;

    (void) state;
    assert_int_equal(
        hai_redis_conf_parse(&conf, HAI_REDIS_DEFAULT, error, sizeof(error)),
        0);
    assert_null(conf.path);
    assert_string_equal(conf.host, "127.0.0.1");
    assert_int_equal(conf.port, 6379);
    assert_int_equal(conf.db, 0);
    assert_null(conf.user);
    assert_int_equal(conf.connect_timeout_ms, 1000);
    assert_int_equal(conf.max_stale_ms, 5000);
    hai_redis_conf_free(&conf);
}

static void test_all(void **state) {
    struct hai_redis_conf conf;

    (void) state;
    assert_int_equal(
        hai_redis_conf_parse(&conf,
                             "unix:/run/redis.sock db=3  user=engine "
                             "password_file=/etc/p connect_timeout=250ms "
                             "max_stale=2m",
                             error, sizeof(error)),
        0);
    assert_string_equal(conf.path, "/run/redis.sock");
    assert_null(conf.host);
    assert_int_equal(conf.db, 3);
    assert_string_equal(conf.user, "engine");
    assert_string_equal(conf.password_file, "/etc/p");
    assert_int_equal(conf.connect_timeout_ms, 250);
    assert_int_equal(conf.max_stale_ms, 120000);
    hai_redis_conf_free(&conf);
}

static void test_addresses(void **state) {
    static const struct {
        const char *text, *host;
        int port;
    } table[] = {
        {"redis.example.com:7000", "redis.example.com", 7000},
        {"localhost", "localhost", 6379},
        {"[::1]:7000", "::1", 7000},
        {"[::1]", "::1", 6379},
    };
    struct hai_redis_conf conf;
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(
            hai_redis_conf_parse(&conf, table[i].text, error, sizeof(error)),
            0);
        assert_string_equal(conf.host, table[i].host);
        assert_int_equal(conf.port, table[i].port);
        hai_redis_conf_free(&conf);
    }
}

static void test_wrong(void **state) {
    static const char *const table[] = {
        "",
        "unix:relative",
        "host:0",
        "host:65536",
        "host:port",
        ":6379",
        "host db=-1",
        "host db=",
        "host db=1x",
        "host user=",
        "host user=u",
        "host timeout=1s",
        "host connect_timeout=0",
        "host connect_timeout=5d",
        "host max_stale=99999999h",
        "host db",
        "host host2",
    };
    struct hai_redis_conf conf;
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        error[0] = '\0';
        if (hai_redis_conf_parse(&conf, table[i], error, sizeof(error)) != -1) {
            fail_msg("\"%s\" is accepted", table[i]);
        }
        assert_true(strlen(error) > 0);
    }
}

static void test_nobody(void **state) {
    struct hai_redis_conf conf;

    (void) state;
    assert_int_equal(hai_redis_conf_parse(&conf, "unix:/nonexistent/r.sock",
                                          error, sizeof(error)),
                     0);
    assert_null(hai_redis_connect(&conf, "test", error, sizeof(error)));
    assert_non_null(strstr(error, "No such file"));
    hai_redis_conf_free(&conf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),  cmocka_unit_test(test_all),
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_nobody),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
