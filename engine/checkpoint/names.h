/*
 * Tensor names: tables that map the names of each scheme to our parameters. A spelling is one way
 * to name all tensors of a ViT. The tables have the names without wrapper prefixes.
 */
#ifndef GN_CHECKPOINT_NAMES_H
#define GN_CHECKPOINT_NAMES_H

#include "gonio.h"

#define GN_BLOCK_LIMIT 128 /* block numbers are below it, as in gn_arch_check */

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

/* For people: "timm", "Hugging Face ViT". */
const char *gn_spelling_name(enum gn_spelling spelling);

struct gn_name_match {
	enum gn_role role;
	enum gn_part part;
	int block; /* -1 outside of the blocks */
};
/* The meaning of a name without prefixes in a spelling; false if it has none. */
bool gn_name_match(struct gn_name_match *match, enum gn_spelling spelling, const char *name);
/* Writes the first name of a role and part in a spelling into text; "" if the spelling has none. */
const char *gn_name_write(char *text, size_t size, enum gn_spelling spelling, enum gn_role role, enum gn_part part,
                          int block);

/* Whether a spelling has q, k and v as separate tensors. */
bool gn_spelling_splits_qkv(enum gn_spelling spelling);

/* Length of the wrapper prefixes that all names share ("module._orig_mod."); 0 if there are
 * none. */
size_t gn_name_common_prefix(const char *const *names, int count);
/* A name without its optional prefix ("vit.", "vision_model."), which classifiers have and base
 * models do not. */
const char *gn_name_strip(const char *name);

/* Whether no classifier needs this tensor. It is then ignored and only listed in the report. The
 * name is stripped. */
bool gn_name_is_silent(const char *name);
/* Why a tensor of this name (stripped or whole) cannot be imported: its architecture is not
 * supported. NULL if there is no reason. */
const char *gn_name_refusal(const char *name);

#endif
