/*
 * Exports against the files that the libraries themselves wrote (golden/; see README.md): a file
 * with timm's own names is exported as the same tensors, bit for bit; other spellings are exported
 * as the file with timm's names; F16 and BF16 are rounded as in PyTorch.
 */
#include "tests/support/golden_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct golden export(const char *name, const char *folder, enum gn_dtype dtype)
{
	struct golden ref = golden_open(name);
	struct gn_model *model = golden_import(golden_case_named(name), &ref, folder, 0);
	struct gn_export *e = NULL;
	struct gn_error err = {0};
	size_t size;
	char *bytes;

	if (gn_export_open(&e, model, &(struct gn_export_options){.dtype = dtype}, &err))
		fail_msg("%s: %s", err.where, err.text);
	size = (size_t)gn_export_bytes(e);
	bytes = malloc(size);
	assert_non_null(bytes);
	assert_int_equal(gn_export_read(e, 0, bytes, size), size);
	gn_export_close(e);
	gn_model_close(model);
	golden_release(&ref);
	return golden_parse(bytes, size);
}

static size_t tensor_count(const struct golden *file)
{
	return json_object_size(file->header) - (json_object_get(file->header, "__metadata__") != NULL);
}

/* Where a tensor's bytes are. */
static const uint8_t *bytes_of(const struct golden *file, json_t *entry, size_t *size)
{
	json_int_t begin = 0, end = 0;

	assert_int_equal(json_unpack(entry, "{s:[II]}", "data_offsets", &begin, &end), 0);
	*size = (size_t)(end - begin);
	return file->data + begin;
}

/* Is every tensor of the one in the other, of the same type, shape and bits, and nothing else? */
static bool equal(const struct golden *exported, const struct golden *wanted)
{
	const char *name;
	json_t *entry;

	json_object_foreach(wanted->header, name, entry)
	{
		json_t *found = json_object_get(exported->header, name);
		const uint8_t *a, *b;
		size_t n, m;

		if (!strcmp(name, "__metadata__"))
			continue;
		if (!found || !json_equal(json_object_get(found, "dtype"), json_object_get(entry, "dtype")) ||
		    !json_equal(json_object_get(found, "shape"), json_object_get(entry, "shape"))) {
			print_message("%s is missing, or of another type or shape\n", name);
			return false;
		}
		a = bytes_of(exported, found, &n);
		b = bytes_of(wanted, entry, &m);
		if (n != m || memcmp(a, b, n)) {
			print_message("%s has other bits\n", name);
			return false;
		}
	}
	return tensor_count(exported) == tensor_count(wanted);
}

static void gives_back_timms_files(void **state)
{
	static const struct {
		const char *from, *wanted;
		enum gn_dtype dtype;
	} files[] = {
	    {"timm_cls", "timm_cls", GN_F32},
	    {"timm_avg", "timm_avg", GN_F32},
	    {"timm_gap", "timm_gap", GN_F32},
	    {"timm_gap_reg4", "timm_gap_reg4", GN_F32},
	    {"timm_reg4", "timm_reg4", GN_F32},
	    {"timm_ls", "timm_ls", GN_F32},
	    {"timm_deit_distilled", "timm_deit_distilled", GN_F32},
	    {"timm_clip", "timm_clip", GN_F32},
	    {"timm_odd", "timm_odd", GN_F32},
	    {"timm_deit3", "timm_deit3", GN_F32},
	    {"deit3_original", "timm_deit3", GN_F32},
	    {"timm_wrapped", "timm_avg", GN_F32},
	    {"timm_avg", "timm_f16", GN_F16},
	    {"timm_avg", "timm_bf16", GN_BF16},
	    {"timm_f16", "timm_f16", GN_F16},
	    {"timm_bf16", "timm_bf16", GN_BF16},
	};
	int wrong = 0;

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		struct golden exported = export(files[i].from, *state, files[i].dtype), wanted;
		char name[64], *bytes;
		size_t size;

		snprintf(name, sizeof name, "%s.model.safetensors", files[i].wanted);
		bytes = golden_read(name, &size);
		assert_non_null(bytes);
		wanted = golden_parse(bytes, size);
		if (!equal(&exported, &wanted)) {
			print_message("%s is not exported as %s\n", files[i].from, name);
			wrong++;
		}
		golden_release(&exported);
		golden_release(&wanted);
	}
	assert_int_equal(wrong, 0);
}

/* The same weights in two spellings of one library are one model. */
static void spellings_are_one_model(void **state)
{
	static const char *const pairs[][2] = {
	    {"hf_vit", "hf_vit5"}, {"tv_vit", "tv_vit_old"}, {"hf_clip", "openai_clip"}};

	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		struct golden a = export(pairs[i][0], *state, GN_F32), b = export(pairs[i][1], *state, GN_F32);

		if (!equal(&a, &b))
			fail_msg("%s and %s are exported differently", pairs[i][0], pairs[i][1]);
		golden_release(&a);
		golden_release(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(gives_back_timms_files),
	    cmocka_unit_test(spellings_are_one_model),
	};

	return cmocka_run_group_tests(tests, golden_folder_new, golden_folder_remove);
}
