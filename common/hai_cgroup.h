/*
 * The one thing about cgroups that has to be looked up on the host: who may
 * make a folder beside a container's.  Linux only.
 */

#ifndef HAI_CGROUP_H
#define HAI_CGROUP_H

#include <stdbool.h>
#include <stddef.h>

/*
 * May the cgroup at offset "at" of the path (of the "0::" line) be known by
 * its bare name?  Only where nobody but host root can make folders beside it:
 * a container that manages its own cgroup makes what names it likes below
 * that.
 */
bool hai_cgroup_bare_safe(const char *path, size_t len, size_t at);

#endif
