/* Imports the models of tests/parity/golden: see golden_model.h. */
#include "tests/support/golden_model.h"

#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const struct golden_case golden_cases[] = {
    {"timm_cls", "timm", -1, 0},
    {"timm_avg", "timm", -1, 0},
    {"timm_gap", "timm", -1, 0},
    {"timm_gap_reg4", "timm", -1, 0},
    {"timm_reg4", "timm", -1, 0},
    {"timm_reg2_embed", "timm", -1, 0},
    {"timm_ls", "timm", -1, 0},
    {"timm_deit_distilled", "timm", -1, 0},
    {"timm_clip", "timm", GN_ACT_QUICK_GELU, 1e-5f},
    {"timm_gelu_tanh", "timm", GN_ACT_GELU_TANH, 0},
    {"timm_head80", "timm", -1, 0},
    {"timm_head24", "timm", -1, 0},
    {"timm_odd", "timm", -1, 0},
    {"timm_deit3", "timm", -1, 0},
    {"deit3_original", "timm", -1, 0},
    {"timm_f16", "timm", -1, 0},
    {"timm_bf16", "timm", -1, 0},
    {"timm_wrapped", "timm", -1, 0},
    {"hf_vit", "huggingface", -1, 0},
    {"hf_vit5", "huggingface", -1, 0},
    {"hf_vit_bare", "huggingface", -1, 0},
    {"hf_deit", "huggingface", -1, 0},
    {"hf_deit_teacher", "huggingface", -1, 0},
    {"hf_dinov2", "huggingface", -1, 0},
    {"hf_dinov2_reg", "huggingface", -1, 0},
    {"hf_clip", "huggingface", -1, 0},
    {"hf_clip_bare", "huggingface", -1, 0},
    {"openai_clip", "timm", GN_ACT_QUICK_GELU, 0},
    {"tv_vit", "torchvision", -1, 0},
    {"tv_vit_old", "torchvision", -1, 0},
    {"dinov2", "dinov2", -1, 0},
    {"dinov2_reg", "dinov2", -1, 0},
};
const size_t golden_case_count = sizeof golden_cases / sizeof *golden_cases;

const struct golden_case *golden_case_named(const char *name)
{
	for (size_t i = 0; i < golden_case_count; i++)
		if (!strcmp(golden_cases[i].name, name))
			return &golden_cases[i];
	fail_msg("no case %s", name);
	return NULL;
}

static void check_report(const struct gn_import_report *report, const struct golden *ref, const char *name,
                         int image_size)
{
	json_t *ignored = json_object_get(ref->config, "ignored");
	bool resized = image_size && image_size != golden_field(ref, "image_size");

	if (report->mapped != json_integer_value(json_object_get(ref->config, "mapped")) ||
	    report->ignored_count != (int)json_array_size(ignored))
		fail_msg("%s: %d tensors mapped, %d ignored", name, report->mapped, report->ignored_count);
	for (int i = 0; i < report->ignored_count; i++)
		assert_string_equal(report->ignored[i], json_string_value(json_array_get(ignored, (size_t)i)));
	assert_int_equal(report->resized_count, resized);
	assert_int_equal(strlen(report->sha256), 64);
}

/* Writes the model again with the head that the reference was given, opens that, and closes the
 * first. */
static struct gn_model *put_head(struct gn_model *bare, const char *name, const struct golden *ref, const char *folder)
{
	struct gn_arch arch = bare->arch;
	struct gn_layout layout;
	struct gn_model *model = NULL;
	struct gn_error err = {0};
	const float **tensors;
	char path[256];

	arch.classes = golden_field(ref, "classes");
	assert_int_equal(gn_layout_init(&layout, &arch, &err), 0);
	tensors = calloc((size_t)layout.count, sizeof *tensors);
	assert_non_null(tensors);
	for (int i = 0; i < layout.count; i++) {
		const struct gn_tensor *t = &layout.tensors[i];
		int at = gn_layout_find_name(&bare->layout, t->name);

		tensors[i] = at >= 0 ? bare->tensors[at] : golden_get(ref, t->numel, "given.%s", t->name);
	}
	snprintf(path, sizeof path, "%s/%s.head.safetensors", folder, name);
	struct gn_model_parts parts = {.arch = &arch,
	                               .preprocess = &bare->preprocess,
	                               .scheme = bare->scheme,
	                               .pos_resample = bare->pos_resample,
	                               .layout = &layout,
	                               .tensors = tensors};
	if (gn_model_write(path, &parts, &err) || gn_model_open(&model, path, NULL, &err))
		fail_msg("%s: %s: %s", name, err.where, err.text);
	free(tensors);
	gn_layout_release(&layout);
	gn_model_close(bare);
	return model;
}

struct gn_model *golden_import(const struct golden_case *c, const struct golden *ref, const char *folder,
                               int image_size)
{
	struct gn_import_options options = {.activation = c->activation,
	                                    .norm_eps = c->norm_eps > 0 ? c->norm_eps : NAN,
	                                    .mean = {NAN, NAN, NAN},
	                                    .std = {NAN, NAN, NAN},
	                                    .crop_pct = NAN,
	                                    .image_size = image_size};
	struct gn_import_report report = {0};
	struct gn_model *model = NULL;
	struct gn_error err = {0};
	char source[512], name[128], out[256], *config;

	snprintf(name, sizeof name, "%s.config.json", c->name);
	options.config_json = config = golden_read(name, &options.config_bytes);
	if (!config)
		options.heads = golden_field(ref, "heads");
	snprintf(name, sizeof name, "%s.model.safetensors", c->name);
	golden_path(source, sizeof source, name);
	snprintf(out, sizeof out, "%s/%s.safetensors", folder, c->name);
	if (gn_model_import(out, source, &options, &report, &err) || gn_model_open(&model, out, NULL, &err))
		fail_msg("%s: %s: %s", c->name, err.where, err.text);
	check_report(&report, ref, c->name, image_size);
	assert_string_equal(gn_scheme_name(model->scheme), c->scheme);
	gn_import_report_release(&report);
	free(config);
	return model->arch.classes ? model : put_head(model, c->name, ref, folder);
}

int golden_folder_new(void **state)
{
	*state = strdup("/tmp/gonio-parity-XXXXXX");
	return *state && mkdtemp(*state) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
	(void)info;
	(void)kind;
	(void)where;
	return remove(path);
}

int golden_folder_remove(void **state)
{
	int failed = nftw(*state, remove_one, 8, FTW_DEPTH | FTW_PHYS);

	free(*state);
	return failed;
}
