/* See hai_cgroup.h. */

#include "hai_cgroup.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

bool hai_cgroup_bare_safe(const char *path, size_t len, size_t at) {
    char name[PATH_MAX];
    const char *root;
    struct stat st;
    int n;

    if (at > len || at >= sizeof(name)) {
        return false;
    }

    /* the tree of version 2 alone, or beside those of version 1 */
    root = stat("/sys/fs/cgroup/cgroup.controllers", &st) == 0
               ? "/sys/fs/cgroup"
               : "/sys/fs/cgroup/unified";

    n = snprintf(name, sizeof(name), "%s%.*s", root, (int) at, path);
    return n > 0 && (size_t) n < sizeof(name) && lstat(name, &st) == 0
           && S_ISDIR(st.st_mode) && st.st_uid == 0
           && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}
