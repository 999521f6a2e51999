/*
 * Transfers between host and device.
 *
 * An upload is copied into a pinned piece of a ring, travels on the copy stream into the piece's twin in device memory while the compute stream
 * is still busy with the last step, and is moved into place by the compute stream when its turn comes: so a batch's bytes cross the bus during
 * the step before it, and the caller's memory is free again when the call returns. The ring of large pieces holds 64 MiB, about a hundred images of
 * 224 pixels; a batch beyond that waits for the compute stream in part. Small uploads (labels, the step's numbers) have a ring of their own, so
 * that they never wait behind pictures.
 *
 * Order, per piece: `taken` (the compute stream has moved the last content into place) is waited for before the pinned memory is written; the
 * compute stream waits for `landed` before it moves.
 */
#include "backend/cuda/vec.cuh"

#include <stdlib.h>
#include <string.h>

struct piece {
	char *pinned, *device;
	cudaEvent_t landed, taken;
	bool used;
};

struct ring {
	struct piece *pieces;
	int count, next;
	size_t bytes; /* of a piece */
};

struct gn_cuda_transfer {
	cudaStream_t stream;
	struct piece large[GN_PIECES], small[GN_SMALL_PIECES];
	struct ring rings[2];
	char *pinned, *device; /* the blocks that pieces are parts of */
	char *fetched;         /* pinned [GN_FETCH_SLOTS][GN_FETCH_BYTES] */
	cudaEvent_t fetch_done[GN_FETCH_SLOTS];
};

/* ---------------------------------------------------------------- life cycle ------------------------------------- */

static bool open_ring(struct gn_ctx *ctx, struct ring *ring, struct piece *pieces, int count, size_t bytes, size_t at)
{
	struct gn_cuda_transfer *t = ctx->transfer;

	*ring = {pieces, count, 0, bytes};
	for (int i = 0; i < count; i++) {
		pieces[i].pinned = t->pinned + at + (size_t)i * bytes;
		pieces[i].device = t->device + at + (size_t)i * bytes;
		if (!GN_CUDA(ctx, cudaEventCreateWithFlags(&pieces[i].landed, cudaEventDisableTiming)) ||
		    !GN_CUDA(ctx, cudaEventCreateWithFlags(&pieces[i].taken, cudaEventDisableTiming)))
			return false;
	}
	return true;
}

int gn_cuda_transfer_open(struct gn_ctx *ctx, struct gn_error *err)
{
	struct gn_cuda_transfer *t = (struct gn_cuda_transfer *)calloc(1, sizeof *t);
	bool ok;

	if (!t)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for a device context");
	ctx->transfer = t;
	if (gn_cuda_malloc(ctx, (void **)&t->device, GN_TRANSFER_BYTES, err))
		return -1;
	ok = GN_CUDA(ctx, cudaStreamCreateWithFlags(&t->stream, cudaStreamNonBlocking)) &&
	     GN_CUDA(ctx, cudaMallocHost((void **)&t->pinned, GN_TRANSFER_BYTES)) &&
	     GN_CUDA(ctx, cudaMallocHost((void **)&t->fetched, GN_FETCH_SLOTS * GN_FETCH_BYTES)) &&
	     open_ring(ctx, &t->rings[0], t->large, GN_PIECES, GN_PIECE_BYTES, 0) &&
	     open_ring(ctx, &t->rings[1], t->small, GN_SMALL_PIECES, GN_SMALL_BYTES, GN_PIECES * GN_PIECE_BYTES);
	for (int i = 0; ok && i < GN_FETCH_SLOTS; i++)
		ok = GN_CUDA(ctx, cudaEventCreateWithFlags(&t->fetch_done[i], cudaEventDisableTiming));
	return ok ? 0 : gn_cuda_report(ctx, err);
}

