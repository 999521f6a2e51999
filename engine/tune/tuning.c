/* The network that a run trains: see tuning.h. */
#include "tune/tuning.h"

#include "backend/arena.h"
#include "base/files.h"
#include "vit/vit.h"

#include <stdlib.h>

/* The model's architecture with the run's image size and number of classes. */
static int run_arch(struct gn_arch *out, const struct gn_arch *base, const struct gn_run_config *config, int classes,
                    struct gn_error *err)
{
	struct gn_arch arch = *base;

	if (classes < 1)
		return gn_fail(err, GN_INVALID, "classes", "a run needs at least one class");
	if (config->head == GN_HEAD_KEEP && base->classes != classes)
		return gn_fail(err, GN_INVALID, "head",
		               "the model's head has %d classes, the data set %d: only a new head fits", base->classes,
		               classes);
	arch.classes = classes;
	if (config->image_size)
		arch.image_size = config->image_size;
	if (gn_arch_check(&arch, err))
		return -1;
	*out = arch;
	return 0;
}

int gn_tuning_init(struct gn_tuning *tuning, const struct gn_backend *backend, const struct gn_arch *base,
                   const struct gn_run_config *config, int classes, struct gn_error *err)
{
	struct gn_layout *layout = &tuning->layout;

	*tuning = (struct gn_tuning){0};
	if (run_arch(&tuning->arch, base, config, classes, err) || gn_vit_check(backend, &tuning->arch, err) ||
	    gn_layout_init(layout, &tuning->arch, err))
		return -1;
	tuning->tuned = gn_alloc((size_t)layout->count, sizeof *tuning->tuned, err);
	if (!tuning->tuned || gn_strategy_select(tuning->tuned, layout, &config->strategy, err) ||
	    gn_gradplan_init(&tuning->grad, &tuning->arch, layout, tuning->tuned, err))
		return -1;
	tuning->cut = tuning->grad.frozen_features ? tuning->arch.depth + 1 : tuning->grad.frozen_blocks;
	return 0;
}

void gn_tuning_release(struct gn_tuning *tuning)
{
	gn_gradplan_release(&tuning->grad);
	free(tuning->tuned);
	gn_layout_release(&tuning->layout);
	*tuning = (struct gn_tuning){0};
}

/* ---------------------------------------------------------------- tensors --------------------- */

size_t gn_tuned_span(const struct gn_tensor *tensor)
{
	return (tensor->numel + 31) / 32 * 32;
}

size_t gn_tuning_floats(const struct gn_tuning *tuning)
{
	size_t floats = 0;

	for (int i = 0; i < tuning->layout.count; i++)
		floats += tuning->tuned[i] ? gn_tuned_span(&tuning->layout.tensors[i]) : 0;
	return floats;
}

bool gn_tuning_has_mat(const struct gn_tuning *tuning, const struct gn_backend *backend, int index)
{
	return backend->mat_bytes != sizeof(float) && gn_role_is_mat(tuning->layout.tensors[index].role);
}

size_t gn_tuning_read_bytes(const struct gn_tuning *tuning, const struct gn_backend *backend, int index)
{
	size_t numel = tuning->layout.tensors[index].numel;

	if (gn_tuning_has_mat(tuning, backend, index))
		return numel * backend->mat_bytes;
	return tuning->tuned[index] ? 0 : numel * sizeof(float);
}

size_t gn_tuning_angle_floats(const struct gn_tuning *tuning, int place)
{
	size_t C = (size_t)tuning->arch.dim, mlp = (size_t)tuning->arch.mlp_dim, rows = place == 0 ? 3 * C : C;

	return (rows > mlp ? rows : mlp) * C;
}

/* ---------------------------------------------------------------- passes ---------------------- */

size_t gn_prefix_spare_bytes(const struct gn_backend *be, const struct gn_arch *arch, int micro, int cut)
{
	struct gn_vit_shape shape;

	gn_vit_shape_init(&shape, arch);
	return be->unified ? 0 : gn_piece_span(be, (size_t)micro * gn_cut_floats(&shape, cut) * be->act_bytes);
}

size_t gn_tuning_pass_bytes(const struct gn_tuning *tuning, const struct gn_backend *be, int micro, int cut)
{
	const struct gn_arch *arch = &tuning->arch;
	size_t steps = gn_pass_bytes(be, arch, &tuning->grad, micro, cut, arch->depth + 2), fill;

	if (cut == 0)
		return steps;
	fill = gn_pass_bytes(be, arch, NULL, micro, 0, cut);
	if (fill != SIZE_MAX)
		fill += gn_prefix_spare_bytes(be, arch, micro, cut);
	return steps > fill ? steps : fill;
}
