/*
 * The costs of a run, computed before it runs. Memory is the sum of what gn_train will allocate, by
 * the same placing code. Operations are counted by running the network on the counting backend.
 */
#include "tune/tuning.h"

#include "backend/arena.h"
#include "base/machine.h"
#include "backend/count/count.h"
#include "vit/vit.h"

#include <math.h>
#include <stdlib.h>

/* Token rows of a micro-batch. With more, products get no faster and only need more memory. */
#define USEFUL_ROWS       2048
#define USEFUL_ROWS_GPU   65536
#define PREFIX_FILE_MAX   (64ull << 30) /* writing a larger cache takes longer than it saves */
#define PIXEL_CACHE_MAX   (64ull << 30)
#define PIXEL_CACHE_SHARE 8 /* at most an eighth of the memory: other jobs have theirs */
/* Code, libraries, the packing of the product kernels, decoders: the part of a worker's peak beyond
 * all other parts, as measured by gonio bench. */
#define PROCESS_BYTES (40ull << 20)
/* Step numbers, the optimiser's table and labels on a GPU. */
#define SMALL_BYTES (1ull << 20)

/* ---------------------------------------------------------------- counts ---------------------- */

struct draft { /* shared by the functions below */
	struct gn_tuning tuning;
	const struct gn_run_config *config;
	const struct gn_backend *backend; /* of the run */
	int train_images, val_images;
	/* the machine's memory; the memory that limits the plan: on a GPU, the GPU's */
	uint64_t host_limit, limit;
};

static void count_parameters(struct gn_plan *plan, const struct draft *d)
{
	plan->total_parameters = d->tuning.layout.parameters;
	for (int i = 0; i < d->tuning.layout.count; i++) {
		if (d->tuning.tuned[i]) {
			plan->tuned_parameters += d->tuning.layout.tensors[i].numel;
			plan->tuned_tensors++;
		}
	}
}

/* One unit is a forward pass through a block, its input gradient, or all its weight gradients:
 * docs/method.md, "Costs". */
static void count_units(struct gn_plan *plan, const struct draft *d)
{
	int depth = d->tuning.arch.depth,
	    lowest = d->tuning.grad.lowest_block < 0 ? depth : d->tuning.grad.lowest_block;

	plan->full_units = 3.0 * depth;
	plan->ideal_units = depth + (depth - lowest);
	for (int i = 0; i < d->tuning.layout.count; i++) {
		const struct gn_tensor *t = &d->tuning.layout.tensors[i];

		if (!d->tuning.tuned[i] || !t->matrix)
			continue;
		/* a block's matrix work: qkv 3, proj 1, fc1 4, fc2 4 of 12, for the usual mlp_dim
		 * of 4 dim */
		plan->ideal_units += t->role == GN_QKV_W ? 3.0 / 12 : t->role == GN_PROJ_W ? 1.0 / 12 : 4.0 / 12;
	}
	plan->ideal_units_cached = plan->ideal_units - d->tuning.grad.frozen_blocks;
}

/* Operations of one pass over `images` images from cut `from`. */
static int count_pass(struct gn_count *out, const struct draft *d, int images, int from, struct gn_error *err)
{
	const struct gn_backend *backend = &gn_backend_count;
	struct gn_ctx *ctx = NULL;
	struct gn_pass *pass = NULL;
	struct gn_bind weights = {0}, gradients = {0};
	void **pointers = calloc((size_t)d->tuning.layout.count * 2, sizeof *pointers);
	static char somewhere; /* never dereferenced: only NULL or not NULL matters */
	int result = -1;

	if (!pointers) {
		gn_fail(err, GN_NO_MEMORY, "", "no memory for the plan");
		goto done;
	}
	for (int i = 0; i < d->tuning.layout.count; i++) {
		pointers[i] = &somewhere;
		pointers[d->tuning.layout.count + i] = d->tuning.tuned[i] ? &somewhere : NULL;
	}
	if (gn_bind_init(&weights, &d->tuning.layout, d->tuning.arch.depth, pointers, err) ||
	    gn_bind_init(&gradients, &d->tuning.layout, d->tuning.arch.depth, pointers + d->tuning.layout.count, err) ||
	    backend->open(&ctx, 0, 1, err) ||
	    gn_pass_new(&pass, backend, ctx, &d->tuning.arch, &d->tuning.grad, images, from, d->tuning.arch.depth + 2,
	                err))
		goto done;
	gn_vit_forward(pass, &weights, images, true);
	gn_vit_backward(pass, &weights, &gradients, false, images);
	*out = gn_count_of(ctx);
	result = 0;
done:
	gn_pass_free(pass);
	if (ctx)
		backend->close(ctx);
	gn_bind_release(&gradients);
	gn_bind_release(&weights);
	free(pointers);
	return result;
}

/* Bytes that the optimiser's norm and step read and write for each tuned number: weight, gradient
 * and moments. */
static double optimizer_bytes(const struct gn_plan *plan, const struct draft *d)
{
	int moments = d->config->optimizer == GN_ADAMW ? 2 : 1;

	return (double)plan->tuned_parameters * (sizeof(float) * (2 + 2 + 2 * moments) +
	                                         (d->backend->mat_bytes == sizeof(float) ? 0 : d->backend->mat_bytes));
}

