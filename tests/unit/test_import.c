/*
 * Importing: files that timm, transformers and torchvision saved (tests/parity/golden), in pairs of
 * spellings that must give the same bits; then small files made here for every rule about heads,
 * positions, registers, labels and options.
 */
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

#include "checkpoint/position.h"
#include "base/files.h"
#include "tests/support/golden.h"
#include "tests/support/st_builder.h"

enum { C = 8, M = 16, K = 3 };

static char folder[64];

static int make_folder(void **state)
{
	(void)state;
	st_folder(folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	st_folder_remove(folder);
	return 0;
}

static const char *path_of(const char *name)
{
	static char paths[4][128];
	static int next;
	char *path = paths[next = (next + 1) % 4];

	snprintf(path, sizeof paths[0], "%s/%s", folder, name);
	return path;
}

static struct gn_model *open_model(const char *path)
{
	struct gn_error err = {0};
	struct gn_model *model;

	if (gn_model_open(&model, path, NULL, &err))
		fail_msg("%s: %s", err.where, err.text);
	return model;
}

/* Imports builder's file; the model is closed by the caller. */
static struct gn_model *import(struct st_builder *b, const struct gn_import_options *options,
                               struct gn_import_report *report)
{
	struct gn_error err = {0};

	st_write(b, path_of("in.safetensors"), NULL);
	if (gn_model_import(path_of("out.safetensors"), path_of("in.safetensors"), options, report, &err))
		fail_msg("[%s] %s", err.where, err.text);
	return open_model(path_of("out.safetensors"));
}

static struct gn_error refuse(struct st_builder *b, const struct gn_import_options *options, const char *metadata)
{
	struct gn_error err = {0};

	st_write(b, path_of("in.safetensors"), metadata);
	if (!gn_model_import(path_of("refused.safetensors"), path_of("in.safetensors"), options, NULL, &err))
		fail_msg("a bad file was imported");
	return err;
}

static const float *tensor(const struct gn_model *model, const char *name)
{
	int index = gn_layout_find_name(&model->layout, name);

	if (index < 0)
		fail_msg("no tensor %s", name);
	return model->tensors[index];
}

static void check_from(const struct gn_model *model, const char *name, const char *source, size_t first, size_t n)
{
	const float *values = tensor(model, name);

	for (size_t i = 0; i < n; i++)
		if (values[first + i] != st_value(source, i))
			fail_msg("%s[%zu] is not %s[%zu]", name, first + i, source, i);
}

/* ---------------------------------------------------------------- files of the libraries ------ */

static struct gn_model *import_golden(const char *name, int heads, int activation, const char *out)
{
	struct gn_import_options options = st_options(heads);
	struct gn_error err = {0};
	char source[256], file[64], *config;
	size_t size = 0;

	snprintf(file, sizeof file, "%s.config.json", name);
	config = golden_read(file, &size);
	options.config_json = config;
	options.config_bytes = size;
	options.activation = activation;
	snprintf(file, sizeof file, "%s.model.safetensors", name);
	golden_path(source, sizeof source, file);
	if (gn_model_import(path_of(out), source, &options, NULL, &err))
		fail_msg("%s: [%s] %s", name, err.where, err.text);
	free(config);
	return open_model(path_of(out));
}

static void check_equal(const struct gn_model *a, const struct gn_model *b)
{
	assert_int_equal(a->layout.count, b->layout.count);
	for (int i = 0; i < a->layout.count; i++) {
		const struct gn_tensor *t = &a->layout.tensors[i];

		assert_string_equal(t->name, b->layout.tensors[i].name);
		assert_int_equal(t->numel, b->layout.tensors[i].numel);
		if (memcmp(a->tensors[i], b->tensors[i], t->numel * sizeof(float)))
			fail_msg("%s differs", t->name);
	}
}

/* The same network, saved under two spellings. */
static void test_spellings_give_the_same_bits(void **state)
{
	static const struct {
		const char *one, *other;
		int heads, activation;
	} pairs[] = {{"hf_vit", "hf_vit5", 0, -1},
	             {"tv_vit", "tv_vit_old", 3, -1},
	             {"timm_deit3", "deit3_original", 3, -1},
	             {"timm_avg", "timm_wrapped", 3, -1},
	             {"hf_clip", "openai_clip", 3, GN_ACT_QUICK_GELU}};

	(void)state;
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		struct gn_model *one = import_golden(pairs[i].one, pairs[i].heads, -1, "one.safetensors");
		struct gn_model *other =
		    import_golden(pairs[i].other, pairs[i].heads, pairs[i].activation, "other.safetensors");

		print_message("%s, %s\n", pairs[i].one, pairs[i].other);
		check_equal(one, other);
		assert_true(one->arch.norm_eps == other->arch.norm_eps &&
		            one->arch.activation == other->arch.activation);
		gn_model_close(one);
		gn_model_close(other);
	}
}

