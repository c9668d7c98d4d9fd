/*
 * New tool results, see hai_tools.h.  One walk over the messages remembers
 * where the last calls and the results behind them lie; names and inputs are
 * read for the results that are left in the end, once for each call.
 *
 * New is what is behind the assistant's last turn, and what it belongs to is
 * called in that turn.  So the walk begins there, where the scanner has seen
 * the messages begin (hai_json_items); only if a result's call is not found
 * is everything walked over.
 *
 * What is not the dialect's shape is passed over.  A call that cannot be
 * found leaves a result without name, which blocking rules take for any tool.
 */

#include "hai_tools.h"

#include "hai_walk.h"

#include <stdlib.h>
#include <string.h>

#define WORD_MAX 64  /* bytes of a role or a type that is of interest */
#define NAME_MAX 256 /* bytes of a name or an id; longer ones are unknown */

/* a result's key for the id of its call */
#define CHAT_ID "tool_call_id"
#define MESSAGES_ID "tool_use_id"
#define RESPONSES_ID "call_id"

#define MEMORY_MAX                                                             \
    ((size_t) HAI_TOOLS_MAX * (HAI_TOOLS_MAX_INPUT + 4 * NAME_MAX))

struct word {
    char text[WORD_MAX + HAI_WALK_SPARE];
    size_t len; /* 0: there is none */
};

/* A message, an item, a block or a call: what of it is of interest. */
struct item {
    struct hai_walk from; /* its brace */
    struct word role;
    struct word type;
    struct hai_json_value id;
    struct hai_json_value call_id;
    struct hai_json_value name;
    struct hai_json_value input;
    struct hai_json_value arguments;
    struct hai_json_value action;
    struct hai_json_value list;     /* content */
    struct hai_json_value calls;    /* tool_calls */
    struct hai_json_value function; /* of a call: its name and input */
    struct hai_json_value custom;
};

struct call {
    struct hai_json_value id_at;
    struct hai_json_value name_at;
    struct hai_json_value input_at;
    bool encoded;     /* the input is a string that holds JSON */
    struct word type; /* says the name where there is none */
    bool id_read;
    bool read;
    struct hai_tool_result known;
};

struct reader {
    struct hai_tools *t;
    const struct hai_body *body;
    uint64_t from; /* offset of the item to begin at; 0: the first */
    bool unknown;  /* the call of a result was not found */

    struct call calls[HAI_TOOLS_MAX]; /* the last ones, as a ring */
    size_t n_calls;

    struct {
        struct hai_json_value id;
        struct hai_json_value name;
    } results[HAI_TOOLS_MAX];
    size_t n_results;
    bool more;
};

void hai_tools_init(struct hai_tools *t) {
    memset(t, 0, sizeof(*t));
    hai_edits_init(&t->memory, MEMORY_MAX);
}

void hai_tools_free(struct hai_tools *t) {
    free(t->list);
    hai_edits_free(&t->memory);
    hai_tools_init(t);
}

/* --- walking -------------------------------------------------------------- */

static void read_word(struct hai_walk *w, struct word *word) {
    if (hai_walk_peek(w) != '"') {
        hai_walk_skip(w);
        return;
    }

    word->len = hai_walk_string(w, word->text, WORD_MAX);
    if (word->len > WORD_MAX) {
        word->len = 0;
    }
}

static bool is(const struct word *word, const char *name) {
    return hai_walk_is(word->text, word->len, name);
}

static bool ends_with(const struct word *word, const char *end) {
    size_t n = strlen(end);

    return word->len > n && memcmp(word->text + word->len - n, end, n) == 0;
}

/*
 * Takes an object whose brace is next.  call_id is the dialect's key for it: a
 * provider passes over those of others, which could say something else.
 */
