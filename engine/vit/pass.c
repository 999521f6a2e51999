/*
 * The buffers of a pass. Activations that the gradient plan keeps have their own memory. All others
 * share three scratch buffers: `stream` for the residual stream (updated in place from block to
 * block), `normed` for norm outputs and attention outputs, and `wide` for qkv and the hidden layer
 * of the FFN.
 */
#include "vit/vit.h"

#include "backend/arena.h"

#include <stdlib.h>

int gn_bind_init(struct gn_bind *bind, const struct gn_layout *layout, int depth, void *const *pointers,
                 struct gn_error *err)
{
	*bind = (struct gn_bind){0};
	bind->blocks = calloc((size_t)depth, sizeof *bind->blocks);
	if (!bind->blocks)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for the table of tensors");
	for (int i = 0; i < layout->count; i++) {
		const struct gn_tensor *t = &layout->tensors[i];

		if (t->block < 0)
			bind->outside[t->role] = pointers[i];
		else
			bind->blocks[t->block][t->role] = pointers[i];
	}
	return 0;
}

void gn_bind_release(struct gn_bind *bind)
{
	free(bind->blocks);
	*bind = (struct gn_bind){0};
}

int gn_vit_check(const struct gn_backend *backend, const struct gn_arch *arch, struct gn_error *err)
{
	int width = arch->dim / arch->heads;

	if (backend->widest_head && width > backend->widest_head)
		return gn_fail(err, GN_UNSUPPORTED, "model", "its attention heads are %d wide: %s takes at most %d",
		               width, backend->name, backend->widest_head);
	return 0;
}

bool gn_role_is_mat(enum gn_role role)
{
	switch (role) {
	case GN_PATCH_W:
	case GN_QKV_W:
	case GN_PROJ_W:
	case GN_FC1_W:
	case GN_FC2_W:
	case GN_HEAD_W:
	case GN_HEAD_DIST_W:
	case GN_QKV_B: /* biases are added to activations; those of the heads to float logits */
	case GN_PROJ_B:
	case GN_FC1_B:
	case GN_FC2_B:
		return true;
	default:
		return false;
	}
}

bool gn_role_is_set(enum gn_role role)
{
	return role == GN_QKV_W || role == GN_PROJ_W || role == GN_FC1_W || role == GN_FC2_W || role == GN_HEAD_W ||
	       role == GN_HEAD_DIST_W;
}

void gn_vit_shape_init(struct gn_vit_shape *s, const struct gn_arch *a)
{
	*s = (struct gn_vit_shape){.arch = *a,
	                           .T = gn_arch_tokens(a),
	                           .prefix = gn_arch_prefix_tokens(a),
	                           .grid = a->image_size / a->patch_size,
	                           .C = a->dim,
	                           .H = a->heads,
	                           .D = a->dim / a->heads,
	                           .mlp = a->mlp_dim,
	                           .L = a->depth,
	                           .K = a->classes};
	s->patches = s->T - s->prefix;
	s->features = a->dist_head ? 2 : 1;
	s->queries = a->pool == GN_POOL_CLS ? s->features : s->T;
}

size_t gn_cut_floats(const struct gn_vit_shape *s, int cut)
{
	if (cut > s->L)
		return (size_t)s->features * (size_t)s->C;
	return (size_t)(cut == s->L ? s->queries : s->T) * (size_t)s->C;
}

/* ---------------------------------------------------------------- carving --------------------- */

/* Divides `base` into consecutive pieces; if base is NULL, it only counts. */
struct carver {
	const struct gn_pass *pass;
	char *base;
	size_t used;
};

static void *carve(struct carver *c, size_t count, size_t size)
{
	const struct gn_pass *p = c->pass;
	size_t at = c->used;

	c->used += gn_piece_span(p->backend, count * size);
	if (!c->base)
		return NULL;
	gn_piece_open(p->backend, p->ctx, c->base + at, count * size, true);
	return c->base + at;
}

static const struct gn_block_need *need_of(const struct gn_pass *p, int block)
{
	static const struct gn_block_need nothing;

	return p->plan ? &p->plan->blocks[block] : &nothing;
}

