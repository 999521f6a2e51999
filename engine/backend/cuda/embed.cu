/*
 * Patch embedding: patches are laid out as rows [3 * P * P], groups of rows that scratch memory has
 * room for; one product turns a group into tokens, in float32, and a kernel adds bias and positions
 * and writes them to their places. Backward, the same rows meet the tokens' gradients.
 *
 * The kernels are bound by bytes, the product of P = 16 and C >= 384 by operations. Blocks of 256
 * threads, 4 or more a multiprocessor (at most 64 registers a thread).
 */
#include "backend/cuda/vec.cuh"

#define MAX_PREFIX (2 + 64) /* class, distillation and register tokens: gn_arch_check */
#define LANES      8

struct grid_of_patches {
	int G, P, C, prefix, T; /* T = prefix + G * G */
};

static const dim3 block(32, LANES);

static dim3 grid_of(int cols, int n, int rows)
{
	return dim3((unsigned)((cols + 32 * n - 1) / (32 * n)), gn_blocks((size_t)rows, LANES, 65535));
}

/* Where patch number `patch`, counted through the batch, stands among all tokens. */
__device__ __forceinline__ size_t token_of(const struct grid_of_patches *s, int patch)
{
	int area = s->G * s->G;
	return (size_t)(patch / area) * (size_t)s->T + (size_t)(s->prefix + patch % area);
}

/* ---------------------------------------------------------------- patches as rows -------------------------------- */

/*
 * out[rows, ld] = the pixels of patches first .. first+rows-1, n neighbours in one line of the
 * patch at a time.
 */
template <typename act, int n>
static __global__ void __launch_bounds__(256, 4)
    patches_kernel(act *out, size_t ld, const float *images, struct grid_of_patches s, int first, int rows)
{
	int P = s.P, area = s.G * s.G, at = (int)(blockIdx.x * 32 + threadIdx.x) * n;
	size_t S = (size_t)s.G * (size_t)P;

	if (at >= 3 * P * P)
		return;
	for (int row = (int)(blockIdx.y * LANES + threadIdx.y); row < rows; row += (int)gridDim.y * LANES) {
		int b = (first + row) / area, p = (first + row) % area;
		size_t plane = (size_t)b * 3 + (size_t)(at / (P * P)), y = (size_t)(p / s.G * P + at / P % P),
		       x = (size_t)(p % s.G * P + at % P);
		float v[n];
		gn_load(v, images + (plane * S + y) * S + x);
		gn_store(out + (size_t)row * ld + at, v);
	}
}

/*
 * A group of patches in scratch memory: rows ld elements apart, so that a product takes them as
 * they are.
 */
template <typename act> struct patch_rows {
	act *data;
	size_t ld;
	int most; /* rows of a group */
};

template <typename act> static struct patch_rows<act> rows_for(const struct gn_ctx *ctx, int width, int C) {
	size_t ld = ((size_t)width + 7) / 8 * 8, by_patch = ctx->scratch_bytes[GN_SCRATCH_PATCHES] / (ld * sizeof(act)),
	       by_token = ctx->scratch_bytes[GN_SCRATCH_TOKENS] / ((size_t)C * sizeof(float)),
	       most = by_patch < by_token ? by_patch : by_token;

	gn_assert(most > 0);
	return {(act *)ctx->scratch[GN_SCRATCH_PATCHES], ld, (int)(most < INT32_MAX ? most : INT32_MAX)};
}

template <typename act>
static void lay_out(struct gn_ctx *ctx, const struct patch_rows<act> *r, const float *images,
                    const struct grid_of_patches *s, int first, int rows)
{
	int width = 3 * s->P * s->P;

	if (s->P % 4 == 0 && gn_aligned16(images))
		GN_RUN(ctx, (patches_kernel<act, 4>), grid_of(width, 4, rows), block, 0, r->data, r->ld, images, *s,
		       first, rows);
	else
		GN_RUN(ctx, (patches_kernel<act, 1>), grid_of(width, 1, rows), block, 0, r->data, r->ld, images, *s,
		       first, rows);
}

/* ---------------------------------------------------------------- forward ---------------------------------------- */

/*
 * hidden's tokens of patches first .. = tokens[rows, C] + bias + positions; pos is that of the
 * first patch.
 */
