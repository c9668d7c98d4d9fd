/* SOURCES: fcgi-backend/lib/tokens.c fcgi-backend/lib/time_text.c fcgi-backend/lib/file.c */
/* LIBS: -ljansson -lcrypto */

/*
 * Tokens of the control API: the file, who may do what; and times as text.
 */

#include "lib/time_text.h"
#include "lib/tokens.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PROJECT "aaaaaaaaaaaaaaaaaaaaaaaa"
#define OTHER "bbbbbbbbbbbbbbbbbbbbbbbb"
#define NOW INT64_C(1709210096007)

static char folder[] = "/tmp/hai-tokens.XXXXXX";
static char path[64], error[512];

static int make_folder(void **state) {
    (void) state;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/tokens.json", folder);
    return 0;
}

static int remove_folder(void **state) {
    char lock[80];

    (void) state;
    snprintf(lock, sizeof(lock), "%s.lock", path);
    unlink(lock);
    unlink(path);
    return rmdir(folder);
}

static void write_file(const char *text, mode_t mode) {
    FILE *out = fopen(path, "w");

    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static enum hai_token_check find(const char *token, int64_t now, unsigned *here,
                                 unsigned *there) {
    struct hai_tokens *all = hai_tokens_read(path, error, sizeof(error));
    const struct hai_rights *rights = NULL;
    enum hai_token_check check;
    const char *id;

    assert_non_null(all);
    check = hai_tokens_find(all, token, strlen(token), now, &id, &rights);
    if (check == HAI_TOKEN_OK) {
        *here = hai_rights_in(rights, PROJECT);
        *there = hai_rights_in(rights, OTHER);
    }
    hai_tokens_free(all);

    return check;
}

static void create(const char *scope, int64_t expires, char *token, char *id) {
    const char *scopes[] = {scope};

    assert_int_equal(hai_tokens_create(path, "x", scopes, 1, NOW, expires,
                                       token, id, error, sizeof(error)),
                     0);
}

static void test_scopes(void **state) {
    static const char *const good[] = {"read", "write", "read:" PROJECT,
                                       "write:" PROJECT};
    static const char *const bad[] = {"",
                                      "Read",
                                      "reads",
                                      "read:",
                                      "read:x",
                                      "write ",
                                      " read",
                                      "delete",
                                      "read:" PROJECT "a",
                                      "read:AAAAAAAAAAAAAAAAAAAAAAAA",
                                      "write:" PROJECT " "};

    (void) state;
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        assert_true(hai_scope_valid(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_false(hai_scope_valid(bad[i]));
    }
}

static void test_rights(void **state) {
    static const struct {
        const char *scope;
        unsigned here, there;
    } cases[] = {{"read", 1, 1},
                 {"write", 3, 3},
                 {"read:" PROJECT, 1, 0},
                 {"write:" PROJECT, 3, 0}};
    char token[HAI_TOKEN_LEN + 1], id[HAI_TOKEN_ID_MAX + 1];

    (void) state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        unsigned here = 9, there = 9;

        create(cases[i].scope, 0, token, id);
        assert_int_equal(strlen(token), HAI_TOKEN_LEN);
        assert_int_equal(find(token, NOW, &here, &there), HAI_TOKEN_OK);
        assert_int_equal(here, cases[i].here);
        assert_int_equal(there, cases[i].there);
    }
}

/* A container without a project belongs to nobody's project. */
static void test_no_project(void **state) {
    struct hai_project_right right = {PROJECT, HAI_RIGHT_READ};
    struct hai_rights one = {0, &right, 1}, all = {HAI_RIGHT_READ, NULL, 0};

    (void) state;
    assert_int_equal(hai_rights_in(&one, NULL), 0);
    assert_int_equal(hai_rights_in(&one, ""), 0);
    assert_int_equal(hai_rights_in(&all, NULL), HAI_RIGHT_READ);
    assert_int_equal(hai_rights_any(&one), HAI_RIGHT_READ);
}

static void test_unknown(void **state) {
    char token[HAI_TOKEN_LEN + 1], id[HAI_TOKEN_ID_MAX + 1];
    unsigned here, there;

    (void) state;
    create("write", NOW + 1000, token, id);
    assert_int_equal(find(token, NOW + 999, &here, &there), HAI_TOKEN_OK);
    assert_int_equal(find(token, NOW + 1000, &here, &there), HAI_TOKEN_EXPIRED);
    assert_int_equal(find("", NOW, &here, &there), HAI_TOKEN_UNKNOWN);
    assert_int_equal(find("hdy_", NOW, &here, &there), HAI_TOKEN_UNKNOWN);

    for (size_t i = 0; i < HAI_TOKEN_LEN; i++) {
        char was = token[i];

        token[i] = was == 'A' ? 'B' : 'A';
        assert_int_equal(find(token, NOW, &here, &there), HAI_TOKEN_UNKNOWN);
        token[i] = was;
    }

    token[HAI_TOKEN_LEN - 1] = '\0';
    assert_int_equal(find(token, NOW, &here, &there), HAI_TOKEN_UNKNOWN);
}

static void test_revoke(void **state) {
    char token[HAI_TOKEN_LEN + 1], id[HAI_TOKEN_ID_MAX + 1];
    unsigned here, there;

    (void) state;
    create("read", 0, token, id);
    assert_int_equal(hai_tokens_revoke(path, id, error, sizeof(error)), 0);
    assert_int_equal(find(token, NOW, &here, &there), HAI_TOKEN_UNKNOWN);
    assert_int_equal(hai_tokens_revoke(path, id, error, sizeof(error)), 1);
}

/* The file has digests, and is for its owner. */
static void test_file(void **state) {
    char token[HAI_TOKEN_LEN + 1], id[HAI_TOKEN_ID_MAX + 1], text[8192];
    struct stat st;
    FILE *in;
    size_t n;

    (void) state;
    unlink(path);
    create("read", 0, token, id);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);

    in = fopen(path, "r");
    assert_non_null(in);
    n = fread(text, 1, sizeof(text) - 1, in);
    text[n] = '\0';
    fclose(in);
    assert_null(strstr(text, token));
    assert_null(strstr(text, token + strlen(HAI_TOKEN_PREFIX)));
}

