/*
 * Whole networks: training steps by strategy, inference, and memory, for ViT-Ti, S and B/16 at 224
 * pixels. A step is the one that gn_train takes; images are noise. Rates are set against the
 * product rate of the same run and against the ideal units of docs/method.md, "Costs".
 *
 * Operations are those of a plain ViT (3 forward passes a full step), as one counts them for any
 * framework, so that work which gonio saves shows as speed.
 */
#include "bench/bench.h"
#include "base/files.h"
#include "base/random.h"
#include "train/trainer.h"

#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLASSES = 100 };

struct network {
	const char *name;
	int dim, heads, batch, inference_batch;
};
static const struct network networks[] = {
    {"ViT-Ti/16", 192, 3, 32, 64}, {"ViT-S/16", 384, 6, 16, 32}, {"ViT-B/16", 768, 12, 16, 32}};

enum { COUNT = sizeof networks / sizeof networks[0] };

static const enum gn_strategy_kind strategies[] = {GN_FULL, GN_ATTENTION, GN_FFN, GN_LAST_THIRD, GN_LINEAR};

/* Uniform in -reach .. reach; caller frees. */
static float *noise(size_t n, double reach, struct gn_error *err)
{
	float *values = gn_alloc(n, sizeof *values, err);
	struct gn_random random;

	gn_random_init(&random, 1, GN_RANDOM_BENCH, 0, 0);
	for (size_t i = 0; values && i < n; i++)
		values[i] = (float)((gn_random_uniform(&random) * 2 - 1) * reach);
	return values;
}

/* n pictures of noise, 8 bits [n, 224, 224, 3]; caller frees. */
static uint8_t *pictures(size_t n, struct gn_error *err)
{
	size_t bytes = n * 3 * 224 * 224;
	uint8_t *pixels = gn_alloc(bytes, 1, err);
	struct gn_random random;

	gn_random_init(&random, 1, GN_RANDOM_BENCH, 0, 0);
	for (size_t i = 0; pixels && i < bytes; i++)
		pixels[i] = (uint8_t)(gn_random_uniform(&random) * 256);
	return pixels;
}

/* A model of noise, mapped from a file as every model is; the file has no name any more. */
static int open_model(struct gn_model **out, const struct network *n, struct gn_error *err)
{
	const struct gn_arch arch = {.image_size = 224,
	                             .patch_size = 16,
	                             .dim = n->dim,
	                             .depth = 12,
	                             .heads = n->heads,
	                             .mlp_dim = 4 * n->dim,
	                             .classes = CLASSES,
	                             .norm_eps = 1e-6f,
	                             .class_token = true,
	                             .pos_on_prefix = true,
	                             .qkv_bias = true,
	                             .patch_bias = true};
	const struct gn_preprocess preprocess = {{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}, 0.9f, GN_BICUBIC};
	const char *folder = getenv("TMPDIR");
	struct gn_layout layout;
	const float **tensors = NULL;
	float *weights = NULL;
	char path[4096];
	int result = -1;

	if (gn_layout_init(&layout, &arch, err))
		return -1;
	snprintf(path, sizeof path, "%s/gonio-bench-%ld.safetensors", folder ? folder : "/tmp", (long)getpid());
	weights = noise(layout.floats, 0.035, err);
	tensors = gn_alloc((size_t)layout.count, sizeof *tensors, err);
	if (weights && tensors) {
		for (int i = 0; i < layout.count; i++)
			tensors[i] = weights + layout.tensors[i].offset;
		if (gn_model_write(path,
		                   &(struct gn_model_parts){
		                       .arch = &arch, .preprocess = &preprocess, .layout = &layout, .tensors = tensors},
		                   err) == 0)
			result = gn_model_open(out, path, NULL, err);
		unlink(path);
	}
	free(tensors);
	free(weights);
	gn_layout_release(&layout);
	return result;
}

