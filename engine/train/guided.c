/*
 * A run that finds its layers by itself (docs/method.md, "Choosing layers"): a probe of full
 * fine-tuning gives the angles, the angles give the layers, and the layers are tuned from the
 * pre-trained weights. Each phase is a gn_train of its own. The phases before the last work in
 * folder/PHASE and, when they are done, leave folder/PHASE.done: the figures, and the probe's
 * angles. A run that was interrupted reads what is done and goes on in the phase where it was.
 */
#include "gonio.h"

#include "base/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "gonio phase 1\n"

struct guided {
	const struct gn_train_options *options;
	const struct gn_guide *guide;
	const char *phase;
	struct gn_angles angles; /* of the last epoch that was reported */
	struct gn_error failure; /* of the events' relay */
};

/*
 * What a finished phase leaves, with layer_count struct gn_layer_angle behind. Read by the same
 * build on the same machine only.
 */
struct record {
	char magic[16];
	char fingerprint[65];
	int32_t layer_count;
	struct gn_train_result result;
};

static const char *const trial_phases[] = {[GN_LARGEST] = "trial_largest", [GN_SMALLEST] = "trial_smallest"};

/* ---------------------------------------------------------------- events ----------------------------------------- */

static int copy_angles(struct gn_angles *out, const struct gn_angles *in, struct gn_error *err)
{
	struct gn_layer_angle *layers = gn_alloc((size_t)in->count, sizeof *layers, err);

	if (!layers)
		return -1;
	memcpy(layers, in->layers, (size_t)in->count * sizeof *layers);
	gn_angles_release(out);
	*out = (struct gn_angles){in->count, layers};
	return 0;
}

static void relay(void *user, const struct gn_event *event)
{
	struct guided *g = user;
	struct gn_event told = *event;

	if (event->kind == GN_EVENT_ANGLES)
		copy_angles(&g->angles, event->angles, &g->failure);
	told.phase = g->phase;
	if (g->options->on_event)
		g->options->on_event(g->options->user, &told);
}

/* ---------------------------------------------------------------- what a finished phase leaves ------------------- */

static void phase_path(char path[4096], const struct guided *g, const char *phase, const char *suffix)
{
	snprintf(path, 4096, "%s/%s%s", g->options->folder, phase, suffix);
}

/* Ties a record to what decides its content. */
static int fingerprint(char hex[65], const struct guided *g, const struct gn_run_config *c, struct gn_error *err)
{
	const struct gn_model *model = g->options->model;
	const struct gn_dataset *dataset = g->options->dataset;
	struct gn_sha256 hash;
	char text[1024];

	if (gn_sha256_begin(&hash, err))
		return -1;
	snprintf(text, sizeof text, "%d %d %d %a %a %a %a %a %d %d %lld %d %d %d %llu %d %d %zu %d %d %d", c->epochs,
	         c->batch_size, c->micro_batch_size, c->lr, c->weight_decay, c->label_smoothing, c->clip_norm,
	         c->layer_decay, c->optimizer, c->schedule, (long long)c->warmup_steps, c->augment, c->image_size,
	         c->head, (unsigned long long)c->seed, c->eval_every_epochs, c->class_weights, model->layout.parameters,
	         dataset->sample_count, dataset->totals[GN_TRAIN], dataset->totals[GN_VAL]);
	gn_sha256_update(&hash, text, strlen(text) + 1);
	for (int i = 0; i < c->strategy.layer_count; i++)
		gn_sha256_update(&hash, c->strategy.layers[i], strlen(c->strategy.layers[i]) + 1);
	gn_sha256_end(&hash, hex);
	return 0;
}

static int write_record(const struct guided *g, const struct gn_run_config *config,
                        const struct gn_train_result *result, struct gn_error *err)
{
	struct record record = {.magic = MAGIC, .layer_count = g->angles.count, .result = *result};
	struct gn_file_writer writer;
	char path[4096];

	phase_path(path, g, g->phase, ".done");
	if (fingerprint(record.fingerprint, g, config, err) || gn_file_begin(&writer, path, err))
		return -1;
	if (gn_file_write(&writer, &record, sizeof record, err) ||
	    gn_file_write(&writer, g->angles.layers, (size_t)record.layer_count * sizeof *g->angles.layers, err)) {
		gn_file_abort(&writer);
		return -1;
	}
	return gn_file_commit(&writer, err);
}

