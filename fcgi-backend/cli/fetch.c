/* See fetch.h; libcurl's easy interface. */

#include "fetch.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct page {
    char *data;
    size_t len;
};

static size_t take(char *data, size_t one, size_t n, void *arg) {
    struct page *page = arg;
    char *larger;

    n *= one;
    if (n > HAI_FETCH_MAX - page->len) {
        return 0; /* ends the transfer with an error */
    }
    larger = realloc(page->data, page->len + n + 1);
    if (larger == NULL) {
        return 0;
    }
    memcpy(larger + page->len, data, n);
    page->data = larger;
    page->len += n;
    return n;
}

static CURLcode set_up(CURL *curl, const char *url, long timeout_ms,
                       struct page *page) {
    CURLcode rc = curl_easy_setopt(curl, CURLOPT_URL, url);

#define SET(option, value)                                                     \
    do {                                                                       \
        if (rc == CURLE_OK) {                                                  \
            rc = curl_easy_setopt(curl, option, value);                        \
        }                                                                      \
    } while (0)

    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_TIMEOUT_MS, timeout_ms);
    SET(CURLOPT_FAILONERROR, 1L);
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_WRITEFUNCTION, take);
    SET(CURLOPT_WRITEDATA, page);
#undef SET
    return rc;
}

json_t *hai_fetch_json(const char *url, long timeout_ms, char *error,
                       size_t size) {
    struct page page = {NULL, 0};
    CURL *curl = curl_easy_init();
    json_t *json = NULL;
    CURLcode rc;

    if (curl == NULL) {
        snprintf(error, size, "no memory");
        return NULL;
    }
    rc = set_up(curl, url, timeout_ms, &page);
    if (rc == CURLE_OK) {
        rc = curl_easy_perform(curl);
    }
    curl_easy_cleanup(curl);
    if (rc != CURLE_OK) {
        snprintf(error, size, "%s", curl_easy_strerror(rc));
    } else {
        json = json_loadb(page.data != NULL ? page.data : "", page.len,
                          JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(json)) {
            snprintf(error, size, "what is there is no JSON object");
            json_decref(json);
            json = NULL;
        }
    }
    free(page.data);
    return json;
}
