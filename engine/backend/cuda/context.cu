/*
 * The CUDA backend's tables, one per precision, and its context: one device, one stream of work,
 * one block of scratch memory.
 *
 * Opening looks for everything that would make work fail later: no driver or one too old for this
 * runtime, no such device, a capability below 7.5, too little memory for the scratch block.
 */
#include "backend/cuda/cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPABILITY_LEAST 75
#define WIDEST_HEAD      128            /* attention.cu */
/*
 * What the driver keeps for a context, our code and cuBLASLt's: about 520 MiB for a context of CUDA
 * 13 on Hopper, more on larger GPUs, and modules that come with their first use. An upper bound,
 * because jobs are started by it; `gonio bench` shows beside it what was taken.
 */
#define DRIVER_BYTES (640 * GN_MIB)

/* By slot. 32 MiB is what NVIDIA advises for cuBLASLt on Hopper. */
static constexpr size_t scratch_sizes[GN_SCRATCH_COUNT] = {32 * GN_MIB, 16 * GN_MIB, 16 * GN_MIB, 16 * GN_MIB,
                                                           4 * GN_MIB,  8 * GN_MIB,  16 * GN_MIB, 16 * GN_MIB};

#define SCRATCH_GAP ((size_t)256) /* between two slots: nobody's, so that the host runner sees who runs over */

static constexpr size_t scratch_total(void)
{
	size_t total = 0;
	for (size_t bytes : scratch_sizes)
		total += bytes + SCRATCH_GAP;
	return total;
}

/* ---------------------------------------------------------------- failures --------------------------------------- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

bool gn_cuda_note(struct gn_ctx *ctx, cudaError_t status, const char *call, const char *file, int line)
{
	if (status == cudaSuccess && ctx->synchronous)
		status = cudaStreamSynchronize(ctx->stream);
	if (status == cudaSuccess)
		return true;
	gn_fail(&ctx->error, status == cudaErrorMemoryAllocation ? GN_NO_MEMORY : GN_DEVICE, "device",
	        "%s at %s:%d: %s (%s), on %s", call, base_name(file), line, cudaGetErrorString(status),
	        cudaGetErrorName(status), ctx->name);
	return false;
}

bool gn_cuda_note_product(struct gn_ctx *ctx, cublasStatus_t status, const char *call, const char *file, int line)
{
	if (status == CUBLAS_STATUS_SUCCESS)
		return !ctx->synchronous || gn_cuda_note(ctx, cudaSuccess, call, file, line);
	gn_fail(&ctx->error, status == CUBLAS_STATUS_ALLOC_FAILED ? GN_NO_MEMORY : GN_DEVICE, "device",
	        "%s at %s:%d: cuBLASLt status %d, on %s", call, base_name(file), line, (int)status, ctx->name);
	return false;
}

int gn_cuda_report(const struct gn_ctx *ctx, struct gn_error *err)
{
	if (ctx->error.code == GN_OK)
		return 0;
	return gn_fail(err, ctx->error.code, ctx->error.where, "%s", ctx->error.text);
}

/* ---------------------------------------------------------------- opening ---------------------------------------- */

/* The device's number of this process, or why there is none. */
static int find_device(int index, struct gn_error *err)
{
	int count = 0, driver = 0, runtime = 0;
	cudaError_t status = cudaGetDeviceCount(&count);

	cudaDriverGetVersion(&driver);
	cudaRuntimeGetVersion(&runtime);
	if (status == cudaErrorInsufficientDriver && driver == 0)
		return gn_fail(err, GN_UNSUPPORTED, "device", "there is no NVIDIA driver");
	if (status == cudaErrorInsufficientDriver)
		return gn_fail(err, GN_UNSUPPORTED, "device",
		               "the NVIDIA driver is for CUDA %d.%d, this build needs %d.%d", driver / 1000,
		               driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
	if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0))
		return gn_fail(err, GN_UNSUPPORTED, "device", "there is no NVIDIA GPU");
	if (status != cudaSuccess)
		return gn_fail(err, GN_DEVICE, "device", "looking for GPUs: %s (%s)", cudaGetErrorString(status),
		               cudaGetErrorName(status));
	if (index < 0 || index >= count)
		return gn_fail(err, GN_INVALID, "device", "there is no GPU %d: the machine has %d", index, count);
	return 0;
}

