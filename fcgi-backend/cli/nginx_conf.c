/*
 * See nginx_conf.h.  The lexer is nginx's: words, quotes, escapes, comments,
 * "${" that opens no block.
 */

#define _GNU_SOURCE /* asprintf() */

#include "nginx_conf.h"

#include "lib/file.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (8 * 1024 * 1024)
#define DEPTH_MAX 32
#define NODES_MAX 500000

struct parser {
    const char *dir;
    const char *file;
    const char *p, *end;
    int line;
    int depth;
    size_t nodes;
    char *error;
    size_t size;
};

/* The words of one directive. */
struct words {
    char **word;
    size_t n, size;
};

static int read_file(struct parser *p, struct hai_nginx_node *block,
                     const char *file);

static int say(struct parser *p, const char *reason) {
    snprintf(p->error, p->size, "%s:%d: %s", p->file, p->line, reason);
    return -1;
}

static int words_add(struct parser *p, struct words *words, char *word) {
    char **larger;

    if (word == NULL) {
        return say(p, "no memory");
    }
    if (words->n == words->size) {
        words->size = words->size > 0 ? words->size * 2 : 4;
        larger = realloc(words->word, words->size * sizeof(*larger));
        if (larger == NULL) {
            free(word);
            return say(p, "no memory");
        }
        words->word = larger;
    }
    words->word[words->n++] = word;
    return 0;
}

static void words_free(struct words *words) {
    size_t i;

    for (i = 0; i < words->n; i++) {
        free(words->word[i]);
    }
    free(words->word);
    memset(words, 0, sizeof(*words));
}

/* Skips blanks and comments; false at the end. */
static bool skip(struct parser *p) {
    while (p->p < p->end) {
        if (*p->p == '#') {
            while (p->p < p->end && *p->p != '\n') {
                p->p++;
            }
        } else if (strchr(" \t\r\n", *p->p) != NULL && *p->p != '\0') {
            p->line += *p->p == '\n';
            p->p++;
        } else {
            return true;
        }
    }
    return false;
}

static bool ends_word(const struct parser *p, char quote) {
    if (quote != '\0') {
        return *p->p == quote;
    }
    if (*p->p == '{') {
        return p->p[-1] != '$';
    }
    return *p->p == '\0' || strchr(" \t\r\n;", *p->p) != NULL;
}

/* One word, without its quotes and escapes. */
static char *read_word(struct parser *p) {
    char quote = *p->p == '"' || *p->p == '\'' ? *p->p : '\0', *word, *to;
    const char *start;

    p->p += quote != '\0';
    for (start = p->p; p->p < p->end && !ends_word(p, quote); p->p++) {
        if (*p->p == '\\' && p->p + 1 < p->end) {
            p->p++;
        }
        p->line += *p->p == '\n';
    }
    word = to = calloc(1, (size_t) (p->p - start) + 1);
    if (word == NULL) {
        return NULL;
    }
    for (; start < p->p; start++) {
        if (*start == '\\' && start + 1 < p->p) {
            start++;
            if (strchr("\"'\\", *start) == NULL) {
                *to++ = '\\';
            }
        }
        *to++ = *start;
    }
    *to = '\0';
    p->p += quote != '\0' && p->p < p->end;
    return word;
}

static struct hai_nginx_node *
node_new(struct parser *p, struct hai_nginx_node *parent, struct words *words) {
    struct hai_nginx_node *node;

    if (++p->nodes > NODES_MAX || (node = calloc(1, sizeof(*node))) == NULL) {
        say(p, "it is too large");
        return NULL;
    }
    node->word = words->word;
    node->n = words->n;
    node->file = p->file;
    node->line = p->line;
    node->parent = parent;
    memset(words, 0, sizeof(*words));
    if (parent->last != NULL) {
        parent->last->next = node;
    } else {
        parent->first = node;
    }
    parent->last = node;
    return node;
}

/* Reads what matches the pattern of an include into the block. */
static int include(struct parser *p, struct hai_nginx_node *block,
                   const char *pattern) {
    struct parser outer = *p;
    char *path = NULL;
    glob_t found;
    size_t i;
    int rc = 0;

    if (asprintf(&path, "%s%s%s", *pattern == '/' ? "" : p->dir,
                 *pattern == '/' ? "" : "/", pattern)
        < 0)
    {
        return say(p, "no memory");
    }
    if (glob(path, 0, NULL, &found) == 0) {
        for (i = 0; rc == 0 && i < found.gl_pathc; i++) {
            rc = read_file(p, block, found.gl_pathv[i]);
        }
        globfree(&found);
    } else if (strpbrk(path, "*?[") == NULL) {
        rc = read_file(p, block, path);
    }
    free(path);
    outer.nodes = p->nodes;
    *p = outer;
    return rc;
}

