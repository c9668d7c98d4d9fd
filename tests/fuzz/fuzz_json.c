/* SOURCES: common/hai_json.c common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */
/* LIBS: -ljansson */

/*
 * The request scanner against jansson, and against itself with the same
 * bytes in other pieces.
 *
 * The first byte of the input chooses the pieces, the rest is the body.
 * jansson must accept what the scanner accepts and find the same model and
 * stream.  The other way round the scanner may refuse more, but only with a
 * status that says so: repeated keys outside of what decides are no error
 * for the scanner, so jansson is asked with and without
 * JSON_REJECT_DUPLICATES.
 */

#include "hai_json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(x)                                                               \
    do {                                                                       \
        if (!(x)) {                                                            \
            abort();                                                           \
        }                                                                      \
    } while (0)

#define PADDING 100

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same_facts(const struct hai_json_facts *a,
                       const struct hai_json_facts *b) {
    for (int i = 0; i < HAI_KEY_COUNT; i++) {
        if (a->top[i].start != b->top[i].start || a->top[i].end != b->top[i].end
            || a->top[i].type != b->top[i].type)
        {
            return false;
        }
    }

    return a->object_start == b->object_start && a->object_end == b->object_end
           && a->object_empty == b->object_empty && a->stream == b->stream
           && a->file_id == b->file_id && a->model_len == b->model_len
           && memcmp(a->model, b->model, a->model_len) == 0;
}

static void check_same(const struct hai_json *a, const struct hai_json *b,
                       enum hai_json_status status) {
    if (status == HAI_JSON_OK) {
        CHECK(same_facts(hai_json_facts(a), hai_json_facts(b)));
    } else {
        CHECK(hai_json_error_offset(a) == hai_json_error_offset(b));
    }
}

/* Pieces of n bytes, 0: all at once; each in a block of its own. */
static enum hai_json_status scan(struct hai_json *js, const uint8_t *data,
                                 size_t size, size_t n) {
    uint8_t *copy;
    size_t len;

    hai_json_reset(js);
    for (size_t at = 0; at < size; at += len) {
        len = n && n < size - at ? n : size - at;
        copy = malloc(len);
        CHECK(copy);
        memcpy(copy, data + at, len);
        hai_json_feed(js, copy, len);
        free(copy);
    }

    return hai_json_finish(js);
}

/*
 * The same in one piece with white space behind it, so that all of it can be
 * read by the fast path, which wants some bytes behind each token.
 */
static enum hai_json_status scan_padded(struct hai_json *js,
                                        const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size + PADDING);

    CHECK(copy);
    memcpy(copy, data, size);
    memset(copy + size, ' ', PADDING);
    hai_json_reset(js);
    hai_json_feed(js, copy, size + PADDING);
    free(copy);

    return hai_json_finish(js);
}

static bool too_large_number(const json_error_t *error) {
    return json_error_code(error) == json_error_numeric_overflow;
}

static void check_accepted(const struct hai_json_facts *f, const char *data,
                           size_t size) {
    json_error_t error;
    json_t *root = json_loadb(data, size, JSON_ALLOW_NUL, &error);
    json_t *model;

    if (root == NULL) {
        /* what jansson cannot hold, though it is JSON */
        CHECK(too_large_number(&error)
              || json_error_code(&error) == json_error_null_byte_in_key);
        return;
    }

    CHECK(json_is_object(root));
    CHECK((json_object_size(root) == 0) == f->object_empty);
    CHECK(json_is_true(json_object_get(root, "stream")) == f->stream);

    model = json_object_get(root, "model");
    CHECK((model != NULL) == (f->model_len > 0));
    if (model) {
        CHECK(json_is_string(model));
        CHECK(json_string_length(model) == f->model_len);
        CHECK(memcmp(json_string_value(model), f->model, f->model_len) == 0);
    }

    json_decref(root);
}

static void check_refused(enum hai_json_status status, const char *data,
                          size_t size) {
    size_t flags = JSON_ALLOW_NUL | JSON_DECODE_ANY;
    json_error_t error;
    json_t *root;

    switch (status) {
    case HAI_JSON_SYNTAX:
    case HAI_JSON_UTF8:
        root = json_loadb(data, size, flags, &error);
        /* jansson forgets a NUL byte that it has looked at behind a number */
        CHECK(root == NULL || memchr(data, '\0', size));
        json_decref(root);
        break;
    case HAI_JSON_NOT_OBJECT:
        root = json_loadb(data, size, flags, &error);
        CHECK(!json_is_object(root));
        json_decref(root);
        break;
    case HAI_JSON_DUPLICATE_KEY:
        root = json_loadb(data, size, flags | JSON_REJECT_DUPLICATES, &error);
        CHECK(root == NULL);
        break;
    case HAI_JSON_DEPTH:
    case HAI_JSON_AMBIGUOUS_KEY:
    case HAI_JSON_MODEL:
        break;
    default:
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct hai_json *a, *b;
    enum hai_json_status status;
    size_t pieces[2];

    if (a == NULL) {
        a = hai_json_new();
        b = hai_json_new();
        CHECK(a && b);
    }

    if (size == 0) {
        return 0;
    }

    pieces[0] = 1;
    pieces[1] = (size_t) data[0] + 1;
    data++;
    size--;

    status = scan(a, data, size, 0);
    for (int i = 0; i < 2; i++) {
        CHECK(scan(b, data, size, pieces[i]) == status);
        check_same(a, b, status);
    }

    if (status == HAI_JSON_OK || hai_json_error_offset(a) < size) {
        CHECK(scan_padded(b, data, size) == status);
        check_same(a, b, status);
    }

    if (status == HAI_JSON_OK) {
        check_accepted(hai_json_facts(a), (const char *) data, size);
    } else {
        check_refused(status, (const char *) data, size);
    }

    return 0;
}