/* ---------------------------------------------------------------- steps ------------------------------------------ */

struct figures {              /* seconds of a step */
	double first, cached; /* cached NAN where no prefix is kept */
	uint64_t planned, measured;
	uint64_t overhead; /* of a GPU: measured, beyond what the run asked for */
};

/*
 * Makes the kernel forget the peak so far, and the allocator give back what it kept: what VmHWM
 * says afterwards belongs to what comes now.
 */
static void reset_peak(void)
{
	malloc_trim(0);
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "5", 1) != 1) { /* an old kernel: the peak stays, and the figure is an upper bound */
	}
	close(fd);
}

/* Queues steps as a run does, and waits for all their results. */
static int queue_steps(struct gn_trainer *t, const uint8_t *images, const int32_t *labels, const int32_t *samples,
                       int steps, struct gn_error *err)
{
	struct gn_step step;

	for (int i = 0; i < steps; i++)
		if (gn_trainer_step(t, images, labels, samples, t->config.batch_size, err) ||
		    gn_trainer_collect(&step, t, GN_TRAINER_LAG, err) < 0)
			return -1;
	while (t->queued_count > 0)
		if (gn_trainer_collect(&step, t, 0, err) < 0)
			return -1;
	return 0;
}

/* By the device's own clock, after the two steps in which a GPU's backend records its work. */
static int time_queued_steps(double *seconds, struct gn_trainer *t, const uint8_t *images, const int32_t *labels,
                             const int32_t *samples, double budget, struct gn_error *err)
{
	if (queue_steps(t, images, labels, samples, 2, err))
		return -1;
	for (int steps = 1; steps <= 1 << 12; steps *= 4) {
		t->backend->clock_start(t->ctx);
		if (queue_steps(t, images, labels, samples, steps, err))
			return -1;
		*seconds = t->backend->clock_stop(t->ctx) / steps;
		if (*seconds * steps >= budget / 4)
			break;
	}
	return t->backend->sync(t->ctx, err);
}

/* The median step after one that is not counted. */
static int time_steps(double *seconds, struct gn_trainer *t, const uint8_t *images, const int32_t *labels,
                      const int32_t *samples, double budget, struct gn_error *err)
{
	enum { MOST = 400 };
	double times[MOST], from = gn_clock();
	struct gn_step step;
	int n = 0, count = t->config.batch_size;

	if (t->backend->asynchronous)
		return time_queued_steps(seconds, t, images, labels, samples, budget, err);
	if (gn_trainer_step(t, images, labels, samples, count, err) || gn_trainer_collect(&step, t, 0, err) < 0)
		return -1;
	do {
		double start = gn_clock();

		if (gn_trainer_step(t, images, labels, samples, count, err) || gn_trainer_collect(&step, t, 0, err) < 0)
			return -1;
		times[n++] = gn_clock() - start;
	} while (n < MOST && (n < 3 || gn_clock() - from < budget));
	*seconds = gn_bench_median(times, n);
	return 0;
}

static struct gn_trainer trainer_for(const struct gn_train_options *options, const struct gn_run_config *config)
{
	return (struct gn_trainer){.options = options,
	                           .config = *config,
	                           .backend = options->device->backend,
	                           .ctx = options->device->ctx,
	                           .dataset = options->dataset};
}

/*
 * Rows of noise, as many as a batch has images, in the type of activations: bfloat16 is a float's
 * upper half.
 */
static int fill_prefix(struct gn_trainer *t, struct gn_error *err)
{
	size_t act = t->backend->act_bytes, count;
	struct gn_vit_shape shape;
	float *values;

	gn_assert(act == sizeof *values || act == sizeof(uint16_t));
	gn_vit_shape_init(&shape, &t->tuning.arch);
	count = gn_cut_floats(&shape, t->cut);
	t->prefix.row_bytes = count * act;
	count *= (size_t)t->config.batch_size;
	values = noise(count, 1, err);
	t->prefix.rows = (char *)values;
	for (size_t i = 0; values && act == sizeof(uint16_t) && i < count; i++) {
		uint32_t bits;
		uint16_t half;

		memcpy(&bits, &values[i], sizeof bits);
		half = (uint16_t)(bits >> 16);
		memcpy(t->prefix.rows + i * act, &half, sizeof half);
	}
	return values ? 0 : -1;
}

