/*
 * Tool calls, see hai_calls.h for what is promised.
 *
 * hai_usage.c looks for the words without which there is no call, and gives
 * bytes to this reader only where they may be; so it goes byte by byte, but
 * for the inside of strings.
 *
 * It knows a path of watched containers, the innermost one last:
 *
 *   TOP -- choices [ -- { -- message, delta { -- tool_calls [ -- { --+
 *    |                             |          function, custom { <---+
 *    |                             +--------- function_call {
 *    |     TOP CHOICES CHOICE   MESSAGE        CALLS  CALL   FUNCTION
 *    |
 *    +-- output, content [ -- {    documents: ITEMS, ITEM
 *    +-- item, content_block {     events: ITEM
 *
 * and `skip`, the number of containers open inside of it which are not
 * watched; while that is not 0 only brackets and strings count.  In a watched
 * object the beginning of each string is kept (`word`): behind a colon it is
 * the value of `key`, else perhaps the next key.  The members of an object
 * may come in any order, so that a name waits (`name`) until its object ends,
 * in events until the whole event does, since only its type says whether the
 * item begins or is told once more.
 *
 * What is a string, and where a document ends, is decided as in hai_usage.c,
 * for bytes that are no JSON as well: an escape outside of strings hides a
 * quote, brackets that are skipped are counted together.
 */

#include "hai_calls.h"

#include <string.h>

enum node {
    NODE_TOP,
    NODE_CHOICES,
    NODE_CHOICE,
    NODE_MESSAGE,
    NODE_CALLS,
    NODE_CALL,
    NODE_FUNCTION,
    NODE_ITEMS,
    NODE_ITEM,
    NODE_NONE
};

enum key {
    KEY_NONE,
    KEY_CHOICES,
    KEY_MESSAGE,
    KEY_DELTA,
    KEY_TOOL_CALLS,
    KEY_FUNCTION,
    KEY_FUNCTION_CALL,
    KEY_ITEMS,
    KEY_ITEM,
    KEY_NAME,
    KEY_TYPE
};

struct word {
    const char *text;
    size_t len;
    enum key key;
};

#define WORD(text, key)                                                        \
    {                                                                          \
        text, sizeof(text) - 1, key                                            \
    }

static const struct word keys[] = {
    WORD("name", KEY_NAME),
    WORD("type", KEY_TYPE),
    WORD("choices", KEY_CHOICES),
    WORD("message", KEY_MESSAGE),
    WORD("delta", KEY_DELTA),
    WORD("tool_calls", KEY_TOOL_CALLS),
    WORD("function", KEY_FUNCTION),
    WORD("custom", KEY_FUNCTION),
    WORD("function_call", KEY_FUNCTION_CALL),
    WORD("output", KEY_ITEMS),
    WORD("content", KEY_ITEMS),
    WORD("item", KEY_ITEM),
    WORD("content_block", KEY_ITEM),
};

/* Types of items that are calls, and of events in which an item begins. */
static const struct word call_types[] = {
    WORD("function_call", KEY_TYPE),
    WORD("custom_tool_call", KEY_TYPE),
    WORD("tool_use", KEY_TYPE),
};

static const struct word begin_types[] = {
    WORD("response.output_item.added", KEY_TYPE),
    WORD("content_block_start", KEY_TYPE),
};

#undef WORD

#define COUNT(words) (sizeof(words) / sizeof((words)[0]))

/* The key of the word that was just read; KEY_NONE: not in the list. */
static enum key find_word(const struct hai_calls_scan *cs,
                          const struct word *words, size_t n) {
    if (cs->odd) {
        return KEY_NONE;
    }

    for (size_t i = 0; i < n; i++) {
        if (words[i].len == cs->word_len
            && memcmp(words[i].text, cs->word, words[i].len) == 0)
        {
            return words[i].key;
        }
    }

    return KEY_NONE;
}

static inline bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == ':'
           || c == '/' || c == '-';
}

/* Whether the name is in the text already. */
static bool is_known(const struct hai_calls *calls, const char *name,
                     size_t len) {
    const char *p = calls->text;
    const char *end = p + calls->text_len;

    while (p < end) {
        const char *space = memchr(p, ' ', (size_t) (end - p));
        size_t n = (size_t) ((space != NULL ? space : end) - p);

        if (n == len && memcmp(p, name, len) == 0) {
            return true;
        }

        p += n + 1;
    }

    return false;
}

