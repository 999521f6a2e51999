/* Untrained models: timm's initialisation from named Philox streams, one per tensor, so that the
 * file depends on the seed only. The values are drawn while they are written: memory does not grow
 * with the model. */
#include <stdlib.h>
#include <string.h>

#include "checkpoint/model.h"
#include "base/files.h"
#include "gonio.h"
#include "base/random.h"

#define DEVIATION   0.02
#define LAYER_SCALE 1e-5f /* CaiT's and timm's init_values for deep networks */

struct drawing {
	const struct gn_layout *layout;
	uint64_t seed;
	struct gn_random random; /* of the tensor that is written */
	float *values;           /* [GN_MODEL_PIECE] */
	bool (*gone)(void *user);
	void *user;
};

/* The pieces of a tensor come in order, so its stream simply continues. */
static const float *piece(void *user, int index, size_t at, size_t n, struct gn_error *err)
{
	struct drawing *d = user;
	const struct gn_tensor *t = &d->layout->tensors[index];
	bool norm = t->role == GN_NORM_PRE_W || t->role == GN_NORM1_W || t->role == GN_NORM2_W || t->role == GN_NORM_W;
	float constant = norm ? 1.0f : t->role == GN_LS1 || t->role == GN_LS2 ? LAYER_SCALE : 0.0f;

	if (d->gone && d->gone(d->user)) {
		gn_fail(err, GN_CANCELLED, "", "nobody waits for the model any more");
		return NULL;
	}
	if (at == 0)
		gn_random_init(&d->random, d->seed, GN_RANDOM_INIT, (uint32_t)index, 0);
	if (t->rank > 1)
		gn_random_truncated_normal(&d->random, d->values, n, DEVIATION);
	for (size_t i = 0; i < n && t->rank == 1; i++)
		d->values[i] = constant;
	return d->values;
}

static int write_layout(const char *path, const struct gn_arch *arch, struct drawing *drawing,
                        const char *const *labels, struct gn_error *err)
{
	/* An untrained model needs no particular preprocessing; it uses the whole picture. */
	static const struct gn_preprocess preprocess = {{0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}, 1.0f, GN_BICUBIC};
	const struct gn_layout *layout = drawing->layout;
	bool *has = gn_alloc((size_t)layout->count, sizeof *has, err);
	struct gn_model_parts parts = {
	    .arch = arch,
	    .preprocess = &preprocess,
	    .scheme = GN_SCHEME_GONIO,
	    .pos_resample = GN_POS_TIMM,
	    .layout = layout,
	    .labels = labels,
	    .label_count = labels ? arch->classes : 0,
	};
	int result = -1;

	drawing->values = gn_alloc(GN_MODEL_PIECE, sizeof *drawing->values, err);
	if (has && drawing->values) {
		for (int i = 0; i < layout->count; i++)
			has[i] = true;
		result = gn_model_write_pieces(path, &parts, has, &(struct gn_model_source){piece, drawing}, err);
	}
	free(drawing->values);
	free(has);
	return result;
}

int gn_model_write_random(const char *path, const struct gn_arch *arch, uint64_t seed, const char *const *labels,
                          bool (*gone)(void *user), void *user, struct gn_error *err)
{
	struct drawing drawing = {.seed = seed, .gone = gone, .user = user};
	struct gn_layout layout;
	int result;

	if (gn_layout_init(&layout, arch, err))
		return -1;
	drawing.layout = &layout;
	result = write_layout(path, arch, &drawing, labels, err);
	gn_layout_release(&layout);
	return result;
}
