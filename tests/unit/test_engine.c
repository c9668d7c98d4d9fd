/* SOURCES: fcgi-backend/rules/buf.c fcgi-backend/rules/epoch.c */
/* SOURCES: fcgi-backend/rules/plan.c fcgi-backend/rules/set.c */
/* SOURCES: fcgi-backend/rules/watch.c fcgi-backend/lib/rules.c */
/* SOURCES: fcgi-backend/lib/log.c common/hai_plan.c common/hai_walk.c */
/* SOURCES: common/hai_change.c common/hai_change_find.c */
/* SOURCES: common/hai_change_put.c common/hai_change_set.c */
/* SOURCES: common/hai_change_text.c common/hai_edit.c common/hai_json.c */
/* SOURCES: common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: common/hai_identity.c common/hai_body.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */
/* LIBS: -ljansson -lcrypto -lpthread */

/*
 * Parts of the rule engine that need no server: epochs, plans as text, the
 * set in force with its counters, the watch over the file.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "hai_plan.h"
#include "lib/rules_internal.h"
#include "rules/buf.h"
#include "rules/epoch.h"
#include "rules/plan.h"
#include "rules/set.h"
#include "rules/watch.h"

#define A "0123456789abcdef"
#define B "fedcba9876543210"

static struct hai_slice slice(const char *text) {
    return (struct hai_slice){text, strlen(text)};
}

static int parse(const char *text, struct hai_epoch *epoch) {
    return hai_epoch_parse(text, strlen(text), epoch);
}

static void epoch_text(void **state) {
    static const char *const bad[] = {
        "",
        "-",
        "-" A,
        "1",
        "1-",
        "1-" A "0",
        "01-" A,
        "1 -" A,
        "x-" A,
        "1-0123",
        "+1-" A,
        "1-0123456789ABCDEF",
        "1-" A " ",
        "1_" A,
        "1764069000123-0123456789abcdeg",
        "1234567890123456-" A,
    };
    struct hai_epoch epoch;
    char text[HAI_EPOCH_SIZE];
    size_t i;

    (void) state;

    assert_int_equal(parse("1764069000123-" A, &epoch), 0);
    assert_int_equal(epoch.ms, UINT64_C(1764069000123));
    assert_string_equal(epoch.digest, A);
    hai_epoch_write(&epoch, text);
    assert_string_equal(text, "1764069000123-" A);

    assert_int_equal(parse("0-" A, &epoch), 0);
    assert_int_equal(parse("999999999999999-" A, &epoch), 0);
    hai_epoch_write(&epoch, text);
    assert_string_equal(text, "999999999999999-" A);

    for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_int_equal(parse(bad[i], &epoch), -1);
    }

    assert_int_equal(hai_epoch_parse("1-" A "\0", 19, &epoch), -1);
}

static enum hai_epoch_action decide(struct hai_epoch *own, const char *found,
                                    bool fresh) {
    return hai_epoch_decide(own, found, found ? strlen(found) : 0, fresh, 1000);
}

static void epoch_decisions(void **state) {
    struct hai_epoch own = {900, A};

    (void) state;

    /* nothing there: ours, but never one that was there before */
    assert_int_equal(decide(&own, NULL, true), HAI_EPOCH_WRITE);
    assert_int_equal(own.ms, 1000);
    assert_int_equal(decide(&own, NULL, false), HAI_EPOCH_WRITE);
    assert_int_equal(own.ms, 1001);

    assert_int_equal(decide(&own, "1001-" A, false), HAI_EPOCH_KEEP);
    assert_int_equal(decide(&own, "1001-" A, true), HAI_EPOCH_KEEP);

    /* the same rules */
    assert_int_equal(decide(&own, "500-" A, true), HAI_EPOCH_ADOPT);
    assert_int_equal(own.ms, 500);
    assert_int_equal(decide(&own, "2000-" A, false), HAI_EPOCH_ADOPT);
    assert_int_equal(own.ms, 2000);

    /* other rules: ours are new, or older, or newer */
    assert_int_equal(decide(&own, "1500-" B, true), HAI_EPOCH_WRITE);
    assert_int_equal(own.ms, 1501);
    assert_int_equal(decide(&own, "1502-" B, false), HAI_EPOCH_FOREIGN);
    assert_int_equal(own.ms, 1501);
    assert_string_equal(own.digest, A);
    assert_int_equal(decide(&own, "1500-" B, false), HAI_EPOCH_WRITE);
    assert_int_equal(own.ms, 1501);

    /* what is no epoch of this program */
    assert_int_equal(decide(&own, "17", false), HAI_EPOCH_WRITE);
    assert_int_equal(decide(&own, "17", true), HAI_EPOCH_WRITE);
    assert_int_equal(own.ms, 1000);
}

