/*
 * Patch embedding: an image's patches are laid out as rows [G * G, 3 * P * P], and one linear layer
 * an image turns them into tokens, with the positions as its residual. Backward, the same rows meet
 * the tokens' gradients.
 */
#include <string.h>

#include "backend/cpu/cpu.h"

/* rows[G * G][3 * P * P] of one image [3, S, S]. */
static void patch_rows(const struct gn_ctx *ctx, float *rows, const float *image, int G, int P)
{
	ptrdiff_t S = (ptrdiff_t)G * P, width = (ptrdiff_t)3 * P * P;
#pragma omp parallel for num_threads(ctx->threads) schedule(static)
	for (ptrdiff_t gy = 0; gy < G; gy++)
		for (ptrdiff_t line = 0; line < (ptrdiff_t)3 * P; line++) {
			const float *from = image + (line / P * S + gy * P + line % P) * S;
			float *to = rows + gy * G * width + line * P;
			for (ptrdiff_t gx = 0; gx < G; gx++)
				memcpy(to + gx * width, from + gx * P, (size_t)P * sizeof(float));
		}
}

static float *patch_work(struct gn_ctx *ctx, int G, int P)
{
	return gn_cpu_work(ctx, GN_SLOT_CALLER, (size_t)G * (size_t)G * 3 * (size_t)P * (size_t)P);
}

/* The tokens in front of the patches, with their positions. */
static void embed_prefix(float *hidden, const float *pos, int pos_prefix, const float *const *prefix_tokens, int prefix,
                         int C)
{
	for (ptrdiff_t t = 0; t < prefix; t++)
		for (int c = 0; c < C; c++)
			hidden[t * C + c] = prefix_tokens[t][c] + (t < pos_prefix ? pos[t * C + c] : 0.0F);
}

void gn_cpu_embed(struct gn_ctx *ctx, gn_act *hidden, const float *images, const gn_mat *w, const float *bias,
                  const float *pos, int pos_prefix, const float *const *prefix_tokens, int prefix, int B, int G, int P,
                  int C)
{
	int patches = G * G, width = 3 * P * P;
	float *rows = patch_work(ctx, G, P);
	if (!rows)
		return;
	struct gn_epilogue e = {.bias = bias, .residual = pos + (ptrdiff_t)pos_prefix * C};
	for (ptrdiff_t b = 0; b < B; b++) {
		float *tokens = (float *)hidden + b * (prefix + patches) * C;
		patch_rows(ctx, rows, images + b * patches * width, G, P);
		embed_prefix(tokens, pos, pos_prefix, prefix_tokens, prefix, C);
		gn_cpu_linear(ctx, tokens + (ptrdiff_t)prefix * C, rows, w, &e, patches, C, width);
	}
}

void gn_cpu_embed_backward(struct gn_ctx *ctx, float *dw, float *dbias, float *dpos, int pos_prefix,
                           float *const *dprefix, int prefix, const gn_act *dhidden, const float *images, int B, int G,
                           int P, int C)
{
	int patches = G * G, width = 3 * P * P;
	float *rows = patch_work(ctx, G, P);
	if (!rows)
		return;
	for (ptrdiff_t b = 0; b < B; b++) {
		const float *tokens = (const float *)dhidden + b * (prefix + patches) * C;
		const float *patch_tokens = tokens + (ptrdiff_t)prefix * C;
		for (ptrdiff_t t = 0; t < prefix; t++) {
			if (dprefix && dprefix[t])
				ctx->kernels->add(dprefix[t], tokens + t * C, (size_t)C);
			if (dpos && t < pos_prefix)
				ctx->kernels->add(dpos + t * C, tokens + t * C, (size_t)C);
		}
		if (dpos)
			ctx->kernels->add(dpos + (ptrdiff_t)pos_prefix * C, patch_tokens, (size_t)patches * (size_t)C);
		if (dw)
			patch_rows(ctx, rows, images + b * patches * width, G, P);
		if (dw || dbias)
			gn_cpu_linear_dw(ctx, dw, dbias, patch_tokens, rows, true, patches, C, width);
	}
}
