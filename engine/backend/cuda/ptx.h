/*
 * The PTX instructions that the kernels use beyond what CUDA C++ offers, one small function each.
 * This is the only file with inline assembly: where nvcc does not compile (tests/cuda_host),
 * host/ptx.h gives the same names, written from the PTX ISA's tables.
 *
 * A 32-bit register holds a pair of bfloat16, the lower column (or, of B, the lower row) in the
 * lower half. With g = lane / 4 and t = lane % 4, the fragments of mma.m16n8k16 are (PTX ISA,
 * "Matrix Fragments for mma.m16n8k16 with floating point type"):
 *   A [16, 16]  a[0]: row g, columns 2t, 2t+1; a[1]: row g+8;
 *               a[2]: row g, columns 2t+8, 2t+9; a[3]: row g+8, columns 2t+8, 2t+9
 *   B [16, 8]   b0: rows 2t, 2t+1 of column g; b1: rows 2t+8, 2t+9 of column g
 *   C [16, 8]   c[0], c[1]: row g, columns 2t, 2t+1; c[2], c[3]: row g+8
 *
 * mma on bfloat16 and cp.async came with sm_80. Code for older architectures must not call them: it
 * stops the kernel with an error.
 */
#ifndef GN_CUDA_PTX_H
#define GN_CUDA_PTX_H

#include <stdint.h>

/*
 * False where device code is compiled for less: a kernel then leaves out what needs it, shared
 * memory too.
 */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define GN_HAS_SM80 1
#else
#define GN_HAS_SM80 0
#endif

#ifndef __NVCC__
#include <host/ptx.h>
#else

#if GN_HAS_SM80
#define GN_SM80(...) asm volatile(__VA_ARGS__)
#else
#define GN_SM80(...) __trap()
#endif

/* An address in shared memory as instructions want it. */
__device__ static inline uint32_t gn_shared_address(const void *shared)
{
	return (uint32_t)__cvta_generic_to_shared(shared);
}

/* c[16,8] += a[16,16] b[16,8], bfloat16 in, float32 sums. All lanes of a warp together. */
__device__ static inline void gn_mma_m16n8k16_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
	GN_SM80("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
	        "{%0, %1, %2, %3};"
	        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/*
 * Four 8x8 matrices of 16-bit elements: lane l gives the address of row l % 8 of matrix l / 8 (16
 * bytes, 16-byte aligned, in shared memory) and gets in r[m] elements 2t, 2t+1 of row g of matrix
 * m.
 */
__device__ static inline void gn_ldmatrix_x4(uint32_t r[4], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
	             : "r"(gn_shared_address(row)));
}

/* The same, each matrix transposed: r[m] gets elements g of rows 2t and 2t+1. */
__device__ static inline void gn_ldmatrix_x4_trans(uint32_t r[4], const void *row)
{
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
	             : "r"(gn_shared_address(row)));
}

/*
 * Starts a copy of 16 bytes from global to shared memory, both 16-byte aligned, past the L1 cache.
 * Only the first `bytes` (0 or 16) are read, with 0 the address may lie anywhere; the rest of
 * shared memory's 16 becomes 0. Done for this thread after gn_cp_async_wait, for others after a
 * barrier that follows it.
 */
__device__ static inline void gn_cp_async_16(void *shared, const void *global, int bytes)
{
	GN_SM80("cp.async.cg.shared.global [%0], [%1], 16, %2;"
	        :
	        : "r"(gn_shared_address(shared)), "l"(__cvta_generic_to_global(global)), "r"(bytes)
	        : "memory");
}

/* The same with 4 bytes, 4-byte aligned, through the L1 cache; `bytes` is 0 or 4. */
__device__ static inline void gn_cp_async_4(void *shared, const void *global, int bytes)
{
	GN_SM80("cp.async.ca.shared.global [%0], [%1], 4, %2;"
	        :
	        : "r"(gn_shared_address(shared)), "l"(__cvta_generic_to_global(global)), "r"(bytes)
	        : "memory");
}

/* The copies started since the last commit become a group. */
__device__ static inline void gn_cp_async_commit(void)
{
	GN_SM80("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most PENDING of this thread's youngest groups are still under way. */
template <int PENDING> __device__ static inline void gn_cp_async_wait(void)
{
	GN_SM80("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

#define GN_LOG2E 1.44269504088896341F /* e^x = 2^(GN_LOG2E x) */

/* 2^x to 2 units in the last place; subnormal results are 0. */
__device__ static inline float gn_exp2(float x)
{
	float y;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}

/* 1 / x to 1 unit in the last place; subnormal numbers count as 0, and 1 / 0 is infinite. */
__device__ static inline float gn_reciprocal(float x)
{
	float y;
	asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}

#undef GN_SM80
#endif
#endif
