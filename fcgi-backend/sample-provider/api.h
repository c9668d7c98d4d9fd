/*
 * From a request to the answer that OpenAI or Anthropic would give.
 */

#ifndef HAI_SP_API_H
#define HAI_SP_API_H

#include "answer.h"
#include "control.h"
#include "http.h"

extern const struct hai_sp_format hai_sp_openai_chat;
extern const struct hai_sp_format hai_sp_openai_completion;
extern const struct hai_sp_format hai_sp_openai_response;
extern const struct hai_sp_format hai_sp_anthropic_message;

/* The keys that are accepted; none: every request is. */
struct hai_sp_keys {
    const char *const *key;
    size_t count;
};

/* Makes ids; one per thread. */
struct hai_sp_ids {
    uint64_t state;
};

/* Returns 0, or -1 when the kernel gives no random bytes. */
int hai_sp_ids_init(struct hai_sp_ids *ids);

/*
 * Fills a fresh answer for a complete request.  Returns 0, or -1 without
 * memory.
 */
int hai_sp_api_answer(struct hai_sp_answer *a, const struct hai_sp_request *r,
                      const struct hai_sp_control *c,
                      const struct hai_sp_keys *keys, struct hai_sp_ids *ids);

/* Fills a fresh answer for a request that makes no sense to the sample. */
void hai_sp_api_refuse(struct hai_sp_answer *a, int status, const char *message,
                       struct hai_sp_ids *ids);

/* The API key of a request; n is 0 when there is none. */
struct hai_sp_slice hai_sp_api_key(const struct hai_sp_request *r);

/* The path of a request without its query. */
struct hai_sp_slice hai_sp_api_path(const struct hai_sp_request *r);

struct hai_sp_facts;

/*
 * Makes the answer a tool call when the client wants one: by X-Sample-Tool,
 * by tool_choice, or because tools are given and the newest user message
 * speaks of a tool or names one.
 */
void hai_sp_tool(struct hai_sp_answer *a, const struct hai_sp_control *c,
                 const struct hai_sp_facts *f);

#endif
