/*
 * Opened models, shared by everything that reads weights: classification, exports, angles, plans.
 *
 * A model is opened once, its bases with it; tuned models of one base point into the same mapped file, and compute in the same
 * buffers: N of them cost the base once and N deltas. Models that nobody holds stay open until the pool is larger than its limit, then the least recently used ones are closed.
 *
 * Locks: `lock` guards the table and is held while a model is opened (a map, not a read). `device_lock` is held while the
 * device computes. Neither is taken while the other is held.
 */
#ifndef GN_SERVER_MODELPOOL_H
#define GN_SERVER_MODELPOOL_H

#include "gonio.h"
#include "server/store/store.h"

struct gn_modelpool;

/* One opened model, kept open as long as it is held. */
struct gn_held {
	char id[GN_ID_SIZE];
	struct gn_model *model;
	struct gn_held *base; /* NULL for a base model; held by this one */
	/* private */
	struct gn_infer *infer; /* made at the first classification; guarded by device_lock */
	uint64_t file_bytes;
	_Atomic uint64_t infer_bytes;
	uint64_t used; /* the pool's clock at the last release */
	int holders;
	bool forgotten;
	struct gn_held *next;
};

/* limit: bytes of models kept open (files and what inference needs beyond them). max_batch: images that gn_modelpool_infer takes at
 * once. store and device are borrowed; nobody else may use the device. */
int gn_modelpool_new(struct gn_modelpool **out, struct gn_store *store, struct gn_device *device, uint64_t limit,
                     int max_batch, struct gn_error *err);
/* Nothing may be held any more. */
void gn_modelpool_free(struct gn_modelpool *pool);

/* Opens the model of an id (not a name), or finds it open. GN_NOT_FOUND. Job threads. */
int gn_modelpool_hold(struct gn_modelpool *pool, const char *id, struct gn_held **out, struct gn_error *err);
void gn_modelpool_drop(struct gn_modelpool *pool, struct gn_held *held);
/* The model was deleted: it is closed as soon as nobody holds it, so that the disk gets its blocks back. */
void gn_modelpool_forget(struct gn_modelpool *pool, const char *id);

/* images [batch, 3, S, S] normalised -> logits[i] [batch, K of model i] for each of the models, which take pictures of one size. What they
 * share is computed once; each gets what it would get alone. Waits for the device. */
int gn_modelpool_infer(struct gn_modelpool *pool, struct gn_held *const *held, int count, const float *images,
                       int batch, float *const *logits, struct gn_error *err);
/* See gn_device_check. */
int gn_modelpool_check_device(struct gn_modelpool *pool, struct gn_error *err);
/* Bytes now open, and how many models: each file once, what each model needs beside it, and the buffers that all share. */
uint64_t gn_modelpool_bytes(struct gn_modelpool *pool, int *models);

#endif
