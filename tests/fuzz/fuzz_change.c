/* SOURCES: common/hai_change.c common/hai_change_find.c */
/* SOURCES: common/hai_change_put.c common/hai_change_set.c */
/* SOURCES: common/hai_change_text.c common/hai_walk.c common/hai_edit.c */
/* SOURCES: common/hai_json.c common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: common/hai_tools.c tests/unit/change_model.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */
/* CFLAGS: -Itests/unit */
/* LIBS: -ljansson */

/*
 * Changes and tool results of any accepted body.
 *
 * The input: a byte for the API and for how many changes there are, each of
 * two bytes and, for some texts, their bytes; the rest is the body.  The
 * changed body must be accepted again and be what the same changes make of
 * jansson's tree; neither edits nor tool results may depend on how the body
 * is split; a text that was appended is not appended again.
 */

#include "change_model.h"
#include "hai_tools.h"

#include <stdlib.h>
#include <string.h>

#define CHECK(x)                                                               \
    do {                                                                       \
        if (!(x)) {                                                            \
            abort();                                                           \
        }                                                                      \
    } while (0)

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MAX_CHANGES 4
#define MAX_PIECES 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    enum hai_api api;
    struct hai_change changes[MAX_CHANGES];
    size_t n;
    bool bounds;
    const char *body;
    size_t len;
};

static struct hai_json *scanner, *again;

static struct hai_slice slice(const char *text) {
    return (struct hai_slice){text, strlen(text)};
}

static void choose_text(struct hai_change *c, uint8_t b, const uint8_t **p,
                        const uint8_t *end) {
    static const char *const texts[] = {
        "",     "a",    "b",    "ab",  "\n",       "\n\n",
        "\"",   "\\",   "\\\\", "/",   "\xc3\xa9", "\xf0\x9f\x98\x80",
        "a\nb", "\x01", "\x7f", "{}[]"};
    size_t n = b & 0x3f;
    json_t *text;

    if (b < 0x80) {
        c->text = slice(texts[b % COUNT(texts)]);
        return;
    }

    if (n > (size_t) (end - *p)) {
        n = (size_t) (end - *p);
    }
    c->text = (struct hai_slice){(const char *) *p, n};
    *p += n;

    text = json_stringn(c->text.data, n);
    if (text == NULL) {
        c->text = slice("not UTF-8");
    }
    json_decref(text);
}

static void choose_field(struct input *in, struct hai_change *c, uint8_t b) {
    static const char *const fields[] = {"a", "b",     "max_tokens", "model",
                                         "c", "tools", "\xc3\xa9\"", "d"};
    static const char *const values[] = {"1",  "\"x\"", "null",
                                         "[]", "{}",    "\"m\\u0041\""};

    c->field = slice(fields[b & 7]);
    b >>= 3;

    if (b % 5 == 0) {
        c->op = HAI_CHANGE_REMOVE;
    } else if (b % 5 < 3 || (c->field.len == 5 && c->field.data[0] == 'm')) {
        c->value = slice(values[b % COUNT(values)]);
        if (strcmp(c->field.data, "model") == 0) {
            c->value = slice("\"gpt\"");
        }
    } else {
        in->bounds = true;
        c->max = slice("100");
        c->min = b & 8 ? slice("10") : (struct hai_slice){NULL, 0};
        c->fallback = b & 16 ? slice("50") : (struct hai_slice){NULL, 0};
    }
}

static bool read_input(struct input *in, const uint8_t *p, size_t size) {
    const uint8_t *end = p + size;
    uint8_t kind, b;

    memset(in, 0, sizeof(*in));

    if (size == 0) {
        return false;
    }
    in->api = (enum hai_api)(*p % 5);
    in->n = *p / 5 % (MAX_CHANGES + 1);
    p++;

    for (size_t i = 0; i < in->n; i++) {
        if (end - p < 2) {
            return false;
        }
        kind = *p++;
        b = *p++;
        in->changes[i].op = (enum hai_change_op)(kind % 4);
        if (in->changes[i].op == HAI_CHANGE_SET) {
            choose_field(in, &in->changes[i], b);
        } else {
            choose_text(&in->changes[i], b, &p, end);
        }
    }

    in->body = (const char *) p;
    in->len = (size_t) (end - p);
    return true;
}

static enum hai_json_status scan(struct hai_json *js, const char *p, size_t n) {
    hai_json_reset(js);
    hai_json_feed(js, p, n);
    return hai_json_finish(js);
}

/* Pieces of about n bytes in blocks of their own; 0: one piece. */
static size_t split(const struct input *in, size_t n,
                    struct hai_piece pieces[MAX_PIECES]) {
    size_t count = 0, len;
    uint8_t *copy;

    for (size_t at = 0; at < in->len; at += len) {
        len = n ? 1 + (at * 7 + n) % n : in->len;
        if (len > in->len - at || count == MAX_PIECES - 1) {
            len = in->len - at;
        }
        copy = malloc(len);
        CHECK(copy);
        memcpy(copy, in->body + at, len);
        pieces[count++] = (struct hai_piece){copy, len};
    }

    return count;
}

static void free_pieces(struct hai_piece *pieces, size_t n) {
    for (size_t i = 0; i < n; i++) {
        free((uint8_t *) pieces[i].data);
    }
}

static char *splice(const char *body, size_t len, const struct hai_edits *edits,
                    size_t *result_len) {
    char *result, *p;
    uint64_t at = 0;

    *result_len = (size_t) hai_edits_result_size(edits, len);
    p = result = malloc(*result_len + 1);
    CHECK(result);

    for (size_t i = 0; i < edits->n; i++) {
        const struct hai_edit *e = &edits->list[i];

        CHECK(e->offset >= at && e->offset <= len && e->del <= len - e->offset);
        memcpy(p, body + at, (size_t) (e->offset - at));
        p += e->offset - at;
        if (e->len) {
            memcpy(p, e->text, e->len);
            p += e->len;
        }
        at = e->offset + e->del;
    }
    memcpy(p, body + at, (size_t) (len - at));
    CHECK(p + (len - at) == result + *result_len);

    return result;
}

