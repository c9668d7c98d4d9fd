/* Calls and their envelopes, see call.h. */

#include "call.h"

#include "lib/log.h"
#include "lib/time_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_LEN 1024
#define QUERY_VALUE_MAX 1024
#define SKIP_MAX (8 * HAI_CALL_BODY_MAX) /* that nobody asked for */

static const struct {
    int status;
    const char *phrase;
} phrases[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {409, "Conflict"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
};

static const char *phrase(int status) {
    for (size_t i = 0; i < sizeof(phrases) / sizeof(*phrases); i++) {
        if (phrases[i].status == status) {
            return phrases[i].phrase;
        }
    }

    return "Error";
}

const char *hai_call_param(const struct hai_call *call, const char *name) {
    const char *value = FCGX_GetParam(name, call->fcgi->envp);

    return value != NULL ? value : "";
}

int hai_ok(struct hai_call *call, int status, const char *message,
           json_t *data) {
    json_decref(call->data);
    call->data = data;
    call->status = status;
    call->error[0] = '\0';
    snprintf(call->message, sizeof(call->message), "%s", message);

    return 0;
}

static int fail(struct hai_call *call, int status, const char *code,
                json_t *data, const char *format, va_list args)
    __attribute__((format(printf, 5, 0)));

static int fail(struct hai_call *call, int status, const char *code,
                json_t *data, const char *format, va_list args) {
    json_decref(call->data);
    call->data = data;
    call->status = status;
    snprintf(call->error, sizeof(call->error), "%s",
             code != NULL ? code : phrase(status));
    vsnprintf(call->message, sizeof(call->message), format, args);

    return -1;
}

int hai_fail(struct hai_call *call, int status, const char *format, ...) {
    va_list args;

    va_start(args, format);
    fail(call, status, NULL, NULL, format, args);
    va_end(args);

    return -1;
}

int hai_fail_code(struct hai_call *call, int status, const char *code,
                  json_t *data, const char *format, ...) {
    va_list args;

    va_start(args, format);
    fail(call, status, code, data, format, args);
    va_end(args);

    return -1;
}

int hai_fail_memory(struct hai_call *call) {
    return hai_fail(call, 500, "no memory");
}

int hai_fail_write(struct hai_call *call,
                   const struct hai_write_result *result) {
    switch (result->error) {
    case HAI_WRITE_INVALID:
        return hai_fail(call, 400, "%s: %s", result->field, result->text);

    case HAI_WRITE_NOT_FOUND:
        return hai_fail(call, 404, "Container not found");

    case HAI_WRITE_EXISTS:
        return hai_fail(call, 409,
                        "The name is already used by another "
                        "container");

    case HAI_WRITE_CONFLICT:
        return hai_fail_code(
            call, 412, "VERSION_CONFLICT",
            json_pack("{s:I}", "version", (json_int_t) result->version),
            "The container was changed meanwhile");

    case HAI_WRITE_TAKEN:
        return hai_fail(call, 409, "%s %s belongs to another container",
                        result->field, result->value);

    case HAI_WRITE_REDIS:
    case HAI_WRITE_SCHEMA:
    case HAI_WRITE_LIBRARY:
    case HAI_WRITE_BROKEN:
    default:
        hai_log(HAI_LOG_ERROR, "registry: %s", result->text);
        call->retry_after = 1;
        return hai_fail_code(call, 503, "REGISTRY_UNAVAILABLE", NULL,
                             "The registry cannot be written now");
    }
}

int hai_wait_begin(struct hai_call *call) {
    struct hai_control *control = call->control;
    unsigned n = atomic_load(&control->waiting);

    while (control->runtime != NULL && !call->waits) {
        if (n >= control->waiting_max) {
            call->retry_after = 2;
            return hai_fail_code(call, 503, "RUNTIME_BUSY", NULL,
                                 "Too many calls wait for the runtime");
        }

        call->waits =
            atomic_compare_exchange_weak(&control->waiting, &n, n + 1);
    }

    return 0;
}

void hai_wait_end(struct hai_call *call) {
    if (call->waits) {
        atomic_fetch_sub(&call->control->waiting, 1);
        call->waits = false;
    }
}

/* --- reading ---------------------------------------------------------------
 */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }

    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* In place; -1 for what is no escape, and for NUL. */
