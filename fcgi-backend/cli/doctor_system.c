/* hoody-ai doctor: the host and its kernel. */

#define _GNU_SOURCE /* prlimit() */

#include "child.h"
#include "doctor.h"

#include "lib/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* Inodes of the first namespaces: linux/proc_ns.h. */
#define FIRST_CGROUP_NS 0xEFFFFFFBul
#define FIRST_PID_NS 0xEFFFFFFCul

#define MEMLOCK_MIN (64 * 1024) /* keys of one configuration, and of the next */

/* Reads a short file of /proc; false: it cannot be read. */
static bool read_proc(const char *path, char *to, size_t size) {
    FILE *file = fopen(path, "re");
    size_t n;

    to[0] = '\0';
    if (file == NULL) {
        return false;
    }
    n = fread(to, 1, size - 1, file);
    to[n] = '\0';
    fclose(file);
    return true;
}

static long read_number(const char *path, long otherwise) {
    char text[64];

    return read_proc(path, text, sizeof(text)) ? strtol(text, NULL, 10)
                                               : otherwise;
}

void hai_doctor_clock(const struct hai_doctor *d, struct hai_finding *f) {
    struct timex t = {.modes = 0};
    int state = adjtimex(&t);

    (void) d;
    if (state < 0) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "adjtimex: %s",
                       strerror(errno));
    } else if (state == TIME_ERROR || (t.status & STA_UNSYNC) != 0) {
        hai_doctor_say(f, HAI_DOCTOR_WARN,
                       "Run a time service, such as systemd-timesyncd or "
                       "chrony.",
                       "no time service sets the clock");
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "a time service sets the clock");
    }
}

/* Is the table of hoody-ai there?  -1: that cannot be seen. */
static int has_table(const struct hai_doctor *d, const char *family) {
    const char *const argv[] = {"nft",  "list",     "table",
                                family, "hoody_ai", NULL};
    char out[4096];
    int rc = hai_child_run(argv, (int) d->timeout_ms / 3, out, sizeof(out));

    if (rc == 0) {
        return 1;
    }
    return rc > 0 && strstr(out, "No such file") != NULL ? 0 : -1;
}

void hai_doctor_firewall(const struct hai_doctor *d, struct hai_finding *f) {
    int bridge = has_table(d, "bridge"), inet = has_table(d, "inet");

    if (bridge > 0 || inet > 0) {
        hai_doctor_say(
            f, HAI_DOCTOR_OK, NULL, "nft has the table hoody_ai (%s%s%s)",
            bridge > 0 ? "bridge" : "", bridge > 0 && inet > 0 ? ", " : "",
            inet > 0 ? "inet" : "");
    } else if (bridge < 0 && inet < 0) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       geteuid() != 0 ? "the firewall is for root to see"
                                      : "nft does not run");
    } else {
        hai_doctor_say(f, HAI_DOCTOR_WARN,
                       "Pin each container's interface to its addresses: "
                       "hoody-ai firewall apply, or watch as a service.",
                       "no table hoody_ai: a container with raw sockets may "
                       "take another's address");
    }
}

void hai_doctor_forwarding(const struct hai_doctor *d, struct hai_finding *f) {
    long ipv4 = read_number("/proc/sys/net/ipv4/ip_forward", 0);
    long ipv6 = read_number("/proc/sys/net/ipv6/conf/all/forwarding", 0);

    if (ipv4 == 0 && ipv6 == 0) {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "packets are not forwarded");
    } else if (has_table(d, "inet") > 0) {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                       "packets are forwarded, behind the firewall");
    } else {
        hai_doctor_say(f, HAI_DOCTOR_WARN,
                       "Set ip_forward to 0, or let a firewall say who may "
                       "reach what.",
                       "packets are forwarded (%s%s%s): containers may reach "
                       "each other and other networks past the gateway",
                       ipv4 != 0 ? "IPv4" : "",
                       ipv4 != 0 && ipv6 != 0 ? ", " : "",
                       ipv6 != 0 ? "IPv6" : "");
    }
}

/* What counts for an interface is the larger of its own and that of all. */
void hai_doctor_rp_filter(const struct hai_doctor *d, struct hai_finding *f) {
    const char *folder = "/proc/sys/net/ipv4/conf";
    long all = read_number("/proc/sys/net/ipv4/conf/all/rp_filter", -1);
    char path[512], names[120] = "";
    DIR *dir = opendir(folder);
    struct dirent *entry;
    size_t n = 0;

    (void) d;
    if (all < 0 || dir == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "%s cannot be read", folder);
    } else if (all == 0) {
        while ((entry = readdir(dir)) != NULL) {
            size_t len = strlen(names);

            if (entry->d_name[0] == '.' || strcmp(entry->d_name, "all") == 0
                || strcmp(entry->d_name, "default") == 0
                || strcmp(entry->d_name, "lo") == 0)
            {
                continue;
            }
            snprintf(path, sizeof(path), "%s/%s/rp_filter", folder,
                     entry->d_name);
            if (read_number(path, 1) != 0) {
                continue;
            }
            if (n++ < 3) {
                snprintf(names + len, sizeof(names) - len, "%s%.20s",
                         len > 0 ? ", " : "", entry->d_name);
            }
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    if (n > 0) {
        hai_doctor_say(f, HAI_DOCTOR_WARN,
                       "sysctl -w net.ipv4.conf.all.rp_filter=1",
                       "%zu interfaces take packets whose source address lies "
                       "elsewhere: %s",
                       n, names);
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                       "source addresses are checked against routes");
    }
}

