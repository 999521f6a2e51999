/* The tables of tensor names: every written name of every spelling is read back as the same tensor;
 * and the traps. */
#include "checkpoint/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void check(enum gn_spelling spelling, const char *name, enum gn_role role, enum gn_part part, int block)
{
	struct gn_name_match m;

	if (!gn_name_match(&m, spelling, name))
		fail_msg("%s is unknown", name);
	if (m.role != role || m.part != part || m.block != block)
		fail_msg("%s: role %d, part %d, block %d", name, (int)m.role, (int)m.part, m.block);
}

static void check_unknown(enum gn_spelling spelling, const char *name)
{
	struct gn_name_match m;

	if (gn_name_match(&m, spelling, name))
		fail_msg("%s is taken for role %d", name, (int)m.role);
}

static void test_write_and_match_agree(void **state)
{
	(void)state;
	for (int s = 0; s < GN_SPELLING_COUNT; s++) {
		int written = 0;

		for (int r = 0; r < GN_ROLE_COUNT; r++) {
			for (int p = GN_PART_WHOLE; p <= GN_PART_PROJECTION_TRANSPOSED; p++) {
				char name[96];

				if (!*gn_name_write(name, sizeof name, (enum gn_spelling)s, (enum gn_role)r,
				                    (enum gn_part)p, 7))
					continue;
				check((enum gn_spelling)s, name, (enum gn_role)r, (enum gn_part)p,
				      strchr(name, '7') ? 7 : -1);
				written++;
			}
		}
		/* the shortest list: 12 tensors of a block, 7 outside, 4 more for split q, k, v in
		 * other spellings */
		assert_true(written >= 19);
	}
}

static void test_names_of_each_library(void **state)
{
	(void)state;
	check(GN_SPELL_TIMM, "blocks.11.attn.qkv.weight", GN_QKV_W, GN_PART_WHOLE, 11);
	check(GN_SPELL_TIMM, "blocks.0.gamma_2", GN_LS2, GN_PART_WHOLE, 0);
	check(GN_SPELL_TIMM, "register_tokens", GN_REG_TOKEN, GN_PART_WHOLE, -1);
	/* DINOv2's chunks */
	check(GN_SPELL_TIMM, "blocks.3.31.mlp.fc1.bias", GN_FC1_B, GN_PART_WHOLE, 31);
	check(GN_SPELL_TIMM, "fc_norm.weight", GN_NORM_W, GN_PART_WHOLE, -1);
	check(GN_SPELL_HF_VIT, "encoder.layer.2.attention.output.dense.weight", GN_PROJ_W, GN_PART_WHOLE, 2);
	check(GN_SPELL_HF_VIT, "encoder.layer.2.output.dense.weight", GN_FC2_W, GN_PART_WHOLE, 2);
	check(GN_SPELL_HF_VIT, "encoder.layer.2.attention.attention.key.bias", GN_QKV_B, GN_PART_K, 2);
	check(GN_SPELL_HF_VIT5, "layers.2.attention.v_proj.weight", GN_QKV_W, GN_PART_V, 2);
	check(GN_SPELL_HF_DINOV2, "encoder.layer.2.layer_scale1.lambda1", GN_LS1, GN_PART_WHOLE, 2);
	check(GN_SPELL_HF_DINOV2_5, "encoder.layer.2.attention.o_proj.bias", GN_PROJ_B, GN_PART_WHOLE, 2);
	check(GN_SPELL_TORCHVISION, "encoder.layers.encoder_layer_5.self_attention.in_proj_weight", GN_QKV_W,
	      GN_PART_WHOLE, 5);
	check(GN_SPELL_TORCHVISION, "encoder.layers.encoder_layer_5.mlp.linear_2.bias", GN_FC2_B, GN_PART_WHOLE, 5);
	check(GN_SPELL_TORCHVISION, "encoder.layers.encoder_layer_5.mlp.3.bias", GN_FC2_B, GN_PART_WHOLE, 5);
	check(GN_SPELL_OPENAI_CLIP, "visual.proj", GN_HEAD_W, GN_PART_PROJECTION_TRANSPOSED, -1);
	check(GN_SPELL_HF_CLIP, "pre_layrnorm.weight", GN_NORM_PRE_W, GN_PART_WHOLE, -1);
	check(GN_SPELL_HF_CLIP, "visual_projection.weight", GN_HEAD_W, GN_PART_PROJECTION, -1);
}

