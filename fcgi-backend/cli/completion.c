/*
 * hoody-ai completion bash, zsh, fish: scripts for the shells, made of the
 * table of commands.  Options are not in them: the script asks --help of the
 * command that is being typed, so that they are always those of the program.
 */

#include "cli.h"

#include "lib/options.h"

#include <string.h>

/* "  -o, --output FORMAT   ..." is an option called --output */
#define OPTION "'s/^  *\\(-[a-z], \\)\\{0,1\\}\\(--[a-z][a-z-]*\\).*/\\2/p'"

static bool is_first(size_t i) {
    return i == 0
           || strcmp(hai_cli_commands[i - 1].group, hai_cli_commands[i].group)
                  != 0;
}

static void groups(void) {
    for (size_t i = 0; i < hai_cli_n_commands; i++) {
        if (is_first(i)) {
            printf("%s ", hai_cli_commands[i].group);
        }
    }
}

static void names(const char *group) {
    const char *between = "";

    for (size_t i = 0; i < hai_cli_n_commands; i++) {
        if (strcmp(hai_cli_commands[i].group, group) == 0
            && hai_cli_commands[i].name != NULL)
        {
            printf("%s%s", between, hai_cli_commands[i].name);
            between = " ";
        }
    }
}

/* A branch of "case $group in" for each. */
static void branches(const char *before, const char *after) {
    for (size_t i = 0; i < hai_cli_n_commands; i++) {
        if (is_first(i)) {
            printf("            %s) %s", hai_cli_commands[i].group, before);
            names(hai_cli_commands[i].group);
            printf("%s ;;\n", after);
        }
    }
}

static void bash(void) {
    fputs("# bash completion of hoody-ai\n"
          "\n"
          "_hoody_ai() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} words=\n"
          "\n"
          "    COMPREPLY=()\n"
          "\n"
          "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
          "        words=\"",
          stdout);
    groups();
    fputs("--help --version\"\n"
          "    elif [ \"$COMP_CWORD\" -eq 2 ]; then\n"
          "        case ${COMP_WORDS[1]} in\n",
          stdout);
    branches("words=\"", "\"");
    fputs("        esac\n"
          "    elif [[ $cur == -* ]]; then\n"
          "        words=$(\"$1\" \"${COMP_WORDS[1]}\" \"${COMP_WORDS[2]}\" "
          "--help \\\n"
          "            2>/dev/null </dev/null | sed -n " OPTION ")\n"
          "    else\n"
          "        return\n"
          "    fi\n"
          "\n"
          "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
          "}\n"
          "\n"
          "complete -o default -F _hoody_ai hoody-ai\n",
          stdout);
}

static void zsh(void) {
    fputs("#compdef hoody-ai\n"
          "\n"
          "_hoody-ai() {\n"
          "    local -a found\n"
          "\n"
          "    if (( CURRENT == 2 )); then\n"
          "        found=(",
          stdout);
    groups();
    fputs("--help --version)\n"
          "        compadd -a found\n"
          "    elif (( CURRENT == 3 )); then\n"
          "        case $words[2] in\n",
          stdout);
    branches("found=(", ")");
    fputs("        esac\n"
          "        compadd -a found\n"
          "    elif [[ $words[CURRENT] == -* ]]; then\n"
          "        found=(${(f)\"$($words[1] $words[2] $words[3] --help \\\n"
          "            2>/dev/null </dev/null | sed -n " OPTION ")\"})\n"
          "        compadd -a found\n"
          "    else\n"
          "        _files\n"
          "    fi\n"
          "}\n"
          "\n"
          "_hoody-ai \"$@\"\n",
          stdout);
}

static void fish(void) {
    fputs("# fish completion of hoody-ai\n"
          "\n"
          "function __hoody_ai_words\n"
          "    test (count (commandline -opc)) -eq $argv[1]\n"
          "end\n"
          "\n"
          "function __hoody_ai_group\n"
          "    set -l words (commandline -opc)\n"
          "    test (count $words) -eq 2; and test $words[2] = $argv[1]\n"
          "end\n"
          "\n"
          "function __hoody_ai_options\n"
          "    set -l words (commandline -opc)\n"
          "    $words[1] $words[2] $words[3] --help 2>/dev/null </dev/null \\\n"
          "        | sed -n " OPTION "\n"
          "end\n"
          "\n",
          stdout);

    for (size_t i = 0; i < hai_cli_n_commands; i++) {
        const struct hai_cli_command *c = &hai_cli_commands[i];

        if (is_first(i)) {
            printf("complete -c hoody-ai -f -n '__hoody_ai_words 1' -a %s\n",
                   c->group);
        }
        if (c->name != NULL) {
            printf("complete -c hoody-ai -f -n '__hoody_ai_group %s' -a %s -d "
                   "\"%s\"\n",
                   c->group, c->name, c->summary);
        }
    }

    fputs("complete -c hoody-ai -n 'not __hoody_ai_words 1; "
          "and not __hoody_ai_words 2' \\\n"
          "    -a '(__hoody_ai_options)'\n",
          stdout);
}

int hai_cli_completion(int argc, char **argv) {
    static const struct hai_option options[] = {{0}};
    const struct hai_program program = {
        .name = "hoody-ai completion",
        .usage = "bash|zsh|fish",
        .summary = "Prints what the shell needs to complete this command.",
        .footer = "bash: source <(hoody-ai completion bash)\n"
                  "zsh:  into a file \"_hoody-ai\" of a folder of $fpath\n"
                  "fish: hoody-ai completion fish | source\n" HAI_CLI_EXIT "\n",
        .options = options,
    };
    int rc = hai_options_parse(&program, argc, argv, NULL);

    if (rc != 0) {
        return rc > 0 ? HAI_CLI_OK : HAI_CLI_USAGE;
    }

    if (strcmp(argv[0], "bash") == 0) {
        bash();
    } else if (strcmp(argv[0], "zsh") == 0) {
        zsh();
    } else {
        fish();
    }

    return HAI_CLI_OK;
}
