/*
 * JPEG through libjpeg-turbo. Its errors return by longjmp to the one setjmp of each entry point.
 * All data that outlives the jump is in the job, so that nothing leaks and no local variable is
 * lost. A warning about lost data is an error here.
 *
 * Colours as Pillow's convert("RGB"). Four channels: Adobe's files (the only ones seen) hold the
 * complement of the ink.
 */
#include "data/image.h"

#include "base/files.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

/* The library's message codes without its macros, one of which uses a banned function. */
#define JERROR_H
#define JMESSAGE(code, text) code,
enum message {
#include <jerror.h>
	MESSAGE_COUNT
};

/*
 * A progressive file may have any number of scans of a few bytes each, and each scan visits every
 * block of its components. The ten scans of libjpeg's own script visit each block about five times.
 * Small pictures may have more, because they cost little.
 */
#define SCANS_MAX   100
#define VISITS_MAX  12
#define BLOCKS_FREE ((uint64_t)1 << 22)

struct job {
	struct jpeg_error_mgr errors;
	struct jpeg_progress_mgr progress;
	int scan;                   /* decoding: the scan that is being read ... */
	uint64_t blocks_visited;    /* ... and the blocks of it and of those before */
	const struct gn_rows *rows; /* decoding: where they go */
	bool cancelled;
	jmp_buf failed;
	char message[JMSG_LENGTH_MAX];
	struct jpeg_decompress_struct in;
	struct jpeg_compress_struct out;
	uint8_t *ink; /* decoding: a row of four channels ... */
	/* ... and rows that lie in no whole picture; encoding: the buffer that made must stay in */
	uint8_t *strip;
	unsigned char *made;
	unsigned long made_size;
};

static void on_error(j_common_ptr codec)
{
	struct job *job = codec->client_data;

	codec->err->format_message(codec, job->message);
	longjmp(job->failed, 1);
}

/* level < 0: a warning about the data. Decoding ends if the warning means that pixels are
 * invented. */
static void on_message(j_common_ptr codec, int level)
{
	if (level >= 0)
		return;
	switch (codec->err->msg_code) {
	case JWRN_JPEG_EOF:
	case JWRN_HIT_MARKER:
	case JWRN_HUFF_BAD_CODE:
	case JWRN_ARITH_BAD_CODE:
	case JWRN_MUST_RESYNC:
		on_error(codec);
		break;
	default:
		break;
	}
}

static uint64_t blocks_of(const jpeg_component_info *component)
{
	return (uint64_t)component->width_in_blocks * component->height_in_blocks;
}

static void look_for_client(struct job *job)
{
	if (!job->rows || !gn_rows_gone(job->rows))
		return;
	job->cancelled = true;
	snprintf(job->message, sizeof job->message, "nobody waits for it any more");
	longjmp(job->failed, 1);
}

/* Called for every row of blocks. Counts the blocks of each scan when it begins. */
static void on_progress(j_common_ptr codec)
{
	struct job *job = codec->client_data;
	const struct jpeg_decompress_struct *in = &job->in;
	uint64_t all = 0;

	if (!codec->is_decompressor)
		return;
	look_for_client(job);
	if (in->input_scan_number == job->scan)
		return;
	job->scan = in->input_scan_number;
	for (int i = 0; i < in->comps_in_scan; i++)
		job->blocks_visited += blocks_of(in->cur_comp_info[i]);
	for (int i = 0; i < in->num_components; i++)
		all += blocks_of(&in->comp_info[i]);
	if (job->scan <= SCANS_MAX && job->blocks_visited <= BLOCKS_FREE + VISITS_MAX * all)
		return;
	snprintf(job->message, sizeof job->message, "%d scans over %u x %u pixels are too many", job->scan,
	         in->image_width, in->image_height);
	longjmp(job->failed, 1);
}

static struct jpeg_error_mgr *job_errors(struct job *job)
{
	jpeg_std_error(&job->errors);
	job->errors.error_exit = on_error;
	job->errors.emit_message = on_message;
	return &job->errors;
}

static void job_open(struct job *job, const uint8_t *bytes, size_t size)
{
	jpeg_create_decompress(&job->in);
	job->progress.progress_monitor = on_progress;
	job->in.progress = &job->progress;
	jpeg_mem_src(&job->in, bytes, size);
	jpeg_read_header(&job->in, TRUE);
}

