/*
 * hoody-ai secrets check: the key files of nginx's configuration, or those
 * that are named, judged as the module does, without starting nginx.
 */

#define _GNU_SOURCE /* asprintf() */

#include "api.h"
#include "cli.h"
#include "doctor.h"
#include "key_file.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define COMMAND "secrets check"
#define NAME "hoody-ai " COMMAND

/* A file, by its absolute path, and which secrets are read from it. */
struct entry {
    char *path;
    json_t *secrets;
    struct hai_key_file key;
};

struct entries {
    struct entry *item;
    size_t n;
};

static int complain(const char *what, const char *reason) {
    fputs(NAME ": ", stderr);
    hai_cli_put_line(stderr, what, strlen(what));
    fprintf(stderr, "%s", *reason != '\0' ? ": " : "");
    hai_cli_put_line(stderr, reason, strlen(reason));
    putc('\n', stderr);
    return HAI_CLI_USAGE;
}

/* A file is listed once, with all secrets that are read from it.  NULL: no
 * memory. */
static struct entry *find(struct entries *all, const char *path) {
    struct entry *more;
    size_t i;

    for (i = 0; i < all->n; i++) {
        if (strcmp(all->item[i].path, path) == 0) {
            return &all->item[i];
        }
    }
    more = realloc(all->item, (all->n + 1) * sizeof(*more));
    if (more == NULL) {
        return NULL;
    }
    all->item = more;
    more = &all->item[all->n];
    more->path = strdup(path);
    more->secrets = json_array();
    if (more->path == NULL || more->secrets == NULL) {
        free(more->path);
        json_decref(more->secrets);
        return NULL;
    }
    all->n++;
    return more;
}

/* A path is bytes, JSON is UTF-8. */
static json_t *text_of(const char *text) {
    json_t *value = json_string(text);
    char *copy, *p;

    if (value != NULL || (copy = strdup(text)) == NULL) {
        return value;
    }
    for (p = copy; *p != '\0'; p++) {
        if ((unsigned char) *p > '~') {
            *p = '?';
        }
    }
    value = json_string(copy);
    free(copy);
    return value;
}

/* secret: its name, NULL: the file was named on the command line. */
static int add(struct entries *all, const char *dir, const char *file,
               const char *secret) {
    char *path = NULL;
    struct entry *e;

    if (asprintf(&path, "%s%s%s", *file == '/' ? "" : dir,
                 *file == '/' ? "" : "/", file)
        < 0)
    {
        return complain("no memory", "");
    }
    e = find(all, path);
    free(path);
    if (e == NULL
        || (secret != NULL
            && json_array_append_new(e->secrets, text_of(secret)) != 0))
    {
        return complain("no memory", "");
    }
    return HAI_CLI_OK;
}

static int add_named(struct entries *all, char **file, int n) {
    char here[PATH_MAX];
    int i, rc = HAI_CLI_OK;

    if (getcwd(here, sizeof(here)) == NULL) {
        return complain("the working directory is not known", "");
    }
    for (i = 0; i < n && rc == HAI_CLI_OK; i++) {
        rc = *file[i] != '\0' ? add(all, here, file[i], NULL)
                              : complain("a file without a name", "");
    }
    return rc;
}

static int add_configured(struct entries *all, struct hai_doctor *d) {
    const struct hai_nginx_node *node;
    int rc = HAI_CLI_OK;

    hai_doctor_read_conf(d);
    if (d->tree == NULL) {
        return complain("no configuration", d->conf_error);
    }
    for (node = d->tree; rc == HAI_CLI_OK && node != NULL;
         node = hai_nginx_next(node))
    {
        if (hai_nginx_is(node, "hoody_ai_secret") && node->n >= 3) {
            rc = add(all, d->conf_dir, node->word[2], node->word[1]);
        }
    }
    if (rc == HAI_CLI_OK && all->n == 0) {
        complain(d->conf_path, "there is no hoody_ai_secret");
        rc = HAI_CLI_PROBLEM; /* nothing was found to be good */
    }
    return rc;
}

/* The file before this one that has the same key. */
static const struct entry *twin(const struct entries *all, size_t i) {
    size_t j;

    for (j = 0; j < i; j++) {
        if (all->item[j].key.fine
            && memcmp(all->item[j].key.digest, all->item[i].key.digest,
                      HAI_KEY_DIGEST)
                   == 0)
        {
            return &all->item[j];
        }
    }
    return NULL;
}

