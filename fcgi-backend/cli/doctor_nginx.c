/* hoody-ai doctor: nginx, its module and its locations. */

#define _GNU_SOURCE /* memmem() */

#include "child.h"
#include "doctor.h"

#include "lib/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BINARY_MAX (256 * 1024 * 1024)

/* What the module's metric hoody_ai_build_info says lies in its file. */
#define MARK "hoody_ai_build_info{version=\""

void hai_doctor_nginx_binary(const struct hai_doctor *d,
                             struct hai_finding *f) {
    const char *at = strstr(d->nginx_says, "nginx/");
    size_t n;

    if (!d->nginx_runs || at == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Install nginx, or name it with --nginx.",
                       "\"%.200s -V\" does not run", d->nginx);
        return;
    }
    n = strcspn(at, " \n");
    hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "%.*s", (int) n, at);
}

/* The line of nginx's output that says why, without its time. */
static const char *reason_of(char *text) {
    static const char *const levels[] = {"[emerg] ", "[alert] ", "[crit] "};
    char *at = NULL;
    size_t i;

    for (i = 0; at == NULL && i < sizeof(levels) / sizeof(levels[0]); i++) {
        at = strstr(text, levels[i]);
    }
    if (at == NULL) {
        at = text;
    } else {
        at = strchr(at, ' ') + 1;
        if (strspn(at, "0123456789#") > 1 && strstr(at, ": ") != NULL) {
            at = strstr(at, ": ") + 2; /* "123#123: " */
        }
    }
    at[strcspn(at, "\n")] = '\0';
    return at;
}

void hai_doctor_nginx_config(const struct hai_doctor *d,
                             struct hai_finding *f) {
    const char *argv[10] = {d->nginx, "-t", "-q",        "-e",
                            "stderr", "-c", d->conf_path};
    char out[8192];
    int rc;

    if (d->prefix != NULL) {
        argv[7] = "-p";
        argv[8] = d->prefix;
    }
    rc = hai_child_run(argv, (int) d->timeout_ms, out, sizeof(out));
    if (rc != 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       geteuid() != 0
                           ? "Try again as root, who may read the keys."
                           : "Mend what nginx -t says.",
                       "nginx -t: %.400s", reason_of(out));
    } else if (d->tree == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_WARN, NULL,
                       "nginx takes it, but it cannot be looked into: %s",
                       d->conf_error);
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "nginx takes %s", d->conf_path);
    }
}

/* The file that the module is in; false: nowhere that can be seen. */
static bool find_module(const struct hai_doctor *d, char *path, size_t size) {
    const struct hai_nginx_node *node;
    char prefix[1024];

    for (node = d->tree != NULL ? d->tree->first : NULL; node != NULL;
         node = node->next)
    {
        if (hai_nginx_is(node, "load_module") && node->n == 2
            && strstr(node->word[1], "ngx_http_hoody_ai_module") != NULL)
        {
            if (d->prefix != NULL) {
                snprintf(prefix, sizeof(prefix), "%s", d->prefix);
            } else if (hai_doctor_built_with(d, "--prefix=", prefix,
                                             sizeof(prefix))
                       != 0) {
                snprintf(prefix, sizeof(prefix), "/usr/local/nginx");
            }
            return hai_doctor_path(prefix, node->word[1], path, size) == 0;
        }
    }
    return false;
}

/* The program itself, as execvp() finds it. */
static void find_program(const char *name, char *to, size_t size) {
    static const char *const folders[] = {"/usr/local/sbin", "/usr/local/bin",
                                          "/usr/sbin", "/usr/bin"};
    size_t i;

    snprintf(to, size, "%s", name);
    for (i = 0;
         strchr(name, '/') == NULL && i < sizeof(folders) / sizeof(folders[0]);
         i++)
    {
        snprintf(to, size, "%s/%s", folders[i], name);
        if (access(to, X_OK) == 0) {
            return;
        }
    }
}

/* nginx compares this text of a module with its own: "8,4,8,000011...". */
static size_t find_signature(const char *text, size_t len, const char **at) {
    const char *p = text, *end = text + len;
    size_t n;

    while ((p = memmem(p, (size_t) (end - p), "8,4,8,", 6)) != NULL) {
        for (n = 6; p + n < end && (p[n] == '0' || p[n] == '1'); n++) {
        }
        if (n > 30) {
            *at = p;
            return n;
        }
        p += 6;
    }
    return 0;
}

static void check_version(const char *text, size_t len, struct hai_finding *f) {
    const char *at = memmem(text, len, MARK, strlen(MARK));
    char version[32] = "?";
    size_t n;

    if (at == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, "Install the module of this build.",
                       "it does not say which version it is");
        return;
    }
    at += strlen(MARK);
    for (n = 0; at + n < text + len && n < sizeof(version) - 1 && at[n] != '"';
         n++) {
        version[n] = at[n];
    }
    version[n] = '\0';
    if (strcmp(version, HAI_VERSION) != 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Install module and programs of one build, and restart "
                       "nginx.",
                       "the module's version is %s, the programs' " HAI_VERSION,
                       version);
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "version %s", version);
    }
}

