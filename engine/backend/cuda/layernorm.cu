/*
 * Layer norm: a warp a row.
 *
 * Bound by bytes: forward reads and writes each element once, backward reads three streams and
 * writes one. Rows of up to 1024 elements stay in registers between the passes over them; longer or
 * unaligned ones are read again, from the cache. Mean first, then the deviation from it: the
 * one-pass formula loses digits where the mean is large.
 *
 * Backward, weight and bias gradients: each warp adds up its rows in shared memory of its own, a
 * lane always the same columns; then the block's warps are added in order, and the blocks' sums by
 * gn_cuda_add_parts. Frozen norms, most of those of a partial fine-tuning, skip all of it.
 *
 * Blocks of 128 threads. Forward: 8 or more a multiprocessor (at most 64 registers a thread).
 * Backward: 4 or more (at most 128 registers); where gradients are summed, each warp has 8 C bytes
 * of shared memory besides (24 KiB a block at C = 768).
 */
#include "backend/cuda/vec.cuh"

#define WARPS       4
#define SHARED_FREE ((size_t)48 * 1024) /* dynamic shared memory that a block has without asking */

/* ---------------------------------------------------------------- a row ------------------------------------------ */

/*
 * Vectors of a row of up to 1024 elements that a lane has: number i is at element (lane + 32 i) n.
 */
template <typename act> constexpr int most_kept = 32 / gn_per16<act>;

/* A warp's row, n elements an access; with keep > 0 in registers. */
template <typename act, int n, int keep> struct row {
	const act *p;
	uint4 kept[keep ? keep : 1];
};

template <typename act, int n, int keep>
__device__ __forceinline__ void row_open(struct row<act, n, keep> *r, const act *p, int C)
{
	r->p = p;
#pragma unroll
	for (int i = 0; i < keep; i++) {
		int col = ((int)threadIdx.x + 32 * i) * n;
		if (col < C)
			r->kept[i] = *(const uint4 *)(const void *)(p + col);
	}
}

/* v[n] = vector i, at element col. */
template <typename act, int n, int keep>
__device__ __forceinline__ void row_get(float (&v)[n], const struct row<act, n, keep> *r, int i, int col)
{
	if constexpr (keep > 0)
		gn_unpack(v, r->kept[i]);
	else
		gn_load(v, r->p + col);
}

/*
 * Calls work(i, col) for each vector of a row of C elements that the lane has; a constant number of
 * turns where the row is kept.
 */
template <int n, int keep, typename function> __device__ __forceinline__ void each_vector(int C, function work)
{
	int col = (int)threadIdx.x * n;

	if constexpr (keep > 0) {
#pragma unroll
		for (int i = 0; i < keep; i++, col += 32 * n)
			if (col < C)
				work(i, col);
	} else {
		for (int i = 0; col < C; i++, col += 32 * n)
			work(i, col);
	}
}

template <typename act, int n, int keep>
__device__ __forceinline__ void row_moments(float *mean, float *rstd, const struct row<act, n, keep> *r, float eps,
                                            int C)
{
	float sum = 0, v[n];
	each_vector<n, keep>(C, [&](int i, int col) {
		row_get(v, r, i, col);
		for (int j = 0; j < n; j++)
			sum += v[j];
	});
	*mean = gn_warp_sum(sum) / (float)C;
	sum = 0;
	each_vector<n, keep>(C, [&](int i, int col) {
		row_get(v, r, i, col);
		for (int j = 0; j < n; j++)
			sum += (v[j] - *mean) * (v[j] - *mean);
	});
	*rstd = 1.0F / sqrtf(gn_warp_sum(sum) / (float)C + eps);
}

/* ---------------------------------------------------------------- forward ---------------------------------------- */

template <typename act, int n, int keep>
static __global__ void __launch_bounds__(32 * WARPS, 8)
    layernorm_kernel(act *out, const act *x, const float *w, const float *b, float eps, int M, int C)
{
	for (int m = (int)(blockIdx.x * WARPS + threadIdx.y); m < M; m += (int)gridDim.x * WARPS) {
		struct row<act, n, keep> r;
		float mean, rstd, v[n], weight[n], bias[n];

		row_open(&r, x + (size_t)m * (size_t)C, C);
		row_moments(&mean, &rstd, &r, eps, C);
		each_vector<n, keep>(C, [&](int i, int col) {
			row_get(v, &r, i, col);
			gn_load(weight, w + col);
			gn_load(bias, b + col);
			for (int j = 0; j < n; j++)
				v[j] = (v[j] - mean) * rstd * weight[j] + bias[j];
			gn_store(out + (size_t)m * (size_t)C + col, v);
		});
	}
}

