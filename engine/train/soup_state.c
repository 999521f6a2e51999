/*
 * soup.bin: what a soup has measured and decided, so that a stopped or killed one goes on. Layout:
 * header, then a gn_soup_measure for each model. The key ties the file to the weights of base and
 * models, to the method and to the images: the state of another soup is refused.
 */
#include "train/soup_state.h"

#include "base/files.h"

#include <stdio.h>
#include <string.h>

#define NAME  "soup.bin"
#define MAGIC "gonio soup 1\n"

struct header {
	char magic[16];
	char key[72];
	int64_t count, tried;
	double accuracy, loss;
};

int gn_soup_path(char path[4096], const struct gn_soup *soup, const char *name, struct gn_error *err)
{
	if (snprintf(path, 4096, "%s/%s", soup->options->folder, name) >= 4096)
		return gn_fail(err, GN_INVALID, name, "the folder's path is too long");
	return 0;
}

static void hash_dataset(struct gn_sha256 *hash, const struct gn_dataset *dataset)
{
	char text[128];

	for (int k = 0; k < dataset->class_count; k++)
		gn_sha256_update(hash, dataset->classes[k].name, strlen(dataset->classes[k].name) + 1);
	for (int i = 0; i < dataset->sample_count; i++) {
		const struct gn_sample *s = &dataset->samples[i];

		snprintf(text, sizeof text, "%d %d %llu %llu", s->split, s->label, (unsigned long long)s->offset,
		         (unsigned long long)s->bytes);
		gn_sha256_update(hash, text, strlen(text) + 1);
		gn_sha256_update(hash, s->path, strlen(s->path) + 1);
	}
}

static int make_key(char key[65], const struct gn_soup *soup, struct gn_error *err)
{
	const struct gn_soup_options *o = soup->options;
	char base[65], text[64];
	struct gn_sha256 hash;

	if (gn_model_hash(base, o->models[0]->base, err) || gn_sha256_begin(&hash, err))
		return -1;
	snprintf(text, sizeof text, "%s %d %d", gn_soup_method_name(o->method), o->count,
	         o->models[0]->arch.image_size);
	gn_sha256_update(&hash, text, strlen(text) + 1);
	gn_sha256_update(&hash, base, sizeof base);
	for (int i = 0; i < o->count; i++)
		gn_sha256_update(&hash, soup->inputs[i].hash, sizeof soup->inputs[i].hash);
	hash_dataset(&hash, o->dataset);
	gn_sha256_end(&hash, key);
	return 0;
}

int gn_soup_state_save(const struct gn_soup *soup, struct gn_error *err)
{
	struct header header = {.magic = MAGIC,
	                        .count = soup->options->count,
	                        .tried = soup->tried,
	                        .accuracy = soup->accuracy,
	                        .loss = soup->loss};
	struct gn_file_writer writer;
	char path[4096];
	int result = -1;

	memcpy(header.key, soup->key, sizeof soup->key);
	if (gn_soup_path(path, soup, NAME, err) || gn_file_begin(&writer, path, err))
		return -1;
	if (gn_file_write(&writer, &header, sizeof header, err) == 0 &&
	    gn_file_write(&writer, soup->measures, (size_t)header.count * sizeof *soup->measures, err) == 0)
		result = gn_file_commit(&writer, err);
	gn_file_abort(&writer);
	return result;
}

static int take(struct gn_soup *soup, const struct gn_file_map *map, struct gn_error *err)
{
	size_t measures = (size_t)soup->options->count * sizeof *soup->measures;
	struct header header;

	if (map->size < sizeof header)
		return gn_fail(err, GN_MALFORMED, NAME, "is cut off");
	memcpy(&header, map->bytes, sizeof header);
	if (memcmp(header.magic, MAGIC, sizeof MAGIC))
		return gn_fail(err, GN_MALFORMED, NAME, "is not a soup's state of this version of gonio");
	if (memcmp(header.key, soup->key, sizeof soup->key))
		return gn_fail(err, GN_CONFLICT, NAME, "belongs to a soup of other models, method or data set");
	if (header.count != soup->options->count || map->size != sizeof header + measures || header.tried < 0 ||
	    header.tried > header.count)
		return gn_fail(err, GN_MALFORMED, NAME, "has %zu bytes, which is not the size of this soup's state",
		               map->size);
	memcpy(soup->measures, map->bytes + sizeof header, measures);
	soup->tried = header.tried;
	soup->accuracy = header.accuracy;
	soup->loss = header.loss;
	return 0;
}

int gn_soup_state_load(struct gn_soup *soup, struct gn_error *err)
{
	struct gn_error missing = {0};
	struct gn_file_map map;
	char path[4096];
	int result;

	if (make_key(soup->key, soup, err) || gn_soup_path(path, soup, NAME, err))
		return -1;
	if (gn_file_map(&map, path, &missing))
		return missing.code == GN_NOT_FOUND ? 0 : gn_fail(err, missing.code, missing.where, "%s", missing.text);
	result = take(soup, &map, err);
	gn_file_unmap(&map);
	return result;
}
