/* Requests that are remembered, counters and the log file, see record.h. */

#include "record.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "json.h"

#define RECORDS 256
#define MAX_KEPT_BODY (64 * 1024)
#define LINE_MAX_BYTES ((size_t) 512 * 1024 * 1024)

/* The head is kept as it came and parsed again when somebody asks. */
struct record {
    struct hai_sp_buf head;
    struct hai_sp_buf body;
    size_t body_len;
    unsigned char sha256[SHA256_DIGEST_LENGTH]; /* of a body not kept */
    struct timespec when;
};

struct hai_sp_stats hai_sp_stats;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct record records[RECORDS];
static unsigned long noted; /* records ever; the next one's slot modulo 256 */
static unsigned long cleared;
static bool keeping;

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static FILE *log_file;
static const char *log_path;
static bool log_body;

int hai_sp_record_open(const char *path, bool with_body, bool keep) {
    size_t i;

    for (i = 0; i < RECORDS; i++) {
        hai_sp_buf_init(&records[i].head, HAI_SP_MAX_HEAD);
        hai_sp_buf_init(&records[i].body, MAX_KEPT_BODY);
    }
    keeping = keep;
    log_path = path;
    log_body = with_body;
    return hai_sp_record_reopen();
}

int hai_sp_record_reopen(void) {
    FILE *f, *old;

    if (log_path == NULL) {
        return 0;
    }
    f = fopen(log_path, "ae");
    if (f == NULL) {
        return -1;
    }
    pthread_mutex_lock(&log_lock);
    old = log_file;
    log_file = f;
    pthread_mutex_unlock(&log_lock);
    if (old != NULL) {
        fclose(old);
    }
    return 0;
}

void hai_sp_record_close(void) {
    size_t i;

    for (i = 0; i < RECORDS; i++) {
        hai_sp_buf_free(&records[i].head);
        hai_sp_buf_free(&records[i].body);
    }
    if (log_file != NULL) {
        fclose(log_file);
        log_file = NULL;
    }
}

static void put_string(struct hai_sp_buf *b, struct hai_sp_slice s) {
    HAI_SP_PUT(b, "\"");
    hai_sp_json_escape(b, s.p, s.n);
    HAI_SP_PUT(b, "\"");
}

static void put_member(struct hai_sp_buf *b, const char *name,
                       struct hai_sp_slice value) {
    hai_sp_buf_printf(b, "\"%s\":", name);
    put_string(b, value);
    HAI_SP_PUT(b, ",");
}

static bool same_name(const struct hai_sp_request *r, unsigned i, unsigned j) {
    struct hai_sp_slice a = hai_sp_slice(r, r->headers[i].name);
    struct hai_sp_slice b = hai_sp_slice(r, r->headers[j].name);

    return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0;
}

static bool seen_before(const struct hai_sp_request *r, unsigned i) {
    unsigned j;

    for (j = 0; j < i; j++) {
        if (same_name(r, i, j)) {
            return true;
        }
    }
    return false;
}

/* "headers": by lower-case name, repeated ones joined as RFC 9110 joins */
static void put_headers(struct hai_sp_buf *b, const struct hai_sp_request *r) {
    const char *sep = "";
    unsigned i, j;
    size_t k;

    HAI_SP_PUT(b, "\"headers\":{");
    for (i = 0; i < r->nheaders; i++) {
        struct hai_sp_slice name = hai_sp_slice(r, r->headers[i].name);

        if (seen_before(r, i)) {
            continue;
        }
        hai_sp_buf_puts(b, sep);
        HAI_SP_PUT(b, "\"");
        for (k = 0; k < name.n; k++) {
            char c = name.p[k];

            if (c >= 'A' && c <= 'Z') {
                c = (char) (c + 'a' - 'A');
            }
            hai_sp_buf_put(b, &c, 1);
        }
        HAI_SP_PUT(b, "\":\"");
        for (j = i; j < r->nheaders; j++) {
            struct hai_sp_slice v = hai_sp_slice(r, r->headers[j].value);

            if (same_name(r, i, j)) {
                hai_sp_buf_puts(b, j > i ? ", " : "");
                hai_sp_json_escape(b, v.p, v.n);
            }
        }
        HAI_SP_PUT(b, "\"");
        sep = ",";
    }

    HAI_SP_PUT(b, "},\"raw_headers\":[");
    for (i = 0; i < r->nheaders; i++) {
        hai_sp_buf_puts(b, i > 0 ? ",[" : "[");
        put_string(b, hai_sp_slice(r, r->headers[i].name));
        HAI_SP_PUT(b, ",");
        put_string(b, hai_sp_slice(r, r->headers[i].value));
        HAI_SP_PUT(b, "]");
    }
    HAI_SP_PUT(b, "],");
}

static bool is_utf8(const char *p, size_t n) {
    size_t i = 0;

    while (i < n) {
        size_t len = hai_sp_utf8(p + i, n - i);

        if (len == 0) {
            return false;
        }
        i += len;
    }
    return true;
}

/* "body" when it is text, else "body_base64" */
static void put_body(struct hai_sp_buf *b, const char *p, size_t n) {
    size_t room = (n + 2) / 3 * 4 + 1;

    if (is_utf8(p, n)) {
        HAI_SP_PUT(b, "\"body\":\"");
        hai_sp_json_escape(b, p, n);
        HAI_SP_PUT(b, "\",");
        return;
    }
    HAI_SP_PUT(b, "\"body_base64\":\"");
    if (hai_sp_buf_reserve(b, room) == 0) {
        b->len += (size_t) EVP_EncodeBlock((unsigned char *) b->data + b->len,
                                           (const unsigned char *) p, (int) n);
    }
    HAI_SP_PUT(b, "\",");
}

