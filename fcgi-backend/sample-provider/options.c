/* The command line, see options.h. */

#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"

#ifndef HAI_VERSION
#define HAI_VERSION "0.1.0"
#endif

#define NAME "hoody-ai-sample-provider"

enum {
    OPT_LISTEN = 256,
    OPT_KEY,
    OPT_TLS_CERT,
    OPT_TLS_KEY,
    OPT_THREADS,
    OPT_LOG,
    OPT_LOG_BODY,
    OPT_NO_RECORD,
    OPT_QUIET,
    OPT_VERSION
};

static const struct option long_options[] = {
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"key", required_argument, NULL, OPT_KEY},
    {"tls-cert", required_argument, NULL, OPT_TLS_CERT},
    {"tls-key", required_argument, NULL, OPT_TLS_KEY},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"log", required_argument, NULL, OPT_LOG},
    {"log-body", no_argument, NULL, OPT_LOG_BODY},
    {"no-record", no_argument, NULL, OPT_NO_RECORD},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static void usage(void) {
    printf("Usage: " NAME " --listen ADDRESS [OPTION...]\n"
           "\n"
           "Answers like OpenAI and Anthropic, without a model behind it.\n"
           "\n"
           "  --listen ADDRESS    host:port, [ipv6]:port or unix:PATH; port 0\n"
           "                      takes a free one (may repeat)\n"
           "  --key KEY           accept this API key only (may repeat);\n"
           "                      without any, every request is accepted\n"
           "  --tls-cert FILE     speak TLS: certificate chain, PEM\n"
           "  --tls-key FILE      and its private key\n"
           "  --threads N         event loops (1)\n"
           "  --log FILE          a JSON line for each request, headers and\n"
           "                      so keys in it; SIGHUP opens it anew\n"
           "  --log-body          the body as well\n"
           "  --no-record         keep no requests for GET /_sample/requests\n"
           "  --quiet             nothing on standard error but errors\n"
           "  -h, --help          this text\n"
           "  --version           name and version\n"
           "\n"
           "GET /_sample/requests, /_sample/stats and /_sample/health need no\n"
           "key; DELETE /_sample/requests forgets the requests.\n"
           "\n"
           "A client steers the answer by request headers.\n"
           "%s",
           hai_sp_control_help);
}

static int complain(const char *what, const char *value) {
    fprintf(stderr, NAME ": %s", what);
    if (value != NULL) {
        fprintf(stderr, " \"%s\"", value);
    }
    fprintf(stderr, "; see --help\n");
    return -1;
}

static int add(const char **list, size_t *n, size_t max, const char *value,
               const char *what) {
    if (*value == '\0') {
        return complain("empty value of", what);
    }
    if (*n == max) {
        return complain("too many of", what);
    }
    list[(*n)++] = value;
    return 0;
}

static int set_threads(struct hai_sp_options *opt, const char *value) {
    char *end;
    long n = strtol(value, &end, 10);

    if (*value == '\0' || *end != '\0' || n < 1 || n > HAI_SP_MAX_THREADS) {
        return complain("--threads takes a number from 1 to 64, not", value);
    }
    opt->threads = (int) n;
    return 0;
}

/* Returns 0, 1 when done, -1 after a message. */
static int apply(struct hai_sp_options *opt, int option, const char *value) {
    switch (option) {
    case OPT_LISTEN:
        return add(opt->listen, &opt->nlisten, HAI_SP_MAX_LISTEN, value,
                   "--listen");
    case OPT_KEY:
        return add(opt->key, &opt->nkeys, HAI_SP_MAX_KEYS, value, "--key");
    case OPT_TLS_CERT:
        opt->tls_cert = value;
        return 0;
    case OPT_TLS_KEY:
        opt->tls_key = value;
        return 0;
    case OPT_THREADS:
        return set_threads(opt, value);
    case OPT_LOG:
        opt->log = value;
        return 0;
    case OPT_LOG_BODY:
        opt->log_body = true;
        return 0;
    case OPT_NO_RECORD:
        opt->no_record = true;
        return 0;
    case OPT_QUIET:
        opt->quiet = true;
        return 0;
    case OPT_VERSION:
        printf(NAME " " HAI_VERSION "\n");
        return 1;
    case 'h':
        usage();
        return 1;
    default:
        fprintf(stderr, "see " NAME " --help\n");
        return -1;
    }
}

int hai_sp_options_parse(struct hai_sp_options *opt, int argc, char **argv) {
    int option, rc;

    memset(opt, 0, sizeof(*opt));
    opt->threads = 1;
    while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        rc = apply(opt, option, optarg);
        if (rc != 0) {
            return rc;
        }
    }
    if (optind < argc) {
        return complain("unexpected argument", argv[optind]);
    }
    if (opt->nlisten == 0) {
        return complain("--listen is needed", NULL);
    }
    if ((opt->tls_cert == NULL) != (opt->tls_key == NULL)) {
        return complain("--tls-cert and --tls-key go together", NULL);
    }
    if (opt->log_body && opt->log == NULL) {
        return complain("--log-body needs --log", NULL);
    }
    return 0;
}