template <typename act>
void gn_cuda_layernorm(struct gn_ctx *ctx, gn_act *out, const gn_act *x, const float *w, const float *b, float eps,
                       int M, int C)
{
	constexpr int wide = gn_per16<act>, most = most_kept<act>;
	bool aligned = gn_aligned16(out) && gn_aligned16(x) && gn_aligned16(w) && gn_aligned16(b) && C % wide == 0;
	dim3 grid(gn_blocks((size_t)M, WARPS, INT32_MAX)), block(32, WARPS);

	if (aligned && C <= 32 * wide * most)
		GN_RUN(ctx, (layernorm_kernel<act, wide, most>), grid, block, 0, (act *)out, (const act *)x, w, b, eps,
		       M, C);
	else if (aligned)
		GN_RUN(ctx, (layernorm_kernel<act, wide, 0>), grid, block, 0, (act *)out, (const act *)x, w, b, eps, M,
		       C);
	else
		GN_RUN(ctx, (layernorm_kernel<act, 1, 0>), grid, block, 0, (act *)out, (const act *)x, w, b, eps, M, C);
}

/* ---------------------------------------------------------------- backward --------------------------------------- */

/* What each row of the backward pass is made of; dx, normed and add may be NULL. */
template <typename act> struct gradients {
	act *dx, *normed;
	const act *add, *dout, *x;
	const float *w, *b;
	float eps;
	int M, C;
};

/* sum, dot: means over the row of g w and g w xhat, for its gradient. */
template <typename act, int n, int keep>
__device__ __forceinline__ void row_means(float *sum, float *dot, const struct row<act, n, keep> *x,
                                          const struct row<act, n, keep> *g, const float *w, float mean, float rstd,
                                          int C)
{
	float s = 0, d = 0, xs[n], gs[n], ws[n];
	each_vector<n, keep>(C, [&](int i, int col) {
		row_get(xs, x, i, col);
		row_get(gs, g, i, col);
		gn_load(ws, w + col);
		for (int j = 0; j < n; j++) {
			float gw = gs[j] * ws[j];
			s += gw;
			d += gw * ((xs[j] - mean) * rstd);
		}
	});
	*sum = gn_warp_sum(s) / (float)C;
	*dot = gn_warp_sum(d) / (float)C;
}

/* sums[0 .. C) += g xhat, sums[C .. 2C) += g; the lane's own columns. */
template <int n>
__device__ __forceinline__ void add_columns(float *sums, const float (&g)[n], const float (&xhat)[n], int col, int C)
{
	float v[n];
	gn_load(v, sums + col);
	for (int j = 0; j < n; j++)
		v[j] += g[j] * xhat[j];
	gn_store(sums + col, v);
	gn_load(v, sums + C + col);
	for (int j = 0; j < n; j++)
		v[j] += g[j];
	gn_store(sums + C + col, v);
}

/* One row: its dx, where wanted, and with `add_up` its share of the column sums. */
template <typename act, int n, int keep>
__device__ __forceinline__ void backward_row(const struct gradients<act> *a, float *sums, bool add_up, int m)
{
	size_t at = (size_t)m * (size_t)a->C;
	int C = a->C;
	struct row<act, n, keep> x, g, add = {};
	float mean, rstd, sum = 0, dot = 0;

	row_open(&x, a->x + at, C);
	row_open(&g, a->dout + at, C);
	if (a->add)
		row_open(&add, a->add + at, C);
	row_moments(&mean, &rstd, &x, a->eps, C);
	if (a->dx)
		row_means(&sum, &dot, &x, &g, a->w, mean, rstd, C);
	each_vector<n, keep>(C, [&](int i, int col) {
		float xhat[n], gs[n], ws[n];

		row_get(xhat, &x, i, col);
		row_get(gs, &g, i, col);
		for (int j = 0; j < n; j++)
			xhat[j] = (xhat[j] - mean) * rstd;
		if (add_up)
			add_columns(sums, gs, xhat, col, C);
		if (!a->dx && !a->normed)
			return;
		gn_load(ws, a->w + col);
		if (a->normed) {
			float out[n];
			gn_load(out, a->b + col);
			for (int j = 0; j < n; j++)
				out[j] = xhat[j] * ws[j] + out[j];
			gn_store(a->normed + at + col, out);
		}
		if (!a->dx)
			return;
		for (int j = 0; j < n; j++)
			gs[j] = rstd * (gs[j] * ws[j] - sum - xhat[j] * dot);
		if (a->add) {
			row_get(ws, &add, i, col);
			for (int j = 0; j < n; j++)
				gs[j] += ws[j];
		}
		gn_store(a->dx + at + col, gs);
	});
}

/*
 * partial[gridDim.x][2][C] = the blocks' column sums; NULL: none are wanted. Shared memory:
 * blockDim.y rows of 2 C floats, or none.
 */
