/*
 * Addresses of webhooks as they may be shown, and what they have in common.
 */

#ifndef HAI_EVENTS_URL_H
#define HAI_EVENTS_URL_H

#include <stdbool.h>

struct hai_url {
    bool https;  /* else http */
    char *shown; /* without user, password, query and fragment */
    char *host;  /* "name:port", lower case: what is shared by deliveries */
};

/* 0; -1 when it is no http or https URL; -2 without memory. */
int hai_url_parse(struct hai_url *url, const char *text);
void hai_url_free(struct hai_url *url);

#endif
