/* The text of the ruleset, see firewall.h. */

#include "firewall.h"

#include <stdlib.h>
#include <string.h>

#define TABLES 2

static const char *const family[TABLES] = {"bridge", "inet"};

/* Which table has which set, under which name and of which type. */
#define PAIR(set, name, type, bridge, inet)                                    \
    [(set)] = {name, type, {bridge, inet}},                                    \
    [(set) + 1] = {name "_net", type "; flags interval", {bridge, inet}}

static const struct {
    const char *name;
    const char *type;
    bool in[TABLES];
} set[HAI_FW_SETS] = {
    [HAI_FW_PORTS] = {"ports", "type ifname", {true, true}},
    [HAI_FW_ANYMAC] = {"anymac", "type ifname", {true, false}},
    [HAI_FW_MACS] = {"macs", "type ether_addr", {true, false}},
    PAIR(HAI_FW_PAIRS, "pairs", "type ifname . ether_addr", true, true),
    PAIR(HAI_FW_IP4, "pin4", "type ifname . ether_addr . ipv4_addr", true,
         true),
    PAIR(HAI_FW_ARP, "pinarp",
         "type ifname . ether_addr . ether_addr . ipv4_addr", true, false),
    PAIR(HAI_FW_IP6, "pin6", "type ifname . ether_addr . ipv6_addr", true,
         true),
    PAIR(HAI_FW_ND, "pinnd", "typeof iifname . ether saddr . @th,64,128", true,
         true),
    PAIR(HAI_FW_OWNED4, "owned4", "type ipv4_addr", true, true),
    PAIR(HAI_FW_OWNED6, "owned6", "type ipv6_addr", true, false),
    PAIR(HAI_FW_OWNEDND, "ownednd", "typeof @th,64,128", true, false),
    PAIR(HAI_FW_ROUTED6, "routed6", "type ipv6_addr", false, true),
};

/* Rules as they are read, one a line. */
/* clang-format off */

/* A rule, and the same for the set of ranges. */
#define BOTH(match, set, verdict)                                              \
    "        " match " @" set " " verdict "\n"                                 \
    "        " match " @" set "_net " verdict "\n"

#define ND_TARGET "iifname . ether saddr . @th,64,128"

/*
 * Neighbour discovery is where IPv6 says who has an address: the target of an
 * advertisement, and of a question from "::", must be the asker's own.
 * Containers are no routers.
 */
#define PINNED_IP6                                                             \
    "        icmpv6 type { nd-router-advert, nd-redirect } counter drop\n"     \
    "        icmpv6 type nd-neighbor-advert jump advert\n"                     \
    BOTH("ip6 saddr :: icmpv6 type nd-neighbor-solicit " ND_TARGET,            \
         "pinnd", "accept")                                                    \
    BOTH("ip6 saddr :: icmpv6 type { mld-listener-report, "                    \
         "mld-listener-done, mld2-listener-report } "                          \
         "iifname . ether saddr", "pairs", "accept")                           \
    BOTH("iifname . ether saddr . ip6 saddr", "pin6", "accept")

/* A question to a DHCP server has no source yet. */
#define PINNED_DHCP                                                            \
    BOTH("ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 "             \
         "udp dport 67 iifname . ether saddr", "pairs", "accept")              \
    "        counter drop\n"

#define ADVERT                                                                 \
    "    chain advert {\n"                                                     \
    BOTH(ND_TARGET, "pinnd", "return")                                         \
    "        counter drop\n"                                                   \
    "    }\n"

/*
 * Linux takes a VLAN tag into the packet's metadata before a bridge sees it,
 * and one of VLAN 0 away behind it: what is inside then reaches the host.
 * "ip saddr" alone asks for the EtherType, which is that of the tag; "meta
 * protocol" asks for what follows the first tag.  (nft lists the two alike,
 * so a listing is no ruleset to be loaded again.)
 */
#define TAGGED "ether type { 8021q, 8021ad } "

