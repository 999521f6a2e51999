/* The kernels for any machine, on vectors of four floats. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include "backend/cpu/kernels.h"

#define GN_SIMD         128
#define GN_KERNELS      gn_kernels_plain
#define GN_KERNELS_NAME "plain vectors"
#include "backend/cpu/kernels_all.h"