static void read_item(struct hai_walk *w, struct item *item,
                      const char *call_id) {
    struct hai_walk_key key;

    /* what has no end is not there */
    item->role.len = 0;
    item->type.len = 0;
    item->id.end = 0;
    item->call_id.end = 0;
    item->name.end = 0;
    item->input.end = 0;
    item->arguments.end = 0;
    item->action.end = 0;
    item->list.end = 0;
    item->calls.end = 0;
    item->function.end = 0;
    item->custom.end = 0;
    item->from = *w;
    hai_walk_take(w);

    while (hai_walk_member(w, &key)) {
        if (hai_walk_key_is(&key, "role")) {
            read_word(w, &item->role);
        } else if (hai_walk_key_is(&key, "type")) {
            read_word(w, &item->type);
        } else if (hai_walk_key_is(&key, "content")) {
            hai_walk_value(w, &item->list);
        } else if (hai_walk_key_is(&key, "name")) {
            hai_walk_value(w, &item->name);
        } else if (hai_walk_key_is(&key, "id")) {
            hai_walk_value(w, &item->id);
        } else if (hai_walk_key_is(&key, call_id)) {
            hai_walk_value(w, &item->call_id);
        } else if (hai_walk_key_is(&key, "input")) {
            hai_walk_value(w, &item->input);
        } else if (hai_walk_key_is(&key, "arguments")) {
            hai_walk_value(w, &item->arguments);
        } else if (hai_walk_key_is(&key, "action")) {
            hai_walk_value(w, &item->action);
        } else if (hai_walk_key_is(&key, "tool_calls")) {
            hai_walk_value(w, &item->calls);
        } else if (hai_walk_key_is(&key, "function")) {
            hai_walk_value(w, &item->function);
        } else if (hai_walk_key_is(&key, "custom")) {
            hai_walk_value(w, &item->custom);
        } else {
            hai_walk_skip(w);
        }
    }
}

/* Begins to walk over the array of a deciding key; false: it is none. */
static bool start_top(struct hai_walk *w, const struct reader *r,
                      enum hai_json_key key) {
    const struct hai_json_value *value = &r->body->facts->top[key];

    if (value->end == 0 || value->type != '[') {
        return false;
    }

    hai_walk_start(w, r->body, r->from ? r->from : value->start + 1);
    return true;
}

/* The same of an array within an item; from there, since a body can have as
 * many pieces as items. */
static bool start_array(struct hai_walk *w, const struct item *item,
                        const struct hai_json_value *value) {
    if (value->end == 0 || value->type != '[') {
        return false;
    }

    *w = item->from;
    hai_walk_jump(w, value->start + 1);
    return true;
}

/* The next element that is an object. */
static bool next_item(struct hai_walk *w, struct item *item,
                      const char *call_id) {
    while (hai_walk_element(w)) {
        if (hai_walk_peek(w) == '{') {
            read_item(w, item, call_id);
            return true;
        }
        hai_walk_skip(w);
    }

    return false;
}

/* --- calls and results ---------------------------------------------------- */

/* The assistant had its turn: what was behind the one before is old. */
static void turn(struct reader *r) {
    r->n_results = 0;
    r->more = false;
}

/* kind: the type of the call, which says where its input is. */
static void add_call(struct reader *r, const struct hai_json_value *id,
                     const struct item *item, const struct word *kind) {
    const struct hai_json_value *input =
        is(kind, "function") || is(kind, "function_call") ? &item->arguments
        : is(kind, "custom") || is(kind, "custom_tool_call")
                || is(kind, "tool_use")
            ? &item->input
        : item->action.end ? &item->action
        : item->input.end  ? &item->input
                           : &item->arguments;
    struct call *call = &r->calls[r->n_calls++ % HAI_TOOLS_MAX];

    call->id_at = *id;
    call->name_at = item->name;
    call->input_at = *input;
    call->encoded = input == &item->arguments && input->type == '"';
    call->type.len = 0;
    call->id_read = false;
    call->read = false;
    memset(&call->known, 0, sizeof(call->known));
}

static void add_result(struct reader *r, const struct hai_json_value *id,
                       const struct hai_json_value *name) {
    if (r->n_results == HAI_TOOLS_MAX) {
        r->more = true;
        return;
    }

    r->results[r->n_results].id = *id;
    r->results[r->n_results].name = *name;
    r->n_results++;
}

static void chat_calls(struct reader *r, const struct item *item) {
    static const struct word standard = {"function", 8};
    const struct hai_json_value *value;
    struct item call, function;
    struct hai_walk w, inside;
    bool custom;

    if (!start_array(&w, item, &item->calls)) {
        return;
    }

    while (next_item(&w, &call, CHAT_ID)) {
        custom = is(&call.type, "custom");
        value = custom ? &call.custom : &call.function;
        if (value->end && value->type == '{') {
            inside = call.from;
            hai_walk_jump(&inside, value->start);
            read_item(&inside, &function, CHAT_ID);
            add_call(r, &call.id, &function, custom ? &call.type : &standard);
        }
    }
}

/* Is this the assistant's?  Of responses, also without a role. */
static bool is_turn(const struct item *item, enum hai_api api) {
    if (api != HAI_API_OPENAI_RESPONSES) {
        return is(&item->role, "assistant");
    }

    return !ends_with(&item->type, "_call_output")
           && (ends_with(&item->type, "_call") || is(&item->type, "reasoning")
               || is(&item->role, "assistant"));
}

