/*
 * Makes the square of pixels for a model from a file's bytes: for evaluation (gn_image_eval, in
 * gonio.h) and for training.
 */
#ifndef GN_TRANSFORM_H
#define GN_TRANSFORM_H

#include "data/image.h"
#include "data/resample.h"
#include "gonio.h"
#include "base/random.h"

/* The random resized crop of docs/method.md, "Recipe": scale 0.25 to 1, ratio 3/4 to 4/3. out: u8
 * [S, S, 3]. Draws from *random, always as many numbers for one picture size. */
int gn_image_random_crop(uint8_t *out, const void *bytes, size_t size, const struct gn_image_limits *limits,
                         int image_size, const struct gn_preprocess *preprocess, struct gn_random *random,
                         struct gn_error *err);
/* Decodes at 1/denominator of the size and resamples; job->box is of the upright picture in full
 * size, and is changed. out: [window.height, window.width, 3], undefined after an error. A picture
 * that needs no turning is never completely in memory. Waits at the limits' gate, if there is
 * one. */
int gn_image_decode_resampled(uint8_t *out, const void *bytes, size_t size, const struct gn_image_info *info,
                              int denominator, struct gn_resample *job, const struct gn_image_limits *limits,
                              struct gn_error *err);
/* Mirrors u8 [S, S, 3], left to right. */
void gn_image_flip(uint8_t *pixels, int image_size);

#endif
