/*
 * Key files: who may own them, which folders may lead to them, what may be in
 * them (docs/DIRECTIVES.md, "Key files").  For the module, which refuses a
 * configuration, and for the command, which says how to mend it.  Nothing
 * here keeps a byte of a file or tells of one.
 */

#ifndef HAI_SECRET_H
#define HAI_SECRET_H

#include <limits.h>
#include <stddef.h>

#define HAI_SECRET_MAX 8192

/* with the end of its line: what has to be read to judge a file; one byte
 * more tells one that is too long */
#define HAI_SECRET_LINE_MAX (HAI_SECRET_MAX + 2)

enum hai_secret_what {
    HAI_SECRET_FINE,

    /* the way to it */
    HAI_SECRET_LONG_PATH,
    HAI_SECRET_NO_NAME,     /* the path ends in a folder */
    HAI_SECRET_STAT,        /* "at" cannot be looked at, error */
    HAI_SECRET_OPEN_FOLDER, /* nor be entered, error */
    HAI_SECRET_READ_LINK,   /* nor be followed, error */
    HAI_SECRET_LINKS,       /* too many or too long symbolic links */
    HAI_SECRET_LINK_OWNER,
    HAI_SECRET_FOLDER_OWNER,
    HAI_SECRET_FOLDER_MODE,

    /* the file */
    HAI_SECRET_OPEN, /* error */
    HAI_SECRET_KIND, /* not a regular file */
    HAI_SECRET_OWNER,
    HAI_SECRET_MODE,

    /* what is in it */
    HAI_SECRET_EMPTY,
    HAI_SECRET_LONG,
    HAI_SECRET_LINES,
    HAI_SECRET_BYTE, /* not printable ASCII, at "offset" */
    HAI_SECRET_SPACE /* at one of its ends */
};

struct hai_secret_fault {
    enum hai_secret_what what;
    int error;               /* errno, 0: none */
    unsigned owner, mode;    /* of what the fault is about */
    size_t offset;           /* in the file */
    char name[NAME_MAX + 1]; /* the last component of at */
    char at[PATH_MAX];       /* what the fault is about; links are followed in
                                it, and it is cut where it is too long */
};

/*
 * Opens the file folder by folder, so that what was checked is what is read.
 * Accepts an absolute path.  Returns a descriptor that does not block, which
 * the caller closes, or -1 with *fault.
 */
int hai_secret_open(const char *path, struct hai_secret_fault *fault);

/*
 * Judges the content of a file.  *len: how many bytes there are, then how many
 * of them are the key.  Returns 0, or -1 with *fault.
 */
int hai_secret_check(const unsigned char *key, size_t *len,
                     struct hai_secret_fault *fault);

#endif
