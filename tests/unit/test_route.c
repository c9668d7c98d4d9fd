/* SOURCES: common/hai_route.c */
/* LIBS: -lcmocka */

/*
 * The routes: every row with each method, and what nearly is one.  The paths
 * lie in memory of exactly their size, so that a read behind them is seen.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hai_route.h"

#define GET HAI_GET
#define POST HAI_POST
#define DELETE HAI_DELETE

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

struct row {
    const char *path;
    unsigned methods;
    const char *api;
    enum hai_body_kind body;
    enum hai_route_rules rules;
    bool stored;
    bool anthropic;
};

static const enum hai_method methods[] = {
    HAI_GET,
    HAI_POST,
    HAI_DELETE,
    HAI_OTHER_METHOD,
};

/* A path may have several rows; a method in none of them is refused. */
static const struct row rows[] = {
    {"chat/completions", POST, "openai.chat", HAI_BODY_JSON, HAI_RULES_JSON,
     false, false},
    {"chat/completions", GET, "openai.chat", HAI_BODY_NONE, HAI_RULES_NONE,
     true, false},
    {"chat/completions/chatcmpl-1", GET | DELETE, "openai.chat", HAI_BODY_NONE,
     HAI_RULES_NONE, true, false},
    {"chat/completions/chatcmpl-1", POST, "openai.chat", HAI_BODY_OPTIONAL,
     HAI_RULES_OPTIONAL, true, false},
    {"chat/completions/chatcmpl-1/messages", GET | DELETE, "openai.chat",
     HAI_BODY_NONE, HAI_RULES_NONE, true, false},
    {"chat/completions/a/b/c/d", GET | DELETE, "openai.chat", HAI_BODY_NONE,
     HAI_RULES_NONE, true, false},
    {"completions", POST, "openai.completions", HAI_BODY_JSON, HAI_RULES_JSON,
     false, false},
    {"responses", POST, "openai.responses", HAI_BODY_JSON, HAI_RULES_JSON,
     false, false},
    {"responses/input_tokens", POST, "openai.responses", HAI_BODY_JSON,
     HAI_RULES_JSON, false, false},
    {"responses/input_tokens", GET | DELETE, "openai.responses", HAI_BODY_NONE,
     HAI_RULES_NONE, true, false},
    {"responses/compact", POST, "openai.responses", HAI_BODY_JSON,
     HAI_RULES_JSON, false, false},
    {"responses/compact", GET | DELETE, "openai.responses", HAI_BODY_NONE,
     HAI_RULES_NONE, true, false},
    {"responses/resp_1", GET | DELETE, "openai.responses", HAI_BODY_NONE,
     HAI_RULES_NONE, true, false},
    {"responses/resp_1", POST, "openai.responses", HAI_BODY_OPTIONAL,
     HAI_RULES_OPTIONAL, true, false},
    {"responses/resp_1/cancel", POST, "openai.responses", HAI_BODY_OPTIONAL,
     HAI_RULES_OPTIONAL, true, false},
    {"responses/resp_1/cancel", GET | DELETE, "openai.responses", HAI_BODY_NONE,
     HAI_RULES_NONE, true, false},
    {"responses/resp_1/input_items", GET | DELETE, "openai.responses",
     HAI_BODY_NONE, HAI_RULES_NONE, true, false},
    {"responses/resp_1/input_items", POST, "openai.responses",
     HAI_BODY_OPTIONAL, HAI_RULES_OPTIONAL, true, false},
    {"embeddings", POST, "openai.embeddings", HAI_BODY_JSON, HAI_RULES_JSON,
     false, false},
    {"models", GET, "openai.models", HAI_BODY_NONE, HAI_RULES_NONE, false,
     false},
    {"models/gpt-4o", GET, "openai.models", HAI_BODY_NONE, HAI_RULES_NONE,
     false, false},
    {"models/ft:gpt-4o:org::id@1~.x_Y", GET, "openai.models", HAI_BODY_NONE,
     HAI_RULES_NONE, false, false},
    {"models/openai/gpt-4.1", GET, "openai.models", HAI_BODY_NONE,
     HAI_RULES_NONE, false, false},
    {"images/generations", POST, "openai.images", HAI_BODY_FORM, HAI_RULES_JSON,
     false, false},
    {"images/edits", POST, "openai.images", HAI_BODY_FORM, HAI_RULES_JSON,
     false, false},
    {"images/a/b", POST, "openai.images", HAI_BODY_FORM, HAI_RULES_JSON, false,
     false},
    {"audio/speech", POST, "openai.audio", HAI_BODY_FORM, HAI_RULES_JSON, false,
     false},
    {"audio/transcriptions", POST, "openai.audio", HAI_BODY_FORM,
     HAI_RULES_JSON, false, false},
    {"moderations", POST, "openai.moderations", HAI_BODY_JSON, HAI_RULES_JSON,
     false, false},
    {"files", GET, "openai.files", HAI_BODY_NONE, HAI_RULES_OPAQUE, true,
     false},
    {"files", POST, "openai.files", HAI_BODY_OPTIONAL, HAI_RULES_OPAQUE, true,
     false},
    {"files/file-1", GET | DELETE, "openai.files", HAI_BODY_NONE,
     HAI_RULES_OPAQUE, true, false},
    {"files/file-1", POST, "openai.files", HAI_BODY_OPTIONAL, HAI_RULES_OPAQUE,
     true, false},
    {"files/file-1/content", GET | DELETE, "openai.files", HAI_BODY_NONE,
     HAI_RULES_OPAQUE, true, false},
    {"files/file-1/content", POST, "openai.files", HAI_BODY_OPTIONAL,
     HAI_RULES_OPAQUE, true, false},
    {"batches", GET, "openai.batches", HAI_BODY_NONE, HAI_RULES_OPAQUE, true,
     false},
    {"batches", POST, "openai.batches", HAI_BODY_OPTIONAL, HAI_RULES_OPAQUE,
     true, false},
    {"batches/batch_1", GET | DELETE, "openai.batches", HAI_BODY_NONE,
     HAI_RULES_OPAQUE, true, false},
    {"batches/batch_1", POST, "openai.batches", HAI_BODY_OPTIONAL,
     HAI_RULES_OPAQUE, true, false},
    {"batches/batch_1/cancel", GET | DELETE, "openai.batches", HAI_BODY_NONE,
     HAI_RULES_OPAQUE, true, false},
    {"batches/batch_1/cancel", POST, "openai.batches", HAI_BODY_OPTIONAL,
     HAI_RULES_OPAQUE, true, false},
    {"messages", POST, "anthropic.messages", HAI_BODY_JSON, HAI_RULES_JSON,
     false, true},
    {"messages/count_tokens", POST, "anthropic.messages", HAI_BODY_JSON,
     HAI_RULES_JSON, false, true},
    {"messages/batches", GET, "anthropic.batches", HAI_BODY_NONE,
     HAI_RULES_OPAQUE, true, true},
    {"messages/batches", POST, "anthropic.batches", HAI_BODY_OPTIONAL,
     HAI_RULES_OPAQUE, true, true},
    {"messages/batches/msgbatch_1", GET | DELETE, "anthropic.batches",
     HAI_BODY_NONE, HAI_RULES_OPAQUE, true, true},
    {"messages/batches/msgbatch_1", POST, "anthropic.batches",
     HAI_BODY_OPTIONAL, HAI_RULES_OPAQUE, true, true},
    {"messages/batches/msgbatch_1/results", GET | DELETE, "anthropic.batches",
     HAI_BODY_NONE, HAI_RULES_OPAQUE, true, true},
    {"messages/batches/msgbatch_1/results", POST, "anthropic.batches",
     HAI_BODY_OPTIONAL, HAI_RULES_OPAQUE, true, true},
    {"messages/batches/msgbatch_1/cancel", POST, "anthropic.batches",
     HAI_BODY_OPTIONAL, HAI_RULES_OPAQUE, true, true},
    {"messages/batches/msgbatch_1/cancel", GET | DELETE, "anthropic.batches",
     HAI_BODY_NONE, HAI_RULES_OPAQUE, true, true},
};

