/* URLs, see url.h.  libcurl's own parser: what it reads is what is used. */

#include "url.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Parts that may hold a secret. */
static CURLUcode strip(CURLU *u) {
    static const CURLUPart parts[] = {
        CURLUPART_USER,  CURLUPART_PASSWORD, CURLUPART_OPTIONS,
        CURLUPART_QUERY, CURLUPART_FRAGMENT,
    };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        CURLUcode rc = curl_url_set(u, parts[i], NULL, 0);

        if (rc != CURLUE_OK) {
            return rc;
        }
    }
    return CURLUE_OK;
}

static char *join_host(const char *host, const char *port) {
    size_t size = strlen(host) + strlen(port) + 2;
    char *text = malloc(size);

    if (text == NULL) {
        return NULL;
    }

    snprintf(text, size, "%s:%s", host, port);

    for (char *p = text; *p != '\0'; p++) {
        if (*p >= 'A' && *p <= 'Z') {
            *p += 'a' - 'A';
        }
    }
    return text;
}

int hai_url_parse(struct hai_url *url, const char *text) {
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL, *shown = NULL;
    int rc = -1;

    memset(url, 0, sizeof(*url));

    if (u == NULL) {
        return -2;
    }

    if (curl_url_set(u, CURLUPART_URL, text, 0) != CURLUE_OK
        || curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK
        || curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK
        || curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT)
               != CURLUE_OK
        || (strcasecmp(scheme, "https") != 0 && strcasecmp(scheme, "http") != 0)
        || strip(u) != CURLUE_OK
        || curl_url_get(u, CURLUPART_URL, &shown, 0) != CURLUE_OK)
    {
        goto cleanup;
    }

    url->https = strcasecmp(scheme, "https") == 0;
    url->shown = strdup(shown);
    url->host = join_host(host, port);
    rc = 0;

    if (url->shown == NULL || url->host == NULL) {
        hai_url_free(url);
        rc = -2;
    }

cleanup:
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_free(shown);
    curl_url_cleanup(u);
    return rc;
}

void hai_url_free(struct hai_url *url) {
    free(url->shown);
    free(url->host);
    memset(url, 0, sizeof(*url));
}
