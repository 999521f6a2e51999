/*
 * The CPU backend's table, its context and its memory.
 *
 * Large blocks come from mmap with transparent huge pages. The kernel clears a page when it is
 * first used, so that unused memory costs nothing. Device pointers are host pointers.
 */
#include <errno.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "backend/cpu/cpu.h"

#define ALIGNMENT   128
#define MAP_MINIMUM ((size_t)1 << 20) /* blocks from this size on have their own mapping */
#define PARALLEL    ((size_t)1 << 20) /* from this size on, threads share copies and clearing */
#define MAX_THREADS 256

static const struct gn_kernels *choose_kernels(void)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
		return &gn_kernels_avx512;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return &gn_kernels_avx2;
#endif
	return &gn_kernels_plain;
}

static int open_cpu(struct gn_ctx **out, int index, int threads, struct gn_error *err)
{
	(void)index;
	if (threads < 0 || threads > MAX_THREADS)
		return gn_fail(err, GN_INVALID, "threads", "the number of threads must be 0 to %d", MAX_THREADS);
	struct gn_ctx *ctx = calloc(1, sizeof *ctx);
	if (!ctx)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for a device context");
	int present = omp_get_num_procs();
	ctx->base.backend = &gn_backend_cpu;
	ctx->threads = threads ? threads : present > MAX_THREADS ? MAX_THREADS : present;
	ctx->kernels = choose_kernels();
	*out = ctx;
	return 0;
}

/* Zeroed memory, 128-byte aligned; NULL if memory is out. */
static void *take_memory(size_t bytes)
{
	void *p;
	if (bytes >= MAP_MINIMUM) {
		p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			return NULL;
		madvise(p, bytes, MADV_HUGEPAGE);
		return p;
	}
	if (posix_memalign(&p, ALIGNMENT, bytes ? bytes : 1))
		return NULL;
	return memset(p, 0, bytes);
}

static void give_memory(void *p, size_t bytes)
{
	if (p && bytes >= MAP_MINIMUM)
		munmap(p, bytes);
	else
		free(p);
}

static void close_cpu(struct gn_ctx *ctx)
{
	if (!ctx)
		return;
	for (int i = 0; i < GN_SLOT_COUNT; i++)
		give_memory(ctx->work[i].memory, ctx->work[i].floats * sizeof(float));
	free(ctx);
}

float *gn_cpu_work(struct gn_ctx *ctx, enum gn_slot slot, size_t floats)
{
	if (floats > ctx->work[slot].floats) {
		give_memory(ctx->work[slot].memory, ctx->work[slot].floats * sizeof(float));
		ctx->work[slot].floats = 0;
		ctx->work[slot].memory =
		    floats <= SIZE_MAX / sizeof(float) ? take_memory(floats * sizeof(float)) : NULL;
		if (!ctx->work[slot].memory) {
			gn_fail(&ctx->error, GN_NO_MEMORY, "", "no memory for a work space of %zu floats", floats);
			return NULL;
		}
		ctx->work[slot].floats = floats;
	}
	return ctx->work[slot].memory;
}

static void enter_cpu(struct gn_ctx *ctx)
{
	(void)ctx;
}

static void describe_cpu(const struct gn_ctx *ctx, struct gn_device_info *info)
{
	struct sysinfo s;
	memset(info, 0, sizeof *info);
	info->backend = gn_backend_cpu.name;
	snprintf(info->name, sizeof info->name, "CPU, %s", ctx->kernels->name);
	if (sysinfo(&s) == 0)
		info->memory_bytes = (uint64_t)s.totalram * s.mem_unit;
	info->threads = ctx->threads;
	info->precision = GN_PRECISION_FP32;
}

static void *alloc_cpu(struct gn_ctx *ctx, size_t bytes, struct gn_error *err)
{
	(void)ctx;
	void *p = take_memory(bytes);
	if (!p)
		gn_fail(err, GN_NO_MEMORY, "", "no memory for a block of %zu bytes", bytes);
	return p;
}

static void free_cpu(struct gn_ctx *ctx, void *device, size_t bytes)
{
	(void)ctx;
	give_memory(device, bytes);
}

static void copy_cpu(struct gn_ctx *ctx, void *to, const void *from, size_t bytes)
{
	if (bytes < PARALLEL) {
		memcpy(to, from, bytes);
		return;
	}
#pragma omp parallel num_threads(ctx->threads)
	{
		ptrdiff_t first, last;
		gn_share((ptrdiff_t)(bytes / 64), omp_get_thread_num(), omp_get_num_threads(), &first, &last);
		memcpy((char *)to + first * 64, (const char *)from + first * 64, (size_t)(last - first) * 64);
	}
	memcpy((char *)to + bytes / 64 * 64, (const char *)from + bytes / 64 * 64, bytes % 64);
}

static void zero_cpu(struct gn_ctx *ctx, void *device, size_t bytes)
{
	if (bytes < PARALLEL) {
		memset(device, 0, bytes);
		return;
	}
#pragma omp parallel num_threads(ctx->threads)
	{
		ptrdiff_t first, last;
		gn_share((ptrdiff_t)(bytes / 64), omp_get_thread_num(), omp_get_num_threads(), &first, &last);
		memset((char *)device + first * 64, 0, (size_t)(last - first) * 64);
	}
	memset((char *)device + bytes / 64 * 64, 0, bytes % 64);
}