static int take_record(struct guided *g, const struct gn_run_config *config, struct gn_train_result *result,
                       const struct gn_file_map *map, struct gn_error *err)
{
	struct record record;
	struct gn_angles angles;
	char hex[65];

	if (map->size < sizeof record)
		return gn_fail(err, GN_MALFORMED, g->phase, "the record of this phase is cut off");
	memcpy(&record, map->bytes, sizeof record);
	if (fingerprint(hex, g, config, err))
		return -1;
	if (memcmp(record.magic, MAGIC, sizeof MAGIC) || memcmp(record.fingerprint, hex, sizeof hex))
		return gn_fail(
		    err, GN_CONFLICT, g->phase,
		    "the record of this phase belongs to a run with another configuration, model or data set");
	if (record.layer_count < 0 || map->size - sizeof record != (size_t)record.layer_count * sizeof *angles.layers)
		return gn_fail(err, GN_MALFORMED, g->phase, "the record of this phase does not have its size");
	angles.count = record.layer_count;
	angles.layers = gn_alloc((size_t)angles.count, sizeof *angles.layers, err);
	if (!angles.layers)
		return -1;
	memcpy(angles.layers, map->bytes + sizeof record, (size_t)angles.count * sizeof *angles.layers);
	gn_angles_release(&g->angles);
	g->angles = angles;
	*result = record.result;
	return 0;
}

/* Sets *found; without a record nothing is touched. */
static int read_record(struct guided *g, const struct gn_run_config *config, struct gn_train_result *result,
                       bool *found, struct gn_error *err)
{
	struct gn_error missing = {0};
	struct gn_file_map map;
	char path[4096];
	int failed;

	*found = false;
	phase_path(path, g, g->phase, ".done");
	if (gn_file_map(&map, path, &missing))
		return missing.code == GN_NOT_FOUND ? 0 : gn_fail(err, missing.code, missing.where, "%s", missing.text);
	failed = take_record(g, config, result, &map, err);
	gn_file_unmap(&map);
	*found = !failed;
	return failed;
}

/* ---------------------------------------------------------------- a phase ---------------------------------------- */

/* The checkpoint is the only file that a phase without a model leaves. */
static void clear_folder(const struct guided *g)
{
	char path[4096];

	phase_path(path, g, g->phase, "/checkpoint.bin");
	unlink(path);
	phase_path(path, g, g->phase, "");
	rmdir(path);
}

static int train_phase(struct guided *g, const struct gn_run_config *config, const char *folder, bool discard_model,
                       struct gn_train_result *result, struct gn_error *err)
{
	struct gn_train_options options = *g->options;

	options.config = config;
	options.folder = folder;
	options.on_event = relay;
	options.user = g;
	options.discard_model = discard_model;
	if (gn_train(result, &options, err))
		return -1;
	return g->failure.code ? gn_fail(err, g->failure.code, g->failure.where, "%s", g->failure.text) : 0;
}

/* Runs a phase to its end, or takes its record. Afterwards g->angles are the phase's last. */
static int finish_phase(struct guided *g, const char *phase, const struct gn_run_config *config,
                        struct gn_train_result *result, struct gn_error *err)
{
	char folder[4096];
	bool found;

	g->phase = phase;
	gn_angles_release(&g->angles);
	if (read_record(g, config, result, &found, err))
		return -1;
	if (!found) {
		phase_path(folder, g, phase, "");
		if (mkdir(folder, 0700) && errno != EEXIST)
			return gn_fail_errno(err, folder, "cannot create the folder");
		if (train_phase(g, config, folder, true, result, err) || write_record(g, config, result, err))
			return -1;
	}
	clear_folder(g);
	return 0;
}

static struct gn_run_config phase_config(const struct gn_run_config *config, enum gn_strategy_kind kind, int epochs)
{
	struct gn_run_config phase = *config;

	phase.strategy = (struct gn_strategy){.kind = kind};
	phase.epochs = epochs;
	phase.warmup_steps = -1;
	phase.early_stop_epochs = 0;
	phase.eval_every_epochs = epochs;
	return phase;
}

struct gn_run_config gn_guide_probe(const struct gn_guide *guide, const struct gn_run_config *config)
{
	struct gn_run_config phase = phase_config(config, GN_FULL, guide->probe_epochs);

	phase.lr = guide->probe_lr;
	return phase;
}

struct gn_run_config gn_guide_trial(const struct gn_guide *guide, const struct gn_run_config *config)
{
	return phase_config(config, GN_ANGLE, guide->trial_epochs);
}

/* ---------------------------------------------------------------- the choice ------------------------------------- */

static void name_layers(const char **names, struct gn_strategy *strategy, const struct gn_selection *selection)
{
	for (int i = 0; i < selection->count; i++)
		names[i] = selection->layers[i].name;
	*strategy = (struct gn_strategy){.kind = GN_ANGLE, .layers = names, .layer_count = selection->count};
}

