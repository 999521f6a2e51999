/* See machine.h. Control groups of version 2; a limit holds for a group and for all groups
 * inside of it. */
#include "base/machine.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

/* The number in folder/memory.max; UINT64_MAX where there is none ("max"). */
static uint64_t read_limit(const char *folder)
{
	char path[PATH_SIZE + 16], line[32] = "", *end;
	unsigned long long value;
	FILE *file;

	snprintf(path, sizeof path, "%s/memory.max", folder);
	file = fopen(path, "re");
	if (!file)
		return UINT64_MAX;
	if (!fgets(line, sizeof line, file))
		line[0] = '\0';
	fclose(file);
	errno = 0;
	value = strtoull(line, &end, 10);
	return end == line || errno || value == 0 ? UINT64_MAX : value;
}

/* The process's group, "/a/b", without an end of line; false: no such line. */
static bool read_group(char group[PATH_SIZE], const char *groups)
{
	char line[PATH_SIZE];
	FILE *file = fopen(groups, "re");
	bool found = false;

	while (file && !found && fgets(line, sizeof line, file)) {
		line[strcspn(line, "\n")] = '\0';
		found = !strncmp(line, "0::/", 4);
		if (found)
			snprintf(group, PATH_SIZE, "%s", line + 3);
	}
	if (file)
		fclose(file);
	return found;
}

uint64_t gn_group_memory(const char *groups, const char *root)
{
	char group[PATH_SIZE], folder[PATH_SIZE];
	uint64_t least = UINT64_MAX, limit;

	if (!read_group(group, groups))
		return UINT64_MAX;
	for (;;) {
		char *slash = strrchr(group, '/');

		if (snprintf(folder, sizeof folder, "%s%s", root, group) < (int)sizeof folder) {
			limit = read_limit(folder);
			least = limit < least ? limit : least;
		}
		if (!slash)
			return least;
		*slash = '\0';
	}
}

uint64_t gn_machine_memory(void)
{
	uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t group = gn_group_memory("/proc/self/cgroup", "/sys/fs/cgroup");

	return group < machine ? group : machine;
}

int gn_machine_processors(void)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t allowed;
	int count;

	/* fails on machines with more processors than the set holds */
	if (sched_getaffinity(0, sizeof allowed, &allowed) == 0 && (count = CPU_COUNT(&allowed)) > 0)
		return count;
	return online > 0 ? (int)online : 1;
}
