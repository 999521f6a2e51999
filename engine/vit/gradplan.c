/* Makes the gradient plan from the bottom of the network up: a gradient is needed if a tuned tensor
 * lies at or below it. */
#include "vit/gradplan.h"

#include <stdlib.h>

static void plan_block(struct gn_block_need *n, const bool t[GN_ROLE_COUNT], bool d_in)
{
	bool norm1 = t[GN_NORM1_W] || t[GN_NORM1_B], norm2 = t[GN_NORM2_W] || t[GN_NORM2_B];

	n->d_in = d_in;
	n->d_norm1 = d_in || norm1;
	n->d_qkv = n->d_norm1 || t[GN_QKV_W] || t[GN_QKV_B];
	n->d_proj_out = n->d_qkv || t[GN_PROJ_W] || t[GN_PROJ_B];
	n->attn = n->d_proj_out || t[GN_LS1];
	n->d_mid = n->attn;
	n->d_norm2 = n->d_mid || norm2;
	n->d_fc1_out = n->d_norm2 || t[GN_FC1_W] || t[GN_FC1_B];
	n->d_fc2_out = n->d_fc1_out || t[GN_FC2_W] || t[GN_FC2_B];
	n->ffn = n->d_fc2_out || t[GN_LS2];

	/* for norm1's backward pass, or to compute its output again for qkv's weight gradient */
	n->keep_in = n->d_norm1 || t[GN_QKV_W];
	n->keep_qkv = n->d_qkv;
	n->keep_attn = t[GN_PROJ_W];
	n->keep_proj_out = t[GN_LS1];
	n->keep_mid = n->d_norm2 || t[GN_FC1_W];
	n->keep_pre = n->d_fc1_out;
	n->keep_act = !n->d_fc1_out && t[GN_FC2_W];
	n->keep_fc2_out = t[GN_LS2];
}

static void mark_roles(bool marks[GN_ROLE_COUNT], const struct gn_layout *layout, const bool *tuned, int block)
{
	for (int role = 0; role < GN_ROLE_COUNT; role++)
		marks[role] = false;
	for (int i = 0; i < layout->count; i++)
		if (layout->tensors[i].block == block)
			marks[layout->tensors[i].role] = tuned[i];
}

int gn_gradplan_init(struct gn_gradplan *plan, const struct gn_arch *arch, const struct gn_layout *layout,
                     const bool *tuned, struct gn_error *err)
{
	bool marks[GN_ROLE_COUNT], below;

	*plan = (struct gn_gradplan){.depth = arch->depth, .lowest_block = -1};
	plan->blocks = calloc((size_t)arch->depth, sizeof *plan->blocks);
	if (!plan->blocks)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for the gradient plan");

	mark_roles(marks, layout, tuned, -1);
	plan->d_tokens = marks[GN_CLS_TOKEN] || marks[GN_DIST_TOKEN] || marks[GN_REG_TOKEN] || marks[GN_POS_EMBED] ||
	                 marks[GN_PATCH_W] || marks[GN_PATCH_B];
	plan->d_embedded = plan->d_tokens || marks[GN_NORM_PRE_W] || marks[GN_NORM_PRE_B];
	plan->d_norm = marks[GN_NORM_W] || marks[GN_NORM_B];
	plan->lowest_block = plan->d_embedded ? 0 : -1;
	below = plan->d_embedded;
	for (int i = 0; i < arch->depth; i++) {
		mark_roles(marks, layout, tuned, i);
		plan_block(&plan->blocks[i], marks, below);
		below = plan->blocks[i].ffn;
		if (below && plan->lowest_block < 0)
			plan->lowest_block = i;
		plan->frozen_blocks += !below;
	}
	plan->d_out = below;
	plan->frozen_features = !below && !plan->d_norm;
	plan->d_norm |= below;
	return 0;
}

void gn_gradplan_release(struct gn_gradplan *plan)
{
	free(plan->blocks);
	*plan = (struct gn_gradplan){0};
}