/* Prefixes of routes, and names that are not in the table. */
static const char *const strangers[] = {
    "",
    "chat",
    "chat/completion",
    "chat/completionss",
    "chat/completions2",
    "completions/x",
    "completion",
    "embeddings/x",
    "moderations/x",
    "images",
    "audio",
    "message",
    "messagess",
    "messages/x",
    "messages/count_tokens/x",
    "messages/count_token",
    "messages/batch",
    "model",
    "modelss",
    "models/a/b/c",
    "models/a/b/c/d",
    "file",
    "filess",
    "batch",
    "response",
    "v1/chat/completions",
    "v1/messages",
    "organization",
    "organization/admin_api_keys",
    "fine_tuning/jobs",
    "assistants",
    "threads",
    "vector_stores",
    "uploads",
    "realtime",
    "evals",
    "containers",
    "organizations/me",
    "*",
    "**",
    "models/*",
    "models/**",
    "/",
    "//",
};

static const struct hai_route *find(const char *path, size_t len,
                                    enum hai_method method) {
    char *copy = malloc(len > 0 ? len : 1);
    const struct hai_route *route;

    assert_non_null(copy);
    memcpy(copy, path, len);
    route = hai_route_find(copy, len, method);
    free(copy);

    return route;
}

static void refused(const char *path, size_t len) {
    for (size_t i = 0; i < COUNT(methods); i++) {
        if (find(path, len, methods[i]) != NULL) {
            fail_msg("\"%.*s\" is a route with method %d", (int) len, path,
                     (int) methods[i]);
        }
    }
}