void hai_doctor_nginx_module(const struct hai_doctor *d,
                             struct hai_finding *f) {
    char path[1024], program[1024], reason[128], *module, *nginx = NULL;
    size_t len, nginx_len = 0, n;
    const char *at;
    bool loaded;

    if (d->tree == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "no configuration: %s",
                       d->conf_error);
        return;
    }
    find_program(d->nginx, program, sizeof(program));
    loaded = find_module(d, path, sizeof(path));
    module = hai_file_read(loaded ? path : program, BINARY_MAX, &len, reason,
                           sizeof(reason));
    if (module == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Install the module, or mend its load_module line.",
                       "%.300s: %s", loaded ? path : program, reason);
        return;
    }
    if (!loaded && memmem(module, len, MARK, strlen(MARK)) == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Add its load_module line, see docs/INSTALL.md.",
                       "the module is not loaded");
    } else {
        check_version(module, len, f);
    }
    n = loaded ? find_signature(module, len, &at) : 0;
    if (n > 0) {
        nginx = hai_file_read(program, BINARY_MAX, &nginx_len, reason,
                              sizeof(reason));
    }
    if (nginx != NULL && memmem(nginx, nginx_len, at, n) == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Build the module for this nginx: make NGINX=...",
                       "it was built for another nginx");
    }
    free(nginx);
    free(module);
}

void hai_doctor_nginx_user(const struct hai_doctor *d, struct hai_finding *f) {
    char user[128];

    if (d->tree == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "no configuration: %s",
                       d->conf_error);
        return;
    }
    hai_doctor_user(d, user, sizeof(user));
    if (strcmp(user, "root") == 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Name another one with the directive \"user\".",
                       "workers run as root");
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "workers run as %s", user);
    }
}

/* proxy_set_header of that name: its value, NULL where there is none.  A
 * level with any of them has all that count. */
static const char *header_of(const struct hai_nginx_node *block,
                             const char *name) {
    const struct hai_nginx_node *node = NULL;

    while (node == NULL && block != NULL) {
        node = hai_nginx_child(block, "proxy_set_header");
        block = node == NULL ? block->parent : block;
    }
    for (; node != NULL; node = node->next) {
        if (hai_nginx_is(node, "proxy_set_header") && node->n == 3
            && strcasecmp(node->word[1], name) == 0)
        {
            return node->word[2];
        }
    }
    return NULL;
}

static void check_location(const struct hai_nginx_node *location,
                           struct hai_finding *f) {
    const char *name = location->word[location->n - 1], *value;
    const struct hai_nginx_node *node;

    if (hai_nginx_child(location, "proxy_pass") == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, "Add proxy_pass to the provider.",
                       "%s has no proxy_pass", name);
        return;
    }
    if (*hai_nginx_value(location, "hoody_ai_credential") == '\0') {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, "Add hoody_ai_credential.",
                       "%s names no credential", name);
    }
    value = hai_nginx_value(location, "proxy_http_version");
    if (strcmp(value, "1.1") != 0) {
        hai_doctor_say(f, HAI_DOCTOR_WARN,
                       "Include hoody-ai/hoody_ai_proxy.conf there, or take "
                       "its line.",
                       "%s: proxy_http_version is not 1.1", name);
    }
    value = header_of(location, "Connection");
    if (value == NULL || *value != '\0') {
        hai_doctor_say(f, HAI_DOCTOR_WARN,
                       "Include hoody-ai/hoody_ai_proxy.conf there, or take "
                       "its line.",
                       "%s: without proxy_set_header Connection \"\" no "
                       "connection is kept",
                       name);
    }
    node = hai_nginx_find(location, "proxy_next_upstream");
    if (node != NULL) {
        size_t i;

        for (i = 1; i < node->n; i++) {
            if (strcmp(node->word[i], "non_idempotent") == 0) {
                hai_doctor_say(f, HAI_DOCTOR_WARN, "Take non_idempotent out.",
                               "%s: a POST may be sent, and paid, twice", name);
            }
        }
    }
    if (strcmp(hai_nginx_value(location, "proxy_intercept_errors"), "on") == 0)
    {
        hai_doctor_say(f, HAI_DOCTOR_WARN, "Switch proxy_intercept_errors off.",
                       "%s: errors lose their typed bodies", name);
    }
}

void hai_doctor_nginx_locations(const struct hai_doctor *d,
                                struct hai_finding *f) {
    const struct hai_nginx_node *location = d->tree;
    size_t n = 0;

    if (d->tree == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "no configuration: %s",
                       d->conf_error);
        return;
    }
    while ((location = hai_doctor_location(location)) != NULL) {
        check_location(location, f);
        n++;
    }
    if (n == 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Add a location, see docs/INSTALL.md.",
                       "no location has hoody_ai on");
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "%zu locations have hoody_ai on",
                       n);
    }
}
