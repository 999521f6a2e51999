/*
 * Phases of a step, named for NVIDIA's profilers, where GONIO_CUDA_NVTX=1. NVTX is the toolkit's
 * headers alone: they look for a profiler when the first range begins, and do nothing without one.
 */
#include "backend/cuda/cuda.h"

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>

void gn_cuda_mark(struct gn_ctx *ctx, const char *name)
{
	if (!ctx->marks)
		return;
	if (name)
		nvtxRangePushA(name);
	else
		nvtxRangePop();
}
#else
void gn_cuda_mark(struct gn_ctx *ctx, const char *name)
{
	(void)ctx, (void)name;
}
#endif