static void test_architectures_of_the_libraries(void **state)
{
	static const struct {
		const char *name;
		int heads;
		enum gn_scheme scheme;
		enum gn_pos_resample how;
		float eps;
	} cases[] = {{"hf_vit_bare", 0, GN_SCHEME_HUGGINGFACE, GN_POS_HF, 1e-12f},
	             {"hf_deit", 0, GN_SCHEME_HUGGINGFACE, GN_POS_HF, 1e-12f},
	             {"hf_dinov2", 0, GN_SCHEME_HUGGINGFACE, GN_POS_HF, 1e-6f},
	             {"hf_dinov2_reg", 0, GN_SCHEME_HUGGINGFACE, GN_POS_TIMM, 1e-6f},
	             {"hf_clip_bare", 0, GN_SCHEME_HUGGINGFACE, GN_POS_HF, 1e-5f},
	             {"tv_vit", 3, GN_SCHEME_TORCHVISION, GN_POS_TORCHVISION, 1e-6f},
	             {"dinov2", 3, GN_SCHEME_DINOV2, GN_POS_DINOV2, 1e-6f},
	             {"dinov2_reg", 3, GN_SCHEME_DINOV2, GN_POS_TIMM, 1e-6f},
	             {"timm_gap_reg4", 3, GN_SCHEME_TIMM, GN_POS_TIMM, 1e-6f},
	             {"timm_clip", 3, GN_SCHEME_TIMM, GN_POS_TIMM, 1e-5f}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct gn_model *m = import_golden(cases[i].name, cases[i].heads, -1, "model.safetensors");

		print_message("%s\n", cases[i].name);
		assert_int_equal(m->scheme, cases[i].scheme);
		assert_int_equal(m->pos_resample, cases[i].how);
		assert_true(m->arch.norm_eps == cases[i].eps);
		assert_int_equal(m->arch.dim, 24);
		assert_int_equal(m->arch.heads, 3);
		assert_int_equal(m->arch.image_size, 16);
		gn_model_close(m);
	}
}

/* ---------------------------------------------------------------- q, k, v --------------------- */

static void add_hf_block(struct st_builder *b, const char *prefix, int block)
{
	static const struct {
		const char *name;
		int64_t first, second;
	} tensors[] = {{"layernorm_before", C, 0},        {"attention.attention.query", C, C},
	               {"attention.attention.key", C, C}, {"attention.attention.value", C, C},
	               {"attention.output.dense", C, C},  {"layernorm_after", C, 0},
	               {"intermediate.dense", M, C},      {"output.dense", C, M}};

	for (size_t t = 0; t < sizeof tensors / sizeof *tensors; t++) {
		char name[96];

		snprintf(name, sizeof name, "%sencoder.layer.%d.%s.weight", prefix, block, tensors[t].name);
		st_add(b, name, NULL, (const int64_t[]){tensors[t].first, tensors[t].second, 0});
		snprintf(name, sizeof name, "%sencoder.layer.%d.%s.bias", prefix, block, tensors[t].name);
		st_add(b, name, NULL, (const int64_t[]){tensors[t].first, 0});
	}
}

static void add_hf(struct st_builder *b)
{
	ST_ADD(b, "vit.embeddings.cls_token", 1, 1, C);
	ST_ADD(b, "vit.embeddings.position_embeddings", 1, 5, C);
	ST_ADD(b, "vit.embeddings.patch_embeddings.projection.weight", C, 3, 2, 2);
	ST_ADD(b, "vit.embeddings.patch_embeddings.projection.bias", C);
	add_hf_block(b, "vit.", 0);
	ST_ADD(b, "vit.layernorm.weight", C);
	ST_ADD(b, "vit.layernorm.bias", C);
}

