/*
 * The grammar of who is asking; see hai_identity.h.  Pure functions over
 * borrowed bytes: nothing is allocated, nothing is read behind a length.
 */

#include "hai_identity.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#define TOKEN_PREFIX "container-"
#define TOKEN_PREFIX_LEN (sizeof(TOKEN_PREFIX) - 1)

#define BEARER "bearer"
#define BEARER_LEN (sizeof(BEARER) - 1)

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_name_char(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || is_digit(c)
           || c == '_' || c == '-';
}

bool hai_name_valid(const char *s, size_t len) {
    if (len == 0 || len > HAI_NAME_MAX) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!is_name_char(s[i])) {
            return false;
        }
    }
    return true;
}

bool hai_number_valid(const char *s, size_t len) {
    if (len == 0 || len > HAI_NAME_MAX) {
        return false;
    }
    if (s[0] == '0' && len > 1) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(s[i])) {
            return false;
        }
    }
    return true;
}

int hai_token_parse(const char *s, size_t len, struct hai_slice *x) {
    if (len <= TOKEN_PREFIX_LEN
        || memcmp(s, TOKEN_PREFIX, TOKEN_PREFIX_LEN) != 0) {
        return -1;
    }
    s += TOKEN_PREFIX_LEN;
    len -= TOKEN_PREFIX_LEN;
    if (!hai_name_valid(s, len)) {
        return -1;
    }
    x->data = s;
    x->len = len;
    return 0;
}

int hai_bearer_parse(const char *s, size_t len, struct hai_slice *x) {
    if (len <= BEARER_LEN) {
        return -1;
    }
    for (size_t i = 0; i < BEARER_LEN; i++) {
        /* ASCII only: no locale may widen what counts as the scheme */
        char c = s[i];
        if (c >= 'A' && c <= 'Z') {
            c = (char) (c + ('a' - 'A'));
        }
        if (c != BEARER[i]) {
            return -1;
        }
    }
    s += BEARER_LEN;
    len -= BEARER_LEN;

    size_t spaces = 0;
    while (spaces < len && s[spaces] == ' ') {
        spaces++;
    }
    if (spaces == 0) {
        return -1;
    }
    s += spaces;
    len -= spaces;

    while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t')) {
        len--;
    }
    return hai_token_parse(s, len, x);
}

size_t hai_addr_unmap(uint8_t bytes[16]) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0,    0,
                                       0, 0, 0, 0, 0xff, 0xff};

    if (memcmp(bytes, mapped, sizeof(mapped)) != 0) {
        return 16;
    }
    memmove(bytes, bytes + 12, 4);
    memset(bytes + 4, 0, 12);
    return 4;
}