/* The name that waits is that of a call. */
static void take_call(struct hai_calls_scan *cs) {
    struct hai_calls *calls = &cs->calls;
    size_t len = cs->name_len;
    size_t space = calls->text_len != 0;

    if (len == 0) {
        return;
    }

    cs->name_len = 0;

    if (calls->count < UINT32_MAX) {
        calls->count++;
    }

    if (cs->odd_name) {
        return;
    }

    for (size_t i = 0; i < len; i++) {
        if (!is_name_char(cs->name[i])) {
            return;
        }
    }

    if (calls->names == HAI_CALLS_MAX_NAMES
        || calls->text_len + space + len > HAI_CALLS_MAX_TEXT
        || is_known(calls, cs->name, len))
    {
        return;
    }

    if (space) {
        calls->text[calls->text_len++] = ' ';
    }

    memcpy(calls->text + calls->text_len, cs->name, len);
    calls->text_len += (uint16_t) len;
    calls->names++;
}

/* Where an opening bracket leads to; NODE_NONE: it is not watched. */
static enum node next_node(const struct hai_calls_scan *cs, uint8_t c) {
    enum key key = cs->key;

    if (c == '[') {
        switch (cs->path[cs->level]) {

        case NODE_TOP:
            return key == KEY_CHOICES                ? NODE_CHOICES
                   : key == KEY_ITEMS && !cs->events ? NODE_ITEMS
                                                     : NODE_NONE;
        case NODE_MESSAGE:
            return key == KEY_TOOL_CALLS ? NODE_CALLS : NODE_NONE;

        default:
            return NODE_NONE;
        }
    }

    switch (cs->path[cs->level]) {

    case NODE_TOP:
        return key == KEY_ITEM && cs->events ? NODE_ITEM : NODE_NONE;

    case NODE_CHOICES:
        return NODE_CHOICE;

    case NODE_CHOICE:
        return key == (cs->events ? KEY_DELTA : KEY_MESSAGE) ? NODE_MESSAGE
                                                             : NODE_NONE;
    case NODE_MESSAGE:
        return key == KEY_FUNCTION_CALL ? NODE_FUNCTION : NODE_NONE;

    case NODE_CALLS:
        return NODE_CALL;

    case NODE_CALL:
        return key == KEY_FUNCTION ? NODE_FUNCTION : NODE_NONE;

    case NODE_ITEMS:
        return NODE_ITEM;

    default:
        return NODE_NONE;
    }
}

static void on_open(struct hai_calls_scan *cs, uint8_t c) {
    enum node node;

    if (cs->skip != 0) {
        cs->skip++;
        return;
    }

    node = next_node(cs, c);

    cs->key = KEY_NONE;
    cs->is_value = false;
    cs->word_len = 0;

    if (node == NODE_NONE) {
        cs->skip = 1;
        return;
    }

    if (node == NODE_FUNCTION || node == NODE_ITEM) {
        cs->name_len = 0;
        cs->call = false;
    }

    cs->path[++cs->level] = (uint8_t) node;
}

static void on_close(struct hai_calls_scan *cs, uint8_t c) {
    enum node node = cs->path[cs->level];
    bool is_array =
        node == NODE_CHOICES || node == NODE_CALLS || node == NODE_ITEMS;

    if (cs->skip != 0) {
        cs->skip--;
        return;
    }

    if ((c == ']') != is_array) {
        cs->state = HAI_CALLS_OVER;
        return;
    }

    cs->key = KEY_NONE;
    cs->is_value = false;
    cs->word_len = 0;

    if (node == NODE_ITEM && !cs->call) {
        cs->name_len = 0;
    }

    if (node == NODE_FUNCTION || (node == NODE_ITEM && !cs->events)
        || (node == NODE_TOP && cs->begins))
    {
        take_call(cs);
    }

    if (cs->level == 0) {
        cs->state = HAI_CALLS_OVER;
        return;
    }

    cs->level--;
}