static int decode(char *text, bool plus) {
    char *out = text;

    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '%') {
            int high = hex_digit(p[1]);
            int low = high >= 0 ? hex_digit(p[2]) : -1;

            if (low < 0 || (high == 0 && low == 0)) {
                return -1;
            }
            *out++ = (char) (high << 4 | low);
            p += 2;
        } else {
            *out++ = *p == '+' && plus ? ' ' : *p;
        }
    }
    *out = '\0';

    return 0;
}

char *hai_call_query(const struct hai_call *call, const char *name, bool *bad) {
    size_t len = strlen(name);
    char *value = NULL;
    const char *p = call->query;

    while (*p != '\0') {
        size_t n = strcspn(p, "&");

        if (n > len && memcmp(p, name, len) == 0 && p[len] == '=') {
            if (value != NULL || n - len - 1 > QUERY_VALUE_MAX) {
                *bad = true;
                break;
            }

            value = strndup(p + len + 1, n - len - 1);
            if (value == NULL || decode(value, true) != 0) {
                *bad = true;
                break;
            }
        }

        p += n + (p[n] == '&');
    }

    if (*bad) {
        free(value);
        return NULL;
    }

    return value;
}

/* Cut at slashes, then each decoded: an encoded slash is no border. */
static int read_path(struct hai_call *call) {
    const char *uri = hai_call_param(call, "REQUEST_URI");
    size_t len = strcspn(uri, "?");
    char *p, *next;

    if (len == 0 || len > PATH_MAX_LEN) {
        return hai_fail(call, 404, "Not found");
    }

    call->path = strndup(uri, len);
    if (call->path == NULL) {
        return hai_fail_memory(call);
    }

    for (p = call->path; p != NULL && *p == '/'; p = next) {
        next = strchr(p + 1, '/');
        *p++ = '\0';

        if (*p == '\0') {
            return 0; /* one slash at the end is allowed */
        }

        if (next != NULL && next == p) {
            return hai_fail(call, 404, "Not found");
        }

        if (call->n_segments == HAI_CALL_SEGMENTS) {
            return hai_fail(call, 404, "Not found");
        }

        call->segment[call->n_segments++] = p;
    }

    return 0;
}

static int decode_path(struct hai_call *call) {
    for (size_t i = 0; i < call->n_segments; i++) {
        /* segments are ended by NUL once all are cut */
        if (decode((char *) call->segment[i], false) != 0) {
            return hai_fail(call, 400, "the path is not well formed");
        }
    }

    return 0;
}

static bool is_json(const char *type) {
    size_t n = strcspn(type, "; ");

    return n == sizeof("application/json") - 1
           && strncasecmp(type, "application/json", n) == 0;
}

static int read_body(struct hai_call *call) {
    const char *text = hai_call_param(call, "CONTENT_LENGTH");
    json_error_t wrong;
    size_t len = 0;
    char *body;
    int n;

    for (const char *p = text; *p != '\0'; p++) {
        if (*p < '0' || *p > '9') {
            return hai_fail(call, 400, "Content-Length is no number");
        }

        len = len * 10 + (size_t) (*p - '0');
        if (len > HAI_CALL_BODY_MAX) {
            return hai_fail(call, 413, "the body has more than %lu bytes",
                            HAI_CALL_BODY_MAX);
        }
    }

    if (len == 0) {
        return 0;
    }

    if (!is_json(hai_call_param(call, "CONTENT_TYPE"))) {
        return hai_fail(call, 415, "Content-Type has to be application/json");
    }

    body = malloc(len);
    if (body == NULL) {
        return hai_fail_memory(call);
    }

    n = FCGX_GetStr(body, (int) len, call->fcgi->in);
    if (n < 0 || (size_t) n != len) {
        free(body);
        return hai_fail(call, 400, "the body is not complete");
    }

    call->body = json_loadb(body, len, JSON_REJECT_DUPLICATES, &wrong);
    free(body);

    if (call->body == NULL) {
        return hai_fail(call, 400, "line %d, column %d: %s", wrong.line,
                        wrong.column, wrong.text);
    }

    if (!json_is_object(call->body)) {
        return hai_fail(call, 400, "the body is no JSON object");
    }

    return 0;
}