static void upload_rows_cpu(struct gn_ctx *ctx, void *device, const void *rows, size_t row_bytes,
                            const int32_t *indices, int n)
{
	for (ptrdiff_t i = 0; i < n; i++)
		copy_cpu(ctx, (char *)device + (size_t)i * row_bytes,
		         (const char *)rows + (size_t)indices[i] * row_bytes, row_bytes);
}

static void upload_pixels_cpu(struct gn_ctx *ctx, float *images, const uint8_t *pixels, const float *levels, int n,
                              int S)
{
	ptrdiff_t area = (ptrdiff_t)S * S;

#pragma omp parallel for num_threads(ctx->threads) schedule(static)
	for (ptrdiff_t row = 0; row < (ptrdiff_t)n * S; row++) {
		const uint8_t *from = pixels + row * S * 3;
		float *to = images + row / S * 3 * area + row % S * S;

		for (ptrdiff_t x = 0; x < S; x++)
			for (ptrdiff_t c = 0; c < 3; c++)
				to[c * area + x] = levels[c * 256 + from[3 * x + c]];
	}
}

static void cast_mat_cpu(struct gn_ctx *ctx, gn_mat *out, const float *in, size_t n)
{
	copy_cpu(ctx, out, in, n * sizeof(float));
}

static void fetch_cpu(struct gn_ctx *ctx, int slot, const void *device, size_t bytes)
{
	memcpy(ctx->fetched[slot], device, bytes);
}

static int sync_cpu(struct gn_ctx *ctx, struct gn_error *err)
{
	if (ctx->error.code == GN_OK)
		return 0;
	gn_fail(err, ctx->error.code, ctx->error.where, "%s", ctx->error.text);
	memset(&ctx->error, 0, sizeof ctx->error);
	return -1;
}

static int fetched_cpu(struct gn_ctx *ctx, int slot, void *host, size_t bytes, struct gn_error *err)
{
	memcpy(host, ctx->fetched[slot], bytes);
	return sync_cpu(ctx, err);
}

/* Work is done when it is queued: there is nothing to run beside. */
static void download_begin_cpu(struct gn_ctx *ctx, void *host, void *spare, const void *device, size_t bytes)
{
	(void)spare;
	copy_cpu(ctx, host, device, bytes);
}

/* A CPU gains nothing from a record. */
static bool record_begin_cpu(struct gn_ctx *ctx, uint64_t key)
{
	(void)ctx;
	(void)key;
	return true;
}

static void record_end_cpu(struct gn_ctx *ctx)
{
	(void)ctx;
}

static void clock_start_cpu(struct gn_ctx *ctx)
{
	ctx->clock = gn_clock();
}

static double clock_stop_cpu(struct gn_ctx *ctx)
{
	return gn_clock() - ctx->clock;
}

const struct gn_backend gn_backend_cpu = {
    .name = "cpu",
    .precision = GN_PRECISION_FP32,
    .act_bytes = sizeof(float),
    .mat_bytes = sizeof(float),
    .unified = true,
    .asynchronous = false,
    .attention_needs_out = false,
    .attention_needs_lse = false,
    .open = open_cpu,
    .close = close_cpu,
    .enter = enter_cpu,
    .describe = describe_cpu,
    .alloc = alloc_cpu,
    .free = free_cpu,
    .upload = copy_cpu,
    .upload_rows = upload_rows_cpu,
    .upload_pixels = upload_pixels_cpu,
    .upload_mat = cast_mat_cpu,
    .download = copy_cpu,
    .download_begin = download_begin_cpu,
    .download_end = sync_cpu,
    .zero = zero_cpu,
    .copy = copy_cpu,
    .cast_mat = cast_mat_cpu,
    .sync = sync_cpu,
    .fetch = fetch_cpu,
    .fetched = fetched_cpu,
    .record_begin = record_begin_cpu,
    .record_end = record_end_cpu,
    .record_forget = record_end_cpu,
    .clock_start = clock_start_cpu,
    .clock_stop = clock_stop_cpu,
    .linear = gn_cpu_linear,
    .linear_dx = gn_cpu_linear_dx,
    .linear_dw = gn_cpu_linear_dw,
    .attention = gn_cpu_attention,
    .attention_backward = gn_cpu_attention_backward,
    .layernorm = gn_cpu_layernorm,
    .layernorm_backward = gn_cpu_layernorm_backward,
    .scale_backward = gn_cpu_scale_backward,
    .embed = gn_cpu_embed,
    .embed_backward = gn_cpu_embed_backward,
    .pool = gn_cpu_pool,
    .pool_backward = gn_cpu_pool_backward,
    .take = gn_cpu_take,
    .take_backward = gn_cpu_take_backward,
    .cross_entropy = gn_cpu_cross_entropy,
    .opt_list_new = gn_cpu_opt_list_new,
    .opt_list_free = gn_cpu_opt_list_free,
    .grad_norm = gn_cpu_grad_norm,
    .adamw = gn_cpu_adamw,
    .sgd = gn_cpu_sgd,
    .pair_sums = gn_cpu_pair_sums,
    .soup_add = gn_cpu_soup_add,
    .soup_mean = gn_cpu_soup_mean,
};
