/* SOURCES: fcgi-backend/cli/firewall_registry.c */
/* SOURCES: fcgi-backend/cli/firewall_sets.c fcgi-backend/cli/firewall_text.c */
/* SOURCES: fcgi-backend/lib/redis.c fcgi-backend/lib/file.c */
/* SOURCES: common/hai_identity.c fcgi-backend/lib/log.c */
/* SOURCES: fcgi-backend/lib/redis_conf.c fcgi-backend/lib/redis_find.c */
/* SOURCES: fcgi-backend/lib/redis_feed.c common/hai_slot.c */
/* LIBS: -lcmocka -lhiredis -lpthread */
/* CFLAGS: -Ifcgi-backend */

/*
 * hoody-ai firewall: what of a container's fields gets into the sets, which
 * must never hold two ranges that overlap, and the difference of two of them.
 */

#include "cli/firewall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int warnings;

static void warn(const char *name, const char *reason) {
    assert_non_null(name);
    assert_non_null(reason);
    warnings++;
}

static size_t length(const char *s) {
    return s != NULL ? strlen(s) : 0;
}

/* Adds a container; the texts are copies of exactly their length. */
static void put(struct hai_fw_registry *r, const char *name,
                const char *addresses, const char *mac, const char *interface,
                const char *status) {
    const char *in[] = {addresses, mac, interface, status};
    char *copy[4];
    struct hai_fw_container c;

    for (int i = 0; i < 4; i++) {
        copy[i] =
            in[i] != NULL ? malloc(length(in[i]) + (*in[i] == '\0')) : NULL;
        if (copy[i] != NULL) {
            memcpy(copy[i], in[i], length(in[i]));
        }
    }
    assert_int_equal(hai_fw_container_read(&c, name, copy[0], length(in[0]),
                                           copy[1], length(in[1]), copy[2],
                                           length(in[2]), copy[3],
                                           length(in[3]), warn),
                     0);
    assert_int_equal(hai_fw_registry_put(r, &c), 0);
    for (int i = 0; i < 4; i++) {
        free(copy[i]);
    }
}

static void build(struct hai_fw_sets *sets, struct hai_fw_registry *r) {
    struct hai_fw_host host = {0};

    assert_int_equal(hai_fw_sets_build(sets, r, &host, warn), 0);
}

/* The elements of a set in one line, and those of the one of ranges. */
static const char *line(const struct hai_fw_sets *sets, enum hai_fw_set s) {
    static char text[8192];
    bool pair = s != HAI_FW_PORTS && s != HAI_FW_ANYMAC && s != HAI_FW_MACS
                && s + 1 < HAI_FW_SETS;
    size_t n = 0;

    text[0] = '\0';
    for (int j = 0; j <= pair; j++) {
        for (size_t i = 0; i < sets->set[s + j].n; i++) {
            n += (size_t) snprintf(text + n, sizeof(text) - n, "%s%s",
                                   n > 0 ? ", " : "", sets->set[s + j].item[i]);
        }
    }
    return text;
}

static void test_interface(void **state) {
    static const struct {
        const char *name;
        bool valid;
    } cases[] = {
        {"veth0", true},
        {"br-ai.100", true},
        {"a_b", true},
        {"x", true},
        {"", false},
        {".", false},
        {"..", false},
        {"a b", false},
        {"a\"b", false},
        {"a*", false},
        {"a\nb", false},
        {"a;b", false},
        {"a/b", false},
        {"a:1", false},
        {"\xc3\xa4", false},
        {"@ports", false},
        {"$x", false},
        {"123456789012345", true},
        {"1234567890123456", false},
    };

    (void) state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(
            hai_fw_interface_valid(cases[i].name, strlen(cases[i].name)),
            cases[i].valid);
    }
    assert_false(hai_fw_interface_valid("a\0b", 3));
}

