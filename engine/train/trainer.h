/*
 * A run in progress. The parts of train/ share this struct:
 *   setup.c      the network and its buffers
 *   weights.c    the tuned tensors' buffers and the table of all tensors
 *   schedule.c   learning rates
 *   prefix.c     the frozen prefix's outputs, kept
 *   shared.c     the same, shared with other runs
 *   evaluate.c   validation
 *   resume.c     checkpoint.bin
 *   step.c       one optimiser step
 *   train.c      the loop
 * Everything belongs to the thread that called gn_train; the loader's threads touch only their own.
 */
#ifndef GN_TRAINER_H
#define GN_TRAINER_H

#include "backend/arena.h"
#include "data/loader.h"
#include "tune/plan.h"
#include "vit/vit.h"

/* What a resumed run must find again, beside weights and moments. Written to checkpoint.bin as it is: no pointers,
 * no padding that matters. */
struct gn_progress {
	int64_t step;        /* optimiser steps done */
	int64_t epoch_steps; /* of them in the current epoch */
	int64_t images;      /* trained on, all attempts */
	double loss_sum;     /* of the current epoch's batches, each times its number of images */
	double seconds;      /* all attempts */
	double epoch_seconds;
	double last_train_loss;
	double best_accuracy, best_f1, best_loss;
	int32_t epoch; /* epochs done */
	int32_t best_epoch;
	int32_t evaluations_since_best;
	int32_t stopped; /* early stopping has ended the run */
};

/* The kept outputs of the frozen prefix: one row per training and validation sample, in the data set's order. */
struct gn_prefix {
	char *rows;
	size_t row_bytes, bytes;
	void *map; /* what is unmapped in the end: rows, or the file that they lie in */
	size_t map_bytes;
};

struct gn_step {
	double loss, lr, grad_norm; /* grad_norm before clipping */
	double weight;              /* what the sum of the losses is divided by */
	int images;
};

/* Steps that may be queued on an asynchronous device before the result of the first is asked for, beside the one
 * being queued. */
enum { GN_TRAINER_LAG = 1 };

struct gn_trainer {
	const struct gn_train_options *options;
	struct gn_run_config config; /* lr and micro_batch_size filled in */
	const struct gn_backend *backend;
	struct gn_ctx *ctx;
	const struct gn_dataset *dataset;
	struct gn_plan plan;
	struct gn_arch arch;
	struct gn_layout layout;
	bool *tuned;
	struct gn_gradplan grad;
	int stage; /* where passes start once the prefix is cached, else 0 */

	struct gn_arena memory; /* everything below that is marked "device", taken once */

	/* weights.c */
	size_t tuned_floats;  /* of each of the four buffers below; tensors are padded to 128 bytes */
	float *w, *g, *m, *v; /* device; v is NULL for SGD */
	void **tensors;       /* [layout.count] what passes read; device, or the mapped model where that is the same */
	float **values;       /* [layout.count] float32 form of what the run holds itself (tuned, resized); else NULL */
	void **gradients;     /* [layout.count] NULL where frozen */
	struct gn_bind weights, grads;
	struct gn_opt_list *opt;
	float *angle_base[2]; /* device: a layer's two base matrices, where the device cannot read the model's */

	struct gn_pass *pass;
	size_t pass_bytes;
	void *pass_memory; /* device: for the pass that fills the prefix cache, then for the steps' */
	struct gn_prefix prefix;
	struct gn_loader *loader;
	float levels[3][256];  /* gn_image_levels of the model's preprocessing */
	float *class_weights; /* host [K], NULL: all 1 */
	float *device_class_weights;
	int32_t *device_labels;
	struct gn_step_numbers *numbers;           /* device */
	struct gn_step queued[GN_TRAINER_LAG + 1]; /* by step number, modulo their count */
	int queued_count;
	struct gn_progress progress;
	double started, last_checkpoint, last_step_event; /* monotonic seconds */
	int64_t attempt_images;
	double attempt_seconds;
};

