/*
 * A unified diff of two JSON texts, see diff.h: Myers' algorithm ("An O(ND)
 * Difference Algorithm", 1986) over the lines of both, laid out one value a
 * line.
 */

#include "diff.h"

#include "cli.h"

#include <stdlib.h>
#include <string.h>

#define CONTEXT 3
#define MAX_EDITS 2000 /* beyond, everything is shown as replaced */
#define SHOWN 60       /* bytes of what is the same in a changed line */

struct line {
    const char *text;
    size_t len;
};

struct text {
    char *data;
    struct line *line;
    size_t n;
};

/* One step of the way from old to new. */
struct step {
    char op;         /* ' ', '-' or '+' */
    size_t old, new; /* lines before it */
};

/* Bytes of the text laid out, written when to is not NULL. */
static size_t lay_out(const char *p, size_t len, char *to) {
    size_t n = 0, depth = 0, i, k;
    bool string = false, empty = false;

#define PUT(c)                                                                 \
    do {                                                                       \
        if (to != NULL) {                                                      \
            to[n] = (c);                                                       \
        }                                                                      \
        n++;                                                                   \
    } while (0)
#define BREAK()                                                                \
    do {                                                                       \
        PUT('\n');                                                             \
        for (k = 0; k < 2 * depth; k++) {                                      \
            PUT(' ');                                                          \
        }                                                                      \
    } while (0)

    for (i = 0; i < len; i++) {
        char c = p[i];

        if (string) {
            PUT(c);
            if (c == '\\' && i + 1 < len) {
                i++;
                PUT(p[i]);
            }
            string = c != '"';
            continue;
        }
        if (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
            continue;
        }
        if (c == '}' || c == ']') {
            depth -= depth > 0;
            if (!empty) {
                BREAK();
            }
        } else if (empty) {
            BREAK(); /* the first value of an object or array */
        }
        empty = c == '{' || c == '[';
        PUT(c);
        if (empty) {
            depth++;
        } else if (c == ',') {
            BREAK();
        } else if (c == ':') {
            PUT(' ');
        }
        string = c == '"';
    }
    PUT('\n');
    return n;
#undef PUT
#undef BREAK
}

static int text_init(struct text *t, const char *json, size_t len) {
    size_t size = lay_out(json, len, NULL), i, n = 0;
    const char *p, *end;

    t->data = malloc(size);
    if (t->data == NULL) {
        return -1;
    }
    lay_out(json, len, t->data);
    for (i = 0; i < size; i++) {
        n += t->data[i] == '\n';
    }
    t->line = malloc((n + 1) * sizeof(*t->line));
    if (t->line == NULL) {
        return -1;
    }
    for (p = t->data; t->n < n; p = end + 1) {
        end = memchr(p, '\n', (size_t) (t->data + size - p));
        t->line[t->n++] = (struct line){p, (size_t) (end - p)};
    }
    return 0;
}

static void text_free(struct text *t) {
    free(t->data);
    free(t->line);
}