static void test_bad_files(void **state) {
    static const struct {
        const char *text;
        mode_t mode;
    } bad[] = {
        {"", 0600},
        {"[]", 0600},
        {"{\"tokens\": 1}", 0600},
        {"{\"tokens\": [1]}", 0600},
        {"{\"tokens\": [{}]}", 0600},
        {"{\"uids\": [{\"uid\": -1, \"scopes\": [\"read\"]}]}", 0600},
        {"{\"uids\": [{\"uid\": 4294967295, \"scopes\": [\"read\"]}]}", 0600},
        {"{\"uids\": [{\"uid\": \"0\", \"scopes\": [\"read\"]}]}", 0600},
        {"{\"uids\": [{\"uid\": 7, \"scopes\": []}]}", 0600},
        {"{\"uids\": [{\"uid\": 7, \"scopes\": [\"all\"]}]}", 0600},
        {"{}", 0604},
        {"{}", 0620},
    };

    (void) state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        write_file(bad[i].text, bad[i].mode);
        error[0] = '\0';
        assert_null(hai_tokens_read(path, error, sizeof(error)));
        assert_non_null(strstr(error, path));
    }
    assert_null(hai_tokens_read("/nonexistent/x", error, sizeof(error)));
}

static void test_uids(void **state) {
    struct hai_tokens *all;
    const struct hai_rights *rights;

    (void) state;
    write_file(
        "{\"uids\": [{\"uid\": 1000, \"scopes\": [\"read\", \"write:" PROJECT
        "\"]}]}",
        0600);
    all = hai_tokens_read(path, error, sizeof(error));
    assert_non_null(all);
    rights = hai_tokens_uid(all, 1000);
    assert_non_null(rights);
    assert_int_equal(hai_rights_in(rights, OTHER), HAI_RIGHT_READ);
    assert_int_equal(hai_rights_in(rights, PROJECT),
                     HAI_RIGHT_READ | HAI_RIGHT_WRITE);
    assert_null(hai_tokens_uid(all, 1001));
    assert_null(hai_tokens_uid(all, 0));
    hai_tokens_free(all);
}

static void test_time_text(void **state) {
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {NOW, "2024-02-29T12:34:56.007Z"},
        {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
        /* what has no four digits for its year */
        {INT64_C(253402300800000), "1970-01-01T00:00:00.000Z"},
        {INT64_MAX, "1970-01-01T00:00:00.000Z"},
        {-1, "1970-01-01T00:00:00.000Z"},
    };
    char text[HAI_TIME_SIZE];

    (void) state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        hai_time_text(cases[i].ms, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void test_time_parse(void **state) {
    static const char *const bad[] = {
        "",
        "2024-02-29",
        "2024-02-29T12:34:56",
        "2024-02-29T12:34:56.007",
        "2024-02-29T12:34:56.07Z",
        "2024-02-29T12:34:56.0071Z",
        "2024-02-29T12:34:56.007Z ",
        "2024-02-29T12:34:56+01:00",
        "2023-02-29T12:34:56Z",
        "2024-04-31T12:34:56Z",
        "2024-02-29T24:00:00Z",
        "1969-12-31T23:59:59Z",
    };
    int64_t ms;

    (void) state;
    assert_true(hai_time_parse("2024-02-29T12:34:56.007Z", &ms));
    assert_int_equal(ms, NOW);
    assert_true(hai_time_parse("2024-02-29T12:34:56Z", &ms));
    assert_int_equal(ms, NOW - 7);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_false(hai_time_parse(bad[i], &ms));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scopes),     cmocka_unit_test(test_rights),
        cmocka_unit_test(test_no_project), cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_revoke),     cmocka_unit_test(test_file),
        cmocka_unit_test(test_bad_files),  cmocka_unit_test(test_uids),
        cmocka_unit_test(test_time_text),  cmocka_unit_test(test_time_parse),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
