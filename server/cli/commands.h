/* The subcommands that work on files, without the service: server/cli. Each gets the words after
 * its name and returns an exit status (enum gn_cli_status in server/cli/cli.h). */
#ifndef GN_SERVER_COMMANDS_H
#define GN_SERVER_COMMANDS_H

int gn_command_train(int argc, char **argv);
int gn_command_soup(int argc, char **argv);
int gn_command_evaluate(int argc, char **argv);
int gn_command_inspect(int argc, char **argv);
int gn_command_angles(int argc, char **argv);
int gn_command_classify(int argc, char **argv);
int gn_command_bench(int argc, char **argv);

#endif
