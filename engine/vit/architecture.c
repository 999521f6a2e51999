/* The bounds of an architecture, and its list of parameter tensors, whose index all other code
 * uses. */
#include "gonio.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* floats: 128 bytes, which is a pair of cache lines and enough for 16-byte device loads */
#define OFFSET_ALIGN 32

static int bound(const char *name, int64_t value, int64_t low, int64_t high, struct gn_error *err)
{
	if (value < low || value > high)
		return gn_fail(err, GN_INVALID, name, "must be between %lld and %lld, not %lld", (long long)low,
		               (long long)high, (long long)value);
	return 0;
}

static int check_field(const struct gn_arch *a, const struct gn_arch_field *field, struct gn_error *err)
{
	double value = gn_arch_value(a, field);

	if (field->type != GN_ARCH_REAL)
		return bound(field->name, (int64_t)value, (int64_t)field->low, (int64_t)field->high, err);
	if (!(value > field->low && value < field->high))
		return gn_fail(err, GN_INVALID, field->name, "must be above %g and below %g", field->low, field->high);
	return 0;
}

int gn_arch_check(const struct gn_arch *a, struct gn_error *err)
{
	for (int i = 0; i < gn_arch_field_count; i++)
		if (check_field(a, &gn_arch_fields[i], err))
			return -1;
	if (a->image_size % a->patch_size)
		return gn_fail(err, GN_INVALID, "image_size", "%d is not a multiple of the patch size %d",
		               a->image_size, a->patch_size);
	if (a->dim % a->heads)
		return gn_fail(err, GN_INVALID, "heads", "%d heads do not divide the width %d", a->heads, a->dim);
	if (a->pool == GN_POOL_CLS && !a->class_token)
		return gn_fail(err, GN_INVALID, "pool", "pooling by class token needs a class token");
	if (a->norm_after_pool && a->pool == GN_POOL_CLS)
		return gn_fail(err, GN_INVALID, "pool", "fc_norm goes with mean pooling only");
	if (a->distilled && (!a->class_token || a->pool != GN_POOL_CLS))
		return gn_fail(err, GN_INVALID, "distilled", "a distillation token needs a class token that is pooled");
	if (a->dist_head && !a->distilled)
		return gn_fail(err, GN_INVALID, "distilled", "head_dist needs a distillation token");
	return bound("image_size", gn_arch_tokens(a), 1, 16384, err);
}

int gn_arch_prefix_tokens(const struct gn_arch *a)
{
	return a->class_token + a->distilled + a->registers;
}

int gn_arch_tokens(const struct gn_arch *a)
{
	int grid = a->image_size / a->patch_size;

	return gn_arch_prefix_tokens(a) + grid * grid;
}

double gn_arch_blocks_flops(const struct gn_arch *a)
{
	double T = gn_arch_tokens(a), C = a->dim, mlp = a->mlp_dim;

	return a->depth * (2 * T * (4 * C * C + 2 * C * mlp) + 4 * T * T * C);
}

double gn_arch_forward_flops(const struct gn_arch *a)
{
	double C = a->dim, patches = gn_arch_tokens(a) - gn_arch_prefix_tokens(a);

	return gn_arch_blocks_flops(a) + 2 * patches * 3 * a->patch_size * a->patch_size * C + 2 * C * a->classes;
}

const char *gn_group_name(enum gn_group group)
{
	static const char *const names[] = {"embedding", "attention", "ffn", "norm", "head"};

	return names[group];
}

const char *gn_layer_name(char text[GN_LAYER_NAME_SIZE], enum gn_group group, int block)
{
	if (group == GN_GROUP_ATTENTION || group == GN_GROUP_FFN)
		snprintf(text, GN_LAYER_NAME_SIZE, "blocks.%d.%s", block, group == GN_GROUP_ATTENTION ? "attn" : "mlp");
	else
		snprintf(text, GN_LAYER_NAME_SIZE, "%s", gn_group_name(group));
	return text;
}

bool gn_layer_from_name(enum gn_group *group, int *block, const char *name)
{
	const char *digits = strpbrk(name, "0123456789");
	char text[GN_LAYER_NAME_SIZE];

	if (!digits)
		return false;
	*block = (int)strtol(digits, NULL, 10);
	for (*group = GN_GROUP_ATTENTION; *group <= GN_GROUP_FFN; (*group)++)
		if (!strcmp(gn_layer_name(text, *group, *block), name))
			return true;
	return false;
}