/* The first EXIF segment before the picture's data. Segments are 0xFF, a marker, a big-endian
 * length that counts itself. */
static int find_orientation(const uint8_t *bytes, size_t size)
{
	size_t at = 2;

	while (at < size && size - at >= 4 && bytes[at] == 0xff) {
		uint8_t marker = bytes[at + 1];
		size_t length = (size_t)bytes[at + 2] << 8 | bytes[at + 3];

		if (marker == 0xff) { /* padding */
			at++;
			continue;
		}
		if (marker == 0xda || marker == 0xd9 || length < 2 || length > size - at - 2)
			break;
		if (marker == 0xe1 && length >= 8 && !memcmp(bytes + at + 4, "Exif\0\0", 6))
			return gn_exif_orientation(bytes + at + 4, length - 2);
		at += 2 + length;
	}
	return 1;
}

int gn_jpeg_probe(struct gn_image_info *info, const uint8_t *bytes, size_t size, struct gn_error *err)
{
	struct job job = {0};

	job.in.err = job_errors(&job);
	job.in.client_data = &job;
	if (setjmp(job.failed)) {
		jpeg_destroy_decompress(&job.in);
		return gn_fail(err, GN_MALFORMED, "", "not a readable JPEG: %s", job.message);
	}
	job_open(&job, bytes, size);
	info->width = (int)job.in.image_width;
	info->height = (int)job.in.image_height;
	info->orientation = find_orientation(bytes, size);
	/* several scans: all coefficients are kept, 16 bits each */
	info->verify_bytes =
	    (uint64_t)info->width * (jpeg_has_multiple_scans(&job.in) ? 6 * (uint64_t)info->height : 100);
	jpeg_destroy_decompress(&job.in);
	return 0;
}

/* a * b / 255, rounded, as Pillow computes it. */
static uint8_t product_255(uint32_t a, uint32_t b)
{
	uint32_t t = a * b + 128;

	return (uint8_t)(((t >> 8) + t) >> 8);
}

static void ink_to_rgb(uint8_t *rgb, const uint8_t *cmyk, int width, bool complement)
{
	for (int x = 0; x < width; x++, rgb += 3, cmyk += 4) {
		uint8_t black = complement ? 255 - cmyk[3] : cmyk[3];
		uint8_t light = 255 - black;

		for (int c = 0; c < 3; c++) {
			uint8_t ink = complement ? 255 - cmyk[c] : cmyk[c];

			rgb[c] = light - product_255(ink, light);
		}
	}
}

/* Reads up to count rows from the present one on into rgb; returns how many. By longjmp on any
 * fault. */
static JDIMENSION read_rows(struct job *job, uint8_t *rgb, JDIMENSION count)
{
	struct jpeg_decompress_struct *in = &job->in;
	size_t stride = (size_t)in->output_width * 3;
	JSAMPROW rows[GN_STRIP_ROWS];

	if (in->out_color_space == JCS_CMYK) {
		rows[0] = job->ink;
		count = jpeg_read_scanlines(in, rows, 1);
		if (count)
			ink_to_rgb(rgb, job->ink, (int)in->output_width, in->saw_Adobe_marker);
		return count;
	}
	for (JDIMENSION i = 0; i < count; i++)
		rows[i] = rgb + i * stride;
	return jpeg_read_scanlines(in, rows, count);
}

/* Reads strip by strip, into the whole picture or into a separate buffer. */
static void read_strips(struct job *job, const struct gn_rows *to)
{
	struct jpeg_decompress_struct *in = &job->in;
	size_t stride = (size_t)in->output_width * 3;

	while (in->output_scanline < in->output_height) {
		JDIMENSION first = in->output_scanline, left = in->output_height - first;
		JDIMENSION count = left < GN_STRIP_ROWS ? left : GN_STRIP_ROWS;
		uint8_t *strip = to->whole ? to->whole + first * stride : job->strip;

		for (JDIMENSION done = 0; done < count;)
			done += read_rows(job, strip + done * stride, count - done);
		if (to->take)
			to->take(to->user, strip, (int)first, (int)count);
		look_for_client(job);
	}
}

static uint8_t *allocate(struct job *job, size_t size)
{
	uint8_t *bytes = gn_alloc(size, 1, NULL);

	if (!bytes) {
		job->errors.msg_code = JERR_OUT_OF_MEMORY;
		on_error((j_common_ptr)&job->in);
	}
	return bytes;
}

