/* SOURCES: common/hai_identity.c */
/* LIBS: -lcmocka */

/*
 * The identity grammar: what is a token, an address, a cgroup match, and
 * above all what is not.
 */

#include "hai_identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* A copy of exactly the length, so that ASAN sees a read behind it. */
static char *exact(const char *s, size_t len) {
    char *p = malloc(len + (len == 0));

    assert_non_null(p);
    memcpy(p, s, len);
    return p;
}

static void test_token(void **state) {
    static const struct {
        const char *in;
        const char *x; /* NULL: refused */
    } cases[] = {
        {"container-dev-env", "dev-env"},
        {"container-42", "42"},
        {"container-_", "_"},
        {"container--", "-"},
        {"container-", NULL},
        {"container", NULL},
        {"", NULL},
        {"Container-a", NULL},
        {"container-a b", NULL},
        {"container-a.b", NULL},
        {"container-a/b", NULL},
        {" container-a", NULL},
        {"container-a\n", NULL},
        {"container-\xc3\xa4", NULL},
        {"sk-proj-1", NULL},
    };

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct hai_slice x;
        size_t len = strlen(cases[i].in);
        char *in = exact(cases[i].in, len);
        int rc = hai_token_parse(in, len, &x);

        assert_int_equal(rc, cases[i].x != NULL ? 0 : -1);
        if (rc == 0) {
            assert_int_equal(x.len, strlen(cases[i].x));
            assert_memory_equal(x.data, cases[i].x, x.len);
        }
        free(in);
    }
}

static void test_token_length(void **state) {
    char in[sizeof("container-") + HAI_NAME_MAX + 1];
    struct hai_slice x;

    (void) state;
    memset(in, 'a', sizeof(in));
    memcpy(in, "container-", 10);
    assert_int_equal(hai_token_parse(in, 10 + HAI_NAME_MAX, &x), 0);
    assert_int_equal(x.len, HAI_NAME_MAX);
    assert_int_equal(hai_token_parse(in, 11 + HAI_NAME_MAX, &x), -1);

    in[12] = '\0';
    assert_int_equal(hai_token_parse(in, 14, &x), -1);
}

static void test_bearer(void **state) {
    static const struct {
        const char *in;
        const char *x;
    } cases[] = {
        {"Bearer container-a", "a"},
        {"bearer container-a", "a"},
        {"BEARER   container-a", "a"},
        {"Bearer container-a \t ", "a"},
        {"Bearercontainer-a", NULL},
        {"Bearer\tcontainer-a", NULL},
        {"Bearer \tcontainer-a", NULL},
        {"Bearer container-a container-b", NULL},
        {"Bearer container-a,container-b", NULL},
        {"Bearer", NULL},
        {"Bearer ", NULL},
        {"Basic container-a", NULL},
        {"container-a", NULL},
        {" Bearer container-a", NULL},
        {"", NULL},
    };

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct hai_slice x;
        size_t len = strlen(cases[i].in);
        char *in = exact(cases[i].in, len);
        int rc = hai_bearer_parse(in, len, &x);

        assert_int_equal(rc, cases[i].x != NULL ? 0 : -1);
        if (rc == 0) {
            assert_int_equal(x.len, strlen(cases[i].x));
            assert_memory_equal(x.data, cases[i].x, x.len);
        }
        free(in);
    }
}

static void test_number(void **state) {
    (void) state;
    assert_true(hai_number_valid("0", 1));
    assert_true(hai_number_valid("10", 2));
    assert_false(hai_number_valid("01", 2));
    assert_false(hai_number_valid("", 0));
    assert_false(hai_number_valid("1a", 2));
    assert_false(hai_number_valid("-1", 2));
}

static void test_addr(void **state) {
    static const struct {
        const char *in;
        int len; /* 0: refused */
        int bits;
    } cases[] = {
        {"192.0.2.7", 4, 32},
        {"192.0.2.0/24", 4, 24},
        {"192.0.2.7/32", 4, 32},
        {"128.0.0.0/1", 4, 1},
        {"2001:db8::1", 16, 128},
        {"2001:db8::/64", 16, 64},
        {"::ffff:192.0.2.7", 4, 32},
        {"::ffff:192.0.2.0/120", 4, 24},
        {"::ffff:0:0/96", 16, 96},
        {"0.0.0.0/0", 0, 0},
        {"::/0", 0, 0},
        {"192.0.2.7/24", 0, 0},
        {"2001:db8::1/64", 0, 0},
        {"192.0.2.0/33", 0, 0},
        {"2001:db8::/129", 0, 0},
        {"192.0.2.0/", 0, 0},
        {"192.0.2.0/024", 0, 0},
        {"192.0.2.0/+24", 0, 0},
        {"192.0.2.0/24 ", 0, 0},
        {"192.0.2.0/24/24", 0, 0},
        {"192.0.2", 0, 0},
        {"192.0.2.07", 0, 0},
        {"192.0.2.256", 0, 0},
        {"0xc0.0.2.1", 0, 0},
        {"fe80::1%eth0", 0, 0},
        {"[::1]", 0, 0},
        {"localhost", 0, 0},
        {"/24", 0, 0},
        {"", 0, 0},
        {"1111:2222:3333:4444:5555:6666:123.123.123.1234567890", 0, 0},
    };

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct hai_addr addr;
        size_t len = strlen(cases[i].in);
        char *in = exact(cases[i].in, len);
        int rc = hai_addr_parse(in, len, &addr);

        assert_int_equal(rc, cases[i].len != 0 ? 0 : -1);
        if (rc == 0) {
            assert_int_equal(addr.len, cases[i].len);
            assert_int_equal(addr.bits, cases[i].bits);
        }
        free(in);
    }
}

