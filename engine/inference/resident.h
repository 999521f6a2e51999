/*
 * Memory that the models on one device share. Models of one shape compute one after the other, so
 * they use one set of buffers, called a *body*. A device with its own memory has the weights of a
 * base model once, however many models are tuned from it. Both have a reference count, and the last
 * user frees them. Only one thread at a time, as for all work on a device.
 */
#ifndef GN_RESIDENT_H
#define GN_RESIDENT_H

#include "backend/arena.h"
#include "vit/vit.h"

/* The buffers from the images to the features that the heads read. */
struct gn_body {
	struct gn_body *next;
	int holders;
	struct gn_arch arch; /* classes: 0 */
	struct gn_arena memory, shared_memory;
	struct gn_pass *pass;
	/*
	 * a copy of the output of the blocks that several models share, which each of them
	 * continues from; NULL before gn_body_alloc_shared
	 */
	void *shared_output;
};
/* Whether models of two architectures can share buffers and compute in the same way, except for
 * their heads. */
bool gn_same_body(const struct gn_arch *a, const struct gn_arch *b);
int gn_body_hold(struct gn_body **out, struct gn_device *device, const struct gn_arch *arch, int batch,
                 struct gn_error *err);
/* Allocates shared_output on the first call. */
int gn_body_alloc_shared(struct gn_body *body, struct gn_device *device, struct gn_error *err);
void gn_body_drop(struct gn_body *body, struct gn_device *device);

/* The tensors that a pass reads: [layout.count] pointers. On a device that reads host memory they
 * point to the model's own weights. */
struct gn_weights {
	struct gn_weights *next;
	int holders;
	const struct gn_model *model;
	/* held by these weights; NULL for a base model and on a device that reads host memory */
	struct gn_weights *base;
	struct gn_arena memory; /* for the tensors that the model does not share with its base */
	void **tensors;
};
int gn_weights_hold(struct gn_weights **out, struct gn_device *device, const struct gn_model *model,
                    struct gn_error *err);
void gn_weights_drop(struct gn_weights *weights, struct gn_device *device);

#endif
