/*
 * What is remembered of firings: cooldowns, and tool results seen; see rules.h
 * and evaluate.h.
 *
 * A table of fixed size in which a key may lie in one of a few neighbouring
 * places; where all are taken the oldest makes room.
 * Keys are keyed hashes of 64 bits: a caller who chooses names or call ids
 * cannot choose where they lie.
 */

#include "evaluate.h"

#include "hai_sip.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define WAYS 8

struct place {
    uint64_t key;  /* 0: free */
    uint64_t time; /* of the last firing, or a count instead */
};

struct table {
    pthread_mutex_t mutex;
    uint64_t seed[2];
    size_t buckets;
    struct place place[];
};

struct hai_cooldown {
    struct table *table;
};

struct hai_seen {
    struct table *table;
    uint64_t count; /* under the table's mutex */
};

static struct table *table_new(size_t max) {
    size_t buckets = max > WAYS ? (max + WAYS - 1) / WAYS : 1;
    struct table *t;

    if (buckets > SIZE_MAX / 2 / (WAYS * sizeof(t->place[0]))) {
        return NULL;
    }
    t = calloc(1, sizeof(*t) + buckets * WAYS * sizeof(t->place[0]));
    if (t == NULL) {
        return NULL;
    }
    t->buckets = buckets;
    if (getrandom(t->seed, sizeof(t->seed), 0) != sizeof(t->seed)
        || pthread_mutex_init(&t->mutex, NULL) != 0)
    {
        free(t);
        return NULL;
    }
    return t;
}

static void table_free(struct table *t) {
    pthread_mutex_destroy(&t->mutex);
    free(t);
}

/* The length goes first, so that two texts cannot pass as one. */
static void hash_text(struct hai_sip *sip, const char *text, size_t len) {
    uint64_t word;
    size_t n;

    hai_sip_word(sip, len);
    for (; len > 0; text += n, len -= n) {
        n = len < sizeof(word) ? len : sizeof(word);
        word = 0;
        memcpy(&word, text, n);
        hai_sip_word(sip, word);
    }
}

static uint64_t hash(const struct table *t, const char *rule,
                     const struct hai_slice *texts, size_t n) {
    struct hai_sip sip;
    uint64_t key;
    size_t i;

    hai_sip_start(&sip, t->seed);
    hash_text(&sip, rule, strlen(rule));
    for (i = 0; i < n; i++) {
        hash_text(&sip, texts[i].data, texts[i].len);
    }
    key = hai_sip_end(&sip, 0, 0);
    return key != 0 ? key : 1;
}

/* The key's place, or the one to put it in: then its key is another one. */
static struct place *find(struct table *t, uint64_t key) {
    struct place *p = t->place + key % t->buckets * WAYS, *victim = p;
    size_t i;

    for (i = 0; i < WAYS; i++) {
        if (p[i].key == key) {
            return &p[i];
        }
        if (p[i].time < victim->time) {
            victim = &p[i];
        }
    }
    return victim;
}

struct hai_cooldown *hai_cooldown_new(size_t max) {
    struct hai_cooldown *c = malloc(sizeof(*c));

    if (c == NULL) {
        return NULL;
    }
    c->table = table_new(max);
    if (c->table == NULL) {
        free(c);
        return NULL;
    }
    return c;
}

void hai_cooldown_free(struct hai_cooldown *c) {
    if (c != NULL) {
        table_free(c->table);
        free(c);
    }
}

bool hai_cooldown_take(struct hai_cooldown *c, const struct hai_rule *rule,
                       struct hai_slice container, uint64_t now_ms) {
    struct place *place;
    uint64_t key;
    bool fires;

    if (rule->cooldown_ms == 0) {
        return true;
    }
    key = hash(c->table, rule->id, &container, 1);
    pthread_mutex_lock(&c->table->mutex);
    place = find(c->table, key);

    /* another thread's moment may lie a little later than this one's */
    fires =
        place->key != key
        || (now_ms >= place->time && now_ms - place->time >= rule->cooldown_ms);
    if (fires) {
        place->key = key;
        place->time = now_ms;
    }
    pthread_mutex_unlock(&c->table->mutex);
    return fires;
}

struct hai_seen *hai_seen_new(size_t max) {
    struct hai_seen *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        return NULL;
    }
    s->table = table_new(max);
    if (s->table == NULL) {
        free(s);
        return NULL;
    }
    return s;
}

void hai_seen_free(struct hai_seen *s) {
    if (s != NULL) {
        table_free(s->table);
        free(s);
    }
}

bool hai_seen_take(struct hai_seen *s, const struct hai_rule *rule,
                   const struct hai_rule_facts *facts, struct hai_slice call) {
    const struct hai_slice texts[] = {facts->container, call, facts->tool,
                                      facts->input};
    struct place *place;
    uint64_t key;
    bool first;

    if (call.len == 0) {
        return true; /* nothing to know it by */
    }
    key = hash(s->table, rule->id, texts, sizeof(texts) / sizeof(*texts));
    pthread_mutex_lock(&s->table->mutex);
    place = find(s->table, key);
    first = place->key != key;
    place->key = key;
    place->time = ++s->count; /* the longest unheard of goes first */
    pthread_mutex_unlock(&s->table->mutex);
    return first;
}
