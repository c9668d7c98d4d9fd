/* What the registry says about containers, see firewall.h. */

#include "firewall.h"

#include <stdlib.h>
#include <string.h>

#define ADDRESSES_MAX 256 /* as the gateway */
#define ADDRESSES_TEXT (16 * 1024)
#define CONTAINERS_MAX 1000000
#define BATCH 500

bool hai_fw_interface_valid(const char *s, size_t len) {
    size_t i;

    if (len == 0 || len >= HAI_FW_IFNAME || (len == 1 && s[0] == '.')
        || (len == 2 && s[0] == '.' && s[1] == '.'))
    {
        return false;
    }
    for (i = 0; i < len; i++) {
        char c = s[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
              || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-'))
        {
            return false;
        }
    }
    return true;
}

static int hex(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* "02:00:00:00:00:01"; no group address, and not all zeros. */
static bool parse_mac(const char *s, size_t len, uint8_t mac[6]) {
    uint8_t any = 0;
    size_t i;

    if (len != 17) {
        return false;
    }
    for (i = 0; i < 6; i++) {
        int high = hex(s[3 * i]), low = hex(s[3 * i + 1]);

        if (high < 0 || low < 0 || (i < 5 && s[3 * i + 2] != ':')) {
            return false;
        }
        mac[i] = (uint8_t) (high << 4 | low);
        any |= mac[i];
    }
    return any != 0 && (mac[0] & 1) == 0;
}

/* What no single host can be. */
static bool is_nobody(const struct hai_addr *a) {
    static const uint8_t zero[16];

    if (a->len == 4) {
        return a->bytes[0] == 0 || a->bytes[0] >= 224;
    }
    return a->bytes[0] == 0xff || memcmp(a->bytes, zero, 16) == 0;
}

static int read_addresses(struct hai_fw_container *c, const char *s, size_t len,
                          hai_fw_warn *warn) {
    size_t i = 0, start, count = 0;
    struct hai_addr a;

    if (len > ADDRESSES_TEXT) {
        warn(c->name, "addresses are longer than 16 KiB: it gets none");
        return 0;
    }
    c->addr = malloc((len / 2 + 1) * sizeof(*c->addr));
    if (c->addr == NULL) {
        return -1;
    }
    while (i < len) {
        if (s[i] == ' ') {
            i++;
            continue;
        }
        for (start = i; i < len && s[i] != ' '; i++) {
        }
        if (++count > ADDRESSES_MAX) {
            warn(c->name, "more than 256 addresses: it gets none");
            c->n = 0;
            return 0;
        }
        if (hai_addr_parse(s + start, i - start, &a) != 0 || is_nobody(&a)) {
            warn(c->name, "one of its addresses is none, it counts for "
                          "nothing");
            continue;
        }
        c->addr[c->n++] = a;
    }
    return 0;
}

int hai_fw_container_read(struct hai_fw_container *c, const char *name,
                          const char *addresses, size_t addresses_len,
                          const char *mac, size_t mac_len,
                          const char *interface, size_t interface_len,
                          const char *status, size_t status_len,
                          hai_fw_warn *warn) {
    *c = (struct hai_fw_container){0};
    snprintf(c->name, sizeof(c->name), "%s", name);

    c->running = status == NULL || status_len == 0
                 || (status_len == 7 && memcmp(status, "running", 7) == 0);

    if (interface != NULL && interface_len > 0) {
        c->has_interface = HAI_FW_BAD;
        if (hai_fw_interface_valid(interface, interface_len)) {
            c->has_interface = HAI_FW_SET;
            memcpy(c->interface, interface, interface_len);
        } else {
            warn(name, "host_interface is no interface's name: its addresses "
                       "are nobody's");
        }
    }
    if (mac != NULL && mac_len > 0) {
        c->has_mac = HAI_FW_BAD;
        if (parse_mac(mac, mac_len, c->mac)) {
            c->has_mac = HAI_FW_SET;
        } else if (c->has_interface == HAI_FW_SET) {
            warn(name, "mac is none: its interface gets nothing");
        }
    }
    if (addresses == NULL || c->has_interface == HAI_FW_NONE) {
        return 0;
    }
    return read_addresses(c, addresses, addresses_len, warn);
}

/* Where it is, or would be. */
static size_t find(const struct hai_fw_registry *r, const char *name,
                   bool *found) {
    size_t low = 0, high = r->n;

    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int rc = strcmp(r->container[middle].name, name);

        if (rc == 0) {
            *found = true;
            return middle;
        }
        if (rc < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

int hai_fw_registry_put(struct hai_fw_registry *r,
                        const struct hai_fw_container *c) {
    bool found;
    size_t at = find(r, c->name, &found);

    if (found) {
        free(r->container[at].addr);
        r->container[at] = *c;
        return 0;
    }
    if (r->n == r->size) {
        size_t size = r->size == 0 ? 64 : r->size * 2;
        void *grown;

        if (size > CONTAINERS_MAX) {
            return -1;
        }
        grown = realloc(r->container, size * sizeof(*r->container));
        if (grown == NULL) {
            return -1;
        }
        r->container = grown;
        r->size = size;
    }
    memmove(&r->container[at + 1], &r->container[at],
            (r->n - at) * sizeof(*r->container));
    r->container[at] = *c;
    r->n++;
    return 0;
}

void hai_fw_registry_drop(struct hai_fw_registry *r, const char *name) {
    bool found;
    size_t at = find(r, name, &found);

    if (found && r->container != NULL) {
        free(r->container[at].addr);
        r->n--;
        memmove(&r->container[at], &r->container[at + 1],
                (r->n - at) * sizeof(*r->container));
    }
}

void hai_fw_registry_free(struct hai_fw_registry *r) {
    size_t i;

    for (i = 0; i < r->n; i++) {
        free(r->container[i].addr);
    }
    free(r->container);
    *r = (struct hai_fw_registry){0};
}

/* The name in the key of a container, or NULL. */
static const char *name_of(const char *key, const char *prefix) {
    size_t len = strlen(prefix);

    if (strncmp(key, prefix, len) != 0
        || !hai_name_valid(key + len, strlen(key + len)))
    {
        return NULL;
    }
    return key + len;
}

static const char *field(const redisReply *reply, size_t i, size_t *len) {
    const redisReply *value = reply->element[i];

    *len = 0;
    if (value->type != REDIS_REPLY_STRING) {
        return NULL;
    }
    *len = value->len;
    return value->str;
}

/* The answer about one container. */
static int take(struct hai_fw_registry *r, const char *name,
                const redisReply *reply, hai_fw_warn *warn) {
    enum { ADDRESSES, MAC, INTERFACE, STATUS, N };
    const char *value[N];
    struct hai_fw_container c;
    size_t len[N], i;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != N) {
        return -1;
    }
    for (i = 0; i < N; i++) {
        value[i] = field(reply, i, &len[i]);
    }
    if (hai_fw_container_read(&c, name, value[ADDRESSES], len[ADDRESSES],
                              value[MAC], len[MAC], value[INTERFACE],
                              len[INTERFACE], value[STATUS], len[STATUS], warn)
        != 0)
    {
        free(c.addr);
        return -1;
    }
    if (c.has_interface == HAI_FW_NONE) {
        hai_fw_registry_drop(r, name);
        return 0;
    }
    if (hai_fw_registry_put(r, &c) != 0) {
        free(c.addr);
        return -1;
    }
    return 0;
}

/* Reads up to BATCH containers in one go. */
static int read_batch(struct hai_fw_registry *r, redisContext *c,
                      const char *prefix, const char *const *names, size_t n,
                      hai_fw_warn *warn, char *error, size_t size) {
    size_t i;

    for (i = 0; i < n; i++) {
        if (redisAppendCommand(c,
                               "HMGET %s%s addresses mac host_interface "
                               "status",
                               prefix, names[i])
            != REDIS_OK)
        {
            snprintf(error, size, "%s", c->errstr);
            return -1;
        }
    }
    for (i = 0; i < n; i++) {
        redisReply *reply;
        void *got;
        int rc;

        if (redisGetReply(c, &got) != REDIS_OK) {
            snprintf(error, size, "%s", c->errstr);
            return -1;
        }
        reply = got;
        if (reply->type == REDIS_REPLY_ERROR) {
            bool wrong = strncmp(reply->str, "WRONGTYPE", 9) == 0;

            /* no container for the gateway either */
            if (wrong) {
                hai_fw_registry_drop(r, names[i]);
                warn(names[i], "its key is no hash");
            } else {
                snprintf(error, size, "HMGET: %s", reply->str);
            }
            freeReplyObject(reply);
            if (!wrong) {
                return -1;
            }
            continue;
        }
        rc = take(r, names[i], reply, warn);
        freeReplyObject(reply);
        if (rc != 0) {
            snprintf(error, size, "no memory, or an answer that is none");
            return -1;
        }
    }
    return 0;
}

/* The valid names among keys, read in batches. */
static int read_keys(struct hai_fw_registry *r, redisContext *c,
                     const char *prefix, char *const *keys, size_t n,
                     hai_fw_warn *warn, char *error, size_t size) {
    const char *batch[BATCH];
    size_t i, m = 0;

    for (i = 0; i < n; i++) {
        const char *name = name_of(keys[i], prefix);

        if (name != NULL) {
            batch[m++] = name;
        }
        if (m == BATCH || (i + 1 == n && m > 0)) {
            if (read_batch(r, c, prefix, batch, m, warn, error, size) != 0) {
                return -1;
            }
            m = 0;
        }
    }
    return 0;
}

static int prefix_of(const char *server, char *prefix, size_t size) {
    int n = snprintf(prefix, size, "hoody:{%s}:container:", server);

    return n > 0 && (size_t) n < size ? 0 : -1;
}

int hai_fw_registry_update(struct hai_fw_registry *r, redisContext *c,
                           const char *server, char *const *keys, size_t n,
                           hai_fw_warn *warn, char *error, size_t size) {
    char prefix[320];

    if (prefix_of(server, prefix, sizeof(prefix)) != 0) {
        snprintf(error, size, "the server's name is too long");
        return -1;
    }
    return read_keys(r, c, prefix, keys, n, warn, error, size);
}

/* One step of SCAN and the containers that it found; the cursor goes on. */
static int scan(struct hai_fw_registry *r, redisContext *c, const char *prefix,
                char cursor[24], hai_fw_warn *warn, char *error, size_t size) {
    redisReply *reply, *list;
    char **keys;
    size_t i, n = 0;
    int rc = -1;

    reply = hai_redis_command(c, error, size, "SCAN %s MATCH %s* COUNT %d",
                              cursor, prefix, BATCH);
    if (reply == NULL) {
        return -1;
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2
        || reply->element[0]->type != REDIS_REPLY_STRING
        || reply->element[0]->len >= 24
        || reply->element[1]->type != REDIS_REPLY_ARRAY)
    {
        snprintf(error, size, "SCAN: an answer that is none");
        freeReplyObject(reply);
        return -1;
    }
    list = reply->element[1];
    memcpy(cursor, reply->element[0]->str, reply->element[0]->len + 1);
    keys = malloc((list->elements + 1) * sizeof(*keys));
    if (keys == NULL) {
        snprintf(error, size, "no memory");
    } else {
        for (i = 0; i < list->elements; i++) {
            if (list->element[i]->type == REDIS_REPLY_STRING) {
                keys[n++] = list->element[i]->str;
            }
        }
        rc = read_keys(r, c, prefix, keys, n, warn, error, size);
    }
    free(keys);
    freeReplyObject(reply);
    return rc;
}

int hai_fw_registry_load(struct hai_fw_registry *r, redisContext *c,
                         const char *server, hai_fw_warn *warn, char *error,
                         size_t size) {
    struct hai_fw_registry fresh = {0};
    char prefix[320], cursor[24] = "0";

    if (prefix_of(server, prefix, sizeof(prefix)) != 0) {
        snprintf(error, size, "the server's name is too long");
        return -1;
    }
    do {
        if (scan(&fresh, c, prefix, cursor, warn, error, size) != 0) {
            hai_fw_registry_free(&fresh);
            return -1;
        }
    } while (strcmp(cursor, "0") != 0);

    hai_fw_registry_free(r);
    *r = fresh;
    return 0;
}
