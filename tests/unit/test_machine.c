/* The memory that a control group leaves to a process, from folders as the kernel shows them;
 * and the machine's own. */
#include "tests/support/toy.h"

#include "base/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static void put(const char *folder, const char *name, const char *text)
{
	char path[600];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void make_folder(const char *folder, const char *name)
{
	char path[600];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

static void the_least_limit_on_the_way_holds(void **state)
{
	char *folder = toy_folder(), groups[600];

	(void)state;
	snprintf(groups, sizeof groups, "%s/groups", folder);
	assert_true(gn_group_memory(groups, folder) == UINT64_MAX); /* no such file */
	put(folder, "groups", "12:memory:/old\n");
	assert_true(gn_group_memory(groups, folder) == UINT64_MAX); /* version 1 */
	put(folder, "groups", "1:name=systemd:/\n0::/slice/service\n");
	assert_true(gn_group_memory(groups, folder) == UINT64_MAX); /* no such folders */
	make_folder(folder, "slice");
	make_folder(folder, "slice/service");
	put(folder, "slice/service/memory.max", "max\n");
	assert_true(gn_group_memory(groups, folder) == UINT64_MAX);
	put(folder, "slice/memory.max", "3000000000\n");
	assert_int_equal(gn_group_memory(groups, folder), 3000000000);
	put(folder, "slice/service/memory.max", "2000000000\n");
	assert_int_equal(gn_group_memory(groups, folder), 2000000000);
	put(folder, "memory.max", "1000000000\n"); /* a container's own root */
	assert_int_equal(gn_group_memory(groups, folder), 1000000000);
	put(folder, "groups", "0::/\n");
	assert_int_equal(gn_group_memory(groups, folder), 1000000000);
	toy_remove(folder);
}

static void the_machine_has_something(void **state)
{
	(void)state;
	assert_in_range(gn_machine_memory(), 1 << 26, (uint64_t)1 << 50);
	assert_in_range(gn_machine_processors(), 1, sysconf(_SC_NPROCESSORS_CONF));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_least_limit_on_the_way_holds),
	    cmocka_unit_test(the_machine_has_something),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
