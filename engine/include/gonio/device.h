/* Compute devices, and inference on them. Part of gonio.h, whose conventions hold here. */
#ifndef GONIO_DEVICE_H
#define GONIO_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/gonio/model.h"

struct gn_device;
/* The number format of matrix products. Sums, norms, softmax, losses and the tuned weights are
 * always float32. AUTO means fp32 on a CPU and bf16 on a GPU. A CPU supports fp32 only. */
enum gn_precision { GN_PRECISION_AUTO, GN_PRECISION_FP32, GN_PRECISION_TF32, GN_PRECISION_BF16 };
const char *gn_precision_name(enum gn_precision precision); /* "auto", "fp32", "tf32", "bf16" */
int gn_precision_from_name(const char *name);               /* -1 for an unknown name */

/* spec is "cpu", "cuda", "cuda:N" or "auto". "auto" opens the first usable GPU, or the CPU if there
 * is none; the remark of gn_device_describe then says why. threads 0 uses all cores. Only one
 * thread at a time may use a device. GN_UNSUPPORTED or GN_DEVICE if spec names a GPU that cannot be
 * used; the text says why. */
int gn_device_open(struct gn_device **out, const char *spec, int threads, enum gn_precision precision,
                   struct gn_error *err);
void gn_device_close(struct gn_device *device);
struct gn_device_info {
	const char *backend;
	char spec[16]; /* opens this same device again: "cpu", "cuda:0" */
	char name[96];
	enum gn_precision precision;
	uint64_t memory_bytes, memory_free; /* of the device; memory_free is 0 if unknown */
	/* GPU memory that each process uses, at most, once it has opened the device */
	uint64_t overhead_bytes;
	/* GPU memory that the device has lost since this process opened it, by the driver's
	 * account; 0 if unknown */
	uint64_t memory_taken;
	/* on the host: they compute, or they read and decode for a GPU */
	int threads;
	/* a GPU's compute capability, driver and runtime; "" on a CPU */
	char software[96];
	char remark[480]; /* why "auto" did not choose a GPU; else "" */
};
void gn_device_describe(const struct gn_device *device, struct gn_device_info *info);
/* Tests that the device still works: writes to a little of its memory and waits. -1 if the device
 * has failed. */
int gn_device_check(struct gn_device *device, struct gn_error *err);

/* The number of leading blocks that all the models share: the tensors of these blocks and of the
 * embedding are the same memory, the base's. 0 for models of different shapes. */
int gn_models_shared_blocks(const struct gn_model *const *models, int count);

/* A model that is ready to compute on a device. On the CPU it reads the mapped weights in place, so
 * that tuned models share the pages of their base. The model must outlive it. */
struct gn_infer;
int gn_infer_new(struct gn_infer **out, struct gn_device *device, const struct gn_model *model, int max_batch,
                 struct gn_error *err);
/* Computes logits [B, K] from normalised images [B, 3, S, S]; batch is B <= max_batch. Only one
 * thread at a time per device. */
int gn_infer_run(struct gn_infer *infer, const float *images, int batch, float *logits, struct gn_error *err);
/* The same from pixels [B, S, S, 3] of 8 bits. levels [3][256], by gn_image_levels, normalises them
 * on the device. */
int gn_infer_run_pixels(struct gn_infer *infer, const uint8_t *pixels, const float *levels, int batch, float *logits,
                        struct gn_error *err);
/*
 * gn_infer_run for several models on one device with one image size. logits[i] is [B, K of model
 * i]; its bits are the same as when the model runs alone. Blocks that all models share are computed
 * once.
 */
int gn_infer_run_many(struct gn_infer *const *infers, int count, const float *images, int batch, float *const *logits,
                      struct gn_error *err);
/* Memory beyond the mapped weights: of this model alone, and of all models on the device
 * together. */
uint64_t gn_infer_bytes(const struct gn_infer *infer);
uint64_t gn_device_resident_bytes(const struct gn_device *device);
/* GPU memory of a process that opens the device in this precision and makes one model of this
 * architecture ready; 0 on a CPU. */
uint64_t gn_infer_gpu_bytes(const struct gn_device *device, enum gn_precision precision, const struct gn_arch *arch,
                            int max_batch);
void gn_infer_free(struct gn_infer *infer);
/* Computes probabilities [K] from logits [K]; internally in double. */
void gn_softmax(float *probabilities, const float *logits, int classes);

#endif