static void test_qkv_is_stacked_and_dense_is_not_mixed_up(void **state)
{
	struct gn_import_options options = st_options(2);
	struct gn_import_report report;
	struct st_builder b = {0};
	struct gn_model *m;

	(void)state;
	add_hf(&b);
	m = import(&b, &options, &report);
	check_from(m, "blocks.0.attn.qkv.weight", "vit.encoder.layer.0.attention.attention.query.weight", 0, C * C);
	check_from(m, "blocks.0.attn.qkv.weight", "vit.encoder.layer.0.attention.attention.key.weight", C * C, C * C);
	check_from(m, "blocks.0.attn.qkv.weight", "vit.encoder.layer.0.attention.attention.value.weight", 2 * C * C,
	           C * C);
	check_from(m, "blocks.0.attn.qkv.bias", "vit.encoder.layer.0.attention.attention.value.bias", 2 * C, C);
	check_from(m, "blocks.0.attn.proj.weight", "vit.encoder.layer.0.attention.output.dense.weight", 0, C * C);
	check_from(m, "blocks.0.mlp.fc2.weight", "vit.encoder.layer.0.output.dense.weight", 0, C * M);
	assert_int_equal(report.mapped, 22);
	assert_int_equal(m->arch.classes, 0);
	gn_model_close(m);
	gn_import_report_release(&report);
}

static void test_a_lost_third_is_named(void **state)
{
	struct gn_import_options options = st_options(2);
	struct st_builder b = {0};
	struct gn_error err;

	(void)state;
	add_hf(&b);
	ST_ADD(&b, "vit.encoder.layer.1.attention.attention.query.weight", C, C);
	err = refuse(&b, &options, NULL);
	assert_int_equal(err.code, GN_INVALID);
	assert_string_equal(err.where, "encoder.layer.1.layernorm_before.weight");
	add_hf_block(&b, "vit.", 0);
	ST_ADD(&b, "vit.embeddings.patch_embeddings.projection.weight", C, 3, 2, 2);
	err = refuse(&b, &options, NULL);
	assert_string_equal(err.where, "embeddings.position_embeddings");
}

/* ---------------------------------------------------------------- heads ----------------------- */

static void add_dinov2(struct st_builder *b, const float *classifier)
{
	static const struct {
		const char *name;
		int64_t first, second;
	} block[] = {{"norm1.weight", C, 0},
	             {"norm1.bias", C, 0},
	             {"attention.attention.query.weight", C, C},
	             {"attention.attention.query.bias", C, 0},
	             {"attention.attention.key.weight", C, C},
	             {"attention.attention.key.bias", C, 0},
	             {"attention.attention.value.weight", C, C},
	             {"attention.attention.value.bias", C, 0},
	             {"attention.output.dense.weight", C, C},
	             {"attention.output.dense.bias", C, 0},
	             {"layer_scale1.lambda1", C, 0},
	             {"norm2.weight", C, 0},
	             {"norm2.bias", C, 0},
	             {"mlp.fc1.weight", M, C},
	             {"mlp.fc1.bias", M, 0},
	             {"mlp.fc2.weight", C, M},
	             {"mlp.fc2.bias", C, 0},
	             {"layer_scale2.lambda1", C, 0}};

	ST_ADD(b, "dinov2.embeddings.cls_token", 1, 1, C);
	ST_ADD(b, "dinov2.embeddings.mask_token", 1, C);
	ST_ADD(b, "dinov2.embeddings.position_embeddings", 1, 5, C);
	ST_ADD(b, "dinov2.embeddings.patch_embeddings.projection.weight", C, 3, 2, 2);
	ST_ADD(b, "dinov2.embeddings.patch_embeddings.projection.bias", C);
	for (size_t t = 0; t < sizeof block / sizeof *block; t++) {
		char name[96];

		snprintf(name, sizeof name, "dinov2.encoder.layer.0.%s", block[t].name);
		st_add(b, name, NULL, (const int64_t[]){block[t].first, block[t].second, 0});
	}
	ST_ADD(b, "dinov2.layernorm.weight", C);
	ST_ADD(b, "dinov2.layernorm.bias", C);
	st_add(b, "classifier.weight", classifier, (const int64_t[]){K, 2 * C, 0});
	ST_ADD(b, "classifier.bias", K);
}