static void put_time(struct hai_sp_buf *b, struct timespec ts) {
    hai_sp_buf_printf(b, "\"time\":%lld.%03ld", (long long) ts.tv_sec,
                      ts.tv_nsec / 1000000);
}

static void write_log(const struct hai_sp_request *r, struct timespec when) {
    struct hai_sp_slice body = hai_sp_request_body(r);
    struct hai_sp_buf b;

    hai_sp_buf_init(&b, LINE_MAX_BYTES);
    HAI_SP_PUT(&b, "{");
    put_member(&b, "method", hai_sp_slice(r, r->method));
    put_member(&b, "uri", hai_sp_slice(r, r->uri));
    put_headers(&b, r);
    hai_sp_buf_printf(&b, "\"body_length\":%zu,", body.n);
    if (log_body) {
        put_body(&b, body.p, body.n);
    }
    put_time(&b, when);
    HAI_SP_PUT(&b, "}\n");
    if (!b.failed) {
        pthread_mutex_lock(&log_lock);
        if (fwrite(b.data, 1, b.len, log_file) != b.len
            || fflush(log_file) != 0) {
            fprintf(stderr, "log file \"%s\": %s\n", log_path, strerror(errno));
        }
        pthread_mutex_unlock(&log_lock);
    }
    hai_sp_buf_free(&b);
}

void hai_sp_record(const struct hai_sp_request *r) {
    struct hai_sp_slice body = hai_sp_request_body(r);
    unsigned char sha256[SHA256_DIGEST_LENGTH];
    struct timespec when;
    struct record *rec;

    if (!keeping && log_path == NULL) {
        return;
    }
    clock_gettime(CLOCK_REALTIME, &when);
    if (log_path != NULL) {
        write_log(r, when);
    }
    if (!keeping) {
        return;
    }

    /* the digest of a kept body can wait until somebody asks */
    if (body.n > MAX_KEPT_BODY) {
        SHA256((const unsigned char *) body.p, body.n, sha256);
    }

    pthread_mutex_lock(&lock);
    rec = &records[noted % RECORDS];
    hai_sp_buf_clear(&rec->head);
    hai_sp_buf_clear(&rec->body);
    hai_sp_buf_put(&rec->head, r->base, r->head_len);
    if (body.n > MAX_KEPT_BODY) {
        memcpy(rec->sha256, sha256, sizeof(sha256));
    } else {
        hai_sp_buf_put(&rec->body, body.p, body.n);
    }
    rec->body_len = body.n;
    rec->when = when;
    noted++;
    pthread_mutex_unlock(&lock);
}

static void put_record(struct hai_sp_buf *b, struct record *rec,
                       struct hai_sp_request *r) {
    const bool kept = rec->body_len <= MAX_KEPT_BODY && !rec->body.failed;
    size_t i;

    /* it was parsed once, so it parses; a head lost to memory does not */
    if (rec->head.failed
        || hai_sp_http_parse_head(r, rec->head.data, rec->head.len) != 0)
    {
        HAI_SP_PUT(b, "{\"lost\":true}");
        return;
    }
    if (kept) {
        SHA256((const unsigned char *) rec->body.data, rec->body.len,
               rec->sha256);
    }
    HAI_SP_PUT(b, "{");
    put_member(b, "method", hai_sp_slice(r, r->method));
    put_member(b, "uri", hai_sp_slice(r, r->uri));
    put_headers(b, r);
    hai_sp_buf_printf(b, "\"body_length\":%zu,\"body_sha256\":\"",
                      rec->body_len);
    for (i = 0; i < sizeof(rec->sha256); i++) {
        hai_sp_buf_printf(b, "%02x", rec->sha256[i]);
    }
    HAI_SP_PUT(b, "\",");
    if (kept) {
        put_body(b, rec->body.data, rec->body.len);
    }
    put_time(b, rec->when);
    HAI_SP_PUT(b, "}");
}

void hai_sp_record_dump(struct hai_sp_buf *b) {
    struct hai_sp_request *r = malloc(sizeof(*r));
    unsigned long i, first;

    if (r == NULL) {
        b->failed = true;
        return;
    }
    pthread_mutex_lock(&lock);
    first = noted > RECORDS ? noted - RECORDS : 0;
    if (first < cleared) {
        first = cleared;
    }
    hai_sp_buf_printf(b, "{\"total\":%lu,\"requests\":[", noted);
    for (i = first; i < noted; i++) {
        if (i > first) {
            HAI_SP_PUT(b, ",\n");
        }
        put_record(b, &records[i % RECORDS], r);
    }
    pthread_mutex_unlock(&lock);
    HAI_SP_PUT(b, "]}\n");
    free(r);
}

void hai_sp_record_clear(void) {
    pthread_mutex_lock(&lock);
    cleared = noted;
    pthread_mutex_unlock(&lock);
}

void hai_sp_stats_dump(struct hai_sp_buf *b) {
    hai_sp_buf_printf(
        b,
        "{\"connections_open\":%ld,\"connections_accepted\":%ld,"
        "\"requests\":%ld,\"active_streams\":%ld,\"client_aborts\":%ld,"
        "\"sample_aborts\":%ld}\n",
        atomic_load(&hai_sp_stats.open), atomic_load(&hai_sp_stats.accepted),
        atomic_load(&hai_sp_stats.requests), atomic_load(&hai_sp_stats.streams),
        atomic_load(&hai_sp_stats.client_aborts),
        atomic_load(&hai_sp_stats.aborts));
}
