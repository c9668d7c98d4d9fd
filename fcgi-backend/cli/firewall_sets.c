/*
 * Containers to the elements of nftables' sets, see firewall.h.
 *
 * Two ranges of one set must not overlap, so an address inside a prefix that
 * has the same owner is left out.  Prefixes lie inside each other or apart:
 * sorted, the one before decides.
 */

#include "firewall.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define ELEMENT_MAX 256
#define ANY_MAC "00:00:00:00:00:00-ff:ff:ff:ff:ff:ff"

/* One address and who may have it. */
struct pin {
    const char *interface; /* NULL: nobody */
    bool any_mac;
    uint8_t mac[6];
    struct hai_addr addr;
};

struct pins {
    struct pin *pin;
    size_t n, size;
};

static int add(struct hai_fw_sets *sets, enum hai_fw_set which,
               const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Adds an element; one with a range goes to the set behind. */
static int add(struct hai_fw_sets *sets, enum hai_fw_set which,
               const char *format, ...) {
    char text[ELEMENT_MAX], **grown;
    const char *name_end;
    size_t size;
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (n < 0 || (size_t) n >= sizeof(text)) {
        return -1;
    }
    /* an interface's name may have a "-" too */
    name_end = strrchr(text, '"');
    if (strpbrk(name_end != NULL ? name_end : text, "-/") != NULL) {
        which = (enum hai_fw_set)(which + 1);
    }
    if (sets->set[which].n == sets->set[which].size) {
        size = sets->set[which].size == 0 ? 64 : sets->set[which].size * 2;
        grown = realloc(sets->set[which].item, size * sizeof(*grown));
        if (grown == NULL) {
            return -1;
        }
        sets->set[which].item = grown;
        sets->set[which].size = size;
    }
    sets->set[which].item[sets->set[which].n] = strdup(text);
    if (sets->set[which].item[sets->set[which].n] == NULL) {
        return -1;
    }
    sets->set[which].n++;
    return 0;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *) a, *(char *const *) b);
}

static void sort_set(struct hai_fw_sets *sets, enum hai_fw_set which) {
    char **item = sets->set[which].item;
    size_t i, n = 0;

    if (sets->set[which].n == 0) {
        return;
    }
    qsort(item, sets->set[which].n, sizeof(*item), by_text);
    for (i = 1; i < sets->set[which].n; i++) {
        if (strcmp(item[n], item[i]) == 0) {
            free(item[i]);
        } else {
            item[++n] = item[i];
        }
    }
    sets->set[which].n = n + 1;
}

void hai_fw_sets_free(struct hai_fw_sets *sets) {
    size_t i, j;

    for (i = 0; i < HAI_FW_SETS; i++) {
        for (j = 0; j < sets->set[i].n; j++) {
            free(sets->set[i].item[j]);
        }
        free(sets->set[i].item);
    }
    *sets = (struct hai_fw_sets){0};
}

static int by_address(const struct hai_addr *a, const struct hai_addr *b) {
    int rc;

    if (a->len != b->len) {
        return a->len < b->len ? -1 : 1;
    }
    rc = memcmp(a->bytes, b->bytes, a->len);
    return rc != 0 ? rc : a->bits - b->bits;
}

static int by_owner(const struct pin *a, const struct pin *b) {
    int rc;

    if (a->interface == NULL || b->interface == NULL) {
        return (a->interface != NULL) - (b->interface != NULL);
    }
    rc = strcmp(a->interface, b->interface);
    if (rc == 0) {
        rc = a->any_mac - b->any_mac;
    }
    return rc != 0 ? rc : memcmp(a->mac, b->mac, sizeof(a->mac));
}

static int by_owner_and_address(const void *a, const void *b) {
    const struct pin *p = a, *q = b;
    int rc = by_owner(p, q);

    return rc != 0 ? rc : by_address(&p->addr, &q->addr);
}

static int by_address_only(const void *a, const void *b) {
    const struct pin *p = a, *q = b;

    return by_address(&p->addr, &q->addr);
}

static bool inside(const struct hai_addr *outer, const struct hai_addr *a) {
    return outer->bits <= a->bits && hai_addr_match(outer, a->bytes, a->len);
}

static int push(struct pins *pins, const struct pin *pin) {
    if (pins->n == pins->size) {
        size_t size = pins->size == 0 ? 64 : pins->size * 2;
        void *grown = realloc(pins->pin, size * sizeof(*pins->pin));

        if (grown == NULL) {
            return -1;
        }
        pins->pin = grown;
        pins->size = size;
    }
    pins->pin[pins->n++] = *pin;
    return 0;
}

/* "192.0.2.0/24", "2001:db8::1" */
static void address_text(const struct hai_addr *a, char *text, size_t size) {
    char plain[INET6_ADDRSTRLEN];

    inet_ntop(a->len == 4 ? AF_INET : AF_INET6, a->bytes, plain, sizeof(plain));
    if (a->bits == a->len * 8) {
        snprintf(text, size, "%s", plain);
    } else {
        snprintf(text, size, "%s/%d", plain, a->bits);
    }
}

