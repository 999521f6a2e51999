/*
 * Preprocessing as in timm's and torchvision's transforms, with the same rounding. Only pixels of
 * the square are computed. A JPEG is decoded at a smaller DCT scale if both sides still cover the
 * target.
 */
#include "data/transform.h"

#include <math.h>
#include <string.h>

int gn_image_eval_side(int image_size, float crop_pct)
{
	/* the fraction was written in decimal: 0.8f is a little more than 0.8, and 224 / 0.8 must
	 * be 280 */
	double fraction = round((double)crop_pct * 1e6) / 1e6;
	int side = fraction > 0 ? (int)floor(image_size / fraction) : image_size;

	return side > image_size ? side : image_size;
}

static void take_rows(void *resampler, const uint8_t *rgb, int y, int count)
{
	gn_resampler_take(resampler, rgb, y, count);
}

/* Resamples rows while they come from the decoder. */
static int resample_rows(uint8_t *out, const void *bytes, size_t size, const struct gn_image_info *info,
                         int denominator, const struct gn_resample *job, const struct gn_image_limits *limits,
                         struct gn_error *err)
{
	struct gn_rows rows = {.take = take_rows, .limits = limits};
	struct gn_resampler *resampler;
	int rc;

	if (gn_resampler_new(&resampler, out, (info->width + denominator - 1) / denominator,
	                     (info->height + denominator - 1) / denominator, job, err))
		return -1;
	rows.user = resampler;
	rc = gn_image_decode_rows(&rows, bytes, size, info, denominator, err);
	gn_resampler_free(resampler);
	return rc;
}

static int resample_turned(uint8_t *out, const void *bytes, size_t size, const struct gn_image_info *info,
                           int denominator, const struct gn_resample *job, const struct gn_image_limits *limits,
                           struct gn_error *err)
{
	struct gn_image image;
	int rc;

	if (gn_image_decode_at(&image, bytes, size, info, denominator, limits, err))
		return -1;
	rc = gn_resample(out, &image, job, err);
	gn_image_release(&image);
	return rc;
}

int gn_image_decode_resampled(uint8_t *out, const void *bytes, size_t size, const struct gn_image_info *info,
                              int denominator, struct gn_resample *job, const struct gn_image_limits *limits,
                              struct gn_error *err)
{
	uint64_t memory = gn_image_decode_memory(info, denominator);
	struct gn_gate *gate = limits ? limits->gate : NULL;
	bool turned = info->orientation != 1;
	int rc;

	for (int i = 0; i < 4; i++)
		job->box[i] /= denominator;
	gn_gate_enter(gate, memory);
	rc = (turned ? resample_turned : resample_rows)(out, bytes, size, info, denominator, job, limits, err);
	gn_gate_leave(gate, memory);
	return rc;
}

/* torchvision's Resize(int) and CenterCrop: the longer side is cut to whole pixels, the crop's
 * corner is rounded half to even. */
int gn_image_eval(uint8_t *out, const void *bytes, size_t size, const struct gn_image_limits *limits, int image_size,
                  const struct gn_preprocess *preprocess, struct gn_error *err)
{
	int side = gn_image_eval_side(image_size, preprocess->crop_pct), width, height;
	struct gn_resample job = {.interpolation = preprocess->interpolation};
	struct gn_image_info info;

	if (gn_image_probe(&info, bytes, size, limits->max_pixels, err))
		return -1;
	gn_image_upright(&info, &width, &height);
	job.box[2] = width;
	job.box[3] = height;
	job.width = width <= height ? side : (int64_t)((double)((int64_t)side * width) / height);
	job.height = width <= height ? (int64_t)((double)((int64_t)side * height) / width) : side;
	job.window.x = (int64_t)rint((double)(job.width - image_size) / 2.0);
	job.window.y = (int64_t)rint((double)(job.height - image_size) / 2.0);
	job.window.width = job.window.height = image_size;
	return gn_image_decode_resampled(out, bytes, size, &info, gn_image_denominator(&info, width, height, side),
	                                 &job, limits, err);
}

