/*
 * The architecture and the preprocessing of a foreign file: see gn_recipe_make in detect.h. Facts
 * that the tensors show are read from their shapes. The others (heads, epsilon, activation, mean of
 * the pixels) come from the options, then from the side files, then from the defaults of the
 * library whose names the file has. If these defaults differ, the user must state the fact.
 */
#include "checkpoint/detect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint/dtype.h"

static int missing(const struct gn_source *source, enum gn_role role, struct gn_error *err)
{
	char name[96];

	gn_name_write(name, sizeof name, source->spelling, role, GN_PART_WHOLE, 0);
	return gn_fail(err, GN_INVALID, name, "tensor %s is missing", name);
}

static int wrong_shape(const struct gn_source_tensor *t, const char *wanted, struct gn_error *err)
{
	char shape[80];

	return gn_fail(err, GN_INVALID, t->tensor->name, "tensor %.150s has shape %s; %s is wanted", t->tensor->name,
	               gn_st_shape_text(shape, sizeof shape, t->tensor->shape, t->tensor->rank), wanted);
}

/* ---------------------------------------------------------------- sizes from shapes ----------- */

static int read_patch(struct gn_arch *arch, const struct gn_source *source, struct gn_error *err)
{
	const struct gn_source_tensor *patch = gn_source_find(source, GN_PATCH_W);
	const int64_t *shape;

	if (!patch)
		return missing(source, GN_PATCH_W, err);
	shape = patch->tensor->shape;
	if (patch->tensor->rank != 4 || shape[0] < 1 || shape[0] > 65536 || shape[1] != 3 || shape[2] != shape[3] ||
	    shape[2] < 1 || shape[2] > 65536)
		return wrong_shape(patch, "[width, 3, patch, patch]", err);
	arch->dim = (int)shape[0];
	arch->patch_size = (int)shape[2];
	return 0;
}

static int read_blocks(struct gn_arch *arch, const struct gn_source *source, const struct gn_side *side,
                       struct gn_error *err)
{
	const struct gn_source_tensor *fc1 = gn_source_find(source, GN_FC1_W);

	for (int i = 0; i < source->count; i++)
		if (source->tensors[i].known && source->tensors[i].match.block >= arch->depth)
			arch->depth = source->tensors[i].match.block + 1;
	/* If the config states more blocks than the file has, the lost blocks are missing
	 * tensors. */
	if (side->depth > arch->depth && side->depth <= GN_BLOCK_LIMIT)
		arch->depth = side->depth;
	if (!fc1)
		return missing(source, GN_FC1_W, err);
	if (fc1->tensor->rank != 2 || fc1->tensor->shape[0] < 1 || fc1->tensor->shape[0] > 65536)
		return wrong_shape(fc1, "[hidden, width]", err);
	arch->mlp_dim = (int)fc1->tensor->shape[0];
	return 0;
}

/* Sets the switches of the architecture. A part that a library always has is required, not
 * detected. */
static int read_switches(struct gn_arch *arch, const struct gn_source *source, struct gn_error *err)
{
	enum gn_spelling s = source->spelling;
	bool clip = s == GN_SPELL_HF_CLIP || s == GN_SPELL_OPENAI_CLIP;
	const struct gn_source_tensor *registers = gn_source_find(source, GN_REG_TOKEN);

	arch->class_token = s != GN_SPELL_TIMM || source->dinov2 || gn_source_find(source, GN_CLS_TOKEN);
	arch->distilled = gn_source_find(source, GN_DIST_TOKEN) != NULL;
	arch->dist_head = gn_source_find(source, GN_HEAD_DIST_W) != NULL;
	arch->layer_scale = s == GN_SPELL_HF_DINOV2 || s == GN_SPELL_HF_DINOV2_5 || source->dinov2 ||
	                    gn_source_find(source, GN_LS1) || gn_source_find(source, GN_LS2);
	arch->norm_pre = clip || gn_source_find(source, GN_NORM_PRE_W);
	arch->patch_bias = !arch->norm_pre || gn_source_find(source, GN_PATCH_B);
	arch->qkv_bias = s == GN_SPELL_TORCHVISION || clip || gn_source_find(source, GN_QKV_B);
	if (registers) {
		int rank = registers->tensor->rank;

		if (rank < 2 || registers->tensor->shape[rank - 2] < 1 || registers->tensor->shape[rank - 2] > 64)
			return wrong_shape(registers, "[1, registers, width]", err);
		arch->registers = (int)registers->tensor->shape[rank - 2];
	}
	return 0;
}