static bool keep_stream(const struct gn_pass *p, int cut)
{
	if (cut == p->shape.L)
		return p->plan && p->plan->d_norm;
	return need_of(p, cut)->keep_in;
}

static void carve_block(struct gn_pass *p, struct carver *c, int i)
{
	const struct gn_vit_shape *s = &p->shape;
	const struct gn_block_need *n = need_of(p, i);
	size_t act = p->backend->act_bytes, C = (size_t)s->C, all = (size_t)p->batch * (size_t)s->T;
	bool short_rows = i == s->L - 1 && s->queries < s->T;
	size_t rows = short_rows ? (size_t)p->batch * (size_t)s->queries : all;

	p->qkv[i] = n->keep_qkv ? carve(c, all * 3 * C, act) : p->wide;
	p->attn[i] =
	    n->keep_attn || (n->d_qkv && p->backend->attention_needs_out) ? carve(c, rows * C, act) : p->normed;
	p->lse[i] = n->d_qkv && p->backend->attention_needs_lse ? carve(c, rows * (size_t)s->H, sizeof(float)) : NULL;
	p->proj_out[i] = n->keep_proj_out ? carve(c, rows * C, act) : NULL;
	p->mid[i] = n->keep_mid || short_rows ? carve(c, rows * C, act) : p->stream;
	p->pre[i] = n->keep_pre || n->keep_act ? carve(c, rows * (size_t)s->mlp, act) : NULL;
	p->fc2_out[i] = n->keep_fc2_out ? carve(c, rows * C, act) : NULL;
	p->x[i + 1] =
	    keep_stream(p, i + 1) || short_rows ? carve(c, i + 1 == s->L ? rows * C : all * C, act) : p->stream;
}

static void carve_head(struct gn_pass *p, struct carver *c)
{
	const struct gn_vit_shape *s = &p->shape;
	size_t act = p->backend->act_bytes, B = (size_t)p->batch, C = (size_t)s->C, K = (size_t)s->K,
	       F = (size_t)s->features;

	p->features = carve(c, B * F * C, act);
	if (s->arch.norm_after_pool)
		p->pooled = carve(c, B * C, act);
	if (p->to <= s->L + 1)
		return;
	p->logits = carve(c, B * K, sizeof *p->logits);
	if (s->features == 2) {
		p->half = carve(c, K, sizeof *p->half);
		p->feature = carve(c, B * C, act);
	}
	if (!p->plan)
		return;
	p->d_logits = carve(c, B * K, act);
	p->losses = carve(c, B, sizeof *p->losses);
	if (p->plan->d_norm)
		p->d_features = carve(c, B * F * C, act);
	if (p->plan->d_norm && s->features == 2)
		p->d_feature = carve(c, B * C, act);
}

/* Lays out every buffer of the pass from base on (NULL: sizes only); returns the bytes. */
static size_t carve_pass(struct gn_pass *p, char *base)
{
	const struct gn_vit_shape *s = &p->shape;
	struct carver c = {p, base, 0};
	size_t act = p->backend->act_bytes, rows = (size_t)p->batch * (size_t)s->T, C = (size_t)s->C,
	       S = (size_t)s->arch.image_size;
	size_t hidden = (size_t)(3 * s->C > s->mlp ? 3 * s->C : s->mlp);
	int last = p->to < s->L ? p->to : s->L;

	if (p->from == 0)
		p->images = carve(&c, (size_t)p->batch * 3 * S * S, sizeof *p->images);
	if (p->from <= s->L) {
		bool mean_norm = s->arch.pool == GN_POOL_MEAN && !s->arch.norm_after_pool;

		if (p->from < s->L || mean_norm)
			p->normed = carve(&c, rows * C, act);
		if (p->from < s->L) {
			p->wide = carve(&c, rows * hidden, act);
			p->stream = carve(&c, rows * C, act);
		}
		p->x[p->from] = p->from < s->L && !keep_stream(p, p->from)
		                    ? p->stream
		                    : carve(&c, (size_t)p->batch * gn_cut_floats(s, p->from), act);
		p->tokens = s->arch.norm_pre && p->plan && p->plan->d_embedded && p->from == 0
		                ? carve(&c, rows * C, act)
		                : p->x[p->from];
		for (int i = p->from; i < last; i++)
			carve_block(p, &c, i);
		if (p->plan && p->plan->d_norm)
			p->d = carve(&c, rows * C, act);
		if (p->plan && (p->plan->d_out || (p->plan->d_norm && mean_norm))) {
			p->d_branch = carve(&c, rows * C, act);
			p->d_norm = carve(&c, rows * C, act);
		}
	}
	if (p->to > s->L)
		carve_head(p, &c);
	return c.used;
}

