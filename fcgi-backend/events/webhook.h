/*
 * One attempt to deliver a webhook: a libcurl transfer, what it may connect
 * to, what it sends, what its end means.
 */

#ifndef HAI_EVENTS_WEBHOOK_H
#define HAI_EVENTS_WEBHOOK_H

#include <curl/curl.h>
#include <stdbool.h>

#include "lib/rules.h"
#include "policy.h"
#include "worker.h"

#define HAI_HOOK_ANSWER_MAX 65536 /* bytes of headers, and of the body */

/* All zero: not begun.  Must not move while it runs. */
struct hai_transfer {
    const struct hai_worker *w;
    CURL *easy;
    struct curl_slist *headers;
    bool https;
    unsigned refused; /* addresses that it may not connect to */
    unsigned tried;   /* addresses that it may */
    char address[64]; /* the last one refused */
    bool complete;    /* the answer's headers came to their end */
    size_t header_bytes;
    size_t body_bytes;
    char error[CURL_ERROR_SIZE];
};

/*
 * Makes the transfer of a webhook rule.  payload is borrowed until the end.
 * HAI_OUTCOME_DONE: it is ready to be added to a multi handle; else it cannot
 * be made, with a reason in error.
 */
enum hai_outcome hai_transfer_begin(struct hai_transfer *t,
                                    const struct hai_worker *w,
                                    const struct hai_rule *rule, bool https,
                                    const char *payload, char *error,
                                    size_t size);

/* Judges a transfer that libcurl has ended.  retry_after: in seconds. */
enum hai_outcome hai_transfer_end(struct hai_transfer *t, CURLcode code,
                                  long *retry_after, char *error, size_t size);

void hai_transfer_free(struct hai_transfer *t);

#endif
