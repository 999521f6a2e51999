/* The kernels for x86-64 with AVX-512 (F, DQ, BW, VL). Everything between the pragmas is compiled
 * for that machine only. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "backend/cpu/kernels.h"

#define GN_SIMD         512
#define GN_KERNELS      gn_kernels_avx512
#define GN_KERNELS_NAME "AVX-512"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))),                   \
                             apply_to = function)
#include "backend/cpu/kernels_all.h"
#pragma clang attribute pop
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#include "backend/cpu/kernels_all.h"
#pragma GCC pop_options
#endif
#else
typedef int gn_no_avx512_here;
#endif
