/* Devices that compute, and inference on them. Part of gonio.h, whose conventions hold here. */
#ifndef GONIO_DEVICE_H
#define GONIO_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/gonio/model.h"

struct gn_device;
/* What matrix products are computed in; sums, norms, softmax, losses and the tuned weights are float32 in all. AUTO:
 * the device's own choice, fp32 on a CPU and bf16 on a GPU. A CPU has fp32 alone. */
enum gn_precision { GN_PRECISION_AUTO, GN_PRECISION_FP32, GN_PRECISION_TF32, GN_PRECISION_BF16 };
const char *gn_precision_name(enum gn_precision precision); /* "auto", "fp32", "tf32", "bf16" */
int gn_precision_from_name(const char *name);               /* -1: no such name */

/* spec: "cpu", "cuda", "cuda:N", or "auto": the first GPU that can be used, else the CPU (gn_device_describe says why);
 * threads 0 = all. One thread at a time may use a device. GN_UNSUPPORTED or GN_DEVICE where a GPU that was asked for
 * cannot be used: the text says why. */
int gn_device_open(struct gn_device **out, const char *spec, int threads, enum gn_precision precision,
                   struct gn_error *err);
void gn_device_close(struct gn_device *device);
struct gn_device_info {
	const char *backend;
	char spec[16]; /* what gn_device_open takes for this very device: "cpu", "cuda:0" */
	char name[96];
	enum gn_precision precision;
	uint64_t memory_bytes, memory_free; /* of the device; free: 0 where that is not known */
	uint64_t overhead_bytes;            /* of a GPU's memory: what each process takes by opening it, at most */
	/* Of a GPU's memory: what it has lost since this process opened it, by the driver's
	 * account; 0 where that is not known. */
	uint64_t memory_taken;
	int threads;       /* of the host: they compute, or read and decode for a GPU */
	char software[96]; /* of a GPU: compute capability, driver and runtime; else "" */
	char remark[480];  /* why "auto" is not a GPU; else "" */
};
void gn_device_describe(const struct gn_device *device, struct gn_device_info *info);
/* Whether the device still works: writes a little of its memory and waits for it. -1: its failure. */
int gn_device_check(struct gn_device *device, struct gn_error *err);

/* Leading blocks whose tensors, with the embedding's, are the same memory in all the models: those of tuned models that came with
 * their base. 0 for models of different shapes. */
int gn_models_shared_blocks(const struct gn_model *const *models, int count);

/* A model made ready on a device. On the CPU it uses the model's mapped weights where they lie: tuned models share
 * their base's pages. The model must outlive it. */
struct gn_infer;
int gn_infer_new(struct gn_infer **out, struct gn_device *device, const struct gn_model *model, int max_batch,
                 struct gn_error *err);
/* images [B, 3, S, S] normalised -> logits [B, K]; B <= max_batch. One thread at a time per device. */
int gn_infer_run(struct gn_infer *infer, const float *images, int batch, float *logits, struct gn_error *err);
/* The same from pixels [B, S, S, 3] of 8 bits; levels [3][256] by gn_image_levels normalise them on the device. */
int gn_infer_run_pixels(struct gn_infer *infer, const uint8_t *pixels, const float *levels, int batch, float *logits,
                        struct gn_error *err);
/* The same images through several models of one device and image size: logits[i] is [B, K of model i], bit for bit what each
 * gives alone. Blocks that all share are computed once. */
int gn_infer_run_many(struct gn_infer *const *infers, int count, const float *images, int batch, float *const *logits,
                      struct gn_error *err);
/* Memory beyond the mapped weights that this model has for itself, and that all models on the device have together. */
uint64_t gn_infer_bytes(const struct gn_infer *infer);
uint64_t gn_device_resident_bytes(const struct gn_device *device);
/* The GPU's memory that a process takes which opens the device in this precision and makes one model of the architecture ready;
 * 0 on a CPU. */
uint64_t gn_infer_gpu_bytes(const struct gn_device *device, enum gn_precision precision, const struct gn_arch *arch,
                            int max_batch);
void gn_infer_free(struct gn_infer *infer);
/* probabilities [K] from logits [K], in double inside. */
void gn_softmax(float *probabilities, const float *logits, int classes);

#endif
