/*
 * The plan of an export. Nothing is copied. A tensor of another library consists of spans of our
 * own tensors, and of zeros for values that we do not have: a classifier of double width, positions
 * of tokens without positions. These zeros do not change any bit of the result.
 */
#include "checkpoint/export_plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/dtype.h"
#include "base/files.h"

/* ---------------------------------------------------------------- which class ----------------- */

static const struct gn_hf_class hf_vit = {"ViTForImageClassification", "vit", "vit.", GN_SPELL_HF_VIT, false, false};
static const struct gn_hf_class hf_deit = {
    "DeiTForImageClassification", "deit", "deit.", GN_SPELL_HF_VIT, false, false};
static const struct gn_hf_class hf_deit_teacher = {
    "DeiTForImageClassificationWithTeacher", "deit", "deit.", GN_SPELL_HF_VIT, true, false};
static const struct gn_hf_class hf_dinov2 = {
    "Dinov2ForImageClassification", "dinov2", "dinov2.", GN_SPELL_HF_DINOV2, false, true};
static const struct gn_hf_class hf_dinov2_registers = {"Dinov2WithRegistersForImageClassification",
                                                       "dinov2_with_registers",
                                                       "dinov2_with_registers.",
                                                       GN_SPELL_HF_DINOV2,
                                                       false,
                                                       true};

static int no_class(struct gn_error *err, const char *why)
{
	return gn_fail(err, GN_INVALID, "format", "no classifier of transformers computes this model: %s", why);
}

/* Fails for features that no class of transformers has. */
static int check_hf(const struct gn_arch *a, struct gn_error *err)
{
	if (a->classes == 0)
		return gn_fail(err, GN_INVALID, "format",
		               "the model has no head, so it is not a classifier: tune it first, or use format=timm");
	if (a->norm_pre)
		return no_class(err, "a norm before the blocks (CLIP's image tower)");
	if (!a->class_token)
		return no_class(err, "no class token");
	if (!a->patch_bias)
		return no_class(err, "no bias in the patch embedding");
	if (a->norm_after_pool)
		return no_class(err, "the final norm behind the mean of the patches");
	return 0;
}

const struct gn_hf_class *gn_hf_class_of(const struct gn_arch *a, struct gn_error *err)
{
	if (check_hf(a, err))
		return NULL;
	if (a->layer_scale) {
		if (a->distilled)
			no_class(err, "layer scale together with a distillation token");
		else if (a->mlp_dim % a->dim)
			no_class(err, "layer scale, and a hidden layer that is no whole multiple of the width");
		else
			return a->registers ? &hf_dinov2_registers : &hf_dinov2;
		return NULL;
	}
	if (a->pool != GN_POOL_CLS)
		no_class(err, "the head reads the mean of the patches, without layer scale");
	else if (a->registers)
		no_class(err, "register tokens without layer scale");
	else if (!a->distilled)
		return &hf_vit;
	else
		return a->dist_head ? &hf_deit_teacher : &hf_deit;
	return NULL;
}

static int no_timm(struct gn_error *err, const char *why)
{
	return gn_fail(err, GN_INVALID, "format", "timm has no model like this: %s", why);
}

const char *gn_timm_model_of(const struct gn_arch *a, struct gn_error *err)
{
	bool small = fabsf(a->norm_eps - 1e-6f) < 1e-9f, large = fabsf(a->norm_eps - 1e-5f) < 1e-8f;

	if (a->classes == 0)
		gn_fail(err, GN_INVALID, "format", "the model has no head, so it is not a classifier: tune it first");
	else if (a->patch_bias == a->norm_pre)
		no_timm(err, "a bias of the patches goes with no norm before the blocks");
	else if (a->distilled && (!a->dist_head || a->registers || a->norm_pre))
		no_timm(err, "a distillation token needs a head of its own, and no registers beside it");
	else if (!small && !(large && !a->distilled))
		gn_fail(err, GN_INVALID, "format",
		        "timm's config cannot express an epsilon of %g for the norms: use format=huggingface, or "
		        "export only the weights",
		        (double)a->norm_eps);
	else
		return a->distilled ? "deit_base_distilled_patch16_224"
		       : small      ? "vit_base_patch16_224"
		                    : "vit_base_patch16_clip_224";
	return NULL;
}

const char *gn_export_class(const struct gn_model *model, enum gn_export_format format)
{
	const struct gn_hf_class *hf;

	if (format == GN_EXPORT_TIMM)
		return gn_timm_model_of(&model->arch, NULL);
	hf = gn_hf_class_of(&model->arch, NULL);
	return hf ? hf->name : NULL;
}

