/*
 * The name tables. '#' in a pattern stands for the block number. Sources: the published checkpoints
 * and the state_dict()s of timm 1.0, transformers 4 and 5, torchvision 0.29,
 * facebookresearch/dinov2 and deit, openai/CLIP.
 */
#include "checkpoint/names.h"

#include <stdio.h>
#include <string.h>

struct rule {
	const char *pattern;
	enum gn_role role;
	enum gn_part part;
};

#define ONE(name, role)                                                                                                \
	{                                                                                                              \
		name, role, GN_PART_WHOLE                                                                              \
	}
#define PAIR(name, role)                                                                                               \
	{name ".weight", role##_W, GN_PART_WHOLE},                                                                     \
	{                                                                                                              \
		name ".bias", role##_B, GN_PART_WHOLE                                                                  \
	}
#define THIRD(name, part)                                                                                              \
	{name ".weight", GN_QKV_W, part},                                                                              \
	{                                                                                                              \
		name ".bias", GN_QKV_B, part                                                                           \
	}
#define THIRDS(stem, q, k, v) THIRD(stem q, GN_PART_Q), THIRD(stem k, GN_PART_K), THIRD(stem v, GN_PART_V)
#define END                                                                                                            \
	{                                                                                                              \
		NULL, GN_ROLE_COUNT, GN_PART_WHOLE                                                                     \
	}

static const struct rule timm[] = {
    ONE("cls_token", GN_CLS_TOKEN),
    ONE("dist_token", GN_DIST_TOKEN),
    ONE("reg_token", GN_REG_TOKEN),
    ONE("register_tokens", GN_REG_TOKEN), /* DINOv2 */
    ONE("pos_embed", GN_POS_EMBED),
    PAIR("patch_embed.proj", GN_PATCH),
    PAIR("norm_pre", GN_NORM_PRE),
    PAIR("blocks.#.norm1", GN_NORM1),
    PAIR("blocks.#.attn.qkv", GN_QKV),
    PAIR("blocks.#.attn.proj", GN_PROJ),
    ONE("blocks.#.ls1.gamma", GN_LS1),
    ONE("blocks.#.gamma_1", GN_LS1), /* DeiT-3 */
    PAIR("blocks.#.norm2", GN_NORM2),
    PAIR("blocks.#.mlp.fc1", GN_FC1),
    PAIR("blocks.#.mlp.fc2", GN_FC2),
    ONE("blocks.#.ls2.gamma", GN_LS2),
    ONE("blocks.#.gamma_2", GN_LS2),
    PAIR("norm", GN_NORM),
    PAIR("fc_norm", GN_NORM),
    PAIR("head", GN_HEAD),
    /* OpenCLIP's towers built on timm */
    {"visual.head.proj.weight", GN_HEAD_W, GN_PART_PROJECTION},
    PAIR("head_dist", GN_HEAD_DIST),
    END,
};

#define HF_EMBEDDINGS                                                                                                  \
	ONE("embeddings.cls_token", GN_CLS_TOKEN), ONE("embeddings.distillation_token", GN_DIST_TOKEN),                \
	    ONE("embeddings.register_tokens", GN_REG_TOKEN), ONE("embeddings.position_embeddings", GN_POS_EMBED),      \
	    PAIR("embeddings.patch_embeddings.projection", GN_PATCH)
#define HF_TOP                                                                                                         \
	PAIR("layernorm", GN_NORM), PAIR("classifier", GN_HEAD), PAIR("cls_classifier", GN_HEAD),                      \
	    PAIR("distillation_classifier", GN_HEAD_DIST)
#define HF_DINOV2_BLOCK                                                                                                \
	PAIR("encoder.layer.#.norm1", GN_NORM1), ONE("encoder.layer.#.layer_scale1.lambda1", GN_LS1),                  \
	    PAIR("encoder.layer.#.norm2", GN_NORM2), PAIR("encoder.layer.#.mlp.fc1", GN_FC1),                          \
	    PAIR("encoder.layer.#.mlp.fc2", GN_FC2), ONE("encoder.layer.#.layer_scale2.lambda1", GN_LS2)

static const struct rule hf_vit[] = {
    HF_EMBEDDINGS,
    PAIR("encoder.layer.#.layernorm_before", GN_NORM1),
    THIRDS("encoder.layer.#.attention.attention.", "query", "key", "value"),
    PAIR("encoder.layer.#.attention.output.dense", GN_PROJ),
    PAIR("encoder.layer.#.layernorm_after", GN_NORM2),
    PAIR("encoder.layer.#.intermediate.dense", GN_FC1),
    PAIR("encoder.layer.#.output.dense", GN_FC2),
    HF_TOP,
    END,
};

static const struct rule hf_vit5[] = {
    HF_EMBEDDINGS,
    PAIR("layers.#.layernorm_before", GN_NORM1),
    THIRDS("layers.#.attention.", "q_proj", "k_proj", "v_proj"),
    PAIR("layers.#.attention.o_proj", GN_PROJ),
    PAIR("layers.#.layernorm_after", GN_NORM2),
    PAIR("layers.#.mlp.fc1", GN_FC1),
    PAIR("layers.#.mlp.fc2", GN_FC2),
    HF_TOP,
    END,
};

static const struct rule hf_dinov2[] = {
    HF_EMBEDDINGS,
    HF_DINOV2_BLOCK,
    THIRDS("encoder.layer.#.attention.attention.", "query", "key", "value"),
    PAIR("encoder.layer.#.attention.output.dense", GN_PROJ),
    HF_TOP,
    END,
};

static const struct rule hf_dinov2_5[] = {
    HF_EMBEDDINGS,
    HF_DINOV2_BLOCK,
    THIRDS("encoder.layer.#.attention.", "q_proj", "k_proj", "v_proj"),
    PAIR("encoder.layer.#.attention.o_proj", GN_PROJ),
    HF_TOP,
    END,
};

#define TV "encoder.layers.encoder_layer_#."
static const struct rule torchvision[] = {
    ONE("class_token", GN_CLS_TOKEN),
    ONE("encoder.pos_embedding", GN_POS_EMBED),
    PAIR("conv_proj", GN_PATCH),
    PAIR(TV "ln_1", GN_NORM1),
    ONE(TV "self_attention.in_proj_weight", GN_QKV_W),
    ONE(TV "self_attention.in_proj_bias", GN_QKV_B),
    PAIR(TV "self_attention.out_proj", GN_PROJ),
    PAIR(TV "ln_2", GN_NORM2),
    PAIR(TV "mlp.0", GN_FC1),
    PAIR(TV "mlp.linear_1", GN_FC1), /* files from before torchvision 0.12 */
    PAIR(TV "mlp.3", GN_FC2),
    PAIR(TV "mlp.linear_2", GN_FC2),
    PAIR("encoder.ln", GN_NORM),
    PAIR("heads.head", GN_HEAD),
    END,
};

#define OPENAI "visual.transformer.resblocks.#."
static const struct rule openai_clip[] = {
    ONE("visual.class_embedding", GN_CLS_TOKEN),
    ONE("visual.positional_embedding", GN_POS_EMBED),
    ONE("visual.conv1.weight", GN_PATCH_W),
    PAIR("visual.ln_pre", GN_NORM_PRE),
    PAIR(OPENAI "ln_1", GN_NORM1),
    ONE(OPENAI "attn.in_proj_weight", GN_QKV_W),
    ONE(OPENAI "attn.in_proj_bias", GN_QKV_B),
    PAIR(OPENAI "attn.out_proj", GN_PROJ),
    PAIR(OPENAI "ln_2", GN_NORM2),
    PAIR(OPENAI "mlp.c_fc", GN_FC1),
    PAIR(OPENAI "mlp.c_proj", GN_FC2),
    PAIR("visual.ln_post", GN_NORM),
    {"visual.proj", GN_HEAD_W, GN_PART_PROJECTION_TRANSPOSED},
    END,
};

static const struct rule hf_clip[] = {
    ONE("embeddings.class_embedding", GN_CLS_TOKEN),
    ONE("embeddings.position_embedding.weight", GN_POS_EMBED),
    ONE("embeddings.patch_embedding.weight", GN_PATCH_W),
    PAIR("pre_layrnorm", GN_NORM_PRE), /* spelled so */
    PAIR("encoder.layers.#.layer_norm1", GN_NORM1),
    THIRDS("encoder.layers.#.self_attn.", "q_proj", "k_proj", "v_proj"),
    PAIR("encoder.layers.#.self_attn.out_proj", GN_PROJ),
    PAIR("encoder.layers.#.layer_norm2", GN_NORM2),
    PAIR("encoder.layers.#.mlp.fc1", GN_FC1),
    PAIR("encoder.layers.#.mlp.fc2", GN_FC2),
    PAIR("post_layernorm", GN_NORM),
    {"visual_projection.weight", GN_HEAD_W, GN_PART_PROJECTION},
    END,
};

static const struct {
	const struct rule *rules;
	const char *word; /* for people */
} spellings[GN_SPELLING_COUNT] = {
    [GN_SPELL_TIMM] = {timm, "timm"},
    [GN_SPELL_HF_VIT] = {hf_vit, "Hugging Face ViT"},
    [GN_SPELL_HF_VIT5] = {hf_vit5, "Hugging Face ViT"},
    [GN_SPELL_HF_DINOV2] = {hf_dinov2, "Hugging Face Dinov2"},
    [GN_SPELL_HF_DINOV2_5] = {hf_dinov2_5, "Hugging Face Dinov2"},
    [GN_SPELL_TORCHVISION] = {torchvision, "torchvision"},
    [GN_SPELL_OPENAI_CLIP] = {openai_clip, "OpenAI CLIP"},
    [GN_SPELL_HF_CLIP] = {hf_clip, "Hugging Face CLIP"},
};

const char *gn_spelling_name(enum gn_spelling spelling)
{
	return spellings[spelling].word;
}

/* ---------------------------------------------------------------- matching -------------------- */

/* Reads a block number of up to three digits; returns what follows it, or NULL. */
static const char *read_block(int *block, const char *text)
{
	int value = 0, digits = 0;

	while (digits < 4 && text[digits] >= '0' && text[digits] <= '9')
		value = value * 10 + (text[digits++] - '0');
	if (digits == 0 || digits > 3 || (digits > 1 && text[0] == '0') || value >= GN_BLOCK_LIMIT)
		return NULL;
	*block = value;
	return text + digits;
}

static bool match_pattern(int *block, const char *pattern, const char *name)
{
	*block = -1;
	while (*pattern && name) {
		if (*pattern == '#') {
			const char *after = read_block(block, name);

			/* DINOv2's sharded training names: blocks.CHUNK.BLOCK, where BLOCK counts
			 * over all chunks. */
			if (after && *after == '.' && after[1] >= '0' && after[1] <= '9')
				after = read_block(block, after + 1);
			name = after;
			pattern++;
		} else if (*pattern++ != *name++) {
			return false;
		}
	}
	return name && !*name;
}

bool gn_name_match(struct gn_name_match *match, enum gn_spelling spelling, const char *name)
{
	for (const struct rule *rule = spellings[spelling].rules; rule->pattern; rule++) {
		int block;

		if (match_pattern(&block, rule->pattern, name)) {
			*match = (struct gn_name_match){rule->role, rule->part, block};
			return true;
		}
	}
	return false;
}

const char *gn_name_write(char *text, size_t size, enum gn_spelling spelling, enum gn_role role, enum gn_part part,
                          int block)
{
	const struct rule *rule = spellings[spelling].rules;

	while (rule->pattern && (rule->role != role || rule->part != part))
		rule++;
	text[0] = 0;
	if (rule->pattern) {
		const char *mark = strchr(rule->pattern, '#');

		if (mark)
			snprintf(text, size, "%.*s%d%s", (int)(mark - rule->pattern), rule->pattern, block, mark + 1);
		else
			snprintf(text, size, "%s", rule->pattern);
	}
	return text;
}

bool gn_spelling_splits_qkv(enum gn_spelling spelling)
{
	const struct rule *rule = spellings[spelling].rules;

	while (rule->pattern && rule->part != GN_PART_Q)
		rule++;
	return rule->pattern != NULL;
}

/* ---------------------------------------------------------------- prefixes -------------------- */

static bool starts_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

size_t gn_name_common_prefix(const char *const *names, int count)
{
	/* DataParallel, torch.compile, Lightning and similar, heads on a backbone, transformers'
	 * timm wrapper, I-JEPA. */
	static const char *const wrappers[] = {"module.",     "_orig_mod.",      "model.",       "backbone.",
	                                       "timm_model.", "encoder.module.", "visual.trunk."};
	size_t length = 0, found;

	do {
		found = 0;
		for (size_t w = 0; w < sizeof wrappers / sizeof *wrappers && !found && count > 0; w++) {
			int i = 0;

			while (i < count && starts_with(names[i] + length, wrappers[w]))
				i++;
			if (i == count)
				found = strlen(wrappers[w]);
		}
		length += found;
	} while (found);
	return length;
}

const char *gn_name_strip(const char *name)
{
	static const char *const optional[] = {"vit.",          "deit.",        "dinov2.", "dinov2_with_registers.",
	                                       "vision_model.", "visual.trunk."};

	for (size_t i = 0; i < sizeof optional / sizeof *optional; i++)
		if (starts_with(name, optional[i]))
			return name + strlen(optional[i]);
	return name;
}

/* ---------------------------------------------------------------- left out, refused ----------- */

bool gn_name_is_silent(const char *name)
{
	return !strcmp(name, "mask_token") || !strcmp(name, "embeddings.mask_token") ||
	       !strcmp(name, "embeddings.position_ids") || starts_with(name, "pooler.dense.") ||
	       starts_with(name, "pre_logits.");
}

const char *gn_name_refusal(const char *name)
{
	static const struct {
		const char *part, *reason;
	} table[] = {
	    {"base_model.model.", "PEFT adapters are inside: merge the adapters first"},
	    {"lora_", "LoRA adapters are inside: merge the adapters first"},
	    {"relative_position_bias_table", "relative-position bias (BEiT, Swin) is not supported"},
	    {"relative_position_index", "window attention (Swin) is not supported"},
	    {"attn.q_bias", "separate q and v biases (BEiT, EVA) are not supported"},
	    {"attn.v_bias", "separate q and v biases (BEiT, EVA) are not supported"},
	    {"rope.", "rotary positions (DINOv3, EVA-02) are not supported"},
	    {"rope_", "rotary positions (DINOv3, EVA-02) are not supported"},
	    {"storage_tokens", "DINOv3 (rotary positions, storage tokens) is not supported"},
	    {"q_norm.", "normalised queries and keys (qk_norm) are not supported"},
	    {"k_norm.", "normalised queries and keys (qk_norm) are not supported"},
	    {"attn_pool.", "attention pooling (SigLIP) is not supported"},
	    {"vision_model.head.", "attention pooling (SigLIP) is not supported"},
	    {"mlp.w12.", "a SwiGLU FFN (DINOv2 g) is not supported"},
	    {"mlp.weights_in.", "a SwiGLU FFN (Dinov2 g) is not supported"},
	    {"mlp.fc1_g.", "a gated FFN (SwiGLU) is not supported"},
	    /* Dinov2 g in memory of transformers 5 */
	    {"mlp.gate_proj.", "a gated FFN (SwiGLU) is not supported"},
	    {"attn.norm.", "a norm inside of the attention is not supported"},
	    {"mlp.norm.", "a norm inside of the FFN is not supported"},
	    {".attns.", "parallel blocks are not supported"},
	    {".in_proj.", "parallel blocks are not supported"},
	    {"conv_bn_relu", "a convolutional stem is not supported"},
	    {"patch_embed.backbone.", "a convolutional stem (hybrid ViT) is not supported"},
	    {"patch_embed.norm.", "a norm inside of the patch embedding is not supported"},
	    {"heads.pre_logits.", "a representation layer before the head (heads.pre_logits) is not supported"},
	};

	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strstr(name, table[i].part))
			return table[i].reason;
	return NULL;
}