static int read_properties(struct gn_ctx *ctx, struct gn_error *err)
{
	cudaDeviceProp properties;
	int driver = 0, runtime = 0;

	cudaDriverGetVersion(&driver);
	cudaRuntimeGetVersion(&runtime);
	if (!GN_CUDA(ctx, cudaGetDeviceProperties(&properties, ctx->index)))
		return gn_cuda_report(ctx, err);
	snprintf(ctx->name, sizeof ctx->name, "%.80s", properties.name);
	ctx->sm = properties.major * 10 + properties.minor;
	ctx->sms = properties.multiProcessorCount;
	ctx->memory_bytes = properties.totalGlobalMem;
	snprintf(ctx->software, sizeof ctx->software, "compute capability %d.%d, driver %d.%d, runtime %d.%d",
	         properties.major, properties.minor, driver / 1000, driver % 1000 / 10, runtime / 1000,
	         runtime % 1000 / 10);
	if (ctx->sm < CAPABILITY_LEAST)
		return gn_fail(err, GN_UNSUPPORTED, "device", "%s has compute capability %d.%d: 7.5 or later is needed",
		               ctx->name, properties.major, properties.minor);
	return 0;
}

int gn_cuda_malloc(struct gn_ctx *ctx, void **out, size_t bytes, struct gn_error *err)
{
	size_t available = 0, total = 0;
	cudaError_t status = cudaMalloc(out, bytes);

	if (status == cudaErrorMemoryAllocation) {
		cudaGetLastError(); /* not sticky: other work goes on */
		cudaMemGetInfo(&available, &total);
		return gn_fail(err, GN_NO_MEMORY, "device", "needs %zu bytes, %zu free on %s", bytes, available,
		               ctx->name);
	}
	return GN_CUDA(ctx, status) ? 0 : gn_cuda_report(ctx, err);
}

static void *alloc_cuda(struct gn_ctx *ctx, size_t bytes, struct gn_error *err)
{
	void *memory = NULL;

	if (gn_cuda_malloc(ctx, &memory, bytes ? bytes : 1, err))
		return NULL;
	if (!GN_CUDA(ctx, cudaMemsetAsync(memory, 0, bytes ? bytes : 1, ctx->stream))) {
		gn_cuda_report(ctx, err);
		cudaFree(memory);
		return NULL;
	}
	return memory;
}

static int open_scratch(struct gn_ctx *ctx, struct gn_error *err)
{
	size_t at = 0;

	if (gn_cuda_malloc(ctx, (void **)&ctx->scratch_block, scratch_total(), err))
		return -1;
	for (int i = 0; i < GN_SCRATCH_COUNT; i++) {
		ctx->scratch[i] = ctx->scratch_block + at;
		ctx->scratch_bytes[i] = scratch_sizes[i];
		GN_MEMORY_CLOSE(ctx->scratch_block + at + scratch_sizes[i], SCRATCH_GAP);
		at += scratch_sizes[i] + SCRATCH_GAP;
	}
	return 0;
}

static int open_stream(struct gn_ctx *ctx, struct gn_error *err)
{
	if (!GN_CUDA(ctx, cudaStreamCreateWithFlags(&ctx->stream, cudaStreamNonBlocking)) ||
	    !GN_CUDA(ctx, cudaEventCreate(&ctx->clock[0])) || !GN_CUDA(ctx, cudaEventCreate(&ctx->clock[1])))
		return gn_cuda_report(ctx, err);
	return 0;
}

static __global__ void code_for_this_gpu(int)
{
}

/* A build for other architectures shows here, not in the middle of a run. */
static int try_launch(struct gn_ctx *ctx, struct gn_error *err)
{
	GN_RUN(ctx, code_for_this_gpu, 1, 32, 0, 0);
	return gn_cuda_report(ctx, err);
}

static void close_cuda(struct gn_ctx *ctx)
{
	if (!ctx)
		return;
	cudaSetDevice(ctx->index);
	if (ctx->stream)
		cudaStreamSynchronize(ctx->stream);
	gn_cuda_account_close(&ctx->account);
	gn_cuda_records_close(ctx);
	gn_cuda_products_close(ctx);
	gn_cuda_downloads_close(ctx);
	gn_cuda_transfer_close(ctx);
	cudaFree(ctx->scratch_block);
	for (int i = 0; i < 2; i++)
		if (ctx->clock[i])
			cudaEventDestroy(ctx->clock[i]);
	if (ctx->stream)
		cudaStreamDestroy(ctx->stream);
	free(ctx);
}

static bool wants(const char *variable)
{
	const char *value = getenv(variable);

	return value && !strcmp(value, "1");
}

