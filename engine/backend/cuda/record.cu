/*
 * Recorded work: a step's launches as a CUDA graph, so that a step of some hundred small kernels
 * costs the host one call.
 *
 * The first time a key is met its work runs plainly: cuBLASLt chooses its algorithms and modules
 * are loaded, neither of which belongs into a capture. The second time it is captured, instantiated
 * and launched; from then on it is launched. Keys are few (a run has one or two sizes of batch), so
 * a table of fixed size does; when it is full all records are made anew.
 */
#include "backend/cuda/cuda.h"

#include <stdlib.h>

#define RECORDS 16

struct record {
	uint64_t key;
	cudaGraphExec_t graph; /* NULL: met once */
};

struct gn_cuda_records {
	struct record records[RECORDS];
	int count;
	struct record *capturing;
};

int gn_cuda_records_open(struct gn_ctx *ctx, struct gn_error *err)
{
	ctx->records = (struct gn_cuda_records *)calloc(1, sizeof *ctx->records);
	return ctx->records ? 0 : gn_fail(err, GN_NO_MEMORY, "", "no memory for a device context");
}

void gn_cuda_record_forget(struct gn_ctx *ctx)
{
	struct gn_cuda_records *r = ctx->records;

	gn_assert(!r->capturing);
	for (int i = 0; i < r->count; i++)
		if (r->records[i].graph)
			GN_CUDA(ctx, cudaGraphExecDestroy(r->records[i].graph));
	*r = {};
}

void gn_cuda_records_close(struct gn_ctx *ctx)
{
	if (!ctx->records)
		return;
	gn_cuda_record_forget(ctx);
	free(ctx->records);
	ctx->records = NULL;
}

bool gn_cuda_record_begin(struct gn_ctx *ctx, uint64_t key)
{
	struct gn_cuda_records *r = ctx->records;
	int i = 0;

	if (ctx->error.code != GN_OK)
		return false;
	if (ctx->synchronous || ctx->marks) /* a record waits nowhere inside, and its kernels belong to no phase */
		return true;
	while (i < r->count && r->records[i].key != key)
		i++;
	if (i == r->count) {
		if (r->count == RECORDS)
			gn_cuda_record_forget(ctx);
		r->records[r->count++] = {key, NULL};
		return true;
	}
	if (r->records[i].graph) {
		GN_CUDA(ctx, cudaGraphLaunch(r->records[i].graph, ctx->stream));
		return false;
	}
	if (!GN_CUDA(ctx, cudaStreamBeginCapture(ctx->stream, cudaStreamCaptureModeThreadLocal)))
		return false;
	r->capturing = &r->records[i];
	return true;
}

void gn_cuda_record_end(struct gn_ctx *ctx)
{
	struct gn_cuda_records *r = ctx->records;
	struct record *record = r->capturing;
	cudaGraph_t graph = NULL;

	if (!record)
		return;
	r->capturing = NULL;
	if (!GN_CUDA(ctx, cudaStreamEndCapture(ctx->stream, &graph)))
		return;
	if (GN_CUDA(ctx, cudaGraphInstantiate(&record->graph, graph, 0)))
		GN_CUDA(ctx, cudaGraphLaunch(record->graph, ctx->stream));
	GN_CUDA(ctx, cudaGraphDestroy(graph));
}
