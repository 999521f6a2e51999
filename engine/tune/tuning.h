/*
 * The network that a run trains, and the sizes of what the run allocates for it. A plan computes
 * costs from it before the run, and the trainer runs it. Both use the same functions, so that what
 * is planned is what is allocated.
 */
#ifndef GN_TUNING_H
#define GN_TUNING_H

#include "backend/backend.h"
#include "vit/gradplan.h"

struct gn_tuning {
	struct gn_arch arch; /* the model's, with the run's image size and number of classes */
	struct gn_layout layout;
	bool *tuned; /* [layout.count] */
	struct gn_gradplan grad;
	int cut; /* (vit.h) where the frozen prefix ends: 0 .. depth + 1 */
};
/* backend: that computes the run. Errors are those of the config: GN_INVALID, or GN_UNSUPPORTED for
 * what the backend cannot compute. The caller releases in all cases. */
int gn_tuning_init(struct gn_tuning *tuning, const struct gn_backend *backend, const struct gn_arch *base,
                   const struct gn_run_config *config, int classes, struct gn_error *err);
void gn_tuning_release(struct gn_tuning *tuning);

/* ---------------------------------------------------------------- tensors --------------------- */

/* Floats of a tensor in a flat buffer of tuned tensors: a multiple of 32, which is 128 bytes. */
size_t gn_tuned_span(const struct gn_tensor *tensor);
/* Floats of the flat buffer of all tuned tensors: of weights, of gradients and of each moment. */
size_t gn_tuning_floats(const struct gn_tuning *tuning);
/* Whether the device has the tensor in the form that products read, beside or in place of
 * float32. */
bool gn_tuning_has_mat(const struct gn_tuning *tuning, const struct gn_backend *backend, int index);
/* Bytes of the tensor that passes read, where it is not the float32 value in the flat buffer: its
 * form for products, or a frozen tensor's float32 copy. 0: the tensor is tuned and has no such
 * form. For a device with a memory of its own. */
size_t gn_tuning_read_bytes(const struct gn_tuning *tuning, const struct gn_backend *backend, int index);
/* Floats of the largest of the layers' first (0) and second (1) matrices: room for the base's form
 * when angles are measured. */
size_t gn_tuning_angle_floats(const struct gn_tuning *tuning, int place);

/* ---------------------------------------------------------------- passes ---------------------- */

/* Device memory of the passes of a run. cut: where the steps start, 0 if no prefix is kept. It is
 * that of the steps' pass or of the pass that computes the kept prefix, whichever is larger: they
 * never exist at the same time. SIZE_MAX if there is no memory to count. */
size_t gn_tuning_pass_bytes(const struct gn_tuning *tuning, const struct gn_backend *backend, int micro, int cut);
/* The part of the latter that is a copy of the outputs on a device with a memory of its own, which
 * travel while the next ones are computed. */
size_t gn_prefix_spare_bytes(const struct gn_backend *be, const struct gn_arch *arch, int micro, int cut);

#endif