static void close_ring(const struct ring *ring)
{
	for (int i = 0; i < ring->count; i++) {
		if (ring->pieces[i].landed)
			cudaEventDestroy(ring->pieces[i].landed);
		if (ring->pieces[i].taken)
			cudaEventDestroy(ring->pieces[i].taken);
	}
}

void gn_cuda_transfer_close(struct gn_ctx *ctx)
{
	struct gn_cuda_transfer *t = ctx->transfer;

	if (!t)
		return;
	if (t->stream)
		cudaStreamSynchronize(t->stream);
	close_ring(&t->rings[0]);
	close_ring(&t->rings[1]);
	for (int i = 0; i < GN_FETCH_SLOTS; i++)
		if (t->fetch_done[i])
			cudaEventDestroy(t->fetch_done[i]);
	cudaFreeHost(t->fetched);
	cudaFreeHost(t->pinned);
	cudaFree(t->device);
	if (t->stream)
		cudaStreamDestroy(t->stream);
	free(t);
	ctx->transfer = NULL;
}

/* ---------------------------------------------------------------- uploads ---------------------------------------- */

/* The next piece of the ring whose pieces hold `bytes`, free to be written; NULL, noted, after a failure. */
static struct piece *take_piece(struct gn_ctx *ctx, size_t bytes)
{
	struct ring *ring = &ctx->transfer->rings[bytes <= GN_SMALL_BYTES];
	struct piece *piece = &ring->pieces[ring->next];

	ring->next = (ring->next + 1) % ring->count;
	if (piece->used && !GN_CUDA(ctx, cudaEventSynchronize(piece->taken)))
		return NULL;
	piece->used = true;
	return piece;
}

/* Sends the piece's first bytes to `to`. */
static void send_piece(struct gn_ctx *ctx, struct piece *piece, void *to, size_t bytes)
{
	cudaStream_t copies = ctx->transfer->stream;

	GN_CUDA(ctx, cudaMemcpyAsync(piece->device, piece->pinned, bytes, cudaMemcpyHostToDevice, copies));
	GN_CUDA(ctx, cudaEventRecord(piece->landed, copies));
	GN_CUDA(ctx, cudaStreamWaitEvent(ctx->stream, piece->landed, 0));
	GN_CUDA(ctx, cudaMemcpyAsync(to, piece->device, bytes, cudaMemcpyDeviceToDevice, ctx->stream));
	GN_CUDA(ctx, cudaEventRecord(piece->taken, ctx->stream));
}

void gn_cuda_upload(struct gn_ctx *ctx, void *device, const void *host, size_t bytes)
{
	for (size_t at = 0; at < bytes;) {
		size_t n = bytes - at < GN_PIECE_BYTES ? bytes - at : GN_PIECE_BYTES;
		struct piece *piece = take_piece(ctx, n);

		if (!piece)
			return;
		memcpy(piece->pinned, (const char *)host + at, n);
		send_piece(ctx, piece, (char *)device + at, n);
		at += n;
	}
}

void gn_cuda_upload_rows(struct gn_ctx *ctx, void *device, const void *rows, size_t row_bytes, const int32_t *indices,
                         int n)
{
	int most = (int)(GN_PIECE_BYTES / row_bytes < 1U << 30 ? GN_PIECE_BYTES / row_bytes : 1U << 30);

	if (most == 0) {
		for (int i = 0; i < n; i++)
			gn_cuda_upload(ctx, (char *)device + (size_t)i * row_bytes,
			               (const char *)rows + (size_t)indices[i] * row_bytes, row_bytes);
		return;
	}
	for (int at = 0; at < n;) {
		int count = n - at < most ? n - at : most;
		struct piece *piece = take_piece(ctx, (size_t)count * row_bytes);

		if (!piece)
			return;
		for (int i = 0; i < count; i++)
			memcpy(piece->pinned + (size_t)i * row_bytes,
			       (const char *)rows + (size_t)indices[at + i] * row_bytes, row_bytes);
		send_piece(ctx, piece, (char *)device + (size_t)at * row_bytes, (size_t)count * row_bytes);
		at += count;
	}
}

