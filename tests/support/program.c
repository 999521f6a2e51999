/* See program.h. */
#include "tests/support/program.h"

#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/common/files.h"

void program_needed(void)
{
	if (!getenv("GONIO"))
		skip();
}

void program_pause(long milliseconds)
{
	nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

pid_t program_start(const char *command, const char *argument, const char *option, const char *value, const char *log)
{
	const char *program = getenv("GONIO"),
	           *arguments[] = {program, command, argument, option, value, "--listen", "127.0.0.1:0", NULL};
	posix_spawn_file_actions_t files;
	pid_t pid;

	assert_non_null(program);
	if (!option)
		arguments[3] = NULL;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	assert_int_equal(posix_spawn(&pid, program, &files, NULL, (char **)arguments, environ), 0);
	posix_spawn_file_actions_destroy(&files);
	return pid;
}

int program_wait(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

pid_t program_worker(const char *command, const char *folder)
{
	char log[PATH_MAX + 16];

	snprintf(log, sizeof log, "%s/log.txt", folder);
	return program_start(command, folder, NULL, NULL, log);
}

pid_t program_service(const char *data, char address[64])
{
	char log[PATH_MAX + 8], *text, *at;
	pid_t pid;
	size_t size;

	snprintf(log, sizeof log, "%s.log", data);
	unlink(log);
	pid = program_start("serve", "--data", data, "--disk-reserve=0", log);
	for (int i = 0; i < 1500; i++) {
		program_pause(20);
		if (waitpid(pid, NULL, WNOHANG) == pid)
			fail_msg("the service ended at its start; see %s", log);
		if (gn_file_load(log, 1 << 20, &text, &size, NULL))
			continue;
		at = strstr(text, "http://");
		if (at && strchr(at, '\n')) {
			snprintf(address, 64, "%.*s", (int)strcspn(at + 7, "\n"), at + 7);
			free(text);
			return pid;
		}
		free(text);
	}
	fail_msg("the service does not say where it listens");
	return -1;
}
