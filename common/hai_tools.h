/*
 * Tool results in a request that are new: behind the last message of the
 * assistant.  OpenAI chat and responses, Anthropic messages.
 *
 * An item of responses that is a call or reasoning is the assistant's, and a
 * call without a name has that of its type: "local_shell" of
 * local_shell_call.  Of two calls with one id the later one counts; the last
 * HAI_TOOLS_MAX calls are known.  An id or a name of more than 256 bytes is
 * none.
 */

#ifndef HAI_TOOLS_H
#define HAI_TOOLS_H

#include "hai_body.h"
#include "hai_edit.h"
#include "hai_identity.h"

#define HAI_TOOLS_MAX 256         /* results looked at in one request */
#define HAI_TOOLS_MAX_INPUT 65536 /* bytes; a longer input is "unknown" */

struct hai_tool_result {
    struct hai_slice id;    /* of the call, unescaped; len 0: none */
    struct hai_slice name;  /* of the tool, unescaped; len 0: unknown */
    struct hai_slice input; /* of the call, JSON text as the caller wrote it
                               and maybe no JSON at all; len 0: unknown */
};

struct hai_tools {
    struct hai_tool_result *list; /* private memory, see hai_tools_free() */
    size_t n;
    bool more;               /* there are more than HAI_TOOLS_MAX */
    struct hai_edits memory; /* private */
};

void hai_tools_init(struct hai_tools *t);
void hai_tools_free(struct hai_tools *t);

/* 0; or -1 without memory.  Shapes that are not those of the dialect give no
 * results. */
int hai_tools_read(struct hai_tools *t, const struct hai_body *body,
                   enum hai_api api);

#endif
