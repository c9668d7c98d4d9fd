/*
 * Containers, there and back, see view.h.  One table says for each field of
 * the API where it lies and who may set it.
 */

#include "view.h"

#include "lib/time_text.h"

#include <hai_identity.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMENT_MAX 16000
#define ENV_MAX 256
#define ENV_NAME_MAX 128
#define ENV_VALUE_MAX 4096
#define LIST_MAX 256

enum kind {
    TEXT,  /* a string; null takes it away */
    WORDS, /* an array of strings, in Redis separated by spaces */
    FLAG,  /* true or false */
    NUMBER,
    ENV,  /* an object of strings, in Redis as JSON */
    LIST, /* an array of strings, in Redis as JSON */
    TIME  /* milliseconds in Redis, ISO 8601 outside */
};

enum who {
    NOBODY, /* only shown */
    CREATE, /* at first */
    ALWAYS,
    IGNORED /* of the platform; nothing here */
};

struct field {
    const char *name;
    enum kind kind;
    enum who who;
    size_t max;    /* bytes, or words */
    size_t offset; /* in struct hai_container; 0: one of "more" */
    bool hidden;   /* of no interest outside */
};

#define OWN(member) offsetof(struct hai_container, member)

static const struct field fields[] = {
    {"project_id", TEXT, NOBODY, 24, OWN(project_id), false},
    {"number", TEXT, CREATE, 20, OWN(number), false},
    {"status", TEXT, NOBODY, 32, OWN(status), false},
    {"addresses", WORDS, ALWAYS, 256, OWN(addresses), false},
    {"cgroup", TEXT, ALWAYS, 4096, OWN(cgroup), false},
    {"mac", TEXT, ALWAYS, 512, OWN(mac), false},
    {"host_interface", TEXT, ALWAYS, 64, OWN(host_interface), false},
    {"tags", WORDS, ALWAYS, 256, OWN(tags), false},
    {"color", TEXT, ALWAYS, 7, 0, false},
    {"container_image", TEXT, CREATE, 512, 0, false},
    {"comment", TEXT, ALWAYS, COMMENT_MAX, 0, false},
    {"ssh_public_key", TEXT, ALWAYS, 8192, 0, false},
    {"autostart", FLAG, ALWAYS, 0, 0, false},
    {"environment_vars", ENV, ALWAYS, ENV_MAX, 0, false},
    {"realm_ids", LIST, ALWAYS, LIST_MAX, 0, false},
    {"limit_rpm", NUMBER, ALWAYS, 0, 0, false},
    {"limit_tpm", NUMBER, ALWAYS, 0, 0, false},
    {"limit_concurrency", NUMBER, ALWAYS, 0, 0, false},
    {"budget_tokens_day", NUMBER, ALWAYS, 0, 0, false},
    {"budget_usd_month", NUMBER, ALWAYS, 0, 0, false},
    {"runtime", TEXT, NOBODY, 32, 0, false},
    {"runtime_id", TEXT, NOBODY, 128, 0, false},
    {"created_at", TIME, NOBODY, 0, 0, false},
    {"updated_at", TIME, NOBODY, 0, 0, false},
    /* at the platform's, without a meaning here */
    {"server_id", TEXT, IGNORED, 255, 0, true},
    {"hoody_kit", FLAG, IGNORED, 0, 0, true},
    {"dev_kit", FLAG, IGNORED, 0, 0, true},
    {"kvm", FLAG, IGNORED, 0, 0, true},
    {"dev_kvm", FLAG, IGNORED, 0, 0, true},
    {"ramdisk", FLAG, IGNORED, 0, 0, true},
    {"ramdisk_scope", TEXT, IGNORED, 32, 0, true},
    {"cache", FLAG, IGNORED, 0, 0, true},
    {"cache_image", FLAG, IGNORED, 0, 0, true},
    {"prespawn", FLAG, IGNORED, 0, 0, true},
    {"bypass_prespawn", FLAG, IGNORED, 0, 0, true},
};

#define N_FIELDS (sizeof(fields) / sizeof(*fields))

