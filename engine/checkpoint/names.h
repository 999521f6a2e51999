/*
 * Tensor names: which name of which scheme means which parameter of ours, as data. A spelling is one way of naming a
 * whole ViT; the tables hold the names that are left when wrapper prefixes are stripped.
 */
#ifndef GN_CHECKPOINT_NAMES_H
#define GN_CHECKPOINT_NAMES_H

#include "gonio.h"

#define GN_BLOCK_LIMIT 128 /* block numbers are below it, as gn_arch_check's bound */

enum gn_spelling {
	GN_SPELL_TIMM,        /* timm, facebookresearch's DeiT, DeiT-3, MAE, DINOv2 */
	GN_SPELL_HF_VIT,      /* Hugging Face ViT, DeiT, MAE, MSN as every version saves them */
	GN_SPELL_HF_VIT5,     /* the same as transformers 5 names them in memory */
	GN_SPELL_HF_DINOV2,   /* Dinov2 with and without registers */
	GN_SPELL_HF_DINOV2_5, /* the same in memory of transformers 5 */
	GN_SPELL_TORCHVISION,
	GN_SPELL_OPENAI_CLIP, /* OpenAI and OpenCLIP: visual.* */
	GN_SPELL_HF_CLIP,
	GN_SPELLING_COUNT
};

enum gn_part {
	GN_PART_WHOLE,
	GN_PART_Q,
	GN_PART_K,
	GN_PART_V,                    /* a third of the rows of qkv */
	GN_PART_PROJECTION,           /* CLIP's projection, (E, D): a head whose bias is zero */
	GN_PART_PROJECTION_TRANSPOSED /* (D, E) */
};

struct gn_name_match {
	enum gn_role role;
	enum gn_part part;
	int block; /* -1 outside of the blocks */
};
/* What name, stripped of prefixes, means in a spelling; false: nothing. */
bool gn_name_match(struct gn_name_match *match, enum gn_spelling spelling, const char *name);
/* The first name of a role and part in a spelling, written into text; "" when the spelling has none. */
const char *gn_name_write(char *text, size_t size, enum gn_spelling spelling, enum gn_role role, enum gn_part part,
                          int block);

/* Whether a spelling has q, k and v apart. */
bool gn_spelling_splits_qkv(enum gn_spelling spelling);

/* Length of the wrapper prefixes that all names share ("module._orig_mod."); 0 when there are none. */
size_t gn_name_common_prefix(const char *const *names, int count);
/* A name without the optional prefix that base models and classifiers differ in ("vit.", "vision_model."). */
const char *gn_name_strip(const char *name);

/* Tensors that no classifier needs: left out without asking, only listed in the report. Stripped name. */
bool gn_name_is_silent(const char *name);
/* Why a tensor of this (stripped or whole) name cannot be taken: the architecture that it stands for; NULL: nothing is
 * known against it. */
const char *gn_name_refusal(const char *name);

#endif
