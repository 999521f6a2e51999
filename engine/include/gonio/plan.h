/* Strategies, the configuration of a run, and its costs. Part of gonio.h, whose conventions hold
 * here. */
#ifndef GONIO_PLAN_H
#define GONIO_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/gonio/device.h"

enum gn_strategy_kind {
	GN_FULL,
	GN_LINEAR,
	GN_ATTENTION,
	GN_FFN,
	GN_FIRST_THIRD,
	GN_MIDDLE_THIRD,
	GN_LAST_THIRD,
	GN_ODD,
	GN_EVEN,
	GN_NORM,
	GN_BIAS,
	GN_CUSTOM,
	GN_ANGLE, /* layers that were chosen by their angles */
	GN_STRATEGY_COUNT
};
const char *gn_strategy_name(enum gn_strategy_kind kind);
int gn_strategy_kind_from_name(const char *name); /* -1 for an unknown name */
struct gn_strategy {
	enum gn_strategy_kind kind;
	/* CUSTOM: globs over timm tensor names with {a..b} ranges; "head" means head.*; borrowed */
	const char *const *patterns;
	int pattern_count;
	/* ANGLE: names of attention and FFN layers, "blocks.3.attn", "blocks.3.mlp"; borrowed */
	const char *const *layers;
	int layer_count;
};
/* Sets tuned[i] for each tensor of the layout. The head is always tuned. GN_INVALID with where
 * "/strategy/tune/N" if a pattern matches nothing, or "/strategy/layers/N" if the model has no such
 * layer. */
int gn_strategy_select(bool *tuned, const struct gn_layout *layout, const struct gn_strategy *strategy,
                       struct gn_error *err);
/* The default learning rate of a strategy: docs/method.md, "Recipe". */
double gn_strategy_lr(enum gn_strategy_kind kind);

enum gn_optimizer { GN_ADAMW, GN_SGD };
enum gn_schedule { GN_COSINE, GN_CONSTANT };
enum gn_augment { GN_AUGMENT_NONE, GN_AUGMENT_FLIP, GN_AUGMENT_STANDARD };
enum gn_head_init {
	GN_HEAD_ZERO,
	GN_HEAD_RANDOM,
	GN_HEAD_KEEP
}; /* KEEP: the model's own head, whose classes must match */
enum gn_class_weights { GN_WEIGHTS_NONE, GN_WEIGHTS_BALANCED };

/* Everything that decides a run's result, with all defaults filled in. */
struct gn_run_config {
	struct gn_strategy strategy;
	int epochs, batch_size;
	int micro_batch_size; /* 0: the largest useful one that fits, see gn_plan_make */
	double lr, weight_decay, label_smoothing, clip_norm /* 0: no clipping */, layer_decay;
	enum gn_optimizer optimizer;
	enum gn_schedule schedule;
	int64_t warmup_steps; /* -1: a tenth of all steps */
	enum gn_augment augment;
	int image_size; /* 0: the model's own */
	enum gn_head_init head;
	uint64_t seed;
	int eval_every_epochs;
	double checkpoint_every_seconds;
	/* stop after this many evaluations without a better validation accuracy; 0: never */
	int early_stop_epochs;
	enum gn_class_weights class_weights;
};

/* The costs of a run: exact counts from the architecture and the set of tuned tensors. */
struct gn_plan {
	size_t tuned_parameters, total_parameters;
	int tuned_tensors;
	int lowest_tuned_block;   /* -1: no block is tuned; 0 also if the embedding is tuned */
	int frozen_prefix_blocks; /* blocks whose output never changes: 0..depth */
	/* the cut where the kept outputs of the frozen prefix end; 0: none are kept, depth + 1: the
	 * features are */
	int prefix_cut;
	bool prefix_cached, prefix_in_memory;
	struct {
		uint64_t weights, gradients, optimizer, activations, prefix_cache, process,
		    total;       /* process: code, libraries, decoding buffers */
		uint64_t device; /* the part of total on the GPU; 0 on a CPU */
		/* The part of process for decoded pixels that are kept for later epochs, of as many
		 * images as fit. */
		uint64_t pixel_cache;
	} memory;
	/* Operations of forward and backward for one whole batch; a multiply and an add are two.
	 * The first is a step that reads the kept prefix ... */
	double flops_per_step;
	double flops_first_epoch_step; /* ... the second a step that computes the frozen prefix */
	/* Bytes that these operations and the optimiser read and write at least, each operand
	 * once. */
	double bytes_per_step, bytes_first_epoch_step;
	/* in block passes; full tuning costs 3 a block: docs/method.md, "Costs" */
	double ideal_units, full_units;
	double ideal_units_cached; /* the same with the frozen prefix kept */
	int64_t steps, steps_per_epoch, warmup_steps;
	int micro_batch_size;
	int image_size;
};
/* Plans a run on a CPU. train_images and val_images are numbers of images. memory_limit is in
 * bytes; 0 means the machine's memory. If the config's micro_batch_size is 0, the plan splits the
 * batch into even parts. It takes the largest parts that fit in memory and still make products
 * faster (about 2048 token rows on a CPU, 65536 on a GPU). GN_NO_MEMORY if not even one image fits;
 * the text has the bytes needed and present. */
int gn_plan_make(struct gn_plan *plan, const struct gn_arch *arch, const struct gn_run_config *config, int classes,
                 int train_images, int val_images, uint64_t memory_limit, struct gn_error *err);
/* The same on a device, or on a CPU if device is NULL. The device must support the precision, but
 * may have been opened in another one. On a GPU, memory_limit is the GPU's memory and limits
 * memory.device. */
int gn_plan_make_on(struct gn_plan *plan, const struct gn_device *device, enum gn_precision precision,
                    const struct gn_arch *arch, const struct gn_run_config *config, int classes, int train_images,
                    int val_images, uint64_t memory_limit, struct gn_error *err);

#endif