/* "0x20010db8...", or the first and the last one of a prefix: a message's
 * bytes are compared as a number. */
static void number_text(const struct hai_addr *a, char *text, size_t size) {
    uint8_t last[16];
    char *p = text;
    size_t i;

    memcpy(last, a->bytes, 16);
    for (i = a->bits; i < 128; i++) {
        last[i / 8] |= (uint8_t) (0x80 >> i % 8);
    }
    p += snprintf(p, size, "0x");
    for (i = 0; i < 16; i++) {
        p += snprintf(p, size - (size_t) (p - text), "%02x", a->bytes[i]);
    }
    if (a->bits < 128) {
        p += snprintf(p, size - (size_t) (p - text), "-0x");
        for (i = 0; i < 16; i++) {
            p += snprintf(p, size - (size_t) (p - text), "%02x", last[i]);
        }
    }
}

static void mac_text(const uint8_t mac[6], char text[18]) {
    snprintf(text, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
             mac[3], mac[4], mac[5]);
}

static bool is_link_local(const struct hai_addr *a) {
    return a->len == 16 && a->bits >= 10 && a->bytes[0] == 0xfe
           && (a->bytes[1] & 0xc0) == 0x80;
}

static int add_pin(struct hai_fw_sets *sets, const struct pin *p) {
    char address[64], number[80], exact[18];
    const char *mac = ANY_MAC;

    address_text(&p->addr, address, sizeof(address));
    if (!p->any_mac) {
        mac_text(p->mac, exact);
        mac = exact;
    }
    if (add(sets, HAI_FW_PAIRS, "\"%s\" . %s", p->interface, mac) != 0) {
        return -1;
    }
    if (p->addr.len == 4) {
        return add(sets, HAI_FW_IP4, "\"%s\" . %s . %s", p->interface, mac,
                   address)
               | add(sets, HAI_FW_ARP, "\"%s\" . %s . %s . %s", p->interface,
                     mac, mac, address);
    }
    number_text(&p->addr, number, sizeof(number));
    return add(sets, HAI_FW_IP6, "\"%s\" . %s . %s", p->interface, mac, address)
           | add(sets, HAI_FW_ND, "\"%s\" . %s . %s", p->interface, mac,
                 number);
}

static int add_owned(struct hai_fw_sets *sets, const struct hai_addr *a) {
    char address[64], number[80];

    address_text(a, address, sizeof(address));
    if (a->len == 4) {
        return add(sets, HAI_FW_OWNED4, "%s", address);
    }
    number_text(a, number, sizeof(number));
    if (!is_link_local(a) && add(sets, HAI_FW_ROUTED6, "%s", address) != 0) {
        return -1;
    }
    return add(sets, HAI_FW_OWNED6, "%s", address)
           | add(sets, HAI_FW_OWNEDND, "%s", number);
}

/* The host's own: loopback, or an address of one of its interfaces. */
static bool is_host(const struct hai_fw_host *host, const struct hai_addr *a) {
    static const uint8_t loopback[16] = {[15] = 1};
    size_t i;

    if (a->len == 4 ? a->bytes[0] == 127 : memcmp(a->bytes, loopback, 16) == 0)
    {
        return true;
    }
    for (i = 0; i < host->n; i++) {
        if (a->bits == a->len * 8
            && hai_addr_match(a, host->addr[i].bytes, host->addr[i].len))
        {
            return true;
        }
    }
    return false;
}

/* The link-local address that Linux makes of a MAC. */
static void link_local(const uint8_t mac[6], struct hai_addr *a) {
    *a = (struct hai_addr){.len = 16, .bits = 128};
    a->bytes[0] = 0xfe;
    a->bytes[1] = 0x80;
    memcpy(&a->bytes[8], mac, 3);
    a->bytes[8] ^= 2;
    a->bytes[11] = 0xff;
    a->bytes[12] = 0xfe;
    memcpy(&a->bytes[13], mac + 3, 3);
}

