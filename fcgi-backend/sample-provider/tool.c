/*
 * Tool calls.  Only the newest message and the tools are parsed, so that a
 * long conversation costs no more than a scan.
 */

#define _GNU_SOURCE 1

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api.h"
#include "json.h"

#define MAX_DEPTH 16

static json_t *load(struct hai_sp_slice s) {
    return s.p == NULL ? NULL : json_loadb(s.p, s.n, JSON_DECODE_ANY, NULL);
}

/* chat completions wrap the description in "function" */
static json_t *description(json_t *tool) {
    json_t *function = json_object_get(tool, "function");

    return json_is_object(function) ? function : tool;
}

static const char *name_of(json_t *tool) {
    const char *name;

    name = json_string_value(json_object_get(description(tool), "name"));
    return name != NULL ? name : "";
}

static json_t *schema_of(json_t *tool) {
    json_t *schema = json_object_get(description(tool), "parameters");

    return schema != NULL ? schema
                          : json_object_get(description(tool), "input_schema");
}

static json_t *sample_object(json_t *schema, int depth);

/* A value that fits the schema as far as its type goes. */
static json_t *sample_value(json_t *schema, int depth) {
    json_t *choice = json_array_get(json_object_get(schema, "enum"), 0);
    json_t *kind = json_object_get(schema, "type");
    const char *type;

    if (choice != NULL) {
        return json_deep_copy(choice);
    }
    if (json_is_array(kind)) {
        kind = json_array_get(kind, 0);
    }
    type = json_string_value(kind);
    if (type == NULL || strcmp(type, "string") == 0) {
        return json_string("sample");
    }
    if (strcmp(type, "integer") == 0 || strcmp(type, "number") == 0) {
        return json_integer(1);
    }
    if (strcmp(type, "boolean") == 0) {
        return json_true();
    }
    if (strcmp(type, "array") == 0) {
        return json_array();
    }
    if (strcmp(type, "object") == 0 && depth < MAX_DEPTH) {
        return sample_object(schema, depth + 1);
    }
    return json_null();
}

static json_t *sample_object(json_t *schema, int depth) {
    json_t *object = json_object();
    json_t *properties = json_object_get(schema, "properties");
    json_t *name;
    size_t i;

    json_array_foreach(json_object_get(schema, "required"), i, name) {
        const char *key = json_string_value(name);

        if (key != NULL) {
            json_object_set_new(
                object, key,
                sample_value(json_object_get(properties, key), depth));
        }
    }
    return object;
}

static bool mentions(const char *text, const char *word) {
    return *word != '\0' && strcasestr(text, word) != NULL;
}

/* The tool that the text names, else the first when it says "tool". */
static json_t *asked_in(json_t *tools, const char *text) {
    json_t *tool;
    size_t i;

    json_array_foreach(tools, i, tool) {
        if (mentions(text, name_of(tool))) {
            return tool;
        }
    }
    return mentions(text, "tool") ? json_array_get(tools, 0) : NULL;
}

/* The newest message: a string, or one with text in its content. */
static json_t *asked_by_message(json_t *tools, json_t *message) {
    json_t *content, *part;
    const char *role;
    size_t i;

    if (json_is_string(message)) {
        return asked_in(tools, json_string_value(message));
    }
    role = json_string_value(json_object_get(message, "role"));
    if (role == NULL || strcmp(role, "user") != 0) {
        return NULL;
    }
    content = json_object_get(message, "content");
    if (json_is_string(content)) {
        return asked_in(tools, json_string_value(content));
    }
    json_array_foreach(content, i, part) {
        const char *text = json_string_value(json_object_get(part, "text"));
        json_t *tool = text != NULL ? asked_in(tools, text) : NULL;

        if (tool != NULL) {
            return tool;
        }
    }
    return NULL;
}

static json_t *by_name(json_t *tools, const char *name, size_t n) {
    json_t *tool;
    size_t i;

    json_array_foreach(tools, i, tool) {
        const char *have = name_of(tool);

        if (strlen(have) == n && memcmp(have, name, n) == 0) {
            return tool;
        }
    }
    return NULL;
}

/* tool_choice: "required", {"type":"any"}, or one tool by name */
static json_t *forced(json_t *tools, json_t *choice) {
    const char *word = json_string_value(choice);
    const char *name = name_of(choice);

    if (word == NULL) {
        word = json_string_value(json_object_get(choice, "type"));
    }
    if (word == NULL) {
        return NULL;
    }
    if (strcmp(word, "required") == 0 || strcmp(word, "any") == 0) {
        return json_array_get(tools, 0);
    }
    return *name != '\0' ? by_name(tools, name, strlen(name)) : NULL;
}

static bool is_none(json_t *choice) {
    const char *word = json_string_value(choice);

    if (word == NULL) {
        word = json_string_value(json_object_get(choice, "type"));
    }
    return word != NULL && strcmp(word, "none") == 0;
}

static json_t *wanted(json_t *tools, const struct hai_sp_facts *f) {
    json_t *choice = load(f->top[HAI_SP_KEY_TOOL_CHOICE]);
    json_t *message, *tool;

    if (is_none(choice)) {
        json_decref(choice);
        return NULL;
    }
    tool = forced(tools, choice);
    json_decref(choice);
    if (tool != NULL) {
        return tool;
    }
    message = load(f->last.p != NULL ? f->last : f->top[HAI_SP_KEY_INPUT]);
    tool = asked_by_message(tools, message);
    json_decref(message);
    return tool;
}

static void put_arguments(struct hai_sp_answer *a, json_t *tool) {
    json_t *object = sample_object(schema_of(tool), 0);
    char *dump = json_dumps(object, JSON_COMPACT);

    if (dump == NULL) {
        a->text_own.failed = true;
    } else {
        hai_sp_buf_puts(&a->text_own, dump);
    }
    free(dump);
    json_decref(object);
}

void hai_sp_tool(struct hai_sp_answer *a, const struct hai_sp_control *c,
                 const struct hai_sp_facts *f) {
    json_t *tools, *tool;

    if (c->tool.p == NULL && f->top[HAI_SP_KEY_TOOLS].p == NULL) {
        return;
    }
    tools = load(f->top[HAI_SP_KEY_TOOLS]);
    if (c->tool.p != NULL) {
        tool = by_name(tools, c->tool.p, c->tool.n);
        a->tool = true;
        hai_sp_json_escape(&a->tool_name, c->tool.p, c->tool.n);
    } else {
        tool = wanted(tools, f);
        if (tool == NULL) {
            json_decref(tools);
            return;
        }
        a->tool = true;
        hai_sp_json_escape(&a->tool_name, name_of(tool), strlen(name_of(tool)));
    }
    if (c->tool_arguments.p != NULL) {
        hai_sp_buf_put(&a->text_own, c->tool_arguments.p, c->tool_arguments.n);
    } else {
        put_arguments(a, tool);
    }
    json_decref(tools);
}
