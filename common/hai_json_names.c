/*
 * Keys that decide, keys that only look like one, and keys that an object
 * has already, see hai_json_names.h.
 *
 * Up to HAI_KEYS_LINEAR keys of an object are compared one by one; a larger
 * object moves into a hash table whose order depends on the random seed, so
 * nobody can choose keys that collide.  All open objects share that table:
 * entries leave it in the opposite order of their coming, which keeps open
 * addressing without tombstones correct.
 */

#include "hai_json_names.h"

#include "hai_sip.h"

#include <stdlib.h>
#include <string.h>

#define FOLDED_BYTES 24 /* more than the longest deciding key */
#define FIRST_SLOTS 256 /* of the table; a power of two */

const uint64_t hai_key_masks[8] = {
    UINT64_MAX >> 56, UINT64_MAX >> 48, UINT64_MAX >> 40, UINT64_MAX >> 32,
    UINT64_MAX >> 24, UINT64_MAX >> 16, UINT64_MAX >> 8,  UINT64_MAX};

/* --- names -------------------------------------------------------------- */

/*
 * One step of Unicode case folding, as far as it ends in ASCII that occurs
 * in a deciding key: the letter or letters at p, *n the bytes taken; NULL:
 * p folds to something else.  Dotted and dotless i count as i, a combining
 * dot above (what a dotted capital I leaves when folded) as nothing.
 * Ligatures with f are left out, no deciding key has ff, fi or fl.
 */
static const char *fold(const uint8_t *p, size_t left, size_t *n) {
    static const struct {
        char from[4];
        char to[3];
    } folds[] = {
        {"\xc3\x9f", "ss"},     /* U+00DF sharp s */
        {"\xc4\xb0", "i"},      /* U+0130 I with dot above */
        {"\xc4\xb1", "i"},      /* U+0131 dotless i */
        {"\xc5\xbf", "s"},      /* U+017F long s */
        {"\xcc\x87", ""},       /* U+0307 combining dot above */
        {"\xe1\xba\x9e", "ss"}, /* U+1E9E capital sharp s */
        {"\xe2\x84\xaa", "k"},  /* U+212A Kelvin sign */
        {"\xef\xac\x85", "st"}, /* U+FB05 ligature long s t */
        {"\xef\xac\x86", "st"}  /* U+FB06 ligature s t */
    };

    for (size_t i = 0; i < sizeof(folds) / sizeof(folds[0]); i++) {
        *n = strlen(folds[i].from);
        if (left >= *n && memcmp(p, folds[i].from, *n) == 0) {
            return folds[i].to;
        }
    }

    return NULL;
}

/*
 * The name that a key becomes when folded and read without NUL; *cut is its
 * length up to the first NUL.  Returns the whole length; 0: no name that the
 * gateway knows, which *cut can be nevertheless.
 */
static size_t fold_key(const uint8_t *p, size_t len, char out[FOLDED_BYTES],
                       size_t *cut) {
    size_t n, out_len = 0;
    char ascii[2] = "";
    bool nul = false;
    const char *to;

    *cut = 0;

    for (size_t i = 0; i < len; i += n) {
        n = 1;
        if (p[i] == '\0') {
            if (!nul) {
                *cut = out_len;
                nul = true;
            }
            continue;
        }

        if (p[i] >= 0x80) {
            to = fold(p + i, len - i, &n);
            if (to == NULL) {
                return 0;
            }
        } else {
            ascii[0] = (char) (p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i]);
            to = ascii;
        }

        for (; *to; to++) {
            if (out_len == FOLDED_BYTES) {
                return 0;
            }
            out[out_len++] = *to;
        }
    }

    return out_len;
}

