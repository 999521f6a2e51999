/* The built program (GONIO in the environment) as a child: workers and services that tests start
 * and kill. */
#ifndef GN_TEST_PROGRAM_H
#define GN_TEST_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

/* Skips the running test when there is no program. */
void program_needed(void);
void program_pause(long milliseconds);
/* Starts `gonio COMMAND ARGUMENT`, or with option not NULL `gonio COMMAND ARGUMENT OPTION VALUE
 * --listen 127.0.0.1:0`; stderr goes to the end of log. */
pid_t program_start(const char *command, const char *argument, const char *option, const char *value, const char *log);
/* Exit status, or 128 and the signal. */
int program_wait(pid_t pid);
/* Starts `gonio COMMAND FOLDER` with its log in FOLDER/log.txt. */
pid_t program_worker(const char *command, const char *folder);
/* Starts the service on a folder of its own and waits for its address, which its log (DATA.log)
 * tells. */
pid_t program_service(const char *data, char address[64]);

#endif