/* ---------------------------------------------------------------- life cycle ------------------ */

static int pass_prepare(struct gn_pass *p, const struct gn_backend *backend, const struct gn_arch *arch,
                        const struct gn_gradplan *plan, int batch, int from, int to)
{
	enum { TABLES = 7 };
	size_t L = (size_t)arch->depth;
	gn_act **table = calloc(L + 1 + TABLES * L, sizeof *table);

	gn_assert(batch > 0 && from >= 0 && from < to && to <= arch->depth + 2);
	*p = (struct gn_pass){.backend = backend, .plan = plan, .batch = batch, .from = from, .to = to, .x = table};
	if (!table)
		return -1;
	gn_vit_shape_init(&p->shape, arch);
	table += L + 1;
	p->mid = table;
	p->qkv = table + L;
	p->attn = table + 2 * L;
	p->proj_out = table + 3 * L;
	p->pre = table + 4 * L;
	p->fc2_out = table + 5 * L;
	p->lse = (float **)(void *)(table + 6 * L);
	return 0;
}

size_t gn_pass_bytes(const struct gn_backend *backend, const struct gn_arch *arch, const struct gn_gradplan *plan,
                     int batch, int from, int to)
{
	struct gn_pass p;
	size_t bytes;

	if (pass_prepare(&p, backend, arch, plan, batch, from, to))
		return SIZE_MAX;
	bytes = carve_pass(&p, NULL);
	free(p.x);
	return bytes;
}

static void fill_half(struct gn_pass *p)
{
	float half[256];

	for (int i = 0; i < 256; i++)
		half[i] = 0.5f;
	for (int k = 0; k < p->shape.K; k += 256)
		p->backend->upload(p->ctx, p->half + k, half,
		                   (size_t)(p->shape.K - k < 256 ? p->shape.K - k : 256) * sizeof half[0]);
}

int gn_pass_new_in(struct gn_pass **out, void *memory, const struct gn_backend *backend, struct gn_ctx *ctx,
                   const struct gn_arch *arch, const struct gn_gradplan *plan, int batch, int from, int to,
                   struct gn_error *err)
{
	struct gn_pass *p = malloc(sizeof *p);

	if (!p || pass_prepare(p, backend, arch, plan, batch, from, to)) {
		free(p);
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for a pass");
	}
	p->ctx = ctx;
	p->bytes = carve_pass(p, NULL);
	p->own_memory = !memory;
	p->memory = memory ? memory : backend->alloc(ctx, p->bytes, err);
	if (!p->memory) {
		gn_pass_free(p);
		return -1;
	}
	carve_pass(p, p->memory);
	if (p->half)
		fill_half(p);
	*out = p;
	return 0;
}

int gn_pass_new(struct gn_pass **out, const struct gn_backend *backend, struct gn_ctx *ctx, const struct gn_arch *arch,
                const struct gn_gradplan *plan, int batch, int from, int to, struct gn_error *err)
{
	return gn_pass_new_in(out, NULL, backend, ctx, arch, plan, batch, from, to, err);
}

void gn_pass_free(struct gn_pass *p)
{
	if (!p)
		return;
	if (p->memory && p->own_memory)
		p->backend->free(p->ctx, p->memory, p->bytes);
	free(p->x);
	free(p);
}

void *gn_pass_input(struct gn_pass *p)
{
	if (p->from == 0)
		return p->images;
	return p->from <= p->shape.L ? p->x[p->from] : p->features;
}

void *gn_pass_output(struct gn_pass *p)
{
	if (p->to <= p->shape.L)
		return p->x[p->to];
	return p->to == p->shape.L + 1 ? p->features : (void *)p->logits;
}
