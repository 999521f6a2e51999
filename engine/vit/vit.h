/*
 * The Vision Transformer, forward and backward, written once against the backend table.
 *
 * A *cut* is a point in the network where a pass may start or end. Cut s <= depth is the
 * residual stream before block s (cut 0: the images). Cut depth + 1 is the features that the heads
 * read. A frozen prefix ends at a cut. Its output can be kept, and later passes can start there.
 *
 * With class-token pooling the heads read only the first `queries` rows of an image (1, or 2 with a
 * distillation head). So the last block's projection, its FFN and the final norm compute only these
 * rows, not all T.
 */
#ifndef GN_VIT_H
#define GN_VIT_H

#include "backend/backend.h"
#include "vit/gradplan.h"

/* One pointer per tensor, indexed by role: weights (matrices as gn_mat, the others as float) or
 * gradients (float; NULL if frozen). */
struct gn_bind {
	void *outside[GN_ROLE_COUNT];
	void *(*blocks)[GN_ROLE_COUNT]; /* [depth] */
};
/* pointers[layout->count], in the layout's order. */
int gn_bind_init(struct gn_bind *bind, const struct gn_layout *layout, int depth, void *const *pointers,
                 struct gn_error *err);
void gn_bind_release(struct gn_bind *bind);

/* Sizes that the code below uses everywhere. */
struct gn_vit_shape {
	struct gn_arch arch;
	int T, prefix, patches, grid, C, H, D, mlp, L, K;
	int queries;  /* rows per image that leave the last block */
	int features; /* feature vectors per image: 2 with a distillation head, else 1 */
};
/* Fails if the backend has no kernel for the model. */
int gn_vit_check(const struct gn_backend *backend, const struct gn_arch *arch, struct gn_error *err);
/* Whether products read the tensors of this role, as gn_mat. */
bool gn_role_is_mat(enum gn_role role);
/* Whether one product gives the whole gradient of a tensor of this role, so that it can be set
 * instead of added to. */
bool gn_role_is_set(enum gn_role role);
void gn_vit_shape_init(struct gn_vit_shape *shape, const struct gn_arch *arch);
/* Floats per image of the content of a cut; cut 0 has only the images. */
size_t gn_cut_floats(const struct gn_vit_shape *shape, int cut);

/*
 * The buffers of a pass over at most `batch` images, carved from one block of device memory. With a
 * gradient plan (borrowed) it can also run backward. The pass runs from cut `from` to cut `to`;
 * `to` is depth + 2 for the logits.
 */
struct gn_pass {
	const struct gn_backend *backend;
	struct gn_ctx *ctx;
	struct gn_vit_shape shape;
	const struct gn_gradplan *plan;
	int batch, from, to;
	void *memory;
	size_t bytes;
	bool own_memory;
	float *images;  /* [B, 3, S, S], if from is 0 */
	gn_act *tokens; /* [B, T, C] before norm_pre */
	gn_act **x;     /* [L + 1]: x[i] enters block i; x[L] is [B, queries, C] */
	gn_act **mid, **qkv, **attn, **proj_out, **pre, **fc2_out; /* [L] */
	/* [L]: [B, H, queries], if the backend's attention_backward reads it */
	float **lse;
	gn_act *normed, *wide, *stream; /* scratch [B, T, C], [B, T, max(3C, mlp)], [B, T, C] */
	gn_act *pooled, *features;      /* before and after the final norm, [B, features, C] */
	gn_act *d, *d_branch, *d_norm;  /* gradients [B, T, C] */
	bool add;                       /* of gn_vit_backward */
	gn_act *d_features;             /* [B, features, C] */
	gn_act *feature, *d_feature;    /* [B, C]: one of the two features of each image */
	float *logits, *losses, *half;  /* [B, K], [B], [K] */
	gn_act *d_logits;               /* [B, K] */
};

/* Device memory that gn_pass_new will allocate. */
size_t gn_pass_bytes(const struct gn_backend *backend, const struct gn_arch *arch, const struct gn_gradplan *plan,
                     int batch, int from, int to);
int gn_pass_new(struct gn_pass **out, const struct gn_backend *backend, struct gn_ctx *ctx, const struct gn_arch *arch,
                const struct gn_gradplan *plan, int batch, int from, int to, struct gn_error *err);
/* The same in the caller's device memory of gn_pass_bytes(), which must outlive the pass. */
int gn_pass_new_in(struct gn_pass **out, void *memory, const struct gn_backend *backend, struct gn_ctx *ctx,
                   const struct gn_arch *arch, const struct gn_gradplan *plan, int batch, int from, int to,
                   struct gn_error *err);
void gn_pass_free(struct gn_pass *pass);
/* The memory for the content of the pass's first cut (images for cut 0), and the memory with the
 * content of its last cut. */
void *gn_pass_input(struct gn_pass *pass);
void *gn_pass_output(struct gn_pass *pass);

/* Runs B <= batch images from the pass's first cut to its last. keep: stores the activations that
 * the plan needs for the backward pass. */
void gn_vit_forward(struct gn_pass *pass, const struct gn_bind *weights, int B, bool keep);
/* The same between two cuts of the pass. The content of the first one is already in its memory:
 * images for cut 0, else pass->x[from]. */
void gn_vit_forward_between(struct gn_pass *pass, const struct gn_bind *weights, int B, int from, int to, bool keep);
/* Call it after a forward pass with keep, and with d_logits [B, K] set. Adds each gradient in the
 * plan to `gradients`; without add it sets those for which gn_role_is_set is true, whatever they
 * held. With a distillation head, both heads read the same d_logits, which the
 * caller has halved. */
void gn_vit_backward(struct gn_pass *pass, const struct gn_bind *weights, const struct gn_bind *gradients, bool add,
                     int B);

#endif