/* ---------------------------------------------------------------- the plan's parts ------------ */

struct planner {
	const struct gn_model *model;
	const struct gn_export_options *options;
	const struct gn_hf_class *hf; /* NULL: timm's names */
	struct gn_export_plan *plan;
};

static int add_entry(struct planner *p, const char *name, int rank, const int64_t *shape, struct gn_error *err)
{
	struct gn_export_plan *plan = p->plan;
	struct gn_st_entry *entry = &plan->entries[plan->entry_count];

	gn_assert(plan->entry_count < plan->entry_room);
	if (snprintf(entry->name, sizeof entry->name, "%s", name) >= (int)sizeof entry->name)
		return gn_fail(err, GN_INVALID, "format", "the name of tensor %.80s is too long", name);
	entry->rank = rank;
	memcpy(entry->shape, shape, (size_t)rank * sizeof *shape);
	plan->entry_count++;
	return 0;
}

static void add_span(struct planner *p, const float *values, size_t numel)
{
	struct gn_export_plan *plan = p->plan;

	gn_assert(plan->span_count < plan->span_room);
	if (numel)
		plan->spans[plan->span_count++] = (struct gn_export_span){values, numel};
}

/* Whether numel values of a tensor, beginning with first, belong to the export. */
static bool wanted(const struct planner *p, int index, size_t first, size_t numel)
{
	const struct gn_model *model = p->model;
	const struct gn_tensor *t = &model->layout.tensors[index], *b;
	int there;

	if (!p->options->delta_only)
		return true;
	there = gn_layout_find_name(&model->base->layout, t->name);
	b = there < 0 ? NULL : &model->base->layout.tensors[there];
	if (!b || b->rank != t->rank || memcmp(b->shape, t->shape, (size_t)t->rank * sizeof *t->shape))
		return true;
	return model->own[index] &&
	       memcmp(model->tensors[index] + first, model->base->tensors[there] + first, numel * sizeof(float)) != 0;
}

static int check_range(const struct planner *p, int index, struct gn_error *err)
{
	const struct gn_tensor *t = &p->model->layout.tensors[index];

	for (size_t i = 0; p->options->dtype == GN_F16 && i < t->numel; i++)
		if (!(fabsf(p->model->tensors[index][i]) < GN_F16_LIMIT))
			return gn_fail(err, GN_INVALID, "dtype",
			               "tensor %s has values that f16 cannot represent: use bf16 or f32", t->name);
	return 0;
}

/* The name of a tensor, or of a third of it, in transformers. */
static void hf_name(char *name, size_t size, const struct planner *p, const struct gn_tensor *t, enum gn_part part)
{
	const char *prefix = t->group == GN_GROUP_HEAD ? "" : p->hf->prefix;
	char own[80];

	gn_name_write(own, sizeof own, p->hf->spelling, t->role, part, t->block);
	if (p->hf->two_heads && t->role == GN_HEAD_W)
		snprintf(own, sizeof own, "cls_classifier.weight");
	else if (p->hf->two_heads && t->role == GN_HEAD_B)
		snprintf(own, sizeof own, "cls_classifier.bias");
	snprintf(name, size, "%s%s", prefix, own);
}

/* ---------------------------------------------------------------- tensors of another form ----- */

/* Adds q, k and v separately: thirds of the rows. */
static int add_thirds(struct planner *p, int index, struct gn_error *err)
{
	static const enum gn_part parts[3] = {GN_PART_Q, GN_PART_K, GN_PART_V};
	const struct gn_tensor *t = &p->model->layout.tensors[index];
	int64_t shape[4] = {t->shape[0] / 3, t->shape[1]};
	size_t third = t->numel / 3;
	char name[128];

	for (size_t i = 0; i < 3; i++) {
		if (!wanted(p, index, i * third, third))
			continue;
		hf_name(name, sizeof name, p, t, parts[i]);
		if (add_entry(p, name, t->rank, shape, err))
			return -1;
		add_span(p, p->model->tensors[index] + i * third, third);
	}
	return 0;
}

/* The classifier that reads [class token; mean of patches]. Our head fills the half for the
 * features that it reads; the other half is zeros. */
static int add_double_head(struct planner *p, int index, const char *name, struct gn_error *err)
{
	const struct gn_tensor *t = &p->model->layout.tensors[index];
	size_t classes = (size_t)t->shape[0], dim = (size_t)t->shape[1];
	bool mean = p->model->arch.pool == GN_POOL_MEAN;
	int64_t shape[4] = {t->shape[0], 2 * t->shape[1]};

	if (add_entry(p, name, 2, shape, err))
		return -1;
	for (size_t k = 0; k < classes; k++) {
		if (mean)
			add_span(p, NULL, dim);
		add_span(p, p->model->tensors[index] + k * dim, dim);
		if (!mean)
			add_span(p, NULL, dim);
	}
	return 0;
}

