/* The body of kernels_*.c: every kernel, and the table that lists them under GN_KERNELS. */
#include "backend/cpu/gemm_kernel.h"
#include "backend/cpu/attention_kernel.h"
#include "backend/cpu/rows_kernel.h"
#include "backend/cpu/optimizer_kernel.h"

const struct gn_kernels GN_KERNELS = {
    .name = GN_KERNELS_NAME,
    .mr = MR,
    .nr = NR,
    .pack_a = pack_a,
    .pack_b = pack_b,
    .gemm_floats = gemm_floats,
    .gemm_group = group_tiles,
    .gemm = gemm,
    .attention_floats = attention_floats,
    .attention_backward_floats = attention_backward_floats,
    .attention_load = attention_load,
    .attention_tiles = tile_count,
    .attention_tile = attention_tile,
    .attention_backward = attention_backward,
    .layernorm = layernorm,
    .layernorm_backward = layernorm_backward,
    .scale_backward = scale_backward,
    .add = add,
    .axpy = axpy,
    .adamw = adamw,
    .sgd = sgd,
    .sumsq = sumsq,
};
