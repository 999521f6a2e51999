/*
 * The spelling of a foreign file: see detect.h. Detection looks for a few names that each library's
 * ViT must have, in a fixed order. All other names are then looked up only in the table of that
 * spelling.
 */
#include "checkpoint/detect.h"

#include <stdlib.h>
#include <string.h>

#include "base/files.h"

/* ---------------------------------------------------------------- names ----------------------- */

static int strip_names(struct gn_source *source, const struct gn_st_file *file, struct gn_error *err)
{
	const char **names = gn_alloc((size_t)file->count, sizeof *names, err);
	size_t common;

	if (!names)
		return -1;
	for (int i = 0; i < file->count; i++)
		names[i] = file->tensors[i].name;
	common = gn_name_common_prefix(names, file->count);
	for (int i = 0; i < file->count; i++) {
		source->tensors[i].tensor = &file->tensors[i];
		source->tensors[i].name = gn_name_strip(names[i] + common);
	}
	source->count = file->count;
	free(names);
	return 0;
}

static int refuse_known(const struct gn_source *source, struct gn_error *err)
{
	for (int i = 0; i < source->count; i++) {
		const char *name = source->tensors[i].tensor->name, *reason = gn_name_refusal(name);

		if (reason)
			return gn_fail(err, GN_UNSUPPORTED, name, "%.150s: %s", name, reason);
	}
	return 0;
}

static bool has(const struct gn_source *source, const char *name)
{
	for (int i = 0; i < source->count; i++)
		if (!strcmp(source->tensors[i].name, name))
			return true;
	return false;
}

/* Whether a name begins with start and later contains part. */
static bool has_like(const struct gn_source *source, const char *start, const char *part)
{
	size_t length = strlen(start);

	for (int i = 0; i < source->count; i++)
		if (!strncmp(source->tensors[i].name, start, length) && strstr(source->tensors[i].name + length, part))
			return true;
	return false;
}

/* ---------------------------------------------------------------- spelling -------------------- */

static int hf_spelling(const struct gn_source *source)
{
	if (has_like(source, "encoder.layer.", ".layernorm_before."))
		return GN_SPELL_HF_VIT;
	if (has_like(source, "layers.", ".layernorm_before."))
		return GN_SPELL_HF_VIT5;
	if (has_like(source, "encoder.layer.", ".norm1."))
		return has_like(source, "encoder.layer.", ".attention.q_proj.") ? GN_SPELL_HF_DINOV2_5
		                                                                : GN_SPELL_HF_DINOV2;
	return -1;
}

static int find_spelling(const struct gn_source *source)
{
	if (has(source, "patch_embed.proj.weight") && has_like(source, "blocks.", ".attn.qkv."))
		return GN_SPELL_TIMM;
	if (has(source, "embeddings.patch_embeddings.projection.weight"))
		return hf_spelling(source);
	if (has(source, "conv_proj.weight") && has_like(source, "encoder.layers.encoder_layer_", ".ln_1."))
		return GN_SPELL_TORCHVISION;
	if (has(source, "visual.conv1.weight") && has_like(source, "visual.transformer.resblocks.", "."))
		return GN_SPELL_OPENAI_CLIP;
	if (has(source, "embeddings.patch_embedding.weight"))
		return GN_SPELL_HF_CLIP;
	return -1;
}

/* The spelling that knows most of the names, for an error message. */
static const char *nearest(const struct gn_source *source)
{
	const char *best_name = "none";
	int best = 0;

	for (int s = 0; s < GN_SPELLING_COUNT; s++) {
		int count = 0;

		for (int i = 0; i < source->count; i++) {
			struct gn_name_match match;

			count += gn_name_match(&match, (enum gn_spelling)s, source->tensors[i].name);
		}
		if (count > best) {
			best = count;
			best_name = gn_spelling_name((enum gn_spelling)s);
		}
	}
	return best_name;
}

static int refuse_unknown(const struct gn_source *source, struct gn_error *err)
{
	char list[300] = "";
	size_t used = 0;

	for (int i = 0; i < source->count && i < 10 && used < sizeof list; i++)
		used += (size_t)snprintf(list + used, sizeof list - used, "%s%.60s", i ? ", " : "",
		                         source->tensors[i].tensor->name);
	if (has_like(source, "", "embedding/kernel"))
		return gn_fail(err, GN_UNSUPPORTED, "", "a JAX checkpoint: convert it to timm's names first");
	return gn_fail(err, GN_UNSUPPORTED, "", "not a ViT of a known kind (nearest: %s); the first tensors are: %s",
	               nearest(source), source->count ? list : "(none)");
}

/* ---------------------------------------------------------------- the whole ------------------- */

static int identify(struct gn_source *source, struct gn_error *err)
{
	int spelling;

	if (refuse_known(source, err))
		return -1;
	spelling = find_spelling(source);
	if (spelling < 0)
		return refuse_unknown(source, err);
	if (spelling == GN_SPELL_HF_CLIP && !has(source, "embeddings.class_embedding"))
		return gn_fail(err, GN_UNSUPPORTED, "embeddings.class_embedding",
		               "no class embedding: SigLIP (attention pooling) is not supported");
	source->spelling = (enum gn_spelling)spelling;
	source->dinov2 = spelling == GN_SPELL_TIMM && (has(source, "mask_token") || has(source, "register_tokens"));
	for (int i = 0; i < source->count; i++)
		source->tensors[i].known =
		    gn_name_match(&source->tensors[i].match, source->spelling, source->tensors[i].name);
	return 0;
}

int gn_source_read(struct gn_source *source, const struct gn_st_file *file, struct gn_error *err)
{
	*source = (struct gn_source){0};
	source->tensors = gn_alloc((size_t)file->count, sizeof *source->tensors, err);
	if (source->tensors && !strip_names(source, file, err) && !identify(source, err))
		return 0;
	gn_source_release(source);
	return -1;
}

void gn_source_release(struct gn_source *source)
{
	free(source->tensors);
	*source = (struct gn_source){0};
}

const struct gn_source_tensor *gn_source_find(const struct gn_source *source, enum gn_role role)
{
	for (int i = 0; i < source->count; i++)
		if (source->tensors[i].known && source->tensors[i].match.role == role)
			return &source->tensors[i];
	return NULL;
}
