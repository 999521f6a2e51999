/*
 * A batch as large as training's: an image's logits do not depend on where in the batch it lies.
 *
 *   device_large DEVICE PRECISION
 *
 * On a GPU 128 images of 224 pixels in 3 heads of width 64, 25,216 rows and 384 heads' attention a
 * block; on the host runner, which takes some thousand times as long, 12 images of 64 pixels.
 * Twins, the same picture at two places of one batch, must have the same bits, in fp32 nearly.
 * Alone the picture's products have another shape, for which the library may choose another order
 * of sums: then the logits are near.
 */
#include "tests/support/device.h"
#include "tests/support/toy.h"

#include "backend/backend.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { CLASSES = 10 };

static struct gn_device *device;

static struct gn_model *new_model(const char *folder, int side)
{
	const struct gn_arch arch = {.image_size = side,
	                             .patch_size = 16,
	                             .dim = 192,
	                             .depth = 2,
	                             .heads = 3,
	                             .mlp_dim = 768,
	                             .classes = CLASSES,
	                             .norm_eps = 1e-6f,
	                             .class_token = true,
	                             .pos_on_prefix = true,
	                             .qkv_bias = true,
	                             .patch_bias = true};

	return toy_model(folder, "large", &arch, 11);
}

/* The twin of image b of a batch of B: the first and the last, and so on to the middle. */
static float *new_images(int B, size_t image)
{
	float *images = malloc((size_t)B * image * sizeof *images);

	assert_non_null(images);
	for (int b = 0; b < B; b++) {
		uint32_t picture = (uint32_t)(b < B / 2 ? b : B - 1 - b);

		for (size_t i = 0; i < image; i++)
			images[(size_t)b * image + i] =
			    (float)(((uint32_t)i * 2654435761U ^ (picture + 1) * 40503U * (uint32_t)(i / 977 + 1)) >>
			                8 &
			            0xffff) /
			        32768 -
			    1;
	}
	return images;
}

static void run(float *logits, const struct gn_model *model, int batch, const float *images)
{
	struct gn_infer *infer;
	struct gn_error err = {0};

	if (gn_infer_new(&infer, device, model, batch, &err) || gn_infer_run(infer, images, batch, logits, &err))
		fail_msg("%s: %s", err.where, err.text);
	gn_infer_free(infer);
}

/* fp32: sums of 768 terms in another order, 2^-24 each, through two blocks. tf32 and bf16 keep
 * 11 and 8 bits of each factor and round activations to them, at other places when a sum ends
 * otherwise. */
static double tolerance(void)
{
	static const double allowed[] = {
	    [GN_PRECISION_FP32] = 1e-5, [GN_PRECISION_TF32] = 2e-3, [GN_PRECISION_BF16] = 2e-2};

	return allowed[device->backend->precision];
}

/*
 * cuBLASLt's float32 kernels may sum in another order in another place of a matrix: seen on an
 * H200, by 1.8e-7. Then twins are near, as an image alone is.
 */
static bool alike(const float *a, const float *b)
{
	double scale = 0;

	if (device->backend->precision != GN_PRECISION_FP32)
		return memcmp(a, b, CLASSES * sizeof *a) == 0;
	for (int k = 0; k < CLASSES; k++)
		scale = fmax(scale, fabs((double)a[k]));
	for (int k = 0; k < CLASSES; k++)
		if (!(fabs((double)a[k] - (double)b[k]) <= tolerance() * scale))
			return false;
	return true;
}

static void an_images_logits_are_its_own(void **state)
{
	struct gn_device_info info;
	char *folder = toy_folder();
	struct gn_model *model;
	float *images, *logits, alone[CLASSES];
	double largest = 0, worst = 0;
	bool host;
	int side, B;
	size_t image;

	(void)state;
	gn_device_describe(device, &info);
	host = !strcmp(info.name, "host runner");
	side = host ? 64 : 224;
	B = host ? 12 : 128;
	image = 3 * (size_t)side * (size_t)side;
	model = new_model(folder, side);
	images = new_images(B, image);
	logits = calloc((size_t)B * CLASSES, sizeof *logits);
	assert_non_null(logits);
	run(logits, model, B, images);
	for (int b = 0; b < B / 2; b++) {
		const float *mine = logits + (size_t)b * CLASSES, *twins = logits + (size_t)(B - 1 - b) * CLASSES;

		if (!alike(mine, twins))
			fail_msg("images %d and %d are the same, their logits are not: %.9g, %.9g", b, B - 1 - b,
			         (double)mine[0], (double)twins[0]);
		assert_memory_not_equal(mine, mine + CLASSES * (b + 1 < B / 2 ? 1 : -1), CLASSES * sizeof *mine);
	}
	for (int b = 0; b < B; b += B / 4) {
		run(alone, model, 1, images + (size_t)b * image);
		for (int k = 0; k < CLASSES; k++) {
			largest = fmax(largest, fabs((double)alone[k]));
			worst = fmax(worst, fabs((double)alone[k] - (double)logits[b * CLASSES + k]));
		}
	}
	print_message("batch of %d, %d px: off by %.1e of the largest from the same image alone\n", B, side,
	              worst / largest);
	assert_true(largest > 0 && worst <= tolerance() * largest);
	gn_model_close(model);
	free(images);
	free(logits);
	toy_remove(folder);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(an_images_logits_are_its_own)};
	int failed;

	device = device_for_test(argc, argv);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	gn_device_close(device);
	return failed;
}