/* ---------------------------------------------------------------- positions ------------------- */

static int square_root(int64_t n)
{
	int root = (int)lround(sqrt((double)n));

	return n > 0 && (int64_t)root * root == n ? root : 0;
}

struct position_form {
	int grid, registers;
	bool on_prefix;
};

/* The possible meanings of the rows of positions: for prefix and patches; for patches only; for
 * prefix, registers and patches. */
static int position_forms(struct position_form forms[3], const struct gn_source *source, const struct gn_arch *arch,
                          int64_t rows)
{
	int prefix = arch->class_token + arch->distilled, count = 0, grid;
	bool timm = source->spelling == GN_SPELL_TIMM && !source->dinov2;

	if ((grid = square_root(rows - prefix)))
		forms[count++] = (struct position_form){grid, 0, prefix > 0};
	if (timm && prefix > 0 && (grid = square_root(rows)))
		forms[count++] = (struct position_form){grid, 0, false};
	if (timm && arch->registers && (grid = square_root(rows - prefix - arch->registers)) > 1)
		forms[count++] = (struct position_form){grid, arch->registers, prefix > 0};
	return count;
}

static int read_positions(struct gn_recipe *recipe, const struct gn_source *source, const struct gn_side *side,
                          const struct gn_import_options *options, struct gn_error *err)
{
	const struct gn_source_tensor *pos = gn_source_find(source, GN_POS_EMBED);
	struct gn_arch *arch = &recipe->arch;
	const int said[] = {side->image_size, side->image_size_timm, options->image_size};
	struct position_form forms[3];
	int count, chosen = 0, rank = pos ? pos->tensor->rank : 0;
	bool settled = false;

	if (!pos)
		return missing(source, GN_POS_EMBED, err);
	if (rank < 2 || pos->tensor->shape[rank - 2] < 1 || pos->tensor->shape[rank - 2] > 1 << 24)
		return wrong_shape(pos, "[1, tokens, width]", err);
	count = position_forms(forms, source, arch, pos->tensor->shape[rank - 2]);
	if (count == 0)
		return wrong_shape(pos, "a square number of patches, with or without its prefix tokens,", err);
	for (size_t s = 0; s < sizeof said / sizeof *said; s++)
		for (int f = 0; f < count && !settled; f++)
			if (forms[f].grid * arch->patch_size == said[s]) {
				chosen = f;
				settled = true;
			}
	if (count > 1 && !settled)
		return gn_fail(err, GN_INVALID, "image_size",
		               "tensor %.100s can be read for images of %d or of %d: say image_size", pos->tensor->name,
		               forms[0].grid * arch->patch_size, forms[1].grid * arch->patch_size);
	recipe->grid = forms[chosen].grid;
	recipe->pos_registers = forms[chosen].registers;
	arch->pos_on_prefix = forms[chosen].on_prefix;
	arch->image_size = recipe->grid * arch->patch_size;
	return 0;
}

/* ---------------------------------------------------------------- head and pooling ------------ */

static bool all_zero(const struct gn_st_tensor *t, int64_t first_column, int64_t columns)
{
	int64_t rows = t->shape[0], width = t->shape[1];
	size_t bytes = gn_dtype_bytes((enum gn_dtype)t->dtype);

	for (int64_t r = 0; r < rows; r++) {
		for (int64_t c = 0; c < columns; c++) {
			float value;

			gn_dtype_widen(&value, t->data + (size_t)(r * width + first_column + c) * bytes,
			               (enum gn_dtype)t->dtype, 1);
			if (!(value == 0.0f))
				return false;
		}
	}
	return true;
}

/* Dinov2ForImageClassification's classifier reads [class token; mean of patches]; ours reads one of
 * them. */
