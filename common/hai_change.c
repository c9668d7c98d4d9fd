/*
 * What rules want of a body, change by change.  hai_change_find.c knows where
 * texts go in each dialect, hai_change_text.c compares texts, hai_change_put.c
 * writes what was gathered, hai_change_set.c is about fields.
 */

#include "hai_change_core.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS (2 * 3) /* one of each text on either side of each place */
#define FEW 4         /* changes that need no memory of the heap */
#define EDIT_WEIGHT 32

bool hai_job_fail(struct hai_job *job, enum hai_change_status status,
                  const char *why) {
    job->status = status;
    job->why = why;
    return false;
}

char *hai_job_memory(struct hai_job *job, size_t len) {
    char *p = hai_edits_text(job->out, len);

    if (p == NULL) {
        hai_job_fail(job, HAI_CHANGE_NO_MEMORY, NULL);
    }

    return p;
}

bool hai_job_put(struct hai_job *job, uint64_t offset, uint64_t del,
                 const char *text, size_t len) {
    return hai_edits_add(job->out, offset, del, text, len) == 0
           || hai_job_fail(job, HAI_CHANGE_NO_MEMORY, NULL);
}

static bool shape(struct hai_job *job, const char *why) {
    return hai_job_fail(job, HAI_CHANGE_SHAPE, why);
}

static bool is_text_change(const struct hai_change *change) {
    return change->op != HAI_CHANGE_SET && change->op != HAI_CHANGE_REMOVE
           && change->text.len > 0;
}

/* All changes of one string of a prompt, or of what takes its place. */
static bool change_prompt(struct hai_job *job, struct hai_place *place) {
    for (size_t i = 0; i < job->n; i++) {
        if (!is_text_change(&job->changes[i])) {
            continue;
        }
        if (!(job->changes[i].op == HAI_CHANGE_MESSAGE
                  ? hai_place_add(job, place, &job->texts[i])
                  : hai_place_prepend(job, place, &job->texts[i])))
        {
            return false;
        }
    }

    return hai_place_put_system(job, place);
}

/* What the edits from one on take on the wire, and more. */
static size_t weight(const struct hai_edits *e, size_t from) {
    size_t sum = 0;

    for (; from < e->n; from++) {
        sum += e->list[from].len + EDIT_WEIGHT;
    }

    return sum;
}

static bool change_prompts(struct hai_job *job) {
    const struct hai_json_value *prompt =
        &job->body->facts->top[HAI_KEY_PROMPT];
    struct hai_json_value value;
    struct hai_place place;
    struct hai_walk w;
    size_t n = 0, edits, added = 0;

    hai_place_init(job, &place, 0);

    if (prompt->end == 0 || prompt->type != '[') {
        return hai_place_top(job, &place, HAI_KEY_PROMPT, "prompt", false,
                             "prompt is no text")
               && change_prompt(job, &place);
    }

    hai_walk_start(&w, job->body, prompt->start + 1);

    while (hai_walk_element(&w)) {
        if (n++ == HAI_CHANGE_PROMPTS_MAX) {
            return shape(job, "prompt has too many strings");
        }

        hai_walk_value(&w, &value);
        hai_place_init(job, &place, 0);
        edits = job->out->n;
        if (value.type != '"') {
            return shape(job, "prompt is no text");
        }
        if (!hai_place_value(job, &place, &value, false, NULL)
            || !change_prompt(job, &place))
        {
            return false;
        }

        added += weight(job->out, edits);
        if (n > 1 && added > HAI_CHANGE_PROMPTS_TEXT) {
            return shape(job, "prompt has too many strings for this text");
        }
    }

    return n > 0 || shape(job, "prompt is an empty array");
}