static int count_step(double *flops, double *bytes, const struct gn_plan *plan, const struct draft *d, int from,
                      struct gn_error *err)
{
	int micro = plan->micro_batch_size, batch = d->config->batch_size, rest = batch % micro, times = batch / micro;
	int more = times + (rest > 0) - 1; /* micro-batches that read the gradients to which they add */
	struct gn_count whole = {0}, part = {0};

	if (count_pass(&whole, d, micro, from, err) || (rest && count_pass(&part, d, rest, from, err)))
		return -1;
	*flops = whole.flops * times + part.flops;
	*bytes = (whole.acts * times + part.acts) * (double)d->backend->act_bytes +
	         (whole.mats * times + part.mats) * (double)d->backend->mat_bytes +
	         (whole.floats * times + part.floats + (double)more * (double)plan->tuned_parameters) * sizeof(float) +
	         optimizer_bytes(plan, d);
	return 0;
}

/* ---------------------------------------------------------------- memory ---------------------- */

/*
 * All weights. A GPU has frozen weights in the form that passes read, and tuned ones also in
 * float32. A CPU reads the mapped model.
 */
static uint64_t weight_bytes(const struct draft *d)
{
	uint64_t bytes = gn_tuning_floats(&d->tuning) * sizeof(float);

	if (d->backend->unified)
		return d->tuning.layout.floats * sizeof(float);
	for (int i = 0; i < d->tuning.layout.count; i++)
		bytes += gn_piece_span(d->backend, gn_tuning_read_bytes(&d->tuning, d->backend, i));
	return bytes;
}

/* GPU memory beside weights, gradients, moments and the pass: the backend's own, a layer's two base
 * matrices for angles, and small buffers. */
static uint64_t gpu_extra_bytes(const struct draft *d)
{
	const struct gn_backend *be = d->backend;

	if (be->unified)
		return 0;
	return be->overhead_bytes + gn_piece_span(be, gn_tuning_angle_floats(&d->tuning, 0) * sizeof(float)) +
	       gn_piece_span(be, gn_tuning_angle_floats(&d->tuning, 1) * sizeof(float)) +
	       gn_piece_span(be, (size_t)d->config->batch_size * sizeof(int32_t)) +
	       gn_piece_span(be, (size_t)d->tuning.arch.classes * sizeof(float)) + SMALL_BYTES;
}

static void plan_prefix(struct gn_plan *plan, const struct draft *d)
{
	struct gn_vit_shape shape;
	uint64_t images = (uint64_t)d->train_images + (uint64_t)d->val_images, bytes;

	gn_vit_shape_init(&shape, &d->tuning.arch);
	bytes = images * gn_cut_floats(&shape, d->tuning.cut) * d->backend->act_bytes;
	plan->frozen_prefix_blocks = d->tuning.grad.frozen_blocks;
	plan->prefix_cached = d->tuning.cut > 0 && d->config->augment == GN_AUGMENT_NONE && d->config->epochs > 1 &&
	                      bytes <= PREFIX_FILE_MAX;
	plan->prefix_cut = plan->prefix_cached ? d->tuning.cut : 0;
	plan->prefix_in_memory = plan->prefix_cached && bytes <= d->host_limit / 4;
	plan->memory.prefix_cache = plan->prefix_in_memory ? bytes : 0;
}

static void plan_memory(struct gn_plan *plan, const struct draft *d, int micro)
{
	const struct gn_backend *be = d->backend;
	uint64_t tuned = gn_tuning_floats(&d->tuning) * sizeof(float), side = (uint64_t)d->tuning.arch.image_size,
	         image = 3 * side * side;

	plan->memory.weights = weight_bytes(d);
	plan->memory.gradients = tuned;
	plan->memory.optimizer = tuned * (d->config->optimizer == GN_ADAMW ? 2 : 1);
	plan->memory.activations = gn_tuning_pass_bytes(&d->tuning, be, micro, plan->prefix_cut);
	plan->memory.process =
	    PROCESS_BYTES + 2 * image * (uint64_t)(plan->prefix_cached ? micro : d->config->batch_size);
	if (!be->unified) {
		uint64_t extra = gpu_extra_bytes(d);

		plan->memory.device = plan->memory.weights + plan->memory.gradients + plan->memory.optimizer +
		                      plan->memory.activations + extra;
		plan->memory.process += extra + tuned; /* a checkpoint is written from a copy */
	}
	plan->memory.total = plan->memory.weights + plan->memory.gradients + plan->memory.optimizer +
	                     plan->memory.activations + plan->memory.prefix_cache + plan->memory.process;
}

/*
 * Pixels that are the same in each epoch are kept: the validation images', and the training images'
 * when they are not cropped at random. They take what nothing else needs, so they change no other
 * choice.
 */
