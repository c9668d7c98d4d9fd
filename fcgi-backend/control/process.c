/* cgroups and interfaces of processes, see process.h. */

#define _GNU_SOURCE

#include "process.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define REPLY 65536

char *hai_process_cgroup(pid_t pid, const char *mark) {
    char path[64], line[4096];
    char *result = NULL;
    FILE *in;

    snprintf(path, sizeof(path), "/proc/%d/cgroup", (int) pid);
    in = pid > 0 && *mark != '\0' ? fopen(path, "re") : NULL;

    while (in != NULL && result == NULL && fgets(line, sizeof(line), in)) {
        char *at;

        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::/", 4) != 0) {
            continue;
        }

        at = strstr(line + 3, mark);
        if (at != NULL) {
            at[strcspn(at, "/")] = '\0';
            result = strdup(line + 3);
        }
    }

    if (in != NULL) {
        fclose(in);
    }

    return result != NULL ? result : strdup("");
}

/* --- the host's end of a veth pair ----------------------------------------- */

struct look {
    pid_t pid;
    unsigned char mac[6];
    unsigned index; /* of the other end, 0: not found */
};

static bool parse_mac(const char *text, unsigned char mac[6]) {
    unsigned b[6];
    int end = 0;

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3],
               &b[4], &b[5], &end)
            != 6
        || text[end] != '\0')
    {
        return false;
    }

    for (size_t i = 0; i < 6; i++) {
        mac[i] = (unsigned char) b[i];
    }

    return true;
}

/* The link of the interface with that MAC. */
static void read_link(struct look *look, const struct nlmsghdr *h) {
    const struct ifinfomsg *info = NLMSG_DATA(h);
    const struct rtattr *a = IFLA_RTA(info);
    int len = (int) (h->nlmsg_len - NLMSG_LENGTH(sizeof(*info)));
    bool found = false;
    unsigned link = 0;

    for (; RTA_OK(a, len); a = RTA_NEXT(a, len)) {
        if (a->rta_type == IFLA_ADDRESS && RTA_PAYLOAD(a) == sizeof(look->mac))
        {
            found = memcmp(RTA_DATA(a), look->mac, sizeof(look->mac)) == 0;
        } else if (a->rta_type == IFLA_LINK && RTA_PAYLOAD(a) == sizeof(link)) {
            memcpy(&link, RTA_DATA(a), sizeof(link));
        }
    }

    if (found && link != 0) {
        look->index = link;
    }
}

static void ask(struct look *look, int fd) {
    struct {
        struct nlmsghdr h;
        struct ifinfomsg info;
    } question = {
        .h = {.nlmsg_len = sizeof(question),
              .nlmsg_type = RTM_GETLINK,
              .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .info = {.ifi_family = AF_UNSPEC},
    };
    struct timeval limit = {.tv_sec = 1};
    struct nlmsghdr *h, *reply = malloc(REPLY);
    ssize_t n;

    if (reply == NULL
        || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0
        || send(fd, &question, sizeof(question), 0) < 0)
    {
        free(reply);
        return;
    }

    while ((n = recv(fd, reply, REPLY, 0)) > 0) {
        int len = (int) n;

        for (h = reply; NLMSG_OK(h, len); h = NLMSG_NEXT(h, len)) {
            if (h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR) {
                free(reply);
                return;
            }
            if (h->nlmsg_type == RTM_NEWLINK) {
                read_link(look, h);
            }
        }
    }

    free(reply);
}

/* In a thread of its own, which ends with its namespace. */
static void *look_inside(void *data) {
    struct look *look = data;
    char path[64];
    int ns, fd;

    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int) look->pid);
    ns = open(path, O_RDONLY | O_CLOEXEC);
    if (ns < 0) {
        return NULL;
    }

    if (setns(ns, CLONE_NEWNET) == 0) {
        fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        if (fd >= 0) {
            ask(look, fd);
            close(fd);
        }
    }

    close(ns);

    return NULL;
}

bool hai_process_interface(pid_t pid, const char *mac, char *name,
                           size_t size) {
    struct look look = {.pid = pid};
    char found[IF_NAMESIZE];
    pthread_t thread;

    if (pid <= 0 || !parse_mac(mac, look.mac)
        || pthread_create(&thread, NULL, look_inside, &look) != 0)
    {
        return false;
    }

    pthread_join(thread, NULL);

    if (look.index == 0 || if_indextoname(look.index, found) == NULL) {
        return false;
    }

    return (size_t) snprintf(name, size, "%s", found) < size;
}
