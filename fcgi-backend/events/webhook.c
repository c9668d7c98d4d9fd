/* Transfers, see webhook.h. */

#include "webhook.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/options.h"
#include "sign.h"

#define CONNECT_MS 5000L
#define TOTAL_MS 10000L

/* Headers that are ours: a rule cannot replace them. */
static const char *const reserved[] = {
    "Content-Type",
    "Content-Length",
    "Host",
    "X-Hoody-Signature",
    "Transfer-Encoding",
    "Connection",
    "Expect",
    "Upgrade",
    "TE",
    "Trailer",
};

static void show_address(struct hai_transfer *t,
                         const struct curl_sockaddr *to) {
    const void *bytes = NULL;

    if (to->family == AF_INET) {
        bytes =
            &((const struct sockaddr_in *) (const void *) &to->addr)->sin_addr;
    } else if (to->family == AF_INET6) {
        bytes = &((const struct sockaddr_in6 *) (const void *) &to->addr)
                     ->sin6_addr;
    }
    if (bytes == NULL
        || inet_ntop(to->family, bytes, t->address, sizeof(t->address)) == NULL)
    {
        snprintf(t->address, sizeof(t->address), "of family %d", to->family);
    }
}

/*
 * The address that libcurl is about to connect to, whatever the name resolved
 * to before: refused here, no packet is sent.
 */
static curl_socket_t open_socket(void *data, curlsocktype purpose,
                                 struct curl_sockaddr *to) {
    struct hai_transfer *t = data;
    enum hai_address_verdict verdict = hai_address_judge(
        &to->addr, to->addrlen, t->w->allowed, t->w->n_allowed);

    if (purpose != CURLSOCKTYPE_IPCXN || verdict == HAI_ADDRESS_REFUSED
        || (verdict == HAI_ADDRESS_PUBLIC && !t->https))
    {
        t->refused++;
        show_address(t, to);
        errno = EACCES;
        return CURL_SOCKET_BAD;
    }

    t->tried++;
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

/* libcurl takes an answer that breaks off among its headers for one. */
/* NOLINTNEXTLINE(readability-non-const-parameter): libcurl's type */
static size_t take_header(char *data, size_t size, size_t n, void *arg) {
    struct hai_transfer *t = arg;

    t->complete = size * n > 0 && (data[0] == '\r' || data[0] == '\n');
    t->header_bytes += size * n;
    return t->header_bytes <= HAI_HOOK_ANSWER_MAX ? size * n : 0;
}

/* Nobody reads it.  One that goes on and on is cut. */
/* NOLINTNEXTLINE(readability-non-const-parameter): libcurl's type */
static size_t take_body(char *data, size_t size, size_t n, void *arg) {
    struct hai_transfer *t = arg;

    (void) data;

    t->body_bytes += size * n;
    return t->body_bytes <= HAI_HOOK_ANSWER_MAX ? size * n : 0;
}

static int add_header(struct hai_transfer *t, const char *line) {
    struct curl_slist *list = curl_slist_append(t->headers, line);

    if (list == NULL) {
        return -1;
    }
    t->headers = list;
    return 0;
}

static bool is_reserved(const char *line, size_t len) {
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (strlen(reserved[i]) == len
            && strncasecmp(reserved[i], line, len) == 0) {
            return true;
        }
    }
    return false;
}

/* Blanks only: libcurl takes "Name:" for "no such header". */
static bool is_blank(const char *text) {
    return text[strspn(text, " \t")] == '\0';
}

/* "Name: value" of the rule, or -1: what it says about our headers, and
 * whatever could end a header, is left out. */
static int add_configured(struct hai_transfer *t, const char *line) {
    size_t len = strcspn(line, ":");
    char *copy;
    int rc;

    if (len == 0 || line[len] != ':' || is_reserved(line, len)) {
        return 0;
    }
    for (const char *p = line; *p != '\0'; p++) {
        if ((unsigned char) *p < 0x20 || *p == 0x7f) {
            return 0;
        }
    }

    if (!is_blank(line + len + 1)) {
        return add_header(t, line);
    }

    copy = strndup(line, len + 1);
    if (copy == NULL) {
        return -1;
    }
    copy[len] = ';';
    rc = add_header(t, copy);
    free(copy);
    return rc;
}

static enum hai_outcome add_signature(struct hai_transfer *t,
                                      const struct hai_rule *rule,
                                      const char *payload, char *error,
                                      size_t size) {
    char line[sizeof("X-Hoody-Signature: ") + HAI_SIGNATURE_SIZE];
    char value[HAI_SIGNATURE_SIZE];
    struct hai_hook_secret secret;
    int rc;

    if (rule->secret_file == NULL) {
        return HAI_OUTCOME_DONE;
    }

    /* read each time: a file that is replaced, or repaired, counts at once */
    if (hai_hook_secret_read(&secret, rule->secret_file, error, size) != 0) {
        return HAI_OUTCOME_LATER;
    }
    rc = hai_sign(&secret, payload, strlen(payload), value);
    hai_hook_secret_wipe(&secret);

    if (rc != 0) {
        snprintf(error, size, "the signature could not be made");
        return HAI_OUTCOME_LATER;
    }

    snprintf(line, sizeof(line), "X-Hoody-Signature: %s", value);
    if (add_header(t, line) != 0) {
        snprintf(error, size, "no memory");
        return HAI_OUTCOME_LATER;
    }
    return HAI_OUTCOME_DONE;
}

