/*
 * PNG through libpng. Its errors return by longjmp to the one setjmp of each entry point. All data
 * that outlives the jump is in the job. A wrong checksum is an error, in any chunk.
 *
 * Colours as Pillow's convert("RGB"): alpha and transparency are dropped, a palette is looked up,
 * of 16 bits the high byte counts (for grey too, where Pillow would clip).
 */
#include "data/image.h"

#include "base/files.h"

#include <limits.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

/* Packed bytes after the last row's that libpng may read to find the end; they unpack to a thousand
 * times as many. */
#define TRAILING_MAX ((size_t)64 << 10)

struct job {
	jmp_buf failed;
	char message[128];
	enum gn_code why; /* GN_OK: the file is to blame */
	png_structp png;
	png_infop info;
	const uint8_t *bytes;
	size_t left;
	bool decoding;
	size_t trailing; /* bytes read after the last row */
	uint8_t *buffer; /* for rows that do not go into the caller's picture */
};

static _Noreturn void on_error(png_structp png, png_const_charp text)
{
	struct job *job = png_get_error_ptr(png);

	snprintf(job->message, sizeof job->message, "%s", text);
	longjmp(job->failed, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
	(void)png;
	(void)text;
}

/* Whether every row of every pass was returned; libpng then counts like this. */
static bool past_last_row(const struct job *job)
{
	enum { PASSES = 7 };

	if (!job->decoding)
		return false;
	if (png_get_interlace_type(job->png, job->info) != PNG_INTERLACE_NONE)
		return png_get_current_pass_number(job->png) >= PASSES;
	return png_get_current_row_number(job->png) >= png_get_image_height(job->png, job->info);
}

static void on_read(png_structp png, png_bytep to, size_t size)
{
	struct job *job = png_get_io_ptr(png);

	if (size > job->left)
		png_error(png, "the file ends too early");
	/* libpng unpacks the rest of the data only to throw it away */
	if (past_last_row(job) && (job->trailing += size) > TRAILING_MAX)
		png_error(png, "far more data than its pixels");
	memcpy(to, job->bytes, size);
	job->bytes += size;
	job->left -= size;
}

static int job_open(struct job *job, const uint8_t *bytes, size_t size, struct gn_error *err)
{
	*job = (struct job){.bytes = bytes, .left = size};
	job->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, job, on_error, on_warning);
	job->info = job->png ? png_create_info_struct(job->png) : NULL;
	if (job->info)
		return 0;
	png_destroy_read_struct(&job->png, NULL, NULL);
	return gn_fail(err, GN_NO_MEMORY, "", "no memory for a PNG decoder");
}

static void job_close(struct job *job)
{
	png_destroy_read_struct(&job->png, &job->info, NULL);
	free(job->buffer);
}

static int job_failed(struct job *job, struct gn_error *err)
{
	job_close(job);
	return gn_fail(err, job->why ? job->why : GN_MALFORMED, "", "the PNG cannot be decoded: %s", job->message);
}

/* Chunks without information about RGB (text, profiles, EXIF, ...) are skipped, because libpng
 * would allocate any length that an eXIf chunk states. Our own limit on pixels is checked between
 * probe and decode. */
