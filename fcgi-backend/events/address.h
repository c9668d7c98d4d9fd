/*
 * Which addresses a webhook may be sent to.  Judged is the address that a
 * socket is about to be connected to, whatever name it was resolved from.
 */

#ifndef HAI_EVENTS_ADDRESS_H
#define HAI_EVENTS_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct hai_cidr {
    int family;       /* AF_INET or AF_INET6 */
    uint8_t byte[16]; /* 4 of them for AF_INET */
    unsigned bits;
};

/* "10.0.0.0/8", "fd00::/8", or one address without a length.  No bit may be
 * set behind the prefix.  0; or -1 with a static reason in *why. */
int hai_cidr_parse(struct hai_cidr *cidr, const char *text, const char **why);

enum hai_address_verdict {
    HAI_ADDRESS_REFUSED, /* of no public network, and not allowed */
    HAI_ADDRESS_PUBLIC,  /* for https */
    HAI_ADDRESS_ALLOWED  /* named by the operator: http is fine too */
};

/*
 * An IPv6 address that carries an IPv4 address (mapped, or translated by
 * NAT64) is never public; it is allowed where it or the one that it carries
 * is.  Other families are refused.
 */
enum hai_address_verdict hai_address_judge(const struct sockaddr *address,
                                           socklen_t len,
                                           const struct hai_cidr *allowed,
                                           size_t n);

#endif
