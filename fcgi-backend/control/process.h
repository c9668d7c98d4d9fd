/* What the kernel says of a container's first process. */

#ifndef HAI_CONTROL_PROCESS_H
#define HAI_CONTROL_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * The path of its cgroup (the "0::" line of /proc/<pid>/cgroup), cut behind
 * the component that has `mark` in it: what lies deeper is the container's
 * own.  The caller frees it; "" where no component has it, or the process is
 * gone; NULL without memory.
 */
char *hai_process_cgroup(pid_t pid, const char *mark);

/*
 * The host's end of the veth pair whose other end, in the process's network
 * namespace, has this MAC ("02:00:..").  False: not found, or no right to
 * look (CAP_SYS_ADMIN).
 */
bool hai_process_interface(pid_t pid, const char *mac, char *name, size_t size);

#endif
