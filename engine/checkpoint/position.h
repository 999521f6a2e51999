/* Resampling of position embeddings to another number of patches. */
#ifndef GN_CHECKPOINT_POSITION_H
#define GN_CHECKPOINT_POSITION_H

#include "gonio.h"

/*
 * out [grid_out * grid_out, dim] from in [grid_in * grid_in, dim]: rows of patches, row-major, no
 * prefix tokens. All four methods are bicubic; an equal grid is a copy.
 *   TIMM         antialiased (Keys a = -0.5), half-pixel centres; also DINOv2 with registers
 *   HF           a = -0.75, half-pixel centres
 *   DINOV2       as HF, with the scale (grid_out + 0.1) / grid_in that DINOv2 gives to PyTorch
 *   TORCHVISION  a = -0.75, corners aligned
 */
int gn_position_resample(float *out, const float *in, int grid_out, int grid_in, int dim, enum gn_pos_resample how,
                         struct gn_error *err);

#endif
