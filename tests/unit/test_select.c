/* Choosing layers by angle: both orders, ties, the bounds of k, groups that cannot be ranked. */
#include "gonio.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { DEPTH = 6 };

struct case_angles {
	struct gn_angles angles;
	struct gn_layer_angle layers[2 * DEPTH];
};

/* Layers in network order with these degrees. */
static void fill(struct case_angles *c, const double attention[DEPTH], const double ffn[DEPTH])
{
	memset(c, 0, sizeof *c);
	c->angles = (struct gn_angles){2 * DEPTH, c->layers};
	for (int i = 0; i < 2 * DEPTH; i++) {
		struct gn_layer_angle *layer = &c->layers[i];

		layer->block = i / 2;
		layer->group = i % 2 ? GN_GROUP_FFN : GN_GROUP_ATTENTION;
		layer->degrees = (i % 2 ? ffn : attention)[i / 2];
		snprintf(layer->name, sizeof layer->name, "blocks.%d.%s", i / 2, i % 2 ? "mlp" : "attn");
	}
}

/* The chosen layers as text: "blocks.0.attn blocks.3.mlp ". */
static void assert_chosen(const struct case_angles *c, enum gn_order order, int attention, int ffn, const char *wanted)
{
	struct gn_selection chosen = {0};
	struct gn_error err = {0};
	char text[512] = "";

	if (gn_select_layers(&chosen, &c->angles, order, attention, ffn, &err))
		fail_msg("%s: %s", err.where, err.text);
	assert_int_equal(chosen.count, attention + ffn);
	for (int i = 0; i < chosen.count; i++) {
		const struct gn_selected_layer *layer = &chosen.layers[i];

		snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d%s", i ? " " : "", layer->block,
		         layer->group == GN_GROUP_ATTENTION ? "a" : "f");
		assert_true(layer->degrees == c->layers[2 * layer->block + (layer->group == GN_GROUP_FFN)].degrees);
	}
	assert_string_equal(text, wanted);
	gn_selection_release(&chosen);
	assert_null(chosen.layers);
}

static void assert_refused(const struct case_angles *c, int attention, int ffn, const char *where, const char *text)
{
	struct gn_selection chosen = {0};
	struct gn_error err = {0};

	assert_int_equal(gn_select_layers(&chosen, &c->angles, GN_LARGEST, attention, ffn, &err), -1);
	assert_int_equal(err.code, GN_INVALID);
	assert_string_equal(err.where, where);
	if (!strstr(err.text, text))
		fail_msg("'%s' is not in '%s'", text, err.text);
	assert_null(chosen.layers);
}

static const double rising[DEPTH] = {1, 2, 3, 4, 5, 6}, mixed[DEPTH] = {0.3, 0.9, 0.1, 0.8, 0.2, 0.5};

static void test_orders(void **state)
{
	struct case_angles c;

	(void)state;
	fill(&c, rising, mixed);
	assert_chosen(&c, GN_LARGEST, 2, 2, "1f 3f 4a 5a");
	assert_chosen(&c, GN_SMALLEST, 2, 2, "0a 1a 2f 4f");
	assert_chosen(&c, GN_LARGEST, 0, 1, "1f");
	assert_chosen(&c, GN_SMALLEST, 1, 0, "0a");
	assert_chosen(&c, GN_SMALLEST, DEPTH, DEPTH, "0a 0f 1a 1f 2a 2f 3a 3f 4a 4f 5a 5f");
}

/* A group is ranked by itself: the angles of the other one, however large, do not matter. */
static void test_groups_apart(void **state)
{
	static const double tiny[DEPTH] = {1e-9, 2e-9, 3e-9, 2e-9, 1e-9, 5e-10};
	struct case_angles c;

	(void)state;
	fill(&c, tiny, rising);
	assert_chosen(&c, GN_LARGEST, 1, 1, "2a 5f");
	assert_chosen(&c, GN_SMALLEST, 1, 1, "0f 5a");
}

static void test_ties_by_depth(void **state)
{
	static const double equal[DEPTH] = {2, 2, 2, 2, 2, 2}, pairs[DEPTH] = {1, 3, 1, 3, 1, 3};
	struct case_angles c;

	(void)state;
	fill(&c, equal, pairs);
	assert_chosen(&c, GN_LARGEST, 3, 2, "0a 1a 1f 2a 3f");
	assert_chosen(&c, GN_SMALLEST, 3, 2, "0a 0f 1a 2a 2f");
	assert_chosen(&c, GN_LARGEST, 1, 4, "0a 0f 1f 3f 5f");
}

static void test_bounds(void **state)
{
	struct case_angles c;

	(void)state;
	fill(&c, rising, mixed);
	assert_refused(&c, DEPTH + 1, 1, "/strategy/attention_layers", "between 0 and 6");
	assert_refused(&c, 1, DEPTH + 1, "/strategy/ffn_layers", "between 0 and 6");
	assert_refused(&c, -1, 1, "/strategy/attention_layers", "between 0 and 6");
	assert_refused(&c, 1, -1, "/strategy/ffn_layers", "between 0 and 6");
	assert_refused(&c, 0, 0, "/strategy/attention_layers", "both 0");
	c.angles.count = 0;
	assert_refused(&c, 1, 0, "/strategy/attention_layers", "between 0 and 0");
}

static void test_frozen_groups(void **state)
{
	static const double frozen[DEPTH] = {0}, some[DEPTH] = {0, 0, 0, 1, 2, 3};
	static const double none[DEPTH] = {1, 2, NAN, 4, 5, 6};
	struct case_angles c;

	(void)state;
	fill(&c, rising, frozen);
	assert_chosen(&c, GN_LARGEST, 2, 0, "4a 5a");
	assert_refused(&c, 2, 1, "/strategy/ffn_layers", "6 of the 6 ffn layers were frozen");
	fill(&c, some, rising);
	assert_refused(&c, 1, 1, "/strategy/attention_layers", "3 of the 6 attention layers were frozen");
	assert_refused(&c, 1, 1, "/strategy/attention_layers", "blocks.0.attn");
	fill(&c, none, rising);
	assert_refused(&c, 1, 1, "/strategy/attention_layers", "blocks.2.attn has no angle");
}

static void test_names(void **state)
{
	(void)state;
	assert_int_equal(gn_order_from_name("largest"), GN_LARGEST);
	assert_int_equal(gn_order_from_name("smallest"), GN_SMALLEST);
	assert_int_equal(gn_order_from_name("auto"), -1);
	assert_string_equal(gn_order_name(GN_SMALLEST), "smallest");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_orders), cmocka_unit_test(test_groups_apart),  cmocka_unit_test(test_ties_by_depth),
	    cmocka_unit_test(test_bounds), cmocka_unit_test(test_frozen_groups), cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
