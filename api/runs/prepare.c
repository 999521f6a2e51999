/*
 * Prepares a run, for launching it and for its plan: reads its JSON, checks it against its model
 * and data set, chooses its layers and plans it. A run with a probe has phases, and each phase has
 * a plan. The layers that it will choose are not known yet. The plan assumes the lowest blocks: any
 * choice has as many parameters, and no other choice costs more.
 */
#include "api/api.h"
#include "server/formats/strategy.h"

/* ---------------------------------------------------------------- model and data set ---------- */

static int count_images(struct gn_request *r, struct gn_prepared *p, struct gn_error *err)
{
	struct gn_dataset_cache *cache = gn_api_of(r)->datasets;
	struct gn_dataset *dataset;

	p->classes = p->request.classes;
	p->train_images = p->request.train_images;
	p->val_images = p->request.val_images;
	if (p->classes)
		return 0;
	if (gn_dataset_hold(cache, p->request.dataset, &dataset, err))
		return -1;
	p->classes = dataset->class_count;
	p->train_images = dataset->totals[GN_TRAIN];
	p->val_images = dataset->totals[GN_VAL];
	gn_dataset_drop(cache, dataset);
	return 0;
}

/* ---------------------------------------------------------------- layers ---------------------- */

/* Uses equal angles for all layers, so that the lowest blocks are chosen. */
static int worst_choice(struct gn_selection *out, const struct gn_prepared *p, struct gn_error *err)
{
	int depth = p->model->model->arch.depth;
	struct gn_angles angles = {.layers = calloc((size_t)depth * 2, sizeof *angles.layers)};
	int failed;

	if (!angles.layers)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for the plan");
	for (int i = 0; i < 2 * depth; i++) {
		struct gn_layer_angle *layer = &angles.layers[angles.count++];
		layer->block = i / 2;
		layer->group = i % 2 ? GN_GROUP_FFN : GN_GROUP_ATTENTION;
		layer->degrees = 1;
		snprintf(layer->name, sizeof layer->name, "blocks.%d.%s", i / 2, i % 2 ? "mlp" : "attn");
	}
	failed = gn_select_layers(out, &angles, GN_LARGEST, p->request.guide.attention_layers,
	                          p->request.guide.ffn_layers, err);
	gn_angles_release(&angles);
	return failed;
}

static int choose_layers(struct gn_request *r, struct gn_prepared *p, struct gn_error *err)
{
	struct gn_run_request *request = &p->request;
	const struct gn_guide *guide = &request->guide;
	struct gn_selection selection = {0};
	int failed;

	p->layers_known = request->config.strategy.kind != GN_ANGLE || !guide->probe_epochs;
	if (request->config.strategy.kind != GN_ANGLE)
		return 0;
	if (p->layers_known)
		failed = gn_api_select(r, request->from, request->model, guide, &selection, err);
	else if (guide->try_both_orders && p->val_images == 0)
		return gn_fail(err, GN_INVALID, "/strategy/order",
		               "auto compares the two orders on validation images, and there are none");
	else
		failed = worst_choice(&selection, p, err);
	if (failed)
		return -1;
	json_t *chosen = gn_selection_json(&selection, guide->order);
	gn_selection_release(&selection);
	failed = gn_strategy_take_selection(request, chosen);
	if (p->layers_known) {
		json_object_set_new(chosen, "from", json_string(request->from));
		json_object_set_new(chosen, "trials", json_null());
		p->selection = json_incref(chosen);
	}
	json_decref(chosen);
	return failed ? gn_fail(err, GN_NO_MEMORY, "", "no memory for the plan") : 0;
}

/* Lists the layers that the strategy tunes, in the network that the run trains: with a head for the
 * data set. */
static int list_layers(struct gn_prepared *p, struct gn_error *err)
{
	struct gn_arch arch = p->model->model->arch;
	struct gn_layout layout = {0};
	bool *tuned = NULL;
	int failed;

	arch.classes = p->classes;
	arch.image_size = p->plan.image_size;
	failed = gn_layout_init(&layout, &arch, err);
	if (!failed && !(tuned = calloc((size_t)layout.count, sizeof *tuned)))
		failed = gn_fail(err, GN_NO_MEMORY, "", "no memory for the plan");
	if (!failed && !(failed = gn_strategy_select(tuned, &layout, &p->request.config.strategy, err)))
		p->tuned_layers = gn_api_tuned_layers(&layout, tuned);
	free(tuned);
	gn_layout_release(&layout);
	return failed;
}

