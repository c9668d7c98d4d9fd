/* SOURCES: fcgi-backend/cli/redis_version.c */

/* Versions of Redis that hoody-ai doctor takes, warns of, or refuses. */

#include "cli/redis_version.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void versions(void **state) {
    static const struct {
        const char *version;
        int wrong; /* 1: warned of, 2: refused */
    } cases[] = {
        {"6.2.0", 1},   {"6.2.16", 1},      {"7.0.5", 0}, {"7.0.15", 0},
        {"7.2.0", 0},   {"7.4.2", 0},       {"8.0.0", 0}, {"5.0.7", 2},
        {"6.0.16", 2},  {"7.0.0", 2},       {"7.0.4", 2}, {"6.9.241", 1},
        {"7.9.240", 1}, {"255.255.255", 1}, {"", 1},      {"7", 1},
    };
    const char *wrong;
    bool fatal;
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        wrong = hai_redis_version_wrong(cases[i].version, &fatal);
        assert_int_equal(wrong == NULL ? 0 : fatal ? 2 : 1, cases[i].wrong);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(versions)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
