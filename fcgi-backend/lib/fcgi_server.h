/*
 * A FastCGI server: threads that wait together for connections with something
 * to read.  A kept connection costs no thread while it is idle, and a peer
 * that stalls holds one for a limited time only.
 */

#ifndef HAI_FCGI_SERVER_H
#define HAI_FCGI_SERVER_H

#include <fcgiapp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct hai_fcgi_server;
struct hai_fcgi_thread;

/* The owner's, to be shown; the server alone changes them. */
struct hai_fcgi_counters {
    atomic_uint connections; /* now */
    atomic_ullong accepted;
};

/* Who answers.  The functions are called by the threads. */
struct hai_fcgi_owner {
    void *data;
    struct hai_fcgi_counters *counters;
    size_t threads;

    /* Of one request, from its first byte to the last of its answer; who
     * takes longer is cut off. */
    unsigned limit_ms;
    /* The same while no thread is free for others that wait; 0: no other. */
    unsigned hurry_ms;

    /* What a thread keeps from request to request; NULL: no memory. */
    void *(*scratch_new)(void *data);
    void (*scratch_free)(void *scratch);
    /* After each request, once it has its answer; NULL: not wanted. */
    void (*scratch_reset)(void *scratch);

    /*
     * Reads the request to its end and writes the answer.  0, or -1: the
     * connection is broken, or has bytes that nobody will read, and cannot be
     * kept.
     */
    int (*answer)(void *data, void *scratch, struct hai_fcgi_thread *thread,
                  FCGX_Request *request);
};

/* Starts the threads on this listening socket; owner is copied.  NULL with a
 * message in the log. */
struct hai_fcgi_server *
hai_fcgi_server_start(const struct hai_fcgi_owner *owner, int fd);

/* Every TICK: ends requests that take too long, accepts again where there
 * were too many connections. */
#define HAI_FCGI_TICK_MS 250
void hai_fcgi_server_tick(struct hai_fcgi_server *server);

/*
 * No more connections; requests that have arrived are answered, for that long
 * at most.  True: all threads have ended and everything is freed.
 */
bool hai_fcgi_server_stop(struct hai_fcgi_server *server, unsigned timeout_ms);

/*
 * For answer(), between reading and writing: what is done now has a limit of
 * its own, and the peer is not cut off for it.  After resume() the limit
 * counts anew.
 */
void hai_fcgi_pause(struct hai_fcgi_thread *thread);
void hai_fcgi_resume(struct hai_fcgi_thread *thread);

#endif