static bool same_layers(const struct gn_selection *a, const struct gn_selection *b)
{
	for (int i = 0; i < a->count; i++)
		if (strcmp(a->layers[i].name, b->layers[i].name) != 0)
			return false;
	return true;
}

static void add_result(struct gn_train_result *total, const struct gn_train_result *phase)
{
	total->seconds += phase->seconds;
	total->images += phase->images;
	if (phase->peak_memory_bytes > total->peak_memory_bytes)
		total->peak_memory_bytes = phase->peak_memory_bytes;
}

/*
 * Tunes by each order for a while: the better validation accuracy wins, then the lower loss, then
 * the largest angles.
 */
static int try_orders(struct guided *g, struct gn_choice *choice, const struct gn_selection orders[2],
                      struct gn_train_result *total, struct gn_error *err)
{
	const char **names = gn_alloc((size_t)orders[0].count, sizeof *names, err);
	struct gn_run_config config = gn_guide_trial(g->guide, g->options->config);
	struct gn_train_result result;
	int failed = names ? 0 : -1;

	for (int order = GN_LARGEST; !failed && order <= GN_SMALLEST; order++) {
		name_layers(names, &config.strategy, &orders[order]);
		failed = finish_phase(g, trial_phases[order], &config, &result, err);
		if (failed)
			break;
		add_result(total, &result);
		choice->trials[order].val_accuracy = result.val_accuracy;
		choice->trials[order].val_loss = result.val_loss;
	}
	free(names);
	if (failed)
		return -1;
	choice->tried = true;
	choice->order = choice->trials[GN_SMALLEST].val_accuracy > choice->trials[GN_LARGEST].val_accuracy ||
	                        (choice->trials[GN_SMALLEST].val_accuracy == choice->trials[GN_LARGEST].val_accuracy &&
	                         choice->trials[GN_SMALLEST].val_loss < choice->trials[GN_LARGEST].val_loss)
	                    ? GN_SMALLEST
	                    : GN_LARGEST;
	return 0;
}

/* The layers of either order, and which of the two it is. */
static int choose(struct guided *g, struct gn_choice *choice, struct gn_selection orders[2],
                  struct gn_train_result *total, struct gn_error *err)
{
	const struct gn_guide *guide = g->guide;

	for (int order = GN_LARGEST; order <= GN_SMALLEST; order++)
		if (gn_select_layers(&orders[order], &g->angles, (enum gn_order)order, guide->attention_layers,
		                     guide->ffn_layers, err))
			return -1;
	choice->order = guide->try_both_orders ? GN_LARGEST : guide->order;
	/* with all layers of a group there is nothing to try */
	if (guide->try_both_orders && !same_layers(&orders[GN_LARGEST], &orders[GN_SMALLEST]) &&
	    try_orders(g, choice, orders, total, err))
		return -1;
	choice->selection = &orders[choice->order];
	g->phase = "tuning";
	relay(g, &(struct gn_event){.kind = GN_EVENT_CHOICE, .choice = choice});
	return 0;
}

static int tune(struct guided *g, const struct gn_selection *selection, struct gn_train_result *result,
                struct gn_error *err)
{
	const char **names = gn_alloc((size_t)selection->count, sizeof *names, err);
	struct gn_run_config config = *g->options->config;
	int failed = names ? 0 : -1;

	if (!failed) {
		name_layers(names, &config.strategy, selection);
		failed = train_phase(g, &config, g->options->folder, g->options->discard_model, result, err);
	}
	free(names);
	return failed;
}

static int run(struct guided *g, struct gn_train_result *result, struct gn_error *err)
{
	struct gn_run_config probe = gn_guide_probe(g->guide, g->options->config);
	struct gn_selection orders[2] = {{0}, {0}};
	struct gn_train_result total, last;
	struct gn_choice choice = {0};
	int failed;

	if (finish_phase(g, "probe", &probe, &total, err))
		return -1;
	failed = choose(g, &choice, orders, &total, err) || tune(g, choice.selection, &last, err);
	gn_selection_release(&orders[GN_LARGEST]);
	gn_selection_release(&orders[GN_SMALLEST]);
	if (failed)
		return -1;
	add_result(&last, &total);
	*result = last;
	return 0;
}

int gn_train_guided(struct gn_train_result *result, const struct gn_train_options *options,
                    const struct gn_guide *guide, struct gn_error *err)
{
	struct guided g = {.options = options, .guide = guide};
	int failed;

	if (guide->try_both_orders && options->dataset->totals[GN_VAL] == 0)
		return gn_fail(err, GN_INVALID, "/strategy/order",
		               "auto compares the two orders on validation images, and the data set has none");
	failed = run(&g, result, err);
	gn_angles_release(&g.angles);
	return failed;
}
