/* SOURCES: ngx_http_hoody_ai_module/ngx_http_hoody_ai_table.c ngx_http_hoody_ai_module/ngx_http_hoody_ai_registry.c ngx_http_hoody_ai_module/ngx_http_hoody_ai_registry_source.c common/hai_identity.c */
/* LIBS: -lcmocka */

/*
 * The registry's tables: who owns a name, a number, an address, a cgroup;
 * what a change makes undecided; and a random run against a naive model.
 */

#include "ngx_http_hoody_ai_registry.h"

#include "hai_identity.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static ngx_str_t str(const char *s) {
    return (ngx_str_t){.len = strlen(s), .data = (u_char *) s};
}

struct row {
    const char *name;
    const char *number;
    const char *addresses;
    const char *cgroup;
    const char *status;
    uint64_t deadline;
};

static ngx_int_t set(ngx_http_hoody_ai_registry_t *reg, struct row row,
                     ngx_http_hoody_ai_claims_t *claims) {
    static ngx_uint_t serial;
    ngx_http_hoody_ai_fields_t f = {
        .name = str(row.name),
        .id = str("0123456789abcdef01234567"),
        .number = str(row.number ? row.number : ""),
        .addresses = str(row.addresses ? row.addresses : ""),
        .cgroup = str(row.cgroup ? row.cgroup : ""),
        .tags = str("a b"),
        .status = str(row.status ? row.status : ""),
        .deadline = row.deadline,
        .serial = ++serial,
    };

    return ngx_http_hoody_ai_registry_set(reg, &f, 0, claims);
}

static void drop(ngx_http_hoody_ai_registry_t *reg, const char *name,
                 ngx_http_hoody_ai_claims_t *claims) {
    ngx_str_t s = str(name);

    ngx_http_hoody_ai_registry_remove(reg, &s, claims);
}

static ngx_http_hoody_ai_entry_t *get(ngx_http_hoody_ai_registry_t *reg,
                                      const char *name) {
    ngx_str_t s = str(name);

    return ngx_http_hoody_ai_registry_name(reg, &s);
}

static ngx_uint_t number(ngx_http_hoody_ai_registry_t *reg, const char *text) {
    ngx_http_hoody_ai_entry_t *found[1];
    ngx_str_t s = str(text);

    return ngx_http_hoody_ai_registry_number(reg, &s, found, 1);
}

static ngx_http_hoody_ai_source_t from(const char *addr) {
    ngx_http_hoody_ai_source_t source = {.addr_len = 4};

    if (addr[0] == '/') {
        source.addr_len = 0;
        source.cgroup = str(addr);
    } else if (strchr(addr, ':') != NULL) {
        source.addr_len = 16;
        assert_int_equal(inet_pton(AF_INET6, addr, source.addr), 1);
    } else {
        assert_int_equal(inet_pton(AF_INET, addr, source.addr), 1);
    }
    return source;
}

static ngx_http_hoody_ai_verdict_e judge(ngx_http_hoody_ai_registry_t *reg,
                                         const char *name, const char *addr) {
    ngx_http_hoody_ai_entry_t *others[1];
    ngx_http_hoody_ai_container_t view;
    ngx_http_hoody_ai_source_t source = from(addr);
    ngx_uint_t n;

    return ngx_http_hoody_ai_registry_source(reg, get(reg, name), &source,
                                             others, 1, &n, &view);
}

static bool told(ngx_http_hoody_ai_claims_t *claims, const char *claim) {
    ngx_str_t s;
    size_t pos = 0;

    while (ngx_http_hoody_ai_claims_next(claims, &pos, &s) == NGX_OK) {
        if (s.len == strlen(claim) && memcmp(s.data, claim, s.len) == 0) {
            return true;
        }
    }
    return claims->all;
}