/*
 * Where the assistant's last turn begins, which may be several items, or one
 * of them; 0: it is not among those of which the scanner knows.
 */
static uint64_t last_turn(const struct reader *r, enum hai_api api,
                          enum hai_json_key key, const char *call_id) {
    const struct hai_json_items *items = r->body->items;
    uint64_t from = 0, start;
    struct hai_walk w;
    struct item item;

    if (items == NULL || items->key != (int) key) {
        return 0;
    }

    for (uint64_t i = items->n; i > 0 && items->n - i < HAI_JSON_ITEMS; i--) {
        start = items->start[(i - 1) % HAI_JSON_ITEMS];
        hai_walk_start(&w, r->body, start);
        read_item(&w, &item, call_id);

        if (is_turn(&item, api)) {
            from = start;
        } else if (from) {
            break;
        }
    }

    return from;
}

static void read_chat(struct reader *r) {
    static const struct hai_json_value none;
    struct hai_walk w;
    struct item item;

    if (!start_top(&w, r, HAI_KEY_MESSAGES)) {
        return;
    }

    while (next_item(&w, &item, CHAT_ID)) {
        if (is_turn(&item, HAI_API_OPENAI_CHAT)) {
            turn(r);
            chat_calls(r, &item);
        } else if (is(&item.role, "tool")) {
            add_result(r, &item.call_id, &none);
        } else if (is(&item.role, "function")) {
            add_result(r, &none, &item.name);
        }
    }
}

static void read_messages(struct reader *r) {
    static const struct hai_json_value none;
    struct hai_walk w, blocks;
    struct item item, block;
    bool assistant;

    if (!start_top(&w, r, HAI_KEY_MESSAGES)) {
        return;
    }

    while (next_item(&w, &item, MESSAGES_ID)) {
        assistant = is_turn(&item, HAI_API_ANTHROPIC_MESSAGES);
        if (assistant) {
            turn(r);
        }
        if (!start_array(&blocks, &item, &item.list)) {
            continue;
        }

        while (next_item(&blocks, &block, MESSAGES_ID)) {
            if (assistant && is(&block.type, "tool_use")) {
                add_call(r, &block.id, &block, &block.type);
            } else if (!assistant && is(&block.type, "tool_result")) {
                add_result(r, &block.call_id, &none);
            }
        }
    }
}

static void read_responses(struct reader *r) {
    static const struct hai_json_value none;
    struct hai_walk w;
    struct item item;

    if (!start_top(&w, r, HAI_KEY_INPUT)) {
        return;
    }

    while (next_item(&w, &item, RESPONSES_ID)) {
        if (ends_with(&item.type, "_call_output")) {
            add_result(r, &item.call_id, &none);

        } else if (is_turn(&item, HAI_API_OPENAI_RESPONSES)) {
            turn(r);
            if (!ends_with(&item.type, "_call")) {
                continue;
            }
            add_call(r, item.call_id.end ? &item.call_id : &item.id, &item,
                     &item.type);
            if (item.name.end == 0) {
                r->calls[(r->n_calls - 1) % HAI_TOOLS_MAX].type = item.type;
            }
        }
    }
}

/* --- names and inputs ----------------------------------------------------- */

/* An id or a name; of no length where it is none, or longer. */
static bool read_name(struct reader *r, const struct hai_json_value *at,
                      struct hai_slice *name) {
    char text[NAME_MAX + HAI_WALK_SPARE], *copy;
    struct hai_walk w;
    size_t len;

    if (at->end == 0 || at->type != '"') {
        return true;
    }

    hai_walk_start(&w, r->body, at->start);
    len = hai_walk_string(&w, text, NAME_MAX);
    if (len > NAME_MAX) {
        return true;
    }

    copy = hai_edits_text(&r->t->memory, len);
    if (copy == NULL) {
        return false;
    }

    memcpy(copy, text, len);
    name->data = copy;
    name->len = len;
    return true;
}