static void test_addr_match(void **state) {
    static const struct {
        const char *prefix;
        const char *addr;
        bool match;
    } cases[] = {
        {"10.0.0.1", "10.0.0.1", true},
        {"10.0.0.1", "10.0.0.2", false},
        {"10.0.0.0/31", "10.0.0.1", true},
        {"10.0.0.0/31", "10.0.0.2", false},
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"fd00::/9", "fd7f::1", true},
        {"fd00::/9", "fd80::1", false},
        {"fd00::1", "fd00::1", true},
        {"::a00:1", "10.0.0.1", false},
        {"10.0.0.1", "::ffff:10.0.0.1", true},
    };

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct hai_addr prefix;
        struct hai_addr addr;

        assert_int_equal(
            hai_addr_parse(cases[i].prefix, strlen(cases[i].prefix), &prefix),
            0);
        assert_int_equal(
            hai_addr_parse(cases[i].addr, strlen(cases[i].addr), &addr), 0);
        assert_int_equal(hai_addr_match(&prefix, addr.bytes, addr.len),
                         cases[i].match);
    }
}

static void test_cgroup(void **state) {
    static const struct {
        const char *reg;
        const char *path;
        enum hai_cgroup_match match;
        size_t at;
    } cases[] = {
        {"/a/b", "/a/b", HAI_CGROUP_PATH, 0},
        {"/a/b", "/a/b/c", HAI_CGROUP_PATH, 0},
        {"/a/b", "/a/bc", HAI_CGROUP_NO, 0},
        {"/a/b", "/a", HAI_CGROUP_NO, 0},
        {"/a/b", "/x/a/b", HAI_CGROUP_NO, 0},
        {"/a/b/", "/a/b/c", HAI_CGROUP_NO, 0},
        {"/", "/a", HAI_CGROUP_NO, 0},
        {"//a", "//a", HAI_CGROUP_NO, 0},
        {"/a/../b", "/a/../b", HAI_CGROUP_NO, 0},
        {"b", "/a/b", HAI_CGROUP_BARE, 3},
        {"b", "/b/a/b", HAI_CGROUP_BARE, 1},
        {"b", "/a/b/c", HAI_CGROUP_BARE, 3},
        {"b", "/a/bb", HAI_CGROUP_NO, 0},
        {"b", "/a/ab", HAI_CGROUP_NO, 0},
        {"a/b", "/a/b", HAI_CGROUP_NO, 0},
        {"", "/a", HAI_CGROUP_NO, 0},
        {"b", "", HAI_CGROUP_NO, 0},
        {"b", "b", HAI_CGROUP_NO, 0},
        {"..", "/../b", HAI_CGROUP_NO, 0},
        {"b", "/../b", HAI_CGROUP_NO, 0},
        {"b", "/a/b (deleted)", HAI_CGROUP_NO, 0},
        {"/a/b", "/a/b (deleted)", HAI_CGROUP_NO, 0},
        {"b", "/", HAI_CGROUP_NO, 0},
    };

    (void) state;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t at = 0;
        size_t reg_len = strlen(cases[i].reg);
        size_t path_len = strlen(cases[i].path);
        char *reg = exact(cases[i].reg, reg_len);
        char *path = exact(cases[i].path, path_len);

        assert_int_equal(hai_cgroup_match(reg, reg_len, path, path_len, &at),
                         cases[i].match);
        if (cases[i].match == HAI_CGROUP_BARE) {
            assert_int_equal(at, cases[i].at);
        }
        free(reg);
        free(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token),  cmocka_unit_test(test_token_length),
        cmocka_unit_test(test_bearer), cmocka_unit_test(test_number),
        cmocka_unit_test(test_addr),   cmocka_unit_test(test_addr_match),
        cmocka_unit_test(test_cgroup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