/* ---------------------------------------------------------------- the list of tensors --------- */

/* %d is the block. norm_after_pool renames the final norm. */
static const struct {
	const char *name;
	enum gn_group group;
	bool matrix, token;
} roles[GN_ROLE_COUNT] = {
    [GN_CLS_TOKEN] = {"cls_token", GN_GROUP_EMBEDDING, false, true},
    [GN_DIST_TOKEN] = {"dist_token", GN_GROUP_EMBEDDING, false, true},
    [GN_REG_TOKEN] = {"reg_token", GN_GROUP_EMBEDDING, false, true},
    [GN_POS_EMBED] = {"pos_embed", GN_GROUP_EMBEDDING, false, true},
    [GN_PATCH_W] = {"patch_embed.proj.weight", GN_GROUP_EMBEDDING, false, false},
    [GN_PATCH_B] = {"patch_embed.proj.bias", GN_GROUP_EMBEDDING, false, false},
    [GN_NORM_PRE_W] = {"norm_pre.weight", GN_GROUP_NORM, false, false},
    [GN_NORM_PRE_B] = {"norm_pre.bias", GN_GROUP_NORM, false, false},
    [GN_NORM1_W] = {"blocks.%d.norm1.weight", GN_GROUP_ATTENTION, false, false},
    [GN_NORM1_B] = {"blocks.%d.norm1.bias", GN_GROUP_ATTENTION, false, false},
    [GN_QKV_W] = {"blocks.%d.attn.qkv.weight", GN_GROUP_ATTENTION, true, false},
    [GN_QKV_B] = {"blocks.%d.attn.qkv.bias", GN_GROUP_ATTENTION, false, false},
    [GN_PROJ_W] = {"blocks.%d.attn.proj.weight", GN_GROUP_ATTENTION, true, false},
    [GN_PROJ_B] = {"blocks.%d.attn.proj.bias", GN_GROUP_ATTENTION, false, false},
    [GN_LS1] = {"blocks.%d.ls1.gamma", GN_GROUP_ATTENTION, false, false},
    [GN_NORM2_W] = {"blocks.%d.norm2.weight", GN_GROUP_FFN, false, false},
    [GN_NORM2_B] = {"blocks.%d.norm2.bias", GN_GROUP_FFN, false, false},
    [GN_FC1_W] = {"blocks.%d.mlp.fc1.weight", GN_GROUP_FFN, true, false},
    [GN_FC1_B] = {"blocks.%d.mlp.fc1.bias", GN_GROUP_FFN, false, false},
    [GN_FC2_W] = {"blocks.%d.mlp.fc2.weight", GN_GROUP_FFN, true, false},
    [GN_FC2_B] = {"blocks.%d.mlp.fc2.bias", GN_GROUP_FFN, false, false},
    [GN_LS2] = {"blocks.%d.ls2.gamma", GN_GROUP_FFN, false, false},
    [GN_NORM_W] = {"norm.weight", GN_GROUP_NORM, false, false},
    [GN_NORM_B] = {"norm.bias", GN_GROUP_NORM, false, false},
    [GN_HEAD_W] = {"head.weight", GN_GROUP_HEAD, false, false},
    [GN_HEAD_B] = {"head.bias", GN_GROUP_HEAD, false, false},
    [GN_HEAD_DIST_W] = {"head_dist.weight", GN_GROUP_HEAD, false, false},
    [GN_HEAD_DIST_B] = {"head_dist.bias", GN_GROUP_HEAD, false, false},
};

static void add(struct gn_layout *layout, const struct gn_arch *a, enum gn_role role, int block, int rank,
                const int64_t *shape)
{
	struct gn_tensor *t = &layout->tensors[layout->count++];
	const char *name = roles[role].name;

	if (block >= 0)
		snprintf(t->name, sizeof t->name, "blocks.%d%s", block, name + strlen("blocks.%d"));
	else
		snprintf(t->name, sizeof t->name, "%s%s",
		         a->norm_after_pool && (role == GN_NORM_W || role == GN_NORM_B) ? "fc_" : "", name);
	t->role = role;
	t->group = roles[role].group;
	t->block = block;
	t->rank = rank;
	t->numel = 1;
	for (int i = 0; i < rank; i++) {
		t->shape[i] = shape[i];
		t->numel *= (size_t)shape[i];
	}
	t->offset = layout->floats;
	t->matrix = roles[role].matrix;
	t->no_decay = rank == 1 || roles[role].token;
	layout->floats += (t->numel + OFFSET_ALIGN - 1) / OFFSET_ALIGN * OFFSET_ALIGN;
	layout->parameters += t->numel;
}

