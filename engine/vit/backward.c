/* The backward pass, from the heads down to the lowest tuned tensor. It computes only the gradients
 * in the gradient plan. */
#include "vit/vit.h"

/* d_logits -> the heads' gradients, and d_features if a tensor below is tuned. */
static void heads_backward(struct gn_pass *p, void *const *t, void *const *g, int B)
{
	const struct gn_backend *be = p->backend;
	const struct gn_vit_shape *s = &p->shape;

	for (int h = 0; h < s->features; h++) {
		const gn_act *feature = p->features;
		gn_act *d_feature = s->features == 1 ? p->d_features : p->d_feature;
		const gn_mat *w = t[h ? GN_HEAD_DIST_W : GN_HEAD_W];

		if (s->features == 2) {
			be->take(p->ctx, p->feature, p->features, h, 1, B, 2, s->C);
			feature = p->feature;
		}
		be->linear_dw(p->ctx, g[h ? GN_HEAD_DIST_W : GN_HEAD_W], g[h ? GN_HEAD_DIST_B : GN_HEAD_B], p->d_logits,
		              feature, p->add, B, s->K, s->C);
		if (!p->plan->d_norm)
			continue;
		be->linear_dx(p->ctx, d_feature, p->d_logits, w, NULL, s->arch.activation, NULL, B, s->K, s->C);
		if (s->features == 2)
			be->take_backward(p->ctx, p->d_features, d_feature, h, 1, h > 0, B, 2, s->C);
	}
}

/* d_features -> d, the gradient of x[L] */
static void final_norm_backward(struct gn_pass *p, void *const *t, void *const *g, int B)
{
	const struct gn_backend *be = p->backend;
	const struct gn_vit_shape *s = &p->shape;
	const float *w = t[GN_NORM_W];
	float *dw = g[GN_NORM_W], *db = g[GN_NORM_B], eps = s->arch.norm_eps;
	bool d_out = p->plan->d_out;

	if (s->arch.norm_after_pool) {
		be->layernorm_backward(p->ctx, d_out ? p->d_features : NULL, dw, db, NULL, NULL, p->d_features,
		                       p->pooled, w, NULL, eps, B, s->C);
		if (d_out)
			be->pool_backward(p->ctx, p->d, p->d_features, s->prefix, s->patches, B, s->T, s->C);
	} else if (s->arch.pool == GN_POOL_MEAN) {
		be->pool_backward(p->ctx, p->d_norm, p->d_features, s->prefix, s->patches, B, s->T, s->C);
		be->layernorm_backward(p->ctx, d_out ? p->d : NULL, dw, db, NULL, NULL, p->d_norm, p->x[s->L], w, NULL,
		                       eps, B * s->T, s->C);
	} else {
		be->layernorm_backward(p->ctx, d_out ? p->d : NULL, dw, db, NULL, NULL, p->d_features, p->x[s->L], w,
		                       NULL, eps, B * s->queries, s->C);
	}
}

/* The gradient of a branch's output, through layer scale if the model has it. */
static const gn_act *branch_gradient(struct gn_pass *p, const float *gamma, float *d_gamma, const gn_act *branch,
                                     bool wanted, int M)
{
	if (!gamma)
		return p->d;
	p->backend->scale_backward(p->ctx, wanted ? p->d_branch : NULL, d_gamma, p->d, branch, gamma, M, p->shape.C);
	return p->d_branch;
}

/* d: gradient of x[i + 1] -> gradient of mid[i] */
static void ffn_backward(struct gn_pass *p, void *const *t, void *const *g, int i, int B)
{
	const struct gn_backend *be = p->backend;
	const struct gn_vit_shape *s = &p->shape;
	const struct gn_block_need *n = &p->plan->blocks[i];
	int M = B * (i == s->L - 1 ? s->queries : s->T);
	gn_act *normed = g[GN_FC1_W] ? p->normed : NULL; /* fc1's input, for its weight gradient */
	const gn_act *d_out = branch_gradient(p, t[GN_LS2], g[GN_LS2], p->fc2_out[i], n->d_fc2_out, M);

	if (n->d_fc1_out) /* also replaces pre[i] by act(pre[i]), for fc2's gradient */
		be->linear_dx(p->ctx, p->wide, d_out, t[GN_FC2_W], p->pre[i], s->arch.activation,
		              g[GN_FC2_W] ? p->pre[i] : NULL, M, s->C, s->mlp);
	if (g[GN_FC2_W] || g[GN_FC2_B])
		be->linear_dw(p->ctx, g[GN_FC2_W], g[GN_FC2_B], d_out, p->pre[i], p->add, M, s->C, s->mlp);
	if (n->d_norm2) {
		be->linear_dx(p->ctx, p->d_norm, p->wide, t[GN_FC1_W], NULL, s->arch.activation, NULL, M, s->mlp, s->C);
		be->layernorm_backward(p->ctx, n->d_mid ? p->d : NULL, g[GN_NORM2_W], g[GN_NORM2_B], normed, p->d,
		                       p->d_norm, p->mid[i], t[GN_NORM2_W], t[GN_NORM2_B], s->arch.norm_eps, M, s->C);
	} else if (normed) {
		be->layernorm(p->ctx, normed, p->mid[i], t[GN_NORM2_W], t[GN_NORM2_B], s->arch.norm_eps, M, s->C);
	}
	if (g[GN_FC1_W] || g[GN_FC1_B])
		be->linear_dw(p->ctx, g[GN_FC1_W], g[GN_FC1_B], p->wide, p->normed, p->add, M, s->mlp, s->C);
}

