/*
 * Mean over tokens, and picking tokens. Bound by bytes: each element that counts is read or written
 * once, in 16-byte accesses where widths allow. Blocks of 32 x 8 threads, 4 or more a
 * multiprocessor (at most 64 registers a thread).
 */
#include "backend/cuda/vec.cuh"

#define LANES 8

/* Tokens of each image that an operation is about. */
struct span {
	int first, count, T, C;
};

/* ---------------------------------------------------------------- mean ------------------------------------------- */

/*
 * An image along gridDim.y, 32 n columns along gridDim.x; thread y adds every LANES-th token, and
 * those sums are added in order.
 */
template <typename act, int n>
static __global__ void __launch_bounds__(256, 4) pool_kernel(act *out, const act *hidden, struct span s, int B)
{
	__shared__ float sums[LANES][32 * n];
	int col = (int)(blockIdx.x * 32 + threadIdx.x) * n;

	for (int b = (int)blockIdx.y; b < B; b += (int)gridDim.y) {
		float sum[n] = {}, v[n];

		for (int t = (int)threadIdx.y; t < s.count && col < s.C; t += LANES) {
			gn_load(v, hidden + ((size_t)b * (size_t)s.T + (size_t)(s.first + t)) * (size_t)s.C + col);
			for (int i = 0; i < n; i++)
				sum[i] += v[i];
		}
		for (int i = 0; i < n; i++)
			sums[threadIdx.y][i * 32 + (int)threadIdx.x] = sum[i];
		__syncthreads();
		if (threadIdx.y == 0 && col < s.C) {
			for (int i = 0; i < n; i++) {
				for (int y = 1; y < LANES; y++)
					sum[i] += sums[y][i * 32 + (int)threadIdx.x];
				sum[i] /= (float)s.count;
			}
			gn_store(out + (size_t)b * (size_t)s.C + col, sum);
		}
		__syncthreads();
	}
}

/* ---------------------------------------------------------------- spreading and picking -------------------------- */

enum spread { SPREAD_MEAN, SPREAD_ROWS, SPREAD_ADD };

/*
 * dhidden[B,T,C]: on the span's tokens a share of dout[B,C], dout[B,count,C], or that added;
 * elsewhere 0, or with SPREAD_ADD what was there.
 */
template <typename act, int n>
static __global__ void __launch_bounds__(256, 4)
    spread_kernel(act *dhidden, const act *dout, struct span s, enum spread how, int rows)
{
	int col = (int)(blockIdx.x * 32 + threadIdx.x) * n;

	if (col >= s.C)
		return;
	for (int row = (int)(blockIdx.y * LANES + threadIdx.y); row < rows; row += (int)gridDim.y * LANES) {
		int b = row / s.T, t = row % s.T - s.first;
		act *to = dhidden + (size_t)row * (size_t)s.C + col;
		float v[n] = {}, old[n];

		if (t >= 0 && t < s.count) {
			size_t from = how == SPREAD_MEAN ? (size_t)b : (size_t)b * (size_t)s.count + (size_t)t;
			gn_load(v, dout + from * (size_t)s.C + col);
			if (how == SPREAD_ADD)
				gn_load(old, to);
			for (int i = 0; i < n; i++)
				v[i] = how == SPREAD_MEAN  ? v[i] / (float)s.count
				       : how == SPREAD_ADD ? v[i] + old[i]
				                           : v[i];
		} else if (how == SPREAD_ADD) {
			continue;
		}
		gn_store(to, v);
	}
}

/* out[B,count,C] = the span's tokens; rows = B * count. */
template <typename act, int n>
static __global__ void __launch_bounds__(256, 4) take_kernel(act *out, const act *hidden, struct span s, int rows)
{
	int col = (int)(blockIdx.x * 32 + threadIdx.x) * n;

	if (col >= s.C)
		return;
	for (int row = (int)(blockIdx.y * LANES + threadIdx.y); row < rows; row += (int)gridDim.y * LANES) {
		size_t from = (size_t)(row / s.count) * (size_t)s.T + (size_t)(s.first + row % s.count);
		float v[n];
		gn_load(v, hidden + from * (size_t)s.C + col);
		gn_store(out + (size_t)row * (size_t)s.C + col, v);
	}
}

