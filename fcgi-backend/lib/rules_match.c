/* Which rules apply, see rules.h. */

#include "rules.h"

#include <string.h>

bool hai_rule_glob(const char *pattern, const char *text, size_t len) {
    const char *end = text + len, *star = NULL, *from = NULL;

    while (text < end) {
        if (*pattern == '*') {
            star = ++pattern;
            from = text;
        } else if (*pattern == '?' || (*pattern != '\0' && *pattern == *text)) {
            pattern++;
            text++;
        } else if (star != NULL) {
            /* the last star takes one byte more; the ones before it need
             * not be tried again */
            pattern = star;
            text = ++from;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

static bool any_glob(const struct hai_rule_list *list, struct hai_slice text) {
    size_t i;

    for (i = 0; i < list->n; i++) {
        if (hai_rule_glob(list->item[i], text.data, text.len)) {
            return true;
        }
    }
    return list->n == 0;
}

/* Is the tag one of the words? */
static bool has_tag(struct hai_slice tags, const char *tag) {
    const char *p = tags.data;
    const char *end = p + tags.len;
    size_t len = strlen(tag);

    while (p < end) {
        const char *space = memchr(p, ' ', (size_t) (end - p));
        size_t n = (size_t) ((space != NULL ? space : end) - p);

        if (n == len && memcmp(p, tag, len) == 0) {
            return true;
        }
        p += n + 1;
    }
    return false;
}

static bool any_tag(const struct hai_rule_list *list, struct hai_slice tags) {
    size_t i;

    for (i = 0; i < list->n; i++) {
        if (tags.len > 0 && has_tag(tags, list->item[i])) {
            return true;
        }
    }
    return list->n == 0;
}

static unsigned char lower(unsigned char c) {
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

/* ASCII letters have no case here, whatever the locale. */
static bool same_tool(const char *name, struct hai_slice tool) {
    size_t i;

    for (i = 0; i < tool.len; i++) {
        if (lower((unsigned char) name[i])
                != lower((unsigned char) tool.data[i])
            || name[i] == '\0')
        {
            return false;
        }
    }
    return name[tool.len] == '\0';
}

/* A result whose call is not in the request may be of any tool: what blocks
 * takes it for the one it is about, everything else does not. */
static bool tool_matches(const struct hai_rule *rule, struct hai_slice tool) {
    if (rule->tool == NULL || tool.data == NULL) {
        return rule->tool == NULL;
    }
    if (tool.len == 0) {
        return rule->blocking && rule->action == HAI_ACT_MESSAGE;
    }
    return same_tool(rule->tool, tool);
}

bool hai_rule_applies(const struct hai_rule *rule,
                      const struct hai_rule_facts *facts, const char **why) {
    const char *filter = NULL;

    if (!rule->enabled) {
        filter = "disabled";
    } else if (rule->event != facts->event) {
        filter = "event";
    } else if (!any_tag(&rule->tags, facts->tags)) {
        filter = "tags";
    } else if (!any_glob(&rule->containers, facts->container)) {
        filter = "containers";
    } else if (facts->model.len > 0 && !any_glob(&rule->models, facts->model)) {
        /* where none is named, the provider chooses: it may be any */
        filter = "models";
    } else if (!tool_matches(rule, facts->tool)) {
        filter = "toolName";
    } else if (facts->depth > rule->max_depth) {
        filter = "maxDepth";
    }
    if (why != NULL) {
        *why = filter;
    }
    return filter == NULL;
}

bool hai_rule_is_static(const struct hai_rule *rule) {
    return (rule->event == HAI_EV_SYSTEM || rule->event == HAI_EV_MESSAGE
            || rule->event == HAI_EV_PARAMS)
           && (rule->action == HAI_ACT_APPEND || rule->action == HAI_ACT_PREPEND
               || rule->action == HAI_ACT_SET)
           && rule->cooldown_ms == 0;
}