static void test_addresses(void **state) {
    ngx_http_hoody_ai_registry_t *reg = ngx_http_hoody_ai_registry_create();
    ngx_http_hoody_ai_source_t source;

    (void) state;
    assert_non_null(reg);
    set(reg, (struct row){"a", "1", "10.0.0.1  fd00::1", 0, 0, 0}, NULL);
    set(reg, (struct row){"b", "2", "10.1.0.0/16", 0, "running", 0}, NULL);
    set(reg, (struct row){"c", "3", "10.1.2.3", 0, 0, 0}, NULL);
    set(reg, (struct row){"d", "4", "nonsense 10.0.0.9/8", 0, 0, 0}, NULL);
    set(reg, (struct row){"e", "5", "10.0.0.1", 0, "stopped", 0}, NULL);
    set(reg, (struct row){"f", "6", "::ffff:10.2.0.1", 0, 0, 0}, NULL);

    assert_int_equal(judge(reg, "a", "10.0.0.1"), NGX_HTTP_HOODY_AI_ADMIT);
    assert_int_equal(judge(reg, "a", "fd00::1"), NGX_HTTP_HOODY_AI_ADMIT);
    assert_int_equal(judge(reg, "a", "::ffff:10.0.0.1"),
                     NGX_HTTP_HOODY_AI_ADMIT);
    assert_int_equal(judge(reg, "a", "10.0.0.2"),
                     NGX_HTTP_HOODY_AI_WRONG_SOURCE);
    assert_int_equal(judge(reg, "a", "10.1.2.3"),
                     NGX_HTTP_HOODY_AI_WRONG_SOURCE);
    assert_int_equal(judge(reg, "b", "10.1.0.7"), NGX_HTTP_HOODY_AI_ADMIT);
    assert_int_equal(judge(reg, "b", "10.1.2.3"),
                     NGX_HTTP_HOODY_AI_SHARED_SOURCE);
    assert_int_equal(judge(reg, "c", "10.1.2.3"),
                     NGX_HTTP_HOODY_AI_SHARED_SOURCE);
    assert_int_equal(judge(reg, "d", "10.0.0.9"),
                     NGX_HTTP_HOODY_AI_WRONG_SOURCE);
    assert_int_equal(judge(reg, "f", "10.2.0.1"), NGX_HTTP_HOODY_AI_ADMIT);

    assert_false(get(reg, "e")->running);
    source = from("10.0.0.1");
    assert_true(ngx_http_hoody_ai_registry_claimed(reg, &source));
    source = from("10.9.9.9");
    assert_false(ngx_http_hoody_ai_registry_claimed(reg, &source));

    drop(reg, "b", NULL);
    assert_int_equal(judge(reg, "c", "10.1.2.3"), NGX_HTTP_HOODY_AI_ADMIT);

    /* starting makes a claim, and an address moves in place */
    set(reg, (struct row){"e", "5", "10.0.0.1", 0, "running", 0}, NULL);
    assert_int_equal(judge(reg, "a", "10.0.0.1"),
                     NGX_HTTP_HOODY_AI_SHARED_SOURCE);
    set(reg, (struct row){"e", "5", "10.0.0.2", 0, "running", 0}, NULL);
    assert_int_equal(judge(reg, "a", "10.0.0.1"), NGX_HTTP_HOODY_AI_ADMIT);

    ngx_http_hoody_ai_registry_destroy(reg);
}

static void test_numbers(void **state) {
    ngx_http_hoody_ai_registry_t *reg = ngx_http_hoody_ai_registry_create();

    (void) state;
    assert_non_null(reg);
    set(reg, (struct row){"a", "1", 0, 0, 0, 0}, NULL);
    set(reg, (struct row){"b", "1", 0, 0, "stopped", 0}, NULL);
    set(reg, (struct row){"c", "02", 0, 0, 0, 0}, NULL);
    assert_int_equal(number(reg, "1"), 1);
    assert_int_equal(number(reg, "2"), 0);
    assert_int_equal(number(reg, "02"), 0);
    assert_int_equal(number(reg, ""), 0);
    set(reg, (struct row){"b", "1", 0, 0, "running", 0}, NULL);
    assert_int_equal(number(reg, "1"), 2);
    drop(reg, "a", NULL);
    assert_int_equal(number(reg, "1"), 1);
    ngx_http_hoody_ai_registry_destroy(reg);
}

