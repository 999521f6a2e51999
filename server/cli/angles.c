/* gonio angles: the angle of each layer of a tuned model, and the layers that a choice by angle
 * would tune. */
#include <stdio.h>
#include <string.h>

#include "server/cli/inputs.h"
#include "server/cli/commands.h"
#include "server/formats/events.h"
#include "server/common/files.h"
#include "server/common/text.h"

static const struct gn_cli_option options[] = {
    {"choose", "largest|smallest", "mark the layers that the strategy angle would tune, by this order"},
    {"attention-layers", "N", "number of attention layers that --choose marks; default 4"},
    {"ffn-layers", "N", "number of FFN layers that --choose marks; default 4"},
    GN_CLI_FOREIGN_OPTIONS,
};
static const struct gn_cli_command command = {
    .name = "angles",
    .usage = "TUNED BASE [options]\nRUN_FOLDER [options]",
    .text = "The fine-tuned angle of every attention and FFN layer, in degrees, in network order. Rank 1 is the\n"
            "largest of its group. TUNED and BASE are gonio's own files, other safetensors files or folders\n"
            "with one.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .words_min = 1,
    .words_max = 2,
};

struct view_of_angles {
	const struct gn_angles *angles;
	const struct gn_selection *chosen; /* NULL: nothing was to be chosen */
	const char *order;
};

static bool is_chosen(const struct view_of_angles *view, const char *name)
{
	for (int i = 0; view->chosen && i < view->chosen->count; i++)
		if (!strcmp(view->chosen->layers[i].name, name))
			return true;
	return false;
}

static void print_text(const struct view_of_angles *view)
{
	printf("%-20s %-10s %14s %5s\n", "layer", "group", "degrees", "rank");
	for (int i = 0; i < view->angles->count; i++) {
		const struct gn_layer_angle *layer = &view->angles->layers[i];

		printf("%-20s %-10s %14.9f %5d%s\n", layer->name, gn_group_name(layer->group), layer->degrees,
		       layer->rank, is_chosen(view, layer->name) ? "  chosen" : "");
	}
}

static void print_json(const struct view_of_angles *view)
{
	json_t *object = json_pack("{s:s,s:o}", "unit", "degree", "layers", gn_angles_layers(view->angles));

	if (view->chosen) {
		json_t *names = json_array();

		for (int i = 0; i < view->chosen->count; i++)
			json_array_append_new(names, json_string(view->chosen->layers[i].name));
		json_object_set_new(object, "selection", json_pack("{s:s,s:o}", "order", view->order, "layers", names));
	}
	gn_cli_json(object);
}

/* Chooses layers where --choose was given, and prints. Returns the exit status. */
static int show(const struct gn_cli *cli, const struct gn_angles *angles)
{
	struct view_of_angles view = {.angles = angles, .order = gn_cli_text(cli, "choose")};
	struct gn_selection chosen = {0};
	struct gn_error err = {0};
	long attention, ffn;
	int order = view.order ? gn_order_from_name(view.order) : -1;

	if (view.order && order < 0)
		return gn_cli_usage(cli->command, "--choose must be largest or smallest");
	if (gn_cli_integer(&attention, cli, "attention-layers", 0, 10000, 4) ||
	    gn_cli_integer(&ffn, cli, "ffn-layers", 0, 10000, 4))
		return GN_CLI_USAGE;
	if (view.order) {
		if (gn_select_layers(&chosen, angles, (enum gn_order)order, (int)attention, (int)ffn, &err)) {
			/* the engine names the strategy's fields */
			bool of_ffn = strstr(err.where, "ffn") != NULL;

			snprintf(err.where, sizeof err.where, "%s", of_ffn ? "--ffn-layers" : "--attention-layers");
			return gn_cli_failed(&err);
		}
		view.chosen = &chosen;
	}
	if (gn_cli_flag(cli, "json"))
		print_json(&view);
	else
		print_text(&view);
	gn_selection_release(&chosen);
	return GN_CLI_DONE;
}

static int measure(const struct gn_cli *cli, const struct gn_cli_chain *chain)
{
	struct gn_chain models = {0};
	struct gn_angles angles = {0};
	struct gn_error err = {0};
	int status;

	if (chain->count < 2)
		return gn_cli_usage(cli->command, "BASE is missing");
	if (gn_chain_open_paths(&models, chain->count, (const char *const *)chain->paths, false, &err) ||
	    gn_angles_compute(&angles, models.models[0], models.models[1], &err))
		status = gn_cli_failed(&err);
	else
		status = show(cli, &angles);
	gn_angles_release(&angles);
	gn_chain_close(&models);
	return status;
}

/* Opens the models, which may be imported into folder, and measures. */
static int run(const struct gn_cli *cli, const char *folder)
{
	struct gn_cli_chain chain;
	struct gn_error err = {0};
	int status;

	if (gn_cli_chain_open(&chain, cli, cli->words[0], cli->words + 1, cli->word_count - 1, folder, &err))
		status = gn_cli_failed(&err);
	else
		status = measure(cli, &chain);
	gn_cli_chain_release(&chain);
	return status;
}

int gn_command_angles(int argc, char **argv)
{
	struct gn_error err = {0};
	struct gn_cli cli;
	char folder[PATH_MAX];
	int status = gn_cli_parse(&cli, &command, argc, argv);

	if (status < 0 && gn_cli_temporary(folder, &err))
		status = gn_cli_failed(&err);
	if (status < 0) {
		status = run(&cli, folder);
		gn_tree_remove(folder, NULL, NULL);
	}
	gn_cli_release(&cli);
	return status;
}
