/* The members of a webhook: URL, headers, file of the secret. */

#include "rules_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_PATH 4096
#define MAX_HEADER 4096

/* As libcurl takes it: host, or host:port; [] around an IPv6 address. */
static bool port_valid(const char *host, size_t len) {
    const char *end = host + len, *p = end;
    size_t digits;

    while (p > host && p[-1] >= '0' && p[-1] <= '9') {
        p--;
    }
    digits = (size_t) (end - p);
    if (p > host && p[-1] == ':'
        && (host[0] != '[' || (p - 1 > host && p[-2] == ']')))
    {
        return digits > 0 && digits <= 5 && strtol(p, NULL, 10) <= 65535
               && strtol(p, NULL, 10) > 0;
    }
    return host[0] == '[' ? end[-1] == ']' : memchr(host, ':', len) == NULL;
}

void hai_rules_read_url(struct hai_rules_reader *r, json_t *value,
                        struct hai_rule *rule) {
    const char *p, *host;
    size_t len;

    hai_rules_string(r, value, HAI_RULES_MAX_URL, &rule->url);
    if (rule->url == NULL) {
        return;
    }
    for (p = rule->url; *p > ' ' && *p < 0x7f; p++) {
    }
    if (*p != '\0') {
        hai_rules_wrong(r, "printable ASCII without blanks is wanted");
        return;
    }
    host = strncasecmp(rule->url, "https://", 8) == 0  ? rule->url + 8
           : strncasecmp(rule->url, "http://", 7) == 0 ? rule->url + 7
                                                       : NULL;
    if (host == NULL) {
        hai_rules_wrong(r, "a URL with https:// or http:// is wanted");
        return;
    }
    len = strcspn(host, "/?#");
    if (len == 0 || host[0] == ':') {
        hai_rules_wrong(r, "there is no host in it");
    } else if (memchr(host, '@', len) != NULL) {
        hai_rules_wrong(
            r, "user and password do not belong there; use \"headers\" or "
               "\"secretFile\"");
    } else if (!port_valid(host, len)) {
        hai_rules_wrong(r, "a port from 1 to 65535 is wanted");
    }
}

void hai_rules_read_secret_file(struct hai_rules_reader *r, json_t *value,
                                struct hai_rule *rule) {
    hai_rules_string(r, value, MAX_PATH, &rule->secret_file);
    if (rule->secret_file != NULL && rule->secret_file[0] != '/') {
        hai_rules_wrong(r, "an absolute path is wanted");
    }
}

/* RFC 9110, 5.6.2 */
static bool token_valid(const char *s) {
    const char *p;

    for (p = s; *p != '\0'; p++) {
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')
              || (*p >= '0' && *p <= '9')
              || strchr("!#$%&'*+-.^_`|~", *p) != NULL))
        {
            return false;
        }
    }
    return p > s && p - s <= HAI_RULES_MAX_WORD;
}

/* What is wrong with a header; value: NULL where it is no string. */
static const char *header_wrong(const char *name, const char *value) {
    static const char *const ours[] = {
        "Connection",   "Content-Length",
        "Content-Type", "Expect",
        "Host",         "TE",
        "Trailer",      "Transfer-Encoding",
        "Upgrade",      "X-Hoody-Signature",
        NULL,
    };
    const unsigned char *p;
    size_t i;

    if (!token_valid(name)) {
        return "is no name of a header";
    }
    for (i = 0; ours[i] != NULL; i++) {
        if (strcasecmp(ours[i], name) == 0) {
            return "is set by the event worker itself";
        }
    }
    if (value == NULL || strlen(value) > MAX_HEADER) {
        return "a string of at most 4096 bytes is wanted";
    }
    p = (const unsigned char *) value;
    for (; *p != '\0'; p++) {
        if ((*p < 0x20 && *p != '\t') || *p == 0x7f) {
            return "control characters and line ends cannot be sent";
        }
    }
    return NULL;
}

static void add_header(struct hai_rules_reader *r, struct hai_rule_list *list,
                       const char *name, const char *value) {
    size_t len = strlen(name) + strlen(value) + 3;
    char *line = malloc(len);

    if (line == NULL) {
        hai_rules_wrong(r, "no memory");
        return;
    }
    snprintf(line, len, "%s: %s", name, value);
    list->item[list->n++] = line;
}

void hai_rules_read_headers(struct hai_rules_reader *r, json_t *value,
                            struct hai_rule *rule) {
    struct hai_rule_list *list = &rule->headers;
    size_t object = hai_rules_value_at(r), n = json_object_size(value), i;
    const char *name, *text, *why;
    json_t *item;

    if (!json_is_object(value) || n > HAI_RULES_MAX_HEADERS) {
        hai_rules_wrong(r, "an object of at most 32 strings is wanted");
        return;
    }
    list->n = 0;
    list->item = calloc(n > 0 ? n : 1, sizeof(*list->item));
    if (list->item == NULL) {
        hai_rules_wrong(r, "no memory");
        return;
    }
    json_object_foreach(value, name, item) {
        text = json_string_value(item);
        why = header_wrong(name, text);
        for (i = 0; why == NULL && i < list->n; i++) {
            size_t len = strlen(name);

            if (strncasecmp(list->item[i], name, len) == 0
                && list->item[i][len] == ':') {
                why = "is there twice";
            }
        }
        if (why != NULL || text == NULL) {
            hai_rules_say(r, true, hai_locate_key(&r->text, object, name),
                          "\"action.headers\": \"%.128s\": %s", name, why);
        } else {
            add_header(r, list, name, text);
        }
    }
}
