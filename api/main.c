/* The program gonio, with its subcommands. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "server/cli/commands.h"
#include "server/worker/worker.h"

enum { STATUS_USAGE = 2 };

/*
 * Service and workers share the cores. libgomp's threads spin while they wait, and then block cores
 * that others need: on two cores under a load of 9, one image of ViT-Ti took 0.25 s, but 0.065 s
 * with threads that sleep. On an idle machine, sleeping at once is slow too: 20 to 23 ms an image,
 * against 15 ms with a spin of 2000 turns, which is some ten microseconds. libgomp reads its
 * settings when it is loaded, so the program sets them and starts itself again; workers inherit
 * them. Settings of the user are not changed.
 */
static void bound_spinning(char **argv)
{
	char path[4096];
	ssize_t n;

	if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") || setenv("GOMP_SPINCOUNT", "2000", 1))
		return;
	n = readlink("/proc/self/exe", path, sizeof path - 1);
	if (n <= 0)
		return;
	path[n] = '\0';
	execv(path, argv); /* if this fails, the service runs with libgomp's own settings */
}

static int serve(int argc, char **argv)
{
	struct gn_config config;
	struct gn_error err = {0};

	if (gn_config_wants_help(argc, argv)) {
		gn_config_help(stdout);
		return 0;
	}
	if (gn_config_parse(&config, argc, argv, &err)) {
		fprintf(stderr, "gonio: --%s: %s\n", err.where, err.text);
		return STATUS_USAGE;
	}
	bound_spinning(argv - 2); /* main's own argv */
	return gn_service_run(&config, &gn_api_service);
}

static int version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("gonio %s\n", gn_version());
	return 0;
}

static const struct {
	const char *name, *help;
	int (*run)(int argc, char **argv);
} commands[] = {
    {"serve", "the service: HTTP, dashboard, runs (gonio serve --help)", serve},
    {"train", "fine-tunes part of a model on plain files", gn_command_train},
    {"soup", "averages tuned models of one base", gn_command_soup},
    {"evaluate", "measures a model on a data set", gn_command_evaluate},
    {"classify", "classifies pictures with a model", gn_command_classify},
    {"angles", "the angle of each layer of a tuned model to its base", gn_command_angles},
    {"inspect", "lists the tensors of a safetensors file", gn_command_inspect},
    {"bench", "measures speed and memory on this machine", gn_command_bench},
    {"version", "the version", version},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void help(FILE *out)
{
	fprintf(out, "usage: gonio COMMAND [ARGUMENTS]      (gonio COMMAND --help)\n\n");
	for (int i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
}

int main(int argc, char **argv)
{
	if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		help(argc < 2 ? stderr : stdout);
		return argc < 2 ? STATUS_USAGE : 0;
	}
	if (argc == 3 && gn_worker_supervised() && gn_job_kind_of_command(argv[1]) >= 0)
		return gn_worker_main((enum gn_kind)gn_job_kind_of_command(argv[1]), argv[2], NULL);
	for (int i = 0; i < COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 2, argv + 2);
	fprintf(stderr, "gonio: there is no command '%s'\n\n", argv[1]);
	help(stderr);
	return STATUS_USAGE;
}
