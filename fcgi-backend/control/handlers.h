/* The operations, one function each; route.c has the table. */

#ifndef HAI_CONTROL_HANDLERS_H
#define HAI_CONTROL_HANDLERS_H

#include "call.h"
#include "runtime.h"

/* 0 or -1: answered either way. */
typedef int (*hai_handler)(struct hai_call *call);

/* list.c */
int hai_containers_list(struct hai_call *call);
/* Of the project; NULL: of all that the caller may read. */
int hai_list_answer(struct hai_call *call, const char *project);

/* containers.c */
int hai_containers_list_project(struct hai_call *call);
int hai_containers_get(struct hai_call *call);
int hai_containers_update(struct hai_call *call);
int hai_containers_delete(struct hai_call *call);

/* create.c */
int hai_containers_create(struct hai_call *call);

/* operations.c */
int hai_containers_operate(struct hai_call *call);

/* snapshots.c */
int hai_snapshots_list(struct hai_call *call);
int hai_snapshots_create(struct hai_call *call);
int hai_snapshots_restore(struct hai_call *call);
int hai_snapshots_alias(struct hai_call *call);
int hai_snapshots_delete(struct hai_call *call);

/* misc.c */
int hai_models_list(struct hai_call *call);
int hai_health(struct hai_call *call);
int hai_audit_list(struct hai_call *call);

/* audit_ai.c */
int hai_audit_ai(struct hai_call *call);

/*
 * stream.c: the entries of a stream, the newest first, until look() returns
 * false or there are no more, or max of them, in pieces that take Redis little
 * time each.  *oldest: when the last one was written, milliseconds since 1970.
 * 0; or -1: Redis does not answer.
 */
int hai_stream_walk(struct hai_call *call, const char *stream, size_t max,
                    bool (*look)(void *data, const redisReply *fields),
                    void *data, int64_t *oldest);

/* The containers with AI on that the caller may read, sorted by name; NULL:
 * answered. */
json_t *hai_containers_with_ai(struct hai_call *call);

/*
 * The container that segment n of the path names, read anew; the caller may
 * do `right` there.  0 with name (101 bytes) and *read, which has to be freed;
 * or -1: answered with 400, 404, 403 or 503.
 */
int hai_find_container(struct hai_call *call, size_t n, enum hai_right right,
                       char *name, struct hai_container_read *read);

/* The project of the path.  0; or -1: answered, with 404 where the caller may
 * see nothing of it. */
int hai_find_project(struct hai_call *call, enum hai_right right);

/* Answers with the call's container, by its id: the name that it was given may
 * be another one's by now. */
int hai_show(struct hai_call *call, int status, const char *message);

/* For the audit: what it is before the call changes it. */
void hai_remember(struct hai_call *call, const char *name,
                  const struct hai_container_read *read);

/* Can containers be made and removed from here?  0; or -1: answered.  A file
 * that says what there is, for instance, is not written. */
int hai_can_make(struct hai_call *call);

/* What the connector writes, nobody else does: it would be another one's
 * address until the next pass.  runtime: the container's.  0; or -1: answered.
 */
int hai_may_set(struct hai_call *call, const struct hai_container *c,
                const char *runtime);

/* Waits for others to end, where it may; false: they have not. */
bool hai_lock_name(struct hai_call *call, const char *name);

/*
 * The same as hai_find_container() for the container of the path that is to be
 * changed, with its name locked: hai_unlock() is the caller's.  code: what is
 * said where it is in use (409).
 */
int hai_lock_container(struct hai_call *call, const char *code, char *name,
                       struct hai_container_read *read);

/*
 * A change that failed because somebody else, with another process, made one
 * between its reading and its writing: the answer is taken back, and it has to
 * be tried again.  False: it failed for another reason, or too often (409), or
 * the caller wants to know (If-Match).
 */
bool hai_again(struct hai_call *call, unsigned *tries);

/* hai_fail_write() for what was read before: not there any more is changed. */
int hai_fail_change(struct hai_call *call, struct hai_write_result *result);

/*
 * Is the runtime's instance of this name the container, and not one that has
 * only the same name?  There has to be a runtime.  0 with *there: it is, or
 * there is none; or -1: answered.
 */
int hai_find_instance(struct hai_call *call, const char *name,
                      const struct hai_container_read *read, bool *there);

/* The same where there has to be one. */
int hai_need_instance(struct hai_call *call, const char *name,
                      const struct hai_container_read *read);

/* What a failure of the runtime means to the caller; -1. */
int hai_fail_runtime(struct hai_call *call, const struct hai_runtime_error *e);

#endif
