/* Learning rates over steps and over layers: docs/method.md, "Recipe". */
#include "train/trainer.h"

#include <math.h>

double gn_schedule_lr(const struct gn_run_config *config, const struct gn_plan *plan, int64_t step)
{
	int64_t warmup = plan->warmup_steps;

	if (step < warmup)
		return config->lr * (double)(step + 1) / (double)warmup;
	if (config->schedule == GN_CONSTANT)
		return config->lr;
	return config->lr * 0.5 *
	       (1 + cos(3.14159265358979323846 * (double)(step - warmup) / (double)(plan->steps - warmup)));
}

double gn_layer_scale(const struct gn_tensor *tensor, const struct gn_arch *arch, double decay)
{
	int top = arch->depth + 1, layer;

	if (tensor->group == GN_GROUP_HEAD || (tensor->role == GN_NORM_W && arch->norm_after_pool) ||
	    (tensor->role == GN_NORM_B && arch->norm_after_pool))
		layer = top;
	else if (tensor->role == GN_NORM_W || tensor->role == GN_NORM_B)
		layer = arch->depth; /* the final norm joins the last block */
	else
		layer = tensor->block + 1; /* the stem, with block -1, is layer 0 */
	return pow(decay, top - layer);
}
