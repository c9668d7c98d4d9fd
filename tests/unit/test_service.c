/* SOURCES: fcgi-backend/lib/service.c fcgi-backend/lib/log.c */

/*
 * Listening sockets, signals, and the lines of the log.
 */

#include "lib/log.h"
#include "lib/service.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/hai-service.XXXXXX";
static char path[64];
static char error[256];

static int listen_at(const char *spec, const char *mode, bool *own) {
    error[0] = '\0';
    return hai_service_listen(spec, mode, NULL, own, error, sizeof(error));
}

static bool can_connect(void) {
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), rc;

    assert_true(fd >= 0);
    strcpy(addr.sun_path, path);
    rc = connect(fd, (struct sockaddr *) &addr, sizeof(addr));
    close(fd);
    return rc == 0;
}

static void test_unix(void **state) {
    struct stat st;
    bool own;
    int fd = listen_at(path, "600", &own);

    (void) state;
    assert_true(fd >= 0);
    assert_true(own);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_true(can_connect());

    /* there is somebody who answers */
    assert_int_equal(listen_at(path, NULL, &own), -1);
    assert_false(own);
    assert_non_null(strstr(error, "another program listens there"));
    assert_true(can_connect());

    /* left by a program that was killed: replaced */
    close(fd);
    assert_false(can_connect());
    fd = listen_at(path, NULL, &own);
    assert_true(fd >= 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    assert_true(can_connect());
    close(fd);
    unlink(path);
}

/* What is no socket is somebody's file. */
static void test_no_socket(void **state) {
    FILE *file = fopen(path, "w");
    struct stat st;
    bool own;

    (void) state;
    assert_non_null(file);
    fclose(file);
    assert_int_equal(listen_at(path, NULL, &own), -1);
    assert_non_null(strstr(error, path));
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode));
    unlink(path);
}

static void test_tcp(void **state) {
    bool own;
    int fd = listen_at("127.0.0.1:0", NULL, &own);

    (void) state;
    assert_true(fd >= 0);
    assert_false(own);
    close(fd);
}

static void test_wrong(void **state) {
    static const struct {
        const char *spec, *mode, *group, *message;
    } table[] = {
        {"relative", NULL, NULL, "host:port is wanted"},
        {"127.0.0.1:", NULL, NULL, "host:port is wanted"},
        {"127.0.0.1:x", NULL, NULL, "65535 is wanted"},
        {"127.0.0.1:65536", NULL, NULL, "65535 is wanted"},
        {"127.0.0.1:-1", NULL, NULL, "65535 is wanted"},
        {"/nonexistent/s", NULL, NULL, "No such file"},
        {"/tmp/hai-x", "888", NULL, "three octal digits"},
        {"/tmp/hai-x", "1777", NULL, "three octal digits"},
        {"/tmp/hai-x", NULL, "no such group", "there is none"},
    };
    size_t i;
    bool own;

    (void) state;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(hai_service_listen(table[i].spec, table[i].mode,
                                            table[i].group, &own, error,
                                            sizeof(error)),
                         -1);
        if (strstr(error, table[i].message) == NULL) {
            fail_msg("\"%s\" not in \"%s\"", table[i].message, error);
        }
    }
}

/* As systemd passes it, to this process and not to another one. */
static void test_passed(void **state) {
    char pid[24], text[96];
    int fd, passed;
    bool own;

    (void) state;
    fd = listen_at(path, NULL, &own);
    assert_true(fd >= 0);
    fflush(stdout);
    if (fork() == 0) {
        snprintf(pid, sizeof(pid), "%ld", (long) getpid());
        setenv("LISTEN_PID", pid, 1);
        setenv("LISTEN_FDS", "1", 1);
        if (fd != 3 && dup2(fd, 3) != 3) {
            _exit(1);
        }
        passed = hai_service_listen("/nonexistent/s", NULL, NULL, &own, text,
                                    sizeof(text));
        _exit(passed == 3 && !own && getenv("LISTEN_FDS") == NULL
                      && (fcntl(3, F_GETFD) & FD_CLOEXEC)
                  ? 0
                  : 2);
    }
    assert_true(wait(&passed) > 0);
    assert_int_equal(passed, 0);

    setenv("LISTEN_PID", "1", 1);
    setenv("LISTEN_FDS", "1", 1);
    assert_int_equal(listen_at("/nonexistent/s", NULL, &own), -1);
    assert_non_null(strstr(error, "No such file"));
    assert_null(getenv("LISTEN_PID"));
    close(fd);
    unlink(path);
}

