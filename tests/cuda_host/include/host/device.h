/* What device code finds defined: qualifiers, where it is in the grid, barriers, warp intrinsics,
 * atomics. */
#ifndef GN_HOST_DEVICE_H
#define GN_HOST_DEVICE_H

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "../vector_types.h"

/* The runner has every instruction that the newest path uses. */
#define __CUDA_ARCH__ 900

#define __global__
#define __device__
#define __host__
#define __shared__       static
#define __forceinline__  inline __attribute__((always_inline))
#define __noinline__     __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define __grid_constant__

/*
 * Where the running thread is. The runner writes it whenever it goes from one thread to another; to
 * device code it is constant, as no thread sees it change.
 */
struct gn_host_place {
	uint3 thread, block, block_dim,
	    /* no dim3: its constructor would make the compiler load these again and again */
	    grid_dim;
};
extern const struct gn_host_place gn_host_place;

#define threadIdx (gn_host_place.thread)
#define blockIdx  (gn_host_place.block)
#define blockDim  (gn_host_place.block_dim)
#define gridDim   (gn_host_place.grid_dim)
static const int warpSize = 32;

/* ---- barriers ---- */
void __syncthreads(void);
int __syncthreads_or(int predicate);
int __syncthreads_and(int predicate);
int __syncthreads_count(int predicate);
void __syncwarp(unsigned int mask = 0xffffffffU);
/* Blocks run one after another and a block's threads on one CPU thread, so a fence orders nothing
 * that is not in order already. */
static inline void __threadfence_block(void)
{
}
static inline void __threadfence(void)
{
}

/* ---- shared memory ---- */
unsigned char *gn_host_shared_bytes(void); /* the dynamic shared memory of the running block */

/* ---- warps ---- */
enum gn_host_shuffle { GN_HOST_SHUFFLE_INDEX, GN_HOST_SHUFFLE_UP, GN_HOST_SHUFFLE_DOWN, GN_HOST_SHUFFLE_XOR };
uint64_t gn_host_shuffle_bits(enum gn_host_shuffle how, unsigned int mask, uint64_t bits, int argument, int width);

template <typename type>
static inline type gn_host_shuffle_value(enum gn_host_shuffle how, unsigned int mask, type value, int argument,
                                         int width)
{
	static_assert(sizeof(type) == 4 || sizeof(type) == 8, "a shuffle moves 4 or 8 bytes");
	uint64_t bits = 0;

	std::memcpy(&bits, &value, sizeof value);
	bits = gn_host_shuffle_bits(how, mask, bits, argument, width);
	std::memcpy(&value, &bits, sizeof value);
	return value;
}

template <typename type> static inline type __shfl_sync(unsigned int mask, type value, int lane, int width = 32)
{
	return gn_host_shuffle_value(GN_HOST_SHUFFLE_INDEX, mask, value, lane, width);
}
template <typename type>
static inline type __shfl_up_sync(unsigned int mask, type value, unsigned int delta, int width = 32)
{
	return gn_host_shuffle_value(GN_HOST_SHUFFLE_UP, mask, value, (int)delta, width);
}
template <typename type>
static inline type __shfl_down_sync(unsigned int mask, type value, unsigned int delta, int width = 32)
{
	return gn_host_shuffle_value(GN_HOST_SHUFFLE_DOWN, mask, value, (int)delta, width);
}
template <typename type>
static inline type __shfl_xor_sync(unsigned int mask, type value, int lane_mask, int width = 32)
{
	return gn_host_shuffle_value(GN_HOST_SHUFFLE_XOR, mask, value, lane_mask, width);
}
unsigned int __ballot_sync(unsigned int mask, int predicate);
static inline int __any_sync(unsigned int mask, int predicate)
{
	return __ballot_sync(mask, predicate) != 0;
}
static inline int __all_sync(unsigned int mask, int predicate)
{
	return __ballot_sync(mask, predicate) == mask;
}

/*
 * The general form: every lane of mask calls it with its own data; the last to arrive calls finish
 * with the data of all lanes (NULL for lanes outside mask), then all go on. What `mma` and
 * `ldmatrix` are built on.
 */
typedef void gn_host_finish(void *const data[32], unsigned int mask);
void gn_host_collective(const char *name, gn_host_finish *finish, unsigned int mask, void *data);

/* ---- atomics ---- */
int atomicAdd(int *address, int value);
unsigned int atomicAdd(unsigned int *address, unsigned int value);
unsigned long long atomicAdd(unsigned long long *address, unsigned long long value);
float atomicAdd(float *address, float value);
double atomicAdd(double *address, double value);
int atomicMax(int *address, int value);
unsigned int atomicMax(unsigned int *address, unsigned int value);
int atomicExch(int *address, int value);
unsigned int atomicCAS(unsigned int *address, unsigned int compare, unsigned int value);

template <typename type> static inline type __ldg(const type *address)
{
	return *address;
}
template <typename type> static inline type __ldcs(const type *address)
{
	return *address;
}
template <typename type> static inline type __ldcg(const type *address)
{
	return *address;
}
template <typename type> static inline void __stcs(type *address, type value)
{
	*address = value;
}
template <typename type> static inline void __stcg(type *address, type value)
{
	*address = value;
}

#endif