/* Steps from the images on (epochs 1) or from the kept prefix (epochs 2). */
static int measure(double *seconds, struct figures *figures, struct gn_device *device, const struct gn_model *m,
                   const struct network *n, enum gn_strategy_kind kind, bool cached, double budget,
                   struct gn_error *err)
{
	struct gn_dataset_class classes[CLASSES] = {{0}};
	struct gn_dataset dataset = {
	    .class_count = CLASSES, .sample_count = n->batch, .classes = classes, .totals = {n->batch, 0, 0}};
	struct gn_train_options options = {.device = device, .model = m, .dataset = &dataset};
	struct gn_run_config config = {.strategy = {.kind = kind},
	                               .epochs = cached ? 2 : 1,
	                               .batch_size = n->batch,
	                               .lr = 1e-6,
	                               .weight_decay = 0.05,
	                               .clip_norm = 1,
	                               .layer_decay = 1,
	                               .warmup_steps = 0,
	                               .eval_every_epochs = 1,
	                               .schedule = GN_CONSTANT};
	struct gn_trainer t = trainer_for(&options, &config);
	/* two batches, as a run's loader holds them: the plan counts both */
	uint8_t *images = pictures((size_t)(cached ? 1 : 2) * (size_t)n->batch, err);
	int32_t labels[GN_BENCH_BATCH_MAX], samples[GN_BENCH_BATCH_MAX];
	int result = -1;

	gn_assert(n->batch <= GN_BENCH_BATCH_MAX);
	reset_peak();
	for (int i = 0; i < n->batch; i++) {
		labels[i] = (i * 7) % CLASSES;
		samples[i] = i;
	}
	if (!images || gn_trainer_init(&t, err))
		goto done;
	if (t.cut && fill_prefix(&t, err))
		goto done;
	if (gn_trainer_open_pass(&t, err) == 0 &&
	    time_steps(seconds, &t, t.cut ? NULL : images, labels, samples, budget, err) == 0) {
		struct gn_device_info info;
		bool gpu = !t.backend->unified;

		gn_device_describe(device, &info);
		figures->planned = gpu ? t.plan.memory.device : t.plan.memory.total;
		figures->measured = gpu ? info.memory_taken : gn_peak_memory();
		figures->overhead = info.memory_taken > t.memory.size ? info.memory_taken - t.memory.size : 0;
		result = 0;
	}
done:
	free(t.prefix.rows);
	t.prefix.rows = NULL;
	free(images);
	gn_trainer_release(&t);
	return result;
}

static bool steps_wanted(const struct gn_bench_options *o, const struct network *n)
{
	for (size_t k = 0; k < sizeof strategies / sizeof strategies[0]; k++) {
		char name[72];

		snprintf(name, sizeof name, "%s %s batch %d", n->name, gn_strategy_name(strategies[k]), n->batch);
		if (gn_bench_wants(o, "step", name))
			return true;
	}
	return false;
}

/* On a GPU: a step's time, and its operations and bytes against the ceilings. */
static void report_ceilings(const struct gn_bench_options *o, const char *name, double seconds, double flops,
                            double bytes, const struct gn_bench_ceilings *most)
{
	if (isnan(most->copy))
		return;
	gn_bench_cost_row(o, "step", name, seconds, flops, bytes, most);
	gn_bench_row(o, "step", name, "GFLOP/s", flops / seconds * 1e-9, most->product * 1e-9);
	gn_bench_row(o, "step", name, "GB/s", bytes / seconds * 1e-9, most->copy * 1e-9);
}