/* ---------------------------------------------------------------- planning -------------------- */

/* Adds a phase with its plan. */
static int plan_phase(struct gn_prepared *p, const char *name, const struct gn_run_config *config, struct gn_error *err)
{
	struct gn_phase_plan *phase = &p->phases[p->phase_count];
	const struct gn_device_info *device = &p->service->device_info;
	enum gn_precision asked = (enum gn_precision)p->request.precision;

	phase->name = name;
	phase->config = *config;
	if (gn_plan_make_on(&phase->plan, p->service->device, asked == GN_PRECISION_AUTO ? device->precision : asked,
	                    &p->model->model->arch, config, p->classes, p->train_images, p->val_images,
	                    device->memory_bytes, err))
		return -1;
	p->phase_count++;
	return 0;
}

static int plan_phases(struct gn_prepared *p, struct gn_error *err)
{
	struct gn_run_config *config = &p->request.config;
	const struct gn_guide *guide = &p->request.guide;

	if (!p->layers_known) {
		struct gn_run_config probe = gn_guide_probe(guide, config), trial = gn_guide_trial(guide, config);
		if (plan_phase(p, "probe", &probe, err))
			return -1;
		/* the phase that needs most memory decides for all phases */
		config->micro_batch_size = trial.micro_batch_size = p->phases[0].plan.micro_batch_size;
		trial.strategy = config->strategy;
		if (guide->try_both_orders &&
		    (plan_phase(p, "trial_largest", &trial, err) || plan_phase(p, "trial_smallest", &trial, err)))
			return -1;
	}
	return plan_phase(p, "tuning", config, err);
}

/* Takes the tuning's plan, the memory of the phase that needs most, and the values that the plan
 * filled in. */
static void take_plan(struct gn_prepared *p)
{
	struct gn_run_config *config = &p->request.config;

	p->plan = p->phases[p->phase_count - 1].plan;
	for (int i = 0; i < p->phase_count; i++)
		if (p->phases[i].plan.memory.total > p->plan.memory.total)
			p->plan.memory = p->phases[i].plan.memory;
	config->image_size = p->plan.image_size;
	config->micro_batch_size = p->plan.micro_batch_size;
	config->warmup_steps = p->plan.warmup_steps;
}

int gn_api_prepare_object(struct gn_request *r, struct gn_prepared *p, const json_t *object, bool for_plan,
                          json_t *errors, struct gn_error *err)
{
	struct gn_run_request *request = &p->request;

	memset(p, 0, sizeof *p);
	p->service = gn_request_service(r);
	gn_run_request_read(request, object, for_plan, errors);
	if (gn_api_resolve(r, GN_KIND_MODEL, request->model, "/model", errors, err) ||
	    gn_api_resolve(r, GN_KIND_DATASET, request->dataset, "/dataset", errors, err) || json_array_size(errors))
		return -1;
	if (gn_modelpool_hold(gn_api_models(r), request->model, &p->model, err) || count_images(r, p, err) ||
	    choose_layers(r, p, err) || plan_phases(p, err))
		return -1;
	take_plan(p);
	return list_layers(p, err);
}

int gn_api_prepare(struct gn_request *r, struct gn_prepared *p, bool for_plan)
{
	json_t *errors = json_array();
	struct gn_error err = {0};
	int failed;

	memset(p, 0, sizeof *p);
	if (gn_api_no_query(r)) {
		json_decref(errors);
		return -1;
	}
	failed = gn_api_prepare_object(r, p, gn_request_json(r), for_plan, errors, &err);
	if (gn_reply_fields(r, errors))
		return -1;
	if (failed)
		gn_api_reply_member(r, &err);
	return failed;
}

void gn_api_prepared_release(struct gn_request *r, struct gn_prepared *p)
{
	gn_modelpool_drop(gn_api_models(r), p->model);
	gn_run_request_release(&p->request);
	json_decref(p->tuned_layers);
	json_decref(p->selection);
}
