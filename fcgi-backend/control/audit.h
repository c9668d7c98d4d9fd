/*
 * What was done through the API, by whom: one JSON line in a file and one
 * entry in the stream ...:audit for each call that changes something or was
 * refused to.  Never the value of an environment variable.
 */

#ifndef HAI_CONTROL_AUDIT_H
#define HAI_CONTROL_AUDIT_H

#include "call.h"

struct hai_audit_log;

/* path: NULL for the stream alone.  NULL with a message in error. */
struct hai_audit_log *hai_audit_log_new(const char *path, const char *server,
                                        char *error, size_t size);
void hai_audit_log_free(struct hai_audit_log *log);

/* Opens the file anew (SIGHUP); on failure the old one stays. */
int hai_audit_log_reopen(struct hai_audit_log *log, char *error, size_t size);

/* Writes the call, which has its answer, to both. */
void hai_audit_call(struct hai_audit_log *log, struct hai_call *call);

/* What the program does by itself. */
struct hai_audit_note {
    const char *who; /* "runtime:docker" */
    const char *action;
    const char *container;
    const char *container_id; /* "": not of interest */
    const char *detail;
    bool ai_on; /* its AI was switched on by this */
};

void hai_audit_own(struct hai_audit_log *log, struct hai_registry_writer *w,
                   const struct hai_audit_note *note);

/* Calls of who is not known, "uid:<n>" or "address:<ip>", that were refused
 * within a second.  w: NULL without Redis. */
void hai_audit_refused(struct hai_audit_log *log, struct hai_registry_writer *w,
                       const char *who, const char *reason,
                       unsigned long count);

#endif
