/* The architecture of a ViT: its sizes and its table of tensors. Part of gonio.h, whose conventions
 * hold here. */
#ifndef GONIO_ARCHITECTURE_H
#define GONIO_ARCHITECTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/gonio/error.h"

/* MEAN averages the patch tokens only: no class, distillation or register token. */
enum gn_pool { GN_POOL_CLS, GN_POOL_MEAN };
/* GELU with the exact erf; GELU in its tanh form; x * sigmoid(1.702 x) */
enum gn_activation { GN_ACT_GELU, GN_ACT_GELU_TANH, GN_ACT_QUICK_GELU };

/* A ViT. Token order is [cls][dist][registers...][patches]. T = prefix tokens + (image_size /
 * patch_size)^2. */
struct gn_arch {
	int image_size, patch_size, dim, depth, heads, mlp_dim;
	int classes;   /* 0: no head */
	int registers; /* register tokens; they have no position embedding */
	enum gn_pool pool;
	enum gn_activation activation;
	float norm_eps;
	bool class_token; /* pool CLS needs it */
	bool distilled;   /* a distillation token follows the class token */
	/* timm DeiT: head_dist reads the distillation token, logits are the mean of both heads */
	bool dist_head;
	/* pos_embed has rows for cls and dist (false: timm's no_embed_class, DeiT-3) */
	bool pos_on_prefix;
	bool layer_scale; /* ls1, ls2 */
	bool norm_pre;    /* CLIP: a LayerNorm after the embeddings */
	/* timm fc_norm: the final norm comes after the mean pooling, and is named fc_norm */
	bool norm_after_pool;
	bool qkv_bias, patch_bias;
};

/* ---------------------------------------------------------------- its fields as a table ------- */

extern const char *const gn_pool_names[];       /* by enum gn_pool, NULL-terminated */
extern const char *const gn_activation_names[]; /* by enum gn_activation, NULL-terminated */

enum gn_arch_type { GN_ARCH_INT, GN_ARCH_BOOL, GN_ARCH_CHOICE, GN_ARCH_REAL }; /* int, bool, an enum, float */
enum gn_arch_use {
	GN_ARCH_SHOWN = 1,   /* in a model's resource */
	GN_ARCH_GIVEN = 2,   /* may be given for an untrained model */
	GN_ARCH_REQUIRED = 4 /* must be given for one */
};
struct gn_arch_field {
	const char *name; /* of the member, in every file and message */
	enum gn_arch_type type;
	size_t offset;            /* in struct gn_arch */
	double low, high;         /* INT, CHOICE: both allowed; REAL: neither is */
	const char *const *words; /* of a CHOICE, NULL-terminated */
	double plain;             /* of a plain ViT; below `low`: follows from other fields */
	unsigned use;             /* enum gn_arch_use, added */
	const char *noun;         /* "width": what an error about two models calls it */
};
enum { GN_ARCH_FIELDS_MAX = 64 };
extern const struct gn_arch_field gn_arch_fields[];
extern const int gn_arch_field_count;
double gn_arch_value(const struct gn_arch *arch, const struct gn_arch_field *field);
void gn_arch_set(struct gn_arch *arch, const struct gn_arch_field *field, double value);
/* Sets every field to that of a plain ViT; its sizes are still to be set. */
void gn_arch_plain(struct gn_arch *arch);
/* The first field in which they differ; NULL: none. */
const struct gn_arch_field *gn_arch_difference(const struct gn_arch *a, const struct gn_arch *b);

/* ---------------------------------------------------------------- what follows from them ------ */

/* Checks every field against its bounds, also that dim is divisible by heads and image_size by
 * patch_size. On an error, err->where names the field. */
int gn_arch_check(const struct gn_arch *arch, struct gn_error *err);
int gn_arch_tokens(const struct gn_arch *arch);        /* T */
int gn_arch_prefix_tokens(const struct gn_arch *arch); /* cls + dist + registers */
/* Operations of one image's forward pass, every token through every block: docs/method.md,
 * "Costs". The blocks alone; and with the patch projection and the head. */
double gn_arch_blocks_flops(const struct gn_arch *arch);
double gn_arch_forward_flops(const struct gn_arch *arch);

enum gn_group { GN_GROUP_EMBEDDING, GN_GROUP_ATTENTION, GN_GROUP_FFN, GN_GROUP_NORM, GN_GROUP_HEAD };
/* "embedding", "attention", "ffn", "norm", "head" */
const char *gn_group_name(enum gn_group group);
/* The name of a layer, as timm calls it: "blocks.3.attn", "blocks.3.mlp". Tensors outside of the
 * layers have their group's name. Returns text. */
enum { GN_LAYER_NAME_SIZE = 32 };
const char *gn_layer_name(char text[GN_LAYER_NAME_SIZE], enum gn_group group, int block);
/* The group and the block of an attention or FFN layer; false for any other name. */
bool gn_layer_from_name(enum gn_group *group, int *block, const char *name);

/* What a tensor does in the network; with the block number it identifies the tensor. */
/* clang-format off */
enum gn_role {
	GN_CLS_TOKEN, GN_DIST_TOKEN, GN_REG_TOKEN, GN_POS_EMBED, GN_PATCH_W, GN_PATCH_B, GN_NORM_PRE_W, GN_NORM_PRE_B,
	GN_NORM1_W, GN_NORM1_B, GN_QKV_W, GN_QKV_B, GN_PROJ_W, GN_PROJ_B, GN_LS1,
	GN_NORM2_W, GN_NORM2_B, GN_FC1_W, GN_FC1_B, GN_FC2_W, GN_FC2_B, GN_LS2,
	GN_NORM_W, GN_NORM_B, GN_HEAD_W, GN_HEAD_B, GN_HEAD_DIST_W, GN_HEAD_DIST_B,
	GN_ROLE_COUNT
};
/* clang-format on */

/* One parameter tensor. Names are timm's ("blocks.3.attn.qkv.weight"). Linear weights are (out,
 * in), row-major. */
struct gn_tensor {
	char name[48];
	enum gn_role role;
	/* norm1, ls1: attention; norm2, ls2: ffn. docs/method.md, "Layers and groups" */
	enum gn_group group;
	int block; /* -1 outside the blocks */
	int rank;
	int64_t shape[4];
	size_t numel;
	/* in floats, into a flat buffer of layout.floats; a multiple of 32 (128 bytes) */
	size_t offset;
	/* a weight of qkv, proj, fc1 or fc2: the angle of a layer is computed from these */
	bool matrix;
	bool no_decay; /* no weight decay: 1-D tensors, tokens, position embedding */
};

/* All tensors of an architecture, in network order. */
struct gn_layout {
	int count;
	struct gn_tensor *tensors;
	size_t floats;     /* length of a flat buffer that holds all of them, padding included */
	size_t parameters; /* without padding */
};
int gn_layout_init(struct gn_layout *layout, const struct gn_arch *arch, struct gn_error *err);
void gn_layout_release(struct gn_layout *layout);
/* The index of a tensor, or -1 if the architecture has no such tensor. Roles outside the blocks
 * ignore block. */
int gn_layout_find(const struct gn_layout *layout, enum gn_role role, int block);
int gn_layout_find_name(const struct gn_layout *layout, const char *name);

#endif
