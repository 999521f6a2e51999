/*
 * Detects a foreign file: its spelling, the meaning of each of its tensors, and the architecture,
 * from the shapes, the side files and the user's options. Options have priority, then side files,
 * then the defaults of the scheme's own library.
 */
#ifndef GN_CHECKPOINT_DETECT_H
#define GN_CHECKPOINT_DETECT_H

#include "checkpoint/config.h"
#include "checkpoint/names.h"
#include "checkpoint/safetensors.h"
#include "gonio.h"

struct gn_source_tensor {
	const struct gn_st_tensor *tensor;
	const char *name; /* without prefixes; borrowed */
	bool known;       /* match is set */
	struct gn_name_match match;
};

struct gn_source {
	struct gn_source_tensor *tensors; /* [count], the file's order */
	int count;
	enum gn_spelling spelling;
	bool dinov2; /* timm's spelling, but facebookresearch's DINOv2 */
};
/* Strips prefixes, fails for architectures that gonio cannot compute, finds the spelling, and looks
 * up every name. The file must outlive the source. */
int gn_source_read(struct gn_source *source, const struct gn_st_file *file, struct gn_error *err);
void gn_source_release(struct gn_source *source);
/* The first tensor of a role, in block 0 or any other; NULL if there is none. */
const struct gn_source_tensor *gn_source_find(const struct gn_source *source, enum gn_role role);

enum gn_head_from {
	GN_HEAD_FROM_NONE, /* no head in the file, or a head that gonio cannot use */
	GN_HEAD_FROM_WHOLE,
	GN_HEAD_FROM_CLS_HALF, /* Dinov2's classifier (K, 2D), whose other half is zero */
	GN_HEAD_FROM_MEAN_HALF
};

/* How to make a model of ours from a source. */
struct gn_recipe {
	struct gn_arch arch;
	struct gn_preprocess preprocess;
	enum gn_scheme scheme;
	enum gn_pos_resample pos_resample;
	enum gn_head_from head;
	int grid; /* patches a side that the file's positions are for */
	/* rows of the positions for registers; they are added to the registers at import */
	int pos_registers;
};
/* from_gonio: the file has gonio's metadata, and side was filled from it. */
int gn_recipe_make(struct gn_recipe *recipe, const struct gn_source *source, const struct gn_side *side,
                   bool from_gonio, const struct gn_import_options *options, struct gn_error *err);

#endif
