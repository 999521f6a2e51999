/*
 * Soups whose averages are added up on a GPU's backend: in every precision the file is the CPU's,
 * byte for byte; the memory is what was planned; a GPU without memory fails the soup and leaves no
 * file.
 *
 *   device_soups DEVICE PRECISION
 */
#include "tests/support/device.h"
#include "tests/support/ingredients.h"

#include "backend/backend.h"
#include "checkpoint/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MODELS = 5 };

static struct gn_device *gpu;
static struct soup_set set;

static void result_path(char path[700], const char *folder)
{
	snprintf(path, 700, "%s/model.safetensors", folder);
}

static char *read_result(const char *folder, size_t *size)
{
	char path[700], *bytes;
	FILE *f;

	result_path(path, folder);
	f = fopen(path, "rb");
	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	*size = (size_t)ftell(f);
	rewind(f);
	bytes = malloc(*size);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, *size, f), *size);
	fclose(f);
	return bytes;
}

static void assert_same_files(const char *a, const char *b)
{
	size_t na, nb;
	char *x = read_result(a, &na), *y = read_result(b, &nb);

	assert_int_equal(na, nb);
	assert_memory_equal(x, y, na);
	free(x);
	free(y);
}

/* A soup without measurements. */
static void mix(const struct soup_set *models, const double *weights, struct gn_device *device, char folder[600])
{
	struct gn_soup_result result;
	struct gn_error err = {0};

	soup_folder(folder);
	struct gn_soup_options options = soup_options(weights ? GN_SOUP_WEIGHTED : GN_SOUP_UNIFORM, models, folder);
	options.weights = weights;
	options.device = device;
	if (gn_soup_make(&result, &options, &err))
		fail_msg("%s: %s", err.where, err.text);
	gn_soup_result_release(&result);
}

static void mixes_alike(const struct soup_set *models, const double *weights)
{
	char there[600], here[600], alone[600];

	mix(models, weights, gpu, there);
	mix(models, weights, soup_toy.device, here);
	mix(models, weights, NULL, alone);
	assert_same_files(there, here);
	assert_same_files(there, alone);
}

static void uniform_and_weighted(void **state)
{
	static const double weights[MODELS] = {1, 0, 2.5, 1e9, 1e-9};

	(void)state;
	mixes_alike(&set, NULL);
	mixes_alike(&set, weights);
	mixes_alike(&(struct soup_set){.models = {set.models[2]}, .count = 1}, NULL);
}

/* Which models are kept follows from what the device measures; of those it is the CPU's average. */
static void greedy(void **state)
{
	struct soup_set kept = {.count = 0};
	struct gn_soup_result result;
	struct gn_error err = {0};
	char there[600], here[600];

	(void)state;
	soup_folder(there);
	struct gn_soup_options options = soup_options_measured(GN_SOUP_GREEDY, &set, there);
	options.device = gpu;
	if (gn_soup_make(&result, &options, &err))
		fail_msg("%s: %s", err.where, err.text);
	for (int i = 0; i < MODELS; i++)
		if (result.ingredients[i].kept)
			kept.models[kept.count++] = set.models[i];
	print_message("greedy kept %d of %d models\n", kept.count, MODELS);
	gn_soup_result_release(&result);
	mix(&kept, NULL, soup_toy.device, here);
	assert_same_files(there, here);
}

/* ---------------------------------------------------------------- many pieces ------------------------------------ */

/*
 * The base with one matrix of its own: two pieces and an odd rest, with zeros of both signs, large
 * and tiny values.
 */
static struct gn_model *tune_wide(const struct gn_model *base, int number)
{
	static const float factors[] = {1, -0.0F, 1e30F, 1e-42F, 0.3F};
	const struct gn_layout *layout = &base->layout;
	const float **tensors = calloc((size_t)layout->count, sizeof *tensors);
	int fc1 = gn_layout_find(layout, GN_FC1_W, 0);
	size_t n = layout->tensors[fc1].numel;
	float *values = calloc(n, sizeof *values);
	struct gn_model *model;
	char path[600];

