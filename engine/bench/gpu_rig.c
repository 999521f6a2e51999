/* See gpu_rig.h. */
#include "bench/gpu_rig.h"
#include "base/files.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { CALLS = 64 };                /* of a record, at most, and so copies of a buffer */
#define ROTATE ((size_t)256 << 20)  /* several times the L2 cache of any GPU so far */
#define BLOCK  ((size_t)512 << 20)  /* a copy of it moves 1 GiB */
enum { CUBE = 4096, LARGE = 8192 }; /* sides of the products that are a ceiling */

/* ---------------------------------------------------------------- memory
 * ----------------------------------------- */

void *gn_rig_at(const struct gn_rig *r, enum gn_rig_buffer buffer)
{
	const struct gn_rig_copies *copies = &r->buffers[buffer];

	return copies->memory + copies->bytes * (size_t)(r->turn % copies->count);
}

/* A buffer's numbers, and the bytes of one number. */
struct size {
	size_t count, bytes;
};

static struct size size_of(const struct gn_rig *r, enum gn_rig_buffer buffer)
{
	size_t act = r->be->act_bytes, rows = (size_t)r->M, images = (size_t)r->B, C = GN_RIG_C;

	switch (buffer) {
	case GN_RIG_WIDE:
	case GN_RIG_PRE:
	case GN_RIG_ACT:
		return (struct size){rows * 4 * C, act};
	case GN_RIG_QKV:
	case GN_RIG_DQKV:
		return (struct size){rows * 3 * C, act};
	case GN_RIG_W:
		return (struct size){GN_RIG_WEIGHTS, r->be->mat_bytes};
	case GN_RIG_MASTER:
	case GN_RIG_GRADIENT:
	case GN_RIG_MOMENT1:
	case GN_RIG_MOMENT2:
		return (struct size){GN_RIG_WEIGHTS, sizeof(float)};
	case GN_RIG_SUMS:
		return (struct size){GN_RIG_WEIGHTS, sizeof(double)};
	case GN_RIG_LSE:
		return (struct size){rows * GN_RIG_H, sizeof(float)};
	case GN_RIG_IMAGES:
		return (struct size){images * GN_RIG_PIXELS, sizeof(float)};
	case GN_RIG_LOGITS:
		return (struct size){images * GN_RIG_CLASSES, sizeof(float)};
	case GN_RIG_D_LOGITS:
		return (struct size){images * GN_RIG_CLASSES, act};
	default:
		return (struct size){rows * C, act};
	}
}

static void place(struct gn_rig *r)
{
	for (int i = 0; i < GN_RIG_BUFFERS; i++) {
		struct gn_rig_copies *copies = &r->buffers[i];
		struct size size = size_of(r, i);

		copies->bytes = (size.count * size.bytes + 127) & ~(size_t)127;
		copies->count = (int)fmin(CALLS, ceil((double)r->rotate / (double)copies->bytes));
		copies->memory = gn_arena_take(&r->memory, (size_t)copies->count, copies->bytes);
	}
	for (int i = 0; i < 2; i++)
		r->block[i] = gn_arena_take(&r->memory, r->block_bytes, 1);
	r->bias = gn_arena_take(&r->memory, (size_t)4 * GN_RIG_C, r->be->mat_bytes);
	r->vector = gn_arena_take(&r->memory, (size_t)4 * GN_RIG_C, sizeof(float));
	r->d_vector = gn_arena_take(&r->memory, (size_t)4 * GN_RIG_C, sizeof(float));
	r->d_tokens = gn_arena_take(&r->memory, (size_t)GN_RIG_T * GN_RIG_C, sizeof(float));
	r->losses = gn_arena_take(&r->memory, (size_t)r->B, sizeof(float));
	r->labels = gn_arena_take(&r->memory, (size_t)r->B, sizeof *r->labels);
	r->numbers = gn_arena_take(&r->memory, 1, sizeof *r->numbers);
}

static void fill_buffer(struct gn_rig *r, enum gn_rig_buffer buffer, const float *noise)
{
	const struct gn_rig_copies *copies = &r->buffers[buffer];
	struct size size = size_of(r, buffer);

	if (buffer >= GN_RIG_MASTER)
		r->be->upload(r->ctx, copies->memory, noise, size.count * sizeof *noise);
	else /* activations have the type of weights */
		r->be->upload_mat(r->ctx, copies->memory, noise, size.count);
	for (int i = 1; i < copies->count; i++)
		r->be->copy(r->ctx, copies->memory + (size_t)i * copies->bytes, copies->memory,
		            size.count * size.bytes);
}

