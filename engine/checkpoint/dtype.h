/* 16-bit floats to and from float32. */
#ifndef GN_CHECKPOINT_DTYPE_H
#define GN_CHECKPOINT_DTYPE_H

#include "gonio.h"

#define GN_F16_LIMIT 65520.0f /* the smallest magnitude that rounds to infinity */

size_t gn_dtype_bytes(enum gn_dtype dtype);
/* out[n] = in[n], little-endian values of that type at any alignment; exact. */
void gn_dtype_widen(float *out, const uint8_t *in, enum gn_dtype dtype, size_t n);
/* out[n] = in[n] rounded to nearest, ties to even; beyond the range of F16 it is infinity. */
void gn_dtype_narrow(uint8_t *out, const float *in, enum gn_dtype dtype, size_t n);

#endif
