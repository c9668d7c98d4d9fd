/*
 * The audit log: lines are appended, each with one write(), and are on the
 * disk before their entries are acknowledged.  Used by the thread reader.
 */

#ifndef HAI_EVENTS_AUDIT_H
#define HAI_EVENTS_AUDIT_H

#include <stddef.h>

struct hai_audit {
    const char *path;
    int fd;
};

/* 0; or -1 with a message in error. */
int hai_audit_open(struct hai_audit *audit, const char *path, char *error,
                   size_t size);
void hai_audit_close(struct hai_audit *audit);

/* Opens the path anew, for what rotates logs.  On failure the old file is
 * kept. */
int hai_audit_reopen(struct hai_audit *audit, char *error, size_t size);

/*
 * One batch: begin, any number of writes of whole lines, end.  Other writers
 * wait meanwhile.  A line that did not fit is taken back whole.  0; or -1 with
 * a message in error, then nothing of the batch may be taken for written.
 */
int hai_audit_begin(struct hai_audit *audit, char *error, size_t size);
int hai_audit_write(struct hai_audit *audit, const char *line, size_t len,
                    char *error, size_t size);
int hai_audit_end(struct hai_audit *audit, char *error, size_t size);

#endif