/* Numbers in -1 .. 1: power, and so the clock, depend on the bits that move. What is an output
 * only stays 0. */
static int fill(struct gn_rig *r, struct gn_error *err)
{
	static const enum gn_rig_buffer inputs[] = {GN_RIG_X,      GN_RIG_Y,     GN_RIG_WIDE,   GN_RIG_PRE,
	                                            GN_RIG_QKV,    GN_RIG_W,     GN_RIG_MASTER, GN_RIG_GRADIENT,
	                                            GN_RIG_IMAGES, GN_RIG_LOGITS};
	const struct gn_step_numbers numbers = {
	    .lr = 1e-9, .correct1 = 0.65, .correct2 = 0.01, .step = 10, .loss_scale = 1, .grad_scale = 1};
	size_t n = (size_t)CUBE * CUBE;
	float *noise;

	for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
		n = size_of(r, inputs[i]).count > n ? size_of(r, inputs[i]).count : n;
	noise = gn_alloc(n, sizeof *noise, err);
	if (!noise)
		return -1;
	for (size_t i = 0; i < n; i++)
		noise[i] = (float)((i * 2654435761u >> 8) % 65536) / 32768.0f - 1;
	for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
		fill_buffer(r, inputs[i], noise);
	n = (size_t)CUBE * CUBE;
	for (size_t at = 0; at + n * r->be->mat_bytes <= r->block_bytes; at += n * r->be->mat_bytes)
		r->be->upload_mat(r->ctx, r->block[1] + at, noise, n);
	r->be->upload_mat(r->ctx, r->bias, noise, (size_t)4 * GN_RIG_C);
	r->be->upload(r->ctx, r->vector, noise, (size_t)4 * GN_RIG_C * sizeof *noise);
	r->be->upload(r->ctx, r->numbers, &numbers, sizeof numbers);
	free(noise);
	return 0;
}

static int open_list(struct gn_rig *r, struct gn_error *err)
{
	struct gn_opt_tensor tensors[CALLS];
	int count = r->buffers[GN_RIG_MASTER].count;

	r->turn = 0;
	for (; r->turn < count; r->turn++)
		tensors[r->turn] = (struct gn_opt_tensor){
		    .weight = gn_rig_at(r, GN_RIG_MASTER),
		    .grad = gn_rig_at(r, GN_RIG_GRADIENT),
		    .m = gn_rig_at(r, GN_RIG_MOMENT1),
		    .v = gn_rig_at(r, GN_RIG_MOMENT2),
		    .mat = r->be->mat_bytes == sizeof(float) ? NULL : gn_rig_at(r, GN_RIG_W),
		    .n = GN_RIG_WEIGHTS,
		    .lr_scale = 1,
		    .decay = 0.05f,
		};
	r->list = r->be->opt_list_new(r->ctx, tensors, count, err);
	return r->list ? 0 : -1;
}

int gn_rig_open(struct gn_rig *r, const struct gn_bench_options *options, int batch, struct gn_error *err)
{
	struct gn_device_info info;
	size_t least = (size_t)CUBE * CUBE * sizeof(float);

	*r = (struct gn_rig){.options = options,
	                     .be = options->device->backend,
	                     .ctx = options->device->ctx,
	                     .B = batch,
	                     .M = batch * GN_RIG_T};
	gn_device_describe(options->device, &info);
	/* A small GPU has a small cache: about 20 buffers of these sizes must fit. */
	r->rotate = info.memory_bytes / 256 < ROTATE ? (size_t)info.memory_bytes / 256 : ROTATE;
	r->block_bytes = info.memory_bytes / 32 < BLOCK ? (size_t)info.memory_bytes / 32 : BLOCK;
	r->block_bytes = r->block_bytes < least ? least : r->block_bytes & ~(size_t)127;
	r->be->enter(r->ctx);
	gn_arena_begin(&r->memory, r->be, r->ctx);
	place(r);
	if (gn_arena_open(&r->memory, err))
		return -1;
	place(r);
	if (open_list(r, err) || fill(r, err))
		return -1;
	return r->be->sync(r->ctx, err);
}

