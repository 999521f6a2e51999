/* Training runs, and guided runs, whose layers are chosen by their angles. Part of gonio.h, whose
 * conventions hold here. */
#ifndef GONIO_TRAIN_H
#define GONIO_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/gonio/angles.h"
#include "include/gonio/dataset.h"

enum gn_event_kind {
	GN_EVENT_START,
	GN_EVENT_STEP,
	GN_EVENT_EPOCH,
	GN_EVENT_ANGLES,
	GN_EVENT_CHECKPOINT,
	GN_EVENT_LOG,
	GN_EVENT_CHOICE /* gn_train_guided has chosen the layers */
};
/* Which layers a guided run tunes, and why. */
struct gn_choice {
	enum gn_order order;
	const struct gn_selection *selection;
	bool tried; /* both orders were tried; trials has the results */
	struct {
		double val_accuracy, val_loss;
	} trials[2]; /* by order */
};
struct gn_event {
	enum gn_event_kind kind;
	/* optimiser steps done, and steps of the whole run */
	int64_t step, steps;
	int epoch, epochs; /* epoch counts from 1 */
	/* STEP; loss is the mean over the batch */
	double loss, lr, grad_norm, images_per_second, eta_seconds;
	/* EPOCH; val_* are NAN if this epoch was not evaluated */
	double train_loss, val_loss, val_accuracy, val_macro_f1, seconds;
	/* ANGLES; borrowed during the call */
	const struct gn_angles *angles;
	const char *text;               /* LOG, START; borrowed */
	const struct gn_choice *choice; /* CHOICE; borrowed */
	/* in a guided run "probe", "trial_largest", "trial_smallest" or "tuning"; else NULL */
	const char *phase;
};
struct gn_train_result {
	/* of the best epoch, but train_loss is of the last */
	double val_accuracy, val_macro_f1, val_loss, train_loss;
	int best_epoch, epochs_done;
	double seconds; /* over all attempts */
	uint64_t peak_memory_bytes;
	int64_t images;
};
/* A folder in which runs share the outputs of the frozen prefix. The engine tells apart by itself
 * everything that decides their content, except for the weights and the pictures: identity must be
 * different for each pair of model and data set. */
struct gn_shared {
	const char *folder; /* exists; the files stay in it */
	const char *identity;
	/* gn_plan.prefix_cut of the runs to come, whose outputs are kept in the same pass */
	const int *cuts;
	int cut_count;
	/* bytes that must stay free on the disk; otherwise nothing is shared */
	uint64_t disk_reserve;
};
struct gn_train_options {
	struct gn_device *device;
	const struct gn_model *model;
	const struct gn_dataset *dataset;
	const struct gn_run_config *config;
	/* receives checkpoint.bin, the prefix cache and model.safetensors, the delta of the best
	 * epoch */
	const char *folder;
	uint64_t max_pixels;
	int loader_threads; /* 0: chosen */
	/* called from the thread of gn_train; must not block for long */
	void (*on_event)(void *user, const struct gn_event *event);
	void *user;
	/* != 0: write a checkpoint, return GN_CANCELLED. May be NULL */
	const volatile int *stop;
	const struct gn_shared *shared; /* NULL: nothing is shared */
	/* write no model.safetensors: the caller wants only the figures and the angles */
	bool discard_model;
};
/* Trains from the pre-trained weights. If folder has a checkpoint.bin, continues from it; the
 * result has the same bits as without the interruption. */
int gn_train(struct gn_train_result *result, const struct gn_train_options *options, struct gn_error *err);

/* How a guided run chooses the layers that it tunes: docs/method.md, "Choosing layers". */
struct gn_guide {
	int probe_epochs; /* epochs of full fine-tuning that measure the angles */
	double probe_lr;
	enum gn_order order;
	/* tune with each order for trial_epochs, then take the order with the better validation */
	bool try_both_orders;
	int trial_epochs;
	int attention_layers, ffn_layers;
};
/* The configurations of the phases before the choice. They are the run's own except for strategy,
 * length, learning rate, warm-up and early stopping. */
struct gn_run_config gn_guide_probe(const struct gn_guide *guide, const struct gn_run_config *config);
struct gn_run_config gn_guide_trial(const struct gn_guide *guide, const struct gn_run_config *config);
/* Runs the probe, the trials if try_both_orders, and then gn_train with the strategy ANGLE and the
 * chosen layers, again from the pre-trained weights. Each phase has its own folder in
 * options->folder while it runs, and leaves a small file. After an interruption anywhere, the next
 * call continues with the same bits. The result's seconds and images cover all phases.
 * config->strategy is ignored. */
int gn_train_guided(struct gn_train_result *result, const struct gn_train_options *options,
                    const struct gn_guide *guide, struct gn_error *err);

#endif
