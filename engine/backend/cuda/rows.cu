/*
 * Work over the rows of a matrix that several operations share: copies between leading dimensions,
 * and sums over columns.
 *
 * A column sum goes in two steps, each in a fixed order: blocks of 32 x 8 threads sum slabs of rows
 * into partial sums, and a second kernel adds the slabs' sums from first to last. Bound by bytes:
 * one pass over the matrix in 16-byte accesses. The number of slabs depends on the sizes and the
 * number of multiprocessors only. Blocks of 256 threads, 4 or more a multiprocessor (at most 64
 * registers a thread, 8 KiB of shared memory a block).
 */
#include "backend/cuda/vec.cuh"

#define DEPTH      8 /* rows that a block of column sums reads at a time: its height */
#define PART_LANES 16

/* ---------------------------------------------------------------- copies ----------------------------------------- */

template <typename T>
static __global__ void __launch_bounds__(256, 4)
    copy_rows_kernel(T *out, size_t out_ld, const T *in, size_t in_ld, int rows, int cols)
{
	for (int row = (int)(blockIdx.y * 8 + threadIdx.y); row < rows; row += (int)gridDim.y * 8)
		for (int col = (int)(blockIdx.x * 32 + threadIdx.x); col < cols; col += (int)gridDim.x * 32)
			out[(size_t)row * out_ld + (size_t)col] = in[(size_t)row * in_ld + (size_t)col];
}

void gn_cuda_copy_rows(struct gn_ctx *ctx, void *out, size_t out_ld, const void *in, size_t in_ld, int rows, int cols,
                       int element)
{
	dim3 grid(gn_blocks((size_t)cols, 32, 1024), gn_blocks((size_t)rows, 8, 65535)), block(32, 8);

	gn_assert(element == 2 || element == 4);
	if (element == 2)
		GN_RUN(ctx, copy_rows_kernel<uint16_t>, grid, block, 0, (uint16_t *)out, out_ld, (const uint16_t *)in,
		       in_ld, rows, cols);
	else
		GN_RUN(ctx, copy_rows_kernel<uint32_t>, grid, block, 0, (uint32_t *)out, out_ld, (const uint32_t *)in,
		       in_ld, rows, cols);
}

/* ---------------------------------------------------------------- column sums ------------------------------------ */

/* partial[slab][N] = the slab's sums; slabs of `slab` rows lie along gridDim.y. */
template <typename act, int n>
static __global__ void __launch_bounds__(256, 4)
    columns_kernel(float *partial, act *scaled, const act *a, const act *b, const float *gamma, int M, int N, int slab)
{
	__shared__ float sums[DEPTH][32 * n + 1];
	int col = (int)(blockIdx.x * 32 + threadIdx.x) * n, first = (int)blockIdx.y * slab,
	    last = M - first < slab ? M : first + slab;
	float sum[n] = {}, g[n] = {};

	if (col < N && scaled)
		gn_load(g, gamma + col);
	for (int row = first + (int)threadIdx.y; row < last && col < N; row += DEPTH) {
		size_t at = (size_t)row * (size_t)N + (size_t)col;
		float v[n], w[n];
		gn_load(v, a + at);
		if (b)
			gn_load(w, b + at);
		for (int i = 0; i < n; i++)
			sum[i] += b ? v[i] * w[i] : v[i];
		if (scaled) {
			for (int i = 0; i < n; i++)
				v[i] *= g[i];
			gn_store(scaled + at, v);
		}
	}
	if (!partial)
		return;
	for (int i = 0; i < n; i++)
		sums[threadIdx.y][(int)threadIdx.x * n + i] = sum[i];
	__syncthreads();
	for (int j = (int)(threadIdx.y * 32 + threadIdx.x); j < 32 * n; j += 32 * DEPTH) {
		int to = (int)blockIdx.x * 32 * n + j;
		float total = 0;
		for (int y = 0; y < DEPTH; y++)
			total += sums[y][j];
		if (to < N)
			partial[(size_t)blockIdx.y * (size_t)N + (size_t)to] = total;
	}
}

/*
 * 32 columns by LANES threads: each adds every LANES-th part, then the first adds those sums in
 * order.
 */
static __global__ void __launch_bounds__(512)
    add_parts_kernel(float *sums, const float *partial, size_t stride, int parts, int N)
{
	__shared__ float lane[PART_LANES][32];
	int j = (int)(blockIdx.x * 32 + threadIdx.x);
	float total = 0;

	for (int i = (int)threadIdx.y; i < parts && j < N; i += PART_LANES)
		total += partial[(size_t)i * stride + (size_t)j];
	lane[threadIdx.y][threadIdx.x] = total;
	__syncthreads();
	if (threadIdx.y > 0 || j >= N)
		return;
	for (int y = 1; y < PART_LANES; y++)
		total += lane[y][threadIdx.x];
	sums[j] += total;
}

void gn_cuda_add_parts(struct gn_ctx *ctx, float *sums, const float *partial, size_t stride, int parts, int N)
{
	GN_RUN(ctx, add_parts_kernel, gn_blocks((size_t)N, 32, SIZE_MAX), dim3(32, PART_LANES), 0, sums, partial,
	       stride, parts, N);
}

/*
 * Slabs enough for four blocks a multiprocessor, of 32 rows at least, in the scratch memory that
 * there is.
 */
static int slab_count(const struct gn_ctx *ctx, int M, int N, unsigned across)
{
	size_t wanted = ((size_t)ctx->sms * 4 + across - 1) / across, by_rows = ((size_t)M + 31) / 32,
	       by_memory = ctx->scratch_bytes[GN_SCRATCH_PARTIAL] / ((size_t)N * sizeof(float));
	size_t slabs = wanted < by_rows ? wanted : by_rows;

	slabs = slabs < by_memory ? slabs : by_memory;
	gn_assert(slabs > 0 && slabs <= 65535);
	return (int)slabs;
}

template <typename act>
void gn_cuda_columns(struct gn_ctx *ctx, float *sums, act *scaled, const act *a, const act *b, const float *gamma,
                     int M, int N)
{
	constexpr int wide = gn_per16<act>;
	bool aligned =
	    gn_aligned16(a) && gn_aligned16(b) && gn_aligned16(scaled) && gn_aligned16(gamma) && N % wide == 0;
	unsigned across = (unsigned)((N + 32 * (aligned ? wide : 1) - 1) / (32 * (aligned ? wide : 1)));
	int slabs = slab_count(ctx, M, N, across), slab = (M + slabs - 1) / slabs;
	float *partial = sums ? (float *)ctx->scratch[GN_SCRATCH_PARTIAL] : NULL;

	slabs = (M + slab - 1) / slab;
	if (aligned)
		GN_RUN(ctx, (columns_kernel<act, wide>), dim3(across, (unsigned)slabs), dim3(32, DEPTH), 0, partial,
		       scaled, a, b, gamma, M, N, slab);
	else
		GN_RUN(ctx, (columns_kernel<act, 1>), dim3(across, (unsigned)slabs), dim3(32, DEPTH), 0, partial,
		       scaled, a, b, gamma, M, N, slab);
	if (sums)
		gn_cuda_add_parts(ctx, sums, partial, (size_t)N, slabs, N);
}

template void gn_cuda_columns<float>(struct gn_ctx *, float *, float *, const float *, const float *, const float *,
                                     int, int);
template void gn_cuda_columns<__nv_bfloat16>(struct gn_ctx *, float *, __nv_bfloat16 *, const __nv_bfloat16 *,
                                             const __nv_bfloat16 *, const float *, int, int);