/* Whether a double tells apart what the bounds do. */
static bool plain_numbers(const struct input *in) {
    size_t run = 0;

    for (size_t i = 0; i < in->len; i++) {
        run = in->body[i] >= '0' && in->body[i] <= '9' ? run + 1 : 0;
        if (run > 5 || in->body[i] == 'e' || in->body[i] == 'E') {
            return false;
        }
    }

    return in->len < 4000;
}

static void compare_with_model(const struct input *in,
                               enum hai_change_status status,
                               const char *result, size_t len) {
    json_t *root = json_loadb(in->body, in->len, JSON_ALLOW_NUL, NULL);
    json_t *changed;
    bool done = true;

    if (root == NULL || (in->bounds && !plain_numbers(in))) {
        json_decref(root); /* what jansson cannot hold */
        return;
    }

    for (size_t i = 0; i < in->n && done; i++) {
        done = model_apply(root, in->api, &in->changes[i]);
    }
    CHECK(done == (status == HAI_CHANGE_OK));

    if (done) {
        changed = json_loadb(result, len, JSON_ALLOW_NUL, NULL);
        CHECK(changed && json_equal(root, changed));
        json_decref(changed);
    }
    json_decref(root);
}

static bool same_edits(const struct hai_edits *a, const struct hai_edits *b) {
    if (a->n != b->n) {
        return false;
    }

    for (size_t i = 0; i < a->n; i++) {
        const struct hai_edit *x = &a->list[i], *y = &b->list[i];

        if (x->offset != y->offset || x->del != y->del || x->len != y->len
            || (x->len && memcmp(x->text, y->text, x->len) != 0))
        {
            return false;
        }
    }

    return true;
}

static bool same_slice(const struct hai_slice *a, const struct hai_slice *b) {
    return a->len == b->len
           && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static bool same_tools(const struct hai_tools *a, const struct hai_tools *b) {
    if (a->n != b->n || a->more != b->more) {
        return false;
    }

    for (size_t i = 0; i < a->n; i++) {
        if (!same_slice(&a->list[i].id, &b->list[i].id)
            || !same_slice(&a->list[i].name, &b->list[i].name)
            || !same_slice(&a->list[i].input, &b->list[i].input))
        {
            return false;
        }
    }

    return true;
}

/* A text that was appended, or prepended, is there. */
static void apply_again(const struct input *in, const char *text, size_t len) {
    struct hai_piece piece = {(const uint8_t *) text, len};
    struct hai_body body = {&piece, 1, len, hai_json_facts(again), NULL};
    struct hai_edits edits;
    const char *why;

    if (in->n != 1
        || (in->changes[0].op != HAI_CHANGE_APPEND
            && in->changes[0].op != HAI_CHANGE_PREPEND))
    {
        return;
    }

    hai_edits_init(&edits, 1 << 20);
    CHECK(hai_changes_apply(&body, in->api, in->changes, 1, &edits, &why)
          == HAI_CHANGE_OK);
    CHECK(edits.n == 0);
    hai_edits_free(&edits);
}

static void check(const struct input *in, size_t pieces_len) {
    static struct hai_piece pieces[MAX_PIECES], other[MAX_PIECES];
    struct hai_body body = {pieces, 0, in->len, hai_json_facts(scanner),
                            hai_json_items(scanner)};
    struct hai_body body2 = {other, 0, in->len, hai_json_facts(scanner), NULL};
    struct hai_edits edits, edits2;
    struct hai_tools tools, tools2;
    enum hai_change_status status;
    const char *why = NULL;
    char *result = NULL;
    size_t len = 0;

    hai_edits_init(&edits, 1 << 20);
    hai_edits_init(&edits2, 1 << 20);
    hai_tools_init(&tools);
    hai_tools_init(&tools2);
    body.n = split(in, 0, pieces);
    body2.n = split(in, pieces_len, other);

    status =
        hai_changes_apply(&body, in->api, in->changes, in->n, &edits, &why);
    CHECK(status == HAI_CHANGE_OK || (status == HAI_CHANGE_SHAPE && why));
    CHECK(hai_changes_apply(&body2, in->api, in->changes, in->n, &edits2, &why)
          == status);
    CHECK(same_edits(&edits, &edits2));

    CHECK(hai_tools_read(&tools, &body, in->api) == 0);
    CHECK(hai_tools_read(&tools2, &body2, in->api) == 0);
    CHECK(same_tools(&tools, &tools2));

    if (status == HAI_CHANGE_OK) {
        result = splice(in->body, in->len, &edits, &len);
        CHECK(scan(again, result, len) == HAI_JSON_OK);
        apply_again(in, result, len);
    }
    compare_with_model(in, status, result, len);

    free(result);
    free_pieces(pieces, body.n);
    free_pieces(other, body2.n);
    hai_edits_free(&edits);
    hai_edits_free(&edits2);
    hai_tools_free(&tools);
    hai_tools_free(&tools2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in;

    if (scanner == NULL) {
        scanner = hai_json_new();
        again = hai_json_new();
        CHECK(scanner && again);
    }

    if (!read_input(&in, data, size)
        || scan(scanner, in.body, in.len) != HAI_JSON_OK)
    {
        return 0;
    }

    check(&in, 1);
    check(&in, 3 + size % 61);

    return 0;
}
