/*
 * Downloads that run beside later work. The bytes are first copied aside in device memory, behind
 * the work that made them, so that later work may write where they were; then they travel on a
 * stream of their own, through two pinned pieces in turn: while one is filled, the other goes to
 * the caller's memory.
 *
 * Order: the stream of downloads waits for `aside`; `arrived` of a piece is waited for before it is
 * read. A piece is filled again only after the host has read it.
 */
#include "backend/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES (8 * GN_MIB)

struct gn_cuda_downloads {
	cudaStream_t stream;
	cudaEvent_t aside, arrived[2];
	char *pinned; /* [2][PIECE_BYTES] */
	/* the one that has begun */
	char *host;
	const char *device;
	size_t bytes;
};

/* Made at the first download of this kind: most contexts never see one. */
static bool make(struct gn_ctx *ctx)
{
	struct gn_cuda_downloads *d = ctx->downloads;

	if (d && d->pinned)
		return true;
	if (!d)
		d = ctx->downloads = (struct gn_cuda_downloads *)calloc(1, sizeof *d);
	if (!d) {
		gn_fail(&ctx->error, GN_NO_MEMORY, "", "no memory for downloads");
		return false;
	}
	return (d->stream || GN_CUDA(ctx, cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking))) &&
	       (d->aside || GN_CUDA(ctx, cudaEventCreateWithFlags(&d->aside, cudaEventDisableTiming))) &&
	       (d->arrived[0] || GN_CUDA(ctx, cudaEventCreateWithFlags(&d->arrived[0], cudaEventDisableTiming))) &&
	       (d->arrived[1] || GN_CUDA(ctx, cudaEventCreateWithFlags(&d->arrived[1], cudaEventDisableTiming))) &&
	       GN_CUDA(ctx, cudaMallocHost((void **)&d->pinned, 2 * PIECE_BYTES));
}

void gn_cuda_downloads_close(struct gn_ctx *ctx)
{
	struct gn_cuda_downloads *d = ctx->downloads;

	if (!d)
		return;
	if (d->stream)
		cudaStreamSynchronize(d->stream);
	for (int i = 0; i < 2; i++)
		if (d->arrived[i])
			cudaEventDestroy(d->arrived[i]);
	if (d->aside)
		cudaEventDestroy(d->aside);
	cudaFreeHost(d->pinned);
	if (d->stream)
		cudaStreamDestroy(d->stream);
	free(d);
	ctx->downloads = NULL;
}

void gn_cuda_download_begin(struct gn_ctx *ctx, void *host, void *spare, const void *device, size_t bytes)
{
	if (!make(ctx))
		return;
	gn_assert(!ctx->downloads->bytes);
	if (!GN_CUDA(ctx, cudaMemcpyAsync(spare, device, bytes, cudaMemcpyDeviceToDevice, ctx->stream)) ||
	    !GN_CUDA(ctx, cudaEventRecord(ctx->downloads->aside, ctx->stream)))
		return;
	ctx->downloads->host = (char *)host;
	ctx->downloads->device = (const char *)spare;
	ctx->downloads->bytes = bytes;
}

/* Piece number i of the download, on its way. */
static bool send_piece(struct gn_ctx *ctx, size_t i)
{
	struct gn_cuda_downloads *d = ctx->downloads;
	size_t at = i * PIECE_BYTES, n = d->bytes - at < PIECE_BYTES ? d->bytes - at : PIECE_BYTES;

	return GN_CUDA(ctx, cudaMemcpyAsync(d->pinned + i % 2 * PIECE_BYTES, d->device + at, n, cudaMemcpyDeviceToHost,
	                                    d->stream)) &&
	       GN_CUDA(ctx, cudaEventRecord(d->arrived[i % 2], d->stream));
}

static void receive(struct gn_ctx *ctx)
{
	struct gn_cuda_downloads *d = ctx->downloads;
	size_t pieces = (d->bytes + PIECE_BYTES - 1) / PIECE_BYTES;

	if (!GN_CUDA(ctx, cudaStreamWaitEvent(d->stream, d->aside, 0)) || !send_piece(ctx, 0))
		return;
	for (size_t i = 0; i < pieces; i++) {
		size_t at = i * PIECE_BYTES, n = d->bytes - at < PIECE_BYTES ? d->bytes - at : PIECE_BYTES;

		if ((i + 1 < pieces && !send_piece(ctx, i + 1)) ||
		    !GN_CUDA(ctx, cudaEventSynchronize(d->arrived[i % 2])))
			return;
		memcpy(d->host + at, d->pinned + i % 2 * PIECE_BYTES, n);
	}
}

int gn_cuda_download_end(struct gn_ctx *ctx, struct gn_error *err)
{
	if (ctx->downloads && ctx->downloads->bytes) {
		if (ctx->error.code == GN_OK)
			receive(ctx);
		ctx->downloads->bytes = 0;
	}
	return gn_cuda_report(ctx, err);
}