static void test_near_misses(void **state)
{
	(void)state;
	check_unknown(GN_SPELL_TIMM, "blocks.0.attn.qkv.weight2");
	check_unknown(GN_SPELL_TIMM, "blocks.0.attn.qkv");
	check_unknown(GN_SPELL_TIMM, "blocks..attn.qkv.weight");
	check_unknown(GN_SPELL_TIMM, "blocks.-1.attn.qkv.weight");
	check_unknown(GN_SPELL_TIMM, "blocks.01.attn.qkv.weight");
	check_unknown(GN_SPELL_TIMM, "blocks.128.attn.qkv.weight");
	check_unknown(GN_SPELL_TIMM, "blocks.99999999999999999999.attn.qkv.weight");
	check_unknown(GN_SPELL_TIMM, "blocks.#.attn.qkv.weight");
	check_unknown(GN_SPELL_TIMM, "");
	check_unknown(GN_SPELL_HF_VIT, "layers.0.layernorm_before.weight");
	check_unknown(GN_SPELL_HF_VIT5, "encoder.layer.0.layernorm_before.weight");
	/* it pools otherwise than the projection */
	check_unknown(GN_SPELL_HF_CLIP, "classifier.weight");
}

static void test_prefixes(void **state)
{
	const char *const wrapped[] = {"module._orig_mod.cls_token", "module._orig_mod.blocks.0.norm1.weight"};
	const char *const partly[] = {"module.cls_token", "head.weight"};
	const char *const plain[] = {"cls_token", "head.weight"};
	const char *const lightning[] = {"model.backbone.cls_token", "model.backbone.pos_embed"};

	(void)state;
	assert_int_equal(gn_name_common_prefix(wrapped, 2), strlen("module._orig_mod."));
	assert_int_equal(gn_name_common_prefix(partly, 2), 0);
	assert_int_equal(gn_name_common_prefix(plain, 2), 0);
	assert_int_equal(gn_name_common_prefix(lightning, 2), strlen("model.backbone."));
	assert_int_equal(gn_name_common_prefix(NULL, 0), 0);
	assert_string_equal(gn_name_strip("vit.layernorm.weight"), "layernorm.weight");
	assert_string_equal(gn_name_strip("vision_model.pre_layrnorm.bias"), "pre_layrnorm.bias");
	assert_string_equal(gn_name_strip("visual.trunk.cls_token"), "cls_token");
	assert_string_equal(gn_name_strip("visual.head.proj.weight"), "visual.head.proj.weight");
	assert_string_equal(gn_name_strip("classifier.weight"), "classifier.weight");
}

static void test_silent_and_refused(void **state)
{
	static const char *const refused[] = {
	    "base_model.model.vit.encoder.layer.0.attention.attention.query.lora_A.weight",
	    "blocks.0.attn.relative_position_bias_table",
	    "layers.0.blocks.0.attn.relative_position_index",
	    "blocks.0.attn.q_norm.weight",
	    "blocks.0.attn.q_bias",
	    "rope_embed.periods",
	    "storage_tokens",
	    "attn_pool.latent",
	    "blocks.0.mlp.w12.weight",
	    "encoder.layer.0.mlp.weights_in.weight",
	    "blocks.0.in_proj.weight",
	    "blocks.0.attns.0.qkv.weight",
	    "conv_proj.conv_bn_relu_0.0.weight",
	    "patch_embed.norm.weight",
	    "heads.pre_logits.weight",
	    "vision_model.head.probe"};
	static const char *const silent[] = {"mask_token", "embeddings.mask_token", "pooler.dense.weight",
	                                     "pre_logits.fc.bias", "embeddings.position_ids"};

	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		if (!gn_name_refusal(refused[i]))
			fail_msg("%s is not refused", refused[i]);
	for (size_t i = 0; i < sizeof silent / sizeof *silent; i++)
		assert_true(gn_name_is_silent(silent[i]));
	assert_false(gn_name_is_silent("decoder.mask_token"));
	assert_null(gn_name_refusal("encoder.layers.encoder_layer_0.self_attention.in_proj_weight"));
	assert_null(gn_name_refusal("visual.transformer.resblocks.0.attn.in_proj_weight"));
	assert_null(gn_name_refusal("blocks.0.attn.qkv.weight"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_write_and_match_agree), cmocka_unit_test(test_names_of_each_library),
	    cmocka_unit_test(test_near_misses),           cmocka_unit_test(test_prefixes),
	    cmocka_unit_test(test_silent_and_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
