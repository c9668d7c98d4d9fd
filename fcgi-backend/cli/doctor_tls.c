/* hoody-ai doctor: may the keys go where the locations send them? */

#include "doctor.h"

#include "lib/file.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CA_MAX (16 * 1024 * 1024)

/* Where a location sends its requests. */
struct target {
    const char *name; /* the location's */
    bool tls;
    bool variable;  /* only known when a request is there */
    char host[512]; /* without a port */
    int port;       /* 443 or 80 unless it says another */
    const struct hai_nginx_node *upstream; /* of that name, or NULL */
};

/* Splits "host:port" or "[v6]:port". */
static void split_host(const char *text, size_t len, struct target *t) {
    const char *colon;

    snprintf(t->host, sizeof(t->host), "%.*s", (int) len, text);
    colon = strrchr(t->host, ':');
    if (strncmp(t->host, "unix:", 5) != 0 && colon != NULL
        && (t->host[0] != '[' || colon[-1] == ']'))
    {
        t->port = (int) strtol(colon + 1, NULL, 10);
        t->host[colon - t->host] = '\0';
    }
}

static void find_target(const struct hai_doctor *d,
                        const struct hai_nginx_node *location,
                        struct target *t) {
    const char *to = hai_nginx_value(location, "proxy_pass");

    memset(t, 0, sizeof(*t));
    t->name = location->word[location->n - 1];
    t->tls = strncmp(to, "https://", 8) == 0;
    t->port = t->tls ? 443 : 80;
    to += t->tls ? 8 : strncmp(to, "http://", 7) == 0 ? 7 : 0;
    if (strncmp(to, "unix:", 5) == 0) {
        snprintf(t->host, sizeof(t->host), "%s", to);
        return;
    }
    split_host(to, strcspn(to, "/"), t);
    t->variable = strchr(t->host, '$') != NULL;
    t->upstream = hai_doctor_upstream(d, t->host);
}

static bool is_local(const char *host) {
    return strncmp(host, "unix:", 5) == 0 || strncmp(host, "127.", 4) == 0
           || strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0;
}

/* Do all servers of it stay on this host? */
static bool stays(const struct target *t) {
    const struct hai_nginx_node *node;
    struct target one;
    bool any = false;

    if (t->upstream == NULL) {
        return is_local(t->host);
    }
    for (node = t->upstream->first; node != NULL; node = node->next) {
        if (hai_nginx_is(node, "server") && node->n > 1) {
            split_host(node->word[1], strlen(node->word[1]), &one);
            if (!is_local(one.host)) {
                return false;
            }
            any = true;
        }
    }
    return any;
}

static void check_ca(const struct hai_doctor *d, const char *name,
                     const char *file, struct hai_finding *f) {
    char path[1024], reason[128], *text;
    size_t len;

    if (*file == '\0') {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Set proxy_ssl_trusted_certificate to the CA file of "
                       "the distribution.",
                       "%s has no proxy_ssl_trusted_certificate", name);
        return;
    }
    if (hai_doctor_path(d->conf_dir, file, path, sizeof(path)) != 0) {
        return;
    }
    text = hai_file_read(path, CA_MAX, &len, reason, sizeof(reason));
    if (text == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Install ca-certificates, or name the file that is "
                       "there.",
                       "%s: CA file %s: %s", name, path, reason);
    } else if (strstr(text, "BEGIN CERTIFICATE") == NULL
               && strstr(text, "BEGIN TRUSTED CERTIFICATE") == NULL)
    {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, NULL,
                       "%s: CA file %s holds no certificate", name, path);
    }
    free(text);
}

static void check_tls(const struct hai_doctor *d,
                      const struct hai_nginx_node *location,
                      const struct target *t, struct hai_finding *f) {
    if (strcmp(hai_nginx_value(location, "proxy_ssl_verify"), "on") != 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL, "Set proxy_ssl_verify on.",
                       "%s: the provider is not verified, so no key is sent",
                       t->name);
    }
    check_ca(d, t->name,
             hai_nginx_value(location, "proxy_ssl_trusted_certificate"), f);
    if (strcmp(hai_nginx_value(location, "proxy_ssl_server_name"), "on") != 0) {
        hai_doctor_say(f, HAI_DOCTOR_WARN, "Set proxy_ssl_server_name on.",
                       "%s: the provider is not told its name (SNI)", t->name);
    }
    if (t->upstream != NULL
        && *hai_nginx_value(location, "proxy_ssl_name") == '\0') {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Set proxy_ssl_name to the provider's name.",
                       "%s: the name of the upstream, %s, is what is verified",
                       t->name, t->host);
    }
}