/* What is not valid gives nothing: the interface is held all the same. */
static void test_fields(void **state) {
    static const char *const macs[] = {
        "02:00:00:00:00:0g",    "02:00:00:00:00:0",  "02-00-00-00-00-01",
        "01:00:00:00:00:01",    "00:00:00:00:00:00", "02:00:00:00:00:01 ",
        "02:00:00:00:00:01:02", "\" drop",           "ff:ff:ff:ff:ff:ff"};
    struct hai_fw_registry r = {0};
    struct hai_fw_sets sets;
    char name[8], interface[8];

    (void) state;
    for (size_t i = 0; i < sizeof(macs) / sizeof(macs[0]); i++) {
        snprintf(name, sizeof(name), "m%zu", i);
        snprintf(interface, sizeof(interface), "v%zu", i);
        put(&r, name, "192.0.2.1", macs[i], interface, NULL);
    }
    put(&r, "bad", "192.0.2.2", NULL, "a\"; drop", NULL);
    put(&r, "stopped", "192.0.2.3", "02:00:00:00:00:01", "w", "stopped");
    put(&r, "odd",
        "192.0.2.4 x 192.0.2.4/33 0.0.0.0 224.0.0.1 :: ff02::1 "
        "127.0.0.1 ::1",
        "02:00:00:00:00:02", "x", "running");
    build(&sets, &r);
    assert_string_equal(line(&sets, HAI_FW_PORTS),
                        "\"v0\", \"v1\", \"v2\", \"v3\", \"v4\", \"v5\", "
                        "\"v6\", \"v7\", \"v8\", \"w\", \"x\"");
    assert_string_equal(line(&sets, HAI_FW_IP4),
                        "\"x\" . 02:00:00:00:00:02 . 192.0.2.4");
    assert_string_equal(line(&sets, HAI_FW_IP6), "");
    assert_string_equal(line(&sets, HAI_FW_OWNED4),
                        "192.0.2.1, 192.0.2.2, 192.0.2.4");
    assert_string_equal(line(&sets, HAI_FW_ANYMAC), "");
    hai_fw_sets_free(&sets);
    hai_fw_registry_free(&r);
}

/* A prefix takes in what lies inside, of its owner only. */
static void test_overlap(void **state) {
    struct hai_fw_registry r = {0};
    struct hai_fw_sets sets;

    (void) state;
    put(&r, "a", "10.0.0.7 10.0.0.0/24 10.0.0.0/25 10.0.1.0/24 10.0.0.7",
        "02:00:00:00:00:01", "v", NULL);
    put(&r, "b", "10.0.0.7 10.0.0.128/25", "02:00:00:00:00:02", "v", NULL);
    put(&r, "c", "2001:db8::/64 2001:db8::1 fe80::1", "02:00:00:00:00:03", "w",
        NULL);
    build(&sets, &r);
    assert_string_equal(line(&sets, HAI_FW_IP4),
                        "\"v\" . 02:00:00:00:00:02 . 10.0.0.7, "
                        "\"v\" . 02:00:00:00:00:01 . 10.0.0.0/24, "
                        "\"v\" . 02:00:00:00:00:01 . 10.0.1.0/24, "
                        "\"v\" . 02:00:00:00:00:02 . 10.0.0.128/25");
    assert_string_equal(line(&sets, HAI_FW_OWNED4), "10.0.0.0/24, 10.0.1.0/24");
    assert_string_equal(
        line(&sets, HAI_FW_ND),
        "\"w\" . 02:00:00:00:00:03 . 0xfe800000000000000000000000000001, "
        "\"w\" . 02:00:00:00:00:03 . 0xfe80000000000000000000fffe000003, "
        "\"w\" . 02:00:00:00:00:03 . 0x20010db8000000000000000000000000-"
        "0x20010db800000000ffffffffffffffff");
    assert_string_equal(line(&sets, HAI_FW_ROUTED6), "2001:db8::/64");
    hai_fw_sets_free(&sets);
    hai_fw_registry_free(&r);
}

/* Who has no MAC shares its interface with nobody who has one. */
static void test_any_mac(void **state) {
    struct hai_fw_registry r = {0};
    struct hai_fw_sets sets;

    (void) state;
    put(&r, "alone", "10.0.0.1", NULL, "v", NULL);
    put(&r, "shared", "10.0.0.2", NULL, "w", NULL);
    put(&r, "owner", "10.0.0.3", "02:00:00:00:00:01", "w", NULL);
    warnings = 0;
    build(&sets, &r);
    assert_int_equal(warnings, 1);
    assert_string_equal(line(&sets, HAI_FW_ANYMAC), "\"v\"");
    assert_string_equal(line(&sets, HAI_FW_IP4),
                        "\"w\" . 02:00:00:00:00:01 . 10.0.0.3, \"v\" . "
                        "00:00:00:00:00:00-ff:ff:ff:ff:ff:ff . 10.0.0.1");
    assert_string_equal(line(&sets, HAI_FW_OWNED4),
                        "10.0.0.1, 10.0.0.2, 10.0.0.3");
    hai_fw_sets_free(&sets);

    /* it is said once */
    build(&sets, &r);
    assert_int_equal(warnings, 1);
    hai_fw_sets_free(&sets);
    hai_fw_registry_free(&r);
}

