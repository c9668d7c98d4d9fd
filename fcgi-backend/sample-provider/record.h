/*
 * What the sample remembers: the last requests, the counters, the log file.
 * Shared by all threads.
 */

#ifndef HAI_SP_RECORD_H
#define HAI_SP_RECORD_H

#include <stdatomic.h>
#include <stdbool.h>

#include "buf.h"
#include "http.h"

struct hai_sp_stats {
    atomic_long open;          /* connections */
    atomic_long accepted;      /* connections, ever */
    atomic_long requests;      /* received in full, except /_sample */
    atomic_long streams;       /* streamed answers being written */
    atomic_long client_aborts; /* the peer left before the answer's end */
    atomic_long aborts;        /* cut because X-Sample-Abort said so */
};

extern struct hai_sp_stats hai_sp_stats;

static inline void hai_sp_count(atomic_long *counter, long n) {
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Opens the log file; path NULL: no log.  Returns 0, or -1 with errno. */
int hai_sp_record_open(const char *path, bool with_body, bool keep);

/* Opens the log file anew, after rotation.  Returns 0, or -1 with errno. */
int hai_sp_record_reopen(void);

void hai_sp_record_close(void);

/* Notes a complete request. */
void hai_sp_record(const struct hai_sp_request *r);

/* Writes the noted requests as JSON, the oldest first. */
void hai_sp_record_dump(struct hai_sp_buf *b);

void hai_sp_record_clear(void);

void hai_sp_stats_dump(struct hai_sp_buf *b);

#endif
