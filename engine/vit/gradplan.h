/*
 * The gradient plan: the gradients that a set of tuned tensors needs, and the activations that must
 * be kept for them. A gradient or activation that is false here is neither computed nor stored
 * (docs/method.md, "Costs").
 */
#ifndef GN_GRADPLAN_H
#define GN_GRADPLAN_H

#include "gonio.h"

/* One block, in the order of the backward pass. d_X: the gradient with respect to X is needed. */
struct gn_block_need {
	bool ffn;       /* the FFN branch has backward work at all */
	bool d_fc2_out; /* the branch's output, before layer scale */
	bool d_fc1_out; /* the pre-activation */
	bool d_norm2;   /* the output of norm2 */
	bool d_mid;     /* the residual stream between attention and FFN */
	bool attn;
	bool d_proj_out, d_qkv, d_norm1;
	bool d_in; /* the block's input */
	bool keep_in, keep_qkv, keep_attn, keep_proj_out, keep_mid, keep_pre, keep_fc2_out;
	/* the activation's output instead of its input: only fc2's weight gradient needs it */
	bool keep_act;
};

struct gn_gradplan {
	int depth;
	struct gn_block_need *blocks;
	bool d_out; /* gradient of the last block's output */
	/* final norm's parameters or d_out: the features' gradient is needed */
	bool d_norm;
	bool d_embedded; /* gradient of the first block's input: embedding or norm_pre tuned */
	bool d_tokens;   /* ... below norm_pre: embedding tensors are tuned */
	/* lowest block with a tuned tensor; 0 if the embedding is tuned; -1 if no block is tuned */
	int lowest_block;
	int frozen_blocks;    /* blocks whose output never changes, 0..depth */
	bool frozen_features; /* all blocks and the final norm are frozen: only heads are tuned */
};

/* tuned[layout->count]. */
int gn_gradplan_init(struct gn_gradplan *plan, const struct gn_arch *arch, const struct gn_layout *layout,
                     const bool *tuned, struct gn_error *err);
void gn_gradplan_release(struct gn_gradplan *plan);

#endif
