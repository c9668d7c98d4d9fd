/*
 * The table is short: a linear search is all that is needed.  Nearly every
 * request is for a row without a wildcard, so these are compared first.  A
 * path that spells a wildcard is no route: "*" is not in a segment's set.
 *
 * A pattern is matched segment by segment: "*" stands for exactly one
 * segment, "**" at the end for one or more.  Segments are made of unreserved
 * characters and ":" "@" only: nothing that a server on the way could decode
 * or split once more.
 */

#include "hai_route.h"

#include <string.h>

#define ROUTE(pattern, methods, api, body, rules, stored, anthropic)           \
    {                                                                          \
        pattern, sizeof(pattern) - 1, methods, api, body, rules, stored,       \
            anthropic                                                          \
    }

static const struct hai_route routes[] = {
    ROUTE("chat/completions", HAI_POST, "openai.chat", HAI_BODY_JSON,
          HAI_RULES_JSON, false, false),
    ROUTE("chat/completions", HAI_GET, "openai.chat", HAI_BODY_NONE,
          HAI_RULES_NONE, true, false),
    ROUTE("chat/completions/**", HAI_GET | HAI_DELETE, "openai.chat",
          HAI_BODY_NONE, HAI_RULES_NONE, true, false),
    ROUTE("chat/completions/*", HAI_POST, "openai.chat", HAI_BODY_OPTIONAL,
          HAI_RULES_OPTIONAL, true, false),
    ROUTE("completions", HAI_POST, "openai.completions", HAI_BODY_JSON,
          HAI_RULES_JSON, false, false),
    ROUTE("responses", HAI_POST, "openai.responses", HAI_BODY_JSON,
          HAI_RULES_JSON, false, false),
    ROUTE("responses/input_tokens", HAI_POST, "openai.responses", HAI_BODY_JSON,
          HAI_RULES_JSON, false, false),
    ROUTE("responses/compact", HAI_POST, "openai.responses", HAI_BODY_JSON,
          HAI_RULES_JSON, false, false),
    ROUTE("responses/**", HAI_GET | HAI_DELETE, "openai.responses",
          HAI_BODY_NONE, HAI_RULES_NONE, true, false),
    ROUTE("responses/**", HAI_POST, "openai.responses", HAI_BODY_OPTIONAL,
          HAI_RULES_OPTIONAL, true, false),
    ROUTE("embeddings", HAI_POST, "openai.embeddings", HAI_BODY_JSON,
          HAI_RULES_JSON, false, false),
    ROUTE("models", HAI_GET, "openai.models", HAI_BODY_NONE, HAI_RULES_NONE,
          false, false),
    ROUTE("models/*", HAI_GET, "openai.models", HAI_BODY_NONE, HAI_RULES_NONE,
          false, false),
    /* a model's name with its provider: openai/gpt-4o */
    ROUTE("models/*/*", HAI_GET, "openai.models", HAI_BODY_NONE, HAI_RULES_NONE,
          false, false),
    ROUTE("images/**", HAI_POST, "openai.images", HAI_BODY_FORM, HAI_RULES_JSON,
          false, false),
    ROUTE("audio/**", HAI_POST, "openai.audio", HAI_BODY_FORM, HAI_RULES_JSON,
          false, false),
    ROUTE("moderations", HAI_POST, "openai.moderations", HAI_BODY_JSON,
          HAI_RULES_JSON, false, false),
    ROUTE("files", HAI_GET, "openai.files", HAI_BODY_NONE, HAI_RULES_OPAQUE,
          true, false),
    ROUTE("files", HAI_POST, "openai.files", HAI_BODY_OPTIONAL,
          HAI_RULES_OPAQUE, true, false),
    ROUTE("files/**", HAI_GET | HAI_DELETE, "openai.files", HAI_BODY_NONE,
          HAI_RULES_OPAQUE, true, false),
    ROUTE("files/**", HAI_POST, "openai.files", HAI_BODY_OPTIONAL,
          HAI_RULES_OPAQUE, true, false),
    ROUTE("batches", HAI_GET, "openai.batches", HAI_BODY_NONE, HAI_RULES_OPAQUE,
          true, false),
    ROUTE("batches", HAI_POST, "openai.batches", HAI_BODY_OPTIONAL,
          HAI_RULES_OPAQUE, true, false),
    ROUTE("batches/**", HAI_GET | HAI_DELETE, "openai.batches", HAI_BODY_NONE,
          HAI_RULES_OPAQUE, true, false),
    ROUTE("batches/**", HAI_POST, "openai.batches", HAI_BODY_OPTIONAL,
          HAI_RULES_OPAQUE, true, false),
    ROUTE("messages", HAI_POST, "anthropic.messages", HAI_BODY_JSON,
          HAI_RULES_JSON, false, true),
    ROUTE("messages/count_tokens", HAI_POST, "anthropic.messages",
          HAI_BODY_JSON, HAI_RULES_JSON, false, true),
    ROUTE("messages/batches", HAI_GET, "anthropic.batches", HAI_BODY_NONE,
          HAI_RULES_OPAQUE, true, true),
    ROUTE("messages/batches", HAI_POST, "anthropic.batches", HAI_BODY_OPTIONAL,
          HAI_RULES_OPAQUE, true, true),
    ROUTE("messages/batches/**", HAI_GET | HAI_DELETE, "anthropic.batches",
          HAI_BODY_NONE, HAI_RULES_OPAQUE, true, true),
    ROUTE("messages/batches/**", HAI_POST, "anthropic.batches",
          HAI_BODY_OPTIONAL, HAI_RULES_OPAQUE, true, true),
};

