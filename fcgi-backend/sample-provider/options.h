/* The command line. */

#ifndef HAI_SP_OPTIONS_H
#define HAI_SP_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#define HAI_SP_MAX_LISTEN 16
#define HAI_SP_MAX_KEYS 64
#define HAI_SP_MAX_THREADS 64

struct hai_sp_options {
    const char *listen[HAI_SP_MAX_LISTEN];
    size_t nlisten;
    const char *key[HAI_SP_MAX_KEYS];
    size_t nkeys;
    const char *tls_cert;
    const char *tls_key;
    const char *log;
    bool log_body;
    bool no_record;
    bool quiet;
    int threads;
};

/*
 * Returns 0 to go on, 1 when the program has done what was asked (--help),
 * -1 after a message about a bad option.  The strings stay argv's.
 */
int hai_sp_options_parse(struct hai_sp_options *opt, int argc, char **argv);

#endif
