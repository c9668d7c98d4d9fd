/* Running changes on bodies, see change_run.h. */

#include "change_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const char SAME[] = "";

static struct hai_json *scanner;
static struct hai_edits edits;

int change_set_up(void **state) {
    (void) state;
    scanner = hai_json_new();
    hai_edits_init(&edits, 1 << 20);
    return scanner ? 0 : -1;
}

int change_tear_down(void **state) {
    (void) state;
    hai_json_free(scanner);
    hai_edits_free(&edits);
    return 0;
}

/* Quotes instead of apostrophes; free() it. */
static char *quoted(const char *text) {
    char *copy = strdup(text);

    assert_non_null(copy);
    for (char *p = copy; *p; p++) {
        if (*p == '\'') {
            *p = '"';
        }
    }

    return copy;
}

static void slice(struct hai_slice *s, const char *text) {
    if (text) {
        s->data = quoted(text);
        s->len = strlen(text);
    }
}

size_t make_changes(struct hai_change *changes, const struct want *want) {
    size_t n = 0;

    memset(changes, 0, MAX_CHANGES * sizeof(*changes));

    for (; n < MAX_CHANGES && want[n].text; n++) {
        changes[n].op = want[n].op;
        if (want[n].op == HAI_CHANGE_SET || want[n].op == HAI_CHANGE_REMOVE) {
            slice(&changes[n].field, want[n].text);
        } else {
            slice(&changes[n].text, want[n].text);
        }
        slice(&changes[n].value, want[n].value);
        slice(&changes[n].min, want[n].min);
        slice(&changes[n].max, want[n].max);
        slice(&changes[n].fallback, want[n].fallback);
    }

    return n;
}

void free_changes(struct hai_change *changes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        free((char *) changes[i].text.data);
        free((char *) changes[i].field.data);
        free((char *) changes[i].value.data);
        free((char *) changes[i].min.data);
        free((char *) changes[i].max.data);
        free((char *) changes[i].fallback.data);
    }
}

/* The body with the edits, NUL ended; free() it. */
static char *splice(const char *body, size_t len) {
    uint64_t size = hai_edits_result_size(&edits, len);
    char *result = malloc((size_t) size + 1), *p = result;
    uint64_t at = 0;

    assert_non_null(result);
    for (size_t i = 0; i < edits.n; i++) {
        const struct hai_edit *e = &edits.list[i];

        assert_true(e->offset >= at && e->offset + e->del <= len);
        memcpy(p, body + at, (size_t) (e->offset - at));
        p += e->offset - at;
        if (e->len) {
            memcpy(p, e->text, e->len);
            p += e->len;
        }
        at = e->offset + e->del;
    }
    memcpy(p, body + at, (size_t) (len - at));
    p += len - at;
    *p = '\0';
    assert_int_equal(p - result, size);

    return result;
}

/* Each piece lies in a block of its own, so that a read beyond it is seen. */
static struct hai_piece piece_of(const char *data, size_t len) {
    uint8_t *copy = malloc(len ? len : 1);

    assert_non_null(copy);
    memcpy(copy, data, len);
    return (struct hai_piece){copy, len};
}

static void free_pieces(const struct hai_piece *pieces, size_t n) {
    for (size_t i = 0; i < n; i++) {
        free((uint8_t *) pieces[i].data);
    }
}

/* What the changes make of a body in pieces; NULL: HAI_CHANGE_SHAPE. */
static char *change(const struct hai_body *body, const char *text,
                    enum hai_api api, const struct hai_change *changes,
                    size_t n) {
    const char *why = NULL;
    enum hai_change_status status =
        hai_changes_apply(body, api, changes, n, &edits, &why);

    if (status == HAI_CHANGE_SHAPE) {
        assert_non_null(why);
        assert_int_equal(edits.n, 0);
        return NULL;
    }

    assert_int_equal(status, HAI_CHANGE_OK);
    return splice(text, (size_t) body->size);
}

void assert_same(const char *a, const char *b, const char *body) {
    if ((a == NULL) != (b == NULL) || (a && strcmp(a, b) != 0)) {
        fail_msg("of %s\nbecame   %s\nnot      %s", body, a ? a : "(refused)",
                 b ? b : "(refused)");
    }
}

void scan(const char *text) {
    hai_json_reset(scanner);
    hai_json_feed(scanner, text, strlen(text));
    if (hai_json_finish(scanner) != HAI_JSON_OK) {
        fail_msg("%s: %s", hai_json_strerror(hai_json_finish(scanner)), text);
    }
}

