/* Untrained models: timm's initialisation from named Philox streams, one per tensor, so that the file depends on the
 * seed only. */
#include <stdlib.h>
#include <string.h>

#include "fileio.h"
#include "gonio.h"
#include "random.h"

#define DEVIATION   0.02
#define LAYER_SCALE 1e-5f /* CaiT's and timm's init_values for deep networks */

static void fill(float *out, const struct gn_tensor *t, int index, uint64_t seed)
{
	struct gn_random random;
	bool norm = t->role == GN_NORM_PRE_W || t->role == GN_NORM1_W || t->role == GN_NORM2_W || t->role == GN_NORM_W;
	float constant = norm ? 1.0f : t->role == GN_LS1 || t->role == GN_LS2 ? LAYER_SCALE : 0.0f;

	if (t->rank > 1) {
		gn_random_init(&random, seed, GN_RANDOM_INIT, (uint32_t)index, 0);
		gn_random_truncated_normal(&random, out, t->numel, DEVIATION);
		return;
	}
	for (size_t i = 0; i < t->numel; i++)
		out[i] = constant;
}

static int write_layout(const char *path, const struct gn_arch *arch, const struct gn_layout *layout, uint64_t seed,
                        const char *const *labels, struct gn_error *err)
{
	/* Nothing was trained yet that could ask for other pixels; the whole picture is seen. */
	static const struct gn_preprocess preprocess = {{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}, 1.0f, GN_BICUBIC};
	float *values = gn_alloc(layout->floats, sizeof *values, err);
	const float **tensors = gn_alloc((size_t)layout->count, sizeof *tensors, err);
	struct gn_model_parts parts = {
	    .arch = arch,
	    .preprocess = &preprocess,
	    .scheme = GN_SCHEME_GONIO,
	    .pos_resample = GN_POS_TIMM,
	    .layout = layout,
	    .tensors = tensors,
	    .labels = labels,
	    .label_count = labels ? arch->classes : 0,
	};
	int result = -1;

	if (values && tensors) {
		for (int i = 0; i < layout->count; i++) {
			fill(values + layout->tensors[i].offset, &layout->tensors[i], i, seed);
			tensors[i] = values + layout->tensors[i].offset;
		}
		result = gn_model_write(path, &parts, err);
	}
	free(tensors);
	free(values);
	return result;
}

int gn_model_write_random(const char *path, const struct gn_arch *arch, uint64_t seed, const char *const *labels,
                          struct gn_error *err)
{
	struct gn_layout layout;
	int result;

	if (gn_layout_init(&layout, arch, err))
		return -1;
	result = write_layout(path, arch, &layout, seed, labels, err);
	gn_layout_release(&layout);
	return result;
}
