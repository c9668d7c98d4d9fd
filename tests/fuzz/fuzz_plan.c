/* SOURCES: common/hai_plan.c common/hai_walk.c common/hai_change.c */
/* SOURCES: common/hai_change_find.c common/hai_change_put.c */
/* SOURCES: common/hai_change_set.c common/hai_change_text.c */
/* SOURCES: common/hai_edit.c common/hai_json.c common/hai_json_names.c */
/* SOURCES: common/hai_json_skip.c */
/* SOURCES: common/hai_json_fast.c common/hai_json_string.c */
/* LIBS: -ljansson */

/*
 * Plans: what is read of one is what jansson reads of it, and lies in the
 * plan's own block; any plan can be applied to a body.
 */

#include "hai_plan.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(x)                                                               \
    do {                                                                       \
        if (!(x)) {                                                            \
            abort();                                                           \
        }                                                                      \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_slice(const struct hai_plan *plan,
                        const struct hai_slice *s) {
    const char *block = (const char *) plan;

    CHECK(s->data == NULL
          || (s->data >= block && s->len <= plan->memory
              && s->data + s->len <= block + plan->memory));
}

static void check_text(const struct hai_slice *s, const json_t *text) {
    if (json_is_string(text)) {
        CHECK(s->len == json_string_length(text));
        CHECK(memcmp(s->data, json_string_value(text), s->len) == 0);
    }
}

static void check_plan(const struct hai_plan *plan, const json_t *root) {
    const json_t *edits = json_object_get(root, "edits"), *edit;

    CHECK(json_array_size(edits) == plan->n);
    check_slice(plan, &plan->epoch);
    check_text(&plan->epoch, json_object_get(root, "epoch"));

    for (size_t i = 0; i < plan->n; i++) {
        const struct hai_change *c = &plan->changes[i];

        edit = json_array_get(edits, i);
        check_slice(plan, &c->text);
        check_slice(plan, &c->field);
        check_slice(plan, &c->value);
        check_slice(plan, &c->min);
        check_slice(plan, &c->max);
        check_slice(plan, &c->fallback);
        check_text(&c->text, json_object_get(edit, "text"));
        if (c->op == HAI_CHANGE_SET || c->op == HAI_CHANGE_REMOVE) {
            check_text(&c->field, json_object_get(edit, "target"));
        }
    }
}

static void apply(const struct hai_plan *plan) {
    static const char text[] = "{\"model\":\"m\",\"messages\":[{\"role\":"
                               "\"system\",\"content\":\"x\"}],\"a\":1}";
    struct hai_json *js = hai_json_new();
    struct hai_piece piece = {(const uint8_t *) text, sizeof(text) - 1};
    struct hai_body body = {&piece, 1, piece.len, NULL, NULL};
    struct hai_edits edits;
    const char *why;

    CHECK(js);
    hai_json_feed(js, text, sizeof(text) - 1);
    CHECK(hai_json_finish(js) == HAI_JSON_OK);
    body.facts = hai_json_facts(js);
    hai_edits_init(&edits, 16 << 20);
    CHECK(hai_changes_apply(&body, HAI_API_OPENAI_CHAT, plan->changes, plan->n,
                            &edits, &why)
          == HAI_CHANGE_OK);
    hai_edits_free(&edits);
    hai_json_free(js);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *error = NULL;
    struct hai_plan *plan;
    json_t *root;
    char *copy = malloc(size ? size : 1);

    CHECK(copy);
    if (size) {
        memcpy(copy, data, size);
    }
    plan = hai_plan_read(copy, size, &error);
    free(copy);
    CHECK((plan == NULL) == (error != NULL));

    if (plan) {
        root = json_loadb((const char *) data, size, JSON_ALLOW_NUL, NULL);
        if (root) {
            check_plan(plan, root);
            json_decref(root);
        }
        apply(plan);
        hai_plan_free(plan);
    }

    return 0;
}