static void buffers(void **state) {
    struct hai_buf b = {0};
    char *p;
    int i;

    (void) state;

    hai_buf_json(&b, "a\"\\\n\t\x01\x7f\xc3\xa4", 9);
    hai_buf_add(&b, "", 0);
    hai_buf_format(&b, " %d %s", 7, "x");
    hai_buf_add(&b, "\0", 1);
    assert_string_equal(b.data,
                        "\"a\\\"\\\\\\n\\u0009\\u0001\\u007f\xc3\xa4\" 7 x");

    hai_buf_reset(&b, 1 << 20);
    p = b.data;
    assert_non_null(p);
    assert_int_equal(b.len, 0);

    for (i = 0; i < 100000; i++) {
        hai_buf_text(&b, "0123456789");
    }

    assert_int_equal(b.len, 1000000);
    assert_memory_equal(b.data + 999990, "0123456789", 10);

    hai_buf_reset(&b, 4096);
    assert_null(b.data);

    assert_null(hai_buf_room(&b, SIZE_MAX / 2));
    assert_true(b.failed);
    hai_buf_text(&b, "lost");
    assert_int_equal(b.len, 0);
    hai_buf_reset(&b, 4096);
    assert_false(b.failed);
    hai_buf_free(&b);
}

/* What is written is what the worker reads. */
static void plans(void **state) {
    static const char text[] = "a\"b\\c\n\x01\xc3\xa4\x7f";
    struct hai_change changes[] = {
        {.op = HAI_CHANGE_APPEND, .text = slice(text)},
        {.op = HAI_CHANGE_PREPEND, .text = slice("")},
        {.op = HAI_CHANGE_SET,
         .field = slice("mo\"del"),
         .value = slice("{\"a\":[1,null]}")},
        {.op = HAI_CHANGE_SET,
         .field = slice("n"),
         .min = slice("1"),
         .max = slice("4.50"),
         .fallback = slice("\"x\"")},
        {.op = HAI_CHANGE_REMOVE, .field = slice("tools")},
    };
    struct hai_change message = {.op = HAI_CHANGE_MESSAGE, .text = slice("x")};
    struct hai_buf b = {0};
    struct hai_plan *plan;
    const char *error = NULL;

    (void) state;

    assert_true(hai_plan_write(&b, "1-" A, changes, 5));
    assert_false(b.failed);

    plan = hai_plan_read(b.data, b.len, &error);
    assert_null(error);
    assert_non_null(plan);
    assert_false(plan->ask_body);
    assert_false(plan->any_model);
    assert_int_equal(plan->epoch.len, 18);
    assert_memory_equal(plan->epoch.data, "1-" A, 18);
    assert_int_equal(plan->n, 5);
    assert_int_equal(plan->changes[0].op, HAI_CHANGE_APPEND);
    assert_int_equal(plan->changes[0].text.len, strlen(text));
    assert_memory_equal(plan->changes[0].text.data, text, strlen(text));
    assert_int_equal(plan->changes[1].op, HAI_CHANGE_PREPEND);
    assert_int_equal(plan->changes[1].text.len, 0);
    assert_int_equal(plan->changes[2].op, HAI_CHANGE_SET);
    assert_memory_equal(plan->changes[2].field.data, "mo\"del", 6);
    assert_memory_equal(plan->changes[2].value.data, "{\"a\":[1,null]}", 14);
    assert_null(plan->changes[2].min.data);
    assert_memory_equal(plan->changes[3].max.data, "4.50", 4);
    assert_memory_equal(plan->changes[3].fallback.data, "\"x\"", 3);
    assert_null(plan->changes[3].value.data);
    assert_int_equal(plan->changes[4].op, HAI_CHANGE_REMOVE);
    hai_plan_free(plan);

    b.len = 0;
    assert_false(hai_plan_write(&b, "1-" A, &message, 1));
    assert_int_equal(b.len, 0);

    hai_plan_write_ask(&b, "1-" A, true);
    plan = hai_plan_read(b.data, b.len, &error);
    assert_non_null(plan);
    assert_true(plan->ask_body);
    assert_true(plan->any_model);
    assert_int_equal(plan->n, 0);
    hai_plan_free(plan);
    hai_buf_free(&b);
}

