/* What the subcommands write, see cli.h. */

#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int hai_cli_format(const char *program, const char *value, bool *json) {
    *json = strcmp(value, "json") == 0;
    if (*json || strcmp(value, "text") == 0) {
        return 0;
    }
    fprintf(stderr, "%s: --output: text or json is wanted; see --help\n",
            program);
    return -1;
}

bool hai_cli_begin(const struct hai_program *program, int argc, char **argv,
                   int *rest, const char *const *output, bool *json,
                   int *status) {
    int rc = hai_options_parse(program, argc, argv, rest);

    *status = rc > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    return rc == 0 && hai_cli_format(program->name, *output, json) == 0;
}

bool hai_cli_color(FILE *out, bool no_color) {
    const char *term = getenv("TERM"), *no = getenv("NO_COLOR");

    return !no_color && (no == NULL || *no == '\0') && term != NULL
           && strcmp(term, "dumb") != 0 && isatty(fileno(out));
}

static void put(FILE *out, const char *text, size_t len, const char *keep) {
    size_t i;

    for (i = 0; i < len; i++) {
        unsigned char c = (unsigned char) text[i];

        /* U+0080 to U+009F are control characters too */
        if (c == 0xC2 && i + 1 < len
            && ((unsigned char) text[i + 1] & 0xE0) == 0x80) {
            putc('?', out);
            i++;
        } else {
            putc(c == 0x7f || (c < 0x20 && strchr(keep, c) == NULL) ? '?' : c,
                 out);
        }
    }
}

void hai_cli_put(FILE *out, const char *text, size_t len) {
    put(out, text, len, "\n\t");
}

void hai_cli_put_line(FILE *out, const char *text, size_t len) {
    put(out, text, len, "");
}

void hai_cli_put_json(FILE *out, const char *text) {
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char) *text;
        unsigned char next = (unsigned char) text[1];

        if (c == 0x7f) {
            fputs("\\u007f", out);

        } else if (c == 0xC2 && next >= 0x80 && next < 0xA0) {
            fprintf(out, "\\u%04x", next);
            text++;

        } else {
            putc(c, out);
        }
    }
}

void hai_cli_finding(bool is_error, const char *where, int line, int column,
                     const char *rule, const char *reason) {
    put(stderr, where, strlen(where), "");
    if (line > 0) {
        fprintf(stderr, ":%d:%d", line, column);
    }
    fprintf(stderr, ": %s: ", is_error ? "error" : "warning");
    if (*rule != '\0') {
        fprintf(stderr, "rule \"%s\": ", rule);
    }
    put(stderr, reason, strlen(reason), "");
    putc('\n', stderr);
}

int hai_cli_end(int status) {
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return status;
    }
    fprintf(stderr, "hoody-ai: standard output cannot be written\n");
    return status != HAI_CLI_OK ? status : HAI_CLI_PROBLEM;
}