static const char bridge_chains[] =
    ADVERT
    "    chain prerouting {\n"
    "        type filter hook prerouting priority -300; policy accept;\n"
    "        iifname @ports jump pinned\n"
    "        jump others\n"
    "    }\n"
    "    chain pinned {\n"
    "        " TAGGED "counter drop\n"
    "        iifname @anymac ether saddr @macs counter drop\n"
    BOTH("iifname . ether saddr . ip saddr", "pin4", "accept")
    BOTH("iifname . ether saddr . arp saddr ether . arp saddr ip", "pinarp",
         "accept")
    PINNED_IP6
    PINNED_DHCP
    "    }\n"
    "    chain others {\n"
    "        ether saddr @macs counter drop\n"
    "        " TAGGED "@ll,112,16 & 0x0fff == 0 "
    "meta protocol { 8021q, 8021ad } counter drop\n"
    BOTH("meta protocol ip ip saddr", "owned4", "counter drop")
    BOTH("meta protocol arp arp saddr ip", "owned4", "counter drop")
    BOTH("meta protocol ip6 icmpv6 type nd-neighbor-advert @th,64,128",
         "ownednd", "counter drop")
    BOTH("meta protocol ip6 ip6 saddr :: icmpv6 type nd-neighbor-solicit "
         "@th,64,128", "ownednd", "counter drop")
    BOTH("meta protocol ip6 ip6 saddr", "owned6", "counter drop")
    "    }\n";

static const char inet_chains[] =
    ADVERT
    "    chain prerouting {\n"
    "        type filter hook prerouting priority -300; policy accept;\n"
    "        iifname \"lo\" accept\n"
    "        iifname @ports jump pinned\n"
    "        ip saddr @owned4 fib saddr . iif oif 0 counter drop\n"
    "        ip saddr @owned4_net fib saddr . iif oif 0 counter drop\n"
    "        ip6 saddr @routed6 fib saddr . iif oif 0 counter drop\n"
    "        ip6 saddr @routed6_net fib saddr . iif oif 0 counter drop\n"
    "    }\n"
    "    chain pinned {\n"
    BOTH("iifname . ether saddr . ip saddr", "pin4", "accept")
    PINNED_IP6
    PINNED_DHCP
    "    }\n";

/* clang-format on */

static void put_set(FILE *out, const struct hai_fw_sets *sets,
                    enum hai_fw_set i) {
    size_t j;

    fprintf(out, "    set %s {\n        %s\n", set[i].name, set[i].type);
    if (sets->set[i].n > 0) {
        fprintf(out, "        elements = {\n");
        for (j = 0; j < sets->set[i].n; j++) {
            fprintf(out, "            %s%s\n", sets->set[i].item[j],
                    j + 1 < sets->set[i].n ? "," : "");
        }
        fprintf(out, "        }\n");
    }
    fprintf(out, "    }\n");
}

/* "8080", "53/udp" */
static bool parse_port(const char *text, long *port, const char **protocol) {
    char *end;

    *port = strtol(text, &end, 10);
    *protocol = strcmp(end, "/udp") == 0 ? "udp" : "tcp";
    return *text >= '1' && *text <= '9' && *port <= 65535
           && (*end == '\0' || strcmp(end, "/tcp") == 0
               || strcmp(end, "/udp") == 0);
}

static void put_ports(FILE *out, const struct hai_fw_gate *gate) {
    const char *protocol;
    long port;
    size_t i;

    for (i = 0; i < gate->ports; i++) {
        if (parse_port(gate->port[i], &port, &protocol)) {
            fprintf(out, "        %s dport %ld accept\n", protocol, port);
        }
    }
}

/* Only the gateway: what comes from these interfaces to the host, and
 * through it. */