static char *text_of_delta(const struct hai_fw_sets *from,
                           const struct hai_fw_sets *to, size_t *n) {
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    *n = hai_fw_delta(out, from, to);
    fclose(out);
    return text;
}

static void test_delta(void **state) {
    struct hai_fw_registry r = {0};
    struct hai_fw_sets before, after;
    char *text;
    size_t n;

    (void) state;
    put(&r, "a", "10.0.0.1", "02:00:00:00:00:01", "v", NULL);
    put(&r, "b", "10.0.0.2", "02:00:00:00:00:02", "w", NULL);
    build(&before, &r);
    text = text_of_delta(&before, &before, &n);
    assert_int_equal(n, 0);
    assert_string_equal(text, "");
    free(text);

    put(&r, "a", "10.0.0.3", "02:00:00:00:00:01", "v", NULL);
    hai_fw_registry_drop(&r, "b");
    hai_fw_registry_drop(&r, "nobody");
    assert_int_equal(r.n, 1);
    build(&after, &r);
    text = text_of_delta(&before, &after, &n);
    assert_non_null(strstr(text, "delete element bridge hoody_ai ports {\n"
                                 "\"w\"\n}\n"));
    assert_non_null(strstr(text, "delete element inet hoody_ai pin4 {\n"
                                 "\"v\" . 02:00:00:00:00:01 . 10.0.0.1,\n"
                                 "\"w\" . 02:00:00:00:00:02 . 10.0.0.2\n}\n"
                                 "add element inet hoody_ai pin4 {\n"
                                 "\"v\" . 02:00:00:00:00:01 . 10.0.0.3\n}\n"));
    assert_null(strstr(text, "add element bridge hoody_ai ports"));
    free(text);
    hai_fw_sets_free(&before);
    hai_fw_sets_free(&after);
    hai_fw_registry_free(&r);
}

/* Too many, too long: none. */
static void test_limits(void **state) {
    struct hai_fw_registry r = {0};
    struct hai_fw_sets sets;
    char *text = malloc(20000);
    size_t n = 0;

    (void) state;
    assert_non_null(text);
    for (int i = 0; i < 257; i++) {
        n += (size_t) snprintf(text + n, 20000 - n, "10.0.%d.%d ", i / 200,
                               i % 200 + 1);
    }
    put(&r, "many", text, "02:00:00:00:00:01", "v", NULL);
    memset(text, ' ', 16 * 1024 + 1);
    memcpy(text, "10.1.0.1", 8);
    text[16 * 1024 + 1] = '\0';
    put(&r, "long", text, "02:00:00:00:00:02", "w", NULL);
    build(&sets, &r);
    assert_string_equal(line(&sets, HAI_FW_IP4), "");
    assert_string_equal(line(&sets, HAI_FW_PORTS), "\"v\", \"w\"");
    hai_fw_sets_free(&sets);
    hai_fw_registry_free(&r);
    free(text);
}

/* Any bytes: nothing but the characters of elements comes out. */
static void test_random(void **state) {
    static const char some[] = "0123456789abcdef:./ \"*;{}\n\t\\$#@-vx\xff";
    char field[4][40];

    (void) state;
    srandom(7);
    for (int round = 0; round < 3000; round++) {
        struct hai_fw_registry r = {0};
        struct hai_fw_sets sets;

        for (int f = 0; f < 4; f++) {
            size_t n = (size_t) random() % sizeof(field[f]);

            for (size_t i = 0; i < n; i++) {
                field[f][i] = some[(size_t) random() % (sizeof(some) - 1)];
            }
            field[f][n < sizeof(field[f]) ? n : n - 1] = '\0';
        }
        put(&r, "c", field[0], round % 3 ? "02:00:00:00:00:01" : field[1],
            round % 2 ? "v" : field[2], round % 5 ? NULL : field[3]);
        build(&sets, &r);
        for (int s = 0; s < HAI_FW_SETS; s++) {
            assert_int_equal(strspn(line(&sets, (enum hai_fw_set) s),
                                    "0123456789abcdefvx:./-_\" ,"),
                             strlen(line(&sets, (enum hai_fw_set) s)));
        }
        hai_fw_sets_free(&sets);
        hai_fw_registry_free(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_interface), cmocka_unit_test(test_fields),
        cmocka_unit_test(test_overlap),   cmocka_unit_test(test_any_mac),
        cmocka_unit_test(test_delta),     cmocka_unit_test(test_limits),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
