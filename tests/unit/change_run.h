/*
 * What the tests of changes share: a body in every split, the edits applied,
 * the comparison with a tree.
 *
 * In bodies, results and values of struct test ' stands for ".
 */

#ifndef CHANGE_RUN_H
#define CHANGE_RUN_H

#include "change_model.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

#define CHAT HAI_API_OPENAI_CHAT
#define RESPONSES HAI_API_OPENAI_RESPONSES
#define COMPLETIONS HAI_API_OPENAI_COMPLETIONS
#define ANTHROPIC HAI_API_ANTHROPIC_MESSAGES
#define OTHER HAI_API_OTHER

#define MAX_CHANGES 8

struct want {
    enum hai_change_op op;
    const char *text; /* or field; NULL: the list ends */
    const char *value;
    const char *min;
    const char *max;
    const char *fallback;
};

/* clang-format off */
#define APPEND(text) {HAI_CHANGE_APPEND, text, NULL, NULL, NULL, NULL}
#define PREPEND(text) {HAI_CHANGE_PREPEND, text, NULL, NULL, NULL, NULL}
#define MESSAGE(text) {HAI_CHANGE_MESSAGE, text, NULL, NULL, NULL, NULL}
#define SET(field, value) {HAI_CHANGE_SET, field, value, NULL, NULL, NULL}
#define BOUND(field, min, max, fallback)                                       \
    {HAI_CHANGE_SET, field, NULL, min, max, fallback}
#define REMOVE(field) {HAI_CHANGE_REMOVE, field, NULL, NULL, NULL, NULL}
/* clang-format on */

struct test {
    enum hai_api api;
    const char *body;
    const char *result; /* NULL: HAI_CHANGE_SHAPE; SAME: nothing changes */
    struct want changes[MAX_CHANGES];
};

extern const char SAME[];

int change_set_up(void **state);
int change_tear_down(void **state);

/* Fills MAX_CHANGES changes, of which it returns the number. */
size_t make_changes(struct hai_change *changes, const struct want *want);
void free_changes(struct hai_change *changes, size_t n);

/* Scans a text that has to be accepted, and keeps the facts. */
void scan(const char *text);
const struct hai_json_facts *scanned(void);

void assert_same(const char *a, const char *b, const char *body);

/*
 * What the changes make of the text that was scanned last: in one piece, in
 * every two, in single bytes.  NULL: HAI_CHANGE_SHAPE; else free() it.
 */
char *change_split(const char *text, enum hai_api api,
                   const struct hai_change *changes, size_t n);

/* Scans the text; in one piece, and in pieces of three bytes. */
char *change_text(const char *text, enum hai_api api,
                  const struct hai_change *changes, size_t n);

void compare_with_model(const char *text, enum hai_api api,
                        const struct hai_change *changes, size_t n,
                        const char *result);

void change_tests(const struct test *tests, size_t n);

#endif
