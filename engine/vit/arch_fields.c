/*
 * The one table of an architecture's fields. The bounds of gn_arch_check, the metadata of model
 * files, the models' resources, the reading of untrained models and the comparison of models follow
 * from it. A new field is a member of struct gn_arch, a row here, and what computes with it: files
 * without it stand for false or the first word; a whole number that is missing is refused.
 */
#include "gonio.h"

#include <string.h>

const char *const gn_pool_names[] = {[GN_POOL_CLS] = "cls", [GN_POOL_MEAN] = "mean", NULL};
const char *const gn_activation_names[] = {
    [GN_ACT_GELU] = "gelu", [GN_ACT_GELU_TANH] = "gelu_tanh", [GN_ACT_QUICK_GELU] = "quick_gelu", NULL};

enum { SHOWN = GN_ARCH_SHOWN, GIVEN = GN_ARCH_SHOWN | GN_ARCH_GIVEN, REQUIRED = GIVEN | GN_ARCH_REQUIRED };

#define INT(member, low, high, plain, use, noun)                                                                       \
	{                                                                                                              \
#member, GN_ARCH_INT, offsetof(struct gn_arch, member), low, high, NULL, plain, use, noun              \
	}
#define BOOL(member, plain, use, noun)                                                                                 \
	{                                                                                                              \
#member, GN_ARCH_BOOL, offsetof(struct gn_arch, member), 0, 1, NULL, plain, use, noun                  \
	}
#define CHOICE(member, words, plain, use, noun)                                                                        \
	{                                                                                                              \
#member, GN_ARCH_CHOICE, offsetof(struct gn_arch, member), 0, sizeof words / sizeof *words - 2, words, \
		    plain, use, noun                                                                                   \
	}
#define REAL(member, low, high, plain, use, noun)                                                                      \
	{                                                                                                              \
#member, GN_ARCH_REAL, offsetof(struct gn_arch, member), low, high, NULL, plain, use, noun             \
	}

/* clang-format off */
const struct gn_arch_field gn_arch_fields[] = {
	/* member, bounds, of a plain ViT, use, what an error calls it */
	INT(image_size, 1, 4096, 1, REQUIRED, "image_size"),
	INT(patch_size, 1, 256, 1, REQUIRED, "patch_size"),
	INT(dim, 1, 8192, 1, REQUIRED, "width"),
	INT(depth, 1, 128, 1, REQUIRED, "blocks:"),
	INT(heads, 1, 256, 1, REQUIRED, "heads:"),
	INT(mlp_dim, 1, 65536, 0, GIVEN, "an FFN of"), /* plain: 4 times dim */
	INT(classes, 0, 1000000, 0, GIVEN, "classes:"),
	CHOICE(pool, gn_pool_names, GN_POOL_CLS, GIVEN, "pooling"),
	INT(registers, 0, 64, 0, SHOWN, "registers:"),
	BOOL(class_token, 1, 0, "the class token"),
	BOOL(distilled, 0, SHOWN, "the distillation token"),
	BOOL(dist_head, 0, 0, "the head of the distillation token"),
	BOOL(pos_on_prefix, 1, 0, "the positions of the prefix tokens"),
	BOOL(layer_scale, 0, SHOWN, "the scaling of layers"),
	BOOL(norm_pre, 0, 0, "the norm after the embeddings"),
	BOOL(norm_after_pool, 0, 0, "the place of the final norm"),
	BOOL(qkv_bias, 1, 0, "the bias of qkv"),
	BOOL(patch_bias, 1, 0, "the bias of the patch embedding"),
	REAL(norm_eps, 0, 1, 1e-6, SHOWN, "the epsilon of their norms"),
	CHOICE(activation, gn_activation_names, GN_ACT_GELU, SHOWN, "activation"),
};
/* clang-format on */
const int gn_arch_field_count = sizeof gn_arch_fields / sizeof *gn_arch_fields;
_Static_assert(sizeof gn_arch_fields / sizeof *gn_arch_fields <= GN_ARCH_FIELDS_MAX, "GN_ARCH_FIELDS_MAX");

double gn_arch_value(const struct gn_arch *arch, const struct gn_arch_field *field)
{
	const char *at = (const char *)arch + field->offset;
	float real;
	bool flag;
	int number;

	switch (field->type) {
	case GN_ARCH_BOOL:
		memcpy(&flag, at, sizeof flag);
		return flag;
	case GN_ARCH_REAL:
		memcpy(&real, at, sizeof real);
		return (double)real;
	case GN_ARCH_INT:
	case GN_ARCH_CHOICE:
		break;
	}
	memcpy(&number, at, sizeof number);
	return number;
}

void gn_arch_set(struct gn_arch *arch, const struct gn_arch_field *field, double value)
{
	char *at = (char *)arch + field->offset;
	float real = (float)value;
	bool flag = value != 0;
	int number = (int)value;

	switch (field->type) {
	case GN_ARCH_BOOL:
		memcpy(at, &flag, sizeof flag);
		break;
	case GN_ARCH_REAL:
		memcpy(at, &real, sizeof real);
		break;
	case GN_ARCH_INT:
	case GN_ARCH_CHOICE:
		memcpy(at, &number, sizeof number);
		break;
	}
}

void gn_arch_plain(struct gn_arch *arch)
{
	*arch = (struct gn_arch){0};
	for (int i = 0; i < gn_arch_field_count; i++)
		gn_arch_set(arch, &gn_arch_fields[i], gn_arch_fields[i].plain);
}

const struct gn_arch_field *gn_arch_difference(const struct gn_arch *a, const struct gn_arch *b)
{
	for (int i = 0; i < gn_arch_field_count; i++) {
		double x = gn_arch_value(a, &gn_arch_fields[i]), y = gn_arch_value(b, &gn_arch_fields[i]);
		if (x < y || x > y)
			return &gn_arch_fields[i];
	}
	return NULL;
}
