/*
 * hoody-ai firewall: what the registry says about containers, and the
 * nftables rules that hold each of them to its own interface, MAC and
 * addresses.
 *
 *     registry --load--> containers --build--> sets --text, delta--> nft
 *
 * Whatever reaches the text of a ruleset was printed from a value that had
 * been parsed (addresses, MACs) or is an interface's name of a closed set of
 * characters: a field of the registry cannot be syntax.
 */

#ifndef HAI_FIREWALL_H
#define HAI_FIREWALL_H

#include "hai_identity.h"
#include "lib/redis.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define HAI_FW_IFNAME 16 /* with its NUL, as in the kernel */

enum hai_fw_field {
    HAI_FW_NONE, /* the registry does not say */
    HAI_FW_SET,
    HAI_FW_BAD /* it says something that is none */
};

struct hai_fw_container {
    char name[HAI_NAME_MAX + 1];
    bool running;
    enum hai_fw_field has_interface;
    enum hai_fw_field has_mac;
    char interface[HAI_FW_IFNAME];
    uint8_t mac[6];
    struct hai_addr *addr;
    size_t n;
    bool said; /* what build() has to say about it was said */
};

/* Sorted by name. */
struct hai_fw_registry {
    struct hai_fw_container *container;
    size_t n, size;
};

/* What is wrong with a container, for people; never called with its text. */
typedef void hai_fw_warn(const char *name, const char *reason);

/* firewall_registry.c */

/*
 * Fills *c from the values of a container's hash, NULL for a field that is
 * not there.  What cannot be read gives nothing: the interface is pinned and
 * the address is nobody's.  0, or -1 without memory.
 */
int hai_fw_container_read(struct hai_fw_container *c, const char *name,
                          const char *addresses, size_t addresses_len,
                          const char *mac, size_t mac_len,
                          const char *interface, size_t interface_len,
                          const char *status, size_t status_len,
                          hai_fw_warn *warn);

/* Replaces all of *r by what is in Redis.  0; or -1 with a message, and *r as
 * it was. */
int hai_fw_registry_load(struct hai_fw_registry *r, redisContext *c,
                         const char *server, hai_fw_warn *warn, char *error,
                         size_t size);

/* Reads these keys again, other keys than containers' are passed over. */
int hai_fw_registry_update(struct hai_fw_registry *r, redisContext *c,
                           const char *server, char *const *keys, size_t n,
                           hai_fw_warn *warn, char *error, size_t size);

/* Takes over what is in *c, in place of a container of that name.  0, or -1
 * without memory. */
int hai_fw_registry_put(struct hai_fw_registry *r,
                        const struct hai_fw_container *c);
void hai_fw_registry_drop(struct hai_fw_registry *r, const char *name);
void hai_fw_registry_free(struct hai_fw_registry *r);

/* 1 to 15 of [A-Za-z0-9_.-], not "." and "..". */
bool hai_fw_interface_valid(const char *s, size_t len);

/* firewall_sets.c */

/*
 * A set of exact elements is a hash table, for packets as well as for changes.
 * What has a range in it is in the one behind: a tree, or worse, and mostly
 * empty.
 */
enum hai_fw_set {
    HAI_FW_PORTS,  /* interfaces of containers */
    HAI_FW_ANYMAC, /* those without a registered MAC */
    HAI_FW_PAIRS,  /* interface and MAC of those that have an address */
    HAI_FW_PAIRS_NET,
    HAI_FW_IP4, /* interface, MAC, address */
    HAI_FW_IP4_NET,
    HAI_FW_ARP, /* interface, MAC, sender's MAC, sender's address */
    HAI_FW_ARP_NET,
    HAI_FW_IP6, /* interface, MAC, address */
    HAI_FW_IP6_NET,
    HAI_FW_ND, /* interface, MAC, target of neighbour discovery */
    HAI_FW_ND_NET,
    HAI_FW_MACS,   /* of all containers */
    HAI_FW_OWNED4, /* addresses of all containers */
    HAI_FW_OWNED4_NET,
    HAI_FW_OWNED6, /* also the link-local ones */
    HAI_FW_OWNED6_NET,
    HAI_FW_OWNEDND, /* the same as numbers */
    HAI_FW_OWNEDND_NET,
    HAI_FW_ROUTED6, /* without the link-local ones */
    HAI_FW_ROUTED6_NET,
    HAI_FW_SETS
};

/* The elements of each set as text, sorted, none twice. */
struct hai_fw_sets {
    struct {
        char **item;
        size_t n, size;
    } set[HAI_FW_SETS];
};

/* Addresses of the host itself; a container cannot have one of them. */
struct hai_fw_host {
    struct hai_addr *addr;
    size_t n;
};

/* 0; or -1 without memory, *sets is freed then. */
int hai_fw_sets_build(struct hai_fw_sets *sets, struct hai_fw_registry *r,
                      const struct hai_fw_host *host, hai_fw_warn *warn);
void hai_fw_sets_free(struct hai_fw_sets *sets);

/* firewall_text.c */

/* What the command line adds: bridges from which nothing but these ports of
 * the host can be reached. */
struct hai_fw_gate {
    const char *const *interface; /* names, or patterns that end in "*" */
    size_t interfaces;
    const char *const *port; /* "8080", "53/udp" */
    size_t ports;
};

/* 0, or -1 with a message. */
int hai_fw_gate_check(const struct hai_fw_gate *gate, char *error, size_t size);

/* The whole ruleset: one transaction that replaces both tables. */
void hai_fw_text(FILE *out, const struct hai_fw_sets *sets,
                 const struct hai_fw_gate *gate);

/* What makes `from` to `to`; says how many elements. */
size_t hai_fw_delta(FILE *out, const struct hai_fw_sets *from,
                    const struct hai_fw_sets *to);

/* Takes both tables away, there or not. */
void hai_fw_text_remove(FILE *out);

/* firewall_nft.c */

struct hai_fw_nft;

/* NULL with a message. */
struct hai_fw_nft *hai_fw_nft_new(char *error, size_t size);
void hai_fw_nft_free(struct hai_fw_nft *nft);

/* One transaction.  0, or -1 with the first line of what is wrong. */
int hai_fw_nft_run(struct hai_fw_nft *nft, const char *text, char *error,
                   size_t size);

/* Both tables as they are, without elements, with the handles that the kernel
 * gave; NULL with a message.  free(). */
char *hai_fw_nft_tables(struct hai_fw_nft *nft, char *error, size_t size);

/* firewall_gen.c */

/* The number of the last transaction of this network namespace, whoever made
 * it.  0, or -1 with a message. */
int hai_fw_generation(uint32_t *generation, char *error, size_t size);

/* firewall_watch.c */

struct hai_fw_watch {
    const struct hai_redis_conf *redis;
    const char *server;
    const struct hai_fw_gate *gate;
    long check_ms;
};

/* Until SIGTERM: an exit status. */
int hai_fw_watch(const struct hai_fw_watch *watch);

/* The host's own addresses, loopback among them; 0 or -1. */
int hai_fw_host_read(struct hai_fw_host *host);

#endif