static int open_cuda(struct gn_ctx **out, const struct gn_backend *backend, int index, struct gn_error *err)
{
	struct gn_ctx *ctx;

	if (find_device(index, err))
		return -1;
	ctx = (struct gn_ctx *)calloc(1, sizeof *ctx);
	if (!ctx)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for a device context");
	ctx->base.backend = backend;
	ctx->index = index;
	ctx->precision = backend->precision;
	snprintf(ctx->name, sizeof ctx->name, "GPU %d", index);
	gn_cuda_account_open(&ctx->account, index);
	if (!GN_CUDA(ctx, cudaSetDevice(index)) || read_properties(ctx, &ctx->error) || open_stream(ctx, &ctx->error) ||
	    gn_cuda_account_begin(ctx, &ctx->error) || try_launch(ctx, &ctx->error) ||
	    open_scratch(ctx, &ctx->error) || gn_cuda_transfer_open(ctx, &ctx->error) ||
	    gn_cuda_products_open(ctx, &ctx->error) || gn_cuda_records_open(ctx, &ctx->error)) {
		gn_cuda_report(ctx, err);
		close_cuda(ctx);
		return -1;
	}
	ctx->synchronous = wants("GONIO_CUDA_SYNC");
	ctx->marks = wants("GONIO_CUDA_NVTX");
	*out = ctx;
	return 0;
}

/* ---------------------------------------------------------------- the rest of the life cycle --------------------- */

static void describe_cuda(const struct gn_ctx *ctx, struct gn_device_info *info)
{
	size_t available = 0, total = 0;

	memset(info, 0, sizeof *info);
	info->backend = ctx->base.backend->name;
	info->precision = ctx->precision;
	snprintf(info->name, sizeof info->name, "%s", ctx->name);
	snprintf(info->software, sizeof info->software, "%s", ctx->software);
	if (cudaSetDevice(ctx->index) == cudaSuccess && cudaMemGetInfo(&available, &total) == cudaSuccess)
		info->memory_free = available;
	info->memory_bytes = ctx->memory_bytes;
	info->memory_taken = gn_cuda_account_taken(&ctx->account);
}

static void enter_cuda(struct gn_ctx *ctx)
{
	GN_CUDA(ctx, cudaSetDevice(ctx->index));
}

static void free_cuda(struct gn_ctx *ctx, void *device, size_t bytes)
{
	(void)bytes;
	GN_CUDA(ctx, cudaStreamSynchronize(ctx->stream)); /* what is queued may still use it */
	GN_CUDA(ctx, cudaFree(device));
}

static void zero_cuda(struct gn_ctx *ctx, void *device, size_t bytes)
{
	if (bytes)
		GN_CUDA(ctx, cudaMemsetAsync(device, 0, bytes, ctx->stream));
}

static void copy_cuda(struct gn_ctx *ctx, void *to, const void *from, size_t bytes)
{
	if (bytes)
		GN_CUDA(ctx, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, ctx->stream));
}

/* Tells the host runner; nothing on a GPU. */
static void piece_cuda(struct gn_ctx *ctx, void *memory, size_t bytes, bool fresh)
{
	size_t whole = (bytes + 127) & ~(size_t)127;

	(void)ctx;
	if (fresh)
		GN_MEMORY_CARVE(memory, bytes);
	GN_MEMORY_CLOSE((char *)memory + bytes, whole - bytes + GN_MEMORY_GUARD);
}

static int sync_cuda(struct gn_ctx *ctx, struct gn_error *err)
{
	GN_CUDA(ctx, cudaStreamSynchronize(ctx->stream));
	int failed = gn_cuda_report(ctx, err);
	if (ctx->error.code == GN_NO_MEMORY) /* that is the run's failure; any other is the device's, and stays */
		memset(&ctx->error, 0, sizeof ctx->error);
	return failed;
}

static void clock_start_cuda(struct gn_ctx *ctx)
{
	GN_CUDA(ctx, cudaEventRecord(ctx->clock[0], ctx->stream));
}

static double clock_stop_cuda(struct gn_ctx *ctx)
{
	float milliseconds = 0;

	if (GN_CUDA(ctx, cudaEventRecord(ctx->clock[1], ctx->stream)) &&
	    GN_CUDA(ctx, cudaEventSynchronize(ctx->clock[1])))
		GN_CUDA(ctx, cudaEventElapsedTime(&milliseconds, ctx->clock[0], ctx->clock[1]));
	return 1e-3 * (double)milliseconds;
}

/* ---------------------------------------------------------------- tables ----------------------------------------- */

static int open_fp32(struct gn_ctx **out, int index, int threads, struct gn_error *err);
static int open_tf32(struct gn_ctx **out, int index, int threads, struct gn_error *err);
static int open_bf16(struct gn_ctx **out, int index, int threads, struct gn_error *err);