void gn_rig_release(struct gn_rig *r)
{
	if (!r->be)
		return;
	r->be->record_forget(r->ctx);
	if (r->list)
		r->be->opt_list_free(r->ctx, r->list);
	gn_arena_release(&r->memory);
	*r = (struct gn_rig){0};
}

/* ---------------------------------------------------------------- measuring
 * -------------------------------------- */

/* The same batch of calls each time: the first time they are queued plainly, the second time
 * recorded, then replayed. */
static void queue_calls(struct gn_rig *r, gn_rig_work *work, int calls, bool waits)
{
	if (!waits && !r->be->record_begin(r->ctx, (uint64_t)calls))
		return;
	for (r->turn = 0; r->turn < calls; r->turn++)
		work(r);
	if (!waits)
		r->be->record_end(r->ctx);
}

static double time_calls(struct gn_rig *r, gn_rig_work *work, int calls, int times, bool waits)
{
	r->be->clock_start(r->ctx);
	for (int i = 0; i < times; i++)
		queue_calls(r, work, calls, waits);
	return r->be->clock_stop(r->ctx);
}

int gn_rig_measure(double *seconds, struct gn_rig *r, gn_rig_work *work, bool waits, struct gn_error *err)
{
	double share = r->options->seconds / 4, took;
	int calls;

	r->be->record_forget(r->ctx);
	for (int i = 0; i < 2; i++) /* kernels are loaded, products chosen */
		took = time_calls(r, work, 1, 1, true);
	*seconds = took;
	if (took >= share) /* so long a call needs no others beside it */
		return r->be->sync(r->ctx, err);
	calls = took * CALLS > share ? (int)(share / took) : CALLS;
	for (int i = 0; i < 2; i++)
		queue_calls(r, work, calls, waits);
	for (int times = 1; times <= 1 << 16; times *= 4) {
		took = time_calls(r, work, calls, times, waits);
		*seconds = took / calls / times;
		if (took >= share)
			break;
	}
	return r->be->sync(r->ctx, err);
}

/* ---------------------------------------------------------------- ceilings -------------------- */

static void multiply(struct gn_rig *r, int side)
{
	struct gn_epilogue nothing = {0};

	r->be->linear(r->ctx, r->block[0], r->block[1], r->block[1], &nothing, side, side, side);
}

static void do_cube(struct gn_rig *r)
{
	multiply(r, CUBE);
}

static void do_large(struct gn_rig *r)
{
	multiply(r, LARGE);
}

static void do_copy(struct gn_rig *r)
{
	r->be->copy(r->ctx, r->block[0], r->block[1], r->block_bytes);
}

static int measure_product(double *rate, struct gn_rig *r, int side, gn_rig_work *work, struct gn_error *err)
{
	double seconds, flops = 2.0 * side * side * side;
	char name[72];

	if (gn_rig_measure(&seconds, r, work, false, err))
		return -1;
	*rate = flops / seconds;
	snprintf(name, sizeof name, "product %d x %d x %d", side, side, side);
	gn_bench_row(r->options, "device", name, "GFLOP/s", *rate * 1e-9, NAN);
	return 0;
}

int gn_rig_ceilings(struct gn_bench_ceilings *most, struct gn_rig *r, struct gn_error *err)
{
	double seconds, large = 0;
	char name[72];

	if (measure_product(&most->product, r, CUBE, do_cube, err))
		return -1;
	/* Eight times the work: left out where one call would take longer than a figure may. */
	if (16.0 * CUBE * CUBE * CUBE / most->product < r->options->seconds &&
	    (size_t)LARGE * LARGE * r->be->mat_bytes <= r->block_bytes &&
	    measure_product(&large, r, LARGE, do_large, err))
		return -1;
	most->product = fmax(most->product, large);
	if (gn_rig_measure(&seconds, r, do_copy, false, err))
		return -1;
	most->copy = 2.0 * (double)r->block_bytes / seconds;
	snprintf(name, sizeof name, "copy of %zu MiB, read and written", r->block_bytes >> 20);
	gn_bench_row(r->options, "device", name, "GB/s", most->copy * 1e-9, NAN);
	return 0;
}