template <typename act, int n>
static __global__ void __launch_bounds__(256, 4)
    place_kernel(act *hidden, const float *tokens, const float *bias, const float *pos, struct grid_of_patches s,
                 int first, int rows)
{
	int col = (int)(blockIdx.x * 32 + threadIdx.x) * n, area = s.G * s.G;

	if (col >= s.C)
		return;
	for (int row = (int)(blockIdx.y * LANES + threadIdx.y); row < rows; row += (int)gridDim.y * LANES) {
		float v[n], w[n];

		gn_load(v, tokens + (size_t)row * (size_t)s.C + col);
		gn_load(w, pos + (size_t)((first + row) % area) * (size_t)s.C + col);
		for (int i = 0; i < n; i++)
			v[i] += w[i];
		if (bias) {
			gn_load(w, bias + col);
			for (int i = 0; i < n; i++)
				v[i] += w[i];
		}
		gn_store(hidden + token_of(&s, first + row) * (size_t)s.C + col, v);
	}
}

struct prefix_tokens {
	const float *token[MAX_PREFIX];
};

/* The tokens in front of the patches, with their positions; a token of an image along gridDim.y. */
template <typename act>
static __global__ void __launch_bounds__(256, 4)
    prefix_kernel(act *hidden, struct prefix_tokens tokens, const float *pos, int pos_prefix, struct grid_of_patches s,
                  int B)
{
	for (int row = (int)blockIdx.y; row < B * s.prefix; row += (int)gridDim.y) {
		int b = row / s.prefix, t = row % s.prefix;
		act *to = hidden + ((size_t)b * (size_t)s.T + (size_t)t) * (size_t)s.C;

		for (int c = (int)(blockIdx.x * blockDim.x + threadIdx.x); c < s.C; c += (int)(gridDim.x * blockDim.x))
			to[c] = gn_from_float<act>(tokens.token[t][c] +
			                           (t < pos_prefix ? pos[(size_t)t * (size_t)s.C + c] : 0.0F));
	}
}

template <typename act>
void gn_cuda_embed(struct gn_ctx *ctx, gn_act *hidden, const float *images, const gn_mat *w, const float *bias,
                   const float *pos, int pos_prefix, const float *const *prefix_tokens, int prefix, int B, int G, int P,
                   int C)
{
	struct grid_of_patches s = {G, P, C, prefix, prefix + G * G};
	struct patch_rows<act> r = rows_for<act>(ctx, 3 * P * P, C);
	const float *patch_pos = pos + (size_t)pos_prefix * (size_t)C;
	float *tokens = (float *)ctx->scratch[GN_SCRATCH_TOKENS];
	bool aligned = gn_aligned16(hidden) && gn_aligned16(bias) && gn_aligned16(patch_pos) && C % 4 == 0;
	struct prefix_tokens front = {};

	gn_assert(prefix <= MAX_PREFIX);
	for (int i = 0; i < prefix; i++)
		front.token[i] = prefix_tokens[i];
	if (prefix)
		GN_RUN(ctx, prefix_kernel<act>,
		       dim3(gn_blocks((size_t)C, 256, 32), gn_blocks((size_t)B * (size_t)prefix, 1, 65535)), 256, 0,
		       (act *)hidden, front, pos, pos_prefix, s, B);
	for (int first = 0, rows; first < B * G * G; first += rows) {
		struct gn_product p = {};

		rows = B * G * G - first < r.most ? B * G * G - first : r.most;
		lay_out(ctx, &r, images, &s, first, rows);
		p.rows = rows;
		p.cols = C;
		p.depth = 3 * P * P;
		p.left = {r.data, r.ld, false};
		p.right = {w, (size_t)p.depth, true};
		p.out = tokens;
		p.ld = (size_t)C;
		p.out_float = true;
		gn_cuda_product(ctx, &p);
		if (aligned)
			GN_RUN(ctx, (place_kernel<act, 4>), grid_of(C, 4, rows), block, 0, (act *)hidden, tokens, bias,
			       patch_pos, s, first, rows);
		else
			GN_RUN(ctx, (place_kernel<act, 1>), grid_of(C, 1, rows), block, 0, (act *)hidden, tokens, bias,
			       patch_pos, s, first, rows);
	}
}

/* ---------------------------------------------------------------- backward --------------------------------------- */

/* out[rows, C] = the gradients of patches first ..: without the tokens in front of them. */
template <typename act, int n>
static __global__ void __launch_bounds__(256, 4)
    gather_kernel(act *out, const act *dhidden, struct grid_of_patches s, int first, int rows)
{
	int col = (int)(blockIdx.x * 32 + threadIdx.x) * n;

	if (col >= s.C)
		return;
	for (int row = (int)(blockIdx.y * LANES + threadIdx.y); row < rows; row += (int)gridDim.y * LANES) {
		float v[n];
		gn_load(v, dhidden + token_of(&s, first + row) * (size_t)s.C + col);
		gn_store(out + (size_t)row * (size_t)s.C + col, v);
	}
}