/* RFC 3986 unreserved, and what model and object names use besides. */
static bool segment_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'
           || c == '~' || c == ':' || c == '@';
}

/*
 * Length of the segment at p, 0 when it is empty, holds another character or
 * consists of dots only.
 */
static size_t segment(const char *p, size_t len) {
    size_t i = 0;
    bool dots = true;

    while (i < len && p[i] != '/') {
        if (!segment_char(p[i])) {
            return 0;
        }
        if (p[i] != '.') {
            dots = false;
        }
        i++;
    }
    return dots ? 0 : i;
}

static bool match(const char *pattern, const char *path, size_t len) {
    for (;;) {
        size_t want = strcspn(pattern, "/");
        size_t have = segment(path, len);
        bool rest = want == 2 && memcmp(pattern, "**", 2) == 0;
        bool any = want == 1 && pattern[0] == '*';

        if (have == 0) {
            return false;
        }
        if (!rest && !any && (have != want || memcmp(pattern, path, want) != 0))
        {
            return false;
        }

        path += have;
        len -= have;
        if (len == 0) {
            return pattern[want] == '\0';
        }

        path++; /* the slash; an empty segment behind it fails above */
        len--;
        if (!rest) {
            if (pattern[want] == '\0') {
                return false;
            }
            pattern += want + 1;
        }
    }
}

const struct hai_route *hai_route_find(const char *path, size_t len,
                                       enum hai_method method) {
    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct hai_route *r = &routes[i];

        if (r->len == len && (r->methods & (unsigned) method)
            && memcmp(r->pattern, path, len) == 0)
        {
            return memchr(path, '*', len) == NULL ? r : NULL;
        }
    }

    for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
        const struct hai_route *r = &routes[i];

        if (len != 0 && r->pattern[0] == path[0]
            && (r->methods & (unsigned) method) && match(r->pattern, path, len))
        {
            return r;
        }
    }

    return NULL;
}

bool hai_route_is_turn(const struct hai_route *route) {
    static const char *const turns[] = {
        "chat/completions",
        "completions",
        "responses",
        "messages",
    };

    if (route->rules != HAI_RULES_JSON) {
        return false;
    }

    for (size_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++) {
        if (strcmp(route->pattern, turns[i]) == 0) {
            return true;
        }
    }

    return false;
}

bool hai_route_is_anthropic(const char *path, size_t len) {
    static const char name[] = "messages";
    const size_t n = sizeof(name) - 1;

    return len >= n && memcmp(path, name, n) == 0
           && (len == n || path[n] == '/');
}