/* Rows of positions that a library needs but the model does not have: before all others (tokens
 * without a position), and after those of the prefix (registers). */
static void missing_rows(const struct planner *p, int *front, int *middle)
{
	const struct gn_arch *a = &p->model->arch;
	int prefix = a->class_token + a->distilled;

	*front = !a->pos_on_prefix && (p->hf || a->distilled) ? prefix : 0;
	*middle = !p->hf && a->pos_on_prefix ? a->registers : 0;
}

static int add_positions(struct planner *p, int index, const char *name, struct gn_error *err)
{
	const struct gn_tensor *t = &p->model->layout.tensors[index];
	const struct gn_arch *a = &p->model->arch;
	const float *values = p->model->tensors[index];
	size_t dim = (size_t)a->dim, own = a->pos_on_prefix ? (size_t)(a->class_token + a->distilled) * dim : 0;
	int front, middle;

	missing_rows(p, &front, &middle);
	if (add_entry(p, name, 3, (int64_t[]){1, t->shape[1] + front + middle, t->shape[2]}, err))
		return -1;
	add_span(p, NULL, (size_t)front * dim);
	add_span(p, values, own);
	add_span(p, NULL, (size_t)middle * dim);
	add_span(p, values + own, t->numel - own);
	return 0;
}

/* Dinov2's classes have a mask token that classification never reads; a file without it makes them
 * warn. */
static int add_mask_token(struct planner *p, struct gn_error *err)
{
	char name[128];

	if (!p->hf || p->hf->spelling != GN_SPELL_HF_DINOV2 || p->options->delta_only)
		return 0;
	snprintf(name, sizeof name, "%sembeddings.mask_token", p->hf->prefix);
	if (add_entry(p, name, 2, (int64_t[]){1, p->model->arch.dim}, err))
		return -1;
	add_span(p, NULL, (size_t)p->model->arch.dim);
	return 0;
}

/* ---------------------------------------------------------------- the whole ------------------- */

static int add_tensor(struct planner *p, int index, struct gn_error *err)
{
	const struct gn_tensor *t = &p->model->layout.tensors[index];
	char name[128];

	if (!wanted(p, index, 0, t->numel))
		return 0;
	if (check_range(p, index, err))
		return -1;
	if (p->hf && (t->role == GN_QKV_W || t->role == GN_QKV_B))
		return add_thirds(p, index, err);
	if (p->hf)
		hf_name(name, sizeof name, p, t, GN_PART_WHOLE);
	else
		snprintf(name, sizeof name, "%s", t->name);
	if (t->role == GN_POS_EMBED)
		return add_positions(p, index, name, err);
	if (t->role == GN_HEAD_W && p->hf && p->hf->double_head)
		return add_double_head(p, index, name, err);
	if (add_entry(p, name, t->rank, t->shape, err))
		return -1;
	add_span(p, p->model->tensors[index], t->numel);
	return 0;
}

int gn_export_plan_make(struct gn_export_plan *plan, const struct gn_model *model,
                        const struct gn_export_options *options, struct gn_error *err)
{
	struct planner p = {.model = model, .options = options, .plan = plan};
	int rows = model->arch.classes; /* of a head in halves */

	*plan = (struct gn_export_plan){0};
	if (options->delta_only && !model->base)
		return gn_fail(err, GN_INVALID, "content", "a base model has no delta: use content=full");
	if (options->format == GN_EXPORT_HUGGINGFACE && !(p.hf = gn_hf_class_of(&model->arch, err)))
		return -1;
	plan->entry_room = 3 * model->layout.count + 1;
	plan->span_room = plan->entry_room + 2 * rows + 4;
	plan->entries = gn_alloc((size_t)plan->entry_room, sizeof *plan->entries, err);
	plan->spans = gn_alloc((size_t)plan->span_room, sizeof *plan->spans, err);
	if (!plan->entries || !plan->spans || add_mask_token(&p, err))
		goto failed;
	for (int i = 0; i < model->layout.count; i++)
		if (add_tensor(&p, i, err))
			goto failed;
	return 0;
failed:
	gn_export_plan_release(plan);
	return -1;
}

void gn_export_plan_release(struct gn_export_plan *plan)
{
	free(plan->entries);
	free(plan->spans);
	*plan = (struct gn_export_plan){0};
}