static void decode(struct job *job, const struct gn_rows *rows, const struct gn_image_info *info, int denominator)
{
	struct jpeg_decompress_struct *in = &job->in;
	bool ink = in->jpeg_color_space == JCS_CMYK || in->jpeg_color_space == JCS_YCCK;

	if ((int)in->image_width != info->width || (int)in->image_height != info->height) {
		snprintf(job->message, sizeof job->message, "the file changed while it was read");
		longjmp(job->failed, 1);
	}
	in->out_color_space = ink ? JCS_CMYK : JCS_RGB;
	in->scale_num = 1;
	in->scale_denom = (unsigned int)denominator;
	jpeg_start_decompress(in);
	if (in->output_width != (in->image_width + in->scale_denom - 1) / in->scale_denom ||
	    in->output_height != (in->image_height + in->scale_denom - 1) / in->scale_denom) {
		snprintf(job->message, sizeof job->message, "its size at 1/%d is not as expected", denominator);
		longjmp(job->failed, 1);
	}
	if (ink)
		job->ink = allocate(job, (size_t)in->output_width * 4);
	if (!rows->whole)
		job->strip = allocate(job, (size_t)in->output_width * 3 * GN_STRIP_ROWS);
	read_strips(job, rows);
}

static void release(struct job *job)
{
	jpeg_destroy_decompress(&job->in);
	free(job->ink);
	free(job->strip);
}

static int decode_failed(struct job *job, struct gn_error *err)
{
	bool memory = job->errors.msg_code == JERR_OUT_OF_MEMORY;

	release(job);
	return gn_fail(err,
	               job->cancelled ? GN_CANCELLED
	               : memory       ? GN_NO_MEMORY
	                              : GN_MALFORMED,
	               "", "the JPEG cannot be decoded: %s", job->message);
}

int gn_jpeg_decode(const struct gn_rows *rows, const uint8_t *bytes, size_t size, const struct gn_image_info *info,
                   int denominator, struct gn_error *err)
{
	struct job job = {0};

	job.in.err = job_errors(&job);
	job.in.client_data = &job;
	if (setjmp(job.failed))
		return decode_failed(&job, err);
	job.rows = rows;
	job_open(&job, bytes, size);
	decode(&job, rows, info, denominator);
	release(&job);
	return 0;
}

static void encode(struct job *job, const struct gn_image *image, int quality)
{
	struct jpeg_compress_struct *out = &job->out;

	out->image_width = (JDIMENSION)image->width;
	out->image_height = (JDIMENSION)image->height;
	out->input_components = 3;
	out->in_color_space = JCS_RGB;
	jpeg_set_defaults(out);
	jpeg_set_quality(out, quality, TRUE);
	jpeg_start_compress(out, TRUE);
	while (out->next_scanline < out->image_height) {
		JSAMPROW row = image->rgb + (size_t)out->next_scanline * (size_t)image->width * 3;

		jpeg_write_scanlines(out, &row, 1);
	}
	jpeg_finish_compress(out);
}

/* The largest size of our baseline JPEGs: libjpeg-turbo's own bound (tjBufSize) for 4:4:4. */
static size_t encoded_bound(const struct gn_image *image)
{
	return 6 * ((size_t)image->width + 16) * ((size_t)image->height + 16) + 2048;
}

int gn_jpeg_encode(uint8_t **jpeg, size_t *jpeg_size, const struct gn_image *image, int quality, struct gn_error *err)
{
	struct job job = {.made_size = encoded_bound(image)};

	job.strip = job.made = gn_alloc(job.made_size, 1, err);
	if (!job.made)
		return -1;
	job.out.err = job_errors(&job);
	job.out.client_data = &job;
	if (setjmp(job.failed)) {
		jpeg_destroy_compress(&job.out);
		free(job.strip);
		return gn_fail(err, GN_NO_MEMORY, "", "the JPEG cannot be written: %s", job.message);
	}
	jpeg_create_compress(&job.out);
	jpeg_mem_dest(&job.out, &job.made, &job.made_size);
	encode(&job, image, quality);
	jpeg_destroy_compress(&job.out);
	gn_assert(job.made == job.strip);
	*jpeg = job.made;
	*jpeg_size = job.made_size;
	return 0;
}
