/* What a run tunes, how, and what that costs. Part of gonio.h, whose conventions hold here. */
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
	GN_ANGLE, /* the layers that were chosen by their angle */
	GN_STRATEGY_COUNT
};
const char *gn_strategy_name(enum gn_strategy_kind kind);
int gn_strategy_kind_from_name(const char *name); /* -1: no such name */
struct gn_strategy {
	enum gn_strategy_kind kind;
	const char *const
	    *patterns; /* CUSTOM: globs over timm tensor names with {a..b} ranges; "head" means head.*; borrowed */
	int pattern_count;
	const char *const
	    *layers; /* ANGLE: names of attention and FFN layers, "blocks.3.attn", "blocks.3.mlp"; borrowed */
	int layer_count;
};
/* tuned[i] for each tensor of the layout; the head is always tuned. A pattern that matches nothing is an error
 * whose where is "/strategy/tune/N", a layer that the model does not have one at "/strategy/layers/N". */
int gn_strategy_select(bool *tuned, const struct gn_layout *layout, const struct gn_strategy *strategy,
                       struct gn_error *err);
/* The learning rate of a strategy: docs/method.md, "Recipe". */
double gn_strategy_lr(enum gn_strategy_kind kind);

enum gn_optimizer { GN_ADAMW, GN_SGD };
enum gn_schedule { GN_COSINE, GN_CONSTANT };
enum gn_augment { GN_AUGMENT_NONE, GN_AUGMENT_FLIP, GN_AUGMENT_STANDARD };
enum gn_head_init {
	GN_HEAD_ZERO,
	GN_HEAD_RANDOM,
	GN_HEAD_KEEP
}; /* KEEP: the model's own head; its classes must match */
enum gn_class_weights { GN_WEIGHTS_NONE, GN_WEIGHTS_BALANCED };

/* Everything that decides a run's result, all defaults filled in. */
struct gn_run_config {
	struct gn_strategy strategy;
	int epochs, batch_size;
	int micro_batch_size; /* 0: the largest that is useful and fits, see gn_plan_make */
	double lr, weight_decay, label_smoothing, clip_norm /* 0: none */, layer_decay;
	enum gn_optimizer optimizer;
	enum gn_schedule schedule;
	int64_t warmup_steps; /* -1: a tenth of all steps */
	enum gn_augment augment;
	int image_size; /* 0: the model's own */
	enum gn_head_init head;
	uint64_t seed;
	int eval_every_epochs;
	double checkpoint_every_seconds;
	int early_stop_epochs; /* 0: off; stop after so many evaluations without a better val accuracy */
	enum gn_class_weights class_weights;
};

/* What a run would cost: exact counts from the architecture and the set of tuned tensors. */
struct gn_plan {
	size_t tuned_parameters, total_parameters;
	int tuned_tensors;
	int lowest_tuned_block;   /* -1: no block is tuned; 0 also when the embedding is */
	int frozen_prefix_blocks; /* blocks whose output never changes: 0..depth */
	int prefix_stage; /* where the kept outputs of the frozen prefix end: 0 none are kept, depth + 1 the features */
	bool prefix_cached, prefix_in_memory;
	struct {
		uint64_t weights, gradients, optimizer, activations, prefix_cache, process,
		    total;       /* process: code, libraries, decoding */
		uint64_t device; /* what of it lies on the GPU; 0 on a CPU */
	} memory;
	/* Multiplies and adds counted apart; forward and backward of one whole batch, once the prefix is kept ... */
	double flops_per_step;
	double flops_first_epoch_step; /* ... and with the frozen prefix computed */
	/* What these operations and the optimiser read and write of memory at least, each operand once. */
	double bytes_per_step, bytes_first_epoch_step;
	double ideal_units, full_units; /* block passes, full tuning costs 3 a block: docs/method.md, "Costs" */
	double ideal_units_cached;      /* the same once the frozen prefix is kept */
	int64_t steps, steps_per_epoch, warmup_steps;
	int micro_batch_size;
	int image_size;
};
/* The plan on a CPU. train_images, val_images: how many; memory_limit: bytes that the run may use (0: the machine's memory).
 * micro_batch_size 0 in the config becomes the largest divisor-free split of the batch that fits and still makes
 * products larger (about 2048 token rows on a CPU, 65536 on a GPU). Fails with GN_NO_MEMORY, naming bytes needed and present, when
 * not even one image fits. */
int gn_plan_make(struct gn_plan *plan, const struct gn_arch *arch, const struct gn_run_config *config, int classes,
                 int train_images, int val_images, uint64_t memory_limit, struct gn_error *err);
/* The same on a device (NULL: a CPU) in a precision that it can compute in, which need not be the one that it was opened
 * with. memory_limit is the GPU's then, and stands against memory.device. */
int gn_plan_make_on(struct gn_plan *plan, const struct gn_device *device, enum gn_precision precision,
                    const struct gn_arch *arch, const struct gn_run_config *config, int classes, int train_images,
                    int val_images, uint64_t memory_limit, struct gn_error *err);

#endif