template <typename act, int n, int keep>
static __global__ void __launch_bounds__(32 * WARPS, 4) backward_kernel(float *partial, struct gradients<act> a)
{
	GN_SHARED_BYTES(bytes);
	int C = a.C, thread = (int)(threadIdx.y * 32 + threadIdx.x), threads = (int)blockDim.y * 32;
	float *all = (float *)(void *)bytes, *sums = all + (size_t)threadIdx.y * 2 * (size_t)C;
	/*
	 * Not sums != NULL: to SentryWard shared memory begins at 0, and it would take nothing to
	 * be summed.
	 */
	bool add_up = partial != NULL;

	if (add_up)
		for (int col = (int)threadIdx.x * n; col < C; col += 32 * n)
			for (int j = 0; j < n; j++)
				sums[col + j] = sums[C + col + j] = 0;
	for (int m = (int)(blockIdx.x * blockDim.y + threadIdx.y); m < a.M; m += (int)(gridDim.x * blockDim.y))
		backward_row<act, n, keep>(&a, sums, add_up, m);
	if (!add_up)
		return;
	__syncthreads();
	for (int j = thread; j < 2 * C; j += threads) {
		float total = 0;
		for (int warp = 0; warp < (int)blockDim.y; warp++)
			total += all[(size_t)warp * 2 * (size_t)C + (size_t)j];
		partial[(size_t)blockIdx.x * 2 * (size_t)C + (size_t)j] = total;
	}
}

template <typename act, int n, int keep>
static void run_backward(struct gn_ctx *ctx, float *partial, const struct gradients<act> *a, unsigned blocks, int warps)
{
	size_t shared = partial ? (size_t)warps * 2 * (size_t)a->C * sizeof(float) : 0;

	if (shared > SHARED_FREE &&
	    !GN_CUDA(ctx, cudaFuncSetAttribute((const void *)backward_kernel<act, n, keep>,
	                                       cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared)))
		return;
	GN_RUN(ctx, (backward_kernel<act, n, keep>), blocks, dim3(32, (unsigned)warps), shared, partial, *a);
}

/*
 * Warps of a block whose column sums fit; a width of 8192 needs 64 KiB for one, which every
 * architecture has.
 */
static int warps_that_fit(int C)
{
	size_t fit = SHARED_FREE / (2 * (size_t)C * sizeof(float));
	return fit > WARPS ? WARPS : fit ? (int)fit : 1;
}

template <typename act>
void gn_cuda_layernorm_backward(struct gn_ctx *ctx, gn_act *dx, float *dw, float *db, gn_act *normed,
                                const gn_act *add, const gn_act *dout, const gn_act *x, const float *w, const float *b,
                                float eps, int M, int C)
{
	constexpr int wide = gn_per16<act>, most = most_kept<act>;
	struct gradients<act> a = {
		(act *)dx, (act *)normed, (const act *)add, (const act *)dout, (const act *)x, w, b, eps, M, C
	};
	bool aligned = gn_aligned16(dx) && gn_aligned16(normed) && gn_aligned16(add) && gn_aligned16(dout) &&
	               gn_aligned16(x) && gn_aligned16(w) && gn_aligned16(b) && C % wide == 0;
	float *partial = dw || db ? (float *)ctx->scratch[GN_SCRATCH_PARTIAL] : NULL;
	size_t room = ctx->scratch_bytes[GN_SCRATCH_PARTIAL] / (2 * (size_t)C * sizeof(float)),
	       busy = (size_t)ctx->sms * 4;
	int warps = partial ? warps_that_fit(C) : WARPS;
	unsigned blocks = gn_blocks((size_t)M, (size_t)warps, !partial ? INT32_MAX : room < busy ? room : busy);

	if (aligned && C <= 32 * wide * most)
		run_backward<act, wide, most>(ctx, partial, &a, blocks, warps);
	else if (aligned)
		run_backward<act, wide, 0>(ctx, partial, &a, blocks, warps);
	else
		run_backward<act, 1, 0>(ctx, partial, &a, blocks, warps);
	if (dw)
		gn_cuda_add_parts(ctx, dw, partial, 2 * (size_t)C, (int)blocks, C);
	if (db)
		gn_cuda_add_parts(ctx, db, partial + C, 2 * (size_t)C, (int)blocks, C);
}

#define INSTANCES(act)                                                                                                 \
	template void gn_cuda_layernorm<act>(struct gn_ctx *, gn_act *, const gn_act *, const float *, const float *,  \
	                                     float, int, int);                                                         \
	template void gn_cuda_layernorm_backward<act>(struct gn_ctx *, gn_act *, float *, float *, gn_act *,           \
	                                              const gn_act *, const gn_act *, const gn_act *, const float *,   \
	                                              const float *, float, int, int);
INSTANCES(float)
INSTANCES(__nv_bfloat16)
