/* Side files: Hugging Face's config.json and preprocessor_config.json, timm's config.json, class
 * names. */
#include "checkpoint/config.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/st_builder.h"

static struct gn_import_options texts(const char *config, const char *preprocessor, const char *labels)
{
	struct gn_import_options options = st_options(0);

	options.config_json = config;
	options.config_bytes = config ? strlen(config) : 0;
	options.preprocessor_json = preprocessor;
	options.preprocessor_bytes = preprocessor ? strlen(preprocessor) : 0;
	options.labels_json = labels;
	options.labels_bytes = labels ? strlen(labels) : 0;
	return options;
}

static struct gn_side read_side(const char *config, const char *preprocessor, const char *labels)
{
	struct gn_import_options options = texts(config, preprocessor, labels);
	struct gn_error err = {0};
	struct gn_side side;

	gn_side_init(&side);
	if (gn_side_read(&side, &options, &err))
		fail_msg("[%s] %s", err.where, err.text);
	return side;
}

static void refuse(const char *config, const char *preprocessor, const char *labels, enum gn_code code,
                   const char *where)
{
	struct gn_import_options options = texts(config, preprocessor, labels);
	struct gn_error err = {0};
	struct gn_side side;

	gn_side_init(&side);
	assert_int_equal(gn_side_read(&side, &options, &err), -1);
	gn_side_release(&side);
	if (strcmp(err.where, where) || err.code != code)
		fail_msg("%s expected: code %d, [%s] %s", where, (int)err.code, err.where, err.text);
}

static void test_nothing_said(void **state)
{
	struct gn_side side = read_side("{}", "{}", NULL);

	(void)state;
	assert_true(side.dim == 0 && side.heads == 0 && side.activation == -1 && side.pool == -1 &&
	            isnan(side.norm_eps));
	assert_true(isnan(side.mean[0]) && isnan(side.std[0]) && isnan(side.crop_pct) && side.interpolation == -1);
	assert_null(side.labels);
}

static void test_hugging_face_vit(void **state)
{
	struct gn_side side = read_side(
	    "{\"architectures\":[\"ViTForImageClassification\"],\"hidden_size\":768,\"num_hidden_layers\":12,"
	    "\"num_attention_heads\":12,\"intermediate_size\":3072,\"hidden_act\":\"gelu\",\"layer_norm_eps\":1e-12,"
	    "\"image_size\":224,\"patch_size\":[16,16],\"qkv_bias\":true,\"torch_dtype\":null,"
	    "\"id2label\":{\"1\":\"dog\",\"0\":\"cat\"},\"label2id\":{\"cat\":0,\"dog\":1}}",
	    "{\"do_normalize\":true,\"image_mean\":[0.5,0.25,0.5],\"image_std\":[0.5,0.5,0.125],\"resample\":2,"
	    "\"size\":{\"height\":224,\"width\":224}}",
	    NULL);

	(void)state;
	assert_true(side.dim == 768 && side.depth == 12 && side.heads == 12 && side.mlp_dim == 3072);
	assert_true(side.image_size == 224 && side.patch_size == 16 && side.activation == GN_ACT_GELU);
	assert_true(side.norm_eps == 1e-12 && side.mean[1] == 0.25f && side.std[2] == 0.125f);
	assert_true(side.crop_pct == 1 && side.interpolation == GN_BILINEAR);
	assert_int_equal(side.label_count, 2);
	assert_string_equal(side.labels[0], "cat");
	assert_string_equal(side.labels[1], "dog");
	gn_side_release(&side);
}

static void test_placeholder_labels_are_none(void **state)
{
	struct gn_side side = read_side("{\"id2label\":{\"0\":\"LABEL_0\",\"1\":\"LABEL_1\"}}", NULL, NULL);

	(void)state;
	assert_null(side.labels);
}