static void test_dinov2_classifier_of_one_half(void **state)
{
	struct gn_import_options options = st_options(2);

	(void)state;
	for (int half = 0; half < 2; half++) {
		float classifier[K * 2 * C] = {0};
		struct st_builder b = {0};
		struct gn_model *m;

		for (int k = 0; k < K; k++)
			for (int c = 0; c < C; c++)
				classifier[k * 2 * C + half * C + c] = (float)(k * C + c + 1);
		add_dinov2(&b, classifier);
		m = import(&b, &options, NULL);
		assert_int_equal(m->arch.pool, half ? GN_POOL_MEAN : GN_POOL_CLS);
		assert_false(m->arch.norm_after_pool);
		for (int i = 0; i < K * C; i++)
			assert_true(tensor(m, "head.weight")[i] == (float)(i + 1));
		check_from(m, "head.bias", "classifier.bias", 0, K);
		gn_model_close(m);
	}
}

static void test_dinov2_classifier_of_both_halves(void **state)
{
	struct gn_import_options options = st_options(2);
	struct gn_import_report report;
	struct st_builder b = {0};
	struct gn_model *m;
	struct gn_error err;

	(void)state;
	add_dinov2(&b, NULL);
	err = refuse(&b, &options, NULL);
	assert_int_equal(err.code, GN_UNSUPPORTED);
	assert_string_equal(err.where, "classifier.weight");
	options.allow_unused = true;
	add_dinov2(&b, NULL);
	m = import(&b, &options, &report);
	assert_int_equal(m->arch.classes, 0);
	assert_int_equal(report.ignored_count, 3);
	assert_string_equal(report.ignored[0], "dinov2.embeddings.mask_token");
	assert_string_equal(report.ignored[1], "classifier.weight");
	assert_string_equal(report.ignored[2], "classifier.bias");
	gn_model_close(m);
	gn_import_report_release(&report);
}

static void add_openai(struct st_builder *b)
{
	static const struct {
		const char *name;
		int64_t first, second;
	} block[] = {{"ln_1.weight", C, 0},
	             {"ln_1.bias", C, 0},
	             {"attn.in_proj_weight", 3 * C, C},
	             {"attn.in_proj_bias", 3 * C, 0},
	             {"attn.out_proj.weight", C, C},
	             {"attn.out_proj.bias", C, 0},
	             {"ln_2.weight", C, 0},
	             {"ln_2.bias", C, 0},
	             {"mlp.c_fc.weight", M, C},
	             {"mlp.c_fc.bias", M, 0},
	             {"mlp.c_proj.weight", C, M},
	             {"mlp.c_proj.bias", C, 0}};

	ST_ADD(b, "visual.class_embedding", C);
	ST_ADD(b, "visual.positional_embedding", 5, C);
	ST_ADD(b, "visual.proj", C, K);
	ST_ADD(b, "visual.conv1.weight", C, 3, 2, 2);
	ST_ADD(b, "visual.ln_pre.weight", C);
	ST_ADD(b, "visual.ln_pre.bias", C);
	for (size_t t = 0; t < sizeof block / sizeof *block; t++) {
		char name[96];

		snprintf(name, sizeof name, "visual.transformer.resblocks.0.%s", block[t].name);
		st_add(b, name, NULL, (const int64_t[]){block[t].first, block[t].second, 0});
	}
	ST_ADD(b, "visual.ln_post.weight", C);
	ST_ADD(b, "visual.ln_post.bias", C);
}

static void test_openai_projection_is_transposed(void **state)
{
	struct gn_import_options options = st_options(2);
	struct st_builder b = {0};
	struct gn_error err;
	struct gn_model *m;

	(void)state;
	add_openai(&b);
	err = refuse(&b, &options, NULL);
	assert_string_equal(err.where, "activation"); /* OpenAI's and OpenCLIP's files look alike */
	options.activation = GN_ACT_QUICK_GELU;
	add_openai(&b);
	m = import(&b, &options, NULL);
	assert_int_equal(m->arch.classes, K);
	assert_true(m->arch.norm_pre && !m->arch.patch_bias && m->arch.norm_eps == 1e-5f);
	for (int k = 0; k < K; k++) {
		assert_true(tensor(m, "head.bias")[k] == 0.0f);
		for (int c = 0; c < C; c++)
			assert_true(tensor(m, "head.weight")[k * C + c] ==
			            st_value("visual.proj", (size_t)(c * K + k)));
	}
	gn_model_close(m);
}

