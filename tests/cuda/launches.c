/*
 * Trains a step of a ViT on a device, so that the host runner can list the launches that it makes
 * (GONIO_CUDA_HOST_LAUNCHES; tests/cuda/proof.py reads the list).
 *
 *   cuda_launches DEVICE PRECISION SHAPE
 *
 * SHAPE: Ti or B, ViT-Ti/16 or ViT-B/16, or odd, a ViT with every option and a width that is no
 * multiple of 8; a hyphen, and the pixels of the pictures' sides. Batches of one picture, two
 * blocks: launches of a block do not depend on which it is. Or "rest": what none of these launches.
 */
#include "tests/support/device.h"
#include "tests/support/toy.h"

#include "backend/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct gn_device *device;
static const char *shape;

static const struct gn_arch tiny = {.patch_size = 16,
                                    .dim = 192,
                                    .depth = 2,
                                    .heads = 3,
                                    .mlp_dim = 768,
                                    .classes = 2,
                                    .norm_eps = 1e-6f,
                                    .class_token = true,
                                    .pos_on_prefix = true,
                                    .qkv_bias = true,
                                    .patch_bias = true};
static const struct gn_arch base = {.patch_size = 16,
                                    .dim = 768,
                                    .depth = 2,
                                    .heads = 12,
                                    .mlp_dim = 3072,
                                    .classes = 2,
                                    .norm_eps = 1e-6f,
                                    .class_token = true,
                                    .pos_on_prefix = true,
                                    .qkv_bias = true,
                                    .patch_bias = true};
static const struct gn_arch odd = {.patch_size = 14,
                                   .dim = 100,
                                   .depth = 2,
                                   .heads = 5,
                                   .mlp_dim = 300,
                                   .classes = 2,
                                   .registers = 3,
                                   .pool = GN_POOL_MEAN,
                                   .activation = GN_ACT_QUICK_GELU,
                                   .norm_eps = 1e-5f,
                                   .class_token = true,
                                   .layer_scale = true,
                                   .norm_pre = true,
                                   .norm_after_pool = true,
                                   .qkv_bias = true,
                                   .patch_bias = true};

static void train(struct gn_arch arch, int pixels, enum gn_optimizer optimizer)
{
	arch.image_size = pixels;
	char *folder = toy_folder();
	struct gn_dataset *dataset = toy_dataset(folder, "data", 2, 4);
	struct gn_model *model = toy_model(folder, "model", &arch, 1);
	struct gn_run_config config = toy_config(GN_FULL);
	struct gn_train_result result = {0};
	struct gn_error err = {0};

	config.epochs = 1;
	config.batch_size = 1;
	config.clip_norm = 1;
	config.label_smoothing = 0.1;
	config.optimizer = optimizer;
	const struct gn_train_options options = {.device = device,
	                                         .model = model,
	                                         .dataset = dataset,
	                                         .config = &config,
	                                         .folder = folder,
	                                         .max_pixels = 1 << 20};
	if (gn_train(&result, &options, &err))
		fail_msg("%s: %s", err.where, err.text);
	gn_model_close(model);
	gn_dataset_close(dataset);
	toy_remove(folder);
}

/* Heads of other widths, multiples of 8 and not; and what a run does with aligned tensors or the
 * library's epilogues only. */
static void rest(void)
{
	const struct gn_backend *backend = device->backend;
	struct gn_ctx *ctx = device->ctx;
	struct gn_epilogue activated = {.activation = GN_ACT_QUICK_GELU, .activate = true, .float_out = true};
	static const int widths[] = {32, 36, 80, 84, 96, 100, 128};
	const size_t bytes = 1 << 16;
	struct gn_error err = {0};
	double sums[2];

	for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
		struct gn_arch arch = odd;

		arch.dim = widths[i];
		arch.heads = 1;
		train(arch, 28, GN_SGD);
	}
	backend->enter(ctx);
	float *memory = backend->alloc(ctx, bytes, &err);
	if (!memory)
		fail_msg("%s", err.text);
	backend->zero(ctx, memory, bytes);
	for (int kept = 0; kept < 2; kept++) {
		activated.pre = kept ? (gn_act *)(memory + 8192) : NULL;
		for (int cols = 16; cols > 8; cols -= 6)
			backend->linear(ctx, (gn_act *)(memory + 4096), (gn_act *)memory, (gn_mat *)(memory + 2048),
			                &activated, 8, cols, 16);
	}
	backend->pair_sums(ctx, sums, memory + 1, memory + 4096, 1000, 1, 1, true);
	assert_int_equal(backend->sync(ctx, &err), 0);
	backend->free(ctx, memory, bytes);
}

static void launch(void **state)
{
	const char *hyphen = strchr(shape, '-');
	const int pixels = hyphen ? (int)strtol(hyphen + 1, NULL, 10) : 0;

	(void)state;
	if (!strcmp(shape, "rest"))
		rest();
	else if (!strncmp(shape, "Ti-", 3))
		train(tiny, pixels, GN_ADAMW);
	else if (!strncmp(shape, "B-", 2))
		train(base, pixels, GN_ADAMW);
	else if (!strncmp(shape, "odd-", 4))
		train(odd, pixels, GN_SGD);
	else
		fail_msg("no such shape: %s", shape);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(launch)};

	if (argc < 4) {
		fprintf(stderr, "usage: cuda_launches DEVICE PRECISION SHAPE\n");
		return 2;
	}
	shape = argv[3];
	device = device_for_test(argc, argv);
	const int failed = cmocka_run_group_tests(tests, NULL, NULL);
	gn_device_close(device);
	return failed;
}
