/* Training runs, and runs whose layers the angles choose. Part of gonio.h, whose conventions hold here. */
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
	bool tried; /* both orders were: */
	struct {
		double val_accuracy, val_loss;
	} trials[2]; /* by order */
};
struct gn_event {
	enum gn_event_kind kind;
	int64_t step, steps;                                        /* optimiser steps done, and of the whole run */
	int epoch, epochs;                                          /* epoch counts from 1 */
	double loss, lr, grad_norm, images_per_second, eta_seconds; /* STEP; loss is the mean of the batch */
	double train_loss, val_loss, val_accuracy, val_macro_f1, seconds; /* EPOCH; val_* NAN when not evaluated */
	const struct gn_angles *angles;                                   /* ANGLES; borrowed during the call */
	const char *text;                                                 /* LOG, START; borrowed */
	const struct gn_choice *choice;                                   /* CHOICE; borrowed */
	const char *phase; /* of a guided run: "probe", "trial_largest", "trial_smallest", "tuning"; else NULL */
};
struct gn_train_result {
	double val_accuracy, val_macro_f1, val_loss, train_loss; /* of the best epoch; train_loss of the last */
	int best_epoch, epochs_done;
	double seconds; /* over all attempts */
	uint64_t peak_memory_bytes;
	int64_t images;
};
/* Where runs on one model and data set share the outputs of the frozen prefix. What decides their content is told apart by
 * the engine but for the weights and the pictures: those are what identity stands for. */
struct gn_shared {
	const char *folder; /* exists; the files stay there */
	const char *identity;
	const int *stages; /* gn_plan.prefix_stage of the runs that will come: filled on the way */
	int stage_count;
	uint64_t disk_reserve; /* bytes that stay free; where they do not, nothing is shared */
};
struct gn_train_options {
	struct gn_device *device;
	const struct gn_model *model;
	const struct gn_dataset *dataset;
	const struct gn_run_config *config;
	const char
	    *folder; /* checkpoint.bin, prefix cache; model.safetensors (the delta of the best epoch) is left here */
	uint64_t max_pixels;
	int loader_threads; /* 0: chosen */
	void (*on_event)(void *user,
	                 const struct gn_event *event); /* from the calling thread; must not block for long */
	void *user;
	const volatile int *stop;       /* != 0: write a checkpoint, return GN_CANCELLED. May be NULL */
	const struct gn_shared *shared; /* NULL: nothing is shared */
	bool discard_model;             /* leaves no model.safetensors: only the figures and the angles are wanted */
};
/* Trains from the pre-trained weights, or from folder/checkpoint.bin if one is there, bit for bit as if never
 * interrupted. */
int gn_train(struct gn_train_result *result, const struct gn_train_options *options, struct gn_error *err);

/* How a run finds the layers that it tunes by itself: docs/method.md, "Choosing layers". */
struct gn_guide {
	int probe_epochs; /* of full fine-tuning, for the angles */
	double probe_lr;
	enum gn_order order;
	bool try_both_orders; /* tune by either order for trial_epochs, and take the one with the better validation */
	int trial_epochs;
	int attention_layers, ffn_layers;
};
/* The configuration of a phase before the choice: the run's own but for strategy, length, rate, warm-up and stopping. */
struct gn_run_config gn_guide_probe(const struct gn_guide *guide, const struct gn_run_config *config);
struct gn_run_config gn_guide_trial(const struct gn_guide *guide, const struct gn_run_config *config);
/* Probe, trials where they are wanted, then gn_train with the strategy ANGLE and the chosen layers, from the pre-trained weights again. Each
 * phase has a folder of its own in options->folder while it goes on, and leaves a small file: interrupted anywhere, the next call goes on
 * bit for bit. The result's seconds and images are those of all phases. config->strategy is not looked at. */
int gn_train_guided(struct gn_train_result *result, const struct gn_train_options *options,
                    const struct gn_guide *guide, struct gn_error *err);

#endif