static int read_double_head(struct gn_recipe *recipe, const struct gn_source_tensor *head,
                            const struct gn_import_options *options, struct gn_error *err)
{
	int64_t dim = recipe->arch.dim;

	if (head->tensor->dtype > GN_ST_BF16)
		return gn_fail(err, GN_INVALID, head->tensor->name,
		               "tensor %.150s is of dtype %s; F32, F16 and BF16 are read", head->tensor->name,
		               gn_st_dtype_name(head->tensor->dtype));
	if (all_zero(head->tensor, dim, dim)) {
		recipe->head = GN_HEAD_FROM_CLS_HALF;
	} else if (all_zero(head->tensor, 0, dim)) {
		recipe->head = GN_HEAD_FROM_MEAN_HALF;
		recipe->arch.pool = GN_POOL_MEAN;
	} else if (options->allow_unused) {
		recipe->head = GN_HEAD_FROM_NONE;
	} else {
		return gn_fail(err, GN_UNSUPPORTED, head->tensor->name,
		               "tensor %.150s reads the class token and the mean of the patches together, which "
		               "gonio's head cannot; "
		               "allow_unused leaves it out",
		               head->tensor->name);
	}
	return 0;
}

static int read_head(struct gn_recipe *recipe, const struct gn_source *source, const struct gn_import_options *options,
                     struct gn_error *err)
{
	const struct gn_source_tensor *head = gn_source_find(source, GN_HEAD_W);
	bool transposed = head && head->match.part == GN_PART_PROJECTION_TRANSPOSED;
	bool dinov2 = source->spelling == GN_SPELL_HF_DINOV2 || source->spelling == GN_SPELL_HF_DINOV2_5;

	recipe->head = head ? GN_HEAD_FROM_WHOLE : GN_HEAD_FROM_NONE;
	if (!head)
		return 0;
	if (head->tensor->rank != 2 || head->tensor->shape[transposed] < 1 || head->tensor->shape[transposed] > 1000000)
		return wrong_shape(head, "[classes, width]", err);
	if (dinov2 && head->tensor->shape[1] == 2 * (int64_t)recipe->arch.dim &&
	    read_double_head(recipe, head, options, err))
		return -1;
	if (recipe->head != GN_HEAD_FROM_NONE)
		recipe->arch.classes = (int)head->tensor->shape[transposed];
	return 0;
}

static bool has_fc_norm(const struct gn_source *source)
{
	const struct gn_source_tensor *norm = gn_source_find(source, GN_NORM_W);

	return norm && !strncmp(norm->name, "fc_norm.", strlen("fc_norm."));
}

static void choose_pool(struct gn_arch *arch, const struct gn_source *source, const struct gn_side *side)
{
	if (side->pool >= 0)
		arch->pool = (enum gn_pool)side->pool;
	else
		arch->pool = !arch->class_token || has_fc_norm(source) ? GN_POOL_MEAN : GN_POOL_CLS;
	/* A norm after taking the class token is equal to a norm before it. */
	arch->norm_after_pool = has_fc_norm(source) && arch->pool == GN_POOL_MEAN;
}

/* ---------------------------------------------------------------- what tensors cannot tell ---- */

static int choose_heads(struct gn_arch *arch, const struct gn_side *side, const struct gn_import_options *options,
                        struct gn_error *err)
{
	if (options->heads)
		arch->heads = options->heads;
	else if (side->heads)
		arch->heads = side->heads;
	else if (arch->dim == 1280) /* ViT-H: 16 heads of 80 */
		arch->heads = 16;
	else if (arch->dim % 64 == 0 && arch->dim != 1152 && arch->dim != 1408 &&
	         arch->dim != 1664) /* those have 16 heads */
		arch->heads = arch->dim / 64;
	else
		return gn_fail(
		    err, GN_INVALID, "heads",
		    "the number of heads is not in the tensors, and a width of %d is not standard: say heads",
		    arch->dim);
	return 0;
}

static int choose_activation(struct gn_arch *arch, const struct gn_source *source, const struct gn_side *side,
                             const struct gn_import_options *options, struct gn_error *err)
{
	if (options->activation >= 0)
		arch->activation = (enum gn_activation)options->activation;
	else if (side->activation >= 0)
		arch->activation = (enum gn_activation)side->activation;
	else if (source->spelling == GN_SPELL_HF_CLIP)
		arch->activation = GN_ACT_QUICK_GELU;
	else if (source->spelling == GN_SPELL_OPENAI_CLIP)
		return gn_fail(
		    err, GN_INVALID, "activation",
		    "the activation is not in the tensors: say quick_gelu for OpenAI's weights, gelu for OpenCLIP's");
	else
		arch->activation = GN_ACT_GELU;
	return 0;
}