static bool read_input(struct reader *r, const struct call *call,
                       struct hai_slice *input) {
    const struct hai_json_value *at = &call->input_at;
    uint64_t size = at->end - at->start;
    struct hai_walk w;
    size_t len;
    char *copy;

    if (at->end == 0 || (!call->encoded && size > HAI_TOOLS_MAX_INPUT)) {
        return true;
    }
    if (size > HAI_TOOLS_MAX_INPUT) {
        size = HAI_TOOLS_MAX_INPUT;
    }

    copy = hai_edits_text(&r->t->memory, (size_t) size + HAI_WALK_SPARE);
    if (copy == NULL) {
        return false;
    }

    hai_walk_start(&w, r->body, at->start);
    if (call->encoded) {
        len = hai_walk_string(&w, copy, (size_t) size);
        if (len > size) {
            return true;
        }
    } else {
        len = (size_t) size;
        hai_walk_copy(&w, copy, len);
    }

    input->data = copy;
    input->len = len;
    return true;
}

/* Name and input of a call that a result belongs to. */
static bool read_call(struct reader *r, struct call *call) {
    struct hai_tool_result *known = &call->known;
    size_t len;
    char *copy;

    if (call->read) {
        return true;
    }
    call->read = true;

    if (call->type.len) {
        len = call->type.len - strlen("_call");
        copy = hai_edits_text(&r->t->memory, len);
        if (copy == NULL) {
            return false;
        }
        memcpy(copy, call->type.text, len);
        known->name = (struct hai_slice){copy, len};
    }

    return read_name(r, &call->name_at, &known->name)
           && read_input(r, call, &known->input);
}

/* The newest call with that id, if it is known; false: no memory. */
static bool find_call(struct reader *r, struct hai_slice id,
                      struct call **found) {
    size_t n = r->n_calls < HAI_TOOLS_MAX ? r->n_calls : HAI_TOOLS_MAX;

    *found = NULL;

    for (size_t i = 1; i <= n && id.len; i++) {
        struct call *call = &r->calls[(r->n_calls - i) % HAI_TOOLS_MAX];
        struct hai_slice *known = &call->known.id;

        if (!call->id_read) {
            call->id_read = true;
            if (!read_name(r, &call->id_at, known)) {
                return false;
            }
        }
        if (known->len == id.len && memcmp(known->data, id.data, id.len) == 0) {
            *found = call;
            return true;
        }
    }

    return true;
}

static bool read_result(struct reader *r, size_t i) {
    struct hai_tool_result *result = &r->t->list[i];
    struct call *call;

    if (!read_name(r, &r->results[i].id, &result->id)
        || !read_name(r, &r->results[i].name, &result->name)
        || !find_call(r, result->id, &call))
    {
        return false;
    }

    if (call) {
        if (!read_call(r, call)) {
            return false;
        }
        result->name = call->known.name;
        result->input = call->known.input;
    } else if (result->id.len) {
        r->unknown = true;
    }

    return true;
}

static bool read_results(struct reader *r) {
    struct hai_tools *t = r->t;

    if (r->n_results == 0) {
        return true;
    }

    t->list = calloc(r->n_results, sizeof(t->list[0]));
    if (t->list == NULL) {
        return false;
    }

    for (size_t i = 0; i < r->n_results; i++) {
        if (!read_result(r, i)) {
            return false;
        }
    }

    t->n = r->n_results;
    t->more = r->more;
    return true;
}

/* From an item on; 0: from the first.  false: no memory. */
static bool read_from(struct reader *r, enum hai_api api, uint64_t from) {
    struct hai_tools *t = r->t;

    free(t->list);
    t->list = NULL;
    t->n = 0;
    t->more = false;
    hai_edits_reset(&t->memory);

    r->from = from;
    r->unknown = false;
    r->n_calls = 0;
    turn(r);

    switch (api) {
    case HAI_API_OPENAI_CHAT:
        read_chat(r);
        break;
    case HAI_API_OPENAI_RESPONSES:
        read_responses(r);
        break;
    case HAI_API_ANTHROPIC_MESSAGES:
        read_messages(r);
        break;
    default:
        break;
    }

    return read_results(r);
}

int hai_tools_read(struct hai_tools *t, const struct hai_body *body,
                   enum hai_api api) {
    bool responses = api == HAI_API_OPENAI_RESPONSES;
    bool messages = api == HAI_API_ANTHROPIC_MESSAGES;
    struct reader *r;
    bool done;

    r = malloc(sizeof(*r));
    if (r == NULL) {
        return -1;
    }

    r->t = t;
    r->body = body;

    done = read_from(r, api,
                     last_turn(r, api,
                               responses ? HAI_KEY_INPUT : HAI_KEY_MESSAGES,
                               responses  ? RESPONSES_ID
                               : messages ? MESSAGES_ID
                                          : CHAT_ID));

    if (done && r->unknown && r->from) {
        done = read_from(r, api, 0);
    }

    free(r);

    return done ? 0 : -1;
}