static int bench_strategy(double *full_seconds, const struct gn_bench_options *o, struct gn_device *device,
                          const struct gn_model *m, const struct network *n, enum gn_strategy_kind kind,
                          const struct gn_bench_ceilings *most, struct gn_error *err)
{
	struct gn_run_config config = {.strategy = {.kind = kind},
	                               .epochs = 2,
	                               .batch_size = n->batch,
	                               .layer_decay = 1,
	                               .warmup_steps = 0,
	                               .eval_every_epochs = 1};
	struct figures f = {0};
	struct gn_plan plan;
	char name[72];
	double seconds, rate;

	snprintf(name, sizeof name, "%s %s batch %d", n->name, gn_strategy_name(kind), n->batch);
	if (kind != GN_FULL && !gn_bench_wants(o, "step", name)) /* full is what the others are compared with */
		return 0;
	if (gn_plan_make_on(&plan, device, device->backend->precision, &m->arch, &config, CLASSES, n->batch, 0, 0,
	                    err) ||
	    measure(&seconds, &f, device, m, n, kind, false, o->seconds, err))
		return -1;
	if (kind == GN_FULL)
		*full_seconds = seconds;
	rate = n->batch / seconds;
	gn_bench_row(o, "step", name, "images/s", rate, NAN);
	report_ceilings(o, name, seconds, plan.flops_first_epoch_step, plan.bytes_first_epoch_step, most);
	if (!isnan(most->loader)) /* below 1 the GPU waits for images that are decoded anew in each epoch */
		gn_bench_row(o, "loader / step", name, "ratio", most->loader / rate, NAN);
	if (kind == GN_FULL && !isnan(most->product))
		gn_bench_row(o, "step / SGEMM rate", name, "ratio",
		             3 * gn_arch_forward_flops(&m->arch) * rate / most->product, NAN);
	if (kind != GN_FULL)
		gn_bench_row(o, "step / full x ideal", name, "ratio",
		             seconds / (*full_seconds * plan.ideal_units / plan.full_units), 1.1);
	gn_bench_row(o, "memory planned", name, "bytes", (double)f.planned, NAN);
	gn_bench_row(o, "memory measured", name, "bytes", (double)f.measured, (double)f.planned);
	if (!device->backend->unified)
		gn_bench_row(o, "memory overhead", name, "bytes", (double)f.overhead,
		             (double)device->backend->overhead_bytes);
	if (!plan.prefix_cached)
		return 0;
	if (measure(&seconds, &f, device, m, n, kind, true, o->seconds, err))
		return -1;
	snprintf(name, sizeof name, "%s %s batch %d, prefix kept", n->name, gn_strategy_name(kind), n->batch);
	gn_bench_row(o, "step", name, "images/s", n->batch / seconds, NAN);
	report_ceilings(o, name, seconds, plan.flops_per_step, plan.bytes_per_step, most);
	gn_bench_row(o, "step / full", name, "ratio", seconds / *full_seconds,
	             plan.ideal_units_cached / plan.full_units);
	return 0;
}

/* ---------------------------------------------------------------- inference -------------------------------------- */

static int time_inference(double *seconds, struct gn_device *device, const struct gn_model *model, int batch,
                          double budget, struct gn_error *err)
{
	enum { MOST = 2000 };
	double times[MOST], from;
	float *images = noise((size_t)batch * 3 * 224 * 224, 1, err),
	      *logits = gn_alloc((size_t)batch * CLASSES, sizeof *logits, err);
	struct gn_infer *infer = NULL;
	int n = 0, result = -1;

	if (!images || !logits || gn_infer_new(&infer, device, model, batch, err) ||
	    gn_infer_run(infer, images, batch, logits, err))
		goto done;
	from = gn_clock();
	do {
		double start = gn_clock();

		if (gn_infer_run(infer, images, batch, logits, err))
			goto done;
		times[n++] = gn_clock() - start;
	} while (n < MOST && (n < 3 || gn_clock() - from < budget));
	*seconds = gn_bench_median(times, n);
	result = 0;
done:
	gn_infer_free(infer);
	free(images);
	free(logits);
	return result;
}

