/* hoody-ai-sample-provider: a stand-in for OpenAI and Anthropic. */

#include <stdio.h>

#include "answer.h"
#include "options.h"
#include "server.h"

int main(int argc, char **argv) {
    struct hai_sp_options opt;
    int rc;

    rc = hai_sp_options_parse(&opt, argc, argv);
    if (rc < 0) {
        return 2;
    }
    if (rc > 0) {
        return fflush(stdout) == 0 ? 0 : 1;
    }
    hai_sp_answer_setup();
    return hai_sp_server_run(&opt);
}