static bool change_text(struct hai_job *job, struct hai_places *places,
                        size_t i) {
    const struct hai_change *change = &job->changes[i];

    if (change->op == HAI_CHANGE_MESSAGE) {
        if (!places->message_found) {
            if (!hai_places_find_message(job, &places->message)) {
                return false;
            }
            places->message_found = true;
        }
        return hai_place_add(job, &places->message, &job->texts[i]);
    }

    if (places->prepend_to == NULL && !hai_places_find_system(job, places)) {
        return false;
    }

    return change->op == HAI_CHANGE_APPEND
               ? hai_place_append(job, &places->system, &job->texts[i])
               : hai_place_prepend(job, places->prepend_to, &job->texts[i]);
}

static bool change_texts(struct hai_job *job, struct hai_places *places) {
    for (size_t i = 0; i < job->n; i++) {
        if (is_text_change(&job->changes[i]) && !change_text(job, places, i)) {
            return false;
        }
    }

    return hai_place_put_system(job, &places->first)
           && hai_place_put_system(job, &places->system)
           && hai_place_put_message(job, &places->message,
                                    places->system.kind == HAI_PLACE_MESSAGE
                                        && places->system.low
                                               < places->system.high);
}

/* Looks at a text before anything else is done with it. */
static bool take_text(struct hai_job *job, struct hai_text *text,
                      const struct hai_change *change) {
    text->text = change->text;
    text->json = change->escaped.data;
    text->len = change->escaped.len;

    if (change->text.len > job->longest) {
        job->longest = change->text.len;
    }

    return text->json || hai_text_check(job, text);
}

static bool apply(struct hai_job *job) {
    struct hai_places places;
    bool texts = false, done;

    for (size_t i = 0; i < job->n; i++) {
        if (is_text_change(&job->changes[i])) {
            texts = true;
            if (!take_text(job, &job->texts[i], &job->changes[i])) {
                return false;
            }
        }
    }

    if (texts && job->api == HAI_API_OPENAI_COMPLETIONS) {
        done = change_prompts(job);

    } else if (texts) {
        hai_place_init(job, &places.system, 0);
        hai_place_init(job, &places.first, 1);
        hai_place_init(job, &places.message, 2);
        places.prepend_to = NULL;
        places.message_found = false;
        done = change_texts(job, &places);
        hai_place_free(&places.system);

    } else {
        done = true;
    }

    if (!done || !hai_fields_apply(job)) {
        return false;
    }

    return hai_edits_sort(job->out, job->body->size) == 0
           || hai_job_fail(job, HAI_CHANGE_NO_MEMORY, NULL);
}

enum hai_change_status hai_changes_apply(const struct hai_body *body,
                                         enum hai_api api,
                                         const struct hai_change *changes,
                                         size_t n, struct hai_edits *out,
                                         const char **why) {
    struct hai_job job = {.body = body,
                          .api = api,
                          .changes = changes,
                          .n = n,
                          .out = out,
                          .status = HAI_CHANGE_OK};
    struct hai_text few_texts[FEW];
    const struct hai_text *few_slots[FEW * SLOTS];
    void *memory = NULL;

    hai_edits_reset(out);

    if (n == 0) {
        return HAI_CHANGE_OK;
    }
    if (n > HAI_CHANGES_MAX) {
        *why = "too many changes of one body";
        return HAI_CHANGE_SHAPE;
    }

    /* a place takes each text at most once, on either side */
    if (n <= FEW) {
        job.texts = few_texts;
        job.slots = few_slots;

    } else {
        memory =
            malloc(n * (sizeof(job.texts[0]) + SLOTS * sizeof(job.slots[0])));
        if (memory == NULL) {
            return HAI_CHANGE_NO_MEMORY;
        }
        job.texts = memory;
        job.slots = (const struct hai_text **) (job.texts + n);
    }

    if (!apply(&job)) {
        hai_edits_reset(out);
        if (job.status == HAI_CHANGE_SHAPE) {
            *why = job.why;
        }
    }

    free(memory);
    return job.status;
}

bool hai_changes_keep_facts(const struct hai_change *changes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (changes[i].op == HAI_CHANGE_SET
            || changes[i].op == HAI_CHANGE_REMOVE) {
            return false;
        }
    }

    return true;
}