/* The end of a string in a watched container. */
static void on_word(struct hai_calls_scan *cs) {
    enum node node = cs->path[cs->level];

    if (!cs->is_value) {
        return; /* a colon makes it a key */
    }

    if (cs->key == KEY_NAME && (node == NODE_FUNCTION || node == NODE_ITEM)) {
        cs->odd_name = cs->odd || cs->word_len > HAI_CALLS_MAX_NAME;
        cs->name_len = cs->word_len < HAI_CALLS_MAX_NAME ? cs->word_len
                                                         : HAI_CALLS_MAX_NAME;
        memcpy(cs->name, cs->word, cs->name_len);

    } else if (cs->key == KEY_TYPE && node == NODE_ITEM) {
        cs->call = find_word(cs, call_types, COUNT(call_types)) != KEY_NONE;

    } else if (cs->key == KEY_TYPE && node == NODE_TOP && cs->events) {
        cs->begins = find_word(cs, begin_types, COUNT(begin_types)) != KEY_NONE;
    }
}

/* Adds n bytes to the word, which may be kept only in part. */
static void add_word(struct hai_calls_scan *cs, const uint8_t *p, size_t n) {
    size_t room = sizeof(cs->word) - cs->word_len;

    if (n > room) {
        n = room;
    }

    memcpy(cs->word + cs->word_len, p, n);
    cs->word_len += (uint8_t) n;

    if (memchr(p, '\\', n) != NULL) {
        cs->odd = true;
    }
}

/* The inside of a string from p on.  Returns where to go on. */
static const uint8_t *read_string(struct hai_calls_scan *cs, const uint8_t *p,
                                  const uint8_t *end) {
    while (p < end) {
        const uint8_t *start = p;
        const uint8_t *quote, *q;
        bool escaped;

        if (cs->escaped) {
            cs->escaped = false;
            start++;
        }

        quote = memchr(start, '"', (size_t) (end - start));
        q = quote != NULL ? quote : end;

        while (q > start && q[-1] == '\\') {
            q--;
        }

        escaped = ((quote != NULL ? quote : end) - q) & 1;
        q = quote == NULL ? end : escaped ? quote + 1 : quote;

        if (cs->skip == 0) {
            add_word(cs, p, (size_t) (q - p));
        }

        if (quote == NULL) {
            cs->escaped = escaped;
            return end;
        }

        if (!escaped) {
            cs->in_string = false;

            if (cs->skip == 0) {
                on_word(cs);
            }

            return quote + 1;
        }

        p = q;
    }

    return p;
}

static void on_byte(struct hai_calls_scan *cs, uint8_t c) {
    bool escaped = cs->escaped;

    cs->escaped = false;

    switch (c) {

    case '\\':
        cs->escaped = !escaped;
        break;

    case '"':
        if (!escaped) {
            cs->in_string = true;
            cs->word_len = 0;
            cs->odd = false;
        }
        break;

    case '{':
    case '[':
        on_open(cs, c);
        break;

    case '}':
    case ']':
        on_close(cs, c);
        break;

    case ':':
        if (cs->skip == 0) {
            cs->key = (uint8_t) find_word(cs, keys, COUNT(keys));
            cs->is_value = true;
        }
        break;

    case ',':
        if (cs->skip == 0) {
            cs->key = KEY_NONE;
            cs->is_value = false;
            cs->word_len = 0;
        }
        break;

    default:
        break;
    }
}

void hai_calls_init(struct hai_calls_scan *cs, bool events) {
    cs->calls.count = 0;
    cs->calls.text_len = 0;
    cs->calls.names = 0;
    cs->events = events;

    hai_calls_begin(cs);
}

/* Behind the first brace. */
static void open_top(struct hai_calls_scan *cs) {
    cs->state = HAI_CALLS_OPEN;
    cs->skip = 0;
    cs->in_string = false;
    cs->escaped = false;
    cs->is_value = false;
    cs->odd = false;
    cs->call = false;
    cs->begins = false;
    cs->odd_name = false;
    cs->level = 0;
    cs->path[0] = NODE_TOP;
    cs->key = KEY_NONE;
    cs->word_len = 0;
    cs->name_len = 0;
}

void hai_calls_feed(struct hai_calls_scan *cs, const void *data, size_t n) {
    const uint8_t *p = data;
    const uint8_t *end = p + n;

    while (p < end && cs->state == HAI_CALLS_START) {
        if (*p == '{') {
            open_top(cs);

        } else if (*p != ' ' && *p != '\n' && *p != '\r' && *p != '\t') {
            cs->state = HAI_CALLS_OVER;
        }

        p++;
    }

    while (p < end && cs->state == HAI_CALLS_OPEN) {
        if (cs->in_string) {
            p = read_string(cs, p, end);

        } else {
            on_byte(cs, *p++);
        }
    }
}
