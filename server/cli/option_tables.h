/* Functions that options.c and help.c share. */
#ifndef GN_CLI_PRIVATE_H
#define GN_CLI_PRIVATE_H

#include "server/cli/cli.h"

/* Visits every option of a command, the common ones last. */
void gn_cli_each_option(const struct gn_cli_command *command,
                        void (*visit)(void *user, const struct gn_cli_option *option), void *user);
/* Whether the field is not an option of the command. */
bool gn_cli_hidden(const struct gn_cli_command *command, const char *field);

#endif