static void test_cgroups(void **state) {
    ngx_http_hoody_ai_registry_t *reg = ngx_http_hoody_ai_registry_create();
    ngx_http_hoody_ai_entry_t *others[1];
    ngx_http_hoody_ai_container_t view;
    ngx_http_hoody_ai_source_t source;
    ngx_uint_t n;

    (void) state;
    assert_non_null(reg);
    set(reg, (struct row){"bare", 0, "10.0.0.1", "x.scope", 0, 0}, NULL);
    set(reg, (struct row){"path", 0, 0, "/m/y.scope", 0, 0}, NULL);
    set(reg, (struct row){"in", 0, 0, "/m/y.scope/in", 0, 0}, NULL);
    set(reg, (struct row){"twin", 0, 0, "/m/y.scope/in", 0, 0}, NULL);
    set(reg, (struct row){"none", 0, "10.0.0.2", 0, 0, 0}, NULL);

    source = from("/m/x.scope/init");
    assert_int_equal(ngx_http_hoody_ai_registry_source(
                         reg, get(reg, "bare"), &source, others, 1, &n, &view),
                     NGX_HTTP_HOODY_AI_ADMIT);
    assert_true(view.bare);
    assert_int_equal(view.bare_at, 3);

    assert_int_equal(judge(reg, "path", "/m/y.scope/x"),
                     NGX_HTTP_HOODY_AI_ADMIT);
    assert_int_equal(judge(reg, "path", "/n/m/y.scope"),
                     NGX_HTTP_HOODY_AI_WRONG_SOURCE);

    /* below another container's cgroup anything can be made up */
    assert_int_equal(judge(reg, "bare", "/m/y.scope/x.scope"),
                     NGX_HTTP_HOODY_AI_SHARED_SOURCE);
    assert_int_equal(judge(reg, "bare", "/elsewhere/y.scope/x.scope"),
                     NGX_HTTP_HOODY_AI_SHARED_SOURCE);
    assert_int_equal(judge(reg, "in", "/m/y.scope/in"),
                     NGX_HTTP_HOODY_AI_SHARED_SOURCE);
    assert_int_equal(judge(reg, "path", "/m/y.scope/in"),
                     NGX_HTTP_HOODY_AI_ADMIT);
    drop(reg, "path", NULL);
    assert_int_equal(judge(reg, "in", "/m/y.scope/in"),
                     NGX_HTTP_HOODY_AI_SHARED_SOURCE);
    drop(reg, "twin", NULL);
    assert_int_equal(judge(reg, "in", "/m/y.scope/in"),
                     NGX_HTTP_HOODY_AI_ADMIT);

    /* the two kinds of source never stand in for each other */
    assert_int_equal(judge(reg, "none", "/"), NGX_HTTP_HOODY_AI_WRONG_SOURCE);
    assert_int_equal(judge(reg, "in", "10.0.0.1"),
                     NGX_HTTP_HOODY_AI_WRONG_SOURCE);

    ngx_http_hoody_ai_registry_destroy(reg);
}

static void test_claims(void **state) {
    ngx_http_hoody_ai_registry_t *reg = ngx_http_hoody_ai_registry_create();
    ngx_http_hoody_ai_claims_t claims = {0};

    (void) state;
    assert_non_null(reg);
    set(reg, (struct row){"a", "1", "10.0.0.1", 0, 0, 0}, NULL);
    set(reg, (struct row){"net", "2", "10.1.0.0/16", 0, 0, 0}, NULL);

    /* old and new number, and the one whose address is shared now */
    set(reg, (struct row){"b", "7", "10.9.0.1", 0, 0, 0}, NULL);
    set(reg, (struct row){"b", "8", "10.0.0.1", 0, 0, 0}, &claims);
    assert_false(claims.all);
    assert_true(told(&claims, "b"));
    assert_true(told(&claims, "7"));
    assert_true(told(&claims, "8"));
    assert_true(told(&claims, "a"));
    assert_true(told(&claims, "1"));
    assert_false(told(&claims, "net"));

    /* the same again concerns nobody else */
    ngx_http_hoody_ai_claims_reset(&claims);
    set(reg, (struct row){"b", "8", "10.0.0.1", 0, 0, 0}, &claims);
    assert_true(told(&claims, "b"));
    assert_false(told(&claims, "a"));

    /* it goes, by name or by state */
    ngx_http_hoody_ai_claims_reset(&claims);
    set(reg, (struct row){"b", "8", "10.0.0.1", 0, "off", 0}, &claims);
    assert_true(told(&claims, "a"));
    ngx_http_hoody_ai_claims_reset(&claims);
    drop(reg, "b", &claims);
    assert_true(told(&claims, "b"));
    assert_false(told(&claims, "a"));

    /* an address inside of another one's prefix */
    ngx_http_hoody_ai_claims_reset(&claims);
    set(reg, (struct row){"c", 0, "10.1.0.1", 0, 0, 0}, &claims);
    assert_true(told(&claims, "net"));
    assert_false(claims.all);

    /* a prefix around addresses that cannot be told apart */
    ngx_http_hoody_ai_claims_reset(&claims);
    drop(reg, "net", &claims);
    assert_true(claims.all);

    /* one that was never there */
    ngx_http_hoody_ai_claims_reset(&claims);
    drop(reg, "nobody", &claims);
    assert_true(told(&claims, "nobody"));

    ngx_http_hoody_ai_claims_done(&claims);
    ngx_http_hoody_ai_registry_destroy(reg);
}