static void choose_eps(struct gn_arch *arch, const struct gn_source *source, const struct gn_side *side,
                       const struct gn_import_options *options)
{
	enum gn_spelling s = source->spelling;

	if (!isnan(options->norm_eps))
		arch->norm_eps = options->norm_eps;
	else if (!isnan(side->norm_eps))
		arch->norm_eps = (float)side->norm_eps;
	else if (arch->norm_pre)
		arch->norm_eps = 1e-5f; /* CLIP, from any library */
	else
		arch->norm_eps = s == GN_SPELL_HF_VIT || s == GN_SPELL_HF_VIT5 ? 1e-12f : 1e-6f;
}

/* The image size of the model. The positions are resized if it differs from the file's. */
static int choose_image_size(struct gn_arch *arch, const struct gn_side *side, const struct gn_import_options *options,
                             struct gn_error *err)
{
	if (side->image_size && side->image_size != arch->image_size)
		return gn_fail(err, GN_INVALID, "config.image_size",
		               "config.json says %d, but the positions are for images of %d", side->image_size,
		               arch->image_size);
	if (options->image_size)
		arch->image_size = options->image_size;
	else if (side->image_size_timm)
		arch->image_size = side->image_size_timm;
	return 0;
}

static int agree(const char *what, int config, int tensors, struct gn_error *err)
{
	char where[64];

	if (config == 0 || config == tensors)
		return 0;
	snprintf(where, sizeof where, "config.%s", what);
	return gn_fail(err, GN_INVALID, where, "config.json says %s %d, the tensors say %d", what, config, tensors);
}

/* ---------------------------------------------------------------- preprocessing --------------- */

/* The default preprocessing of the library that wrote the file. */
static struct gn_preprocess habits(const struct gn_source *source, const struct gn_arch *arch)
{
	static const float half[3] = {0.5f, 0.5f, 0.5f}, imagenet_mean[3] = {0.485f, 0.456f, 0.406f},
	                   imagenet_std[3] = {0.229f, 0.224f, 0.225f},
	                   clip_mean[3] = {0.48145466f, 0.4578275f, 0.40821073f},
	                   clip_std[3] = {0.26862954f, 0.26130258f, 0.27577711f};
	enum gn_spelling s = source->spelling;
	bool hf_vit = s == GN_SPELL_HF_VIT || s == GN_SPELL_HF_VIT5;
	bool hf = hf_vit || s == GN_SPELL_HF_DINOV2 || s == GN_SPELL_HF_DINOV2_5;
	const float *mean = imagenet_mean, *std = imagenet_std;
	struct gn_preprocess p = {.crop_pct = 0.9f, .interpolation = GN_BICUBIC};

	if (arch->norm_pre) { /* CLIP */
		mean = clip_mean;
		std = clip_std;
		p.crop_pct = s == GN_SPELL_TIMM ? 0.95f : 1.0f;
	} else if (s == GN_SPELL_TORCHVISION) {
		p.crop_pct = 0.875f;
		p.interpolation = GN_BILINEAR;
	} else if (hf && (!hf_vit || arch->distilled)) {
		/* Dinov2, DeiT: 256, then the middle 224 */
		p.crop_pct = 0.875f;
	} else if (hf) { /* ViTImageProcessor: the whole picture */
		mean = std = half;
		p.crop_pct = 1.0f;
		p.interpolation = GN_BILINEAR;
	} else if (!arch->class_token) { /* timm's "gap" models */
		mean = std = half;
		p.crop_pct = 0.95f;
	} else if (source->dinov2 || (arch->layer_scale && (arch->pos_on_prefix || arch->registers))) {
		p.crop_pct = 1.0f; /* DINOv2, also under timm's names */
	} else if (!arch->layer_scale && !arch->distilled) {
		/* timm's augreg; with layer scale it is DeiT-3 */
		mean = std = half;
	}
	memcpy(p.mean, mean, sizeof p.mean);
	memcpy(p.std, std, sizeof p.std);
	return p;
}