static const struct row *row_of(const char *path, enum hai_method method) {
    for (size_t i = 0; i < COUNT(rows); i++) {
        if (strcmp(rows[i].path, path) == 0 && (rows[i].methods & method)) {
            return &rows[i];
        }
    }

    return NULL;
}

static void every_row(void **state) {
    (void) state;

    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *path = rows[i].path;

        for (size_t k = 0; k < COUNT(methods); k++) {
            const struct row *row = row_of(path, methods[k]);
            const struct hai_route *route =
                find(path, strlen(path), methods[k]);

            if ((row == NULL) != (route == NULL)) {
                fail_msg("\"%s\" with method %d", path, (int) methods[k]);
            }

            if (row == NULL) {
                continue;
            }

            assert_string_equal(route->api, row->api);
            assert_int_equal(route->body, row->body);
            assert_int_equal(route->rules, row->rules);
            assert_int_equal(route->stored, row->stored);
            assert_int_equal(route->anthropic, row->anthropic);
            assert_true(route->methods & methods[k]);
            assert_int_equal(hai_route_is_turn(route),
                             methods[k] == HAI_POST
                                 && (strcmp(path, "chat/completions") == 0
                                     || strcmp(path, "completions") == 0
                                     || strcmp(path, "responses") == 0
                                     || strcmp(path, "messages") == 0));

            /* errors have one shape, whoever asks for it */
            assert_int_equal(hai_route_is_anthropic(path, strlen(path)),
                             row->anthropic);
        }
    }
}

/* Only the bytes up to len count, and a method is one bit. */
static void lengths(void **state) {
    (void) state;

    assert_non_null(find("models/x", 6, HAI_GET));
    refused("models/x", 7);
    refused("messages", 7);
    assert_null(find("models", 6, (enum hai_method) 0));
    assert_null(hai_route_find(NULL, 0, HAI_GET));
}

static void unknown(void **state) {
    (void) state;

    for (size_t i = 0; i < COUNT(strangers); i++) {
        refused(strangers[i], strlen(strangers[i]));
    }
}