static void test_ceilings(void **state) {
    ngx_http_hoody_ai_registry_t *reg = ngx_http_hoody_ai_registry_create();
    static char many[257 * 11 + 1];
    static char cgroup[4098];
    size_t len = 0;

    (void) state;
    assert_non_null(reg);
    for (int i = 0; i < 257; i++) {
        len += (size_t) snprintf(many + len, sizeof(many) - len, "10.0.%d.%d ",
                                 i / 256, i % 256);
    }
    memset(cgroup, 'x', sizeof(cgroup) - 1);

    set(reg, (struct row){"a", 0, "10.0.0.1", 0, 0, 0}, NULL);
    assert_int_equal(set(reg, (struct row){"a", 0, many, 0, 0, 0}, NULL),
                     NGX_DECLINED);
    assert_null(get(reg, "a"));

    set(reg, (struct row){"a", 0, "10.0.0.1", 0, 0, 0}, NULL);
    assert_int_equal(set(reg, (struct row){"a", 0, 0, cgroup, 0, 0}, NULL),
                     NGX_DECLINED);
    assert_null(get(reg, "a"));

    assert_int_equal(set(reg, (struct row){"a b", 0, 0, 0, 0, 0}, NULL),
                     NGX_DECLINED);
    assert_int_equal(ngx_http_hoody_ai_registry_count(reg), 0);
    ngx_http_hoody_ai_registry_destroy(reg);
}

static void test_deadlines(void **state) {
    ngx_http_hoody_ai_registry_t *reg = ngx_http_hoody_ai_registry_create();
    uint64_t last = 0;

    (void) state;
    assert_non_null(reg);
    assert_null(ngx_http_hoody_ai_registry_first_deadline(reg));
    srand(1);
    for (int i = 0; i < 2000; i++) {
        char name[16];

        snprintf(name, sizeof(name), "n%d", rand() % 500);
        if (rand() % 4 == 0) {
            drop(reg, name, NULL);
        } else {
            uint64_t deadline = (uint64_t) (rand() % 3 ? rand() % 10000 : 0);

            set(reg, (struct row){name, 0, 0, 0, 0, deadline}, NULL);
        }
    }
    for (;;) {
        ngx_http_hoody_ai_entry_t *e =
            ngx_http_hoody_ai_registry_first_deadline(reg);
        char name[16] = {0};

        if (e == NULL) {
            break;
        }
        assert_true(e->deadline >= last);
        last = e->deadline;
        memcpy(name, ngx_http_hoody_ai_entry_name(e), e->name_len);
        drop(reg, name, NULL);
    }
    ngx_http_hoody_ai_registry_destroy(reg);
}

static void test_gate_survives_a_change(void **state) {
    ngx_http_hoody_ai_registry_t *reg = ngx_http_hoody_ai_registry_create();

    (void) state;
    assert_non_null(reg);
    set(reg, (struct row){"a", 0, "10.0.0.1", 0, 0, 0}, NULL);
    assert_int_equal(get(reg, "a")->gate, 0);
    get(reg, "a")->gate = 3;
    get(reg, "a")->enabled = 1;
    set(reg, (struct row){"a", 0, "10.0.0.2", 0, 0, 0}, NULL);
    assert_int_equal(get(reg, "a")->gate, 3);
    assert_true(get(reg, "a")->enabled);
    drop(reg, "a", NULL);
    set(reg, (struct row){"a", 0, "10.0.0.2", 0, 0, 0}, NULL);
    assert_int_equal(get(reg, "a")->gate, 0);
    ngx_http_hoody_ai_registry_destroy(reg);
}

/* Names n0..n29 on addresses of a small net, against a walk over all. */
#define MODEL 30

struct model {
    bool there;
    bool running;
    char addresses[64];
};

static bool model_claims(const struct model *m, const char *addr) {
    ngx_http_hoody_ai_source_t source = from(addr);
    char copy[64];
    char *save = NULL;

    if (!m->there || !m->running) {
        return false;
    }
    strcpy(copy, m->addresses);
    for (char *p = strtok_r(copy, " ", &save); p != NULL;
         p = strtok_r(NULL, " ", &save))
    {
        struct hai_addr prefix;

        if (hai_addr_parse(p, strlen(p), &prefix) == 0
            && hai_addr_match(&prefix, source.addr, source.addr_len))
        {
            return true;
        }
    }
    return false;
}

