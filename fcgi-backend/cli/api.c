/* The control API, see api.h. */

#include "api.h"

#include "cli.h"

#include "lib/text.h"
#include "lib/file.h"

#include <curl/curl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MAX (64UL * 1024 * 1024)
#define CONNECT_MS 3000L
#define ANSWER_MS 310000L /* a runtime takes its time */
#define TOKEN_MAX 512
#define URL_SIZE 8192

struct answer {
    char *data;
    size_t len;
};

static void complain(const char *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void complain(const char *command, const char *format, ...) {
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);

    fprintf(stderr, "hoody-ai %s: ", command);
    hai_cli_put_line(stderr, text, strlen(text));
    putc('\n', stderr);
}

static size_t take(char *data, size_t one, size_t n, void *to) {
    struct answer *a = to;
    char *more;

    (void) one;

    if (n > ANSWER_MAX - a->len) {
        return 0;
    }

    more = realloc(a->data, a->len + n + 1);
    if (more == NULL) {
        return 0;
    }

    memcpy(more + a->len, data, n);
    a->data = more;
    a->len += n;

    return n;
}

/* NULL: none, or a message was written and *bad is set. */
static char *find_token(const struct hai_api *api, const char *command,
                        bool *bad) {
    const char *from = getenv("HOODY_TOKEN");
    char error[160];
    char *text;
    size_t len;

    *bad = false;

    if (api->token_file == NULL) {
        return from != NULL && *from != '\0' ? strdup(from) : NULL;
    }

    text =
        hai_file_read(api->token_file, TOKEN_MAX, &len, error, sizeof(error));
    if (text == NULL) {
        complain(command, "%s: %s", api->token_file, error);
        *bad = true;
        return NULL;
    }

    text[strcspn(text, "\r\n")] = '\0';

    return text;
}

static bool is_url(const char *where) {
    return strncmp(where, "http://", 7) == 0
           || strncmp(where, "https://", 8) == 0;
}

/* Sends it; false after a message. */
static bool perform(const struct hai_api *api, const char *command, CURL *curl,
                    const char *method, const char *path, const char *body,
                    struct curl_slist *headers, struct answer *a) {
    const char *where = api->where;
    char url[URL_SIZE];
    CURLcode code;
    size_t len;
    int n;

    if (strncmp(where, "unix:", 5) == 0) {
        where += 5;
    }

    len = strlen(where);
    while (len > 0 && is_url(where) && where[len - 1] == '/') {
        len--;
    }

    n = is_url(where)
            ? snprintf(url, sizeof(url), "%.*s/api/v1%s", (int) len, where,
                       path)
            : snprintf(url, sizeof(url), "http://localhost/api/v1%s", path);
    if (n < 0 || (size_t) n >= sizeof(url)) {
        complain(command, "--api: too long");
        return false;
    }

    if (!is_url(where)) {
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, where);
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ANSWER_MS);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, a);
    if (body != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long) strlen(body));
    } else if (strcmp(method, "POST") == 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, 0L);
    }

    code = curl_easy_perform(curl);
    if (code != CURLE_OK) {
        complain(command, "%s: %s", where, curl_easy_strerror(code));
    }

    return code == CURLE_OK;
}

/* Opens the envelope. */
static json_t *data_of(const struct hai_api *api, const char *command,
                       long code, const struct answer *a, int *status) {
    json_t *envelope =
        json_loadb(a->data != NULL ? a->data : "", a->len, 0, NULL);
    const char *message =
        json_string_value(json_object_get(envelope, "message"));
    json_t *data = json_object_get(envelope, "data");

    if (!json_is_object(envelope) || message == NULL) {
        complain(command, "%s: HTTP %ld, and not in the API's words",
                 api->where, code);
        *status = HAI_CLI_UNREACHABLE;
        json_decref(envelope);
        return NULL;
    }

    if (code >= 200 && code < 300) {
        data = data != NULL ? json_incref(data) : json_null();
    } else {
        complain(command, "%s (%ld %s)", message, code,
                 json_string_value(json_object_get(envelope, "error")));
        *status = code == 503 ? HAI_CLI_UNREACHABLE : HAI_CLI_PROBLEM;
        data = NULL;
    }

    json_decref(envelope);

    return data;
}

