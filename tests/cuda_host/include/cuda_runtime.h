/*
 * The stand-in for CUDA's cuda_runtime.h: the same names, for a .cu file that is compiled as plain
 * C++ and run on the CPU by tests/cuda_host/runner. What a GPU program may use of it is what
 * gonio's backend uses; anything else does not compile.
 */
#ifndef GN_HOST_CUDA_RUNTIME_H
#define GN_HOST_CUDA_RUNTIME_H

#include "cuda_runtime_api.h"
#include "host/device.h"
#include "host/launch.h"
#include "host/math.h"

#endif
