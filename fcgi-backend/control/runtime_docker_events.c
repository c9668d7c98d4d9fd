/* The stream of events of Docker and Podman: something happened, look again. */

#include "runtime_docker.h"

#include <string.h>
#include <time.h>

void hai_docker_events_close(struct hai_docker *s) {
    if (s->events != NULL) {
        curl_multi_remove_handle(s->multi, s->events);
        curl_easy_cleanup(s->events);
        s->events = NULL;
    }
    if (s->multi != NULL) {
        curl_multi_cleanup(s->multi);
        s->multi = NULL;
    }
}

/* curl_write_callback has no const */
static size_t on_event(char *data, /* NOLINT(readability-non-const-parameter) */
                       size_t one, size_t n, void *to) {
    struct hai_docker *s = to;

    (void) data;
    (void) one;
    s->happened = true;

    return n;
}

static size_t on_head(char *data, size_t one, size_t n, void *to) {
    struct hai_docker *s = to;

    (void) one;

    /* "HTTP/1.1 200 OK" */
    if (n > 12 && strncmp(data, "HTTP/", 5) == 0
        && strncmp(data + 8, " 200", 4) == 0)
    {
        s->begun = true;
    }

    return n;
}

static int events_open(struct hai_docker *s, struct hai_runtime_error *e) {
    /* {"type":["container","network"]} */
    static const char url[] =
        "http://runtime" API
        "/events?filters=%7B%22type%22%3A%5B%22container%22%2C%22network%22"
        "%5D%7D";

    s->multi = curl_multi_init();
    s->events = curl_easy_init();
    s->begun = false;
    s->told = false;
    s->happened = false;

    if (s->multi == NULL || s->events == NULL) {
        hai_docker_events_close(s);
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    curl_easy_setopt(s->events, CURLOPT_URL, url);
    curl_easy_setopt(s->events, CURLOPT_UNIX_SOCKET_PATH, s->socket);
    curl_easy_setopt(s->events, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(s->events, CURLOPT_PROXY, "");
    curl_easy_setopt(s->events, CURLOPT_CONNECTTIMEOUT_MS, 2000L);
    curl_easy_setopt(s->events, CURLOPT_WRITEFUNCTION, on_event);
    curl_easy_setopt(s->events, CURLOPT_WRITEDATA, s);
    curl_easy_setopt(s->events, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(s->events, CURLOPT_HEADERDATA, s);

    if (curl_multi_add_handle(s->multi, s->events) != CURLM_OK) {
        hai_docker_events_close(s);
        return hai_runtime_fail(e, HAI_RUNTIME_MEMORY, "no memory");
    }

    return 0;
}

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);

    return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int hai_docker_wait(void *state, int timeout_ms, const atomic_bool *stop,
                    struct hai_runtime_error *e) {
    struct hai_docker *s = state;
    int64_t until = now_ms() + timeout_ms;
    int running;

    if (s->multi == NULL && events_open(s, e) != 0) {
        return -1;
    }

    while (!atomic_load(stop) && now_ms() < until) {
        if (curl_multi_perform(s->multi, &running) != CURLM_OK || running == 0)
        {
            hai_docker_events_close(s);
            return hai_runtime_fail(e, HAI_RUNTIME_UNREACHABLE,
                                    "%s: the stream of events has ended",
                                    s->socket);
        }

        /* what happened before the stream began, nobody told */
        if (s->happened || (s->begun && !s->told)) {
            s->happened = false;
            s->told = s->begun;
            return 1;
        }

        curl_multi_poll(s->multi, NULL, 0, 200, NULL);
    }

    return 0;
}
