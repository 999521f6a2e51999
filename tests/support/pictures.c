/* See pictures.h. */
#include "pictures.h"
#include "tests/support/source.h"

#include "data/image.h"

#include <dirent.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>
#include <png.h>
#include <webp/encode.h>

void blob_release(struct blob *blob)
{
	free(blob->bytes);
	*blob = (struct blob){0};
}

static void blob_append(struct blob *blob, const void *bytes, size_t size)
{
	uint8_t *grown = realloc(blob->bytes, blob->size + size + 1);

	assert_non_null(grown);
	memcpy(grown + blob->size, bytes, size);
	blob->bytes = grown;
	blob->size += size;
}

struct blob blob_read(const char *path)
{
	struct blob blob = {0};
	uint8_t piece[4096];
	char full[512];
	FILE *file;
	size_t n;

	snprintf(full, sizeof full, "%s/%s", source_folder(), path);
	file = fopen(full, "rb");
	if (!file)
		fail_msg("cannot read %s", full);
	while ((n = fread(piece, 1, sizeof piece, file)) > 0)
		blob_append(&blob, piece, n);
	fclose(file);
	return blob;
}

/* ---------------------------------------------------------------- pictures --------------------------------------- */

struct gn_image picture_make(int width, int height, int seed)
{
	struct gn_image image = {malloc((size_t)width * (size_t)height * 3), width, height};
	uint8_t *p = image.rgb;

	assert_non_null(p);
	for (int y = 0; y < height; y++)
		for (int x = 0; x < width; x++)
			for (int c = 0; c < 3; c++)
				*p++ = (uint8_t)(128 + 60 * sin(0.13 * x + seed + c) +
				                 60 * cos(0.11 * y + 0.7 * seed * c));
	return image;
}

struct blob picture_jpeg(int width, int height, int seed)
{
	struct gn_image image = picture_make(width, height, seed);
	struct gn_error err = {0};
	struct blob blob;

	if (gn_jpeg_encode(&blob.bytes, &blob.size, &image, 90, &err))
		fail_msg("%s", err.text);
	gn_image_release(&image);
	return blob;
}

struct blob picture_png_of(const struct gn_image *image)
{
	png_image png = {.version = PNG_IMAGE_VERSION, .format = PNG_FORMAT_RGB};
	struct blob blob = {.size = (size_t)image->width * (size_t)image->height * 4 + 4096};

	png.width = (png_uint_32)image->width;
	png.height = (png_uint_32)image->height;
	blob.bytes = malloc(blob.size);
	assert_non_null(blob.bytes);
	assert_true(png_image_write_to_memory(&png, blob.bytes, &blob.size, 0, image->rgb, 0, NULL));
	return blob;
}

struct blob picture_png(int width, int height, int seed)
{
	struct gn_image image = picture_make(width, height, seed);
	struct blob blob = picture_png_of(&image);

	gn_image_release(&image);
	return blob;
}

struct blob picture_webp(int width, int height, int seed)
{
	struct gn_image image = picture_make(width, height, seed);
	struct blob blob = {0};
	uint8_t *made = NULL;
	size_t size = WebPEncodeLosslessRGB(image.rgb, width, height, width * 3, &made);

	assert_true(size > 0);
	blob_append(&blob, made, size);
	WebPFree(made);
	gn_image_release(&image);
	return blob;
}

struct blob jpeg_with_orientation(const struct blob *jpeg, int orientation)
{
	uint8_t exif[] = {0xff, 0xe1, 0,    34, 'E', 'x', 'i', 'f', 0, 0, 'I', 'I', '*', 0, 8, 0, 0, 0,
	                  1,    0,    0x12, 1,  3,   0,   1,   0,   0, 0, 0,   0,   0,   0, 0, 0, 0, 0};
	struct blob blob = {0};

	exif[28] = (uint8_t)orientation;
	blob_append(&blob, jpeg->bytes, 2);
	blob_append(&blob, exif, sizeof exif);
	blob_append(&blob, jpeg->bytes + 2, jpeg->size - 2);
	return blob;
}

/* ---------------------------------------------------------------- archives --------------------------------------- */

struct maker {
	struct archive *writer;
	struct blob made;
	locale_t utf8, before;
};

static la_ssize_t on_write(struct archive *writer, void *user, const void *bytes, size_t size)
{
	struct maker *maker = user;

	(void)writer;
	blob_append(&maker->made, bytes, size);
	return (la_ssize_t)size;
}

static void set_kind(struct archive *writer, const char *kind)
{
	if (!strncmp(kind, "zip", 3)) {
		assert_int_equal(archive_write_set_format_zip(writer), ARCHIVE_OK);
		if (strstr(kind, "encrypted")) {
			assert_int_equal(archive_write_set_options(writer, "zip:encryption=traditional"), ARCHIVE_OK);
			assert_int_equal(archive_write_set_passphrase(writer, "secret"), ARCHIVE_OK);
		}
	} else if (!strcmp(kind, "cpio")) {
		assert_int_equal(archive_write_set_format_cpio(writer), ARCHIVE_OK);
	} else {
		assert_int_equal(archive_write_set_format_pax_restricted(writer), ARCHIVE_OK);
	}
	if (strstr(kind, ".gz"))
		assert_int_equal(archive_write_add_filter_gzip(writer), ARCHIVE_OK);
	if (strstr(kind, ".xz"))
		assert_int_equal(archive_write_add_filter_xz(writer), ARCHIVE_OK);
	if (strstr(kind, ".zst"))
		assert_int_equal(archive_write_add_filter_zstd(writer), ARCHIVE_OK);
}