static void test_clip_s_vision_config(void **state)
{
	struct gn_side side =
	    read_side("{\"hidden_size\":512,\"vision_config\":{\"hidden_size\":768,\"hidden_act\":\"quick_gelu\"}}",
	              "{\"size\":{\"shortest_edge\":224},\"crop_size\":{\"height\":224,\"width\":224},"
	              "\"do_center_crop\":true,\"resample\":3}",
	              NULL);

	(void)state;
	assert_true(side.dim == 768 && side.activation == GN_ACT_QUICK_GELU);
	assert_true(side.crop_pct == 1 && side.interpolation == GN_BICUBIC);
}

static void test_crops(void **state)
{
	(void)state;
	assert_true(read_side(NULL, "{\"size\":256,\"crop_size\":224}", NULL).crop_pct == 224.0 / 256);
	assert_true(read_side(NULL, "{\"size\":256,\"crop_size\":224,\"do_center_crop\":false}", NULL).crop_pct == 1);
	assert_true(isnan(read_side(NULL, "{\"crop_size\":224}", NULL).crop_pct));
	refuse(NULL, "{\"size\":224,\"crop_size\":256}", NULL, GN_UNSUPPORTED, "preprocessor.crop_size");
	refuse(NULL, "{\"size\":{\"height\":224,\"width\":448}}", NULL, GN_UNSUPPORTED, "preprocessor.size");
}

static void test_timm(void **state)
{
	struct gn_side side = read_side(
	    "{\"architecture\":\"vit_base_patch16_clip_quickgelu_224\",\"num_classes\":2,\"global_pool\":\"avg\","
	    "\"model_args\":{\"num_heads\":5,\"img_size\":256},\"label_names\":[\"n1\",\"n2\"],"
	    "\"pretrained_cfg\":{\"input_size\":[3,224,224],\"mean\":[0.1,0.2,0.3],\"std\":[1,1,1],\"crop_pct\":0.95,"
	    "\"interpolation\":\"bilinear\"}}",
	    NULL, NULL);

	(void)state;
	assert_true(side.activation == GN_ACT_QUICK_GELU && side.pool == GN_POOL_MEAN && side.heads == 5);
	assert_true(side.image_size == 0 && side.image_size_timm == 256);
	assert_true(side.crop_pct == 0.95 && side.interpolation == GN_BILINEAR && side.mean[2] == 0.3f);
	assert_string_equal(side.labels[1], "n2");
	gn_side_release(&side);
}

static void test_labels_replace_those_of_the_config(void **state)
{
	struct gn_side side = read_side("{\"id2label\":{\"0\":\"cat\"}}", NULL, "[\"a\",\"b\"]");

	(void)state;
	assert_int_equal(side.label_count, 2);
	assert_true(side.labels_given);
	assert_string_equal(side.labels[1], "b");
	gn_side_release(&side);
}

