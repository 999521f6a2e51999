/*
 * A run in progress. The parts of train/ share this struct:
 *   setup.c      the network and its buffers
 *   weights.c    the tuned tensors' buffers and the table of all tensors
 *   schedule.c   learning rates
 *   prefix.c     the frozen prefix's outputs, kept; prefix_rows.c computes them
 *   shared.c     the same, shared with other runs
 *   validate.c   validation
 *   resume.c     checkpoint.bin
 *   step.c       one optimiser step
 *   report.c     events, the log, and stopping
 *   train.c      the loop
 * All data belongs to the thread that called gn_train; the loader's threads use only their own.
 */
#ifndef GN_TRAINER_H
#define GN_TRAINER_H

#include "backend/arena.h"
#include "data/loader.h"
#include "tune/tuning.h"
#include "vit/vit.h"

/* The state of a run that is saved beside weights and moments. Written to checkpoint.bin unchanged:
 * it has no pointers, and its padding does not matter. */
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

/* The kept outputs of the frozen prefix: one row per training and validation sample, in the data
 * set's order. */
struct gn_prefix {
	char *rows;
	size_t row_bytes, bytes;
	void *map; /* the memory to unmap at the end: rows, or their file */
	size_t map_bytes;
};

struct gn_step {
	double loss, lr, grad_norm; /* grad_norm before clipping */
	double weight;              /* the divisor of the sum of the losses */
	int images;
};

/* Steps that may be queued on an asynchronous device, beside the current one, before the result of
 * the first is fetched. */
enum { GN_TRAINER_LAG = 1 };

struct gn_trainer {
	const struct gn_train_options *options;
	struct gn_run_config config; /* lr and micro_batch_size filled in */
	const struct gn_backend *backend;
	struct gn_ctx *ctx;
	const struct gn_dataset *dataset;
	struct gn_plan plan;
	struct gn_tuning tuning;
	int cut; /* where the steps' passes start: tuning.cut if the prefix is kept, else 0 */

	struct gn_arena memory; /* all memory below that is marked "device", allocated once */

	/* weights.c */
	/* of each of the four buffers below; tensors are padded to 128 bytes */
	size_t tuned_floats;
	float *w, *g, *m, *v; /* device; v is NULL for SGD */
	/* the first floats of g: gradients that a step's first micro-batch sets (gn_role_is_set) */
	size_t set_floats;
	/* [layout.count] weights that passes read; device, or the mapped model if that is the
	 * same */
	void **tensors;
	/* [layout.count] float32 values of tensors that the run owns (tuned, resized); else NULL */
	float **values;
	void **gradients; /* [layout.count] NULL for frozen tensors */
	struct gn_bind weights, grads;
	struct gn_opt_list *opt;
	/* device: a layer's two base matrices, if the device cannot read the model's */
	float *angle_base[2];

	struct gn_pass *pass;
	size_t pass_bytes;
	void *pass_memory; /* device: for the pass that fills the prefix cache, then for the steps' */
	struct gn_prefix prefix;
	struct gn_loader *loader;
	float levels[3][256]; /* gn_image_levels of the model's preprocessing */
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

/* Needs options, config, backend, ctx and dataset. Makes all but the pass, the prefix cache and the
 * loader. Allocates all device memory. Release it in all cases. */
int gn_trainer_init(struct gn_trainer *t, struct gn_error *err);
int gn_trainer_open_pass(struct gn_trainer *t, struct gn_error *err);
void gn_trainer_release(struct gn_trainer *t);

/* The pass's input = images [n, S, S, 3] of 8 bits, normalised as the model wants it. */
void gn_trainer_upload(struct gn_trainer *t, struct gn_pass *pass, const uint8_t *images, int n);

/*
 * Queues one optimiser step on n <= batch_size samples: images [n, S, S, 3], or NULL with `samples`
 * where the prefix is kept. At most GN_TRAINER_LAG steps may be queued already.
 */
int gn_trainer_step(struct gn_trainer *t, const uint8_t *images, const int32_t *labels, const int32_t *samples, int n,
                    struct gn_error *err);
/* If more than `most` steps are queued, waits for the oldest one, counts it in progress.step, and
 * returns 1 with its result. Returns 0 if there are not so many. -1 on a failure, also for a loss
 * that is not a number. */
int gn_trainer_collect(struct gn_step *out, struct gn_trainer *t, int most, struct gn_error *err);

/* In this order: makes the host tables; places the tensors in t->memory; fills the tuned tensors
 * from the model (new head, resized position embedding), and the frozen ones if the device has its
 * own memory; binds all tensors. */
int gn_weights_init(struct gn_trainer *t, struct gn_error *err);
void gn_weights_place(struct gn_trainer *t);
int gn_weights_fill(struct gn_trainer *t, struct gn_error *err);
/* Converts the float32 values of the tuned tensors to the type that products read. */
void gn_weights_refresh(struct gn_trainer *t);
void gn_weights_release(struct gn_trainer *t);
/* Writes folder/model.safetensors: the tuned tensors, and a resized position embedding. */
int gn_weights_write(struct gn_trainer *t, struct gn_error *err);
/* Angles of the current weights against the model's. */
int gn_weights_angles(struct gn_angles *out, struct gn_trainer *t, struct gn_error *err);

/* The rate of optimiser step `step` (from 0), before layer decay: docs/method.md, "Recipe". */
double gn_schedule_lr(const struct gn_run_config *config, const struct gn_plan *plan, int64_t step);
/* Layer decay's factor for a tensor: decay^(layers above it), with timm's layers: stem, blocks with
 * the final norm in the last, head. */
double gn_layer_scale(const struct gn_tensor *tensor, const struct gn_arch *arch, double decay);

/* Computes the kept outputs with the current weights. Does nothing if the plan keeps none. */
int gn_prefix_fill(struct gn_trainer *t, struct gn_error *err);
/* Runs every training and validation sample from the cut `from`, whose rows are in source (0: from
 * the images), to the cut `to`. Sets rows and row_bytes of out. */
int gn_prefix_compute(struct gn_trainer *t, const struct gn_prefix *out, int to, int from,
                      const struct gn_prefix *source, struct gn_error *err);
/* Copies the kept rows of n samples to the pass's input. */
void gn_prefix_load(struct gn_trainer *t, const int32_t *samples, int n);
void gn_prefix_release(struct gn_trainer *t);

struct gn_evaluation {
	double accuracy, macro_f1, loss;
};
/* Measures the current weights on the validation split. All results are NAN if it is empty. */
int gn_evaluate(struct gn_evaluation *out, struct gn_trainer *t, struct gn_error *err);

/* Whether the caller has requested the run to stop. */
bool gn_train_stopped(const struct gn_trainer *t);
/* Sends an event with the run's step and its totals. */
void gn_train_emit(struct gn_trainer *t, struct gn_event *event);
void gn_train_log(struct gn_trainer *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The event of a step that was collected; a fast run reports only some of its steps. */
void gn_train_report_step(struct gn_trainer *t, const struct gn_step *step);
void gn_train_report_start(struct gn_trainer *t, bool resumed);

int gn_resume_save(struct gn_trainer *t, struct gn_error *err);
/* Sets *found; changes nothing if there is no checkpoint. */
int gn_resume_load(struct gn_trainer *t, bool *found, struct gn_error *err);

#endif
