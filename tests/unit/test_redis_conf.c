/* SOURCES: fcgi-backend/lib/redis.c fcgi-backend/lib/redis_conf.c */
/* SOURCES: fcgi-backend/lib/redis_find.c fcgi-backend/lib/redis_feed.c */
/* SOURCES: fcgi-backend/lib/file.c fcgi-backend/lib/log.c common/hai_slot.c */
/* LIBS: -lhiredis -lpthread */

/*
 * What --redis says, and what is said where nobody or nothing fit answers.
 * The feed, Sentinel and Cluster are tested with the programs, against a real
 * Redis.
 */

#include "hai_slot.h"
#include "lib/redis.h"
#include "lib/redis_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char error[256];

static int parse(struct hai_redis_conf *conf, const char *text) {
    error[0] = '\0';
    return hai_redis_conf_parse(conf, text, "node1", error, sizeof(error));
}

static void test_defaults(void **state) {
    struct hai_redis_conf conf;

    (void) state;
    assert_int_equal(parse(&conf, HAI_REDIS_DEFAULT), 0);
    assert_int_equal(conf.mode, HAI_REDIS_FIXED);
    assert_int_equal(conf.n, 1);
    assert_string_equal(conf.address[0].name, "127.0.0.1");
    assert_int_equal(conf.address[0].port, 6379);
    assert_int_equal(conf.db, 0);
    assert_null(conf.user);
    assert_null(conf.events);
    assert_null(conf.known);
    assert_int_equal(conf.connect_timeout_ms, 1000);
    assert_int_equal(conf.max_stale_ms, 5000);
    hai_redis_conf_free(&conf);
}

static void test_all(void **state) {
    struct hai_redis_conf conf;

    (void) state;
    assert_int_equal(parse(&conf, "unix:/run/redis.sock db=3  user=engine "
                                  "password_file=/etc/p connect_timeout=250ms "
                                  "max_stale=2m"),
                     0);
    assert_string_equal(conf.address[0].name, "/run/redis.sock");
    assert_int_equal(conf.address[0].port, 0);
    assert_int_equal(conf.db, 3);
    assert_string_equal(conf.user, "engine");
    assert_string_equal(conf.password_file, "/etc/p");
    assert_int_equal(conf.connect_timeout_ms, 250);
    assert_int_equal(conf.max_stale_ms, 120000);
    hai_redis_conf_free(&conf);
}

static void test_addresses(void **state) {
    static const struct {
        const char *text, *name;
        int port;
    } table[] = {
        {"redis.example.com:7000", "redis.example.com", 7000},
        {"localhost", "localhost", 6379},
        {"[::1]:7000", "::1", 7000},
        {"[::1]", "::1", 6379},
        {"unix:/run/a=b", "/run/a=b", 0},
        {"db=1 localhost", "localhost", 6379},
    };
    struct hai_redis_conf conf;
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(parse(&conf, table[i].text), 0);
        assert_string_equal(conf.address[0].name, table[i].name);
        assert_int_equal(conf.address[0].port, table[i].port);
        hai_redis_conf_free(&conf);
    }
}

static void test_sentinel(void **state) {
    struct hai_redis_conf conf;

    (void) state;
    assert_int_equal(parse(&conf,
                           "sentinel=registry 192.0.2.1 [2001:db8::1]:5000 "
                           "s.example.com:5001 unix:/run/s.sock db=2 "
                           "user=engine password_file=/etc/p "
                           "sentinel_user=asks sentinel_password_file=/etc/s"),
                     0);
    assert_int_equal(conf.mode, HAI_REDIS_SENTINEL);
    assert_string_equal(conf.master, "registry");
    assert_int_equal(conf.n, 4);
    assert_string_equal(conf.address[0].name, "192.0.2.1");
    assert_int_equal(conf.address[0].port, 26379);
    assert_string_equal(conf.address[1].name, "2001:db8::1");
    assert_int_equal(conf.address[1].port, 5000);
    assert_string_equal(conf.address[2].name, "s.example.com");
    assert_int_equal(conf.address[2].port, 5001);
    assert_string_equal(conf.address[3].name, "/run/s.sock");
    assert_int_equal(conf.address[3].port, 0);
    assert_int_equal(conf.db, 2);
    assert_string_equal(conf.sentinel_user, "asks");
    assert_string_equal(conf.sentinel_password_file, "/etc/s");
    assert_string_equal(conf.events, "hoody:{node1}:events");
    assert_non_null(conf.known);
    hai_redis_conf_free(&conf);
}

static void test_cluster(void **state) {
    struct hai_redis_conf conf;

    (void) state;
    assert_int_equal(parse(&conf, "cluster=on 192.0.2.1 192.0.2.2:7001 db=0"),
                     0);
    assert_int_equal(conf.mode, HAI_REDIS_CLUSTER);
    assert_int_equal(conf.n, 2);
    assert_int_equal(conf.address[0].port, 6379);
    assert_int_equal(conf.address[1].port, 7001);
    assert_string_equal(conf.events, "hoody:{node1}:events");
    assert_int_equal(conf.slot, hai_slot("node1", 5));
    hai_redis_conf_free(&conf);
}

