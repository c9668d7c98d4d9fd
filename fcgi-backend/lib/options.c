/* The command line and the configuration file, see options.h. */

#include "options.h"

#include "file.h"
#include "locate.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_MAX (1024 * 1024)
#define HELP_COLUMN 28

/* numbers of long options: these, then the table's */
enum { OPT_HELP = 'h', OPT_CONFIG = 256, OPT_VERSION, OPT_TABLE };

/* strings of the options' values live in it */
static json_t *kept;

/* and the lists in these */
struct kept_list {
    struct kept_list *next;
    const char *item[];
};

static struct kept_list *kept_lists;

struct parser {
    const struct hai_program *program;
    const char *config;
    json_t *document; /* of the file */
    struct hai_locate text;
    char letters[64]; /* as getopt_long() wants them */
    bool *given;      /* on the command line, by option */
    size_t n;
};

static int complain(const struct parser *p, const char *name,
                    const char *reason) {
    fprintf(stderr, "%s: --%s: %s; see --help\n", p->program->name, name,
            reason);
    return -1;
}

/* at: an offset in the file */
static int complain_file(const struct parser *p, size_t at, const char *name,
                         const char *reason) {
    int line, column;

    hai_locate_line(&p->text, at, &line, &column);
    fprintf(stderr, "%s: %s:%d:%d: \"%s\": %s\n", p->program->name, p->config,
            line, column, name, reason);
    return -1;
}

/* Where the list is linked; the end of the chain for an empty one. */
static struct kept_list **list_find(const struct hai_option_list *list) {
    struct kept_list **at = &kept_lists;

    while (*at != NULL && (*at)->item != list->item) {
        at = &(*at)->next;
    }
    return at;
}

static int list_add(struct hai_option_list *list, const char *value) {
    struct kept_list **at = list_find(list);
    struct kept_list *next = *at != NULL ? (*at)->next : NULL;
    struct kept_list *grown =
        realloc(*at, sizeof(*grown) + (list->n + 1) * sizeof(grown->item[0]));

    if (grown == NULL) {
        return -1;
    }
    *at = grown;
    grown->next = next;
    grown->item[list->n++] = value;
    list->item = grown->item;
    return 0;
}

static void list_empty(struct hai_option_list *list) {
    struct kept_list **at = list_find(list);
    struct kept_list *gone = *at;

    if (gone != NULL) {
        *at = gone->next;
        free(gone);
    }
    list->item = NULL;
    list->n = 0;
}

/* NULL, or why the value is none */
static const char *set_number(const struct hai_option *option, long long value,
                              char *reason, size_t size) {
    if (value < option->min || value > option->max) {
        snprintf(reason, size, "a number from %ld to %ld is wanted",
                 option->min, option->max);
        return reason;
    }
    *(long *) option->value = (long) value;
    return NULL;
}

static int apply_argument(struct parser *p, size_t i, const char *value) {
    const struct hai_option *option = &p->program->options[i];
    char reason[96], *end;
    const char *wrong;
    long long number;

    switch (option->type) {
    case HAI_OPT_FLAG:
        *(bool *) option->value = true;
        return 0;

    case HAI_OPT_NUMBER:
        errno = 0;
        number = strtoll(value, &end, 10);
        if (*value == '\0' || *end != '\0' || errno != 0) {
            return complain(p, option->name, "a whole number is wanted");
        }
        wrong = set_number(option, number, reason, sizeof(reason));
        return wrong == NULL ? 0 : complain(p, option->name, wrong);

    case HAI_OPT_STRING:
    case HAI_OPT_TEXT:
        if (*value == '\0' && option->type == HAI_OPT_STRING) {
            return complain(p, option->name, "an empty value");
        }
        *(const char **) option->value = value;
        return 0;

    case HAI_OPT_LIST:
    case HAI_OPT_TEXTS:
        if (*value == '\0' && option->type == HAI_OPT_LIST) {
            return complain(p, option->name, "an empty value");
        }
        if (!p->given[i]) {
            list_empty(option->value); /* replaces the file's */
        }
        p->given[i] = true;
        return list_add(option->value, value) == 0
                   ? 0
                   : complain(p, option->name, "no memory");
    }
    return -1;
}

