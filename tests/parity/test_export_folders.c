/*
 * Exported folders against the libraries that load them: make_exports.py let timm and transformers
 * load what gonio exported, and recorded their logits with the SHA-256 of every file that they read
 * (golden/exports.ref). Here the exports must be those files, byte for byte, and gonio's own logits
 * must be theirs.
 *
 * With GN_EXPORTS_OUT=FOLDER the program writes the folders FOLDER/CASE.FORMAT instead;
 * make_exports.py calls it so.
 *
 * Tolerance: as in test_models.c. The libraries computed in float64 from the exported float32
 * weights.
 */
#include "tests/support/golden_model.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/files.h"

#define TOLERANCE 2e-6

/* Which models go where. mean: the head reads the mean of the patches, as half of what Dinov2's
 * classifier reads. */
static const struct folder {
	const char *model;
	enum gn_export_format format;
	bool mean;
} folders[] = {
    {"timm_cls", GN_EXPORT_HUGGINGFACE, false},
    {"timm_gelu_tanh", GN_EXPORT_HUGGINGFACE, false},
    {"timm_odd", GN_EXPORT_HUGGINGFACE, false},
    {"tv_vit", GN_EXPORT_HUGGINGFACE, false},
    {"hf_vit", GN_EXPORT_HUGGINGFACE, false},
    {"hf_deit", GN_EXPORT_HUGGINGFACE, false},
    {"timm_deit_distilled", GN_EXPORT_HUGGINGFACE, false},
    {"dinov2", GN_EXPORT_HUGGINGFACE, false},
    {"dinov2", GN_EXPORT_HUGGINGFACE, true},
    {"dinov2_reg", GN_EXPORT_HUGGINGFACE, false},
    {"dinov2_reg", GN_EXPORT_HUGGINGFACE, true},
    {"timm_deit3", GN_EXPORT_HUGGINGFACE, false},
    {"timm_reg4", GN_EXPORT_HUGGINGFACE, false},
    {"timm_cls", GN_EXPORT_TIMM, false},
    {"timm_avg", GN_EXPORT_TIMM, false},
    {"timm_gap", GN_EXPORT_TIMM, false},
    {"timm_gap_reg4", GN_EXPORT_TIMM, false},
    {"timm_reg4", GN_EXPORT_TIMM, false},
    {"timm_reg2_embed", GN_EXPORT_TIMM, false},
    {"timm_deit_distilled", GN_EXPORT_TIMM, false},
    {"timm_clip", GN_EXPORT_TIMM, false},
    {"timm_gelu_tanh", GN_EXPORT_TIMM, false},
    {"timm_odd", GN_EXPORT_TIMM, false},
    {"dinov2_reg", GN_EXPORT_TIMM, false},
    {"dinov2", GN_EXPORT_TIMM, true},
};
enum { FOLDERS = sizeof folders / sizeof *folders };

static void name_of(char *name, size_t size, const struct folder *f)
{
	snprintf(name, size, "%s%s.%s", f->model, f->mean ? "_mean" : "",
	         f->format == GN_EXPORT_TIMM ? "timm" : "huggingface");
}

/* The model again with a head that reads the mean, and with names for its classes. */
static struct gn_model *rewritten(struct gn_model *model, const struct folder *f, const char *work)
{
	static const char *const labels[] = {"ash", "b \"x\"", "C\\", "d\xc3\xa9", "e", "f", "g", "h", "i", "j"};
	struct gn_arch arch = model->arch;
	struct gn_model *again = NULL;
	struct gn_error err = {0};
	char name[80], path[256];

	if (f->mean)
		arch.pool = GN_POOL_MEAN;
	name_of(name, sizeof name, f);
	snprintf(path, sizeof path, "%s/%s.again", work, name);
	assert_true(arch.classes <= 10);
	struct gn_model_parts parts = {.arch = &arch,
	                               .preprocess = &model->preprocess,
	                               .scheme = model->scheme,
	                               .pos_resample = model->pos_resample,
	                               .layout = &model->layout,
	                               .tensors = model->tensors,
	                               .labels = labels,
	                               .label_count = arch.classes};
	if (gn_model_write(path, &parts, &err) || gn_model_open(&again, path, NULL, &err))
		fail_msg("%s: %s: %s", name, err.where, err.text);
	gn_model_close(model);
	return again;
}

/* ---------------------------------------------------------------- files ----------------------- */

enum { WEIGHTS, CONFIG, PREPROCESSOR, FILES };
static const char *const file_names[FILES] = {"model.safetensors", "config.json", "preprocessor_config.json"};
struct file {
	char *bytes;
	size_t size;
};

static void export_files(struct file files[FILES], const struct gn_model *model, const struct folder *f)
{
	const struct gn_note note = {"note", "of a test"};
	const struct gn_export_options options = {.format = f->format, .notes = &note, .note_count = 1};
	struct gn_export *e = NULL;
	struct gn_error err = {0};

	if (gn_export_open(&e, model, &options, &err) ||
	    gn_export_config(&files[CONFIG].bytes, model, f->format, GN_F32, &err) ||
	    gn_export_preprocessor(&files[PREPROCESSOR].bytes, model, &err))
		fail_msg("%s: %s: %s", f->model, err.where, err.text);
	files[WEIGHTS].size = (size_t)gn_export_bytes(e);
	files[WEIGHTS].bytes = malloc(files[WEIGHTS].size);
	assert_non_null(files[WEIGHTS].bytes);
	assert_int_equal(gn_export_read(e, 0, files[WEIGHTS].bytes, files[WEIGHTS].size), files[WEIGHTS].size);
	gn_export_close(e);
	files[CONFIG].size = strlen(files[CONFIG].bytes);
	files[PREPROCESSOR].size = strlen(files[PREPROCESSOR].bytes);
}