static int add_headers(struct hai_transfer *t, const struct hai_rule *rule) {
    if (add_header(t, "Content-Type: application/json") != 0
        || add_header(t, "Accept:") != 0 || add_header(t, "Expect:") != 0)
    {
        return -1;
    }
    for (size_t i = 0; i < rule->headers.n; i++) {
        if (add_configured(t, rule->headers.item[i]) != 0) {
            return -1;
        }
    }
    return 0;
}

#define SET(option, value)                                                     \
    (rc = rc != CURLE_OK ? rc : curl_easy_setopt(t->easy, option, value))

static CURLcode set_options(struct hai_transfer *t, const char *url,
                            const char *payload) {
    CURLcode rc = CURLE_OK;

    SET(CURLOPT_URL, url);
    SET(CURLOPT_PROTOCOLS_STR, "https,http");
    SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    SET(CURLOPT_TIMEOUT_MS, TOTAL_MS);

    /* a name server that hangs must not hold the others up */
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_OPENSOCKETDATA, t);

    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
    if (t->w->ca_file != NULL) {
        SET(CURLOPT_CAINFO, t->w->ca_file);
        SET(CURLOPT_CAPATH, NULL);
    }

    SET(CURLOPT_USERAGENT, "hoody-ai-events/" HAI_VERSION);
    SET(CURLOPT_HTTPHEADER, t->headers);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) strlen(payload));
    SET(CURLOPT_POSTFIELDS, payload);

    SET(CURLOPT_HEADERFUNCTION, take_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_WRITEFUNCTION, take_body);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_ERRORBUFFER, t->error);
    SET(CURLOPT_PRIVATE, t);
    return rc;
}

enum hai_outcome hai_transfer_begin(struct hai_transfer *t,
                                    const struct hai_worker *w,
                                    const struct hai_rule *rule, bool https,
                                    const char *payload, char *error,
                                    size_t size) {
    enum hai_outcome outcome;
    CURLcode rc;

    memset(t, 0, sizeof(*t));
    t->w = w;
    t->https = https;

    outcome = add_signature(t, rule, payload, error, size);
    if (outcome != HAI_OUTCOME_DONE) {
        hai_transfer_free(t);
        return outcome;
    }

    t->easy = curl_easy_init();
    if (t->easy == NULL || add_headers(t, rule) != 0) {
        snprintf(error, size, "no memory");
        hai_transfer_free(t);
        return HAI_OUTCOME_LATER;
    }

    rc = set_options(t, rule->url, payload);
    if (rc != CURLE_OK) {
        snprintf(error, size, "libcurl: %s", curl_easy_strerror(rc));
        hai_transfer_free(t);
        return HAI_OUTCOME_LATER;
    }
    return HAI_OUTCOME_DONE;
}

enum hai_outcome hai_transfer_end(struct hai_transfer *t, CURLcode code,
                                  long *retry_after, char *error, size_t size) {
    curl_off_t wait = 0;
    long status = 0;

    *retry_after = 0;
    (void) curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);

    /* the answer's status was there, only its body had no end */
    if (code == CURLE_WRITE_ERROR && t->body_bytes > HAI_HOOK_ANSWER_MAX) {
        code = CURLE_OK;
    }

    if (code == CURLE_OK && !t->complete) {
        snprintf(error, size, "the answer broke off");
        return HAI_OUTCOME_LATER;
    }

    if (code == CURLE_OK) {
        snprintf(error, size, "status %ld", status);
        if (curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &wait) == CURLE_OK
            && (status == 429 || status == 503) && wait > 0)
        {
            *retry_after =
                wait > HAI_RETRY_AFTER_MAX ? HAI_RETRY_AFTER_MAX : (long) wait;
        }
        return hai_outcome_of(status);
    }

    if (t->refused > 0 && t->tried == 0) {
        snprintf(error, size, "address %s is not allowed%s", t->address,
                 t->https ? "" : " for http");
        return HAI_OUTCOME_DEAD;
    }
    if (t->header_bytes > HAI_HOOK_ANSWER_MAX) {
        snprintf(error, size, "the answer's headers are too large");
        return HAI_OUTCOME_LATER;
    }

    snprintf(error, size, "%s",
             t->error[0] != '\0' ? t->error : curl_easy_strerror(code));
    return HAI_OUTCOME_LATER;
}

void hai_transfer_free(struct hai_transfer *t) {
    if (t->easy != NULL) {
        curl_easy_cleanup(t->easy);
    }
    curl_slist_free_all(t->headers);
    t->easy = NULL;
    t->headers = NULL;
}
