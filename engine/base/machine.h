/* What the process may use of the machine. */
#ifndef GN_MACHINE_H
#define GN_MACHINE_H

#include <stdint.h>

/* Bytes of memory: the machine's, or less where the process lives in a control group with a
 * limit (a container, a service). */
uint64_t gn_machine_memory(void);
/* The same limit, from a file like /proc/self/cgroup and a folder like /sys/fs/cgroup;
 * UINT64_MAX: none is set. */
uint64_t gn_group_memory(const char *groups, const char *root);
/* Processors that the process may run on, at least 1. */
int gn_machine_processors(void);

#endif