static void test_a_whole_clip_needs_allow_unused(void **state)
{
	struct gn_import_options options = st_options(2);
	struct gn_import_report report;
	struct st_builder b = {0};
	struct gn_error err;

	(void)state;
	options.activation = GN_ACT_QUICK_GELU;
	add_openai(&b);
	ST_ADD(&b, "token_embedding.weight", 4, C);
	err = refuse(&b, &options, NULL);
	assert_string_equal(err.where, "token_embedding.weight");
	options.allow_unused = true;
	add_openai(&b);
	ST_ADD(&b, "token_embedding.weight", 4, C);
	gn_model_close(import(&b, &options, &report));
	assert_int_equal(report.ignored_count, 1);
	assert_int_equal(report.mapped, 20);
	gn_import_report_release(&report);
}

/* ---------------------------------------------------------------- positions and registers ----- */

static void test_image_size_resizes_positions(void **state)
{
	struct gn_import_options options = st_options(2);
	struct gn_import_report report;
	struct st_builder b = {0};
	struct gn_model *m;
	float in[4 * C], want[16 * C];

	(void)state;
	options.image_size = 8;
	st_add_timm(&b, NULL);
	m = import(&b, &options, &report);
	assert_int_equal(m->arch.image_size, 8);
	assert_int_equal(report.resized_count, 1);
	assert_string_equal(report.resized[0], "pos_embed");
	for (size_t i = 0; i < 4 * C; i++)
		in[i] = st_value("pos_embed", C + i);
	assert_int_equal(gn_position_resample(want, in, 4, 2, C, GN_POS_TIMM, NULL), 0);
	check_from(m, "pos_embed", "pos_embed", 0, C);
	assert_memory_equal(tensor(m, "pos_embed") + C, want, sizeof want);
	gn_model_close(m);
	gn_import_report_release(&report);

	options.image_size = 7;
	st_add_timm(&b, NULL);
	assert_string_equal(refuse(&b, &options, NULL).where, "image_size");
}

/* A ViT in timm's names with registers; rows of the positions. */
static void add_with_registers(struct st_builder *b, int64_t registers, int64_t rows)
{
	ST_ADD(b, "cls_token", 1, 1, C);
	ST_ADD(b, "reg_token", 1, registers, C);
	ST_ADD(b, "pos_embed", 1, rows, C);
	ST_ADD(b, "patch_embed.proj.weight", C, 3, 2, 2);
	ST_ADD(b, "patch_embed.proj.bias", C);
	ST_ADD(b, "blocks.0.norm1.weight", C);
	ST_ADD(b, "blocks.0.norm1.bias", C);
	ST_ADD(b, "blocks.0.attn.qkv.weight", 3 * C, C);
	ST_ADD(b, "blocks.0.attn.proj.weight", C, C);
	ST_ADD(b, "blocks.0.attn.proj.bias", C);
	ST_ADD(b, "blocks.0.norm2.weight", C);
	ST_ADD(b, "blocks.0.norm2.bias", C);
	ST_ADD(b, "blocks.0.mlp.fc1.weight", M, C);
	ST_ADD(b, "blocks.0.mlp.fc1.bias", M);
	ST_ADD(b, "blocks.0.mlp.fc2.weight", C, M);
	ST_ADD(b, "blocks.0.mlp.fc2.bias", C);
	ST_ADD(b, "norm.weight", C);
	ST_ADD(b, "norm.bias", C);
}