struct crop {
	int x, y, width, height;
};

/* torchvision's RandomResizedCrop.get_params: ten tries, then the largest centred crop of an
 * allowed shape. */
static struct crop draw_crop(int width, int height, struct gn_random *random)
{
	const double scale_low = 0.25, ratio_low = 3.0 / 4.0, ratio_high = 4.0 / 3.0;
	struct crop crop = {0, 0, width, height};
	double ratio = (double)width / height;

	for (int i = 0; i < 10; i++) {
		double area = (double)width * height * (scale_low + (1.0 - scale_low) * gn_random_uniform(random));
		double shape = exp(log(ratio_low) + (log(ratio_high) - log(ratio_low)) * gn_random_uniform(random));
		int w = (int)rint(sqrt(area * shape)), h = (int)rint(sqrt(area / shape));

		if (w > 0 && w <= width && h > 0 && h <= height) {
			crop.y = (int)gn_random_below(random, (uint32_t)(height - h) + 1);
			crop.x = (int)gn_random_below(random, (uint32_t)(width - w) + 1);
			crop.width = w;
			crop.height = h;
			return crop;
		}
	}
	if (ratio < ratio_low)
		crop.height = (int)rint(width / ratio_low);
	else if (ratio > ratio_high)
		crop.width = (int)rint(height * ratio_high);
	crop.x = (width - crop.width) / 2;
	crop.y = (height - crop.height) / 2;
	return crop;
}

int gn_image_random_crop(uint8_t *out, const void *bytes, size_t size, const struct gn_image_limits *limits,
                         int image_size, const struct gn_preprocess *preprocess, struct gn_random *random,
                         struct gn_error *err)
{
	struct gn_resample job = {
	    .width = image_size,
	    .height = image_size,
	    .interpolation = preprocess->interpolation,
	    .window = {0, 0, image_size, image_size},
	};
	struct gn_image_info info;
	struct crop crop;
	int width, height;

	if (gn_image_probe(&info, bytes, size, limits->max_pixels, err))
		return -1;
	gn_image_upright(&info, &width, &height);
	crop = draw_crop(width, height, random);
	job.box[0] = crop.x;
	job.box[1] = crop.y;
	job.box[2] = crop.width;
	job.box[3] = crop.height;
	return gn_image_decode_resampled(out, bytes, size, &info,
	                                 gn_image_denominator(&info, crop.width, crop.height, image_size), &job, limits,
	                                 err);
}

void gn_image_flip(uint8_t *pixels, int image_size)
{
	for (int y = 0; y < image_size; y++) {
		uint8_t *left = pixels + (size_t)y * (size_t)image_size * 3,
		        *right = left + ((size_t)image_size - 1) * 3;

		for (; left < right; left += 3, right -= 3) {
			uint8_t pixel[3];

			memcpy(pixel, left, 3);
			memcpy(left, right, 3);
			memcpy(right, pixel, 3);
		}
	}
}

/*
 * Each level has one value per channel: a table gives it with torchvision's two roundings,
 * ToTensor's and Normalize's.
 */
void gn_image_levels(float levels[3][256], const struct gn_preprocess *preprocess)
{
	for (int c = 0; c < 3; c++)
		for (int level = 0; level < 256; level++)
			levels[c][level] = ((float)level / 255.0f - preprocess->mean[c]) / preprocess->std[c];
}

void gn_image_normalise(float *out, const uint8_t *in, int image_size, const struct gn_preprocess *preprocess)
{
	size_t pixels = (size_t)image_size * (size_t)image_size;
	float levels[3][256];

	gn_image_levels(levels, preprocess);
	for (size_t i = 0; i < pixels; i++)
		for (size_t c = 0; c < 3; c++)
			out[c * pixels + i] = levels[c][in[3 * i + c]];
}