/* ---------------------------------------------------------------- operations ------------------------------------- */

/* Elements an access. */
template <typename act> static int access_of(const void *a, const void *b, int C)
{
	return gn_aligned16(a) && gn_aligned16(b) && C % gn_per16<act> == 0 ? gn_per16<act> : 1;
}

static dim3 grid_of(int C, int n, int rows, int per_block)
{
	return dim3((unsigned)((C + 32 * n - 1) / (32 * n)), gn_blocks((size_t)rows, (size_t)per_block, 65535));
}

static const dim3 block(32, LANES);

template <typename act>
void gn_cuda_pool(struct gn_ctx *ctx, gn_act *out, const gn_act *hidden, int first, int count, int B, int T, int C)
{
	struct span s = {first, count, T, C};
	int n = access_of<act>(out, hidden, C);

	if (n > 1)
		GN_RUN(ctx, (pool_kernel<act, gn_per16<act>>), grid_of(C, n, B, 1), block, 0, (act *)out,
		       (const act *)hidden, s, B);
	else
		GN_RUN(ctx, (pool_kernel<act, 1>), grid_of(C, 1, B, 1), block, 0, (act *)out, (const act *)hidden, s,
		       B);
}

template <typename act>
static void run_spread(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, const struct span *s, enum spread how,
                       int B)
{
	int n = access_of<act>(dhidden, dout, s->C), rows = B * s->T;
	dim3 grid = grid_of(s->C, n, rows, LANES);

	if (n > 1)
		GN_RUN(ctx, (spread_kernel<act, gn_per16<act>>), grid, block, 0, (act *)dhidden, (const act *)dout, *s,
		       how, rows);
	else
		GN_RUN(ctx, (spread_kernel<act, 1>), grid, block, 0, (act *)dhidden, (const act *)dout, *s, how, rows);
}

template <typename act>
void gn_cuda_pool_backward(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, int first, int count, int B, int T,
                           int C)
{
	struct span s = {first, count, T, C};
	run_spread<act>(ctx, dhidden, dout, &s, SPREAD_MEAN, B);
}

template <typename act>
void gn_cuda_take(struct gn_ctx *ctx, gn_act *out, const gn_act *hidden, int first, int n, int B, int T, int C)
{
	struct span s = {first, n, T, C};
	int access = access_of<act>(out, hidden, C);
	dim3 grid = grid_of(C, access, B * n, LANES);

	if (access > 1)
		GN_RUN(ctx, (take_kernel<act, gn_per16<act>>), grid, block, 0, (act *)out, (const act *)hidden, s,
		       B * n);
	else
		GN_RUN(ctx, (take_kernel<act, 1>), grid, block, 0, (act *)out, (const act *)hidden, s, B * n);
}

template <typename act>
void gn_cuda_take_backward(struct gn_ctx *ctx, gn_act *dhidden, const gn_act *dout, int first, int n, bool accumulate,
                           int B, int T, int C)
{
	struct span s = {first, n, T, C};
	run_spread<act>(ctx, dhidden, dout, &s, accumulate ? SPREAD_ADD : SPREAD_ROWS, B);
}

#define INSTANCES(act)                                                                                                 \
	template void gn_cuda_pool<act>(struct gn_ctx *, gn_act *, const gn_act *, int, int, int, int, int);           \
	template void gn_cuda_pool_backward<act>(struct gn_ctx *, gn_act *, const gn_act *, int, int, int, int, int);  \
	template void gn_cuda_take<act>(struct gn_ctx *, gn_act *, const gn_act *, int, int, int, int, int);           \
	template void gn_cuda_take_backward<act>(struct gn_ctx *, gn_act *, const gn_act *, int, int, bool, int, int,  \
	                                         int);
INSTANCES(float)
INSTANCES(__nv_bfloat16)
