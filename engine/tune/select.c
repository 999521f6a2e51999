/*
 * Choosing layers by their fine-tuned angle (docs/method.md, "Choosing layers"). Ranking is done
 * inside a group only, because only layers of one structure and size can be compared. An angle of
 * exactly 0 means that the layer was frozen when the angles were measured. How far it would have
 * turned is unknown, so its group cannot be ranked.
 */
#include "gonio.h"

#include "base/files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const order_names[] = {[GN_LARGEST] = "largest", [GN_SMALLEST] = "smallest"};

const char *gn_order_name(enum gn_order order)
{
	return order_names[order];
}

int gn_order_from_name(const char *name)
{
	for (int i = GN_LARGEST; i <= GN_SMALLEST; i++)
		if (!strcmp(order_names[i], name))
			return i;
	return -1;
}

static const char *field_of(enum gn_group group)
{
	return group == GN_GROUP_ATTENTION ? "/strategy/attention_layers" : "/strategy/ffn_layers";
}

/* Checks that the group has at least k layers, and that all of its layers were tuned. */
static int check_group(const struct gn_angles *angles, enum gn_group group, int k, struct gn_error *err)
{
	const struct gn_layer_angle *unusable = NULL;
	int size = 0, turned = 0;

	for (int i = 0; i < angles->count; i++) {
		const struct gn_layer_angle *layer = &angles->layers[i];
		bool usable = layer->degrees > 0;

		if (layer->group != group)
			continue;
		size++;
		turned += usable;
		if (!usable && !unusable)
			unusable = layer;
	}
	if (k < 0 || k > size)
		return gn_fail(err, GN_INVALID, field_of(group), "must be between 0 and %d, the number of %s layers",
		               size, gn_group_name(group));
	if (k == 0 || !unusable)
		return 0;
	if (isnan(unusable->degrees))
		return gn_fail(err, GN_INVALID, field_of(group),
		               "%s has no angle, because its weights are all zero or not finite: the %s layers cannot "
		               "be ranked",
		               unusable->name, gn_group_name(group));
	return gn_fail(err, GN_INVALID, field_of(group),
	               "%d of the %d %s layers were frozen where the angles were measured (%s has an angle of exactly "
	               "0): the group cannot be ranked",
	               size - turned, size, gn_group_name(group), unusable->name);
}

static bool comes_before(const struct gn_layer_angle *a, const struct gn_layer_angle *b, enum gn_order order)
{
	return order == GN_LARGEST ? a->degrees > b->degrees : a->degrees < b->degrees;
}

/* The number of layers of the group that come before layer i; of equal angles the lower block comes
 * first. */
static int place_in_group(const struct gn_angles *angles, int i, enum gn_order order)
{
	const struct gn_layer_angle *layer = &angles->layers[i];
	int place = 0;

	for (int j = 0; j < angles->count; j++) {
		const struct gn_layer_angle *other = &angles->layers[j];

		if (other->group == layer->group &&
		    (comes_before(other, layer, order) || (other->degrees == layer->degrees && j < i)))
			place++;
	}
	return place;
}

int gn_select_layers(struct gn_selection *out, const struct gn_angles *angles, enum gn_order order,
                     int attention_layers, int ffn_layers, struct gn_error *err)
{
	struct gn_selection chosen = {0};

	if (check_group(angles, GN_GROUP_ATTENTION, attention_layers, err) ||
	    check_group(angles, GN_GROUP_FFN, ffn_layers, err))
		return -1;
	if (attention_layers == 0 && ffn_layers == 0)
		return gn_fail(err, GN_INVALID, field_of(GN_GROUP_ATTENTION),
		               "and ffn_layers are both 0: no layer would be tuned");
	chosen.layers = gn_alloc((size_t)(attention_layers + ffn_layers), sizeof *chosen.layers, err);
	if (!chosen.layers)
		return -1;
	for (int i = 0; i < angles->count; i++) {
		const struct gn_layer_angle *layer = &angles->layers[i];
		struct gn_selected_layer *next = &chosen.layers[chosen.count];

		if (place_in_group(angles, i, order) >=
		    (layer->group == GN_GROUP_ATTENTION ? attention_layers : ffn_layers))
			continue;
		memcpy(next->name, layer->name, sizeof next->name);
		next->block = layer->block;
		next->group = layer->group;
		next->degrees = layer->degrees;
		chosen.count++;
	}
	*out = chosen;
	return 0;
}

void gn_selection_release(struct gn_selection *selection)
{
	free(selection->layers);
	*selection = (struct gn_selection){0};
}