static void test_positions_of_registers_are_added_to_them(void **state)
{
	struct gn_import_options options = st_options(2);
	struct st_builder b = {0};
	struct gn_model *m;

	(void)state;
	add_with_registers(&b, 2, 4 + 1 + 2);
	m = import(&b, &options, NULL);
	assert_int_equal(m->arch.registers, 2);
	assert_true(m->arch.pos_on_prefix && !m->arch.qkv_bias);
	for (size_t i = 0; i < 2 * C; i++)
		assert_true(tensor(m, "reg_token")[i] == st_value("reg_token", i) + st_value("pos_embed", C + i));
	check_from(m, "pos_embed", "pos_embed", 0, C);
	for (size_t i = 0; i < 4 * C; i++)
		assert_true(tensor(m, "pos_embed")[C + i] == st_value("pos_embed", 3 * C + i));
	gn_model_close(m);

	add_with_registers(&b, 2, 4); /* timm's no_embed_class */
	m = import(&b, &options, NULL);
	assert_false(m->arch.pos_on_prefix);
	check_from(m, "pos_embed", "pos_embed", 0, 4 * C);
	gn_model_close(m);
}

/* 17 rows with 7 registers: 16 patches and a class token, or 9 patches, a class token and
 * registers. */
static void test_ambiguous_positions_are_asked_about(void **state)
{
	struct gn_import_options options = st_options(2);
	struct st_builder b = {0};
	struct gn_model *m;

	(void)state;
	add_with_registers(&b, 7, 17);
	assert_string_equal(refuse(&b, &options, NULL).where, "image_size");
	for (int grid = 3; grid <= 4; grid++) {
		options.image_size = 2 * grid;
		add_with_registers(&b, 7, 17);
		m = import(&b, &options, NULL);
		assert_int_equal(m->arch.image_size, 2 * grid);
		check_from(m, "pos_embed", "pos_embed", 0, C);
		assert_true(tensor(m, "pos_embed")[C] == st_value("pos_embed", grid == 4 ? C : 8 * C));
		gn_model_close(m);
	}
}

/* ---------------------------------------------------------------- options, labels, ours ------- */

static void test_options_come_first(void **state)
{
	static const char config[] =
	    "{\"hidden_size\":8,\"num_attention_heads\":1,\"layer_norm_eps\":1e-3,\"hidden_act\":\"gelu_new\","
	    "\"image_size\":4,\"id2label\":{\"0\":\"a\",\"1\":\"b\",\"2\":\"c\"}}";
	struct gn_import_options options = st_options(0);
	struct st_builder b = {0};
	struct gn_model *m;

	(void)state;
	options.config_json = config;
	options.config_bytes = sizeof config - 1;
	st_add_timm(&b, NULL);
	m = import(&b, &options, NULL);
	assert_int_equal(m->arch.heads, 1);
	assert_true(m->arch.norm_eps == 1e-3f && m->arch.activation == GN_ACT_GELU_TANH &&
	            m->preprocess.mean[0] == 0.5f);
	assert_int_equal(m->label_count, 3);
	assert_string_equal(m->labels[1], "b");
	gn_model_close(m);

	options.heads = 4;
	options.norm_eps = 1e-4f;
	options.activation = GN_ACT_QUICK_GELU;
	options.mean[0] = 0.1f, options.mean[1] = 0.2f, options.mean[2] = 0.3f;
	options.std[0] = options.std[1] = options.std[2] = 2;
	options.crop_pct = 0.5f;
	options.labels_json = "[\"x\",\"y\",\"\\u00fc <b>\"]";
	options.labels_bytes = strlen(options.labels_json);
	st_add_timm(&b, NULL);
	m = import(&b, &options, NULL);
	assert_int_equal(m->arch.heads, 4);
	assert_true(m->arch.norm_eps == 1e-4f && m->arch.activation == GN_ACT_QUICK_GELU &&
	            m->preprocess.mean[1] == 0.2f);
	assert_true(m->preprocess.std[2] == 2 && m->preprocess.crop_pct == 0.5f);
	assert_string_equal(m->labels[2], "\xc3\xbc <b>");
	gn_model_close(m);
}

static void check_option(struct gn_import_options options, const char *where)
{
	struct st_builder b = {0};
	struct gn_error err;

	st_add_timm(&b, NULL);
	err = refuse(&b, &options, NULL);
	if (strcmp(err.where, where))
		fail_msg("%s expected, [%s] %s found", where, err.where, err.text);
	assert_int_equal(err.code, GN_INVALID);
}

