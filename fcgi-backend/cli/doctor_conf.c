/* hoody-ai doctor: questions to nginx's configuration, see doctor.h. */

#include "child.h"
#include "doctor.h"

#include "lib/file.h"
#include "lib/service.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int hai_doctor_built_with(const struct hai_doctor *d, const char *argument,
                          char *to, size_t size) {
    const char *at = strstr(d->nginx_says, argument);
    size_t n;

    if (at == NULL) {
        return -1;
    }
    at += strlen(argument);
    n = strcspn(at, " \n");
    if (n == 0 || n >= size) {
        return -1;
    }
    memcpy(to, at, n);
    to[n] = '\0';
    return 0;
}

void hai_doctor_read_conf(struct hai_doctor *d) {
    const char *const argv[] = {d->nginx, "-V", NULL};
    char path[sizeof(d->conf_path)], here[sizeof(d->conf_path)];

    d->nginx_runs = hai_child_run(argv, (int) d->timeout_ms, d->nginx_says,
                                  sizeof(d->nginx_says))
                        == 0
                    && strstr(d->nginx_says, "nginx") != NULL;
    if (d->conf != NULL) {
        snprintf(path, sizeof(path), "%s", d->conf);
    } else if (hai_doctor_built_with(d, "--conf-path=", path, sizeof(path))
               != 0) {
        snprintf(path, sizeof(path), "/etc/nginx/nginx.conf");
    }
    if (*path != '/' && getcwd(here, sizeof(here)) == NULL) {
        here[0] = '\0';
    }
    if (hai_doctor_path(here, path, d->conf_path, sizeof(d->conf_path)) != 0) {
        snprintf(d->conf_error, sizeof(d->conf_error),
                 "the path of the configuration is too long");
        return;
    }
    snprintf(d->conf_dir, sizeof(d->conf_dir), "%s", d->conf_path);
    *strrchr(d->conf_dir, '/') = '\0';
    d->tree = hai_nginx_conf_read(d->conf_path, d->conf_dir, d->conf_error,
                                  sizeof(d->conf_error));
}

int hai_doctor_path(const char *dir, const char *path, char *to, size_t size) {
    int n = *path == '/' ? snprintf(to, size, "%s", path)
                         : snprintf(to, size, "%s/%s", dir, path);

    return n > 0 && (size_t) n < size ? 0 : -1;
}

/* Inherited into exact, regex and named locations, "hoody_ai on" is off
 * there. */
static bool is_plain(const struct hai_nginx_node *location) {
    return (location->n == 2 && strchr("=~@", location->word[1][0]) == NULL)
           || (location->n == 3 && strcmp(location->word[1], "^~") == 0);
}

const struct hai_nginx_node *
hai_doctor_location(const struct hai_nginx_node *node) {
    while ((node = hai_nginx_next(node)) != NULL) {
        if (hai_nginx_is(node, "location") && is_plain(node)
            && strcmp(hai_nginx_value(node, "hoody_ai"), "on") == 0
            && hai_nginx_child(node, "internal") == NULL
            && (hai_nginx_child(node, "proxy_pass") != NULL
                || hai_nginx_child(node, "hoody_ai") != NULL))
        {
            return node;
        }
    }
    return NULL;
}

const struct hai_nginx_node *hai_doctor_upstream(const struct hai_doctor *d,
                                                 const char *name) {
    const struct hai_nginx_node *node = d->tree;

    while (node != NULL && (node = hai_nginx_next(node)) != NULL) {
        if (hai_nginx_is(node, "upstream") && node->n == 2
            && strcmp(node->word[1], name) == 0)
        {
            return node;
        }
    }
    return NULL;
}

bool hai_doctor_unix_listener(const struct hai_doctor *d) {
    const struct hai_nginx_node *node = d->tree, *inside;

    while (node != NULL && (node = hai_nginx_next(node)) != NULL) {
        if (!hai_nginx_is(node, "listen") || node->n < 2
            || strncmp(node->word[1], "unix:", 5) != 0)
        {
            continue;
        }

        /* a server in which "hoody_ai on" is somewhere */
        for (inside = hai_doctor_location(node->parent); inside != NULL;
             inside = hai_doctor_location(inside))
        {
            const struct hai_nginx_node *up = inside;

            while (up != NULL && up != node->parent) {
                up = up->parent;
            }
            if (up != NULL) {
                return true;
            }
        }
    }
    return false;
}

void hai_doctor_user(const struct hai_doctor *d, char *to, size_t size) {
    if (d->tree != NULL && *hai_nginx_value(d->tree, "user") != '\0') {
        snprintf(to, size, "%s", hai_nginx_value(d->tree, "user"));
    } else if (hai_doctor_built_with(d, "--user=", to, size) != 0) {
        snprintf(to, size, "nobody");
    }
}

void hai_doctor_may_use(const struct hai_doctor *d, const char *path,
                        struct hai_finding *f) {
    char user[128], error[256];

    hai_doctor_user(d, user, sizeof(user));
    if (geteuid() != 0) {
        hai_doctor_say(f, HAI_DOCTOR_SKIP, NULL,
                       "what %s may do is for root to see", user);
    } else if (hai_service_user(user, error, sizeof(error)) != 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Name one that there is with the directive \"user\".",
                       "%s", error);
    } else if (access(path, R_OK | W_OK) != 0) {
        hai_doctor_say(f, HAI_DOCTOR_FAIL,
                       "Put nginx' user into the group of the socket "
                       "(usermod -aG), and restart nginx.",
                       "workers run as %s, who may not use %s: %s", user, path,
                       strerror(errno));
    } else {
        hai_doctor_say(f, HAI_DOCTOR_OK, NULL, "%s may use %s", user, path);
    }
}

pid_t hai_doctor_master(const struct hai_doctor *d) {
    char path[1024], file[1024], reason[64], *text;
    long pid;
    size_t len;

    if (d->tree != NULL && *hai_nginx_value(d->tree, "pid") != '\0') {
        snprintf(path, sizeof(path), "%s", hai_nginx_value(d->tree, "pid"));
    } else if (hai_doctor_built_with(d, "--pid-path=", path, sizeof(path)) != 0)
    {
        return 0;
    }
    if (hai_doctor_path(d->prefix != NULL ? d->prefix : d->conf_dir, path, file,
                        sizeof(file))
        != 0)
    {
        return 0;
    }
    text = hai_file_read(file, 64, &len, reason, sizeof(reason));
    pid = text != NULL ? strtol(text, NULL, 10) : 0;
    free(text);
    return pid > 0 && kill((pid_t) pid, 0) == 0 ? (pid_t) pid : 0;
}