static int apply_list(struct parser *p, const struct hai_option *option,
                      size_t at, json_t *value) {
    size_t i;
    json_t *item;

    if (!json_is_array(value)) {
        return complain_file(p, at, option->name,
                             "an array of strings is wanted");
    }
    list_empty(option->value);
    json_array_foreach(value, i, item) {
        if (json_string_length(item) == 0) {
            return complain_file(p, hai_locate_element(&p->text, at, i),
                                 option->name, "a string is wanted, not empty");
        }
        if (list_add(option->value, json_string_value(item)) != 0) {
            return complain_file(p, at, option->name, "no memory");
        }
    }
    return 0;
}

/* at: the offset of the value */
static int apply_member(struct parser *p, const struct hai_option *option,
                        size_t at, json_t *value) {
    char reason[96];
    const char *wrong;

    switch (option->type) {
    case HAI_OPT_FLAG:
        if (!json_is_boolean(value)) {
            return complain_file(p, at, option->name,
                                 "true or false is wanted");
        }
        *(bool *) option->value = json_is_true(value);
        return 0;

    case HAI_OPT_NUMBER:
        if (!json_is_integer(value)) {
            return complain_file(p, at, option->name,
                                 "a whole number is wanted");
        }
        wrong = set_number(option, json_integer_value(value), reason,
                           sizeof(reason));
        return wrong == NULL ? 0 : complain_file(p, at, option->name, wrong);

    case HAI_OPT_STRING:
    case HAI_OPT_TEXT:
        if (json_string_length(value) == 0) {
            return complain_file(p, at, option->name,
                                 "a string is wanted, not empty");
        }
        *(const char **) option->value = json_string_value(value);
        return 0;

    case HAI_OPT_LIST:
    case HAI_OPT_TEXTS:
        return apply_list(p, option, at, value);
    }
    return -1;
}

static const struct hai_option *find(const struct hai_program *program,
                                     const char *name) {
    const struct hai_option *option;

    for (option = program->options; option->name != NULL; option++) {
        if (strcmp(option->name, name) == 0) {
            return option;
        }
    }
    return NULL;
}

static int apply_config(struct parser *p) {
    const struct hai_option *option;
    json_error_t error;
    char reason[128], *text;
    const char *key;
    json_t *value;
    size_t at, root;

    text = hai_file_read(p->config, CONFIG_MAX, &p->text.len, reason,
                         sizeof(reason));
    if (text == NULL) {
        fprintf(stderr, "%s: %s: %s\n", p->program->name, p->config, reason);
        return -1;
    }
    p->text.text = text;
    p->document = json_loadb(text, p->text.len, JSON_REJECT_DUPLICATES, &error);
    if (p->document == NULL) {
        fprintf(stderr, "%s: %s:%d:%d: %s\n", p->program->name, p->config,
                error.line, error.column, error.text);
        return -1;
    }
    root = hai_locate_root(&p->text);
    if (!json_is_object(p->document)) {
        return complain_file(p, root, "", "an object is wanted");
    }
    json_object_foreach(p->document, key, value) {
        at = hai_locate_key(&p->text, root, key);
        option = find(p->program, key);
        if (option == NULL) {
            return complain_file(p, at, key, "there is no such option");
        }
        at = hai_locate_value(&p->text, at);
        if (apply_member(p, option, at, value) != 0) {
            return -1;
        }
    }
    return 0;
}

static void help_line(const char *name, const char *arg, const char *help) {
    char left[80];
    const char *line = help;

    snprintf(left, sizeof(left), "%s%s%s", name, arg != NULL ? " " : "",
             arg != NULL ? arg : "");
    if (strlen(left) > HELP_COLUMN - 4) {
        printf("  %s\n  %-*s", left, HELP_COLUMN - 2, "");
    } else {
        printf("  %-*s", HELP_COLUMN - 2, left);
    }
    for (; *line != '\0'; line++) {
        putchar(*line);
        if (*line == '\n') {
            printf("%*s", HELP_COLUMN, "");
        }
    }
    putchar('\n');
}

