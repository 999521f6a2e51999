/* How far each layer of a tuned model turned from its base, and the choice of layers by that. Part of gonio.h, whose conventions hold here. */
#ifndef GONIO_ANGLES_H
#define GONIO_ANGLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "include/gonio/plan.h"

/* docs/method.md, "Angles"; in degrees. Kahan's form, double accumulation; 0 for equal bits. Both vectors must be
 * non-zero, else NAN. */
double gn_angle(const float *a, const float *b, size_t n);

struct gn_layer_angle { /* an attention or FFN layer */
	char name[32];  /* "blocks.0.attn" */
	int block;
	enum gn_group group;
	double degrees;
	int rank; /* 1 is the largest of its group; equal angles: the lower block first */
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
/* tuned against base: same layout for all attention and FFN matrices. Caller releases. */
int gn_angles_compute(struct gn_angles *out, const struct gn_model *tuned, const struct gn_model *base,
                      struct gn_error *err);
void gn_angles_release(struct gn_angles *angles);

/* Which end of a group's ranking is tuned: docs/method.md, "Choosing layers". */
enum gn_order { GN_LARGEST, GN_SMALLEST };
const char *gn_order_name(enum gn_order order); /* "largest", "smallest" */
int gn_order_from_name(const char *name);       /* -1: no such name */
struct gn_selected_layer {
	char name[32]; /* "blocks.3.attn" */
	int block;
	enum gn_group group;
	double degrees;
};
struct gn_selection {
	int count;
	struct gn_selected_layer *layers; /* network order */
};
/* The first attention_layers and ffn_layers of each group's order; of equal angles the lower block comes first. Caller
 * releases. GN_INVALID with where "/strategy/attention_layers" or "/strategy/ffn_layers": a number below 0 or above
 * the group's; both 0; a group with a number above 0 in which a layer was frozen (an angle of exactly 0) or has no
 * angle (NAN). A group of which 0 layers are wanted is not looked at. */
int gn_select_layers(struct gn_selection *out, const struct gn_angles *angles, enum gn_order order,
                     int attention_layers, int ffn_layers, struct gn_error *err);
void gn_selection_release(struct gn_selection *selection);

#endif
