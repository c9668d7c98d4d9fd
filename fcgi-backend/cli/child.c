/* See child.h. */

#define _GNU_SOURCE /* execvpe() */

#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void run(const char *const *argv, int out) {
    static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:"
                         "/usr/bin:/sbin:/bin";
    static char locale[] = "LC_ALL=C";
    char *env[] = {path, locale, NULL};
    int in = open("/dev/null", O_RDONLY);

    if (in < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0) {
        _exit(127);
    }
    putenv(path); /* where execvpe() looks */
    execvpe(argv[0], (char *const *) argv, env);
    _exit(127);
}

/* Reads to the end of the output; -1 when the time is over. */
static int collect(int fd, int64_t end, char *out, size_t size) {
    struct pollfd in = {.fd = fd, .events = POLLIN};
    char rest[4096] = {0};
    size_t len = 0;
    ssize_t n;
    int64_t left;

    for (;;) {
        left = end - now_ms();
        if (left <= 0) {
            return -1;
        }
        if (poll(&in, 1, (int) left) < 1) {
            continue;
        }
        n = read(fd, len + 1 < size ? out + len : rest,
                 len + 1 < size ? size - len - 1 : sizeof(rest));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return 0;
        }
        if (len + 1 < size) {
            len += (size_t) n;
            out[len] = '\0';
        }
    }
}

int hai_child_run(const char *const *argv, int timeout_ms, char *out,
                  size_t size) {
    int64_t end = now_ms() + timeout_ms;
    int fd[2], status = 0, rc;
    pid_t pid, done;

    out[0] = '\0';
    if (pipe2(fd, O_CLOEXEC) != 0) {
        return -1;
    }
    pid = fork();
    if (pid == 0) {
        run(argv, fd[1]);
    }
    close(fd[1]);
    rc = pid > 0 ? collect(fd[0], end, out, size) : -1;
    close(fd[0]);

    /* it has closed its output, and may yet live */
    while (pid > 0 && (done = waitpid(pid, &status, WNOHANG)) != pid) {
        if (done < 0 && errno != EINTR) {
            return -1;
        }
        if (rc != 0 || now_ms() >= end) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1;
        }
        poll(NULL, 0, 2);
    }
    return rc == 0 && WIFEXITED(status) && WEXITSTATUS(status) != 127
               ? WEXITSTATUS(status)
               : -1;
}