/* Are all bits from "bits" on zero? */
static bool tail_is_zero(const uint8_t *bytes, size_t len, unsigned bits) {
    size_t i = bits / 8;

    if (bits % 8 != 0) {
        if ((bytes[i] & (0xff >> (bits % 8))) != 0) {
            return false;
        }
        i++;
    }
    for (; i < len; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

/* "1".."128", no sign, no leading zero.  0 when it is anything else. */
static unsigned parse_bits(const char *s, size_t len) {
    unsigned bits = 0;

    if (len == 0 || len > 3 || s[0] == '0') {
        return 0;
    }
    for (size_t i = 0; i < len; i++) {
        if (!is_digit(s[i])) {
            return 0;
        }
        bits = bits * 10 + (unsigned) (s[i] - '0');
    }
    return bits;
}

int hai_addr_parse(const char *s, size_t len, struct hai_addr *addr) {
    char text[INET6_ADDRSTRLEN];
    const char *slash = memchr(s, '/', len);
    size_t text_len = slash != NULL ? (size_t) (slash - s) : len;
    unsigned bits = 0;

    if (text_len == 0 || text_len >= sizeof(text)
        || memchr(s, '\0', text_len) != NULL)
    {
        return -1;
    }
    memcpy(text, s, text_len);
    text[text_len] = '\0';

    if (slash != NULL) {
        bits = parse_bits(slash + 1, len - text_len - 1);
        if (bits == 0) {
            return -1;
        }
    }

    memset(addr, 0, sizeof(*addr));

    if (memchr(text, ':', text_len) == NULL) {
        if (inet_pton(AF_INET, text, addr->bytes) != 1) {
            return -1;
        }
        addr->len = 4;

    } else {
        if (inet_pton(AF_INET6, text, addr->bytes) != 1) {
            return -1;
        }
        addr->len = 16;
    }

    if (slash == NULL) {
        bits = addr->len * 8u;
    } else if (bits > addr->len * 8u) {
        return -1;
    }

    /* a mapped prefix shorter than /97 would cover all of IPv4 and more */
    if (addr->len == 16 && bits > 96 && hai_addr_unmap(addr->bytes) == 4) {
        addr->len = 4;
        bits -= 96;
    }

    if (!tail_is_zero(addr->bytes, addr->len, bits)) {
        return -1;
    }
    addr->bits = (uint8_t) bits;
    return 0;
}

bool hai_addr_match(const struct hai_addr *prefix, const uint8_t *bytes,
                    size_t len) {
    size_t whole = prefix->bits / 8;
    unsigned rest = prefix->bits % 8;

    if (len != prefix->len || prefix->bits == 0 || prefix->bits > len * 8) {
        return false;
    }
    if (memcmp(prefix->bytes, bytes, whole) != 0) {
        return false;
    }
    if (rest == 0) {
        return true;
    }
    return ((prefix->bytes[whole] ^ bytes[whole]) & (0xff00 >> rest) & 0xff)
           == 0;
}

/* The length of the path component that starts at s. */
static size_t component(const char *s, size_t len) {
    const char *slash = memchr(s, '/', len);

    return slash != NULL ? (size_t) (slash - s) : len;
}

static bool is_dots(const char *s, size_t len) {
    return (len == 1 && s[0] == '.')
           || (len == 2 && s[0] == '.' && s[1] == '.');
}

/* "/a/b": absolute, not the root, no empty component, no dots. */
static bool absolute_valid(const char *s, size_t len) {
    size_t i = 0;

    if (len < 2) {
        return false;
    }
    while (i < len) {
        if (s[i] != '/') {
            return false;
        }
        i++;
        size_t n = component(s + i, len - i);
        if (n == 0 || is_dots(s + i, n)) {
            return false;
        }
        i += n;
    }
    return true;
}

enum hai_cgroup_match hai_cgroup_match(const char *reg, size_t reg_len,
                                       const char *path, size_t path_len,
                                       size_t *at) {
    if (reg_len == 0 || path_len == 0 || path[0] != '/'
        || memchr(reg, '\0', reg_len) != NULL)
    {
        return HAI_CGROUP_NO;
    }

    /*
     * The kernel shows "/../x" to a reader whose cgroup namespace does not
     * contain the peer, and appends " (deleted)" to a removed cgroup: neither
     * proves where the peer lives.
     */
    if (!absolute_valid(path, path_len)) {
        return HAI_CGROUP_NO;
    }

    if (reg[0] == '/') {
        if (!absolute_valid(reg, reg_len) || reg_len > path_len
            || memcmp(reg, path, reg_len) != 0)
        {
            return HAI_CGROUP_NO;
        }
        if (reg_len < path_len && path[reg_len] != '/') {
            return HAI_CGROUP_NO;
        }
        return HAI_CGROUP_PATH;
    }

    if (memchr(reg, '/', reg_len) != NULL || is_dots(reg, reg_len)) {
        return HAI_CGROUP_NO;
    }
    for (size_t i = 1; i < path_len;) {
        size_t n = component(path + i, path_len - i);

        if (n == reg_len && memcmp(path + i, reg, n) == 0) {
            *at = i;
            return HAI_CGROUP_BARE;
        }
        i += n + 1;
    }
    return HAI_CGROUP_NO;
}
