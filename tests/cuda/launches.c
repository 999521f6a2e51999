/*
 * Trains a step of three ViTs - Ti and B on 224 pixels, and one with every option and a width that is no multiple of 8 - on a device,
 * and averages two vectors as a soup does, so that the host runner can list the launches that they make (GONIO_CUDA_HOST_LAUNCHES; tests/cuda/proof.py reads the list).
 *
 *   cuda_launches DEVICE PRECISION
 */
#include "tests/support/device.h"
#include "tests/support/toy.h"

#include "backend/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct gn_device *device;

/* Two blocks each: launches of a block do not depend on which it is. */
static const struct gn_arch tiny = {.image_size = 224,
                                    .patch_size = 16,
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
static const struct gn_arch base = {.image_size = 224,
                                    .patch_size = 16,
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
static const struct gn_arch odd = {.image_size = 56,
                                   .patch_size = 14,
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

static void train(const struct gn_arch *arch, enum gn_optimizer optimizer)
{
	char *folder = toy_folder();
	struct gn_dataset *dataset = toy_dataset(folder, "data", 2, 4);
	struct gn_model *model = toy_model(folder, "model", arch, 1);
	struct gn_run_config config = toy_config(GN_FULL);
	struct gn_train_result result = {0};
	struct gn_error err = {0};

	config.epochs = 1;
	config.batch_size = 2;
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

static void vit_ti(void **state)
{
	(void)state;
	train(&tiny, GN_ADAMW);
}

static void vit_b(void **state)
{
	(void)state;
	train(&base, GN_ADAMW);
}

static void every_option(void **state)
{
	(void)state;
	train(&odd, GN_SGD);
}

/* A tensor's last piece: what goes in accesses of 16 bytes, and what is left. */
static void soup(void **state)
{
	enum { N = 1003 };
	const struct gn_backend *be = device->backend;
	struct gn_error err = {0};
	double *sum = be->alloc(device->ctx, N * sizeof *sum, &err);
	float *x = be->alloc(device->ctx, N * sizeof *x, &err), mean[N], ones[N];

	(void)state;
	assert_true(sum && x);
	for (int i = 0; i < N; i++)
		ones[i] = 1;
	be->upload(device->ctx, x, ones, sizeof ones);
	be->soup_add(device->ctx, sum, x, 1, N, true);
	be->soup_add(device->ctx, sum, x, 2, N, false);
	be->soup_mean(device->ctx, x, sum, 3, N);
	be->download(device->ctx, mean, x, sizeof mean);
	assert_int_equal(be->sync(device->ctx, &err), 0);
	assert_memory_equal(mean, ones, sizeof ones);
	be->free(device->ctx, x, N * sizeof *x);
	be->free(device->ctx, sum, N * sizeof *sum);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(vit_ti), cmocka_unit_test(vit_b),
	                                   cmocka_unit_test(every_option), cmocka_unit_test(soup)};

	device = device_for_test(argc, argv);
	const int failed = cmocka_run_group_tests(tests, NULL, NULL);
	gn_device_close(device);
	return failed;
}