struct maker *maker_new(const char *kind)
{
	struct maker *maker = calloc(1, sizeof *maker);

	assert_non_null(maker);
	maker->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
	assert_true(maker->utf8 != (locale_t)0);
	maker->before = uselocale(maker->utf8);
	maker->writer = archive_write_new();
	set_kind(maker->writer, kind);
	archive_write_set_bytes_in_last_block(maker->writer, 1);
	assert_int_equal(archive_write_open(maker->writer, maker, NULL, on_write, NULL), ARCHIVE_OK);
	return maker;
}

static void put_entry(struct maker *maker, const char *name, uint64_t size, char what, const char *target)
{
	struct archive_entry *entry = archive_entry_new();

	assert_non_null(entry);
	archive_entry_copy_pathname(entry, name);
	archive_entry_set_size(entry, (la_int64_t)size);
	archive_entry_set_perm(entry, 0644);
	archive_entry_set_filetype(entry, what == 'd'   ? AE_IFDIR
	                                  : what == 'p' ? AE_IFIFO
	                                  : what == 'c' ? AE_IFCHR
	                                  : what == 'b' ? AE_IFBLK
	                                                : AE_IFREG);
	if (what == 'l') {
		archive_entry_set_filetype(entry, AE_IFLNK);
		archive_entry_copy_symlink(entry, target);
	}
	if (what == 'h')
		archive_entry_copy_hardlink(entry, target);
	if (archive_write_header(maker->writer, entry) < ARCHIVE_WARN)
		fail_msg("%s: %s", name, archive_error_string(maker->writer));
	archive_entry_free(entry);
}

void maker_add(struct maker *maker, const char *name, const void *bytes, size_t size)
{
	put_entry(maker, name, size, 'f', NULL);
	if (size)
		assert_int_equal(archive_write_data(maker->writer, bytes, size), size);
}

void maker_jpeg(struct maker *maker, const char *name, int seed)
{
	struct blob jpeg = picture_jpeg(12, 10, seed);

	maker_add(maker, name, jpeg.bytes, jpeg.size);
	blob_release(&jpeg);
}

void maker_special(struct maker *maker, const char *name, char what, const char *target)
{
	put_entry(maker, name, 0, what, target);
}

void maker_zeros(struct maker *maker, const char *name, uint64_t size)
{
	static const uint8_t zeros[1 << 16];

	put_entry(maker, name, size, 'f', NULL);
	for (uint64_t done = 0; done < size; done += sizeof zeros)
		archive_write_data(maker->writer, zeros, size - done < sizeof zeros ? size - done : sizeof zeros);
}

struct blob maker_end(struct maker *maker)
{
	struct blob made;

	assert_int_equal(archive_write_close(maker->writer), ARCHIVE_OK);
	archive_write_free(maker->writer);
	uselocale(maker->before);
	freelocale(maker->utf8);
	made = maker->made;
	free(maker);
	return made;
}

/* ---------------------------------------------------------------- ingesting -------------------------------------- */

struct ingest_source {
	const struct blob *archive;
	size_t at, chunk;
};

static ssize_t read_source(void *user, void *buffer, size_t size)
{
	struct ingest_source *source = user;
	size_t n = source->archive->size - source->at;

	n = n < size ? n : size;
	if (source->chunk && n > source->chunk)
		n = source->chunk;
	if (n)
		memcpy(buffer, source->archive->bytes + source->at, n);
	source->at += n;
	return (ssize_t)n;
}

struct gn_ingest_options ingest_defaults(void)
{
	return (struct gn_ingest_options){
	    .val_fraction = 0.25,
	    .seed = 1,
	    .max_pixels = 1 << 20,
	    .max_image_bytes = 1 << 20,
	    .budget = {.total_bytes = (uint64_t)1 << 34},
	    .max_entries = 100000,
	    .threads = 2,
	};
}

int ingest_bytes(const char *folder, const struct blob *archive, size_t chunk, struct gn_ingest_options options,
                 struct gn_ingest_report *report, struct gn_error *err)
{
	struct ingest_source source = {archive, 0, chunk};

	options.read = read_source;
	options.user = &source;
	return gn_dataset_ingest(folder, &options, report, err);
}

void folder_make(char path[64])
{
	snprintf(path, 64, "/tmp/gonio-test-XXXXXX");
	assert_non_null(mkdtemp(path));
}

/* Calls visit for every name in the folder; returns how many there are. */
static int each_file(const char *path, void (*visit)(const char *full))
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	int count = 0;

	assert_non_null(folder);
	while ((entry = readdir(folder))) {
		char full[512];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(full, sizeof full, "%s/%.256s", path, entry->d_name);
		if (visit)
			visit(full);
		count++;
	}
	closedir(folder);
	return count;
}

static void remove_file(const char *full)
{
	assert_int_equal(unlink(full), 0);
}

int folder_count(const char *path)
{
	return each_file(path, NULL);
}

void folder_remove(const char *path)
{
	each_file(path, remove_file);
	assert_int_equal(rmdir(path), 0);
}