/* What CLUSTER KEYSLOT of Redis 7.0.15 says. */
static void test_slots(void **state) {
    static const struct {
        const char *tag;
        unsigned slot;
    } table[] = {{"foo", 12182},
                 {"bar", 5061},
                 {"node1", 3662},
                 {"sys", 15725},
                 {"", 0}};
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(hai_slot(table[i].tag, strlen(table[i].tag)),
                         table[i].slot);
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
        "::1",
        "user@host",
        "host/path",
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
        "sentinel=m",
        "sentinel= host",
        "sentinel=m db=1",
        "sentinel=m cluster=on host",
        "sentinel=m host sentinel_user=u",
        "sentinel=m host user=u",
        "sentinel=m host host:0",
        "cluster=on",
        "cluster=off host",
        "cluster= host",
        "cluster=on host db=1",
        "cluster=on host sentinel_user=u sentinel_password_file=/p",
        "host sentinel_password_file=/p",
        "cluster=on 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17",
    };
    struct hai_redis_conf conf;
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (parse(&conf, table[i]) != -1) {
            fail_msg("\"%s\" is accepted", table[i]);
        }
        assert_true(strlen(error) > 0);
    }
}

/* A password where none belongs. */
static void test_password(void **state) {
    static const char *const table[] = {
        "host password=s3cret",
        "host db=s3cret",
        "host s3cret",
        "redis://user:s3cret@host:6379",
        "user:s3cret@host",
        "host:s3cret",
        "host s3cret=",
        "unix:s3cret",
        "sentinel=m host s3cret:",
        "cluster=s3cret host",
        "host max_stale=s3cret",
    };
    struct hai_redis_conf conf;
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(parse(&conf, table[i]), -1);
        assert_true(strlen(error) > 0);
        if (strstr(error, "s3cret") != NULL) {
            fail_msg("\"%s\": %s", table[i], error);
        }
    }
}

static void test_text(void **state) {
    static const char *const table[] = {"192.0.2.1:1", "[2001:db8::1]:2",
                                        "unix:/run/r.sock"};
    struct hai_redis_conf conf;
    char text[300];
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(parse(&conf, table[i]), 0);
        hai_redis_address_text(&conf.address[0], text, sizeof(text));
        assert_string_equal(text, table[i]);
        hai_redis_conf_free(&conf);
    }
}

static void test_nobody(void **state) {
    static const char *const table[] = {
        "unix:/nonexistent/r.sock",
        "sentinel=m unix:/nonexistent/r.sock unix:/nonexistent/s.sock",
        "cluster=on unix:/nonexistent/r.sock unix:/nonexistent/s.sock",
    };
    struct hai_redis_conf conf;
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(parse(&conf, table[i]), 0);
        assert_null(hai_redis_connect(&conf, "test", error, sizeof(error)));
        assert_non_null(strstr(error, "No such file"));
        hai_redis_conf_free(&conf);
    }
}

static void test_elsewhere(void **state) {
    (void) state;
    assert_true(hai_redis_elsewhere("MOVED 3999 192.0.2.1:6381"));
    assert_true(hai_redis_elsewhere("ASK 3999 192.0.2.1:6381"));
    assert_true(hai_redis_elsewhere("READONLY You can't write"));
    assert_true(hai_redis_elsewhere("NOREPLICAS Not enough"));
    assert_true(hai_redis_elsewhere("CLUSTERDOWN Hash slot not served"));
    assert_true(hai_redis_elsewhere("TRYAGAIN"));
    assert_false(hai_redis_elsewhere("ASKING"));
    assert_false(hai_redis_elsewhere("NOGROUP No such key"));
    assert_false(hai_redis_elsewhere(""));
}

static void test_pause(void **state) {
    struct hai_redis_conf fixed, sentinel;
    int ms = 0, i;

    (void) state;
    assert_int_equal(parse(&fixed, "host"), 0);
    assert_int_equal(parse(&sentinel, "sentinel=m host"), 0);

    for (i = 0; i < 10; i++) {
        ms = hai_redis_pause(&fixed, ms, 100, 5000);
    }
    assert_int_equal(ms, 5000);
    assert_int_equal(hai_redis_pause(&sentinel, 0, 100, 5000), 100);
    assert_int_equal(hai_redis_pause(&sentinel, 400, 100, 5000), 500);

    hai_redis_conf_free(&fixed);
    hai_redis_conf_free(&sentinel);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),  cmocka_unit_test(test_all),
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_sentinel),
        cmocka_unit_test(test_cluster),   cmocka_unit_test(test_slots),
        cmocka_unit_test(test_wrong),     cmocka_unit_test(test_password),
        cmocka_unit_test(test_text),      cmocka_unit_test(test_nobody),
        cmocka_unit_test(test_elsewhere), cmocka_unit_test(test_pause),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
