/*
 * What the models on one device share. Models of one shape compute in one set of buffers, a *body*, because they take turns; on a device
 * with a memory of its own the weights of a base model lie there once, however many models are tuned from it. Both are counted, and
 * go with their last holder. One thread at a time, as for everything on a device.
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
	struct gn_arena memory, stash_memory;
	struct gn_pass *pass;
	void *stash; /* content of any stage but the first, where models share a prefix; NULL until gn_body_stash */
};
/* Whether models of two architectures compute in the same buffers in the same way, heads apart. */
bool gn_same_body(const struct gn_arch *a, const struct gn_arch *b);
int gn_body_hold(struct gn_body **out, struct gn_device *device, const struct gn_arch *arch, int batch,
                 struct gn_error *err);
int gn_body_stash(struct gn_body *body, struct gn_device *device, struct gn_error *err);
void gn_body_drop(struct gn_body *body, struct gn_device *device);

/* A model's tensors as a pass reads them: [layout.count] pointers. On a device that reads host memory they are the model's own. */
struct gn_weights {
	struct gn_weights *next;
	int holders;
	const struct gn_model *model;
	struct gn_weights *base; /* held by this one; NULL for a base model and on a device that reads host memory */
	struct gn_arena memory;  /* of the tensors that the model does not take from its base */
	void **tensors;
};
int gn_weights_hold(struct gn_weights **out, struct gn_device *device, const struct gn_model *model,
                    struct gn_error *err);
void gn_weights_drop(struct gn_weights *weights, struct gn_device *device);

#endif
