/* SOURCES: fcgi-backend/cli/nginx_conf.c fcgi-backend/cli/uri.c fcgi-backend/lib/file.c */

/*
 * nginx's configuration as hoody-ai doctor reads it, and paths as hoody-ai why
 * makes them out of URIs.
 */

#include "cli/nginx_conf.h"
#include "cli/uri.h"

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

static char folder[] = "/tmp/test-nginx-conf.XXXXXX";

static int make_folder(void **state) {
    (void) state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static void path_of(const char *name, char *path, size_t size) {
    snprintf(path, size, "%s/%s", folder, name);
}

static void put(const char *name, const char *text) {
    char path[256];
    FILE *file;

    path_of(name, path, sizeof(path));
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int remove_folder(void **state) {
    static const char *const names[] = {"main", "one.inc", "two.inc"};
    char path[256];
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        path_of(names[i], path, sizeof(path));
        unlink(path);
    }
    return rmdir(folder);
}

static struct hai_nginx_node *read_text(const char *text, char *error,
                                        size_t size) {
    char path[256];

    put("main", text);
    path_of("main", path, sizeof(path));
    return hai_nginx_conf_read(path, folder, error, size);
}

static struct hai_nginx_node *read_good(const char *text) {
    char error[256] = "";
    struct hai_nginx_node *root = read_text(text, error, sizeof(error));

    assert_string_equal(error, "");
    assert_non_null(root);
    return root;
}

static void words(void **state) {
    struct hai_nginx_node *root =
        read_good("a b  \"c d\" 'e;{}' f\\\"g \"h\\\\i\" j\\nk \"\" l#m "
                  "${n}o;\n# p q;\nr;");
    static const char *const wanted[] = {
        "a", "b", "c d", "e;{}", "f\"g", "h\\i", "j\\nk", "", "l#m", "${n}o"};
    struct hai_nginx_node *node = hai_nginx_child(root, "a");
    size_t i;

    (void) state;
    assert_non_null(node);
    assert_int_equal(node->n, sizeof(wanted) / sizeof(wanted[0]));
    for (i = 0; i < node->n; i++) {
        assert_string_equal(node->word[i], wanted[i]);
    }
    assert_int_equal(node->line, 1);
    assert_non_null(hai_nginx_child(root, "r"));
    assert_null(hai_nginx_child(root, "p"));
    hai_nginx_conf_free(root);
}

static void blocks(void **state) {
    struct hai_nginx_node *root = read_good(
        "x 1; http { x 2; server { location / { y z; } location /b { x 3; } } "
        "}");
    struct hai_nginx_node *node = root;
    int n = 0;

    (void) state;
    while ((node = hai_nginx_next(node)) != NULL) {
        if (hai_nginx_is(node, "location")) {
            assert_string_equal(hai_nginx_value(node, "x"), n == 0 ? "2" : "3");
            assert_string_equal(hai_nginx_value(node, "y"), n == 0 ? "z" : "");
            n++;
        }
    }
    assert_int_equal(n, 2);
    hai_nginx_conf_free(root);
}

static void includes(void **state) {
    struct hai_nginx_node *root;
    char error[256] = "";

    (void) state;
    put("one.inc", "x 1;");
    put("two.inc", "y { include one.inc; }\nz 2;");
    root = read_good("http {\n include *.inc;\n w;\n}");
    assert_string_equal(hai_nginx_value(hai_nginx_child(root, "http"), "x"),
                        "1");
    assert_string_equal(hai_nginx_value(hai_nginx_child(root, "http"), "z"),
                        "2");
    assert_int_equal(hai_nginx_child(hai_nginx_child(root, "http"), "z")->line,
                     2);
    assert_int_equal(hai_nginx_child(hai_nginx_child(root, "http"), "w")->line,
                     3);
    hai_nginx_conf_free(root);

    /* a pattern may match nothing, a name has to be there */
    hai_nginx_conf_free(read_good("include none*.inc;"));
    assert_null(read_text("include none.inc;", error, sizeof(error)));
    assert_non_null(strstr(error, "none.inc"));

    /* a file that includes itself */
    put("one.inc", "include one.inc;");
    assert_null(read_text("include one.inc;", error, sizeof(error)));
    assert_non_null(strstr(error, "too deeply"));
}

static void errors(void **state) {
    static const char *const texts[] = {
        "a",       "a {", "}",    "a { b }", ";",    "a \"b;", "a 'b",
        "a { } }", "{ }", "a \\", "\"",      "a {{", "a ${",
    };
    char error[256];
    size_t i;

    (void) state;
    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        error[0] = '\0';
        assert_null(read_text(texts[i], error, sizeof(error)));
        assert_true(error[0] != '\0');
    }
    hai_nginx_conf_free(read_good(""));
    hai_nginx_conf_free(read_good("# nothing"));
}

static void uris(void **state) {
    static const struct {
        const char *uri, *path;
    } cases[] = {
        {"/", "/"},
        {"/v1/chat/completions", "/v1/chat/completions"},
        {"/v1//a///b", "/v1/a/b"},
        {"/v1/./a/.", "/v1/a/"},
        {"/v1/a/..", "/v1/"},
        {"/v1/a/../b", "/v1/b"},
        {"/a/b/../../c", "/c"},
        {"/..", NULL},
        {"/a/../..", NULL},
        {"/%76%31/a", "/v1/a"},
        {"/a%2Fb", "/a/b"},
        {"/a%2f..%2fb", "/b"},
        {"/a/%2e%2E/b", "/b"},
        {"/a%3Fb?c", "/a?b"},
        {"/a%23b#c", "/a#b"},
        {"/a%2525", "/a%25"},
        {"/a?b/../c", "/a"},
        {"/a%", NULL},
        {"/a%2", NULL},
        {"/a%zz", NULL},
        {"/a%00", NULL},
        {"a", NULL},
        {"", NULL},
        {"/...", "/..."},
        {"/.a/..b", "/.a/..b"},
    };
    size_t i;
    char *path;

    (void) state;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        path = hai_uri_normalise(cases[i].uri);
        if (cases[i].path == NULL) {
            assert_null(path);
        } else {
            assert_non_null(path);
            assert_string_equal(path, cases[i].path);
        }
        free(path);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words),    cmocka_unit_test(blocks),
        cmocka_unit_test(includes), cmocka_unit_test(errors),
        cmocka_unit_test(uris),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
