/*
 * gonio fine-tunes parts of Vision Transformers. This header is the engine's public API. It is the
 * only engine header that other rooms include.
 *
 * Conventions that hold for every function here:
 *   - int functions return 0 on success, or -1 with *err filled in. err may be NULL. An error that
 *     is already in *err stays.
 *   - Output parameters come first. On an error they keep their old value, unless the comment says
 *     otherwise.
 *   - X_free releases what X_new allocates, and X_close what X_open allocates. A "borrowed" pointer
 *     is valid as long as the object that it came from.
 *   - No function prints, exits or keeps process-wide state. Sizes are in bytes, durations in
 *     seconds, angles in degrees.
 *   - Dimension letters: B images, T tokens, C width (dim), H heads, D head width, M hidden width
 *     of the FFN, K classes, S image side, L blocks.
 */
#ifndef GONIO_H
#define GONIO_H

#ifdef __cplusplus /* the CUDA backend includes this header */
extern "C" {
#endif

#include "include/gonio/error.h"
#include "include/gonio/clock.h"
#include "include/gonio/files.h"
#include "include/gonio/architecture.h"
#include "include/gonio/model.h"
#include "include/gonio/dataset.h"
#include "include/gonio/device.h"
#include "include/gonio/plan.h"
#include "include/gonio/angles.h"
#include "include/gonio/train.h"
#include "include/gonio/evaluation.h"
#include "include/gonio/soup.h"
#include "include/gonio/bench.h"

#ifdef __cplusplus
}
#endif

#endif