int hai_json_top_key(const char *name, size_t len) {
#define IS(text) (memcmp(name, text, sizeof(text) - 1) == 0)
    switch (len) {
    case 5:
        return IS("model")   ? HAI_KEY_MODEL
               : IS("input") ? HAI_KEY_INPUT
               : IS("tools") ? HAI_KEY_TOOLS
                             : -1;
    case 6:
        return IS("stream")   ? HAI_KEY_STREAM
               : IS("system") ? HAI_KEY_SYSTEM
               : IS("prompt") ? HAI_KEY_PROMPT
                              : -1;
    case 8:
        return IS("messages") ? HAI_KEY_MESSAGES : -1;
    case 12:
        return IS("instructions")   ? HAI_KEY_INSTRUCTIONS
               : IS("conversation") ? HAI_KEY_CONVERSATION
                                    : -1;
    case 20:
        return IS("previous_response_id") ? HAI_KEY_PREVIOUS_RESPONSE_ID : -1;
    default:
        return -1;
    }
#undef IS
}

static bool is_role_key(const char *name, size_t len) {
    return (len == 4
            && (memcmp(name, "role", 4) == 0 || memcmp(name, "type", 4) == 0))
           || (len == 7 && memcmp(name, "content", 7) == 0);
}

/* Bit 7 of some byte is set when one of 8 is NUL, a capital or not ASCII. */
static inline uint64_t foldable_bits(uint64_t w) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t ascii = w & ones * 0x7f;
    uint64_t capital =
        (ascii + ones * (0x80 - 'A')) & ~(ascii + ones * (0x80 - 'Z' - 1));

    return (w | capital | ~(ascii + ones * 0x7f)) & ones * 0x80;
}

/* Whether folding, or reading without NUL, could change the key at all. */
static bool bytes_may_fold(const uint8_t *p, size_t len) {
    uint64_t bits = 0;

    for (; len >= 8; len -= 8, p += 8) {
        bits |= foldable_bits(load64(p));
    }

    /* the bytes that are missing to a word must not look like NUL */
    return bits
           || foldable_bits(load_rest(p, len)
                            | UINT64_C(0x2020202020202020) << 8 * len);
}

bool hai_json_like_top_key(const uint8_t *p, size_t len) {
    char name[FOLDED_BYTES];
    size_t n, cut;

    if (!bytes_may_fold(p, len)) {
        return false;
    }

    n = fold_key(p, len, name, &cut);
    return hai_json_top_key(name, n) >= 0 || hai_json_top_key(name, cut) >= 0;
}

bool hai_json_like_role_key(const uint8_t *p, size_t len) {
    char name[FOLDED_BYTES];
    size_t n, cut;

    if (!bytes_may_fold(p, len)) {
        return false;
    }

    n = fold_key(p, len, name, &cut);
    return is_role_key(name, n) || is_role_key(name, cut);
}

/* --- keys that an object has already ------------------------------------ */

void hai_json_keys_init(struct hai_json_keys *keys, const uint64_t seed[2]) {
    keys->stack = keys->first;
    keys->end = keys->first + HAI_KEYS_FIRST;
    keys->n = 0;
    keys->table = NULL;
    keys->table_size = 0;
    keys->table_used = 0;
    keys->seed[0] = seed[0];
    keys->seed[1] = seed[1];
}

void hai_json_keys_free(struct hai_json_keys *keys) {
    if (keys->stack != keys->first) {
        free(keys->stack);
    }
    free(keys->table);
}

/* What stands in the table for a key of the object at depth. */
static uint64_t table_entry(const struct hai_json_keys *keys,
                            struct hai_key key, uint32_t depth) {
    struct hai_sip s;
    uint64_t entry;

    hai_sip_start(&s, keys->seed);
    hai_sip_word(&s, key.a);
    hai_sip_word(&s, key.b);
    entry = hai_sip_end(&s, depth, 24);

    return entry ? entry : 1;
}

/* Slot of the entry, or the free one where it would be put. */
static size_t table_slot(const struct hai_json_keys *keys, uint64_t entry) {
    size_t mask = keys->table_size - 1;
    size_t i = (size_t) entry & mask;

    while (keys->table[i] && keys->table[i] != entry) {
        i = (i + 1) & mask;
    }

    return i;
}

/*
 * Makes the table ready for one more entry.  It is filled again in the order
 * of the key stack, the order in which its entries came.
 */
