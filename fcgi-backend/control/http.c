/* A runtime's API, see http.h.  A connection for each request: it is local,
 * and a kept one would have to be shared between threads. */

#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_MAX (256UL * 1024 * 1024)
#define CONNECT_MS 2000L

struct bytes {
    char *data;
    size_t len;
    size_t size;
};

static size_t take(char *data, size_t one, size_t n, void *to) {
    struct bytes *b = to;

    (void) one;

    if (n > REPLY_MAX - b->len) {
        return 0;
    }

    if (b->len + n > b->size) {
        size_t size = b->size > 0 ? b->size : 4096;
        char *more;

        while (size < b->len + n) {
            size *= 2;
        }

        more = realloc(b->data, size);
        if (more == NULL) {
            return 0;
        }
        b->data = more;
        b->size = size;
    }

    memcpy(b->data + b->len, data, n);
    b->len += n;

    return n;
}

long hai_http(const char *socket, const char *method, const char *path,
              const json_t *body, long timeout_ms, json_t **reply,
              struct hai_runtime_error *e) {
    struct curl_slist *headers = NULL;
    struct bytes b = {0};
    char url[4096], *text = NULL;
    CURL *curl = curl_easy_init();
    long status = -1;
    CURLcode code;
    int n;

    *reply = NULL;

    n = snprintf(url, sizeof(url), "http://runtime%s", path);
    if (body != NULL) {
        text = json_dumps(body, JSON_COMPACT);
        headers = curl_slist_append(NULL, "Content-Type: application/json");
    }

    if (curl == NULL || n < 0 || (size_t) n >= sizeof(url)
        || (body != NULL && (text == NULL || headers == NULL)))
    {
        hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
        goto done;
    }

    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &b);
    if (text != NULL) {
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long) strlen(text));
    } else if (strcmp(method, "POST") == 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, 0L);
    }

    code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        hai_runtime_fail(e, HAI_RUNTIME_UNREACHABLE, "%s: %s", socket,
                         curl_easy_strerror(code));
        goto done;
    }

    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (b.len > 0) {
        /* a NUL in somebody's label must not hide all the others */
        *reply =
            json_loadb(b.data, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    }

done:
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    free(text);
    free(b.data);

    return status;
}

int hai_http_fail(long status, const json_t *reply, const char *member,
                  struct hai_runtime_error *e) {
    const char *why = json_string_value(json_object_get(reply, member));
    enum hai_runtime_failure kind = HAI_RUNTIME_REFUSED;

    if (status < 0) {
        return -1; /* *e says why */
    }

    if (status == 404) {
        kind = HAI_RUNTIME_NOT_FOUND;
    } else if (status == 409) {
        kind = HAI_RUNTIME_CONFLICT;
    } else if (status == 400) {
        kind = HAI_RUNTIME_INVALID;
    } else if (status == 503) {
        kind = HAI_RUNTIME_UNREACHABLE;
    }

    return hai_runtime_fail(e, kind, "%s (HTTP %ld)",
                            why != NULL ? why : "the runtime refused", status);
}
