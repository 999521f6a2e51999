/* gonio inspect: the tensors of any safetensors file. */
#include <inttypes.h>
#include <stdio.h>

#include "server/cli/cli.h"
#include "server/cli/commands.h"

static const struct gn_cli_command command = {
    .name = "inspect",
    .usage = "FILE [--json]",
    .text = "Lists the tensors of a safetensors file: type, name and shape, in the order of the file.",
    .words_min = 1,
    .words_max = 1,
};

struct listing {
	bool json;
	uint64_t numbers;
};

static void print_tensor(void *user, const char *name, const char *dtype, int rank, const int64_t *shape)
{
	struct listing *listing = user;
	uint64_t count = 1;
	json_t *sides = json_array();

	for (int i = 0; i < rank; i++) {
		json_array_append_new(sides, json_integer(shape[i]));
		count *= (uint64_t)shape[i];
	}
	listing->numbers += count;
	if (listing->json) {
		gn_cli_json(json_pack("{s:s,s:s,s:O}", "name", name, "dtype", dtype, "shape", sides));
	} else {
		printf("%-5s %-60s (", dtype, name);
		for (int i = 0; i < rank; i++)
			printf("%s%" PRId64, i ? ", " : "", shape[i]);
		puts(")");
	}
	json_decref(sides);
}

int gn_command_inspect(int argc, char **argv)
{
	struct listing listing = {0};
	struct gn_error err = {0};
	struct gn_cli cli;
	int status = gn_cli_parse(&cli, &command, argc, argv);

	if (status < 0) {
		listing.json = gn_cli_flag(&cli, "json");
		status = gn_inspect(cli.words[0], print_tensor, &listing, &err) ? gn_cli_failed(&err) : GN_CLI_DONE;
		if (status == GN_CLI_DONE && !listing.json)
			printf("%" PRIu64 " numbers\n", listing.numbers);
	}
	gn_cli_release(&cli);
	return status;
}