static json_t *row(const struct entries *all, size_t i, bool named) {
    struct entry *e = &all->item[i];
    const struct entry *other = e->key.fine ? twin(all, i) : NULL;
    json_t *one = json_object();

    if (other != NULL && *e->key.text == '\0') {
        snprintf(e->key.text, sizeof(e->key.text), "has the same key as %s",
                 other->path);
        snprintf(e->key.mend, sizeof(e->key.mend),
                 "Give each provider its own key, or name one file twice.");
    }
    json_object_set_new(one, "result",
                        json_string(!e->key.fine           ? "fail"
                                    : *e->key.text != '\0' ? "warn"
                                                           : "ok"));
    json_object_set_new(one, "file", text_of(e->path));
    if (!named) {
        json_object_set(one, "secrets", e->secrets);
    }
    if (*e->key.text != '\0') {
        json_object_set_new(one, "text", text_of(e->key.text));
        json_object_set_new(one, "mend", text_of(e->key.mend));
    }
    return one;
}

static int check(const struct hai_api *api, struct entries *all, bool named) {
    static const struct hai_column columns[] = {
        {"RESULT", "result"}, {"FILE", "file"}, {"SECRETS", "secrets"},
        {"WHAT", "text"},     {"MEND", "mend"},
    };
    json_t *list = json_array();
    int rc = HAI_CLI_OK, shown;
    size_t i;

    for (i = 0; i < all->n; i++) {
        hai_key_file_read(all->item[i].path, &all->item[i].key);
        if (!all->item[i].key.fine) {
            rc = HAI_CLI_PROBLEM;
        }
        if (json_array_append_new(list, row(all, i, named)) != 0) {
            json_decref(list);
            complain("no memory", "");
            return HAI_CLI_PROBLEM;
        }
    }
    shown = hai_api_show(api, list, columns, sizeof(columns) / sizeof(*columns),
                         "file");
    return rc != HAI_CLI_OK ? rc : shown;
}

static void release(struct entries *all) {
    size_t i;

    for (i = 0; i < all->n; i++) {
        free(all->item[i].path);
        json_decref(all->item[i].secrets);
    }
    if (all->item != NULL) {
        explicit_bzero(all->item, all->n * sizeof(*all->item));
    }
    free(all->item);
}

int hai_cli_secrets_check(int argc, char **argv) {
    struct hai_doctor d = {.nginx = "nginx", .timeout_ms = 5000};
    struct hai_api api = HAI_API_DEFAULT;
    struct entries all = {0};
    const struct hai_option options[] = {
        {"nginx", HAI_OPT_STRING, &d.nginx, "BIN",
         "the program (nginx, looked for in PATH)", 0, 0, 0},
        {"conf", HAI_OPT_STRING, &d.conf, "FILE",
         "its configuration (what it was built with)", 0, 0, 0},
        {"output", HAI_OPT_STRING, &api.output, "FORMAT",
         "table, json, yaml or name (table)", 0, 0, 'o'},
        {"no-color", HAI_OPT_FLAG, &api.no_color, NULL,
         "plain text on a terminal too", 0, 0, 0},
        {0},
    };
    const struct hai_program program = {
        .name = NAME,
        .usage = "[OPTION...] [FILE...]",
        .summary = "Judges key files as nginx would: those named, or all "
                   "hoody_ai_secret of the\nconfiguration. What is in them is "
                   "not shown.",
        .footer = "Root has to run it, as nginx is started by root.\n"
                  "Exit status: 0 all good, 1 something is wrong, 2 wrong "
                  "usage, or no configuration.\n",
        .options = options,
    };
    int rest, rc = hai_options_parse(&program, argc, argv, &rest);

    if (rc != 0) {
        return rc > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }
    if (!hai_api_format(&api, COMMAND)) {
        return HAI_CLI_USAGE;
    }
    prctl(PR_SET_DUMPABLE, 0); /* no key in a core dump */
    rc = rest < argc ? add_named(&all, argv + rest, argc - rest)
                     : add_configured(&all, &d);
    if (rc == HAI_CLI_OK) {
        rc = check(&api, &all, rest < argc);
    }
    release(&all);
    hai_nginx_conf_free(d.tree);
    return rc;
}
