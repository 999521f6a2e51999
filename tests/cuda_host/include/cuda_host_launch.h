/* The host's half of engine/backend/cuda/launch.h. */
#ifndef GN_HOST_CUDA_HOST_LAUNCH_H
#define GN_HOST_CUDA_HOST_LAUNCH_H

#include "cuda_runtime.h"

#define GN_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                                      \
	gn_host_launch(#kernel, kernel, grid, block, shared_bytes, stream, __VA_ARGS__)
#define GN_SHARED_BYTES(name)           unsigned char *const name = gn_host_shared_bytes()
#define GN_MEMORY_CARVE(pointer, bytes) gn_host_carve(pointer, bytes)
#define GN_MEMORY_CLOSE(pointer, bytes) gn_host_close(pointer, bytes)
/* Where no access is looked at, memory is laid out as on a GPU. */
#define GN_MEMORY_GUARD (GN_HOST_CHECKED ? (size_t)128 : (size_t)0)

#endif