static void test_bad_options_are_named(void **state)
{
	struct gn_import_options options = st_options(0);

	(void)state;
	check_option(options, "heads"); /* a width of 8 is not standard */
	options = st_options(3);
	check_option(options, "heads"); /* 3 does not divide 8 */
	options = st_options(2);
	options.norm_eps = -1;
	check_option(options, "norm_eps");
	options = st_options(2);
	options.crop_pct = 1.5f;
	check_option(options, "crop_pct");
	options = st_options(2);
	options.mean[0] = 0.5f, options.mean[1] = INFINITY;
	check_option(options, "mean");
	options = st_options(2);
	options.std[0] = 1, options.std[1] = 1, options.std[2] = 0;
	check_option(options, "std");
	options = st_options(2);
	options.labels_json = "[\"one\"]";
	options.labels_bytes = 7;
	check_option(options, "labels");
	options.config_json = "{\"num_hidden_layers\":3}";
	options.config_bytes = strlen(options.config_json);
	options.labels_json = NULL;
	/* the config knows of a block that is not there */
	check_option(options, "blocks.2.norm1.weight");
	options.config_json = "{\"num_hidden_layers\":1}";
	check_option(options, "config.num_hidden_layers");
	options.config_json = "{\"intermediate_size\":9}";
	options.config_bytes = strlen(options.config_json);
	check_option(options, "config.intermediate_size");
	options.config_json = "{\"image_size\":64}";
	options.config_bytes = strlen(options.config_json);
	check_option(options, "config.image_size");
}

static void test_our_own_file_needs_no_options(void **state)
{
	struct gn_import_options options = st_options(2);
	struct gn_error err = {0};
	struct st_builder b = {0};
	struct gn_model *first, *second;

	(void)state;
	options.norm_eps = 3e-5f;
	options.activation = GN_ACT_GELU_TANH;
	options.crop_pct = 0.8f;
	options.labels_json = "[\"x\",\"y\",\"z\"]";
	options.labels_bytes = strlen(options.labels_json);
	st_add_timm(&b, NULL);
	first = import(&b, &options, NULL);
	options = st_options(0);
	if (gn_model_import(path_of("again.safetensors"), path_of("out.safetensors"), &options, NULL, &err))
		fail_msg("[%s] %s", err.where, err.text);
	second = open_model(path_of("again.safetensors"));
	check_equal(first, second);
	assert_memory_equal(&first->arch, &second->arch, sizeof first->arch);
	assert_memory_equal(&first->preprocess, &second->preprocess, sizeof first->preprocess);
	assert_int_equal(second->scheme, GN_SCHEME_GONIO);
	assert_string_equal(second->labels[2], "z");
	gn_model_close(first);
	gn_model_close(second);
}

static void test_sha256_is_the_file_s(void **state)
{
	struct gn_import_options options = st_options(2);
	struct gn_import_report report;
	struct st_builder b = {0};
	char hex[65], *bytes;
	size_t size;

	(void)state;
	st_add_timm(&b, NULL);
	gn_model_close(import(&b, &options, &report));
	assert_int_equal(gn_file_read(&bytes, &size, path_of("in.safetensors"), 1 << 20, NULL), 0);
	assert_int_equal(gn_sha256_of(hex, bytes, size, NULL), 0);
	assert_string_equal(report.sha256, hex);
	assert_int_equal(gn_sha256_of(hex, "abc", 3, NULL), 0);
	/* FIPS 180-2, B.1 */
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	free(bytes);
	gn_import_report_release(&report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_spellings_give_the_same_bits),
	    cmocka_unit_test(test_architectures_of_the_libraries),
	    cmocka_unit_test(test_qkv_is_stacked_and_dense_is_not_mixed_up),
	    cmocka_unit_test(test_a_lost_third_is_named),
	    cmocka_unit_test(test_dinov2_classifier_of_one_half),
	    cmocka_unit_test(test_dinov2_classifier_of_both_halves),
	    cmocka_unit_test(test_openai_projection_is_transposed),
	    cmocka_unit_test(test_a_whole_clip_needs_allow_unused),
	    cmocka_unit_test(test_image_size_resizes_positions),
	    cmocka_unit_test(test_positions_of_registers_are_added_to_them),
	    cmocka_unit_test(test_ambiguous_positions_are_asked_about),
	    cmocka_unit_test(test_options_come_first),
	    cmocka_unit_test(test_bad_options_are_named),
	    cmocka_unit_test(test_our_own_file_needs_no_options),
	    cmocka_unit_test(test_sha256_is_the_file_s),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