/* Every route, spoiled in every way that a server might straighten out. */
static void near_misses(void **state) {
    static const char *const tails[] = {
        "/",
        "//",
        "/.",
        "/..",
        "/...",
        "/./",
        "/../",
        "/..;",
        "/..;/x",
        ";",
        ";x=y",
        "?",
        "?x",
        "#",
        "%",
        "%00",
        "%2f",
        "%2e%2e",
        "/%2e%2e",
        "/..%2fx",
        "/a%20b",
        "\\",
        "/\\",
        " ",
        "/ ",
        "\t",
        "\n",
        "/x//y",
        "//x",
        "/x/",
        "/x/.",
        "/x/..",
        "/x/../y",
        "/x/./y",
        "/a+b",
        "/a,b",
        "/a=b",
        "/a&b",
        "/a$b",
        "/a!b",
        "/a'b",
        "/(a)",
        "/a*",
        "/*",
        "/**",
        "/\x7f",
        "/\xc3\xa9",
        "/\xc0\xaf",
        "/\xef\xbc\x8f",
    };
    static const char *const heads[] = {
        "/",   "//",  "./", "../", "..;/", ".",  " ",
        "%2f", "%6d", "x/", "x",   "\\",   ";/", "\xef\xbb\xbf",
    };
    char text[200];
    int n;

    (void) state;

    for (size_t i = 0; i < COUNT(rows); i++) {
        const char *path = rows[i].path;
        size_t len = strlen(path);

        for (size_t k = 0; k < COUNT(tails); k++) {
            n = snprintf(text, sizeof(text), "%s%s", path, tails[k]);
            refused(text, (size_t) n);
        }

        for (size_t k = 0; k < COUNT(heads); k++) {
            n = snprintf(text, sizeof(text), "%s%s", heads[k], path);
            refused(text, (size_t) n);
        }

        /* a NUL behind it, and in place of each byte */
        refused(path, len + 1);

        for (size_t k = 0; k < len; k++) {
            memcpy(text, path, len);
            text[k] = '\0';
            refused(text, len);
            text[k] = '%';
            refused(text, len);

            if (path[k] == '/') {
                text[k] = '\\';
                refused(text, len);

                /* an empty segment, one of dots, one encoded slash */
                n = snprintf(text, sizeof(text), "%.*s//%s", (int) k, path,
                             path + k + 1);
                refused(text, (size_t) n);
                n = snprintf(text, sizeof(text), "%.*s/../%s", (int) k, path,
                             path + k + 1);
                refused(text, (size_t) n);
                n = snprintf(text, sizeof(text), "%.*s/./%s", (int) k, path,
                             path + k + 1);
                refused(text, (size_t) n);
                n = snprintf(text, sizeof(text), "%.*s%%2f%s", (int) k, path,
                             path + k + 1);
                refused(text, (size_t) n);
            }
        }

        /* the first segment in upper case, and with a capital */
        memcpy(text, path, len);
        text[0] -= 'a' - 'A';
        refused(text, len);

        for (size_t k = 1; k < len && text[k] != '/'; k++) {
            if (text[k] >= 'a' && text[k] <= 'z') {
                text[k] -= 'a' - 'A';
            }
        }
        refused(text, len);
    }

    refused("chat/COMPLETIONS", 16);
    refused("chat/Completions", 16);
    refused("messages/Batches", 16);
    refused("messages/COUNT_TOKENS", 21);
}

/* A segment may have dots, only not be made of them. */
static void dots(void **state) {
    (void) state;

    assert_non_null(find("models/.x", 9, HAI_GET));
    assert_non_null(find("models/x.", 9, HAI_GET));
    assert_non_null(find("models/..x", 10, HAI_GET));
    refused("models/.", 8);
    refused("models/..", 9);
    refused("models/....", 11);
    refused("models/../files", 15);
    refused("models/x/..", 11);
}

/* A wildcard takes each byte of the set, and no other. */
static void bytes(void **state) {
    static const char set[] = "abcdefghijklmnopqrstuvwxyz"
                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~:@";
    char text[] = "files/a?b";

    (void) state;

    for (int c = 0; c < 256; c++) {
        bool in_set = c != '\0' && strchr(set, c) != NULL;

        text[7] = (char) c;

        /* "files/a/b" is one as well */
        assert_int_equal(find(text, 9, HAI_GET) != NULL, in_set || c == '/');
    }
}

static void anthropic(void **state) {
    static const char *const yes[] = {
        "messages",
        "messages/",
        "messages/x",
        "messages/count_tokens",
        "messages/batches/x/results",
        "messages//",
        "messages/..;/x",
    };
    static const char *const no[] = {
        "",
        "m",
        "message",
        "messagess",
        "messages2",
        "messages;x",
        "Messages",
        "MESSAGES",
        "messages%2fx",
        "messages.",
        " messages",
        "/messages",
        "x/messages",
        "chat/completions",
        "models",
        "v1/messages",
    };

    (void) state;

    for (size_t i = 0; i < COUNT(yes); i++) {
        assert_true(hai_route_is_anthropic(yes[i], strlen(yes[i])));
    }

    for (size_t i = 0; i < COUNT(no); i++) {
        assert_false(hai_route_is_anthropic(no[i], strlen(no[i])));
    }

    /* no byte behind the length */
    assert_true(hai_route_is_anthropic("messagesx", 8));
    assert_false(hai_route_is_anthropic("messages", 7));
    assert_false(hai_route_is_anthropic(NULL, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row), cmocka_unit_test(lengths),
        cmocka_unit_test(unknown),   cmocka_unit_test(near_misses),
        cmocka_unit_test(dots),      cmocka_unit_test(bytes),
        cmocka_unit_test(anthropic),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