static void put_gate(FILE *out, const struct hai_fw_gate *gate) {
    static const char *const hooks[] = {"input", "forward"};
    size_t i, j;

    if (gate->interfaces == 0) {
        return;
    }
    for (i = 0; i < 2; i++) {
        fprintf(out,
                "    chain %s {\n"
                "        type filter hook %s priority -10; policy accept;\n"
                "        iifname \"lo\" accept\n",
                hooks[i], hooks[i]);
        for (j = 0; j < gate->interfaces; j++) {
            fprintf(out, "        iifname \"%s\" jump gate_%s\n",
                    gate->interface[j], hooks[i]);
        }
        fprintf(out, "    }\n");
    }
    fprintf(out, "    chain gate_input {\n");
    put_ports(out, gate);
    fprintf(out,
            "        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, "
            "mld-listener-report, mld2-listener-report } accept\n"
            "        ct state established,related accept\n"
            "        counter drop\n"
            "    }\n"
            "    chain gate_forward {\n"
            "        ct state established,related accept\n"
            "        counter drop\n"
            "    }\n");
}

void hai_fw_text_remove(FILE *out) {
    int i;

    /* a table that is added first can be deleted whether it was there or not */
    for (i = 0; i < TABLES; i++) {
        fprintf(out, "add table %s hoody_ai\ndelete table %s hoody_ai\n",
                family[i], family[i]);
    }
}

void hai_fw_text(FILE *out, const struct hai_fw_sets *sets,
                 const struct hai_fw_gate *gate) {
    int t, i;

    hai_fw_text_remove(out);
    for (t = 0; t < TABLES; t++) {
        fprintf(out, "table %s hoody_ai {\n", family[t]);
        for (i = 0; i < HAI_FW_SETS; i++) {
            if (set[i].in[t]) {
                put_set(out, sets, (enum hai_fw_set) i);
            }
        }
        fputs(t == 0 ? bridge_chains : inet_chains, out);
        if (t == 1) {
            put_gate(out, gate);
        }
        fprintf(out, "}\n");
    }
}

/* Elements of `from` that `to` does not have, as a command for each table. */
static size_t put_missing(FILE *out, const char *verb,
                          const struct hai_fw_sets *from,
                          const struct hai_fw_sets *to, enum hai_fw_set s,
                          int t) {
    char **a = from->set[s].item, **b = to->set[s].item;
    size_t i, j = 0, n = 0;

    for (i = 0; i < from->set[s].n; i++) {
        int rc = -1;

        while (j < to->set[s].n && (rc = strcmp(b[j], a[i])) < 0) {
            j++;
        }
        if (j < to->set[s].n && rc == 0) {
            continue;
        }
        if (n++ == 0) {
            fprintf(out, "%s element %s hoody_ai %s {\n%s", verb, family[t],
                    set[s].name, a[i]);
        } else {
            fprintf(out, ",\n%s", a[i]);
        }
    }
    if (n > 0) {
        fprintf(out, "\n}\n");
    }
    return n;
}

size_t hai_fw_delta(FILE *out, const struct hai_fw_sets *from,
                    const struct hai_fw_sets *to) {
    size_t n = 0;
    int t, i;

    for (t = 0; t < TABLES; t++) {
        for (i = 0; i < HAI_FW_SETS; i++) {
            if (set[i].in[t]) {
                n += put_missing(out, "delete", from, to, (enum hai_fw_set) i,
                                 t);
                n += put_missing(out, "add", to, from, (enum hai_fw_set) i, t);
            }
        }
    }
    return n;
}

int hai_fw_gate_check(const struct hai_fw_gate *gate, char *error,
                      size_t size) {
    const char *protocol;
    long port;
    size_t i;

    for (i = 0; i < gate->ports; i++) {
        if (!parse_port(gate->port[i], &port, &protocol)) {
            snprintf(error, size,
                     "--port: a number from 1 to 65535 is wanted, with /udp or "
                     "/tcp behind it or nothing");
            return -1;
        }
    }
    for (i = 0; i < gate->interfaces; i++) {
        size_t len = strlen(gate->interface[i]);

        if (len > 0 && gate->interface[i][len - 1] == '*') {
            len--;
        }
        if (!hai_fw_interface_valid(gate->interface[i], len)) {
            snprintf(error, size,
                     "--interface: the name of a bridge is wanted, or the "
                     "beginning of names and a \"*\"");
            return -1;
        }
    }
    if ((gate->ports > 0) != (gate->interfaces > 0)) {
        snprintf(error, size, "--interface and --port need each other");
        return -1;
    }
    return 0;
}
