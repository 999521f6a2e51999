/* The plan of an export: the class of a library that loads the model, and the pieces of our tensors
 * that make its tensors. */
#ifndef GN_CHECKPOINT_EXPORT_PLAN_H
#define GN_CHECKPOINT_EXPORT_PLAN_H

#include "checkpoint/names.h"
#include "checkpoint/safetensors.h"
#include "gonio.h"

/* A classifier of transformers. */
struct gn_hf_class {
	const char *name, *model_type;
	const char *prefix; /* of every tensor but the head's */
	enum gn_spelling spelling;
	bool two_heads;   /* cls_classifier and distillation_classifier */
	bool double_head; /* the classifier reads [class token; mean of patches] */
};
/* The class that computes the function of this architecture; NULL with GN_INVALID "format" if there
 * is none. */
const struct gn_hf_class *gn_hf_class_of(const struct gn_arch *arch, struct gn_error *err);

/* The model of timm from which the config starts. It has the facts that JSON cannot express: the
 * epsilon of the norms, two heads. NULL with GN_INVALID "format" if timm has no such model. */
const char *gn_timm_model_of(const struct gn_arch *arch, struct gn_error *err);

/* Consecutive values in memory; NULL: that number of zeros. */
struct gn_export_span {
	const float *values;
	size_t numel;
};
struct gn_export_plan {
	struct gn_st_entry *entries;  /* [entry_count] */
	struct gn_export_span *spans; /* [span_count]: the values of all entries, in order */
	int entry_count, span_count, entry_room, span_room;
};
int gn_export_plan_make(struct gn_export_plan *plan, const struct gn_model *model,
                        const struct gn_export_options *options, struct gn_error *err);
void gn_export_plan_release(struct gn_export_plan *plan);

#endif
