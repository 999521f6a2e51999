/*
 * Attention over all heads of a batch. Forward, the threads share the query tiles of all heads
 * evenly, so that one image keeps every thread busy; a thread packs the keys and values of each
 * head that it needs. Backward, the threads share whole heads.
 */
#include <omp.h>

#include "backend/cpu/cpu.h"

static const float *head_start(const float *qkv, ptrdiff_t index, int T, int H, int D)
{
	return qkv + index / H * T * 3 * H * D + index % H * D;
}

/* Head `index` of a share whose end is head `last`. */
static struct gn_head take_head(const float *qkv, ptrdiff_t index, ptrdiff_t last, float *scratch, int T, int Q, int H,
                                int D)
{
	ptrdiff_t C = (ptrdiff_t)H * D;
	const float *q = head_start(qkv, index, T, H, D);
	return (struct gn_head){.q = q,
	                        .k = q + C,
	                        .v = q + 2 * C,
	                        .stride = 3 * C,
	                        .out_stride = C,
	                        .T = T,
	                        .Q = Q,
	                        .D = D,
	                        .next = index < last ? head_start(qkv, index + 1, T, H, D) : NULL,
	                        .scratch = scratch};
}

void gn_cpu_attention(struct gn_ctx *ctx, gn_act *out, float *lse, const gn_act *qkv, int B, int T, int Q, int H, int D)
{
	const struct gn_kernels *k = ctx->kernels;
	size_t floats = gn_pad32(k->attention_floats(T, D));
	float *work = gn_cpu_work(ctx, GN_SLOT_PRODUCT, floats * (size_t)ctx->threads);
	if (!work)
		return;
#pragma omp parallel num_threads(ctx->threads)
	{
		int tiles = k->attention_tiles(Q);
		ptrdiff_t at, last;
		gn_share((ptrdiff_t)B * H * tiles, omp_get_thread_num(), omp_get_num_threads(), &at, &last);
		while (at < last) {
			ptrdiff_t head = at / tiles;
			int t = (int)(at % tiles), end = last - at < tiles - t ? t + (int)(last - at) : tiles;
			struct gn_head h = take_head(qkv, head, (last - 1) / tiles,
			                             work + floats * (size_t)omp_get_thread_num(), T, Q, H, D);
			float *to = (float *)out + (head / H * Q * H + head % H) * D;
			k->attention_load(&h);
			k->attention_tile(to, lse ? lse + head * Q : NULL, &h, t, end);
			at += end - t;
		}
	}
}

void gn_cpu_attention_backward(struct gn_ctx *ctx, gn_act *dqkv, const gn_act *dout, const gn_act *qkv,
                               const gn_act *out, const float *lse, int B, int T, int Q, int H, int D)
{
	const struct gn_kernels *k = ctx->kernels;
	(void)out;
	(void)lse;
	size_t floats = gn_pad32(k->attention_backward_floats(T, D));
	float *work = gn_cpu_work(ctx, GN_SLOT_PRODUCT, floats * (size_t)ctx->threads);
	if (!work)
		return;
#pragma omp parallel num_threads(ctx->threads)
	{
		ptrdiff_t first, last, C = (ptrdiff_t)H * D;
		gn_share((ptrdiff_t)B * H, omp_get_thread_num(), omp_get_num_threads(), &first, &last);
		for (ptrdiff_t head = first; head < last; head++) {
			struct gn_head h =
			    take_head(qkv, head, last - 1, work + floats * (size_t)omp_get_thread_num(), T, Q, H, D);
			float *dq = (float *)dqkv + (h.q - (const float *)qkv);
			k->attention_backward(dq, dq + C, dq + 2 * C,
			                      (const float *)dout + (head / H * Q * H + head % H) * D, &h);
		}
	}
}