static int bench_inference(const struct gn_bench_options *o, struct gn_device *device, const struct gn_model *m,
                           const struct network *n, double sgemm, struct gn_error *err)
{
	char name[72];
	double seconds;

	snprintf(name, sizeof name, "%s batch %d", n->name, n->inference_batch);
	if (gn_bench_wants(o, "inference", name)) {
		if (time_inference(&seconds, device, m, n->inference_batch, o->seconds, err))
			return -1;
		gn_bench_row(o, "inference", name, "images/s", n->inference_batch / seconds, NAN);
		if (!isnan(sgemm))
			gn_bench_row(o, "inference / SGEMM rate", name, "ratio",
			             gn_arch_forward_flops(&m->arch) * n->inference_batch / seconds / sgemm, NAN);
	}
	snprintf(name, sizeof name, "%s one image", n->name);
	if (gn_bench_wants(o, "inference", name)) {
		if (time_inference(&seconds, device, m, 1, o->seconds, err))
			return -1;
		gn_bench_row(o, "inference", name, "s", seconds, NAN);
	}
	return 0;
}

static bool inference_wanted(const struct gn_bench_options *o, const struct network *n)
{
	char one[72], many[72];

	snprintf(one, sizeof one, "%s one image", n->name);
	snprintf(many, sizeof many, "%s batch %d", n->name, n->inference_batch);
	return gn_bench_wants(o, "inference", one) || gn_bench_wants(o, "inference", many);
}

static int bench_network(const struct gn_bench_options *o, struct gn_device *device, const struct network *n,
                         const struct gn_bench_ceilings *most, struct gn_error *err)
{
	bool steps = steps_wanted(o, n), inference = inference_wanted(o, n);
	struct gn_model *m = NULL;
	double full = NAN;
	int failed;

	if (!steps && !inference)
		return 0;
	failed = open_model(&m, n, err);
	for (size_t k = 0; steps && !failed && k < sizeof strategies / sizeof strategies[0]; k++)
		failed = bench_strategy(&full, o, device, m, n, strategies[k], most, err);
	failed = failed || (inference && bench_inference(o, device, m, n, most->product, err));
	gn_model_close(m);
	return failed ? -1 : 0;
}

/* The networks with the batches that the user wants. Their number. */
static int sized_networks(struct network sized[COUNT * GN_BENCH_BATCHES], const struct gn_bench_options *o, bool gpu)
{
	int batches[GN_BENCH_BATCHES], count = gn_bench_batches(batches, o), n = 0;

	for (size_t i = 0; i < COUNT; i++)
		for (int b = 0; b < count; b++) {
			sized[n] = networks[i];
			if (gpu || o->batch)
				sized[n].batch = sized[n].inference_batch = batches[b];
			else if (b > 0)
				continue;
			n++;
		}
	return n;
}

int gn_bench_steps(const struct gn_bench_options *o, const struct gn_bench_ceilings *ceilings, struct gn_error *err)
{
	struct gn_bench_ceilings most = {.copy = NAN, .loader = NAN};
	struct network n[COUNT * GN_BENCH_BATCHES];
	int count = sized_networks(n, o, ceilings != NULL);
	bool any = false;

	for (int i = 0; i < count; i++)
		any |= steps_wanted(o, &n[i]) || inference_wanted(o, &n[i]);
	if (!any)
		return 0;
	if (ceilings)
		most = *ceilings;
	else if (gn_bench_reference_rate(&most.product, o, o->device, err))
		return -1;
	for (int i = 0; i < count; i++)
		if (bench_network(o, o->device, &n[i], &most, err))
			return -1;
	return 0;
}