bool hai_view_name_valid(const char *name) {
    size_t len = strlen(name);

    return len >= 3 && hai_name_valid(name, len);
}

bool hai_view_id_valid(const char *id) {
    return strlen(id) == 24 && strspn(id, "0123456789abcdef") == 24;
}

/* --- out -------------------------------------------------------------------
 */

static json_t *words(const char *text) {
    json_t *list = json_array();

    while (list != NULL) {
        size_t n;

        text += strspn(text, " ");
        n = strcspn(text, " ");
        if (n == 0) {
            break;
        }

        if (json_array_append_new(list, json_stringn(text, n)) != 0) {
            json_decref(list);
            return NULL;
        }
        text += n;
    }

    return list;
}

static json_t *time_value(const char *text) {
    char iso[HAI_TIME_SIZE];
    char *end;
    long long ms = strtoll(text, &end, 10);

    /* another writer may have written it as it is shown */
    if (*end != '\0' || end == text) {
        return json_string(text);
    }

    hai_time_text(ms, iso);

    return json_string(iso);
}

static json_t *show(const struct field *f, const char *text, size_t len) {
    json_t *value;
    char *end;

    switch (f->kind) {
    case WORDS:
        return words(text != NULL ? text : "");

    case FLAG:
        return json_boolean(text != NULL && strcmp(text, "1") == 0);

    case ENV:
    case LIST:
        value = text != NULL ? json_loadb(text, len, 0, NULL) : NULL;
        if (value == NULL) {
            value = f->kind == ENV ? json_object() : json_array();
        }
        return value;

    default:
        break;
    }

    if (text == NULL || len == 0) {
        return json_null();
    }

    switch (f->kind) {
    case TIME:
        return time_value(text);

    case NUMBER: {
        double number = strtod(text, &end);

        if (*end != '\0') {
            return json_string(text);
        }
        return strpbrk(text, ".eE") != NULL
                   ? json_real(number)
                   : json_integer((json_int_t) strtoll(text, NULL, 10));
    }

    default:
        value = json_stringn(text, len);
        /* another writer's bytes */
        return value != NULL ? value : json_null();
    }
}

json_t *hai_view_container(const struct hai_control *control, const char *name,
                           const struct hai_container_read *read) {
    const char *id = hai_registry_read_field(read, "id", NULL);
    json_t *o;

    o = json_pack("{s:s?,s:s,s:b,s:s}", "id", id, "name", name, "ai",
                  read->enabled ? 1 : 0, "server_name", control->server);
    if (o == NULL) {
        return NULL;
    }

    for (size_t i = 0; i < N_FIELDS; i++) {
        const char *text;
        size_t len = 0;

        if (fields[i].hidden) {
            continue;
        }

        text = hai_registry_read_field(read, fields[i].name, &len);
        if (json_object_set_new(o, fields[i].name, show(&fields[i], text, len))
            != 0) {
            json_decref(o);
            return NULL;
        }
    }

    /* no status is that of a container whose writer does not say */
    if (json_is_null(json_object_get(o, "status"))) {
        json_object_set_new(o, "status", json_string("running"));
    }

    json_object_set_new(o, "version", json_integer((json_int_t) read->version));

    return o;
}

json_t *hai_view_audit(const json_t *container) {
    json_t *o = json_copy((json_t *) container);
    json_t *env = json_object_get(o, "environment_vars"), *names, *value;
    const char *name;

    if (json_is_object(env)) {
        names = json_array();
        json_object_foreach(env, name, value) {
            json_array_append_new(names, json_string(name));
        }
        json_object_set_new(o, "environment_vars", names);
    }

    return o;
}

/* --- in --------------------------------------------------------------------
 */

static char *own(struct hai_change_request *change, char *text) {
    if (text == NULL
        || change->n_owned == sizeof(change->owned) / sizeof(*change->owned))
    {
        free(text);
        return NULL;
    }

    change->owned[change->n_owned++] = text;

    return text;
}

