/*
 * The command line of the programs, and the same options from a JSON file
 * (--config FILE: {"socket": "...", "threads": 4, "webhook-allow": [...]}).
 * The command line wins; an option that may repeat and is given there
 * replaces the file's list.
 */

#ifndef HAI_OPTIONS_H
#define HAI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

enum hai_option_type {
    HAI_OPT_STRING, /* const char *, not empty */
    HAI_OPT_TEXT,   /* const char *, perhaps "" */
    HAI_OPT_NUMBER, /* long, with min and max */
    HAI_OPT_FLAG,   /* bool; takes no value */
    HAI_OPT_LIST,   /* struct hai_option_list; may repeat, none is empty */
    HAI_OPT_TEXTS   /* the same, perhaps "" */
};

struct hai_option_list {
    const char **item;
    size_t n;
};

struct hai_option {
    const char *name; /* without dashes; NULL ends the table */
    enum hai_option_type type;
    void *value;     /* holds the default before, see the type */
    const char *arg; /* what --help calls the value: "FILE" */
    const char *help;
    long min, max; /* of a number */
    char letter;   /* a short name, or 0 */
};

struct hai_program {
    const char *name;
    const char *usage;   /* behind the name: "[OPTION...]" */
    const char *summary; /* one or two lines */
    const char *footer;  /* or NULL */
    const struct hai_option *options;
};

/*
 * Adds --config, -h, --help and --version.  Returns 0 with *rest as the index
 * of the first argument that is no option (NULL: none is allowed); 1 when the
 * program is done (help, version: printed to standard output); -1 after a
 * message on standard error that names option, file, line and cause.  Strings
 * and lists live as long as the program and are nobody's to free.
 */
int hai_options_parse(const struct hai_program *program, int argc, char **argv,
                      int *rest);

#define HAI_VERSION "0.1.0"

#endif