template <typename act>
static constexpr struct gn_backend table(enum gn_precision precision,
                                         int (*open)(struct gn_ctx **, int, int, struct gn_error *))
{
	return {
	    .name = "cuda",
	    .precision = precision,
	    .act_bytes = sizeof(act),
	    .mat_bytes = sizeof(act),
	    .overhead_bytes = scratch_total() + GN_TRANSFER_BYTES + DRIVER_BYTES,
	    .guard = GN_MEMORY_GUARD,
	    .unified = false,
	    .widest_head = WIDEST_HEAD,
	    .asynchronous = true,
	    .attention_needs_out = true,
	    .attention_needs_lse = true,
	    .open = open,
	    .close = close_cuda,
	    .enter = enter_cuda,
	    .describe = describe_cuda,
	    .alloc = alloc_cuda,
	    .free = free_cuda,
	    .upload = gn_cuda_upload,
	    .upload_rows = gn_cuda_upload_rows,
	    .upload_pixels = gn_cuda_upload_pixels,
	    .upload_mat = gn_cuda_upload_mat,
	    .download = gn_cuda_download,
	    .download_begin = gn_cuda_download_begin,
	    .download_end = gn_cuda_download_end,
	    .zero = zero_cuda,
	    .copy = copy_cuda,
	    .cast_mat = gn_cuda_cast_mat,
	    .piece = GN_MEMORY_GUARD ? piece_cuda : NULL,
	    .sync = sync_cuda,
	    .fetch = gn_cuda_fetch,
	    .fetched = gn_cuda_fetched,
	    .record_begin = gn_cuda_record_begin,
	    .record_end = gn_cuda_record_end,
	    .record_forget = gn_cuda_record_forget,
	    .mark = gn_cuda_mark,
	    .clock_start = clock_start_cuda,
	    .clock_stop = clock_stop_cuda,
	    .linear = gn_cuda_linear<act>,
	    .linear_dx = gn_cuda_linear_dx<act>,
	    .linear_dw = gn_cuda_linear_dw<act>,
	    .attention = gn_cuda_attention<act>,
	    .attention_backward = gn_cuda_attention_backward<act>,
	    .layernorm = gn_cuda_layernorm<act>,
	    .layernorm_backward = gn_cuda_layernorm_backward<act>,
	    .scale_backward = gn_cuda_scale_backward<act>,
	    .embed = gn_cuda_embed<act>,
	    .embed_backward = gn_cuda_embed_backward<act>,
	    .pool = gn_cuda_pool<act>,
	    .pool_backward = gn_cuda_pool_backward<act>,
	    .take = gn_cuda_take<act>,
	    .take_backward = gn_cuda_take_backward<act>,
	    .cross_entropy = gn_cuda_cross_entropy<act>,
	    .opt_list_new = gn_cuda_opt_list_new,
	    .opt_list_free = gn_cuda_opt_list_free,
	    .grad_norm = gn_cuda_grad_norm,
	    .adamw = gn_cuda_adamw,
	    .sgd = gn_cuda_sgd,
	    .pair_sums = gn_cuda_pair_sums,
	    .soup_add = gn_cuda_soup_add,
	    .soup_mean = gn_cuda_soup_mean,
	};
}

static const struct gn_backend backend_fp32 = table<float>(GN_PRECISION_FP32, open_fp32),
                               backend_tf32 = table<float>(GN_PRECISION_TF32, open_tf32),
                               backend_bf16 = table<__nv_bfloat16>(GN_PRECISION_BF16, open_bf16);

static int open_fp32(struct gn_ctx **out, int index, int threads, struct gn_error *err)
{
	(void)threads;
	return open_cuda(out, &backend_fp32, index, err);
}

static int open_tf32(struct gn_ctx **out, int index, int threads, struct gn_error *err)
{
	(void)threads;
	return open_cuda(out, &backend_tf32, index, err);
}

static int open_bf16(struct gn_ctx **out, int index, int threads, struct gn_error *err)
{
	(void)threads;
	return open_cuda(out, &backend_bf16, index, err);
}

extern "C" __attribute__((visibility("default"))) const struct gn_backend *gn_cuda_backend(int abi,
                                                                                           enum gn_precision precision)
{
	if (abi != GN_BACKEND_ABI)
		return NULL;
	switch (precision) {
	case GN_PRECISION_FP32:
		return &backend_fp32;
	case GN_PRECISION_TF32:
		return &backend_tf32;
	case GN_PRECISION_BF16:
		return &backend_bf16;
	default:
		return NULL;
	}
}
