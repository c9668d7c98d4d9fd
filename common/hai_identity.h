/*
 * The grammar of who is asking: the credential "container-<X>", source
 * addresses and prefixes, cgroup paths.  Design, section 4.
 */

#ifndef HAI_IDENTITY_H
#define HAI_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HAI_NAME_MAX 100

/* Borrowed bytes, not NUL ended. */
struct hai_slice {
    const char *data;
    size_t len;
};

/*
 * "container-<X>" with <X> = 1..100 of [A-Za-z0-9_-].  0 and *x set to <X>
 * inside the input, or -1.
 */
int hai_token_parse(const char *s, size_t len, struct hai_slice *x);

/*
 * The value of an Authorization header field: scheme "Bearer" in any case,
 * one or more spaces, the token, optional trailing blanks (RFC 9110, 11.4;
 * RFC 6750, 2.1).  0 and *x, or -1.
 */
int hai_bearer_parse(const char *s, size_t len, struct hai_slice *x);

/* 1..100 of [A-Za-z0-9_-]. */
bool hai_name_valid(const char *s, size_t len);

/* All digits and no leading zero: may be a container's number. */
bool hai_number_valid(const char *s, size_t len);

/* An address or a prefix.  IPv4-mapped IPv6 is stored as IPv4. */
struct hai_addr {
    uint8_t bytes[16]; /* bits behind the prefix are zero */
    uint8_t len;       /* 4 or 16 */
    uint8_t bits;      /* prefix length, 32 or 128 for one address */
};

/*
 * "192.0.2.7", "192.0.2.0/24", "2001:db8::/64".  0, or -1 when the text is
 * not an address, the prefix length is out of range or 0, or bits behind the
 * prefix are set.
 */
int hai_addr_parse(const char *s, size_t len, struct hai_addr *addr);

/* Does the address (4 or 16 bytes) lie in the prefix? */
bool hai_addr_match(const struct hai_addr *prefix, const uint8_t *bytes,
                    size_t len);

/* Turns ::ffff:a.b.c.d into the four bytes; returns the length, 4 or 16. */
size_t hai_addr_unmap(uint8_t bytes[16]);

enum hai_cgroup_match {
    HAI_CGROUP_NO,
    HAI_CGROUP_PATH, /* absolute registered path is a prefix of the peer's */
    HAI_CGROUP_BARE  /* a bare name is one component: the caller must check
                         the owner of the parent and the outer components */
};

/*
 * Compares a registered cgroup with the peer's path of the "0::" line, whole
 * components only.  For HAI_CGROUP_BARE *at is the offset of the outermost
 * matching component in path.
 */
enum hai_cgroup_match hai_cgroup_match(const char *reg, size_t reg_len,
                                       const char *path, size_t path_len,
                                       size_t *at);

#endif