static void test_signals(void **state) {
    (void) state;
    assert_int_equal(hai_service_signals(), 0);
    assert_int_equal(hai_service_wait(0), 0);
    assert_int_equal(hai_service_wait(20), 0);
    kill(getpid(), SIGHUP);
    assert_int_equal(hai_service_wait(-1), SIGHUP);
    kill(getpid(), SIGINT);
    assert_int_equal(hai_service_wait(1000), SIGTERM);
    kill(getpid(), SIGTERM);
    assert_int_equal(hai_service_wait(1000), SIGTERM);
}

static void test_user(void **state) {
    (void) state;
    assert_int_equal(hai_service_user("no such user", error, sizeof(error)),
                     -1);
    assert_non_null(strstr(error, "there is none"));
}

/* What is written to standard error meanwhile. */
static size_t catch_log(void (*write_log)(void), char *text, size_t size) {
    int old = dup(STDERR_FILENO);
    FILE *out = tmpfile();
    size_t n;

    assert_non_null(out);
    fflush(stderr);
    dup2(fileno(out), STDERR_FILENO);
    write_log();
    dup2(old, STDERR_FILENO);
    close(old);
    rewind(out);
    n = fread(text, 1, size - 1, out);
    text[n] = '\0';
    fclose(out);
    return n;
}

static void say_little(void) {
    errno = ENOENT;
    hai_log(HAI_LOG_INFO, "loaded %d rules of \"%s\"", 3,
            "a\nb\x1b[1m\x7f\xc2\x9b\xc3\xa4");
    assert_int_equal(errno, ENOENT);
    hai_log(HAI_LOG_DEBUG, "not shown");
}

static void say_much(void) {
    static char text[5000];

    memset(text, 'x', sizeof(text) - 1);
    hai_log(HAI_LOG_ERROR, "%s", text);
}

static void test_log(void **state) {
    char text[8192];
    size_t n;

    (void) state;
    hai_log_init("hoody-ai-test", HAI_LOG_INFO);
    catch_log(say_little, text, sizeof(text));
    assert_string_equal(text + strlen("2026-01-02T03:04:05.678Z "),
                        "hoody-ai-test: info: loaded 3 rules of "
                        "\"a?b?[1m???\xc3\xa4\"\n");
    assert_int_equal(text[10], 'T');
    assert_int_equal(text[23], 'Z');

    n = catch_log(say_much, text, sizeof(text));
    assert_true(n <= 2048);
    assert_int_equal(text[n - 1], '\n');
}

static void test_log_level(void **state) {
    enum hai_log_level level = HAI_LOG_ERROR;

    (void) state;
    assert_int_equal(hai_log_level_parse("debug", &level), 0);
    assert_int_equal(level, HAI_LOG_DEBUG);
    assert_int_equal(hai_log_level_parse("Info", &level), -1);
    assert_int_equal(hai_log_level_parse("", &level), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unix),    cmocka_unit_test(test_no_socket),
        cmocka_unit_test(test_tcp),     cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_passed),  cmocka_unit_test(test_user),
        cmocka_unit_test(test_log),     cmocka_unit_test(test_log_level),
        cmocka_unit_test(test_signals),
    };
    int rc;

    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    snprintf(path, sizeof(path), "%s/s", folder);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return rc;
}