static void test_model(void **state) {
    ngx_http_hoody_ai_registry_t *reg = ngx_http_hoody_ai_registry_create();
    struct model model[MODEL] = {0};

    (void) state;
    assert_non_null(reg);
    srand(7);
    for (int step = 0; step < 20000; step++) {
        int i = rand() % MODEL;
        struct model *m = &model[i];
        char name[8];
        char addr[32];

        snprintf(name, sizeof(name), "n%d", i);
        if (rand() % 5 == 0) {
            drop(reg, name, NULL);
            m->there = false;
        } else {
            size_t len = 0;

            m->there = true;
            m->running = rand() % 4 != 0;
            m->addresses[0] = '\0';
            for (int k = rand() % 3; k > 0; k--) {
                int bits = rand() % 2 ? 32 : 26 + rand() % 7;
                unsigned last = (unsigned) rand() % 64;

                last &= ~0u << (32 - bits);
                len += (size_t) snprintf(m->addresses + len,
                                         sizeof(m->addresses) - len,
                                         "10.0.0.%u/%d ", last, bits);
            }
            set(reg,
                (struct row){name, 0, m->addresses, 0,
                             m->running ? "running" : "paused", 0},
                NULL);
        }

        i = rand() % MODEL;
        snprintf(name, sizeof(name), "n%d", i);
        snprintf(addr, sizeof(addr), "10.0.0.%d", rand() % 64);

        assert_int_equal(get(reg, name) != NULL, model[i].there);
        if (!model[i].there) {
            continue;
        }

        int others = 0;
        for (int k = 0; k < MODEL; k++) {
            others += k != i && model_claims(&model[k], addr);
        }
        assert_int_equal(judge(reg, name, addr),
                         !model_claims(&model[i], addr)
                             ? NGX_HTTP_HOODY_AI_WRONG_SOURCE
                         : others > 0 ? NGX_HTTP_HOODY_AI_SHARED_SOURCE
                                      : NGX_HTTP_HOODY_AI_ADMIT);
    }
    ngx_http_hoody_ai_registry_destroy(reg);
}

static void test_memory(void **state) {
    ngx_http_hoody_ai_registry_t *reg = ngx_http_hoody_ai_registry_create();

    (void) state;
    assert_non_null(reg);
    for (int i = 0; i < 100000; i++) {
        char name[24];
        char num[12];
        char addresses[64];

        snprintf(name, sizeof(name), "container-%d", i);
        snprintf(num, sizeof(num), "%d", i);
        snprintf(addresses, sizeof(addresses), "10.%d.%d.%d fd00::%x:%x",
                 i >> 16, i >> 8 & 255, i & 255, i >> 16, i & 0xffff);
        assert_int_equal(
            set(reg, (struct row){name, num, addresses, 0, 0, 0}, NULL),
            NGX_OK);
    }
    assert_true(ngx_http_hoody_ai_registry_memory(reg) <= 400 * 100000);
    assert_int_equal(judge(reg, "container-99999", "fd00::1:869f"),
                     NGX_HTTP_HOODY_AI_ADMIT);
    ngx_http_hoody_ai_registry_destroy(reg);
}

/* what is given up is freed in steps, the newest first, and all of it */
static void test_reap(void **state) {
    ngx_http_hoody_ai_registry_t *list = NULL, *reg;
    ngx_uint_t steps = 0;
    char name[32];

    (void) state;

    for (int n = 0; n < 3; n++) {
        reg = ngx_http_hoody_ai_registry_create();
        assert_non_null(reg);

        for (int i = 0; i < n * 1000; i++) {
            snprintf(name, sizeof(name), "container-%d", i);
            assert_int_equal(set(reg,
                                 (struct row){.name = name,
                                              .number = "7",
                                              .addresses = "192.0.2.1",
                                              .deadline = 1},
                                 NULL),
                             NGX_OK);
        }

        ngx_http_hoody_ai_registry_retire(&list, reg);
    }

    ngx_http_hoody_ai_registry_retire(&list, NULL);

    while (ngx_http_hoody_ai_registry_reap(&list, 100) == NGX_AGAIN) {
        steps++;
    }

    /* empty buckets count like containers */
    assert_null(list);
    assert_in_range(steps, 30, 120);
    assert_int_equal(ngx_http_hoody_ai_registry_reap(&list, 0), NGX_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_cgroups),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_ceilings),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_gate_survives_a_change),
        cmocka_unit_test(test_model),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_reap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
