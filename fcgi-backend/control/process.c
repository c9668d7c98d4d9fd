/* cgroups and interfaces of processes, see process.h. */

#define _GNU_SOURCE

#include "process.h"

#include <fcntl.h>
#include <linux/net_namespace.h>
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

/*
 * Inside, the interface with the MAC names its peer on the host by a number.
 * Who may make interfaces in there can have others with the same MAC and any
 * number: only one counts whose peer, seen from the host, says the same back.
 */

#define CANDIDATES_MAX 64

struct candidate {
    unsigned inside; /* its own number, in there */
    unsigned peer;   /* the other end's, on the host */
};

struct look {
    int ns; /* of the container */
    unsigned char mac[6];
    struct candidate found[CANDIDATES_MAX];
    size_t n;
};

/* What a link says of its other end. */
struct link {
    unsigned index;
    unsigned peer;            /* 0: it has none */
    int32_t peer_ns;          /* -1: the same one */
    const unsigned char *mac; /* or NULL */
};

static bool parse_mac(const char *text, unsigned char mac[6]) {
    unsigned b[6];
    int end = 0;

    /* %2x cannot be out of range.  NOLINTNEXTLINE(cert-err34-c) */
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

static struct link read_link(const struct nlmsghdr *h) {
    const struct ifinfomsg *info = NLMSG_DATA(h);
    const struct rtattr *a = IFLA_RTA(info);
    int len = (int) (h->nlmsg_len - NLMSG_LENGTH(sizeof(*info)));
    struct link link = {.index = (unsigned) info->ifi_index, .peer_ns = -1};

    for (; RTA_OK(a, len); a = RTA_NEXT(a, len)) {
        if (a->rta_type == IFLA_ADDRESS && RTA_PAYLOAD(a) == 6) {
            link.mac = RTA_DATA(a);
        } else if (a->rta_type == IFLA_LINK
                   && RTA_PAYLOAD(a) == sizeof(link.peer)) {
            memcpy(&link.peer, RTA_DATA(a), sizeof(link.peer));
        } else if (a->rta_type == IFLA_LINK_NETNSID
                   && RTA_PAYLOAD(a) == sizeof(link.peer_ns))
        {
            memcpy(&link.peer_ns, RTA_DATA(a), sizeof(link.peer_ns));
        }
    }

    return link;
}

/* Asks the kernel, and has each message of the answer looked at. */
static bool ask(const void *question, size_t len,
                void (*one)(const struct nlmsghdr *, void *), void *data) {
    struct timeval limit = {.tv_sec = 1};
    char *reply = malloc(REPLY);
    bool done = false;
    ssize_t n;
    int fd;

    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (reply == NULL || fd < 0
        || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0
        || send(fd, question, len, 0) < 0)
    {
        free(reply);
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }

    while (!done && (n = recv(fd, reply, REPLY, 0)) > 0) {
        struct nlmsghdr *h = (struct nlmsghdr *) (void *) reply;
        int left = (int) n;

        for (;
             !done && left >= (int) sizeof(*h) && NLMSG_OK(h, (unsigned) left);
             h = NLMSG_NEXT(h, left))
        {
            done = h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR
                   || (h->nlmsg_flags & NLM_F_MULTI) == 0;
            if (h->nlmsg_type != NLMSG_DONE && h->nlmsg_type != NLMSG_ERROR) {
                one(h, data);
            }
        }
    }

    close(fd);
    free(reply);

    return done;
}

static void take_candidate(const struct nlmsghdr *h, void *data) {
    struct look *look = data;
    struct link link;

    if (h->nlmsg_type != RTM_NEWLINK) {
        return;
    }

    link = read_link(h);
    if (link.mac != NULL && memcmp(link.mac, look->mac, 6) == 0
        && link.peer != 0 && link.peer_ns >= 0 && look->n < CANDIDATES_MAX)
    {
        look->found[look->n++] = (struct candidate){link.index, link.peer};
    }
}

/* In a thread of its own, which ends with its namespace. */
static void *look_inside(void *data) {
    struct look *look = data;
    const struct {
        struct nlmsghdr h;
        struct ifinfomsg info;
    } question = {
        .h = {.nlmsg_len = sizeof(question),
              .nlmsg_type = RTM_GETLINK,
              .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .info = {.ifi_family = AF_UNSPEC},
    };

    if (setns(look->ns, CLONE_NEWNET) == 0) {
        ask(&question, sizeof(question), take_candidate, look);
    }

    return NULL;
}

static void take_number(const struct nlmsghdr *h, void *data) {
    const struct rtgenmsg *message = NLMSG_DATA(h);
    const struct rtattr *a =
        (const void *) ((const char *) message
                        + NLMSG_ALIGN(sizeof(struct rtgenmsg)));
    int len = (int) h->nlmsg_len - (int) NLMSG_SPACE(sizeof(*message));

    if (h->nlmsg_type != RTM_NEWNSID) {
        return;
    }

    for (; RTA_OK(a, len); a = RTA_NEXT(a, len)) {
        if (a->rta_type == NETNSA_NSID && RTA_PAYLOAD(a) == sizeof(int32_t)) {
            memcpy(data, RTA_DATA(a), sizeof(int32_t));
        }
    }
}

/* By which number this namespace knows that one; -1: by none. */
static int32_t number_of(int ns) {
    struct {
        struct nlmsghdr h;
        struct rtgenmsg message __attribute__((aligned(NLMSG_ALIGNTO)));
        struct rtattr a __attribute__((aligned(NLMSG_ALIGNTO)));
        int32_t fd;
    } question = {
        .h = {.nlmsg_len = sizeof(question),
              .nlmsg_type = RTM_GETNSID,
              .nlmsg_flags = NLM_F_REQUEST},
        .message = {.rtgen_family = AF_UNSPEC},
        .a = {.rta_len = RTA_LENGTH(sizeof(int32_t)), .rta_type = NETNSA_FD},
        .fd = ns,
    };
    int32_t number = -1;

    return ask(&question, sizeof(question), take_number, &number) ? number : -1;
}

static void take_link(const struct nlmsghdr *h, void *data) {
    if (h->nlmsg_type == RTM_NEWLINK) {
        struct link *link = data;

        *link = read_link(h);
        link->mac = NULL; /* of the reply, which goes */
    }
}

/* Does the host's interface lead to this one in there? */
static bool leads_to(const struct candidate *c, int32_t ns) {
    const struct {
        struct nlmsghdr h;
        struct ifinfomsg info;
    } question = {
        .h = {.nlmsg_len = sizeof(question),
              .nlmsg_type = RTM_GETLINK,
              .nlmsg_flags = NLM_F_REQUEST},
        .info = {.ifi_family = AF_UNSPEC, .ifi_index = (int) c->peer},
    };
    struct link link = {.peer_ns = -1};

    return ask(&question, sizeof(question), take_link, &link)
           && link.index == c->peer && link.peer == c->inside
           && link.peer_ns == ns;
}

bool hai_process_interface(pid_t pid, const char *mac, char *name,
                           size_t size) {
    char path[64], found[IF_NAMESIZE];
    struct look look = {0};
    pthread_t thread;
    bool known = false;
    int32_t ns;

    if (pid <= 0 || !parse_mac(mac, look.mac)) {
        return false;
    }

    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int) pid);
    look.ns = open(path, O_RDONLY | O_CLOEXEC);
    if (look.ns < 0) {
        return false;
    }

    if (pthread_create(&thread, NULL, look_inside, &look) == 0) {
        pthread_join(thread, NULL);
        ns = number_of(look.ns);

        for (size_t i = 0; ns >= 0 && !known && i < look.n; i++) {
            known = leads_to(&look.found[i], ns)
                    && if_indextoname(look.found[i].peer, found) != NULL
                    && (size_t) snprintf(name, size, "%s", found) < size;
        }
    }

    close(look.ns);

    return known;
}
