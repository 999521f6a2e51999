/*
 * How a kernel is launched and how it names its dynamic shared memory: the only two places where
 * CUDA's own syntax and the host runner of tests/cuda_host (which compiles the same sources as C++
 * and runs them on the CPU) differ.
 *
 *   GN_LAUNCH(kernel, grid, block, shared_bytes, stream, arguments...)
 *       a template with commas stands in parentheses: (kernel<64, true>)
 *   GN_SHARED_BYTES(name);
 *       unsigned char name[], 16-byte aligned
 *
 * And what a sub-allocator tells the host runner about the pieces of one allocation, so that a run
 * over the end of a piece is seen:
 *
 *   GN_MEMORY_CARVE(pointer, bytes)    a piece in use, its contents unwritten
 *   GN_MEMORY_CLOSE(pointer, bytes)    nobody's: padding, pieces given back
 *   GN_MEMORY_GUARD                    bytes to leave between two pieces; 0 on a GPU
 */
#ifndef GN_CUDA_LAUNCH_H
#define GN_CUDA_LAUNCH_H

#ifdef __NVCC__
#define GN_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                      \
	(kernel)<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)
#define GN_SHARED_BYTES(name)           extern __shared__ __align__(16) unsigned char name[]
#define GN_MEMORY_CARVE(pointer, bytes) ((void)(pointer), (void)(bytes))
#define GN_MEMORY_CLOSE(pointer, bytes) ((void)(pointer), (void)(bytes))
#define GN_MEMORY_GUARD                 ((size_t)0)
#else
#include <cuda_host_launch.h> /* the runner's */
#endif

#endif
