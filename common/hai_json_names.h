/*
 * Keys of objects: names that decide something, names that another parser
 * could take for one (after Unicode case folding, or because it ends a
 * string at NUL or leaves NUL out), and the keys that open objects have
 * already.  Private to the scanner.
 */

#ifndef HAI_JSON_NAMES_H
#define HAI_JSON_NAMES_H

#include "hai_json.h"
#include "hai_json_skip.h"

#define HAI_KEYS_LINEAR 32 /* keys of an object before the table takes over */
#define HAI_KEYS_FIRST 128 /* keys without any allocation */

/*
 * A key as two words, so that most comparisons of keys are one of words: up
 * to HAI_KEY_SHORT bytes and the closing quote as they stand in the input,
 * then zeros.  The last byte that is not zero is that quote, so different
 * keys have different words.  Longer: keyed hash, and HAI_KEY_HASHED.
 */
struct hai_key {
    uint64_t a, b;
};

#define HAI_KEY_SHORT 15
#define HAI_KEY_HASHED UINT64_MAX

/* An open object or array. */
struct hai_json_frame {
    uint32_t first_key; /* index of its first key in the stack */
    uint8_t close;      /* the byte that ends it */
    uint8_t checks;     /* that apply to its own keys */
    uint8_t inside;     /* that apply in the value of the current key */
    uint8_t in_table;   /* its keys are in the table */
};

/* The keys of all open objects in which a repeated key is refused. */
struct hai_json_keys {
    struct hai_key *stack; /* first or allocated */
    struct hai_key *end;   /* of what is allocated */
    size_t n;
    uint64_t *table; /* 0: free slot */
    size_t table_size;
    size_t table_used;
    uint64_t seed[2];
    struct hai_key first[HAI_KEYS_FIRST];
};

/* Keeps the bytes 0 to the index. */
extern const uint64_t hai_key_masks[8];

/* The words of the key of len bytes, up to HAI_KEY_SHORT, that stands at p
 * with its closing quote; 16 bytes are read. */
static inline struct hai_key hai_key_words(const uint8_t *p, size_t len) {
    struct hai_key key;

    key.a = load64(p);
    key.b = 0;

    if (len < 8) {
        key.a &= hai_key_masks[len];
    } else {
        key.b = load64(p + 8) & hai_key_masks[len - 8];
    }

    return key;
}

/* Eight bytes, and the first word of a short name, to compare with. */
#define HAI_AT(i, c) ((uint64_t) (c) << 8 * (i))
#define HAI_WORD(a, b, c, d, e, f, g, h)                                       \
    (HAI_AT(0, a) | HAI_AT(1, b) | HAI_AT(2, c) | HAI_AT(3, d) | HAI_AT(4, e)  \
     | HAI_AT(5, f) | HAI_AT(6, g) | HAI_AT(7, h))
#define HAI_NAME4(a, b, c, d)                                                  \
    (HAI_AT(0, a) | HAI_AT(1, b) | HAI_AT(2, c) | HAI_AT(3, d) | HAI_AT(4, '"'))
#define HAI_NAME5(a, b, c, d, e)                                               \
    (HAI_AT(0, a) | HAI_AT(1, b) | HAI_AT(2, c) | HAI_AT(3, d) | HAI_AT(4, e)  \
     | HAI_AT(5, '"'))
#define HAI_NAME7(a, b, c, d, e, f, g)                                         \
    (HAI_AT(0, a) | HAI_AT(1, b) | HAI_AT(2, c) | HAI_AT(3, d) | HAI_AT(4, e)  \
     | HAI_AT(5, f) | HAI_AT(6, g) | HAI_AT(7, '"'))

static const uint64_t hai_name_role = HAI_NAME4('r', 'o', 'l', 'e');
static const uint64_t hai_name_type = HAI_NAME4('t', 'y', 'p', 'e');
static const uint64_t hai_name_input = HAI_NAME5('i', 'n', 'p', 'u', 't');
static const uint64_t hai_name_content =
    HAI_NAME7('c', 'o', 'n', 't', 'e', 'n', 't');
static const uint64_t hai_name_file_id =
    HAI_NAME7('f', 'i', 'l', 'e', '_', 'i', 'd');

/* Whether the first word of a key says role, content or type. */
static inline bool hai_is_role_word(uint64_t word) {
    if (likely(word == hai_name_role)) {
        return true;
    }

    return likely(word == hai_name_content) || word == hai_name_type;
}

/*
 * The same in any letters, provided that the key is of ASCII without escapes:
 * capitals and small letters differ in one bit then.
 */
static inline bool hai_like_role_word(uint64_t word) {
    const uint64_t small = UINT64_C(0x20202020202020);

    word |= small;
    return word == (hai_name_role | small) || word == (hai_name_content | small)
           || word == (hai_name_type | small);
}

/* Whether one of 8 ASCII bytes is a capital. */
static inline bool hai_has_capital(uint64_t word) {
    const uint64_t ones = UINT64_C(0x0101010101010101);

    return (word + ones * (0x80 - 'A')) & ~(word + ones * (0x80 - 'Z' - 1))
           & ones * 0x80;
}

/* The enum hai_json_key that has exactly this name, or -1. */
int hai_json_top_key(const char *name, size_t len);

/*
 * Whether an unescaped key, which is no deciding key itself, looks like one
 * of the top level, or like role, content or type.
 */
bool hai_json_like_top_key(const uint8_t *p, size_t len);
bool hai_json_like_role_key(const uint8_t *p, size_t len);

/* seed: the two words of the table's hash. */
void hai_json_keys_init(struct hai_json_keys *keys, const uint64_t seed[2]);
void hai_json_keys_free(struct hai_json_keys *keys);

/*
 * Takes a key of the innermost object, which is frames[depth].  Returns
 * HAI_JSON_OK or the refusal.
 */
enum hai_json_status hai_json_keys_add(struct hai_json_keys *keys,
                                       struct hai_json_frame *frames,
                                       uint32_t depth, struct hai_key key);

/* Forgets the keys of the innermost object, f, which is at depth. */
void hai_json_keys_drop(struct hai_json_keys *keys,
                        const struct hai_json_frame *f, uint32_t depth);

#endif