static void read_header(struct job *job)
{
	png_set_read_fn(job->png, job, on_read);
	png_set_crc_action(job->png, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
	png_set_keep_unknown_chunks(job->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
	png_set_user_limits(job->png, INT_MAX, INT_MAX);
	png_set_chunk_cache_max(job->png, 100);
	png_set_chunk_malloc_max(job->png, 4 << 20);
	png_read_info(job->png, job->info);
}

/* Finds the payload of the eXIf chunk, anywhere in the file. A chunk is a big-endian length, four
 * letters, the payload, a checksum. */
static int find_orientation(const uint8_t *bytes, size_t size)
{
	size_t at = 8;

	while (at <= size && size - at >= 12) {
		const uint8_t *p = bytes + at;
		size_t length = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];

		if (length > size - at - 12)
			break;
		if (!memcmp(p + 4, "eXIf", 4))
			return gn_exif_orientation(p + 8, length);
		at += 12 + length;
	}
	return 1;
}

int gn_png_probe(struct gn_image_info *info, const uint8_t *bytes, size_t size, struct gn_error *err)
{
	struct job job;
	uint32_t width, height;

	if (job_open(&job, bytes, size, err))
		return -1;
	if (setjmp(job.failed))
		return job_failed(&job, err);
	read_header(&job);
	width = png_get_image_width(job.png, job.info);
	height = png_get_image_height(job.png, job.info);
	info->whole = png_get_interlace_type(job.png, job.info) != PNG_INTERLACE_NONE;
	job_close(&job);
	if (width > INT_MAX || height > INT_MAX)
		return gn_fail(err, GN_MALFORMED, "", "the PNG cannot be decoded: impossible sides");
	info->width = (int)width;
	info->height = (int)height;
	info->orientation = find_orientation(bytes, size);
	info->verify_bytes = (uint64_t)info->width * 32;
	return 0;
}

/* Requests 8-bit RGB from libpng, for any stored format. */
static void set_transforms(struct job *job)
{
	png_byte colour = png_get_color_type(job->png, job->info);

	png_set_strip_16(job->png);
	if (colour == PNG_COLOR_TYPE_PALETTE)
		png_set_palette_to_rgb(job->png);
	else if (!(colour & PNG_COLOR_MASK_COLOR))
		png_set_expand_gray_1_2_4_to_8(job->png);
	if (!(colour & PNG_COLOR_MASK_COLOR))
		png_set_gray_to_rgb(job->png);
	png_set_strip_alpha(job->png);
}

static uint8_t *allocate(struct job *job, size_t count, size_t size)
{
	uint8_t *bytes = gn_alloc(count, size, NULL);

	if (!bytes) {
		job->why = GN_NO_MEMORY;
		png_error(job->png, "no memory for its pixels");
	}
	return bytes;
}

static void look_for_client(struct job *job, const struct gn_rows *to)
{
	if (!gn_rows_gone(to))
		return;
	job->why = GN_CANCELLED;
	png_error(job->png, "nobody waits for it any more");
}

static void read_row_of_whole(struct job *job, const struct gn_rows *to, uint8_t *row, int y)
{
	png_read_row(job->png, row, NULL);
	if (y % GN_STRIP_ROWS == 0)
		look_for_client(job, to);
}

/* Reads strip by strip, into the whole picture or into a separate buffer. There may be more passes
 * if the rows are dropped. */
static void read_strips(struct job *job, const struct gn_rows *to, const struct gn_image_info *info, int passes)
{
	size_t stride = (size_t)info->width * 3;

	if (!to->whole)
		job->buffer = allocate(job, GN_STRIP_ROWS, stride);
	for (int pass = 0; pass < passes; pass++)
		for (int y = 0; y < info->height; y += GN_STRIP_ROWS) {
			int count = info->height - y < GN_STRIP_ROWS ? info->height - y : GN_STRIP_ROWS;
			uint8_t *strip = to->whole ? to->whole + (size_t)y * stride : job->buffer;

			for (int i = 0; i < count; i++)
				png_read_row(job->png, strip + (size_t)i * stride, NULL);
			look_for_client(job, to);
			if (to->take)
				to->take(to->user, strip, y, count);
		}
}

/* An interlaced picture arrives in seven passes that each fill in some pixels of a row. */
static void read_interlaced(struct job *job, const struct gn_rows *to, const struct gn_image_info *info, int passes)
{
	size_t stride = (size_t)info->width * 3;
	uint8_t *whole = to->whole ? to->whole : (job->buffer = allocate(job, (size_t)info->height, stride));

	for (int pass = 0; pass < passes; pass++)
		for (int y = 0; y < info->height; y++)
			read_row_of_whole(job, to, whole + (size_t)y * stride, y);
	if (to->take)
		to->take(to->user, whole, 0, info->height);
}

static void decode(struct job *job, const struct gn_rows *rows, const struct gn_image_info *info)
{
	size_t stride = (size_t)info->width * 3;
	int passes;

	if (png_get_image_width(job->png, job->info) != (uint32_t)info->width ||
	    png_get_image_height(job->png, job->info) != (uint32_t)info->height)
		png_error(job->png, "the file changed while it was read");
	set_transforms(job);
	passes = png_set_interlace_handling(job->png);
	png_read_update_info(job->png, job->info);
	job->decoding = true;
	if (png_get_rowbytes(job->png, job->info) != stride)
		png_error(job->png, "a pixel format that is not known");
	if (passes == 1 || (!rows->whole && !rows->take))
		read_strips(job, rows, info, passes);
	else
		read_interlaced(job, rows, info, passes);
}

int gn_png_decode(const struct gn_rows *rows, const uint8_t *bytes, size_t size, const struct gn_image_info *info,
                  int denominator, struct gn_error *err)
{
	struct job job;

	gn_assert(denominator == 1);
	if (job_open(&job, bytes, size, err))
		return -1;
	if (setjmp(job.failed))
		return job_failed(&job, err);
	read_header(&job);
	decode(&job, rows, info);
	job_close(&job);
	return 0;
}