static bool same(const struct line *a, const struct line *b) {
    return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

/* Where a round of the search came from. */
enum from { FROM_NOWHERE, FROM_OLD, FROM_NEW };

/*
 * The first place of the path with d edits, i of them lines of new: lines of
 * old left behind, and by which edit.  before: the round of d - 1.
 */
static enum from enter(const struct text *a, const struct text *b,
                       const long *before, long d, long i, long *x) {
    long n = (long) a->n, m = (long) b->n, other;
    enum from from = FROM_NOWHERE;

    *x = -1;
    if (i < d && before[i] >= 0 && before[i] < n) {
        *x = before[i] + 1;
        from = FROM_OLD;
    }
    other = i > 0 ? before[i - 1] : -1;
    if (other >= 0 && other >= *x && other + i - (d - i) <= m) {
        *x = other;
        from = FROM_NEW;
    }
    return from;
}

/* The values of round d lie behind those of all rounds before. */
static long *round_of(long *v, long d) {
    return v + d * (d + 1) / 2;
}

/*
 * The furthest that paths with 0, 1, 2, ... edits reach.  The number of edits
 * of the shortest path, *at the lines of new among them; -1: too many.
 */
static long search(const struct text *a, const struct text *b, long *v,
                   long *at) {
    long n = (long) a->n, m = (long) b->n, d, i, x, y, *now;

    for (d = 0; d <= MAX_EDITS; d++) {
        now = round_of(v, d);
        for (i = 0; i <= d; i++) {
            if (d == 0) {
                x = 0;
            } else if (enter(a, b, round_of(v, d - 1), d, i, &x)
                       == FROM_NOWHERE) {
                now[i] = -1;
                continue;
            }
            y = x + i - (d - i);
            while (x < n && y < m && same(&a->line[x], &b->line[y])) {
                x++;
                y++;
            }
            now[i] = x;
            if (x == n && y == m) {
                *at = i;
                return d;
            }
        }
    }
    return -1;
}

/* Follows the path back to its start; the steps end at `last`. */
static struct step *walk_back(const struct text *a, const struct text *b,
                              long *v, long d, long i, struct step *last) {
    long x = (long) a->n, y = (long) b->n, entered;
    enum from from;

    for (;;) {
        from = FROM_NOWHERE;
        entered = 0;
        if (d > 0) {
            from = enter(a, b, round_of(v, d - 1), d, i, &entered);
        }
        while (x > entered) {
            *--last = (struct step){' ', (size_t) --x, (size_t) --y};
        }
        if (from == FROM_NOWHERE) {
            return last;
        }
        if (from == FROM_OLD) {
            *--last = (struct step){'-', (size_t) --x, (size_t) y};
        } else {
            *--last = (struct step){'+', (size_t) x, (size_t) --y};
            i--;
        }
        d--;
    }
}

/* All steps from old to new; *n of them, to be freed by *block. */
static struct step *find_steps(const struct text *a, const struct text *b,
                               size_t *n, struct step **block) {
    size_t all = a->n + b->n, i;
    long *v = malloc((MAX_EDITS + 1) * (MAX_EDITS + 2) / 2 * sizeof(*v));
    struct step *list = malloc((all + 1) * sizeof(*list)), *first;
    long d, at = 0;

    *block = list;
    if (v == NULL || list == NULL) {
        free(v);
        return NULL;
    }
    d = search(a, b, v, &at);
    if (d >= 0) {
        first = walk_back(a, b, v, d, at, list + all);
    } else {
        for (i = 0; i < a->n; i++) {
            list[i] = (struct step){'-', i, 0};
        }
        for (i = 0; i < b->n; i++) {
            list[a->n + i] = (struct step){'+', a->n, i};
        }
        first = list;
    }
    free(v);
    *n = (size_t) (list + all - first);
    return first;
}

/* One line; of what both have in front and behind only the end next to what
 * differs is shown. */
static void put_line(FILE *out, char op, const struct line *line, size_t prefix,
                     size_t suffix, bool color) {
    const char *text = line->text;
    size_t start = 0, end = line->len;

    if (prefix > SHOWN) {
        start = prefix - SHOWN;
        while (start > 0 && (text[start] & 0xC0) == 0x80) {
            start--;
        }
    }
    if (suffix > SHOWN) {
        end = line->len - suffix + SHOWN;
        while (end < line->len && (text[end] & 0xC0) == 0x80) {
            end++;
        }
    }
    if (color && op != ' ') {
        fputs(op == '-' ? HAI_CLI_RED : HAI_CLI_GREEN, out);
    }
    putc(op, out);
    if (start > 0) {
        fprintf(out, "[%zu bytes] ", start);
    }
    hai_cli_put(out, text + start, end - start);
    if (end < line->len) {
        fprintf(out, " [%zu bytes]", line->len - end);
    }
    if (color && op != ' ') {
        fputs(HAI_CLI_PLAIN, out);
    }
    putc('\n', out);
}

static void common_ends(const struct line *a, const struct line *b,
                        size_t *prefix, size_t *suffix) {
    size_t max = a->len < b->len ? a->len : b->len, p = 0, s = 0;

    while (p < max && a->text[p] == b->text[p]) {
        p++;
    }
    while (s < max - p && a->text[a->len - 1 - s] == b->text[b->len - 1 - s]) {
        s++;
    }
    *prefix = p;
    *suffix = s;
}

/* The next step of the run with this letter, from i on. */
static const struct step *next_step(const struct step *step, size_t n,
                                    size_t *i, char op) {
    while (*i < n && step[*i].op != op) {
        (*i)++;
    }
    return *i < n ? &step[(*i)++] : NULL;
}

/* A run of changes, first what goes and then what comes; lines that were
 * replaced one by one are compared. */
static void put_changes(FILE *out, const struct text *a, const struct text *b,
                        const struct step *step, size_t n, bool color) {
    const char ops[2] = {'-', '+'};
    size_t i, olds = 0, half, mine, other, prefix = 0, suffix = 0;
    const struct step *s, *o;

    for (i = 0; i < n; i++) {
        olds += step[i].op == '-';
    }
    for (half = 0; half < 2; half++) {
        mine = other = 0;
        while ((s = next_step(step, n, &mine, ops[half])) != NULL) {
            o = next_step(step, n, &other, ops[1 - half]);
            if (2 * olds == n && o != NULL) {
                common_ends(half == 0 ? &a->line[s->old] : &a->line[o->old],
                            half == 0 ? &b->line[o->new] : &b->line[s->new],
                            &prefix, &suffix);
            }
            put_line(out, s->op,
                     half == 0 ? &a->line[s->old] : &b->line[s->new], prefix,
                     suffix, color);
        }
    }
}

static void put_hunk(FILE *out, const struct text *a, const struct text *b,
                     const struct step *step, size_t n, bool color) {
    size_t olds = 0, news = 0, i, run;

    for (i = 0; i < n; i++) {
        olds += step[i].op != '+';
        news += step[i].op != '-';
    }
    fprintf(out, "%s@@ -%zu,%zu +%zu,%zu @@%s\n", color ? HAI_CLI_CYAN : "",
            step[0].old + (olds > 0), olds, step[0].new + (news > 0), news,
            color ? HAI_CLI_PLAIN : "");
    for (i = 0; i < n;) {
        if (step[i].op == ' ') {
            const struct line *line = &a->line[step[i].old];
            size_t hidden = line->len > 2 * SHOWN ? line->len - SHOWN : 0;

            put_line(out, ' ', line, 0, hidden, color);
            i++;
        } else {
            for (run = 1; i + run < n && step[i + run].op != ' '; run++) {
            }
            put_changes(out, a, b, step + i, run, color);
            i += run;
        }
    }
}

static void put_hunks(FILE *out, const struct text *a, const struct text *b,
                      const struct step *step, size_t n, bool color) {
    size_t i = 0, first, last;

    for (;;) {
        while (i < n && step[i].op == ' ') {
            i++;
        }
        if (i == n) {
            return;
        }
        first = i > CONTEXT ? i - CONTEXT : 0;

        /* changes that are near each other share a hunk */
        for (last = i; i < n && i - last <= 2 * CONTEXT; i++) {
            if (step[i].op != ' ') {
                last = i;
            }
        }
        i = last + 1 + CONTEXT < n ? last + 1 + CONTEXT : n;
        put_hunk(out, a, b, step + first, i - first, color);
    }
}

int hai_diff_json(FILE *out, const char *old, size_t old_len, const char *new,
                  size_t new_len, bool color) {
    struct text a = {NULL, NULL, 0}, b = {NULL, NULL, 0};
    struct step *step = NULL, *block = NULL;
    size_t n;

    if (text_init(&a, old, old_len) == 0 && text_init(&b, new, new_len) == 0) {
        step = find_steps(&a, &b, &n, &block);
    }
    if (step != NULL) {
        fprintf(out, "%s--- as received\n+++ as sent%s\n",
                color ? HAI_CLI_BOLD : "", color ? HAI_CLI_PLAIN : "");
        put_hunks(out, &a, &b, step, n, color);
    }
    free(block);
    text_free(&a);
    text_free(&b);
    return step != NULL ? 0 : -1;
}