static void plan_pixels(struct gn_plan *plan, const struct draft *d)
{
	uint64_t side = (uint64_t)d->tuning.arch.image_size, image = 3 * side * side,
	         room = d->host_limit / PIXEL_CACHE_SHARE;
	uint64_t images =
	    (uint64_t)d->val_images + (d->config->augment == GN_AUGMENT_NONE ? (uint64_t)d->train_images : 0);
	uint64_t taken = d->backend->unified ? plan->memory.total : plan->memory.process + plan->memory.prefix_cache;

	room = room > PIXEL_CACHE_MAX ? PIXEL_CACHE_MAX : room;
	if (plan->prefix_cached || taken >= d->host_limit)
		room = 0;
	else if (room > d->host_limit - taken)
		room = d->host_limit - taken;
	images = images < room / image ? images : room / image;
	plan->memory.pixel_cache = images * image;
	plan->memory.process += plan->memory.pixel_cache;
	plan->memory.total += plan->memory.pixel_cache;
}

static int choose_micro_batch(struct gn_plan *plan, const struct draft *d, struct gn_error *err)
{
	int batch = d->config->batch_size,
	    useful = (d->backend->unified ? USEFUL_ROWS : USEFUL_ROWS_GPU) / gn_arch_tokens(&d->tuning.arch);
	const uint64_t *needed = d->backend->unified ? &plan->memory.total : &plan->memory.device;
	int micro = d->config->micro_batch_size ? d->config->micro_batch_size : useful < 1 ? 1 : useful;

	if (micro > batch)
		micro = batch;
	for (;; micro = (micro + 1) / 2) {
		/* even shares */
		if (!d->config->micro_batch_size)
			micro = (batch + (batch + micro - 1) / micro - 1) / ((batch + micro - 1) / micro);
		plan_memory(plan, d, micro);
		plan->micro_batch_size = micro;
		if (*needed <= d->limit)
			return 0;
		if (micro == 1 || d->config->micro_batch_size)
			return gn_fail(err, GN_NO_MEMORY, "batch_size",
			               "needs %llu bytes of %smemory, %llu are available", (unsigned long long)*needed,
			               d->backend->unified ? "" : "the GPU's ", (unsigned long long)d->limit);
	}
}

static int make(struct gn_plan *plan, struct draft *d, struct gn_error *err)
{
	plan->image_size = d->tuning.arch.image_size;
	plan->lowest_tuned_block = d->tuning.grad.lowest_block;
	plan->steps_per_epoch = ((int64_t)d->train_images + d->config->batch_size - 1) / d->config->batch_size;
	plan->steps = plan->steps_per_epoch * d->config->epochs;
	plan->warmup_steps = d->config->warmup_steps >= 0 ? d->config->warmup_steps : plan->steps / 10;
	if (plan->warmup_steps > plan->steps)
		plan->warmup_steps = plan->steps;
	count_parameters(plan, d);
	count_units(plan, d);
	plan_prefix(plan, d);
	if (choose_micro_batch(plan, d, err))
		return -1;
	plan_pixels(plan, d);
	if (count_step(&plan->flops_first_epoch_step, &plan->bytes_first_epoch_step, plan, d, 0, err))
		return -1;
	if (!plan->prefix_cached) {
		plan->flops_per_step = plan->flops_first_epoch_step;
		plan->bytes_per_step = plan->bytes_first_epoch_step;
		return 0;
	}
	return count_step(&plan->flops_per_step, &plan->bytes_per_step, plan, d, d->tuning.cut, err);
}

/* The device's memory if it has its own, else the machine's. */
static uint64_t memory_of(const struct gn_device *device)
{
	struct gn_device_info info = {0};

	if (device && !device->backend->unified)
		gn_device_describe(device, &info);
	return info.memory_bytes ? info.memory_bytes : gn_machine_memory();
}

int gn_plan_make(struct gn_plan *out, const struct gn_arch *arch, const struct gn_run_config *config, int classes,
                 int train_images, int val_images, uint64_t memory_limit, struct gn_error *err)
{
	return gn_plan_make_on(out, NULL, GN_PRECISION_AUTO, arch, config, classes, train_images, val_images,
	                       memory_limit, err);
}

int gn_plan_make_on(struct gn_plan *out, const struct gn_device *device, enum gn_precision precision,
                    const struct gn_arch *arch, const struct gn_run_config *config, int classes, int train_images,
                    int val_images, uint64_t memory_limit, struct gn_error *err)
{
	struct gn_plan plan = {0};
	struct draft d = {.config = config,
	                  .train_images = train_images,
	                  .val_images = val_images,
	                  .backend = gn_device_table(device, precision)};
	int result;

	if (!d.backend)
		return gn_fail(err, GN_UNSUPPORTED, "precision", "a CPU computes in fp32, not in %s",
		               gn_precision_name(precision));
	d.limit = memory_limit ? memory_limit : memory_of(device);
	d.host_limit = d.backend->unified ? d.limit : gn_machine_memory();
	result = gn_tuning_init(&d.tuning, d.backend, arch, config, classes, err) || make(&plan, &d, err) ? -1 : 0;
	if (result == 0)
		*out = plan;
	gn_tuning_release(&d.tuning);
	return result;
}