static void test_what_is_wrong_is_named(void **state)
{
	(void)state;
	refuse("{", NULL, NULL, GN_MALFORMED, "config");
	refuse("[]", NULL, NULL, GN_INVALID, "config");
	refuse("", NULL, NULL, GN_MALFORMED, "config");
	refuse("{\"a\":1,\"a\":2}", NULL, NULL, GN_MALFORMED, "config");
	refuse("{\"hidden_size\":\"768\"}", NULL, NULL, GN_INVALID, "config.hidden_size");
	refuse("{\"hidden_size\":768.5}", NULL, NULL, GN_INVALID, "config.hidden_size");
	refuse("{\"hidden_size\":-1}", NULL, NULL, GN_INVALID, "config.hidden_size");
	refuse("{\"num_attention_heads\":99999999999}", NULL, NULL, GN_INVALID, "config.num_attention_heads");
	refuse("{\"hidden_act\":\"relu\"}", NULL, NULL, GN_UNSUPPORTED, "config.hidden_act");
	refuse("{\"hidden_act\":3}", NULL, NULL, GN_INVALID, "config.hidden_act");
	refuse("{\"layer_norm_eps\":2}", NULL, NULL, GN_INVALID, "config.layer_norm_eps");
	refuse("{\"image_size\":[]}", NULL, NULL, GN_INVALID, "config.image_size");
	refuse("{\"use_swiglu_ffn\":true}", NULL, NULL, GN_UNSUPPORTED, "config.use_swiglu_ffn");
	refuse("{\"id2label\":{\"0\":\"a\",\"2\":\"c\"}}", NULL, NULL, GN_INVALID, "config.id2label");
	refuse("{\"id2label\":{\"0\":1}}", NULL, NULL, GN_INVALID, "config.id2label");
	refuse("{\"architecture\":\"vit_base_patch16_rpn_224\"}", NULL, NULL, GN_UNSUPPORTED, "config.architecture");
	refuse("{\"architecture\":\"vit_base_patch16_siglip_gap_224\"}", NULL, NULL, GN_UNSUPPORTED,
	       "config.architecture");
	refuse("{\"architecture\":\"vit\",\"global_pool\":\"map\"}", NULL, NULL, GN_UNSUPPORTED, "config.global_pool");
	refuse("{\"architecture\":\"vit\",\"interpolation\":\"lanczos\"}", NULL, NULL, GN_UNSUPPORTED,
	       "config.interpolation");
	refuse("{\"architecture\":\"vit\",\"std\":[1,0,1]}", NULL, NULL, GN_INVALID, "config.std");
	refuse(NULL, "{\"image_mean\":[0.5,0.5]}", NULL, GN_INVALID, "preprocessor.image_mean");
	refuse(NULL, "{\"rescale_factor\":1}", NULL, GN_UNSUPPORTED, "preprocessor.rescale_factor");
	refuse(NULL, "{\"resample\":1}", NULL, GN_UNSUPPORTED, "preprocessor.resample");
	refuse(NULL, "nonsense", NULL, GN_MALFORMED, "preprocessor");
	refuse(NULL, NULL, "{\"0\":\"a\"}", GN_INVALID, "labels");
	refuse(NULL, NULL, "[\"a\",2]", GN_INVALID, "labels");
	refuse(NULL, NULL, "[[[[\"a\"]]]]", GN_MALFORMED, "labels");
}

static void test_bounds(void **state)
{
	size_t size = GN_SIDE_FILE_LIMIT + 1;
	char *text = malloc(size + 1);
	struct gn_import_options options = st_options(0);
	struct gn_error err = {0};
	struct gn_side side;

	(void)state;
	assert_non_null(text);
	memset(text, '[', size);
	text[size] = 0;
	refuse(text, NULL, NULL, GN_TOO_LARGE, "config");
	gn_side_init(&side);
	options.config_json = text;
	options.config_bytes = 100000; /* deep */
	assert_int_equal(gn_side_read(&side, &options, &err), -1);
	assert_int_equal(err.code, GN_MALFORMED);
	assert_non_null(strstr(err.text, "deeper"));
	free(text);
}

/* Empty objects take 80 times their text: a config of nothing else is refused before it is
 * parsed. */
static void test_many_objects(void **state)
{
	size_t count = 300001;
	char *text = malloc(3 * count + 10);

	(void)state;
	assert_non_null(text);
	memcpy(text, "{\"a\":[", 6);
	for (size_t i = 0; i < count; i++)
		memcpy(text + 6 + 3 * i, "{},", 3);
	memcpy(text + 6 + 3 * count, "1]}", 4);
	refuse(text, NULL, NULL, GN_TOO_LARGE, "config");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_nothing_said),
	    cmocka_unit_test(test_hugging_face_vit),
	    cmocka_unit_test(test_placeholder_labels_are_none),
	    cmocka_unit_test(test_clip_s_vision_config),
	    cmocka_unit_test(test_crops),
	    cmocka_unit_test(test_timm),
	    cmocka_unit_test(test_labels_replace_those_of_the_config),
	    cmocka_unit_test(test_what_is_wrong_is_named),
	    cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_many_objects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
