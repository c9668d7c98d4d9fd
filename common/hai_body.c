/* The dialects of request bodies, see hai_body.h. */

#include "hai_body.h"

#include <string.h>

enum hai_api hai_api_of(const char *name, size_t len) {
    static const struct {
        const char *name;
        size_t len;
        enum hai_api api;
    } apis[] = {
#define API(text, api) {text, sizeof(text) - 1, api}
        API("openai.chat", HAI_API_OPENAI_CHAT),
        API("openai.responses", HAI_API_OPENAI_RESPONSES),
        API("openai.completions", HAI_API_OPENAI_COMPLETIONS),
        API("anthropic.messages", HAI_API_ANTHROPIC_MESSAGES)
#undef API
    };

    for (size_t i = 0; i < sizeof(apis) / sizeof(apis[0]); i++) {
        if (len == apis[i].len && memcmp(name, apis[i].name, len) == 0) {
            return apis[i].api;
        }
    }

    return HAI_API_OTHER;
}
