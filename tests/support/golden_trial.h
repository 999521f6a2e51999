/*
 * Forward and backward passes and optimiser steps of one model on one reference batch, on the
 * engine's inner interfaces. On a device with a memory of its own the arrays below are the host's
 * copies, and `device` holds what it computes with.
 */
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
	/* by the layout's offsets, after trial_pull; weights start as the model's */
	float *weights, *gradients;
	float *d_logits; /* [batch, K], after trial_loss */
	struct {
		float *weights, *gradients, *m, *v; /* by the layout's offsets */
		void **tensors;                     /* [layout.count] what passes read */
		int32_t *labels;
		float *class_weights; /* [K] */
		struct gn_step_numbers *numbers;
		void *blocks[32];
		size_t bytes[32];
		int count;
	} on;
	const float *images; /* the reference's, borrowed */
	const int32_t *labels;
	int batch;
};

/* The device that parity is tested on: GONIO_TEST_DEVICE in GONIO_TEST_PRECISION, or the CPU. One
 * for the whole program, which closes it at its end. */
struct gn_device *golden_device(void);
/* The one that holds on that device: float32 products, or products of fewer bits. */
double golden_tolerance(double fp32, double bf16);

struct trial trial_new(const struct gn_model *model, const bool *tuned, const struct golden *ref);
void trial_release(struct trial *trial);

/* Runs the batch forward, keeping what the backward pass needs. */
void trial_forward(struct trial *trial);
/* The loss as PyTorch reduces it: a mean, by the labels' class weights where there are any. Sets
 * the pass's d_logits. */
double trial_loss(struct trial *trial, const float *class_weights, float smoothing);
/* Sets the gradients from the last loss. */
void trial_backward(struct trial *trial);
/* Brings weights and gradients to the host. */
void trial_pull(struct trial *trial);
/* Gives the optimiser a step's numbers. */
struct gn_step_numbers *trial_numbers(struct trial *trial, const struct gn_step_numbers *numbers);

#endif