static bool table_reserve(struct hai_json_keys *keys,
                          const struct hai_json_frame *frames, uint32_t depth) {
    size_t size, end;
    uint64_t *table, entry;

    if (keys->table_used < keys->table_size / 2) {
        return true;
    }

    size = keys->table_size ? keys->table_size * 2 : FIRST_SLOTS;
    table = calloc(size, sizeof(table[0]));
    if (table == NULL) {
        return false;
    }

    free(keys->table);
    keys->table = table;
    keys->table_size = size;

    for (uint32_t d = 1; d <= depth; d++) {
        if (frames[d].in_table) {
            end = d < depth ? frames[d + 1].first_key : keys->n;
            for (size_t i = frames[d].first_key; i < end; i++) {
                entry = table_entry(keys, keys->stack[i], d);
                table[table_slot(keys, entry)] = entry;
            }
        }
    }

    return true;
}

static enum hai_json_status table_add(struct hai_json_keys *keys,
                                      const struct hai_json_frame *frames,
                                      uint32_t depth, struct hai_key key) {
    uint64_t entry = table_entry(keys, key, depth);
    size_t slot;

    if (!table_reserve(keys, frames, depth)) {
        return HAI_JSON_NO_MEMORY;
    }

    slot = table_slot(keys, entry);
    if (keys->table[slot]) {
        return HAI_JSON_DUPLICATE_KEY;
    }

    keys->table[slot] = entry;
    keys->table_used++;
    return HAI_JSON_OK;
}

void hai_json_keys_drop(struct hai_json_keys *keys,
                        const struct hai_json_frame *f, uint32_t depth) {
    size_t slot;

    if (f->in_table) {
        for (size_t i = keys->n; i-- > f->first_key;) {
            slot = table_slot(keys, table_entry(keys, keys->stack[i], depth));
            keys->table[slot] = 0;
            keys->table_used--;
        }
    }

    keys->n = f->first_key;
}

static bool stack_reserve(struct hai_json_keys *keys) {
    size_t size = (size_t) (keys->end - keys->stack);
    struct hai_key *stack;

    if (keys->n < size) {
        return true;
    }

    if (keys->stack == keys->first) {
        stack = malloc(2 * sizeof(keys->first));
        if (stack) {
            memcpy(stack, keys->first, sizeof(keys->first));
        }
    } else {
        stack = realloc(keys->stack, 2 * size * sizeof(stack[0]));
    }

    if (stack == NULL) {
        return false;
    }

    keys->stack = stack;
    keys->end = stack + 2 * size;
    return true;
}

enum hai_json_status hai_json_keys_add(struct hai_json_keys *keys,
                                       struct hai_json_frame *frames,
                                       uint32_t depth, struct hai_key key) {
    struct hai_json_frame *f = &frames[depth];
    size_t n = keys->n - f->first_key;
    enum hai_json_status status;

    if (keys->n == HAI_JSON_MAX_KEYS) {
        return HAI_JSON_DEPTH;
    }
    if (!stack_reserve(keys)) {
        return HAI_JSON_NO_MEMORY;
    }

    if (n < HAI_KEYS_LINEAR) {
        for (size_t i = f->first_key; i < keys->n; i++) {
            if (keys->stack[i].a == key.a && keys->stack[i].b == key.b) {
                return HAI_JSON_DUPLICATE_KEY;
            }
        }
        keys->stack[keys->n++] = key;
        return HAI_JSON_OK;
    }

    if (!f->in_table) {
        /* the stack is cut and grows again, so that at every moment it
           names exactly what the table holds of this object */
        keys->n = f->first_key;
        f->in_table = 1;

        for (size_t i = 0; i < n; i++) {
            status = table_add(keys, frames, depth, keys->stack[keys->n]);
            if (status != HAI_JSON_OK) {
                return status;
            }
            keys->n++;
        }
    }

    status = table_add(keys, frames, depth, key);
    if (status == HAI_JSON_OK) {
        keys->stack[keys->n++] = key;
    }

    return status;
}