void hai_doctor_peerpidfd(const struct hai_doctor *d, struct hai_finding *f) {
    socklen_t len = sizeof(int);
    int fd[2], pidfd = -1;

    if (!hai_doctor_unix_listener(d)) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "no unix socket listens for containers");
        return;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) == 0) {
        (void) getsockopt(fd[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len);
        close(fd[0]);
        close(fd[1]);
    }
    if (pidfd >= 0) {
        close(pidfd);
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                       "the kernel tells who is at a unix socket");
    } else {
        hai_doctor_say(f, HAI_DOCTOR_WARN,
                       "Take Linux 6.5 or later, or give each container a "
                       "socket of its own: hoody_ai_listener_container.",
                       "the kernel does not know SO_PEERPIDFD");
    }
}

/* Is it in the host's first namespace of this kind?  -1: that cannot be
 * seen. */
static int in_first(pid_t pid, const char *kind, unsigned long first) {
    char path[64];
    struct stat st;

    snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int) pid, kind);
    return stat(path, &st) == 0 ? st.st_ino == first : -1;
}

void hai_doctor_namespaces(const struct hai_doctor *d, struct hai_finding *f) {
    pid_t pid = hai_doctor_master(d);
    int pids, cgroups;

    if (!hai_doctor_unix_listener(d)) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "no unix socket listens for containers");
        return;
    }
    pid = pid > 0 ? pid : getpid();
    pids = in_first(pid, "pid", FIRST_PID_NS);
    cgroups = in_first(pid, "cgroup", FIRST_CGROUP_NS);
    if (pids < 0 || cgroups < 0) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "namespaces of process %d cannot be seen", (int) pid);
    } else if (pids == 0 || cgroups == 0) {
        hai_doctor_say(f, HAI_DOCTOR_WARN,
                       "Run nginx on the host itself, or in its pid and "
                       "cgroup namespaces.",
                       "nginx is in a %s namespace of its own: who is at a "
                       "unix socket cannot be told, and is refused",
                       pids == 0 ? "pid" : "cgroup");
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                       "nginx is in the host's pid and cgroup namespaces");
    }
}

void hai_doctor_hidepid(const struct hai_doctor *d, struct hai_finding *f) {
    FILE *file = fopen("/proc/self/mounts", "re");
    char line[1024], where[256], type[64], options[512];
    bool hidden = false;

    if (!hai_doctor_unix_listener(d)) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "no unix socket listens for containers");
    } else if (file == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "no list of mounts");
    } else {
        while (fgets(line, sizeof(line), file) != NULL) {
            if (sscanf(line, "%*s %255s %63s %511s", where, type, options) == 3
                && strcmp(where, "/proc") == 0 && strcmp(type, "proc") == 0)
            {
                const char *at = strstr(options, "hidepid=");

                hidden = at != NULL && strncmp(at, "hidepid=0", 9) != 0
                         && strncmp(at, "hidepid=off", 11) != 0;
            }
        }
        if (hidden) {
            hai_doctor_say(f, HAI_DOCTOR_FAIL,
                           "Mount /proc without hidepid, or with gid= of a "
                           "group that nginx' user is in.",
                           "/proc has hidepid: workers cannot read the cgroup "
                           "of a caller");
        } else {
            hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "/proc has no hidepid");
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

void hai_doctor_memlock(const struct hai_doctor *d, struct hai_finding *f) {
    const char *whose = "nginx";
    pid_t pid = hai_doctor_master(d);
    struct rlimit limit;

    if (pid <= 0) {
        pid = getpid();
        whose = "this shell, for want of a running nginx,";
    }
    if (prlimit(pid, RLIMIT_MEMLOCK, NULL, &limit) != 0) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "prlimit: %s",
                       strerror(errno));
    } else if (limit.rlim_cur < MEMLOCK_MIN) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Set LimitMEMLOCK=8M in nginx' unit.",
                       "%s may lock %llu bytes: keys may be swapped out", whose,
                       (unsigned long long) limit.rlim_cur);
    } else if (limit.rlim_cur == RLIM_INFINITY) {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                       "%s may lock any amount of memory", whose);
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "%s may lock %llu bytes", whose,
                       (unsigned long long) limit.rlim_cur);
    }
}

void hai_doctor_core(const struct hai_doctor *d, struct hai_finding *f) {
    long dumpable = read_number("/proc/sys/fs/suid_dumpable", 0);
    char pattern[160];

    if (!read_proc("/proc/sys/kernel/core_pattern", pattern, sizeof(pattern))) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "there is no core_pattern");
        return;
    }
    pattern[strcspn(pattern, "\n")] = '\0';
    if (dumpable == 1) {
        hai_doctor_say(f, HAI_DOCTOR_WARN, "sysctl -w fs.suid_dumpable=0",
                       "fs.suid_dumpable is 1: memory of privileged programs "
                       "goes to core dumps");
    } else if (d->tree != NULL
               && *hai_nginx_value(d->tree, "worker_rlimit_core") != '\0')
    {
        hai_doctor_say(f, HAI_DOCTOR_WARN,
                       "Take worker_rlimit_core out when it is not needed.",
                       "core dumps of workers are asked for: prompts may be "
                       "in them (keys are not)");
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "core dumps go to \"%s\"",
                       pattern);
    }
}