/* What one container brings. */
static int add_container(struct hai_fw_sets *sets, struct pins *pins,
                         struct hai_fw_container *c, bool any_mac,
                         const struct hai_fw_host *host, hai_fw_warn *warn) {
    bool set = c->has_interface == HAI_FW_SET, six = false, on_host = false;
    char mac[18];
    struct pin pin = {.any_mac = any_mac};
    size_t i;

    if (set && add(sets, HAI_FW_PORTS, "\"%s\"", c->interface) != 0) {
        return -1;
    }
    if (!c->running) {
        return 0;
    }
    mac_text(c->mac, mac);
    if (c->has_mac == HAI_FW_SET && add(sets, HAI_FW_MACS, "%s", mac) != 0) {
        return -1;
    }
    if (set && (c->has_mac == HAI_FW_SET || any_mac)) {
        pin.interface = c->interface;
    }
    if (any_mac) {
        if (add(sets, HAI_FW_ANYMAC, "\"%s\"", c->interface) != 0) {
            return -1;
        }
    } else {
        memcpy(pin.mac, c->mac, sizeof(pin.mac));
    }
    for (i = 0; i < c->n; i++) {
        pin.addr = c->addr[i];
        if (is_host(host, &pin.addr)) {
            on_host = true;
            continue;
        }
        six |= pin.addr.len == 16;
        if (push(pins, &pin) != 0) {
            return -1;
        }
    }
    if (six && pin.interface != NULL && !any_mac) {
        link_local(c->mac, &pin.addr);
        if (push(pins, &pin) != 0) {
            return -1;
        }
    }
    if (!c->said) {
        c->said = true;
        if (on_host) {
            warn(c->name, "one of its addresses is this host's own, which "
                          "every process of the host has: it is not pinned");
        }
        if (set && c->has_mac == HAI_FW_NONE && !any_mac) {
            warn(c->name, "it has no mac, but shares its interface with one "
                          "that has: it gets nothing");
        }
    }
    return 0;
}

/* Interfaces on which some container has a MAC. */
static int by_interface(const void *a, const void *b) {
    return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static const char **with_mac(const struct hai_fw_registry *r, size_t *n) {
    const char **list = malloc((r->n + 1) * sizeof(*list));
    size_t i;

    *n = 0;
    for (i = 0; list != NULL && i < r->n; i++) {
        const struct hai_fw_container *c = &r->container[i];

        if (c->running && c->has_interface == HAI_FW_SET
            && c->has_mac != HAI_FW_NONE) {
            list[(*n)++] = c->interface;
        }
    }
    if (list != NULL) {
        qsort(list, *n, sizeof(*list), by_interface);
    }
    return list;
}

static int add_pins(struct hai_fw_sets *sets, struct pins *pins) {
    const struct pin *kept = NULL;
    size_t i;

    if (pins->n == 0) {
        return 0;
    }
    qsort(pins->pin, pins->n, sizeof(*pins->pin), by_owner_and_address);
    for (i = 0; i < pins->n; i++) {
        const struct pin *p = &pins->pin[i];

        if (p->interface == NULL
            || (kept != NULL && by_owner(kept, p) == 0
                && inside(&kept->addr, &p->addr)))
        {
            continue;
        }
        if (add_pin(sets, p) != 0) {
            return -1;
        }
        kept = p;
    }

    kept = NULL;
    qsort(pins->pin, pins->n, sizeof(*pins->pin), by_address_only);
    for (i = 0; i < pins->n; i++) {
        const struct pin *p = &pins->pin[i];

        if (kept != NULL && inside(&kept->addr, &p->addr)) {
            continue;
        }
        if (add_owned(sets, &p->addr) != 0) {
            return -1;
        }
        kept = p;
    }
    return 0;
}

int hai_fw_sets_build(struct hai_fw_sets *sets, struct hai_fw_registry *r,
                      const struct hai_fw_host *host, hai_fw_warn *warn) {
    struct pins pins = {0};
    const char **macs;
    size_t i, n;
    int rc;

    *sets = (struct hai_fw_sets){0};
    macs = with_mac(r, &n);
    rc = macs != NULL ? 0 : -1;
    for (i = 0; rc == 0 && i < r->n; i++) {
        struct hai_fw_container *c = &r->container[i];
        const char *interface = c->interface;
        bool any = c->has_interface == HAI_FW_SET && c->has_mac == HAI_FW_NONE
                   && bsearch(&interface, macs, n, sizeof(*macs), by_interface)
                          == NULL;

        rc = add_container(sets, &pins, c, any, host, warn);
    }
    if (rc == 0) {
        rc = add_pins(sets, &pins);
    }
    free(macs);
    free(pins.pin);
    if (rc != 0) {
        hai_fw_sets_free(sets);
        return -1;
    }
    for (i = 0; i < HAI_FW_SETS; i++) {
        sort_set(sets, (enum hai_fw_set) i);
    }
    return 0;
}

int hai_fw_host_read(struct hai_fw_host *host) {
    struct ifaddrs *list, *i;
    size_t n = 0;

    *host = (struct hai_fw_host){0};
    if (getifaddrs(&list) != 0) {
        return -1;
    }
    for (i = list; i != NULL; i = i->ifa_next) {
        n++;
    }
    host->addr = calloc(n + 1, sizeof(*host->addr));
    for (i = list; host->addr != NULL && i != NULL; i = i->ifa_next) {
        struct hai_addr *a = &host->addr[host->n];

        if (i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET) {
            a->len = 4;
            memcpy(a->bytes, &((struct sockaddr_in *) i->ifa_addr)->sin_addr,
                   4);
            host->n++;
        } else if (i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET6) {
            a->len = 16;
            memcpy(a->bytes, &((struct sockaddr_in6 *) i->ifa_addr)->sin6_addr,
                   16);
            host->n++;
        }
    }
    freeifaddrs(list);
    return host->addr != NULL ? 0 : -1;
}