int hai_call_read(struct hai_call *call) {
    const char *id = hai_call_param(call, "HOODY_REQUEST_ID");

    call->method = hai_call_param(call, "REQUEST_METHOD");
    call->query = hai_call_param(call, "QUERY_STRING");
    snprintf(call->request_id, sizeof(call->request_id), "%s", id);

    return read_path(call) != 0 || decode_path(call) != 0
                   || read_body(call) != 0
               ? -1
               : 0;
}

int hai_call_skip(struct hai_call *call) {
    FCGX_Stream *in = call->fcgi->in;
    char chunk[8192];
    size_t total = 0;
    int n;

    do {
        n = FCGX_GetStr(chunk, sizeof(chunk), in);
        total += (size_t) n;

        if (total > SKIP_MAX) {
            return hai_fail(call, 413, "the body has more than %lu bytes",
                            HAI_CALL_BODY_MAX);
        }
    } while (n == sizeof(chunk));

    return FCGX_GetError(in) == 0
               ? 0
               : hai_fail(call, 400, "the call is not complete");
}

void hai_call_free(struct hai_call *call) {
    free(call->path);
    free(call->caller.rights.project);
    json_decref(call->body);
    json_decref(call->data);
    json_decref(call->before);
    json_decref(call->after);
}

/* --- writing ---------------------------------------------------------------
 */

static json_t *envelope(struct hai_call *call) {
    json_t *e = json_pack("{s:i}", "statusCode", call->status);

    if (e == NULL) {
        return NULL;
    }

    /* an error says what kind, a success always has data */
    if (call->error[0] != '\0'
        && json_object_set_new(e, "error", json_string(call->error)) != 0)
    {
        json_decref(e);
        return NULL;
    }

    if (json_object_set_new(
            e, "message",
            json_stringn_nocheck(call->message, strlen(call->message)))
            != 0
        || ((call->data != NULL || call->error[0] == '\0')
            && json_object_set_new(e, "data",
                                   call->data != NULL ? json_incref(call->data)
                                                      : json_null())
                   != 0))
    {
        json_decref(e);
        return NULL;
    }

    return e;
}

int hai_call_write(struct hai_call *call) {
    static const char broken[] =
        "{\"statusCode\":500,\"error\":\"Internal Server Error\","
        "\"message\":\"no memory\"}";
    json_t *e = envelope(call);
    char *text = e != NULL ? json_dumps(e, JSON_COMPACT) : NULL;
    const char *body = text != NULL ? text : broken;
    int status = text != NULL ? call->status : 500;
    FCGX_Stream *out = call->fcgi->out;
    int rc;

    json_decref(e);

    rc = FCGX_FPrintF(out,
                      "Status: %d %s\r\n"
                      "Content-Type: application/json\r\n"
                      "Cache-Control: no-store\r\n"
                      "Content-Length: %lu\r\n",
                      status, phrase(status), (unsigned long) strlen(body));

    if (rc >= 0 && status == 401) {
        rc = FCGX_FPrintF(out, "WWW-Authenticate: Bearer\r\n");
    }
    if (rc >= 0 && call->retry_after > 0) {
        rc = FCGX_FPrintF(out, "Retry-After: %d\r\n", call->retry_after);
    }
    if (rc >= 0 && call->allow != NULL) {
        rc = FCGX_FPrintF(out, "Allow: %s\r\n", call->allow);
    }
    if (rc >= 0 && call->version > 0) {
        rc = FCGX_FPrintF(out, "ETag: \"%lu\"\r\n",
                          (unsigned long) call->version);
    }
    if (rc >= 0) {
        rc = FCGX_PutStr("\r\n", 2, out);
    }
    if (rc >= 0 && strcmp(call->method, "HEAD") != 0) {
        rc = FCGX_PutStr(body, (int) strlen(body), out);
    }

    free(text);

    return rc < 0 ? -1 : 0;
}
