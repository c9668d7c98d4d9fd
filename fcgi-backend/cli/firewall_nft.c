/* nftables by its library, without a child process; see firewall.h. */

#include "firewall.h"

#include <errno.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>

struct hai_fw_nft {
    struct nft_ctx *ctx;
};

struct hai_fw_nft *hai_fw_nft_new(char *error, size_t size) {
    struct hai_fw_nft *nft = calloc(1, sizeof(*nft));

    if (nft != NULL) {
        nft->ctx = nft_ctx_new(NFT_CTX_DEFAULT);
    }
    if (nft == NULL || nft->ctx == NULL || nft_ctx_buffer_output(nft->ctx) != 0
        || nft_ctx_buffer_error(nft->ctx) != 0)
    {
        snprintf(error, size, "libnftables: %s", strerror(errno));
        hai_fw_nft_free(nft);
        return NULL;
    }
    nft_ctx_output_set_flags(nft->ctx, NFT_CTX_OUTPUT_HANDLE
                                           | NFT_CTX_OUTPUT_TERSE
                                           | NFT_CTX_OUTPUT_STATELESS);
    return nft;
}

void hai_fw_nft_free(struct hai_fw_nft *nft) {
    if (nft != NULL && nft->ctx != NULL) {
        nft_ctx_free(nft->ctx);
    }
    free(nft);
}

int hai_fw_nft_run(struct hai_fw_nft *nft, const char *text, char *error,
                   size_t size) {
    const char *said;
    int rc = nft_run_cmd_from_buffer(nft->ctx, text);

    /* both buffers grow until they are read */
    (void) nft_ctx_get_output_buffer(nft->ctx);
    said = nft_ctx_get_error_buffer(nft->ctx);
    if (rc == 0) {
        return 0;
    }
    if (said == NULL || *said == '\0') {
        said = strerror(errno);
    }
    snprintf(error, size, "nftables: %.*s", (int) strcspn(said, "\n"), said);
    return -1;
}

/* One listing; the library reads its cache for one table at a time. */
static int list(struct hai_fw_nft *nft, const char *text, FILE *to, char *error,
                size_t size) {
    int rc = nft_run_cmd_from_buffer(nft->ctx, text);
    const char *out = nft_ctx_get_output_buffer(nft->ctx);
    const char *said = nft_ctx_get_error_buffer(nft->ctx);

    if (rc != 0) {
        snprintf(error, size, "nftables: %.*s",
                 said != NULL ? (int) strcspn(said, "\n") : 0,
                 said != NULL ? said : "");
        return -1;
    }
    fputs(out != NULL ? out : "", to);
    return 0;
}

char *hai_fw_nft_tables(struct hai_fw_nft *nft, char *error, size_t size) {
    char *text = NULL;
    size_t len = 0;
    FILE *to = open_memstream(&text, &len);
    int rc;

    snprintf(error, size, "no memory");
    if (to == NULL) {
        return NULL;
    }
    rc = list(nft, "list table bridge hoody_ai", to, error, size);
    if (rc == 0) {
        rc = list(nft, "list table inet hoody_ai", to, error, size);
    }
    if (fclose(to) != 0 || rc != 0) {
        free(text);
        return NULL;
    }
    return text;
}