/* Does the credential say "insecure"? */
static bool may_be_insecure(const struct hai_nginx_node *location) {
    const struct hai_nginx_node *node =
        hai_nginx_find(location, "hoody_ai_credential");

    return node != NULL && node->n > 2
           && strcmp(node->word[2], "insecure") == 0;
}

void hai_doctor_tls_config(const struct hai_doctor *d, struct hai_finding *f) {
    const struct hai_nginx_node *location = d->tree;
    size_t tls = 0, local = 0;
    struct target t;

    if (d->tree == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL, "no configuration: %s",
                       d->conf_error);
        return;
    }
    while ((location = hai_doctor_location(location)) != NULL) {
        find_target(d, location, &t);
        if (t.tls) {
            check_tls(d, location, &t, f);
            tls++;
        } else if (stays(&t)) {
            local++;
        } else if (may_be_insecure(location)) {
            hai_doctor_say(f, HAI_DOCTOR_WARN, "Use https.",
                           "%s sends its key in clear text to %s", t.name,
                           t.host);
        } else if (t.host[0] != '\0') {
            hai_doctor_say(f, HAI_DOCTOR_FAIL, "Use https.",
                           "%s goes to %s without TLS, so no key is sent",
                           t.name, t.host);
        }
    }
    hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                   "%zu locations with verified TLS, %zu to this host", tls,
                   local);
}

/* The first server of the upstream in its place. */
static void resolve(struct target *t) {
    const struct hai_nginx_node *server =
        t->upstream != NULL ? hai_nginx_child(t->upstream, "server") : NULL;

    if (server != NULL && server->n > 1) {
        split_host(server->word[1], strlen(server->word[1]), t);
    }
}

static CURLcode handshake(const struct hai_doctor *d, const char *name,
                          const struct target *t, const char *ca) {
    CURL *curl = curl_easy_init();
    struct curl_slist *to = NULL;
    char url[1200], connect[1700];
    CURLcode rc = curl != NULL ? CURLE_OK : CURLE_OUT_OF_MEMORY;

    snprintf(url, sizeof(url), "https://%s:%d/", name, t->port);
    snprintf(connect, sizeof(connect), "%s:%d:%s:%d", name, t->port, t->host,
             t->port);
    to = curl_slist_append(NULL, connect);

#define SET(option, value)                                                     \
    do {                                                                       \
        if (rc == CURLE_OK) {                                                  \
            rc = curl_easy_setopt(curl, option, value);                        \
        }                                                                      \
    } while (0)

    SET(CURLOPT_URL, url);
    SET(CURLOPT_CONNECT_TO, to);
    SET(CURLOPT_CONNECT_ONLY, 1L);
    SET(CURLOPT_CAINFO, ca);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_TIMEOUT_MS, d->timeout_ms * 9 / 10);
#undef SET
    if (rc == CURLE_OK) {
        rc = curl_easy_perform(curl);
    }
    curl_easy_cleanup(curl);
    curl_slist_free_all(to);
    return rc;
}

void hai_doctor_tls_online(const struct hai_doctor *d, struct hai_finding *f) {
    const struct hai_nginx_node *location = d->tree;
    char ca[1024];
    const char *name;
    struct target t;
    size_t n = 0;
    CURLcode rc;

    if (!d->online || d->tree == NULL) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "providers are asked with --online");
        return;
    }
    while ((location = hai_doctor_location(location)) != NULL) {
        find_target(d, location, &t);
        name = hai_nginx_value(location, "proxy_ssl_name");
        if (!t.tls || t.variable || strchr(name, '$') != NULL) {
            continue;
        }
        resolve(&t);
        if (hai_doctor_path(
                d->conf_dir,
                hai_nginx_value(location, "proxy_ssl_trusted_certificate"), ca,
                sizeof(ca))
            != 0)
        {
            continue;
        }
        rc = handshake(d, *name != '\0' ? name : t.host, &t, ca);
        if (rc != CURLE_OK) {
            hai_doctor_say(f, HAI_DOCTOR_FAIL,
                           "See that the provider can be reached, and that "
                           "the CA file and proxy_ssl_name are right.",
                           "%s: %s:%d: %s", t.name, t.host, t.port,
                           curl_easy_strerror(rc));
        }
        n++;
    }
    if (n == 0) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "there is no location with TLS");
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL,
                       "%zu providers have the right certificates", n);
    }
}