/* The same, of changes whose texts were escaped before. */
static char *change_escaped(const struct hai_body *body, const char *text,
                            enum hai_api api, const struct hai_change *changes,
                            size_t n) {
    struct hai_change *escaped = calloc(n + 1, sizeof(escaped[0]));
    char **rooms = calloc(n + 1, sizeof(rooms[0]));
    char *result;
    size_t size;

    assert_non_null(escaped);
    assert_non_null(rooms);

    for (size_t i = 0; i < n; i++) {
        size = 6 * changes[i].text.len + HAI_CHANGE_ESCAPED_MORE;
        escaped[i] = changes[i];
        rooms[i] = malloc(size);
        assert_non_null(rooms[i]);
        hai_change_escape(&escaped[i], rooms[i], rooms[i] + size);
    }

    result = change(body, text, api, escaped, n);

    for (size_t i = 0; i < n; i++) {
        free(rooms[i]);
    }
    free(rooms);
    free(escaped);
    return result;
}

char *change_split(const char *text, enum hai_api api,
                   const struct hai_change *changes, size_t n) {
    size_t len = strlen(text);
    struct hai_piece *pieces = calloc(len + 2, sizeof(pieces[0]));
    struct hai_body body = {pieces, 1, len, hai_json_facts(scanner),
                            hai_json_items(scanner)};
    char *result, *other;

    assert_non_null(pieces);

    pieces[0] = piece_of(text, len);
    result = change(&body, text, api, changes, n);
    other = change_escaped(&body, text, api, changes, n);
    assert_same(other, result, text);
    free(other);
    free_pieces(pieces, 1);

    for (size_t i = 0; i <= len; i++) {
        pieces[0] = piece_of(text, i);
        pieces[1] = piece_of(text + i, len - i);
        body.n = 2;
        other = change(&body, text, api, changes, n);
        assert_same(other, result, text);
        free(other);
        free_pieces(pieces, 2);
    }

    for (size_t i = 0; i < len; i++) {
        pieces[i] = piece_of(text + i, 1);
    }
    pieces[len] = piece_of(text, 0);
    body.n = len + 1;
    other = change(&body, text, api, changes, n);
    assert_same(other, result, text);
    free(other);
    free_pieces(pieces, len + 1);

    free(pieces);
    return result;
}

void compare_with_model(const char *text, enum hai_api api,
                        const struct hai_change *changes, size_t n,
                        const char *result) {
    json_t *root = json_loads(text, JSON_ALLOW_NUL, NULL), *changed;
    bool done = true;

    assert_non_null(root);
    for (size_t i = 0; i < n && done; i++) {
        done = model_apply(root, api, &changes[i]);
    }
    if (done != (result != NULL)) {
        fail_msg("of %s: the model thinks otherwise", text);
    }

    if (result) {
        changed = json_loads(result, JSON_ALLOW_NUL, NULL);
        if (changed == NULL || !json_equal(root, changed)) {
            fail_msg("of %s\nbecame %s\nthe model has %s", text, result,
                     json_dumps(root, JSON_COMPACT));
        }
        json_decref(changed);
    }
    json_decref(root);
}

static void run(const struct test *t) {
    struct hai_change changes[MAX_CHANGES];
    size_t n = make_changes(changes, t->changes);
    char *body = quoted(t->body), *result, *expected = NULL;

    if (t->result) {
        expected = t->result == SAME ? strdup(body) : quoted(t->result);
        assert_non_null(expected);
    }

    scan(body);
    result = change_split(body, t->api, changes, n);
    assert_same(result, expected, body);
    compare_with_model(body, t->api, changes, n, result);
    if (result) {
        scan(result);
    }

    free(result);
    free(expected);
    free(body);
    free_changes(changes, n);
}

void change_tests(const struct test *tests, size_t n) {
    for (size_t i = 0; i < n; i++) {
        run(&tests[i]);
    }
}

char *change_text(const char *text, enum hai_api api,
                  const struct hai_change *changes, size_t n) {
    size_t len = strlen(text), count = 0;
    struct hai_piece whole = {(const uint8_t *) text, len};
    struct hai_body body = {&whole, 1, len, hai_json_facts(scanner),
                            hai_json_items(scanner)};
    struct hai_piece *pieces = calloc(len / 3 + 1, sizeof(pieces[0]));
    char *result, *other;

    assert_non_null(pieces);
    scan(text);
    result = change(&body, text, api, changes, n);

    for (size_t i = 0; i < len; i += 3, count++) {
        pieces[count].data = (const uint8_t *) text + i;
        pieces[count].len = len - i < 3 ? len - i : 3;
    }
    body.pieces = pieces;
    body.n = count;
    other = change(&body, text, api, changes, n);
    assert_same(other, result, text);

    free(other);
    free(pieces);
    return result;
}

const struct hai_json_facts *scanned(void) {
    return hai_json_facts(scanner);
}
