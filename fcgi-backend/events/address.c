/*
 * Address checks, see address.h.  The tables follow IANA's registries of
 * special-purpose addresses; of IPv6, only 2000::/3 is in public use.
 */

#include "address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* not globally reachable, or no single host: RFC 6890 and its successors */
static const struct hai_cidr special4[] = {
    {AF_INET, {0}, 8},             /* this network */
    {AF_INET, {10}, 8},            /* private */
    {AF_INET, {100, 64}, 10},      /* carrier-grade NAT */
    {AF_INET, {127}, 8},           /* loopback */
    {AF_INET, {169, 254}, 16},     /* link-local, metadata services */
    {AF_INET, {172, 16}, 12},      /* private */
    {AF_INET, {192, 0, 0}, 24},    /* protocol assignments */
    {AF_INET, {192, 0, 2}, 24},    /* documentation */
    {AF_INET, {192, 88, 99}, 24},  /* 6to4 relays */
    {AF_INET, {192, 168}, 16},     /* private */
    {AF_INET, {198, 18}, 15},      /* benchmarks */
    {AF_INET, {198, 51, 100}, 24}, /* documentation */
    {AF_INET, {203, 0, 113}, 24},  /* documentation */
    {AF_INET, {224}, 4},           /* multicast */
    {AF_INET, {240}, 4},           /* reserved, broadcast */
};

static const struct hai_cidr global6 = {AF_INET6, {0x20}, 3};

/* inside of 2000::/3, and yet not for us */
static const struct hai_cidr special6[] = {
    {AF_INET6, {0x20, 0x01}, 23},             /* assignments, Teredo, ORCHID */
    {AF_INET6, {0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
    {AF_INET6, {0x20, 0x02}, 16},             /* 6to4: carries IPv4 */
    {AF_INET6, {0x3f, 0xff}, 20},             /* documentation */
};

/* the last 32 bits are an IPv4 address */
static const struct hai_cidr carriers6[] = {
    {AF_INET6, {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96}, /* mapped */
    {AF_INET6, {0x00, 0x64, 0xff, 0x9b}, 96},                   /* NAT64 */
    {AF_INET6, {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48}, /* local NAT64 */
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static bool within(const struct hai_cidr *cidr, int family,
                   const uint8_t *byte) {
    unsigned whole = cidr->bits / 8, rest = cidr->bits % 8;

    if (cidr->family != family || memcmp(cidr->byte, byte, whole) != 0) {
        return false;
    }
    return rest == 0
           || ((cidr->byte[whole] ^ byte[whole]) & (0xff00 >> rest) & 0xff)
                  == 0;
}

static bool within_any(const struct hai_cidr *table, size_t n, int family,
                       const uint8_t *byte) {
    for (size_t i = 0; i < n; i++) {
        if (within(&table[i], family, byte)) {
            return true;
        }
    }
    return false;
}

static int prefix_length(const char *text, unsigned max, unsigned *bits) {
    char *end;
    unsigned long n;

    if (*text < '0' || *text > '9') {
        return -1;
    }
    n = strtoul(text, &end, 10);
    if (*end != '\0' || end - text > 3 || n > max) {
        return -1;
    }
    *bits = (unsigned) n;
    return 0;
}

int hai_cidr_parse(struct hai_cidr *cidr, const char *text, const char **why) {
    char address[INET6_ADDRSTRLEN];
    size_t len = strcspn(text, "/");
    unsigned max;

    memset(cidr, 0, sizeof(*cidr));

    if (len == 0 || len >= sizeof(address)) {
        *why = "not an address";
        return -1;
    }

    memcpy(address, text, len);
    address[len] = '\0';
    cidr->family = strchr(address, ':') != NULL ? AF_INET6 : AF_INET;

    if (inet_pton(cidr->family, address, cidr->byte) != 1) {
        *why = "not an address";
        return -1;
    }

    max = cidr->family == AF_INET6 ? 128 : 32;
    cidr->bits = max;

    if (text[len] == '/'
        && prefix_length(text + len + 1, max, &cidr->bits) != 0) {
        *why = "bad length of the prefix";
        return -1;
    }

    for (unsigned bit = cidr->bits; bit < max; bit++) {
        if ((cidr->byte[bit / 8] & (0x80 >> (bit % 8))) != 0) {
            *why = "bits are set behind the prefix";
            return -1;
        }
    }
    return 0;
}

static enum hai_address_verdict
judge6(const uint8_t *byte, const struct hai_cidr *allowed, size_t n) {
    if (within_any(allowed, n, AF_INET6, byte)) {
        return HAI_ADDRESS_ALLOWED;
    }

    if (within_any(carriers6, COUNT(carriers6), AF_INET6, byte)) {
        return within_any(allowed, n, AF_INET, byte + 12) ? HAI_ADDRESS_ALLOWED
                                                          : HAI_ADDRESS_REFUSED;
    }

    if (!within(&global6, AF_INET6, byte)
        || within_any(special6, COUNT(special6), AF_INET6, byte))
    {
        return HAI_ADDRESS_REFUSED;
    }
    return HAI_ADDRESS_PUBLIC;
}

enum hai_address_verdict hai_address_judge(const struct sockaddr *address,
                                           socklen_t len,
                                           const struct hai_cidr *allowed,
                                           size_t n) {
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    uint8_t byte[4];

    if (address->sa_family == AF_INET && len >= (socklen_t) sizeof(in)) {
        memcpy(&in, address, sizeof(in));
        memcpy(byte, &in.sin_addr, sizeof(byte));

        if (within_any(allowed, n, AF_INET, byte)) {
            return HAI_ADDRESS_ALLOWED;
        }
        return within_any(special4, COUNT(special4), AF_INET, byte)
                   ? HAI_ADDRESS_REFUSED
                   : HAI_ADDRESS_PUBLIC;
    }

    if (address->sa_family == AF_INET6 && len >= (socklen_t) sizeof(in6)) {
        memcpy(&in6, address, sizeof(in6));
        return judge6(in6.sin6_addr.s6_addr, allowed, n);
    }

    return HAI_ADDRESS_REFUSED;
}