json_t *hai_api_call(const struct hai_api *api, const char *command,
                     const char *method, const char *path, json_t *body,
                     int *status) {
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    struct curl_slist *headers = NULL;
    struct answer a = {0};
    char line[TOKEN_MAX + 64];
    json_t *data = NULL;
    char *token;
    CURL *curl;
    bool bad;
    long code;

    *status = HAI_CLI_UNREACHABLE;
    token = find_token(api, command, &bad);
    if (bad) {
        *status = HAI_CLI_USAGE;
        goto done;
    }

    curl = curl_easy_init();
    if (curl == NULL || (body != NULL && text == NULL)) {
        complain(command, "no memory");
        curl_easy_cleanup(curl);
        goto done;
    }

    headers = curl_slist_append(NULL, "Accept: application/json");
    if (text != NULL) {
        headers = curl_slist_append(headers, "Content-Type: application/json");
    }
    if (token != NULL) {
        snprintf(line, sizeof(line), "Authorization: Bearer %s", token);
        headers = curl_slist_append(headers, line);
    }

    if (perform(api, command, curl, method, path, text, headers, &a)) {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
        data = data_of(api, command, code, &a, status);
    }

    curl_easy_cleanup(curl);

done:
    curl_slist_free_all(headers);
    json_decref(body);
    free(text);
    free(token);
    free(a.data);

    return data;
}

bool hai_api_container(const struct hai_api *api, const char *command,
                       const char *which, char id[25], int *status) {
    char path[1024] = "/containers?include_deleting=true&name=";
    json_t *data;
    const char *found;

    if (strlen(which) == 24 && strspn(which, "0123456789abcdef") == 24) {
        memcpy(id, which, 25);
        return true;
    }

    if (!hai_text_escape(path, sizeof(path), which)) {
        complain(command, "\"%s\" is too long for a name", which);
        *status = HAI_CLI_USAGE;
        return false;
    }

    data = hai_api_call(api, command, "GET", path, NULL, status);
    if (data == NULL) {
        return false;
    }

    found = json_string_value(json_object_get(
        json_array_get(json_object_get(data, "containers"), 0), "id"));

    if (found == NULL || strlen(found) != 24) {
        complain(command, "there is no container \"%s\"", which);
        *status = HAI_CLI_PROBLEM;
        json_decref(data);
        return false;
    }

    memcpy(id, found, 25);
    json_decref(data);

    return true;
}

/* --- output ---------------------------------------------------------------- */

bool hai_api_format(const struct hai_api *api, const char *command) {
    static const char *const formats[] = {"table", "json", "yaml", "name"};

    for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++) {
        if (strcmp(api->output, formats[i]) == 0) {
            return true;
        }
    }

    complain(command, "--output: table, json, yaml or name is wanted");

    return false;
}

/* A cell; the caller frees it. */
static char *cell(const json_t *value) {
    char number[64];
    const json_t *item;
    size_t i, len = 0;
    char *text;

    switch (json_typeof(value)) {
    case JSON_STRING:
        return strdup(json_string_value(value));

    case JSON_TRUE:
        return strdup("yes");

    case JSON_FALSE:
        return strdup("no");

    case JSON_INTEGER:
        snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
                 json_integer_value(value));
        return strdup(number);

    case JSON_REAL:
        snprintf(number, sizeof(number), "%g", json_real_value(value));
        return strdup(number);

    case JSON_ARRAY:
        json_array_foreach(value, i, item) {
            len += json_string_length(item) + 1;
        }
        text = calloc(1, len + 1);
        len = 0;
        json_array_foreach(value, i, item) {
            if (text != NULL && json_is_string(item)) {
                size_t n = json_string_length(item);

                if (len > 0) {
                    text[len++] = ' ';
                }
                memcpy(text + len, json_string_value(item), n);
                len += n;
            }
        }
        return text;

    default:
        return strdup("-");
    }
}

/* One column after the other, as wide as what is in it; UTF-8 is not counted
 * by width. */