static int help(const struct hai_program *program) {
    const struct hai_option *option;
    char name[64];

    printf("Usage: %s %s\n\n%s\n\n", program->name, program->usage,
           program->summary);
    for (option = program->options; option->name != NULL; option++) {
        if (option->letter != '\0') {
            snprintf(name, sizeof(name), "-%c, --%s", option->letter,
                     option->name);
        } else {
            snprintf(name, sizeof(name), "--%s", option->name);
        }
        help_line(name, option->arg, option->help);
    }
    help_line("--config", "FILE", "read options from a JSON object");
    help_line("-h, --help", NULL, "this text");
    help_line("--version", NULL, "name and version");
    if (program->footer != NULL) {
        printf("\n%s\n", program->footer);
    }
    return 1;
}

/* The number of the long option that a letter stands for. */
static int of_letter(const struct hai_program *program, int option) {
    int i;

    for (i = 0; program->options[i].name != NULL; i++) {
        if (option < OPT_CONFIG && program->options[i].letter == option) {
            return OPT_TABLE + i;
        }
    }
    return option;
}

/* One pass over the arguments: apply is false in the first, which looks for
 * the file, for help and for what is no option at all. */
static int pass(struct parser *p, int argc, char **argv,
                const struct option *table, bool apply) {
    int option;

    optind = 0; /* starts anew, GNU */
    while ((option = getopt_long(argc, argv, p->letters, table, NULL)) != -1) {
        option = of_letter(p->program, option);
        switch (option) {
        case OPT_HELP:
            return help(p->program);
        case OPT_VERSION:
            printf("%s %s\n", p->program->name, HAI_VERSION);
            return 1;
        case OPT_CONFIG:
            p->config = optarg;
            break;
        case '?':
            fprintf(stderr, "see %s --help\n", p->program->name);
            return -1;
        default:
            if (apply
                && apply_argument(p, (size_t) (option - OPT_TABLE),
                                  optarg != NULL ? optarg : "")
                       != 0)
            {
                return -1;
            }
        }
    }
    return 0;
}

static int parse(struct parser *p, int argc, char **argv, int *rest,
                 struct option *table) {
    size_t i, letters = 0;
    int rc;

    p->letters[letters++] = 'h';
    for (i = 0; i < p->n; i++) {
        const struct hai_option *option = &p->program->options[i];

        if (option->letter != '\0' && letters + 3 < sizeof(p->letters)) {
            p->letters[letters++] = option->letter;
            if (option->type != HAI_OPT_FLAG) {
                p->letters[letters++] = ':';
            }
        }

        table[i] = (struct option){
            option->name,
            option->type == HAI_OPT_FLAG ? no_argument : required_argument,
            NULL, OPT_TABLE + (int) i};
    }
    table[i++] = (struct option){"config", required_argument, NULL, OPT_CONFIG};
    table[i++] = (struct option){"version", no_argument, NULL, OPT_VERSION};
    table[i] = (struct option){"help", no_argument, NULL, OPT_HELP};

    rc = pass(p, argc, argv, table, false);
    if (rc == 0 && p->config != NULL) {
        rc = apply_config(p);
    }
    if (rc == 0) {
        rc = pass(p, argc, argv, table, true);
    }
    if (rc != 0) {
        return rc;
    }
    if (rest != NULL) {
        *rest = optind;
    } else if (optind < argc) {
        fprintf(stderr, "%s: unexpected argument \"%s\"; see --help\n",
                p->program->name, argv[optind]);
        return -1;
    }
    return 0;
}

int hai_options_parse(const struct hai_program *program, int argc, char **argv,
                      int *rest) {
    struct parser p = {.program = program};
    struct option *table;
    int rc = -1;

    while (program->options[p.n].name != NULL) {
        p.n++;
    }
    table = calloc(p.n + 4, sizeof(*table));
    p.given = calloc(p.n + 1, sizeof(*p.given));
    if (table == NULL || p.given == NULL) {
        fprintf(stderr, "%s: no memory\n", program->name);
    } else {
        rc = parse(&p, argc, argv, rest, table);
    }
    free(table);
    free(p.given);
    free((char *) p.text.text);
    if (rc == 0 && p.document != NULL) {
        if (kept == NULL) {
            kept = json_array();
        }
        if (json_array_append(kept, p.document) != 0) {
            fprintf(stderr, "%s: no memory\n", program->name);
            rc = -1;
        }
    }
    json_decref(p.document);
    return rc;
}