	assert_true(tensors && values);
	assert_true(n > 2 * GN_MODEL_PIECE && n % 4 != 0);
	for (size_t i = 0; i < n; i++)
		values[i] = (float)((int)(i * 2654435761U % 2001) - 1000 + number) * 1e-3F * factors[(i + i / 7) % 5];
	tensors[fc1] = values;
	soup_path(path, "wide");
	const struct gn_model_parts parts = {
	    .arch = &base->arch, .preprocess = &base->preprocess, .layout = layout, .tensors = tensors};
	assert_int_equal(gn_model_write(path, &parts, NULL), 0);
	assert_int_equal(gn_model_open(&model, path, base, NULL), 0);
	free(values);
	free(tensors);
	return model;
}

static void pieces(void **state)
{
	static const double weights[] = {0.1, 7, 1.0 / 3};
	struct gn_arch arch = toy_arch;
	struct soup_set wide = {.count = 3};

	(void)state;
	arch.dim = 327;
	arch.heads = 3;
	arch.mlp_dim = 1607;
	arch.depth = 1;
	struct gn_model *base = toy_model(soup_toy.folder, "wide-base", &arch, 9);
	for (int i = 0; i < wide.count; i++)
		wide.models[i] = tune_wide(base, i);
	mixes_alike(&wide, NULL);
	mixes_alike(&wide, weights);
	soup_close_set(&wide);
	gn_model_close(base);
}

/* ---------------------------------------------------------------- memory ----------------------------------------- */

static void assert_no_result(const char *folder)
{
	char path[700];

	result_path(path, folder);
	assert_int_equal(access(path, F_OK), -1);
}

/*
 * With the GPU's memory taken by others the soup fails, says how much it wants, which is what was
 * planned, and can be made again.
 */
static void no_memory(void **state)
{
	struct gn_device_info info;
	struct gn_soup_result result;
	struct device_hog hog;
	struct gn_error err = {0};
	unsigned long long needs;
	char folder[600];

	(void)state;
	assert_int_equal(gn_soup_gpu_bytes(soup_toy.device, GN_PRECISION_FP32), 0);
	gn_device_describe(gpu, &info);
	device_hog_take(&hog, gpu);
	soup_folder(folder);
	struct gn_soup_options options = soup_options(GN_SOUP_UNIFORM, &set, folder);
	options.device = gpu;
	assert_int_equal(gn_soup_make(&result, &options, &err), -1);
	print_message("%s\n", err.text);
	assert_int_equal(err.code, GN_NO_MEMORY);
	assert_int_equal(sscanf(err.text, "needs %llu bytes", &needs), 1);
	assert_int_equal(gn_soup_gpu_bytes(gpu, info.precision), info.overhead_bytes + needs);
	assert_no_result(folder);
	device_hog_free(&hog);
	mixes_alike(&set, NULL);
}

static void stopped(void **state)
{
	const volatile int stop = 1;
	struct gn_soup_result result;
	struct gn_error err = {0};
	char folder[600];

	(void)state;
	soup_folder(folder);
	struct gn_soup_options options = soup_options(GN_SOUP_UNIFORM, &set, folder);
	options.device = gpu;
	options.stop = &stop;
	assert_int_equal(gn_soup_make(&result, &options, &err), -1);
	assert_int_equal(err.code, GN_CANCELLED);
	assert_no_result(folder);
}

static int set_up(void **state)
{
	if (soup_set_up(state))
		return -1;
	set = soup_models(MODELS, 5);
	return 0;
}

static int tear_down(void **state)
{
	soup_close_set(&set);
	return soup_tear_down(state);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(uniform_and_weighted),
	    cmocka_unit_test(greedy),
	    cmocka_unit_test(pieces),
	    cmocka_unit_test(no_memory),
	    cmocka_unit_test(stopped),
	};
	int failed;

	/* no_memory takes all of it: a host runner's shall be small */
	setenv("GONIO_CUDA_HOST_MEMORY", "1073741824", 0);
	gpu = device_for_test(argc, argv);
	failed = cmocka_run_group_tests(tests, set_up, tear_down);
	gn_device_close(gpu);
	return failed;
}