/* Directives up to the end of the block or file. */
static int read_block(struct parser *p, struct hai_nginx_node *block,
                      bool is_file) {
    struct words words = {NULL, 0, 0};
    struct hai_nginx_node *node;
    int rc = 0;
    char end;

    if (++p->depth > DEPTH_MAX) {
        return say(p, "blocks and includes are nested too deeply");
    }
    while (rc == 0 && skip(p)) {
        end = *p->p;
        if (end != ';' && end != '{' && end != '}') {
            rc = words_add(p, &words, read_word(p));
            continue;
        }
        p->p++;
        if (end == '}') {
            if (is_file || words.n > 0) {
                rc = say(p, "unexpected \"}\"");
            }
            p->depth--;
            words_free(&words);
            return rc;
        }
        if (words.n == 0) {
            rc = say(p, "a directive without a name");
        } else if (end == ';' && words.n == 2
                   && strcmp(words.word[0], "include") == 0) {
            rc = include(p, block, words.word[1]);
            words_free(&words);
        } else {
            node = node_new(p, block, &words);
            rc = node == NULL ? -1
                 : end == '{' ? read_block(p, node, false)
                              : 0;
        }
    }
    if (rc == 0 && (!is_file || words.n > 0)) {
        rc = say(p, "unexpected end of file");
    }
    words_free(&words);
    p->depth--;
    return rc;
}

/*
 * The name of the file lives as long as the tree: it is the only word of a
 * node that nothing looks for.
 */
static int read_file(struct parser *p, struct hai_nginx_node *block,
                     const char *file) {
    struct words words = {NULL, 0, 0};
    char reason[128], *text;
    size_t len;
    int rc;

    if (words_add(p, &words, strdup("#")) != 0
        || words_add(p, &words, strdup(file)) != 0)
    {
        words_free(&words);
        return -1;
    }
    p->file = words.word[1];
    if (node_new(p, block, &words) == NULL) {
        words_free(&words);
        return -1;
    }
    text = hai_file_read(file, FILE_MAX, &len, reason, sizeof(reason));
    if (text == NULL) {
        snprintf(p->error, p->size, "%s: %s", file, reason);
        return -1;
    }
    p->p = text;
    p->end = text + len;
    p->line = 1;
    rc = read_block(p, block, true);
    free(text);
    return rc;
}

struct hai_nginx_node *hai_nginx_conf_read(const char *file, const char *dir,
                                           char *error, size_t size) {
    struct parser p = {.dir = dir, .file = file, .error = error, .size = size};
    struct hai_nginx_node *root = calloc(1, sizeof(*root));

    if (root == NULL) {
        snprintf(error, size, "no memory");
    } else if (read_file(&p, root, file) != 0) {
        hai_nginx_conf_free(root);
        root = NULL;
    }
    return root;
}

void hai_nginx_conf_free(struct hai_nginx_node *node) {
    struct hai_nginx_node *child, *next;
    size_t i;

    if (node == NULL) {
        return;
    }
    for (child = node->first; child != NULL; child = next) {
        next = child->next;
        hai_nginx_conf_free(child); /* as deep as blocks are */
    }
    for (i = 0; i < node->n; i++) {
        free(node->word[i]);
    }
    free(node->word);
    free(node);
}

struct hai_nginx_node *hai_nginx_next(const struct hai_nginx_node *node) {
    if (node->first != NULL) {
        return node->first;
    }
    while (node != NULL && node->next == NULL) {
        node = node->parent;
    }
    return node != NULL ? node->next : NULL;
}

bool hai_nginx_is(const struct hai_nginx_node *node, const char *name) {
    return node->n > 0 && strcmp(node->word[0], name) == 0;
}

struct hai_nginx_node *hai_nginx_child(const struct hai_nginx_node *block,
                                       const char *name) {
    struct hai_nginx_node *node;

    for (node = block->first; node != NULL; node = node->next) {
        if (hai_nginx_is(node, name)) {
            return node;
        }
    }
    return NULL;
}

struct hai_nginx_node *hai_nginx_find(const struct hai_nginx_node *block,
                                      const char *name) {
    struct hai_nginx_node *node = NULL;

    for (; node == NULL && block != NULL; block = block->parent) {
        node = hai_nginx_child(block, name);
    }
    return node;
}

const char *hai_nginx_value(const struct hai_nginx_node *block,
                            const char *name) {
    struct hai_nginx_node *node = hai_nginx_find(block, name);

    return node != NULL && node->n > 1 ? node->word[1] : "";
}
