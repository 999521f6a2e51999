/* The forward pass. Formulas: Dosovitskiy et al., arXiv:2010.11929, section 3.1; pre-norm
 * blocks. */
#include "vit/vit.h"

static void embed(struct gn_pass *p, const struct gn_bind *w, int B)
{
	enum { MAX_PREFIX = 2 + 64 }; /* cls, dist, registers: gn_arch_check */
	const struct gn_vit_shape *s = &p->shape;
	const struct gn_arch *a = &s->arch;
	void *const *t = w->outside;
	const float *prefix[MAX_PREFIX];
	int n = 0, pos_prefix = a->pos_on_prefix ? a->class_token + a->distilled : 0;

	if (a->class_token)
		prefix[n++] = t[GN_CLS_TOKEN];
	if (a->distilled)
		prefix[n++] = t[GN_DIST_TOKEN];
	for (int i = 0; i < a->registers; i++)
		prefix[n++] = (const float *)t[GN_REG_TOKEN] + (size_t)i * (size_t)s->C;
	p->backend->embed(p->ctx, p->tokens, p->images, t[GN_PATCH_W], t[GN_PATCH_B], t[GN_POS_EMBED], pos_prefix,
	                  prefix, n, B, s->grid, a->patch_size, s->C);
	if (a->norm_pre)
		p->backend->layernorm(p->ctx, p->x[0], p->tokens, t[GN_NORM_PRE_W], t[GN_NORM_PRE_B], a->norm_eps,
		                      B * s->T, s->C);
}

static void attention_branch(struct gn_pass *p, void *const *t, int i, int B, bool keep)
{
	const struct gn_backend *be = p->backend;
	const struct gn_vit_shape *s = &p->shape;
	int M = B * s->T, Q = i == s->L - 1 ? s->queries : s->T;
	const gn_act *residual = p->x[i];

	be->layernorm(p->ctx, p->normed, p->x[i], t[GN_NORM1_W], t[GN_NORM1_B], s->arch.norm_eps, M, s->C);
	be->linear(p->ctx, p->qkv[i], p->normed, t[GN_QKV_W], &(struct gn_epilogue){.bias = t[GN_QKV_B]}, M, 3 * s->C,
	           s->C);
	be->attention(p->ctx, p->attn[i], keep ? p->lse[i] : NULL, p->qkv[i], B, s->T, Q, s->H, s->D);
	if (Q < s->T) {
		be->take(p->ctx, p->mid[i], p->x[i], 0, Q, B, s->T, s->C);
		residual = p->mid[i];
	}
	be->linear(
	    p->ctx, p->mid[i], p->attn[i], t[GN_PROJ_W],
	    &(struct gn_epilogue){
	        .bias = t[GN_PROJ_B], .scale = t[GN_LS1], .branch = keep ? p->proj_out[i] : NULL, .residual = residual},
	    B * Q, s->C, s->C);
}

static void ffn_branch(struct gn_pass *p, void *const *t, int i, int B, bool keep)
{
	const struct gn_backend *be = p->backend;
	const struct gn_vit_shape *s = &p->shape;
	int M = B * (i == s->L - 1 ? s->queries : s->T);
	bool keep_act = keep && p->plan && p->plan->blocks[i].keep_act;
	gn_act *hidden = keep_act ? p->pre[i] : p->wide;

	be->layernorm(p->ctx, p->normed, p->mid[i], t[GN_NORM2_W], t[GN_NORM2_B], s->arch.norm_eps, M, s->C);
	be->linear(p->ctx, hidden, p->normed, t[GN_FC1_W],
	           &(struct gn_epilogue){.bias = t[GN_FC1_B],
	                                 .activate = true,
	                                 .activation = s->arch.activation,
	                                 .pre = keep && !keep_act ? p->pre[i] : NULL},
	           M, s->mlp, s->C);
	be->linear(
	    p->ctx, p->x[i + 1], hidden, t[GN_FC2_W],
	    &(struct gn_epilogue){
	        .bias = t[GN_FC2_B], .scale = t[GN_LS2], .branch = keep ? p->fc2_out[i] : NULL, .residual = p->mid[i]},
	    M, s->C, s->mlp);
}

/* x[L] -> features [B, features, C] */
static void final_norm(struct gn_pass *p, void *const *t, int B)
{
	const struct gn_backend *be = p->backend;
	const struct gn_vit_shape *s = &p->shape;
	const float *w = t[GN_NORM_W], *b = t[GN_NORM_B];
	float eps = s->arch.norm_eps;

	if (s->arch.norm_after_pool) {
		be->pool(p->ctx, p->pooled, p->x[s->L], s->prefix, s->patches, B, s->T, s->C);
		be->layernorm(p->ctx, p->features, p->pooled, w, b, eps, B, s->C);
	} else if (s->arch.pool == GN_POOL_MEAN) {
		be->layernorm(p->ctx, p->normed, p->x[s->L], w, b, eps, B * s->T, s->C);
		be->pool(p->ctx, p->features, p->normed, s->prefix, s->patches, B, s->T, s->C);
	} else {
		be->layernorm(p->ctx, p->features, p->x[s->L], w, b, eps, B * s->queries, s->C);
	}
}

/* features -> logits [B, K]; with two heads the mean of both (DeiT, arXiv:2012.12877, section 4) */
static void heads(struct gn_pass *p, void *const *t, int B)
{
	const struct gn_backend *be = p->backend;
	const struct gn_vit_shape *s = &p->shape;

	if (s->features == 1) {
		be->linear(p->ctx, p->logits, p->features, t[GN_HEAD_W],
		           &(struct gn_epilogue){.bias = t[GN_HEAD_B], .float_out = true}, B, s->K, s->C);
		return;
	}
	for (int h = 0; h < 2; h++) {
		be->take(p->ctx, p->feature, p->features, h, 1, B, 2, s->C);
		be->linear(p->ctx, p->logits, p->feature, t[h ? GN_HEAD_DIST_W : GN_HEAD_W],
		           &(struct gn_epilogue){.bias = t[h ? GN_HEAD_DIST_B : GN_HEAD_B],
		                                 .scale = p->half,
		                                 .residual = h ? p->logits : NULL,
		                                 .float_out = true},
		           B, s->K, s->C);
	}
}

void gn_vit_forward(struct gn_pass *p, const struct gn_bind *w, int B, bool keep)
{
	gn_vit_forward_between(p, w, B, p->from, p->to, keep);
}

void gn_vit_forward_between(struct gn_pass *p, const struct gn_bind *w, int B, int from, int to, bool keep)
{
	int L = p->shape.L, last = to < L ? to : L;

	gn_assert(B <= p->batch && from >= p->from && to <= p->to);
	if (from == 0)
		embed(p, w, B);
	for (int i = from; i < last; i++) {
		attention_branch(p, w->blocks[i], i, B, keep);
		ffn_branch(p, w->blocks[i], i, B, keep);
	}
	if (from <= L && to > L)
		final_norm(p, w->outside, B);
	if (to > L + 1)
		heads(p, w->outside, B);
}
