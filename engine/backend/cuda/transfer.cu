/*
 * Transfers between host and device.
 *
 * An upload is copied into a pinned piece of a ring, travels on the copy stream into the piece's
 * twin in device memory while the compute stream is still busy with the last step, and is moved
 * into place by the compute stream when its turn comes: so a batch's bytes cross the bus during the
 * step before it, and the caller's memory is free again when the call returns. Pictures travel as
 * bytes and become float32 on the device. The ring of large pieces holds 64 MiB, 445 pictures of
 * 224 pixels; a batch beyond that waits for the compute stream in part. Small uploads (labels, the
 * step's numbers) have a ring of their own, so that they never wait behind pictures.
 *
 * Order, per piece: `taken` (the compute stream has moved the last content into place) is waited
 * for before the pinned memory is written; the compute stream waits for `landed` before it moves.
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

/*
 * The next piece of the ring whose pieces hold `bytes`, free to be written; NULL, noted, after a
 * failure.
 */
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

/* Sends the piece's first bytes to its twin, which the compute stream may read from now on. */
static void land_piece(struct gn_ctx *ctx, struct piece *piece, size_t bytes)
{
	cudaStream_t copies = ctx->transfer->stream;

	GN_CUDA(ctx, cudaMemcpyAsync(piece->device, piece->pinned, bytes, cudaMemcpyHostToDevice, copies));
	GN_CUDA(ctx, cudaEventRecord(piece->landed, copies));
	GN_CUDA(ctx, cudaStreamWaitEvent(ctx->stream, piece->landed, 0));
}

/* Sends the piece's first bytes to `to`. */
static void send_piece(struct gn_ctx *ctx, struct piece *piece, void *to, size_t bytes)
{
	land_piece(ctx, piece, bytes);
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

/* ---------------------------------------------------------------- pictures --------------------------------------- */

#define LEVELS (3 * 256)

/*
 * What each of a channel's 256 levels becomes; a kernel's argument, so that it needs no memory of
 * its own.
 */
struct levels {
	float of[LEVELS];
};

/*
 * images[n, 3, area] = the levels of pixels[count, 3], of which the first is number `from` of the
 * batch. n pixels of one picture a thread at a time: 4 where area is a multiple of 4. Bound by
 * bytes: 3 read and 12 written a pixel.
 */
template <int n>
static __global__ void __launch_bounds__(256, 4)
    levels_kernel(float *images, const unsigned char *pixels, struct levels levels, size_t from, size_t count,
                  size_t area)
{
	__shared__ float of[LEVELS];
	size_t stride = (size_t)gridDim.x * blockDim.x * n;

	for (int i = (int)threadIdx.x; i < LEVELS; i += (int)blockDim.x)
		of[i] = levels.of[i];
	__syncthreads();
	for (size_t at = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * n; at < count; at += stride) {
		size_t picture = (from + at) / area, place = (from + at) % area;
		unsigned char bytes[3 * n];

		if constexpr (n == 4) {
			const unsigned *words = (const unsigned *)(const void *)(pixels + 3 * at);
			unsigned word[3] = {words[0], words[1], words[2]};
#pragma unroll
			for (int i = 0; i < 3 * n; i++)
				bytes[i] = (unsigned char)(word[i / 4] >> 8 * (i % 4));
		} else {
			for (int i = 0; i < 3 * n; i++)
				bytes[i] = pixels[3 * at + i];
		}
#pragma unroll
		for (int c = 0; c < 3; c++) {
			float v[n];
#pragma unroll
			for (int i = 0; i < n; i++)
				v[i] = of[256 * c + bytes[3 * i + c]];
			gn_store(images + (picture * 3 + c) * area + place, v);
		}
	}
}

void gn_cuda_upload_pixels(struct gn_ctx *ctx, float *images, const uint8_t *pixels, const float *levels, int n, int S)
{
	size_t area = (size_t)S * (size_t)S, all = (size_t)n * area, most = GN_PIECE_BYTES / 3 / 4 * 4;
	struct levels table;

	memcpy(table.of, levels, sizeof table.of);
	for (size_t from = 0; from < all; from += most) {
		size_t count = all - from < most ? all - from : most, most_blocks = (size_t)ctx->sms * 8;
		struct piece *piece = take_piece(ctx, count * 3);
		const unsigned char *there;

		if (!piece)
			return;
		there = (const unsigned char *)piece->device;
		memcpy(piece->pinned, pixels + from * 3, count * 3);
		land_piece(ctx, piece, count * 3);
		if (area % 4 == 0 && gn_aligned16(images))
			GN_RUN(ctx, levels_kernel<4>, gn_blocks(count, 256 * 4, most_blocks), 256, 0, images, there,
			       table, from, count, area);
		else
			GN_RUN(ctx, levels_kernel<1>, gn_blocks(count, 256, most_blocks), 256, 0, images, there, table,
			       from, count, area);
		GN_CUDA(ctx, cudaEventRecord(piece->taken, ctx->stream));
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
