#include "toy.h"

#include "base/random.h"

#include <archive.h>
#include <archive_entry.h>
#include <ftw.h>
#include <png.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIDE = 24, ARCHIVE_MAX = 8 << 20 };

const struct gn_arch toy_arch = {.image_size = 16,
                                 .patch_size = 4,
                                 .dim = 32,
                                 .depth = 4,
                                 .heads = 2,
                                 .mlp_dim = 64,
                                 .classes = 3,
                                 .norm_eps = 1e-6f,
                                 .class_token = true,
                                 .pos_on_prefix = true,
                                 .qkv_bias = true,
                                 .patch_bias = true};

struct gn_run_config toy_config(enum gn_strategy_kind kind)
{
	return (struct gn_run_config){.strategy = {.kind = kind},
	                              .epochs = 3,
	                              .batch_size = 8,
	                              .lr = 1e-3,
	                              .weight_decay = 0.05,
	                              .clip_norm = 1,
	                              .layer_decay = 1,
	                              .warmup_steps = -1,
	                              .head = GN_HEAD_RANDOM,
	                              .seed = 1,
	                              .eval_every_epochs = 1,
	                              .checkpoint_every_seconds = 1e9};
}

char *toy_folder(void)
{
	const char *base = getenv("TMPDIR");
	char *path = malloc(256);

	assert_non_null(path);
	snprintf(path, 256, "%s/gonio-test-XXXXXX", base ? base : "/tmp");
	assert_non_null(mkdtemp(path));
	return path;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *at)
{
	(void)info;
	(void)type;
	(void)at;
	return remove(path);
}

void toy_remove(char *folder)
{
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(folder);
}

/* ---------------------------------------------------------------- the data set ---------------- */

static void draw(uint8_t *rgb, int label, int index)
{
	struct gn_random r;
	int width = 2 + label % 4;

	gn_random_init(&r, 11, GN_RANDOM_BENCH, (uint32_t)label, (uint32_t)index);
	int shift = (int)gn_random_below(&r, SIDE);

	for (int y = 0; y < SIDE; y++)
		for (int x = 0; x < SIDE; x++)
			for (int c = 0; c < 3; c++) {
				int on = (x + shift) / width % 2, level = (label + c) % 3 == 0 ? 200 : 90;

				rgb[(y * SIDE + x) * 3 + c] =
				    (uint8_t)(level * on / 2 + level / 4 + (int)gn_random_below(&r, 60));
			}
}

static void add_picture(struct archive *archive, int label, int index)
{
	uint8_t rgb[SIDE * SIDE * 3], png[SIDE * SIDE * 4 + 1024];
	png_alloc_size_t size = sizeof png;
	png_image image = {.version = PNG_IMAGE_VERSION, .width = SIDE, .height = SIDE, .format = PNG_FORMAT_RGB};
	struct archive_entry *entry = archive_entry_new();
	char path[64];

	draw(rgb, label, index);
	assert_true(png_image_write_to_memory(&image, png, &size, 0, rgb, 0, NULL));
	snprintf(path, sizeof path, "pictures/class-%02d/%04d.png", label, index);
	archive_entry_set_pathname(entry, path);
	archive_entry_set_size(entry, (la_int64_t)size);
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0644);
	assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
	assert_int_equal(archive_write_data(archive, png, size), (la_ssize_t)size);
	archive_entry_free(entry);
}

struct memory {
	uint8_t *bytes;
	size_t size, at;
};

static ssize_t read_memory(void *user, void *buffer, size_t size)
{
	struct memory *m = user;
	size_t n = m->size - m->at < size ? m->size - m->at : size;

	memcpy(buffer, m->bytes + m->at, n);
	m->at += n;
	return (ssize_t)n;
}

struct gn_dataset *toy_dataset(const char *folder, const char *name, int classes, int images)
{
	struct memory memory = {.bytes = malloc(ARCHIVE_MAX)};
	struct gn_ingest_options options = {.val_fraction = 0.25,
	                                    .max_pixels = 1 << 20,
	                                    .max_image_bytes = 1 << 20,
	                                    .budget = {.total_bytes = 64 << 20},
	                                    .max_entries = 10000,
	                                    .threads = 2,
	                                    .read = read_memory,
	                                    .user = &memory};
	struct gn_ingest_report report = {0};
	struct gn_error err = {0};
	struct gn_dataset *dataset = NULL;
	struct archive *archive = archive_write_new();
	char path[512];

	assert_non_null(memory.bytes);
	archive_write_set_format_pax_restricted(archive);
	assert_int_equal(archive_write_open_memory(archive, memory.bytes, ARCHIVE_MAX, &memory.size), ARCHIVE_OK);
	for (int k = 0; k < classes; k++)
		for (int i = 0; i < images; i++)
			add_picture(archive, k, i);
	assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
	archive_write_free(archive);
	snprintf(path, sizeof path, "%s/%s", folder, name);
	assert_int_equal(mkdir(path, 0700), 0);
	if (gn_dataset_ingest(path, &options, &report, &err) || gn_dataset_open(&dataset, path, &err))
		fail_msg("toy data set: %s: %s", err.where, err.text);
	gn_ingest_report_release(&report);
	free(memory.bytes);
	return dataset;
}

struct gn_model *toy_model(const char *folder, const char *name, const struct gn_arch *arch, uint64_t seed)
{
	struct gn_error err = {0};
	struct gn_model *model = NULL;
	char path[512];

	snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
	if (gn_model_write_random(path, arch, seed, NULL, NULL, NULL, &err) || gn_model_open(&model, path, NULL, &err))
		fail_msg("toy model: %s: %s", err.where, err.text);
	return model;
}