static int show_table(const struct hai_api *api, const json_t *list,
                      const struct hai_column *columns, size_t n) {
    size_t rows = json_array_size(list), i, j;
    bool color = hai_cli_color(stdout, api->no_color);
    char **cells = calloc((rows + 1) * n, sizeof(*cells));
    size_t *widths = calloc(n, sizeof(*widths));
    int rc = HAI_CLI_OK;

    for (i = 0; cells != NULL && widths != NULL && i <= rows; i++) {
        for (j = 0; j < n; j++) {
            const json_t *value =
                json_object_get(json_array_get(list, i - 1), columns[j].member);
            char *text = i == 0          ? strdup(columns[j].title)
                         : value == NULL ? strdup("-")
                                         : cell(value);

            if (text == NULL) {
                rc = HAI_CLI_PROBLEM;
                text = strdup("");
            }
            cells[i * n + j] = text;
            if (text != NULL && strlen(text) > widths[j]) {
                widths[j] = strlen(text);
            }
        }
    }

    for (i = 0; cells != NULL && widths != NULL && i <= rows; i++) {
        fputs(i == 0 && color ? HAI_CLI_BOLD : "", stdout);
        for (j = 0; j < n; j++) {
            char *text = cells[i * n + j];
            size_t len = text != NULL ? strlen(text) : 0;

            hai_cli_put_line(stdout, text != NULL ? text : "", len);
            if (j + 1 < n) {
                printf("%*s", (int) (widths[j] - len + 2), "");
            }
            free(text);
        }
        fputs(i == 0 && color ? HAI_CLI_PLAIN : "", stdout);
        putchar('\n');
    }

    free(cells);
    free(widths);

    return rc;
}

/* Into one line of JSON, or several; an exit status. */
static int show_json(const json_t *value, size_t flags) {
    char *text = json_dumps(value, JSON_ENCODE_ANY | flags);

    hai_cli_put_json(stdout, text != NULL ? text : "null");
    putchar('\n');
    free(text);

    return text != NULL ? HAI_CLI_OK : HAI_CLI_PROBLEM;
}

/* A name that YAML could take for something else ("no", "1") has quotes. */
static void show_key(const char *key) {
    static const char *const words[] = {"y",   "n",    "yes",   "no",  "on",
                                        "off", "true", "false", "null"};
    bool plain = *key >= 'a' && *key <= 'z';
    json_t *quoted;
    char *text;

    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
        plain = plain && strcmp(key, words[i]) != 0;
    }

    if (plain
        && key[strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0') {
        fputs(key, stdout);
        return;
    }

    quoted = json_string(key);
    text = json_dumps(quoted, JSON_ENCODE_ANY);
    hai_cli_put_json(stdout, text != NULL ? text : "\"\"");
    free(text);
    json_decref(quoted);
}

/* Strings as in JSON, which YAML takes as they are. */
static void show_yaml(const json_t *value, int depth, bool in_list) {
    const json_t *item;
    const char *key;
    size_t i;

    if (json_is_object(value) && json_object_size(value) > 0) {
        bool first = true;

        json_object_foreach((json_t *) value, key, item) {
            bool nested = (json_is_object(item) && json_object_size(item) > 0)
                          || (json_is_array(item) && json_array_size(item) > 0);

            if (!(first && in_list)) {
                printf("%*s", 2 * depth, "");
            }
            first = false;
            show_key(key);
            fputs(nested ? ":\n" : ": ", stdout);
            show_yaml(item, depth + 1, false);
        }
        return;
    }

    if (json_is_array(value) && json_array_size(value) > 0) {
        json_array_foreach(value, i, item) {
            printf("%*s- ", 2 * depth, "");
            show_yaml(item, depth + 1, true);
        }
        return;
    }

    show_json(value, JSON_COMPACT);
}

int hai_api_show(const struct hai_api *api, json_t *data,
                 const struct hai_column *columns, size_t n, const char *name) {
    json_t *list =
        json_is_array(data) ? json_incref(data) : json_pack("[O]", data);
    int rc = HAI_CLI_OK;
    json_t *item;
    size_t i;

    if (list == NULL) {
        json_decref(data);
        return HAI_CLI_PROBLEM;
    }

    if (strcmp(api->output, "json") == 0) {
        rc = show_json(data, JSON_INDENT(2));

    } else if (strcmp(api->output, "yaml") == 0) {
        show_yaml(data, 0, false);

    } else if (strcmp(api->output, "name") == 0) {
        json_array_foreach(list, i, item) {
            const char *text = json_string_value(json_object_get(item, name));

            hai_cli_put_line(stdout, text != NULL ? text : "",
                             text != NULL ? strlen(text) : 0);
            putchar('\n');
        }

    } else {
        rc = show_table(api, list, columns, n);
    }

    json_decref(list);
    json_decref(data);

    return rc;
}
