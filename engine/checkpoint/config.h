/*
 * The side files of a checkpoint: Hugging Face's config.json and preprocessor_config.json, timm's
 * config.json, a list of class names.
 */
#ifndef GN_CHECKPOINT_CONFIG_H
#define GN_CHECKPOINT_CONFIG_H

#include "gonio.h"

#define GN_SIDE_FILE_LIMIT ((size_t)4 << 20)

/* Everything that side files may state. 0, -1, NAN and NULL mean "not stated". */
struct gn_side {
	int dim, depth, heads, mlp_dim, patch_size;
	int image_size;        /* Hugging Face: must be that of the tensors */
	int image_size_timm;   /* the positions are resized to it */
	int activation, pool;  /* -1 */
	double norm_eps;       /* NAN */
	float mean[3], std[3]; /* mean[0], std[0]: NAN */
	double crop_pct;       /* NAN */
	int interpolation;     /* -1 */
	int pos_resample;      /* -1 */
	char **labels;
	int label_count;
	bool labels_given; /* given by the user, not by a config */
};

/* Sets all members to "not stated". */
void gn_side_init(struct gn_side *side);
/* Adds the facts of the side files in the options. On an error, where is "config.FIELD",
 * "preprocessor.FIELD" or "labels". The caller releases side, also after an error. */
int gn_side_read(struct gn_side *side, const struct gn_import_options *options, struct gn_error *err);
void gn_side_release(struct gn_side *side);

/* An enum gn_activation by gonio's name (which is timm's) or by one of transformers' names; -1 for
 * any other function. */
int gn_activation_from_name(const char *name);
/* The name that transformers' configs have. */
const char *gn_activation_hf_name(enum gn_activation activation);

#endif
