/* Exports: full and delta, in every dtype, read in pieces of any size, and imported again. */
#include "gonio.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "checkpoint/dtype.h"
#include "checkpoint/safetensors.h"
#include "base/files.h"
#include "tests/support/st_builder.h"

struct world {
	char folder[64];
	struct gn_model *base, *tuned;
};

static const char *path_of(const struct world *w, const char *name)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/%s", w->folder, name);
	return path;
}

static struct gn_arch arch_of(int classes)
{
	return (struct gn_arch){.image_size = 8,
	                        .patch_size = 4,
	                        .dim = 15, /* odd, so that 16-bit tensors end at odd places */
	                        .depth = 2,
	                        .heads = 3,
	                        .mlp_dim = 21,
	                        .classes = classes,
	                        .pool = GN_POOL_CLS,
	                        .norm_eps = 1e-6f,
	                        .class_token = true,
	                        .pos_on_prefix = true,
	                        .qkv_bias = true,
	                        .patch_bias = true};
}

/* The tuned model's file holds the FFN of block 1 and the head; of these, the fc2 weight is what
 * the base has. */
static int set_up(void **state)
{
	static struct world w;
	static const char *const labels[] = {"one", "two"};
	struct gn_arch five = arch_of(5), two = arch_of(2);
	struct gn_layout layout;
	const float **tensors;
	char hash[65];
	float *values;

	st_folder(w.folder);
	assert_int_equal(gn_model_write_random(path_of(&w, "base"), &five, 3, NULL, NULL, NULL, NULL), 0);
	assert_int_equal(gn_model_open(&w.base, path_of(&w, "base"), NULL, NULL), 0);
	assert_int_equal(gn_model_hash(hash, w.base, NULL), 0);
	assert_int_equal(gn_layout_init(&layout, &two, NULL), 0);
	tensors = calloc((size_t)layout.count, sizeof *tensors);
	values = malloc(layout.floats * sizeof *values);
	assert_true(tensors && values);
	for (size_t i = 0; i < layout.floats; i++)
		values[i] = (float)i * 0.37f - 40;
	for (int i = 0; i < layout.count; i++) {
		const char *name = layout.tensors[i].name;

		if (!strcmp(name, "blocks.1.mlp.fc2.weight"))
			tensors[i] = w.base->tensors[gn_layout_find_name(&w.base->layout, name)];
		else if (strstr(name, "blocks.1.mlp.") || strstr(name, "head."))
			tensors[i] = values + layout.tensors[i].offset;
	}
	assert_int_equal(gn_model_write(path_of(&w, "tuned"),
	                                &(struct gn_model_parts){.arch = &two,
	                                                         .preprocess = &w.base->preprocess,
	                                                         .layout = &layout,
	                                                         .tensors = tensors,
	                                                         .labels = labels,
	                                                         .label_count = 2,
	                                                         .base = hash},
	                                NULL),
	                 0);
	assert_int_equal(gn_model_open(&w.tuned, path_of(&w, "tuned"), w.base, NULL), 0);
	free(values);
	free(tensors);
	gn_layout_release(&layout);
	*state = &w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	gn_model_close(w->tuned);
	gn_model_close(w->base);
	st_folder_remove(w->folder);
	return 0;
}

static uint8_t *read_all(struct gn_export *e, size_t *size)
{
	uint8_t *bytes;

	*size = (size_t)gn_export_bytes(e);
	bytes = malloc(*size + 1);
	assert_non_null(bytes);
	assert_int_equal(gn_export_read(e, 0, bytes, *size + 1), *size);
	assert_int_equal(gn_export_read(e, *size, bytes, 1), 0);
	return bytes;
}

static uint8_t *export(const struct gn_model *model, bool delta, enum gn_dtype dtype, size_t *size)
{
	struct gn_error err = {0};
	struct gn_export *e;
	uint8_t *bytes;

	if (gn_export_open(&e, model, &(struct gn_export_options){.delta_only = delta, .dtype = dtype}, &err))
		fail_msg("[%s] %s", err.where, err.text);
	bytes = read_all(e, size);
	gn_export_close(e);
	return bytes;
}

static void test_full_holds_every_tensor(void **state)
{
	struct world *w = *state;

	for (int d = GN_F32; d <= GN_BF16; d++) {
		size_t size;
		uint8_t *bytes = export(w->tuned, false, (enum gn_dtype)d, &size);
		struct gn_st_file file;

		assert_int_equal(gn_st_parse(&file, bytes, size, NULL), 0);
		assert_int_equal(file.count, w->tuned->layout.count);
		assert_int_equal((size_t)(file.tensors[0].data - bytes) % 128, 0);
		assert_string_equal(gn_st_metadata(&file, "format"), "pt");
		assert_null(gn_st_metadata(&file, "gonio.base"));
		for (int i = 0; i < file.count; i++) {
			const struct gn_tensor *t = &w->tuned->layout.tensors[i];
			uint8_t *want = malloc(t->numel * 4);

			assert_non_null(want);
			assert_string_equal(file.tensors[i].name, t->name);
			assert_int_equal(file.tensors[i].dtype, d);
			gn_dtype_narrow(want, w->tuned->tensors[i], (enum gn_dtype)d, t->numel);
			assert_memory_equal(file.tensors[i].data, want, file.tensors[i].bytes);
			free(want);
		}
		gn_st_release(&file);
		free(bytes);
	}
}