/* A set of rules with nothing but ids. */
static struct hai_rules *rules_of(const char *ids) {
    struct hai_rules *rules = hai_rules_new();
    size_t i;

    assert_non_null(rules);
    rules->n = strlen(ids);
    rules->rule = calloc(rules->n, sizeof(*rules->rule));
    assert_non_null(rules->rule);

    for (i = 0; i < strlen(ids); i++) {
        rules->rule[i].id = strndup(ids + i, 1);
        rules->rule[i].index = i;
    }

    return rules;
}

static struct hai_set *set_of(const char *ids, const struct hai_set *before) {
    struct hai_rules *rules = rules_of(ids);
    struct hai_set *set = hai_set_new(rules, "1-" A, before);

    assert_non_null(set);
    hai_rules_unref(rules);

    return set;
}

static void counters(void **state) {
    struct hai_current current;
    struct hai_set *old, *held;

    (void) state;

    assert_int_equal(hai_current_init(&current), 0);
    assert_null(hai_current_take(&current));

    hai_current_put(&current, set_of("abc", NULL));
    held = hai_current_take(&current);
    assert_string_equal(held->epoch, "1-" A);
    atomic_fetch_add(&held->fired[0]->n, 1);
    atomic_fetch_add(&held->fired[2]->n, 3);

    /* moved, gone, new */
    hai_current_put(&current, set_of("ca", current.set));
    old = held;
    held = hai_current_take(&current);
    assert_ptr_not_equal(old, held);
    assert_int_equal(atomic_load(&held->fired[0]->n), 3);
    assert_int_equal(atomic_load(&held->fired[1]->n), 1);

    /* who still has the old set counts for the new one too */
    atomic_fetch_add(&old->fired[0]->n, 1);
    assert_int_equal(atomic_load(&held->fired[1]->n), 2);
    hai_set_unref(old);

    hai_current_put(&current, set_of("abc", current.set));
    assert_int_equal(atomic_load(&current.set->fired[0]->n), 2);
    assert_int_equal(atomic_load(&current.set->fired[1]->n), 0);
    assert_int_equal(atomic_load(&current.set->fired[2]->n), 3);
    hai_set_unref(held);
    hai_current_destroy(&current);
}

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fputs(text, f) < 0, 0);
    assert_int_equal(fclose(f), 0);
}

static void file_watch(void **state) {
    char folder[] = "/tmp/hai-test-watch.XXXXXX", path[64], other[64];
    struct hai_file_watch w;

    (void) state;

    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/rules.json", folder);
    snprintf(other, sizeof(other), "%s/other.json", folder);
    write_file(path, "1");

    assert_int_equal(hai_file_watch_init(&w, path), 0);
    hai_file_watch_loading(&w);
    assert_false(hai_file_watch_notified(&w));
    assert_false(hai_file_watch_poll(&w));

    write_file(other, "1");
    assert_false(hai_file_watch_notified(&w));

    write_file(path, "12");
    assert_true(hai_file_watch_notified(&w));
    hai_file_watch_loading(&w);
    assert_false(hai_file_watch_notified(&w));

    assert_int_equal(rename(other, path), 0);
    assert_true(hai_file_watch_notified(&w));
    hai_file_watch_loading(&w);

    /* without inotify: at the second look, when it stands still */
    write_file(path, "123");
    assert_false(hai_file_watch_poll(&w));
    assert_true(hai_file_watch_poll(&w));
    hai_file_watch_loading(&w);
    assert_false(hai_file_watch_poll(&w));

    assert_int_equal(unlink(path), 0);
    assert_true(hai_file_watch_notified(&w));
    hai_file_watch_loading(&w);
    assert_false(hai_file_watch_notified(&w));

    /* the folder goes, and another one takes its name */
    assert_int_equal(rmdir(folder), 0);
    assert_false(hai_file_watch_notified(&w));
    assert_int_equal(mkdir(folder, 0700), 0);
    write_file(path, "1234");
    assert_false(hai_file_watch_poll(&w));
    assert_true(hai_file_watch_poll(&w));
    hai_file_watch_loading(&w);
    write_file(path, "12345");
    assert_true(hai_file_watch_notified(&w));

    hai_file_watch_free(&w);
    unlink(path);
    rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(epoch_text), cmocka_unit_test(epoch_decisions),
        cmocka_unit_test(buffers),    cmocka_unit_test(plans),
        cmocka_unit_test(counters),   cmocka_unit_test(file_watch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