static int check_preprocess(const struct gn_preprocess *p, struct gn_error *err)
{
	for (int c = 0; c < 3; c++) {
		if (!(fabsf(p->mean[c]) <= 10))
			return gn_fail(err, GN_INVALID, "mean", "mean must be three numbers of -10 to 10");
		if (!(p->std[c] >= 1e-6f && p->std[c] <= 1000))
			return gn_fail(err, GN_INVALID, "std", "std must be three numbers above 0, at most 1000");
	}
	if (!(p->crop_pct >= 0.05f && p->crop_pct <= 1))
		return gn_fail(err, GN_INVALID, "crop_pct", "crop_pct must be a number of 0.05 to 1");
	return 0;
}

static void choose_triple(float out[3], const float option[3], const float side[3])
{
	if (!isnan(option[0]))
		memcpy(out, option, 3 * sizeof *out);
	else if (!isnan(side[0]))
		memcpy(out, side, 3 * sizeof *out);
}

static int choose_preprocess(struct gn_recipe *recipe, const struct gn_source *source, const struct gn_side *side,
                             const struct gn_import_options *options, struct gn_error *err)
{
	struct gn_preprocess *p = &recipe->preprocess;

	*p = habits(source, &recipe->arch);
	choose_triple(p->mean, options->mean, side->mean);
	choose_triple(p->std, options->std, side->std);
	if (!isnan(options->crop_pct))
		p->crop_pct = options->crop_pct;
	else if (!isnan(side->crop_pct))
		p->crop_pct = (float)side->crop_pct;
	if (side->interpolation >= 0)
		p->interpolation = (enum gn_interpolation)side->interpolation;
	return check_preprocess(p, err);
}

/* ---------------------------------------------------------------- the whole ------------------- */

static void choose_scheme(struct gn_recipe *recipe, const struct gn_source *source, const struct gn_side *side,
                          bool from_gonio, const struct gn_import_options *options)
{
	enum gn_spelling s = source->spelling;

	recipe->scheme = GN_SCHEME_HUGGINGFACE;
	recipe->pos_resample = GN_POS_HF;
	if (s == GN_SPELL_TORCHVISION) {
		recipe->scheme = GN_SCHEME_TORCHVISION;
		recipe->pos_resample = GN_POS_TORCHVISION;
	} else if (s == GN_SPELL_TIMM || s == GN_SPELL_OPENAI_CLIP) {
		/* OpenCLIP resamples as timm does */
		recipe->scheme = from_gonio ? GN_SCHEME_GONIO : source->dinov2 ? GN_SCHEME_DINOV2 : GN_SCHEME_TIMM;
		recipe->pos_resample = source->dinov2 ? GN_POS_DINOV2 : GN_POS_TIMM;
	}
	/* all libraries use antialiasing for models with registers */
	if (recipe->arch.registers && recipe->pos_resample != GN_POS_TORCHVISION)
		recipe->pos_resample = GN_POS_TIMM;
	if (side->pos_resample >= 0)
		recipe->pos_resample = (enum gn_pos_resample)side->pos_resample;
	if (options->pos_resample)
		recipe->pos_resample = *options->pos_resample;
}

int gn_recipe_make(struct gn_recipe *recipe, const struct gn_source *source, const struct gn_side *side,
                   bool from_gonio, const struct gn_import_options *options, struct gn_error *err)
{
	struct gn_arch *arch = &recipe->arch;

	*recipe = (struct gn_recipe){0};
	if (read_patch(arch, source, err) || read_blocks(arch, source, side, err) || read_switches(arch, source, err) ||
	    read_positions(recipe, source, side, options, err))
		return -1;
	choose_pool(arch, source, side);
	choose_eps(arch, source, side, options);
	choose_scheme(recipe, source, side, from_gonio, options);
	if (read_head(recipe, source, options, err) || agree("hidden_size", side->dim, arch->dim, err) ||
	    agree("num_hidden_layers", side->depth, arch->depth, err) ||
	    agree("intermediate_size", side->mlp_dim, arch->mlp_dim, err) ||
	    agree("patch_size", side->patch_size, arch->patch_size, err) || choose_heads(arch, side, options, err) ||
	    choose_activation(arch, source, side, options, err) || choose_image_size(arch, side, options, err) ||
	    choose_preprocess(recipe, source, side, options, err))
		return -1;
	return gn_arch_check(arch, err);
}