#define ADD(role, block, ...)                                                                                          \
	add(layout, a, role, block, (int)(sizeof(int64_t[]){__VA_ARGS__} / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static void add_embedding(struct gn_layout *layout, const struct gn_arch *a)
{
	int64_t C = a->dim, P = a->patch_size, grid = a->image_size / a->patch_size;

	if (a->class_token)
		ADD(GN_CLS_TOKEN, -1, 1, 1, C);
	if (a->distilled)
		ADD(GN_DIST_TOKEN, -1, 1, 1, C);
	if (a->registers)
		ADD(GN_REG_TOKEN, -1, 1, a->registers, C);
	ADD(GN_POS_EMBED, -1, 1, grid * grid + (a->pos_on_prefix ? a->class_token + a->distilled : 0), C);
	ADD(GN_PATCH_W, -1, C, 3, P, P);
	if (a->patch_bias)
		ADD(GN_PATCH_B, -1, C);
	if (a->norm_pre) {
		ADD(GN_NORM_PRE_W, -1, C);
		ADD(GN_NORM_PRE_B, -1, C);
	}
}

static void add_block(struct gn_layout *layout, const struct gn_arch *a, int i)
{
	int64_t C = a->dim, M = a->mlp_dim;

	ADD(GN_NORM1_W, i, C);
	ADD(GN_NORM1_B, i, C);
	ADD(GN_QKV_W, i, 3 * C, C);
	if (a->qkv_bias)
		ADD(GN_QKV_B, i, 3 * C);
	ADD(GN_PROJ_W, i, C, C);
	ADD(GN_PROJ_B, i, C);
	if (a->layer_scale)
		ADD(GN_LS1, i, C);
	ADD(GN_NORM2_W, i, C);
	ADD(GN_NORM2_B, i, C);
	ADD(GN_FC1_W, i, M, C);
	ADD(GN_FC1_B, i, M);
	ADD(GN_FC2_W, i, C, M);
	ADD(GN_FC2_B, i, C);
	if (a->layer_scale)
		ADD(GN_LS2, i, C);
}

static void add_head(struct gn_layout *layout, const struct gn_arch *a)
{
	int64_t C = a->dim, K = a->classes;

	ADD(GN_NORM_W, -1, C);
	ADD(GN_NORM_B, -1, C);
	if (K == 0)
		return;
	ADD(GN_HEAD_W, -1, K, C);
	ADD(GN_HEAD_B, -1, K);
	if (a->dist_head) {
		ADD(GN_HEAD_DIST_W, -1, K, C);
		ADD(GN_HEAD_DIST_B, -1, K);
	}
}

int gn_layout_init(struct gn_layout *layout, const struct gn_arch *arch, struct gn_error *err)
{
	enum { OUTSIDE = 16, PER_BLOCK = 14 };

	*layout = (struct gn_layout){0};
	if (gn_arch_check(arch, err))
		return -1;
	layout->tensors = calloc((size_t)(OUTSIDE + PER_BLOCK * arch->depth), sizeof *layout->tensors);
	if (!layout->tensors)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for the list of tensors");
	add_embedding(layout, arch);
	for (int i = 0; i < arch->depth; i++)
		add_block(layout, arch, i);
	add_head(layout, arch);
	gn_assert(layout->count <= OUTSIDE + PER_BLOCK * arch->depth);
	return 0;
}

void gn_layout_release(struct gn_layout *layout)
{
	free(layout->tensors);
	*layout = (struct gn_layout){0};
}

int gn_layout_find(const struct gn_layout *layout, enum gn_role role, int block)
{
	for (int i = 0; i < layout->count; i++) {
		const struct gn_tensor *t = &layout->tensors[i];

		if (t->role == role && (t->block < 0 || t->block == block))
			return i;
	}
	return -1;
}

int gn_layout_find_name(const struct gn_layout *layout, const char *name)
{
	for (int i = 0; i < layout->count; i++)
		if (!strcmp(layout->tensors[i].name, name))
			return i;
	return -1;
}