/*
 * wide: gradient of qkv[i] -> d: gradient of x[i]; with normed, that is set to qkv's input on the
 * way.
 */
static void norm1_backward(struct gn_pass *p, void *const *t, void *const *g, int i, int B, gn_act *normed)
{
	const struct gn_backend *be = p->backend;
	const struct gn_vit_shape *s = &p->shape;
	const struct gn_block_need *n = &p->plan->blocks[i];
	int Q = i == s->L - 1 ? s->queries : s->T, M = B * s->T;

	be->linear_dx(p->ctx, p->d_norm, p->wide, t[GN_QKV_W], NULL, s->arch.activation, NULL, M, 3 * s->C, s->C);
	if (n->d_in && Q < s->T) { /* from here on every row of x[i] has a gradient */
		gn_act *rows = p->d;

		p->d = p->d_branch;
		p->d_branch = rows;
		be->take_backward(p->ctx, p->d, rows, 0, Q, false, B, s->T, s->C);
	}
	be->layernorm_backward(p->ctx, n->d_in ? p->d : NULL, g[GN_NORM1_W], g[GN_NORM1_B], normed,
	                       n->d_in ? p->d : NULL, p->d_norm, p->x[i], t[GN_NORM1_W], t[GN_NORM1_B],
	                       s->arch.norm_eps, M, s->C);
}

/* d: gradient of mid[i] -> gradient of x[i] */
static void attention_branch_backward(struct gn_pass *p, void *const *t, void *const *g, int i, int B)
{
	const struct gn_backend *be = p->backend;
	const struct gn_vit_shape *s = &p->shape;
	const struct gn_block_need *n = &p->plan->blocks[i];
	int Q = i == s->L - 1 ? s->queries : s->T, M = B * s->T;
	gn_act *normed = g[GN_QKV_W] ? p->normed : NULL; /* qkv's input, for its weight gradient */
	const gn_act *d_out = branch_gradient(p, t[GN_LS1], g[GN_LS1], p->proj_out[i], n->d_proj_out, B * Q);

	if (g[GN_PROJ_W] || g[GN_PROJ_B])
		be->linear_dw(p->ctx, g[GN_PROJ_W], g[GN_PROJ_B], d_out, p->attn[i], p->add, B * Q, s->C, s->C);
	if (!n->d_qkv)
		return;
	be->linear_dx(p->ctx, p->d_norm, d_out, t[GN_PROJ_W], NULL, s->arch.activation, NULL, B * Q, s->C, s->C);
	be->attention_backward(p->ctx, p->wide, p->d_norm, p->qkv[i], be->attention_needs_out ? p->attn[i] : NULL,
	                       p->lse[i], B, s->T, Q, s->H, s->D);
	if (n->d_norm1)
		norm1_backward(p, t, g, i, B, normed);
	else if (normed)
		be->layernorm(p->ctx, normed, p->x[i], t[GN_NORM1_W], t[GN_NORM1_B], s->arch.norm_eps, M, s->C);
	if (g[GN_QKV_W] || g[GN_QKV_B])
		be->linear_dw(p->ctx, g[GN_QKV_W], g[GN_QKV_B], p->wide, p->normed, p->add, M, 3 * s->C, s->C);
}

static void embed_backward(struct gn_pass *p, void *const *t, void *const *g, int B)
{
	enum { MAX_PREFIX = 2 + 64 };
	const struct gn_backend *be = p->backend;
	const struct gn_vit_shape *s = &p->shape;
	const struct gn_arch *a = &s->arch;
	float *prefix[MAX_PREFIX];
	int n = 0, pos_prefix = a->pos_on_prefix ? a->class_token + a->distilled : 0;

	if (a->norm_pre)
		be->layernorm_backward(p->ctx, p->plan->d_tokens ? p->d : NULL, g[GN_NORM_PRE_W], g[GN_NORM_PRE_B],
		                       NULL, NULL, p->d, p->tokens, t[GN_NORM_PRE_W], NULL, a->norm_eps, B * s->T,
		                       s->C);
	if (!p->plan->d_tokens)
		return;
	if (a->class_token)
		prefix[n++] = g[GN_CLS_TOKEN];
	if (a->distilled)
		prefix[n++] = g[GN_DIST_TOKEN];
	for (int i = 0; i < a->registers; i++)
		prefix[n++] = g[GN_REG_TOKEN] ? (float *)g[GN_REG_TOKEN] + (size_t)i * (size_t)s->C : NULL;
	be->embed_backward(p->ctx, g[GN_PATCH_W], g[GN_PATCH_B], g[GN_POS_EMBED], pos_prefix, prefix, n, p->d,
	                   p->images, B, s->grid, a->patch_size, s->C);
}

void gn_vit_backward(struct gn_pass *p, const struct gn_bind *w, const struct gn_bind *g, bool add, int B)
{
	const struct gn_gradplan *plan = p->plan;

	gn_assert(plan && B <= p->batch && p->to == p->shape.L + 2 &&
	          p->from <= plan->frozen_blocks + (plan->frozen_features ? 1 : 0));
	p->add = add;
	heads_backward(p, w->outside, g->outside, B);
	if (plan->d_norm)
		final_norm_backward(p, w->outside, g->outside, B);
	for (int i = p->shape.L - 1; i >= p->from && plan->blocks[i].ffn; i--) {
		ffn_backward(p, w->blocks[i], g->blocks[i], i, B);
		if (plan->blocks[i].attn)
			attention_branch_backward(p, w->blocks[i], g->blocks[i], i, B);
	}
	if (plan->d_embedded)
		embed_backward(p, w->outside, g->outside, B);
}