static int wrong(struct hai_call *call, const char *name, const char *what) {
    return hai_fail(call, 400, "%s: %s", name, what);
}

/* No control characters: it is shown on terminals and lies in one line. */
static bool printable(const char *text, size_t len, bool lines) {
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char) text[i];

        if ((c < 0x20 && !(lines && (c == '\n' || c == '\t' || c == '\r')))
            || c == 0x7f)
        {
            return false;
        }
    }

    return true;
}

static bool color_valid(const char *text) {
    size_t n = strlen(text);

    return text[0] == '#' && n >= 4 && n <= 7
           && strspn(text + 1, "0123456789ABCDEF") == n - 1;
}

static int parse_text(struct hai_call *call, const struct field *f,
                      const json_t *value, struct hai_change_request *change,
                      const char **out) {
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);

    if (json_is_null(value)) {
        *out = "";
        return 0;
    }

    if (text == NULL) {
        return wrong(call, f->name, "not a string");
    }
    if (len > f->max) {
        return wrong(call, f->name, "too long");
    }
    if (!printable(text, len, strcmp(f->name, "comment") == 0)) {
        return wrong(call, f->name, "has control characters");
    }
    if (strcmp(f->name, "color") == 0 && len > 0 && !color_valid(text)) {
        return wrong(call, f->name, "not like #1A2B3C");
    }

    *out = own(change, strdup(text));

    return *out != NULL ? 0 : hai_fail_memory(call);
}

static int parse_words(struct hai_call *call, const struct field *f,
                       const json_t *value, struct hai_change_request *change,
                       const char **out) {
    size_t size = 1, len = 0, i;
    const json_t *item;
    char *text;

    if (json_is_null(value)) {
        *out = "";
        return 0;
    }

    if (!json_is_array(value) || json_array_size(value) > f->max) {
        return wrong(call, f->name, "not a list of strings, or too long a one");
    }

    json_array_foreach(value, i, item) {
        const char *word = json_string_value(item);

        if (word == NULL || *word == '\0' || strchr(word, ' ') != NULL
            || strlen(word) != json_string_length(item)
            || !printable(word, strlen(word), false))
        {
            return wrong(call, f->name, "has something else than words");
        }
        size += strlen(word) + 1;
    }

    text = own(change, malloc(size));
    if (text == NULL) {
        return hai_fail_memory(call);
    }

    text[0] = '\0';
    json_array_foreach(value, i, item) {
        len += (size_t) snprintf(text + len, size - len, "%s%s",
                                 i > 0 ? " " : "", json_string_value(item));
    }

    *out = text;

    return 0;
}

static bool env_name_valid(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz"
                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

    return n > 0 && name[n] == '\0' && n <= ENV_NAME_MAX
           && (*name < '0' || *name > '9');
}

static int parse_json(struct hai_call *call, const struct field *f,
                      const json_t *value, struct hai_change_request *change,
                      const char **out) {
    const json_t *item;
    const char *name;
    size_t i;

    if (json_is_null(value)) {
        *out = "";
        return 0;
    }

    if (f->kind == ENV) {
        if (!json_is_object(value) || json_object_size(value) > f->max) {
            return wrong(call, f->name,
                         "not an object of strings, or too large a one");
        }
        json_object_foreach((json_t *) value, name, item) {
            size_t len = json_string_length(item);

            if (!env_name_valid(name) || !json_is_string(item) || len == 0
                || len > ENV_VALUE_MAX)
            {
                return wrong(call, f->name,
                             "names are [a-zA-Z_][a-zA-Z0-9_]*, values strings "
                             "of 1 to 4096 bytes");
            }
        }
    } else {
        if (!json_is_array(value) || json_array_size(value) > f->max) {
            return wrong(call, f->name, "not a list, or too long a one");
        }
        json_array_foreach(value, i, item) {
            if (!json_is_string(item) || json_string_length(item) > 255) {
                return wrong(call, f->name, "has something else than strings");
            }
        }
    }

    *out = own(change, json_dumps(value, JSON_COMPACT));

    return *out != NULL ? 0 : hai_fail_memory(call);
}

