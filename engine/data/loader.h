/*
 * Batches for training and validation, decoded in advance by its own threads. The batches depend
 * only on the arguments, never on the timing of threads.
 *
 * At most two batches exist: the one that the caller holds and the one that is being made. Pixels
 * that do not change from epoch to epoch (no random crop) are kept, 8 bits each, of the first
 * images that fit. Later epochs decode the others alone.
 */
#ifndef GN_LOADER_H
#define GN_LOADER_H

#include "gonio.h"

struct gn_loader;

/* dataset and preprocess must outlive the loader. threads 0: as many as processors, where memory
 * allows. seed: of the augmentation. */
int gn_loader_new(struct gn_loader **out, const struct gn_dataset *dataset, const struct gn_preprocess *preprocess,
                  int image_size, enum gn_augment augment, uint64_t seed, int threads, uint64_t pixel_cache_bytes,
                  uint64_t max_pixels, struct gn_error *err);
void gn_loader_free(struct gn_loader *loader);

/* Starts making batches of these samples (indices into the data set, copied), in this order; the
 * last batch may be smaller. train: augments by (seed, epoch, sample). Stops earlier work first. */
int gn_loader_begin(struct gn_loader *loader, const int32_t *samples, int count, int batch_size, int epoch, bool train,
                    struct gn_error *err);
/*
 * Waits for the next batch: 0 with *images [n, S, S, 3] of 8 bits, *labels [n] and *samples [n],
 * borrowed until the next call; 1 at the end; -1 when a sample cannot be decoded (err->where is its
 * path).
 */
int gn_loader_next(struct gn_loader *loader, const uint8_t **images, int32_t **labels, const int32_t **samples, int *n,
                   struct gn_error *err);
/* Stops making batches and waits for the threads. Does nothing if no batches are being made. */
void gn_loader_stop(struct gn_loader *loader);

#endif