template <typename act>
static void gather(struct gn_ctx *ctx, act *out, const act *dhidden, const struct grid_of_patches *s, int first,
                   int rows)
{
	constexpr int n = gn_per16<act>;

	if (gn_aligned16(dhidden) && s->C % n == 0)
		GN_RUN(ctx, (gather_kernel<act, n>), grid_of(s->C, n, rows), block, 0, out, dhidden, *s, first, rows);
	else
		GN_RUN(ctx, (gather_kernel<act, 1>), grid_of(s->C, 1, rows), block, 0, out, dhidden, *s, first, rows);
}

struct prefix_gradients {
	float *token[MAX_PREFIX];
	float *pos; /* may be NULL */
	int pos_prefix;
};

/*
 * Sums over the images, in order, of each token's gradient: to its position, and to the token in
 * front of the patches that it is.
 */
template <typename act>
static __global__ void __launch_bounds__(256, 4)
    positions_kernel(struct prefix_gradients g, const act *dhidden, struct grid_of_patches s, int tokens, int B)
{
	int c = (int)(blockIdx.x * 32 + threadIdx.x), t = (int)(blockIdx.y * LANES + threadIdx.y);
	float sum = 0;

	if (c >= s.C || t >= tokens)
		return;
	for (int b = 0; b < B; b++)
		sum += gn_to_float(dhidden[((size_t)b * (size_t)s.T + (size_t)t) * (size_t)s.C + c]);
	if (t < s.prefix && g.token[t])
		g.token[t][c] += sum;
	if (g.pos && t < g.pos_prefix)
		g.pos[(size_t)t * (size_t)s.C + c] += sum;
	else if (g.pos && t >= s.prefix)
		g.pos[(size_t)(g.pos_prefix + t - s.prefix) * (size_t)s.C + c] += sum;
}

template <typename act>
static void positions_backward(struct gn_ctx *ctx, float *dpos, int pos_prefix, float *const *dprefix,
                               const act *dhidden, const struct grid_of_patches *s, int B)
{
	struct prefix_gradients g = {};
	int tokens = dpos ? s->T : s->prefix;
	bool wanted = dpos != NULL;

	gn_assert(s->prefix <= MAX_PREFIX);
	for (int i = 0; dprefix && i < s->prefix; i++) {
		g.token[i] = dprefix[i];
		wanted = wanted || dprefix[i];
	}
	g.pos = dpos;
	g.pos_prefix = pos_prefix;
	if (wanted)
		GN_RUN(ctx, positions_kernel<act>, grid_of(s->C, 1, tokens), block, 0, g, dhidden, *s, tokens, B);
}

template <typename act>
void gn_cuda_embed_backward(struct gn_ctx *ctx, float *dw, float *dbias, float *dpos, int pos_prefix,
                            float *const *dprefix, int prefix, const gn_act *dhidden, const float *images, int B, int G,
                            int P, int C)
{
	struct grid_of_patches s = {G, P, C, prefix, prefix + G * G};
	struct patch_rows<act> r = rows_for<act>(ctx, 3 * P * P, C);
	act *tokens = (act *)ctx->scratch[GN_SCRATCH_TOKENS];

	positions_backward<act>(ctx, dpos, pos_prefix, dprefix, (const act *)dhidden, &s, B);
	for (int first = 0, rows; (dw || dbias) && first < B * G * G; first += rows) {
		rows = B * G * G - first < r.most ? B * G * G - first : r.most;
		if (dw)
			lay_out(ctx, &r, images, &s, first, rows);
		gather<act>(ctx, tokens, (const act *)dhidden, &s, first, rows);
		gn_cuda_weight_gradient<act>(ctx, dw, dbias, tokens, r.data, r.ld, true, rows, C, 3 * P * P);
	}
}

#define INSTANCES(act)                                                                                                 \
	template void gn_cuda_embed<act>(struct gn_ctx *, gn_act *, const float *, const gn_mat *, const float *,      \
	                                 const float *, int, const float *const *, int, int, int, int, int);           \
	template void gn_cuda_embed_backward<act>(struct gn_ctx *, float *, float *, float *, int, float *const *,     \
	                                          int, const gn_act *, const float *, int, int, int, int);
INSTANCES(float)
INSTANCES(__nv_bfloat16)
