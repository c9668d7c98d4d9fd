/*
 * nginx's configuration as a tree, read from its files: what is written, not
 * what modules make of it.  For hoody-ai doctor, which has to look into a
 * configuration that nginx itself refuses.
 */

#ifndef HAI_NGINX_CONF_H
#define HAI_NGINX_CONF_H

#include <stdbool.h>
#include <stddef.h>

struct hai_nginx_node {
    char **word; /* the directive's name first; none at the root */
    size_t n;
    const char *file;
    int line;
    struct hai_nginx_node *parent, *first, *last, *next;
};

/*
 * Reads the file and what it includes.  dir is the folder that relative paths
 * begin at.  NULL with a message in error.
 */
struct hai_nginx_node *hai_nginx_conf_read(const char *file, const char *dir,
                                           char *error, size_t size);

void hai_nginx_conf_free(struct hai_nginx_node *root);

/* The node behind this one, children first; NULL at the end of the tree. */
struct hai_nginx_node *hai_nginx_next(const struct hai_nginx_node *node);

/* Is it this directive? */
bool hai_nginx_is(const struct hai_nginx_node *node, const char *name);

/* The directive in this block. */
struct hai_nginx_node *hai_nginx_child(const struct hai_nginx_node *block,
                                       const char *name);

/* The directive that counts in this block: its own, or the nearest further
 * out. */
struct hai_nginx_node *hai_nginx_find(const struct hai_nginx_node *block,
                                      const char *name);

/* The first argument of it; "" where there is none. */
const char *hai_nginx_value(const struct hai_nginx_node *block,
                            const char *name);

#endif
