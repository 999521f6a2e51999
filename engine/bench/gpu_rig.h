/*
 * What a GPU's operations are measured with: buffers in device memory at ViT-B/16's shapes, and a
 * clock.
 *
 * Every buffer has several copies, and each call uses the next one, so that what a call reads is
 * not in the L2 cache from the call before. Calls are recorded in batches, so that the host's part
 * of a call does not count.
 */
#ifndef GN_BENCH_GPU_RIG_H
#define GN_BENCH_GPU_RIG_H

#include "bench/bench.h"
#include "backend/arena.h"

enum { GN_RIG_SIDE = 14, GN_RIG_PATCH = 16, GN_RIG_T = 1 + GN_RIG_SIDE * GN_RIG_SIDE, GN_RIG_C = 768, GN_RIG_H = 12 };
enum { GN_RIG_CLASSES = 1000, GN_RIG_PIXELS = 3 * GN_RIG_SIDE * GN_RIG_PATCH * GN_RIG_SIDE * GN_RIG_PATCH };
enum { GN_RIG_WEIGHTS = 4 * GN_RIG_C * GN_RIG_C }; /* of fc1, the widest layer */

/* Buffers by shape: M rows, B images. */
enum gn_rig_buffer {
	GN_RIG_X, /* activations [M, C] */
	GN_RIG_Y,
	GN_RIG_OUT,
	GN_RIG_WIDE, /* activations [M, 4C] */
	GN_RIG_PRE,
	GN_RIG_ACT,
	GN_RIG_QKV, /* activations [M, 3C] */
	GN_RIG_DQKV,
	GN_RIG_W,      /* weights as products read them [4C, C] */
	GN_RIG_MASTER, /* floats [4C, C] */
	GN_RIG_GRADIENT,
	GN_RIG_MOMENT1,
	GN_RIG_MOMENT2,
	GN_RIG_SUMS,     /* doubles [4C, C] */
	GN_RIG_LSE,      /* floats [M, H] */
	GN_RIG_IMAGES,   /* floats [B, PIXELS] */
	GN_RIG_LOGITS,   /* floats [B, CLASSES] */
	GN_RIG_D_LOGITS, /* activations [B, CLASSES] */
	GN_RIG_BUFFERS
};

struct gn_rig_copies {
	char *memory;
	size_t bytes; /* of one */
	int count;
};

struct gn_rig {
	const struct gn_bench_options *options;
	const struct gn_backend *be;
	struct gn_ctx *ctx;
	struct gn_arena memory;
	size_t rotate; /* bytes of all the copies of a buffer, at least */
	int B, M;      /* images, and their rows */
	int turn;      /* calls of this batch of calls so far */
	struct gn_rig_copies buffers[GN_RIG_BUFFERS];
	gn_mat *bias;                                 /* [4C] */
	float *vector, *d_vector, *d_tokens, *losses; /* [4C], [4C], [T, C], [B] */
	int32_t *labels;                              /* [B] */
	char *block[2];                               /* of the ceilings */
	size_t block_bytes;
	struct gn_step_numbers *numbers;
	struct gn_opt_list *list; /* every copy of the weights */
};

typedef void gn_rig_work(struct gn_rig *r);

int gn_rig_open(struct gn_rig *r, const struct gn_bench_options *options, int batch, struct gn_error *err);
void gn_rig_release(struct gn_rig *r); /* harmless after a failed open */

/* The buffer's copy whose turn it is. */
void *gn_rig_at(const struct gn_rig *r, enum gn_rig_buffer buffer);

/* Seconds of one call by the device's clock. waits: the operation waits for its result, and
 * cannot be recorded. */
int gn_rig_measure(double *seconds, struct gn_rig *r, gn_rig_work *work, bool waits, struct gn_error *err);

/* Measures and gives rows of a large product and a large copy. */
int gn_rig_ceilings(struct gn_bench_ceilings *most, struct gn_rig *r, struct gn_error *err);

#endif
