/* SOURCES: fcgi-backend/lib/options.c fcgi-backend/lib/file.c */
/* SOURCES: fcgi-backend/lib/locate.c */
/* LIBS: -ljansson */

/*
 * Options from the command line and from a file, and which of the two wins.
 */

#include "lib/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *socket_path;
static long threads;
static bool quiet;
static struct hai_option_list allow;

static const struct hai_option options[] = {
    {"socket", HAI_OPT_STRING, &socket_path, "PATH", "where to listen", 0, 0,
     0},
    {"threads", HAI_OPT_NUMBER, &threads, "N", "threads", 1, 64, 't'},
    {"quiet", HAI_OPT_FLAG, &quiet, NULL, "no messages", 0, 0, 'q'},
    {"webhook-allow", HAI_OPT_LIST, &allow, "CIDR", "may repeat", 0, 0, 0},
    {NULL, HAI_OPT_FLAG, NULL, NULL, NULL, 0, 0, 0},
};

static const struct hai_program program = {"hoody-ai-test", "[OPTION...]",
                                           "Tests.", NULL, options};

static char file[] = "/tmp/hai-options.XXXXXX";
static char said[4096]; /* on standard error */

static int set_up(void **state) {
    (void) state;
    socket_path = "/default";
    threads = 4;
    quiet = false;
    return 0;
}

static int tear_down(void **state) {
    (void) state;
    allow.item = NULL;
    allow.n = 0;
    return 0;
}

static void write_file(const char *text) {
    FILE *out = fopen(file, "w");

    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

/* Parses the words, catching what is said on standard error. */
static int parse(const char *words, int *rest) {
    static char line[1024]; /* values are borrowed from it */
    char *argv[32], *save = NULL, *word;
    int argc = 0, rc, old = dup(STDERR_FILENO);
    FILE *out = tmpfile();
    size_t n;

    assert_non_null(out);
    snprintf(line, sizeof(line), "hoody-ai-test %s", words);
    for (word = strtok_r(line, " ", &save); word != NULL && argc < 31;
         word = strtok_r(NULL, " ", &save))
    {
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    fflush(stderr);
    dup2(fileno(out), STDERR_FILENO);
    rc = hai_options_parse(&program, argc, argv, rest);
    fflush(stderr);
    dup2(old, STDERR_FILENO);
    close(old);
    rewind(out);
    n = fread(said, 1, sizeof(said) - 1, out);
    said[n] = '\0';
    fclose(out);
    return rc;
}

static void refuse(const char *words, const char *message) {
    assert_int_equal(parse(words, NULL), -1);
    if (strstr(said, message) == NULL) {
        fail_msg("\"%s\" not in \"%s\"", message, said);
    }
}

static void test_defaults(void **state) {
    (void) state;
    assert_int_equal(parse("", NULL), 0);
    assert_string_equal(socket_path, "/default");
    assert_int_equal(threads, 4);
    assert_false(quiet);
    assert_int_equal(allow.n, 0);
}

static void test_command_line(void **state) {
    (void) state;
    assert_int_equal(parse("--socket /a -t 8 --quiet --webhook-allow a "
                           "--webhook-allow b",
                           NULL),
                     0);
    assert_string_equal(socket_path, "/a");
    assert_int_equal(threads, 8);
    assert_true(quiet);
    assert_int_equal(allow.n, 2);
    assert_string_equal(allow.item[0], "a");
    assert_string_equal(allow.item[1], "b");
}

static void test_file(void **state) {
    char words[128];

    (void) state;
    write_file("{\"socket\": \"/f\", \"threads\": 2, \"quiet\": true,\n"
               " \"webhook-allow\": [\"x\", \"y\"]}");
    snprintf(words, sizeof(words), "--config %s", file);
    assert_int_equal(parse(words, NULL), 0);
    assert_string_equal(socket_path, "/f");
    assert_int_equal(threads, 2);
    assert_true(quiet);
    assert_int_equal(allow.n, 2);
    assert_string_equal(allow.item[1], "y");
}

static void test_command_line_wins(void **state) {
    char words[128];

    (void) state;
    write_file("{\"socket\": \"/f\", \"threads\": 2,\n"
               " \"webhook-allow\": [\"x\", \"y\"]}");

    /* before as well as behind the file */
    snprintf(words, sizeof(words),
             "--socket /a --config %s --webhook-allow z --webhook-allow zz",
             file);
    assert_int_equal(parse(words, NULL), 0);
    assert_string_equal(socket_path, "/a");
    assert_int_equal(threads, 2);
    assert_int_equal(allow.n, 2);
    assert_string_equal(allow.item[0], "z");
}

static void test_rest(void **state) {
    int rest = 0;

    (void) state;
    assert_int_equal(parse("one --quiet two", &rest), 0);
    assert_int_equal(rest, 2); /* moved behind the options */
    refuse("one", "unexpected argument \"one\"");
}

static void test_bad_arguments(void **state) {
    (void) state;
    refuse("--threads 0", "--threads: a number from 1 to 64 is wanted");
    refuse("--threads 65", "--threads: a number from 1 to 64 is wanted");
    refuse("--threads 1x", "--threads: a whole number is wanted");
    refuse("--threads 99999999999999999999",
           "--threads: a whole number is wanted");
    refuse("--threads", "requires an argument");
    refuse("--nothing", "unrecognized option");
    refuse("--config /nonexistent/x", "/nonexistent/x: No such file");
}

static void refuse_file(const char *text, const char *message) {
    char words[128], expected[256];

    write_file(text);
    snprintf(words, sizeof(words), "--config %s", file);
    snprintf(expected, sizeof(expected), "hoody-ai-test: %s:%s\n", file,
             message);
    assert_int_equal(parse(words, NULL), -1);
    assert_string_equal(said, expected);
}

/* Each names line, column and option. */
static void test_bad_file(void **state) {
    (void) state;
    refuse_file("{\n  \"soket\": \"/f\"}",
                "2:3: \"soket\": there is no such option");
    refuse_file("{\"threads\":\n  \"4\"}",
                "2:3: \"threads\": a whole number is wanted");
    refuse_file("{\"threads\": 65}",
                "1:13: \"threads\": a number from 1 to 64 is wanted");
    refuse_file("{\"quiet\": 1}", "1:11: \"quiet\": true or false is wanted");
    refuse_file("{\"socket\": \"\"}",
                "1:12: \"socket\": a string is wanted, not empty");
    refuse_file("{\"webhook-allow\": \"x\"}",
                "1:19: \"webhook-allow\": an array of strings is wanted");
    refuse_file("{\"webhook-allow\": [\"x\", 7]}",
                "1:25: \"webhook-allow\": a string is wanted, not empty");
    refuse_file("[]", "1:1: \"\": an object is wanted");
}

static void test_broken_file(void **state) {
    char words[128];

    (void) state;
    snprintf(words, sizeof(words), "--config %s", file);
    write_file("{\"threads\": 4,\n \"threads\": 5}");
    refuse(words, ":2:");
    write_file("{\"threads\": 4,\n}");
    refuse(words, ":2:");
    refuse("--config /tmp", "/tmp: not a regular file");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_command_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_command_line_wins, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_rest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_arguments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken_file, set_up, tear_down),
    };
    int fd = mkstemp(file), rc;

    if (fd < 0) {
        return 1;
    }
    close(fd);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(file);
    return rc;
}