static void write_files(const struct file files[FILES], const char *out, const char *name)
{
	char path[512];
	struct gn_error err = {0};

	snprintf(path, sizeof path, "%s/%s", out, name);
	assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
	for (int i = 0; i < FILES; i++) {
		snprintf(path, sizeof path, "%s/%s/%s", out, name, file_names[i]);
		if (gn_file_put(path, files[i].bytes, files[i].size, &err))
			fail_msg("%s: %s", path, err.text);
	}
}

/* ---------------------------------------------------------------- comparing ------------------- */

static int compare_files(const struct file files[FILES], const struct golden *ref, const char *name)
{
	json_t *hashes = json_object_get(json_object_get(ref->config, "sha256"), name);
	int wrong = 0;

	for (int i = 0; i < FILES; i++) {
		const char *wanted = json_string_value(json_object_get(hashes, file_names[i]));
		char hex[65];

		assert_int_equal(gn_sha256_of(hex, files[i].bytes, files[i].size, NULL), 0);
		if (!wanted || strcmp(hex, wanted)) {
			print_message("%s: %s is not the file that was loaded\n", name, file_names[i]);
			wrong++;
		}
	}
	return wrong;
}

static int compare_logits(const struct gn_model *model, const struct golden *images, const struct golden *ref,
                          const char *name)
{
	size_t pixels, each = 3 * (size_t)model->arch.image_size * (size_t)model->arch.image_size;
	const float *input = golden_find(images, "images", &pixels);
	int batch = (int)(pixels / each);
	size_t count = (size_t)batch * (size_t)model->arch.classes;
	const float *wanted = golden_get(ref, count, "%s", name);
	struct gn_device *device = NULL;
	struct gn_infer *infer = NULL;
	struct gn_error err = {0};
	float *logits = calloc(count, sizeof *logits);
	double off;

	assert_non_null(logits);
	if (gn_device_open(&device, "cpu", 2, GN_PRECISION_AUTO, &err) ||
	    gn_infer_new(&infer, device, model, batch, &err) || gn_infer_run(infer, input, batch, logits, &err))
		fail_msg("%s: %s", err.where, err.text);
	off = golden_difference(logits, wanted, count) / golden_scale(wanted, count);
	print_message("%-36s logits off by %.1e of the largest\n", name, off);
	gn_infer_free(infer);
	gn_device_close(device);
	free(logits);
	return !(off <= TOLERANCE);
}

static void libraries_load_the_exports(void **state)
{
	const char *out = getenv("GN_EXPORTS_OUT");
	struct golden recorded = {0};
	int wrong = 0;

	if (!out)
		recorded = golden_open("exports");
	for (int i = 0; i < FOLDERS; i++) {
		const struct folder *f = &folders[i];
		struct golden ref = golden_open(f->model);
		struct gn_model *model =
		    rewritten(golden_import(golden_case_named(f->model), &ref, *state, 0), f, *state);
		struct file files[FILES];
		char name[80];

		name_of(name, sizeof name, f);
		export_files(files, model, f);
		if (out)
			write_files(files, out, name);
		else
			wrong += compare_files(files, &recorded, name) + compare_logits(model, &ref, &recorded, name);
		for (int k = 0; k < FILES; k++)
			free(files[k].bytes);
		gn_model_close(model);
		golden_release(&ref);
	}
	if (!out)
		golden_release(&recorded);
	assert_int_equal(wrong, 0);
}

/* ---------------------------------------------------------------- refusals -------------------- */

static void what_a_format_cannot_say_is_refused(void **state)
{
	static const struct {
		const char *model;
		enum gn_export_format format;
		const char *why;
	} refused[] = {
	    {"timm_avg", GN_EXPORT_HUGGINGFACE, "the final norm behind the mean"},
	    {"timm_gap", GN_EXPORT_HUGGINGFACE, "no class token"},
	    {"timm_clip", GN_EXPORT_HUGGINGFACE, "CLIP"},
	    {"openai_clip", GN_EXPORT_HUGGINGFACE, "CLIP"},
	    {"hf_vit", GN_EXPORT_TIMM, "an epsilon of 1e-12"},
	    {"hf_deit", GN_EXPORT_TIMM, "a head of its own"},
	};

	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		struct golden ref = golden_open(refused[i].model);
		struct gn_model *model = golden_import(golden_case_named(refused[i].model), &ref, *state, 0);
		struct gn_error err = {0};
		char *text = NULL;

		assert_int_equal(gn_export_config(&text, model, refused[i].format, GN_F32, &err), -1);
		assert_int_equal(err.code, GN_INVALID);
		assert_string_equal(err.where, "format");
		if (!strstr(err.text, refused[i].why))
			fail_msg("%s: %s", refused[i].model, err.text);
		assert_null(gn_export_class(model, refused[i].format));
		gn_model_close(model);
		golden_release(&ref);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(libraries_load_the_exports),
	    cmocka_unit_test(what_a_format_cannot_say_is_refused),
	};

	return cmocka_run_group_tests(tests, golden_folder_new, golden_folder_remove);
}