void gn_cuda_upload_mat(struct gn_ctx *ctx, gn_mat *out, const float *host, size_t n)
{
	size_t most = GN_PIECE_BYTES / sizeof(__nv_bfloat16);

	if (ctx->precision != GN_PRECISION_BF16) {
		gn_cuda_upload(ctx, out, host, n * sizeof *host);
		return;
	}
	for (size_t at = 0; at < n;) {
		size_t count = n - at < most ? n - at : most;
		struct piece *piece = take_piece(ctx, count * sizeof(__nv_bfloat16));

		if (!piece)
			return;
		for (size_t i = 0; i < count; i++)
			((__nv_bfloat16 *)(void *)piece->pinned)[i] = __float2bfloat16_rn(host[at + i]);
		send_piece(ctx, piece, (__nv_bfloat16 *)out + at, count * sizeof(__nv_bfloat16));
		at += count;
	}
}

/* ---------------------------------------------------------------- downloads -------------------------------------- */

void gn_cuda_download(struct gn_ctx *ctx, void *host, const void *device, size_t bytes)
{
	if (bytes && GN_CUDA(ctx, cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, ctx->stream)))
		GN_CUDA(ctx, cudaStreamSynchronize(ctx->stream));
}

void gn_cuda_fetch(struct gn_ctx *ctx, int slot, const void *device, size_t bytes)
{
	struct gn_cuda_transfer *t = ctx->transfer;

	gn_assert(slot >= 0 && slot < GN_FETCH_SLOTS && bytes <= GN_FETCH_BYTES);
	GN_CUDA(ctx, cudaMemcpyAsync(t->fetched + (size_t)slot * GN_FETCH_BYTES, device, bytes, cudaMemcpyDeviceToHost,
	                             ctx->stream));
	GN_CUDA(ctx, cudaEventRecord(t->fetch_done[slot], ctx->stream));
}

int gn_cuda_fetched(struct gn_ctx *ctx, int slot, void *host, size_t bytes, struct gn_error *err)
{
	struct gn_cuda_transfer *t = ctx->transfer;

	gn_assert(slot >= 0 && slot < GN_FETCH_SLOTS && bytes <= GN_FETCH_BYTES);
	if (GN_CUDA(ctx, cudaEventSynchronize(t->fetch_done[slot])))
		memcpy(host, t->fetched + (size_t)slot * GN_FETCH_BYTES, bytes);
	return gn_cuda_report(ctx, err);
}

/* ---------------------------------------------------------------- float32 to bf16 -------------------------------- */

/* Bound by bytes: 4 read and 2 written an element. */
template <int n>
static __global__ void __launch_bounds__(256, 4) cast_kernel(__nv_bfloat16 *out, const float *in, size_t count)
{
	size_t stride = (size_t)gridDim.x * blockDim.x * n;

	for (size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * n; i < count; i += stride) {
		float v[n];
		gn_load(v, in + i);
		gn_store(out + i, v);
	}
}

void gn_cuda_cast_mat(struct gn_ctx *ctx, gn_mat *out, const float *in, size_t n)
{
	__nv_bfloat16 *to = (__nv_bfloat16 *)out;
	size_t wide = gn_aligned16(out) && gn_aligned16(in) ? n / 8 * 8 : 0;

	if (n == 0)
		return;
	if (ctx->precision != GN_PRECISION_BF16) {
		GN_CUDA(ctx, cudaMemcpyAsync(out, in, n * sizeof *in, cudaMemcpyDeviceToDevice, ctx->stream));
		return;
	}
	if (wide)
		GN_RUN(ctx, cast_kernel<8>, gn_blocks(wide, 256 * 8, 65535), 256, 0, to, in, wide);
	if (wide < n)
		GN_RUN(ctx, cast_kernel<1>, gn_blocks(n - wide, 256, 65535), 256, 0, to + wide, in + wide, n - wide);
}