static void test_pieces_make_the_whole(void **state)
{
	static const size_t steps[] = {1, 3, 7, 64, 1000, 4096};
	struct world *w = *state;

	for (int d = GN_F32; d <= GN_BF16; d++) {
		struct gn_export *e;
		uint8_t *whole, piece[4096];
		size_t size;

		assert_int_equal(
		    gn_export_open(&e, w->tuned, &(struct gn_export_options){.dtype = (enum gn_dtype)d}, NULL), 0);
		whole = read_all(e, &size);
		for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
			for (size_t at = 0; at < size; at += steps[s]) {
				size_t n = gn_export_read(e, at, piece, steps[s]);

				assert_int_equal(n, at + steps[s] < size ? steps[s] : size - at);
				assert_memory_equal(piece, whole + at, n);
			}
		}
		gn_export_close(e);
		free(whole);
	}
}

static void test_delta_holds_what_differs(void **state)
{
	static const char *const want[] = {"blocks.1.mlp.fc1.weight", "blocks.1.mlp.fc1.bias", "blocks.1.mlp.fc2.bias",
	                                   "head.weight", "head.bias"};
	struct world *w = *state;
	size_t size;
	uint8_t *bytes = export(w->tuned, true, GN_F32, &size);
	struct gn_st_file file;
	char hash[65];

	assert_int_equal(gn_st_parse(&file, bytes, size, NULL), 0);
	assert_int_equal(file.count, 5);
	assert_int_equal(gn_model_hash(hash, w->base, NULL), 0);
	assert_string_equal(gn_st_metadata(&file, "gonio.base"), hash);
	for (int i = 0; i < 5; i++)
		assert_string_equal(file.tensors[i].name, want[i]);
	gn_st_release(&file);
	free(bytes);
}

static void test_a_base_has_no_delta(void **state)
{
	struct world *w = *state;
	struct gn_error err = {0};
	struct gn_export *e = NULL;

	assert_int_equal(gn_export_open(&e, w->base, &(struct gn_export_options){.delta_only = true}, &err), -1);
	assert_string_equal(err.where, "content");
	assert_null(e);
}

static void test_taken_in_again(void **state)
{
	struct world *w = *state;
	struct gn_import_options options = st_options(0);
	struct gn_error err = {0};
	struct gn_model *again;
	size_t size;
	uint8_t *bytes = export(w->tuned, false, GN_F32, &size);

	assert_int_equal(gn_file_put(path_of(w, "exported"), bytes, size, NULL), 0);
	free(bytes);
	char source[128];
	snprintf(source, sizeof source, "%s", path_of(w, "exported"));
	if (gn_model_import(path_of(w, "again"), source, &options, NULL, &err))
		fail_msg("[%s] %s", err.where, err.text);
	assert_int_equal(gn_model_open(&again, path_of(w, "again"), NULL, NULL), 0);
	assert_memory_equal(&again->arch, &w->tuned->arch, sizeof again->arch);
	assert_string_equal(again->labels[1], "two");
	for (int i = 0; i < again->layout.count; i++)
		assert_memory_equal(again->tensors[i], w->tuned->tensors[i],
		                    again->layout.tensors[i].numel * sizeof(float));
	gn_model_close(again);

	bytes = export(w->tuned, true, GN_F32, &size); /* a delta alone is half a model */
	assert_int_equal(gn_file_put(source, bytes, size, NULL), 0);
	free(bytes);
	assert_int_equal(gn_model_import(path_of(w, "half"), source, &options, NULL, &err), -1);
}

static void test_f16_does_not_overflow_silently(void **state)
{
	struct world *w = *state;
	static const struct gn_preprocess preprocess = {.std = {1, 1, 1}, .crop_pct = 1};
	struct gn_arch arch = arch_of(2);
	struct gn_layout layout;
	struct gn_error err = {0};
	struct gn_export *e = NULL;
	struct gn_model *m;
	const float **tensors;
	float *values;

	assert_int_equal(gn_layout_init(&layout, &arch, NULL), 0);
	tensors = calloc((size_t)layout.count, sizeof *tensors);
	values = calloc(layout.floats, sizeof *values);
	assert_true(tensors && values);
	for (int i = 0; i < layout.count; i++)
		tensors[i] = values + layout.tensors[i].offset;
	values[layout.tensors[5].offset + 2] = -65520.0f;
	assert_int_equal(
	    gn_model_write(path_of(w, "large"),
	                   &(struct gn_model_parts){
	                       .arch = &arch, .preprocess = &preprocess, .layout = &layout, .tensors = tensors},
	                   NULL),
	    0);
	assert_int_equal(gn_model_open(&m, path_of(w, "large"), NULL, NULL), 0);
	assert_int_equal(gn_export_open(&e, m, &(struct gn_export_options){.dtype = GN_F16}, &err), -1);
	assert_string_equal(err.where, "dtype");
	assert_non_null(strstr(err.text, layout.tensors[5].name));
	assert_int_equal(gn_export_open(&e, m, &(struct gn_export_options){.dtype = GN_BF16}, NULL), 0);
	gn_export_close(e);
	gn_model_close(m);
	free(values);
	free(tensors);
	gn_layout_release(&layout);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_full_holds_every_tensor),  cmocka_unit_test(test_pieces_make_the_whole),
	    cmocka_unit_test(test_delta_holds_what_differs), cmocka_unit_test(test_a_base_has_no_delta),
	    cmocka_unit_test(test_taken_in_again),           cmocka_unit_test(test_f16_does_not_overflow_silently),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