static int parse_number(struct hai_call *call, const struct field *f,
                        const json_t *value, struct hai_change_request *change,
                        const char **out) {
    bool money = strcmp(f->name, "budget_usd_month") == 0;

    if (json_is_null(value)) {
        *out = "";
        return 0;
    }

    if (!json_is_integer(value) && !(money && json_is_real(value))) {
        return wrong(call, f->name, "not a number");
    }
    if (json_number_value(value) < 0 || json_number_value(value) > 1e15) {
        return wrong(call, f->name, "out of range");
    }

    *out = own(change, json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT
                                             | JSON_REAL_PRECISION(12)));

    return *out != NULL ? 0 : hai_fail_memory(call);
}

static int parse_field(struct hai_call *call, const struct field *f,
                       const json_t *value, struct hai_change_request *change) {
    const char *text = NULL;
    int rc = 0;

    switch (f->kind) {
    case TEXT:
    case TIME:
        rc = parse_text(call, f, value, change, &text);
        break;

    case WORDS:
        rc = parse_words(call, f, value, change, &text);
        break;

    case FLAG:
        if (!json_is_boolean(value)) {
            return wrong(call, f->name, "neither true nor false");
        }
        text = json_is_true(value) ? "1" : "0";
        break;

    case NUMBER:
        rc = parse_number(call, f, value, change, &text);
        break;

    case ENV:
    case LIST:
        rc = parse_json(call, f, value, change, &text);
        break;
    }

    if (rc != 0 || text == NULL || f->who == IGNORED) {
        return rc;
    }

    if (f->offset != 0) {
        memcpy((char *) &change->container + f->offset, &text, sizeof(text));
        return 0;
    }

    change->more[change->container.n_more++] = (struct hai_container_field){
        .name = f->name, .value = text, .len = strlen(text)};

    return 0;
}

static const struct field *find(const char *name) {
    for (size_t i = 0; i < N_FIELDS; i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return &fields[i];
        }
    }

    return NULL;
}

static int parse_name(struct hai_call *call, const json_t *value,
                      struct hai_change_request *change) {
    const char *name = json_string_value(value);

    if (name == NULL || strlen(name) != json_string_length(value)
        || !hai_view_name_valid(name))
    {
        return wrong(call, "name",
                     "has to be 3 to 100 letters, digits, \"-\" and \"_\"");
    }

    change->name = own(change, strdup(name));

    return change->name != NULL ? 0 : hai_fail_memory(call);
}

int hai_view_parse(struct hai_call *call, bool creating,
                   struct hai_change_request *change) {
    const json_t *value;
    const char *name;

    *change = (struct hai_change_request){0};
    change->container.more = change->more;
    change->body = call->body;

    if (call->body == NULL) {
        return hai_fail(call, 400, "a JSON body is missing");
    }

    json_object_foreach(call->body, name, value) {
        const struct field *f;

        if (strcmp(name, "name") == 0) {
            /* no name, or this one: any */
            if (creating && json_is_string(value)
                && strcmp(json_string_value(value), "rand") == 0)
            {
                continue;
            }
            if (parse_name(call, value, change) != 0) {
                return -1;
            }
            continue;
        }

        if (strcmp(name, "ai") == 0) {
            if (!json_is_boolean(value)) {
                return wrong(call, name, "neither true nor false");
            }
            change->has_ai = true;
            change->ai = json_is_true(value);
            continue;
        }

        f = find(name);
        if (f == NULL || f->who == NOBODY || (f->who == CREATE && !creating)) {
            return hai_fail(call, 400, "%.64s: %s", name,
                            f == NULL ? "there is no such field"
                                      : "cannot be set");
        }

        if (parse_field(call, f, value, change) != 0) {
            return -1;
        }
    }

    return 0;
}

void hai_change_request_free(struct hai_change_request *change) {
    for (size_t i = 0; i < change->n_owned; i++) {
        free(change->owned[i]);
    }

    change->n_owned = 0;
}
