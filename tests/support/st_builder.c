/* Small safetensors files for tests: see st_builder.h. */
#include "tests/support/st_builder.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

float st_value(const char *name, size_t i)
{
	uint32_t hash = 2166136261u;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * 16777619u;
	hash = (hash ^ (uint32_t)i) * 16777619u;
	return (float)(hash >> 8) / 16777216.0f - 0.5f;
}

static void append_header(struct st_builder *b, const char *text)
{
	size_t n = strlen(text);

	b->header = realloc(b->header, b->header_size + n + 1);
	assert_non_null(b->header);
	memcpy(b->header + b->header_size, text, n + 1);
	b->header_size += n;
}

void st_add(struct st_builder *b, const char *name, const float *values, const int64_t *shape)
{
	char text[64];
	size_t numel = 1, begin = b->data_size;

	append_header(b, b->header_size ? ",\"" : "\"");
	append_header(b, name);
	append_header(b, "\":{\"dtype\":\"F32\",\"shape\":[");
	for (const int64_t *side = shape; *side; side++) {
		snprintf(text, sizeof text, side == shape ? "%lld" : ",%lld", (long long)*side);
		append_header(b, text);
		numel *= (size_t)*side;
	}
	b->data_size += numel * sizeof(float);
	snprintf(text, sizeof text, "],\"data_offsets\":[%zu,%zu]}", begin, b->data_size);
	append_header(b, text);
	b->data = realloc(b->data, b->data_size);
	assert_non_null(b->data);
	for (size_t i = 0; i < numel; i++) {
		float value = values ? values[i] : st_value(name, i);

		memcpy(b->data + begin + i * sizeof value, &value, sizeof value);
	}
}

void st_write(struct st_builder *b, const char *path, const char *metadata)
{
	FILE *file = fopen(path, "wb");
	uint64_t length;

	assert_non_null(file);
	if (metadata) {
		append_header(b, ",\"__metadata__\":");
		append_header(b, metadata);
	}
	length = b->header_size + 2;
	assert_int_equal(fwrite(&length, 8, 1, file), 1);
	fprintf(file, "{%s}", b->header);
	assert_int_equal(fwrite(b->data, 1, b->data_size, file), b->data_size);
	assert_int_equal(fclose(file), 0);
	free(b->header);
	free(b->data);
	*b = (struct st_builder){0};
}

void st_folder(char folder[64])
{
	snprintf(folder, 64, "/tmp/gonio-test-XXXXXX");
	assert_non_null(mkdtemp(folder));
}

/* Calls unlink for every file if remove, counts them in either case. */
static int each_file(const char *folder, bool remove)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int count = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		char path[512];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		count++;
		if (remove)
			unlink(path);
	}
	closedir(dir);
	return count;
}

void st_folder_remove(const char *folder)
{
	each_file(folder, true);
	rmdir(folder);
}

int st_folder_count(const char *folder)
{
	return each_file(folder, false);
}

static void add_unless(struct st_builder *b, const char *skip, const char *name, int64_t first, int64_t second)
{
	if (!skip || strcmp(skip, name))
		st_add(b, name, NULL, (const int64_t[]){first, second, 0});
}

void st_add_timm(struct st_builder *b, const char *skip)
{
	enum { C = 8, M = 16, K = 3 };
	static const struct {
		const char *name;
		int64_t first, second;
	} block[] = {{"norm1.weight", C, 0},      {"norm1.bias", C, 0},       {"attn.qkv.weight", 3 * C, C},
	             {"attn.qkv.bias", 3 * C, 0}, {"attn.proj.weight", C, C}, {"attn.proj.bias", C, 0},
	             {"norm2.weight", C, 0},      {"norm2.bias", C, 0},       {"mlp.fc1.weight", M, C},
	             {"mlp.fc1.bias", M, 0},      {"mlp.fc2.weight", C, M},   {"mlp.fc2.bias", C, 0}};

	ST_ADD(b, "cls_token", 1, 1, C);
	ST_ADD(b, "pos_embed", 1, 5, C);
	ST_ADD(b, "patch_embed.proj.weight", C, 3, 2, 2);
	add_unless(b, skip, "patch_embed.proj.bias", C, 0);
	for (int i = 0; i < 2; i++) {
		for (size_t t = 0; t < sizeof block / sizeof *block; t++) {
			char name[64];

			snprintf(name, sizeof name, "blocks.%d.%s", i, block[t].name);
			add_unless(b, skip, name, block[t].first, block[t].second);
		}
	}
	add_unless(b, skip, "norm.weight", C, 0);
	add_unless(b, skip, "norm.bias", C, 0);
	add_unless(b, skip, "head.weight", K, C);
	add_unless(b, skip, "head.bias", K, 0);
}

struct gn_import_options st_options(int heads)
{
	return (struct gn_import_options){
	    .heads = heads, .activation = -1, .norm_eps = NAN, .mean = {NAN}, .std = {NAN}, .crop_pct = NAN};
}
