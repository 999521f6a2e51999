/*
 * Open models, shared by all code that reads weights: classification, exports, angles, plans.
 *
 * A model is opened once, together with its bases. Tuned models of one base use the same mapped
 * file of the base and compute in the same buffers: N of them need the memory of one base and N
 * deltas. Models that nobody holds stay open while the pool is within its limit. Beyond it, the
 * least recently used ones are closed.
 *
 * Locks: `lock` guards the table and is held while a model is opened (a map, not a read).
 * `device_lock` is held while the device computes. No thread holds both.
 */
#ifndef GN_SERVER_MODELPOOL_H
#define GN_SERVER_MODELPOOL_H

#include "gonio.h"
#include "server/store/store.h"

struct gn_modelpool;

/* One open model. It stays open as long as someone holds it. */
struct gn_open_model {
	char id[GN_ID_SIZE];
	struct gn_model *model;
	struct gn_open_model *base; /* NULL for a base model; held by this one */
	/* private */
	struct gn_infer *infer; /* made at the first classification; guarded by device_lock */
	uint64_t file_bytes;
	_Atomic uint64_t infer_bytes;
	uint64_t used;           /* the pool's clock at the last release */
	char name[GN_NAME_SIZE]; /* as gn_modelpool_hold_named noted it; "" none */
	int holders;
	bool forgotten;
	struct gn_open_model *next;
};

/* limit: bytes of open models, which are their files and the further memory of inference.
 * max_batch: the most images of one gn_modelpool_infer. store and device are borrowed; no one else
 * may use the device. */
int gn_modelpool_new(struct gn_modelpool **out, struct gn_store *store, struct gn_device *device, uint64_t limit,
                     int max_batch, struct gn_error *err);
/* No model may be held any more. */
void gn_modelpool_free(struct gn_modelpool *pool);

/* Holds the model of an id (not a name), and opens it if necessary. GN_NOT_FOUND. Task threads
 * only. */
int gn_modelpool_hold(struct gn_modelpool *pool, const char *id, struct gn_open_model **out, struct gn_error *err);
/* The same by id or name. The store is asked only where no model of that id or name is open.
 * GN_NOT_FOUND. */
int gn_modelpool_hold_named(struct gn_modelpool *pool, const char *id_or_name, struct gn_open_model **out,
                            struct gn_error *err);
/* A model's name has changed in the store. */
void gn_modelpool_renamed(struct gn_modelpool *pool);
void gn_modelpool_drop(struct gn_modelpool *pool, struct gn_open_model *opened);
/* Call it after a model was deleted: closes the model when nobody holds it any more, so that the
 * disk space is freed. */
void gn_modelpool_forget(struct gn_modelpool *pool, const char *id);

/* Computes logits[i] [batch, K of model i] from normalised images [batch, 3, S, S], for models with
 * one image size. Shared blocks are computed once; each model gives the same result as alone. Waits
 * for the device. */
int gn_modelpool_infer(struct gn_modelpool *pool, struct gn_open_model *const *models, int count, const float *images,
                       int batch, float *const *logits, struct gn_error *err);
/* See gn_device_check. */
int gn_modelpool_check_device(struct gn_modelpool *pool, struct gn_error *err);
/* The bytes of all open models and their number. Counts each file once, the further memory of each
 * model, and the buffers that all share. */
uint64_t gn_modelpool_bytes(struct gn_modelpool *pool, int *models);

#endif
