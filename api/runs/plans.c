/* POST /v1/plans: the costs of a run in operations, bytes and seconds. prepare.c makes the plan
 * itself. */
#include "api/api.h"

#include <math.h>
#include <pthread.h>

/* ---------------------------------------------------------------- this machine's rate --------- */

/* The share of the rate of large matrix products that training reaches, measured with ViT-Ti to
 * ViT-B. */
#define TRAINING_SHARE 0.7
/* The assumed rate of a thread if the measurement fails. */
#define GUESS_PER_THREAD 2e10
/* The rate of a run counts if it took at least so many seconds. */
#define LONG_ENOUGH 2

struct gn_rate {
	pthread_mutex_t lock;
	double flops; /* 0: not measured yet */
};

struct gn_rate *gn_rate_new(void)
{
	struct gn_rate *rate = calloc(1, sizeof *rate);

	if (rate)
		pthread_mutex_init(&rate->lock, NULL);
	return rate;
}

void gn_rate_free(struct gn_rate *rate)
{
	if (!rate)
		return;
	pthread_mutex_destroy(&rate->lock);
	free(rate);
}

/* Measures on its own device, because the service's belongs to the classifier. 0 on a failure. */
static double measure(int threads)
{
	struct gn_device *device;
	double flops = 0;

	if (gn_device_open(&device, "cpu", threads, GN_PRECISION_AUTO, NULL))
		return 0;
	if (gn_bench_product_rate(&flops, device, 0.2, NULL))
		flops = 0;
	gn_device_close(device);
	return flops;
}

double gn_rate_flops(struct gn_rate *rate, int threads)
{
	double flops;

	pthread_mutex_lock(&rate->lock);
	if (!(rate->flops > 0))
		rate->flops = measure(threads);
	if (!(rate->flops > 0))
		rate->flops = GUESS_PER_THREAD * (threads > 0 ? threads : 1);
	flops = rate->flops * TRAINING_SHARE;
	pthread_mutex_unlock(&rate->lock);
	return flops;
}

/* The operations of one phase: training, validations, and the frozen prefix, once if it is kept. */
static double phase_flops(const struct gn_prepared *p, const struct gn_plan *plan, const struct gn_run_config *config)
{
	struct gn_arch arch = p->model->model->arch;
	double evaluations = (config->epochs + config->eval_every_epochs - 1) / config->eval_every_epochs;
	double tail = plan->prefix_cached ? (arch.depth - plan->frozen_prefix_blocks) / (double)arch.depth : 1;

	arch.image_size = plan->image_size;
	return plan->flops_first_epoch_step * (double)plan->steps_per_epoch +
	       plan->flops_per_step * (double)(plan->steps - plan->steps_per_epoch) +
	       gn_arch_blocks_flops(&arch) * p->val_images * (1 + (evaluations - 1) * tail);
}

double gn_api_run_flops(const struct gn_prepared *p)
{
	double flops = 0;

	for (int i = 0; i < p->phase_count; i++)
		flops += phase_flops(p, &p->phases[i].plan, &p->phases[i].config);
	return flops;
}

