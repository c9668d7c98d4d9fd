/*
 * nftables' generation: a number that each transaction raises by one, whoever
 * makes it.  See firewall.h; NFT_MSG_GETGEN in linux/netfilter/nf_tables.h.
 */

#include "firewall.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define WAIT_S 2

struct question {
    struct nlmsghdr head;
    struct nfgenmsg family;
};

/* The attribute of an answer; 0, or -1: there is none. */
static int generation_of(const struct nlmsghdr *head, uint32_t *generation) {
    const unsigned char *p =
        (const unsigned char *) head + NLMSG_SPACE(sizeof(struct nfgenmsg));
    const unsigned char *end = (const unsigned char *) head + head->nlmsg_len;
    struct nlattr attr;
    uint32_t value;

    while (end - p >= (ptrdiff_t) sizeof(attr)) {
        memcpy(&attr, p, sizeof(attr));
        if (attr.nla_len < sizeof(attr) || attr.nla_len > end - p) {
            return -1;
        }
        if ((attr.nla_type & NLA_TYPE_MASK) == NFTA_GEN_ID
            && attr.nla_len == sizeof(attr) + sizeof(value))
        {
            memcpy(&value, p + sizeof(attr), sizeof(value));
            *generation = ntohl(value);
            return 0;
        }
        if (NLA_ALIGN(attr.nla_len) >= end - p) {
            return -1;
        }
        p += NLA_ALIGN(attr.nla_len);
    }

    return -1;
}

static int ask(int fd, uint32_t *generation) {
    const struct question question = {
        .head = {.nlmsg_len = sizeof(question),
                 .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN,
                 .nlmsg_flags = NLM_F_REQUEST},
        .family = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0},
    };
    union {
        struct nlmsghdr head;
        char bytes[512];
    } answer;
    ssize_t n;

    if (send(fd, &question, sizeof(question), 0) != sizeof(question)) {
        return -1;
    }

    n = recv(fd, &answer, sizeof(answer), 0);
    if (n < 0) {
        return -1;
    }

    if (!NLMSG_OK(&answer.head, (size_t) n)
        || answer.head.nlmsg_type
               != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN))
    {
        errno = EPROTO;
        return -1;
    }

    if (generation_of(&answer.head, generation) != 0) {
        errno = EPROTO;
        return -1;
    }

    return 0;
}

int hai_fw_generation(uint32_t *generation, char *error, size_t size) {
    struct timeval wait = {.tv_sec = WAIT_S};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    int rc = -1;

    if (fd >= 0
        && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) == 0)
    {
        rc = ask(fd, generation);
    }
    if (rc != 0) {
        snprintf(error, size, "nftables' generation: %s", strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }

    return rc;
}
