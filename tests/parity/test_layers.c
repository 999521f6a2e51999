/*
 * Angles of vectors and of whole models, and the choice of layers by them, against numpy and mpmath
 * (golden/method_angles, golden/method_layers_*; see README.md): angles of 7e-11 to pi, a million
 * equal values, weights that came as float16.
 *
 * Tolerance: 1e-6 relative, as docs/method.md, "Angles", requires; the expected values are
 * themselves rounded to float32, 6e-8. Below 1e-9 rad it is 1e-5, because of the rounding of the
 * unit vectors' doubles, 1e-16. An exact 0 or pi may be off by 1e-12 rad if a length was rounded.
 */
#include "tests/support/golden_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 12, TENSORS = 42, BLOCKS = 6 };

static const double degrees = 180 / 3.14159265358979323846;

/* How far found is from wanted, in units of what is allowed; both in degrees. */
static double misfit(double found, double wanted)
{
	double allowed = wanted < 1e-9 * degrees ? 1e-5 : 1e-6;

	if (wanted == 0)
		return fabs(found) / (1e-12 * degrees);
	return fabs(found / wanted - 1) / allowed;
}

/* Rows (count, u, v) written out. */
static size_t expand(float *u, float *v, const float *rows, size_t count, size_t room)
{
	size_t n = 0;

	for (size_t r = 0; r < count; r++)
		for (size_t i = 0; i < (size_t)rows[3 * r]; i++) {
			assert_true(n < room);
			u[n] = rows[3 * r + 1];
			v[n++] = rows[3 * r + 2];
		}
	return n;
}

static void vectors_agree(void **state)
{
	enum { ROOM = 1000000 };
	struct golden ref = golden_open("method_angles");
	float *u = malloc(ROOM * sizeof *u), *v = malloc(ROOM * sizeof *v);
	size_t count, values;
	const float *wanted = golden_find(&ref, "radians", &count);
	int wrong = 0;

	(void)state;
	assert_true(u && v && wanted && count >= 15);
	for (size_t i = 0; i < count; i++) {
		char name[32];
		const float *rows;

		snprintf(name, sizeof name, "groups.%zu", i);
		rows = golden_find(&ref, name, &values);
		assert_non_null(rows);
		size_t n = expand(u, v, rows, values / 3, ROOM);
		double found = gn_angle(u, v, n), off = misfit(found, (double)wanted[i] * degrees);

		print_message("%2zu: %7zu values, %.9g degrees, off by %.2f of what is allowed\n", i, n, found, off);
		wrong += !(off <= 1);
	}
	assert_int_equal(wrong, 0);
	free(u);
	free(v);
	golden_release(&ref);
}

/* ---------------------------------------------------------------- models ---------------------- */

static struct gn_model *import(const char *name, const char *folder)
{
	const struct gn_import_options options = {
	    .heads = 2, .activation = -1, .norm_eps = NAN, .mean = {NAN}, .std = {NAN}, .crop_pct = NAN};
	struct gn_import_report report = {0};
	struct gn_model *model = NULL;
	struct gn_error err = {0};
	char file[128], from[512], to[512];

	snprintf(file, sizeof file, "%s.model.safetensors", name);
	golden_path(from, sizeof from, file);
	snprintf(to, sizeof to, "%s/%s", folder, name);
	if (gn_model_import(to, from, &options, &report, &err) || gn_model_open(&model, to, NULL, &err))
		fail_msg("%s: %s: %s", name, err.where, err.text);
	gn_import_report_release(&report);
	return model;
}

static void check_degrees(const struct gn_angles *angles, const struct golden *ref)
{
	const float *layers = golden_get(ref, LAYERS, "layers"), *tensors = golden_get(ref, TENSORS, "tensors");
	double worst = 0;
	int at = 0;

	assert_int_equal(angles->count, LAYERS);
	for (int i = 0; i < LAYERS; i++) {
		const struct gn_layer_angle *layer = &angles->layers[i];

		worst = fmax(worst, misfit(layer->degrees, (double)layers[i]));
		for (int t = 0; t < layer->tensor_count; t++)
			worst = fmax(worst, misfit(layer->tensors[t].degrees, (double)tensors[at++]));
	}
	assert_int_equal(at, TENSORS);
	print_message("largest difference: %.3f of what is allowed\n", worst);
	assert_true(worst <= 1);
}

static void check_choice(const struct gn_angles *angles, const struct golden *ref, enum gn_order order, int attention,
                         int ffn)
{
	const int32_t *wanted = (const int32_t *)(const void *)golden_get(ref, (size_t)((BLOCKS + 1) * LAYERS), "%s.%d",
	                                                                  gn_order_name(order), attention);
	struct gn_selection chosen;
	struct gn_error err = {0};
	int32_t found[LAYERS] = {0};

	if (gn_select_layers(&chosen, angles, order, attention, ffn, &err))
		fail_msg("%s: %s", err.where, err.text);
	for (int i = 0; i < chosen.count; i++)
		found[2 * chosen.layers[i].block + (chosen.layers[i].group == GN_GROUP_FFN)] = 1;
	if (memcmp(found, wanted + ffn * LAYERS, sizeof found))
		fail_msg("%s, %d attention and %d ffn layers: another choice", gn_order_name(order), attention, ffn);
	gn_selection_release(&chosen);
}

static void check_models(const char *type, const char *folder)
{
	struct gn_angles angles;
	struct gn_error err = {0};
	char name[64];

	snprintf(name, sizeof name, "method_base_%s", type);
	struct gn_model *base = import(name, folder);
	snprintf(name, sizeof name, "method_tuned_%s", type);
	struct gn_model *tuned = import(name, folder);
	snprintf(name, sizeof name, "method_layers_%s", type);
	struct golden ref = golden_open(name);
	assert_int_equal(gn_angles_compute(&angles, tuned, base, &err), 0);
	check_degrees(&angles, &ref);
	/* blocks 0 and 3 are copies, so every choice passes through a tie */
	assert_true(angles.layers[0].degrees == angles.layers[6].degrees);
	for (int order = GN_LARGEST; order <= GN_SMALLEST; order++)
		for (int a = 0; a <= BLOCKS; a++)
			for (int f = a == 0; f <= BLOCKS; f++)
				check_choice(&angles, &ref, (enum gn_order)order, a, f);
	gn_angles_release(&angles);
	golden_release(&ref);
	gn_model_close(tuned);
	gn_model_close(base);
}

static void models_agree(void **state)
{
	check_models("f32", *state);
}

static void models_in_float16_agree(void **state)
{
	check_models("f16", *state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(vectors_agree),
	    cmocka_unit_test(models_agree),
	    cmocka_unit_test(models_in_float16_agree),
	};

	return cmocka_run_group_tests(tests, golden_folder_new, golden_folder_remove);
}
