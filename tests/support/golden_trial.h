/* Forward and backward passes and optimiser steps of one model on one reference batch, on the engine's inner interfaces. */
#ifndef GOLDEN_TRIAL_H
#define GOLDEN_TRIAL_H

#include "tests/support/golden_model.h"

#include "backend/backend.h"
#include "vit/gradplan.h"
#include "vit/vit.h"

struct trial {
	struct gn_device *device;
	const struct gn_backend *backend;
	const struct gn_model *model; /* borrowed */
	const bool *tuned;            /* [layout.count], borrowed */
	struct gn_gradplan plan;
	struct gn_pass *pass;
	struct gn_bind bound_weights, bound_gradients;
	float *weights, *gradients, *m, *v; /* by the layout's offsets; weights start as the model's */
	const float *images;                /* the reference's, borrowed */
	const int32_t *labels;
	int batch;
};

struct trial trial_new(const struct gn_model *model, const bool *tuned, const struct golden *ref, int threads);
void trial_release(struct trial *trial);

/* Runs the batch forward, keeping what the backward pass needs. */
void trial_forward(struct trial *trial);
/* The loss as PyTorch reduces it: a mean, by the labels' class weights where there are any. Sets the pass's d_logits. */
double trial_loss(struct trial *trial, const float *class_weights, float smoothing);
/* Sets the gradients from d_logits. */
void trial_backward(struct trial *trial);

#endif
