/*
 * gonio: partial fine-tuning of Vision Transformers. The engine's public API, and the only engine header that other
 * rooms include.
 *
 * Conventions that hold for every function here:
 *   - int functions return 0, or -1 with *err filled in (err may be NULL; the first error in it wins).
 *   - "out" parameters come first and are left untouched on an error unless the comment says otherwise.
 *   - X_new/X_open allocate what X_free/X_close releases; a "borrowed" pointer lives as long as the object it came
 *     from.
 *   - Nothing here prints, exits or keeps process-wide state. Sizes are bytes, durations seconds, angles degrees.
 *   - Dimension letters: B images, T tokens, C width (dim), H heads, D head width, M hidden width of the FFN,
 *     K classes, S image side, L blocks.
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
