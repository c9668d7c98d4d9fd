/* SOURCES: fcgi-backend/lib/rules.c fcgi-backend/lib/rules_document.c */
/* SOURCES: fcgi-backend/lib/rules_read.c fcgi-backend/lib/rules_check.c */
/* SOURCES: fcgi-backend/lib/rules_webhook.c fcgi-backend/lib/rules_match.c */
/* SOURCES: fcgi-backend/lib/rules_text.c fcgi-backend/lib/locate.c */
/* SOURCES: fcgi-backend/lib/file.c common/hai_json.c */
/* SOURCES: common/hai_json_names.c common/hai_json_skip.c */
/* SOURCES: common/hai_change.c common/hai_change_text.c */
/* SOURCES: common/hai_change_set.c common/hai_change_find.c */
/* SOURCES: common/hai_change_put.c common/hai_edit.c common/hai_walk.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */
/* LIBS: -ljansson -lcrypto */

/*
 * Any bytes as an entry of the overlay: either a rule comes of it or at least
 * one error, whose place lies in the text.  What came of it is filled in, its
 * tool's input being the same bytes.
 */

#include "lib/rules.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char *text;
static size_t text_len;
static unsigned errors;

static void say(void *data, bool is_error, const char *where, int line,
                int column, const char *rule, const char *reason) {
    int lines = 1;
    size_t i;

    (void) data;
    for (i = 0; i < text_len; i++) {
        lines += text[i] == '\n';
    }
    if (line < 0 || line > lines || column < 0 || (size_t) column > text_len + 1
        || strlen(rule) > 64 || strlen(reason) == 0
        || strcmp(where, "overlay") != 0)
    {
        abort();
    }
    errors += is_error;
}

static void use(const struct hai_rule *rule) {
    struct hai_rule_facts facts = {
        .container = {"web-1", 5},
        .model = {"gpt-4o", 6},
        .tags = {"a b", 3},
        .tool = {"read", 4},
        .input = {text, text_len},
        .event = rule->event,
        .depth = 1,
    };
    struct hai_change change;
    size_t len;
    char *filled;

    hai_rule_applies(rule, &facts, NULL);
    filled = hai_rule_text(rule, &facts, 100, &len);
    if (filled == NULL || len > 100 || strlen(filled) > len) {
        abort();
    }
    free(filled);
    if (rule->action <= HAI_ACT_SET
        && hai_rule_change(rule, &facts, &change, &filled) == 0)
    {
        free(filled);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const struct hai_rule_report report = {say, NULL};
    struct hai_rule_overlay overlay = {"a", 1, (const char *) data, size};
    struct hai_rules *rules;

    text = (const char *) data;
    text_len = size;
    errors = 0;
    rules = hai_rules_load(NULL, &overlay, 1, &report);
    if ((rules == NULL) != (errors > 0)) {
        abort();
    }
    if (rules != NULL && rules->n == 1) {
        use(&rules->rule[0]);
    }
    hai_rules_unref(rules);
    return 0;
}
