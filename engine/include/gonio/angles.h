/* The angle by which each layer of a tuned model turned away from its base, and the choice of
 * layers by their angles. Part of gonio.h, whose conventions hold here. */
#ifndef GONIO_ANGLES_H
#define GONIO_ANGLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/gonio/plan.h"

/* The angle between two vectors of n values, in degrees: docs/method.md, "Angles". Uses Kahan's
 * formula with sums in double. 0 for equal bits; NAN if a vector is zero. */
double gn_angle(const float *a, const float *b, size_t n);

struct gn_layer_angle { /* an attention or FFN layer */
	char name[GN_LAYER_NAME_SIZE];
	int block;
	enum gn_group group;
	double degrees;
	/* 1: the largest angle of its group; of equal angles the lower block comes first */
	int rank;
	int tensor_count;
	struct {
		char name[48];
		double degrees;
	} tensors[5]; /* qkv, its q, k and v rows, proj; or fc1, fc2 */
};
struct gn_angles {
	int count;
	struct gn_layer_angle *layers; /* network order: attn, mlp of block 0, ... */
};
/* The angles of tuned against base. Both need the same attention and FFN matrices. Caller
 * releases. */
int gn_angles_compute(struct gn_angles *out, const struct gn_model *tuned, const struct gn_model *base,
                      struct gn_error *err);
void gn_angles_release(struct gn_angles *angles);

/* Whether a run tunes the layers with the largest or the smallest angles: docs/method.md, "Choosing
 * layers". */
enum gn_order { GN_LARGEST, GN_SMALLEST };
const char *gn_order_name(enum gn_order order); /* "largest", "smallest" */
int gn_order_from_name(const char *name);       /* -1 for an unknown name */
struct gn_selected_layer {
	char name[GN_LAYER_NAME_SIZE];
	int block;
	enum gn_group group;
	double degrees;
};
struct gn_selection {
	int count;
	struct gn_selected_layer *layers; /* network order */
};
/* Chooses the first attention_layers and ffn_layers in the order of each group. Of equal angles the
 * lower block comes first. Caller releases. GN_INVALID with where "/strategy/attention_layers" or
 * "/strategy/ffn_layers" if a number is below 0 or above the number of layers in its group, or both
 * are 0, or a group that gives layers has a frozen layer (an angle of exactly 0) or a layer without
 * an angle (NAN). A group that gives 0 layers is not checked. */
int gn_select_layers(struct gn_selection *out, const struct gn_angles *angles, enum gn_order order,
                     int attention_layers, int ffn_layers, struct gn_error *err);
void gn_selection_release(struct gn_selection *selection);

#endif
