/*
 * Keeps the CPU that it is started on from going to sleep: runs where nothing
 * else wants to (SCHED_IDLE, see sched(7)) until it is ended, or its parent
 * has.  In a virtual machine a CPU that sleeps is given to other machines and
 * comes back late.
 */

#define _GNU_SOURCE

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

/* Leaves the core to its other thread meanwhile. */
static void rest(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

int main(int argc, char **argv) {
    const struct sched_param none = {.sched_priority = 0};

    if (argc != 1) {
        printf("usage: taskset -c <cpu> %s\n", argv[0]);
        return strcmp(argv[1], "-h") == 0 ? 0 : 2;
    }
    if (sched_setscheduler(0, SCHED_IDLE, &none) != 0) {
        fprintf(stderr, "%s: SCHED_IDLE: %s\n", argv[0], strerror(errno));
        return 1;
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        fprintf(stderr, "%s: PR_SET_PDEATHSIG: %s\n", argv[0], strerror(errno));
        return 1;
    }
    for (;;) {
        rest();
    }
}