static double number(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

/* Whether the run used this device and precision. A finished run states both; for a run of an older
 * version, GPU memory shows a GPU, and a CPU means float32. */
static bool ran_alike(const json_t *run, const struct gn_device_info *device, enum gn_precision precision)
{
	const json_t *result = json_object_get(run, "result");
	const char *name = json_string_value(json_object_get(result, "device")),
	           *how = json_string_value(json_object_get(result, "precision"));

	if (!name || !how)
		return !strcmp(device->backend, "cpu") && !(number(run, "gpu_bytes") > 0);
	return !strcmp(name, device->name) && !strcmp(how, gn_precision_name(precision));
}

/* Operations per second of the newest run of this model, on this device in this precision, that
 * took LONG_ENOUGH; 0 if there is none. */
static double rate_seen(struct gn_request *r, const struct gn_run_request *request)
{
	const struct gn_service *service = gn_request_service(r);
	struct gn_text *text = gn_supervisor_list(service->supervisor, GN_KIND_RUN, GN_JOB_SUCCEEDED, 20, NULL, NULL);
	json_t *list = gn_text_to_json(text), *run;
	enum gn_precision asked = (enum gn_precision)request->precision,
	                  precision = asked == GN_PRECISION_AUTO ? service->device_info.precision : asked;
	double rate = 0;
	size_t index;

	json_array_foreach(json_object_get(list, "items"), index, run)
	{
		const json_t *result = json_object_get(run, "result"), *progress = json_object_get(run, "progress");
		double seconds = number(result, "seconds"), done = number(progress, "step") / number(progress, "steps");
		if (strcmp(json_string_value(json_object_get(run, "model")), request->model) != 0 ||
		    seconds < LONG_ENOUGH || !ran_alike(run, &service->device_info, precision))
			continue;
		rate = number(run, "flops") * done / seconds;
		break;
	}
	json_decref(list);
	gn_text_unref(text);
	return isfinite(rate) && rate > 0 ? rate : 0;
}

/* The expected seconds of the run: at the rate of an earlier run of this model, else at a rate from
 * this machine's matrix products, of which a run with fewer threads has its share. These are the
 * CPU's, so on a GPU the time is not known (NAN) before such a run. */
static double estimate(struct gn_request *r, const struct gn_prepared *p)
{
	const struct gn_device_info *device = &gn_request_service(r)->device_info;
	double rate = rate_seen(r, &p->request);
	int threads = p->request.threads && p->request.threads < device->threads ? p->request.threads : device->threads;

	if (!(rate > 0) && strcmp(device->backend, "cpu") != 0)
		return NAN;
	if (!(rate > 0))
		rate = gn_rate_flops(gn_api_of(r)->rate, device->threads) * threads / device->threads;
	return gn_api_run_flops(p) / rate;
}

/* ---------------------------------------------------------------- POST /v1/plans -------------- */

static json_t *phases_json(const struct gn_prepared *p)
{
	json_t *phases = json_array();

	for (int i = 0; i < p->phase_count; i++) {
		const struct gn_plan *plan = &p->phases[i].plan;
		json_array_append_new(phases,
		                      json_pack("{s:s,s:i,s:I,s:I,s:I,s:o}", "phase", p->phases[i].name, "epochs",
		                                p->phases[i].config.epochs, "steps", (json_int_t)plan->steps,
		                                "tuned_parameters", (json_int_t)plan->tuned_parameters, "memory_bytes",
		                                (json_int_t)plan->memory.total, "flops",
		                                gn_json_real(phase_flops(p, plan, &p->phases[i].config))));
	}
	return phases;
}

static json_t *memory_json(const struct gn_plan *plan)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "weights", (json_int_t)plan->memory.weights, "gradients",
	                 (json_int_t)plan->memory.gradients, "optimizer", (json_int_t)plan->memory.optimizer,
	                 "activations", (json_int_t)plan->memory.activations, "prefix_cache",
	                 (json_int_t)plan->memory.prefix_cache, "process", (json_int_t)plan->memory.process, "total",
	                 (json_int_t)plan->memory.total, "gpu", (json_int_t)plan->memory.device);
}

static json_t *plan_json(const struct gn_prepared *p, double seconds)
{
	const struct gn_plan *plan = &p->plan;
	json_t *object =
	    json_pack("{s:I,s:I,s:i}", "tuned_parameters", (json_int_t)plan->tuned_parameters, "total_parameters",
	              (json_int_t)plan->total_parameters, "tuned_tensors", plan->tuned_tensors);

	json_object_set(object, "tuned_layers", p->tuned_layers);
	json_object_set_new(object, "layers_known", json_boolean(p->layers_known));
	json_object_set_new(object, "phases", phases_json(p));
	json_object_set_new(object, "lowest_tuned_block",
	                    plan->lowest_tuned_block < 0 ? json_null() : json_integer(plan->lowest_tuned_block));
	json_object_set_new(object, "frozen_prefix_blocks", json_integer(plan->frozen_prefix_blocks));
	json_object_set_new(object, "prefix_cached", json_boolean(plan->prefix_cached));
	json_object_set_new(object, "memory_bytes", memory_json(plan));
	json_object_set_new(object, "flops_per_step", gn_json_real(plan->flops_per_step));
	json_object_set_new(object, "ideal_fraction_of_full", gn_json_real(plan->ideal_units / plan->full_units));
	json_object_set_new(object, "steps", json_integer(plan->steps));
	json_object_set_new(object, "steps_per_epoch", json_integer(plan->steps_per_epoch));
	json_object_set_new(object, "warmup_steps", json_integer(plan->warmup_steps));
	json_object_set_new(object, "micro_batch_size", json_integer(plan->micro_batch_size));
	json_object_set_new(object, "image_size", json_integer(plan->image_size));
	json_object_set_new(object, "lr", gn_json_real(p->request.config.lr));
	json_object_set_new(object, "estimated_seconds", gn_json_real(seconds));
	return object;
}

void gn_api_plans_post(struct gn_request *r)
{
	struct gn_prepared prepared;

	if (!gn_api_prepare(r, &prepared, true))
		gn_reply_json(r, 200, plan_json(&prepared, estimate(r, &prepared)));
	gn_api_prepared_release(r, &prepared);
}