uint64_t gn_peak_memory(void); /* the process's largest resident size so far, from the kernel's own account */

/* With options, config, backend, ctx and dataset set: everything but the pass, the prefix cache and the loader. All
 * device memory is taken here. Release in any case. */
int gn_trainer_init(struct gn_trainer *t, struct gn_error *err);
int gn_trainer_open_pass(struct gn_trainer *t, struct gn_error *err);
void gn_trainer_release(struct gn_trainer *t);

/* The pass's input = images [n, S, S, 3] of 8 bits, normalised as the model wants it. */
void gn_trainer_upload(struct gn_trainer *t, struct gn_pass *pass, const uint8_t *images, int n);

/* Queues one optimiser step on n <= batch_size samples: images [n, S, S, 3], or NULL with `samples` where the prefix
 * is kept. At most GN_TRAINER_LAG steps may be queued already. */
int gn_trainer_step(struct gn_trainer *t, const uint8_t *images, const int32_t *labels, const int32_t *samples, int n,
                    struct gn_error *err);
/* Waits for the oldest queued step when more than `most` are queued: 1 with its result, progress.step then counting
 * it; 0 when not so many are queued; -1 on a failure, a loss that is no number included. */
int gn_trainer_collect(struct gn_step *out, struct gn_trainer *t, int most, struct gn_error *err);

void gn_train_log(struct gn_trainer *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Host tables; then the tensors' places in t->memory; then the tuned tensors filled from the model (new head, resized
 * position embedding), the frozen ones where the device has a memory of its own, and all tensors bound. */
int gn_weights_init(struct gn_trainer *t, struct gn_error *err);
void gn_weights_place(struct gn_trainer *t);
int gn_weights_fill(struct gn_trainer *t, struct gn_error *err);
/* Makes what products read of the tuned tensors from their float32 values. */
void gn_weights_refresh(struct gn_trainer *t);
void gn_weights_release(struct gn_trainer *t);
/* Writes folder/model.safetensors: the tuned tensors, and a resized position embedding. */
int gn_weights_write(struct gn_trainer *t, struct gn_error *err);
/* Angles of the current weights against the model's. */
int gn_weights_angles(struct gn_angles *out, struct gn_trainer *t, struct gn_error *err);

/* The rate of optimiser step `step` (from 0), before layer decay: docs/method.md, "Recipe". */
double gn_schedule_lr(const struct gn_run_config *config, const struct gn_plan *plan, int64_t step);
/* Layer decay's factor for a tensor: decay^(layers above it), with timm's layers: stem, blocks with the final norm
 * in the last, head. */
double gn_layer_scale(const struct gn_tensor *tensor, const struct gn_arch *arch, double decay);

/* Computes the kept outputs with the current weights. Does nothing when the plan keeps none. */
int gn_prefix_fill(struct gn_trainer *t, struct gn_error *err);
/* Runs every training and validation sample from the stage `from`, whose rows are in source (0: from the images), to
 * the stage `to`; rows and row_bytes of out are set. */
int gn_prefix_compute(struct gn_trainer *t, const struct gn_prefix *out, int to, int from,
                      const struct gn_prefix *source, struct gn_error *err);
/* Puts the kept rows of n samples into the pass's input. */
void gn_prefix_load(struct gn_trainer *t, const int32_t *samples, int n);
void gn_prefix_release(struct gn_trainer *t);

struct gn_evaluation {
	double accuracy, macro_f1, loss;
};
/* The validation split with the current weights. All NAN when it is empty. */
int gn_evaluate(struct gn_evaluation *out, struct gn_trainer *t, struct gn_error *err);

/* The caller has asked the run to stop. */
bool gn_train_stopped(const struct gn_trainer *t);

int gn_resume_save(struct gn_trainer *t, struct gn_error *err);
/* Sets *found; without a checkpoint nothing is touched. */
int gn_resume_load(struct gn_trainer *t, bool *found, struct gn_error *err);

#endif
