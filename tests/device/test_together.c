/*
 * Models tuned from one base on a device with a memory of its own: the base's weights lie there
 * once, blocks that all share are computed once, and each model says to the last bit what it says
 * alone.
 *
 *   device_together DEVICE PRECISION
 */
#include "tests/support/device.h"
#include "tests/support/toy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MODELS = 3, BATCH = 5 };

static struct {
	struct gn_device *device;
	char *folder;
	struct gn_model *base, *tuned[MODELS];
	float *images;
} rig;

/*
 * Another head, and from the second model on another fc2 in the fourth block: the first three are
 * shared by all.
 */
static struct gn_model *tune(int number)
{
	const struct gn_layout *layout = &rig.base->layout;
	const float **tensors = calloc((size_t)layout->count, sizeof *tensors);
	int head = gn_layout_find(layout, GN_HEAD_W, -1), fc2 = gn_layout_find(layout, GN_FC2_W, 3);
	float *values = calloc(layout->tensors[head].numel + layout->tensors[fc2].numel, sizeof *values);
	struct gn_model *model;
	char path[256];

	assert_true(tensors && values);
	for (size_t i = 0; i < layout->tensors[head].numel + layout->tensors[fc2].numel; i++)
		values[i] = 0.01f * (float)((int)(i * 7 + (size_t)number) % 11 - 5);
	tensors[head] = values;
	if (number > 0)
		tensors[fc2] = values + layout->tensors[head].numel;
	snprintf(path, sizeof path, "%.200s/tuned%d", rig.folder, number);
	const struct gn_model_parts parts = {
	    .arch = &rig.base->arch, .preprocess = &rig.base->preprocess, .layout = layout, .tensors = tensors};
	assert_int_equal(gn_model_write(path, &parts, NULL), 0);
	assert_int_equal(gn_model_open(&model, path, rig.base, NULL), 0);
	free(values);
	free(tensors);
	return model;
}

static int set_up(void **state)
{
	size_t pixels = (size_t)BATCH * 3 * (size_t)toy_arch.image_size * (size_t)toy_arch.image_size;

	(void)state;
	rig.folder = toy_folder();
	rig.base = toy_model(rig.folder, "base", &toy_arch, 4);
	rig.images = calloc(pixels, sizeof *rig.images);
	for (size_t i = 0; rig.images && i < pixels; i++)
		rig.images[i] = (float)((i * 2654435761U) % 1000) / 500 - 1;
	for (int i = 0; i < MODELS; i++)
		rig.tuned[i] = tune(i);
	return rig.images ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	for (int i = 0; i < MODELS; i++)
		gn_model_close(rig.tuned[i]);
	gn_model_close(rig.base);
	free(rig.images);
	toy_remove(rig.folder);
	return 0;
}

static void each_says_what_it_says_alone(void **state)
{
	size_t count = (size_t)BATCH * (size_t)toy_arch.classes;
	struct gn_infer *infers[MODELS];
	float *alone[MODELS], *together[MODELS];
	struct gn_error err = {0};

	(void)state;
	assert_int_equal(gn_models_shared_blocks((const struct gn_model *const *)rig.tuned, MODELS), 3);
	for (int i = 0; i < MODELS; i++) {
		alone[i] = calloc(count, sizeof(float));
		together[i] = calloc(count, sizeof(float));
		assert_true(alone[i] && together[i]);
		if (gn_infer_new(&infers[i], rig.device, rig.tuned[i], BATCH - 1, &err) ||
		    gn_infer_run(infers[i], rig.images, BATCH, alone[i], &err))
			fail_msg("%s", err.text);
	}
	if (gn_infer_run_many(infers, MODELS, rig.images, BATCH, together, &err))
		fail_msg("%s", err.text);
	for (int i = 0; i < MODELS; i++) {
		assert_memory_equal(together[i], alone[i], count * sizeof(float));
		assert_memory_not_equal(alone[i], alone[(i + 1) % MODELS], count * sizeof(float));
	}
	for (int i = 0; i < MODELS; i++) {
		gn_infer_free(infers[i]);
		free(alone[i]);
		free(together[i]);
	}
	assert_int_equal(gn_device_resident_bytes(rig.device), 0);
}

static void the_base_lies_there_once(void **state)
{
	struct gn_infer *infers[MODELS];
	uint64_t bytes[MODELS];
	size_t base = rig.base->layout.parameters * 2; /* bf16 takes the least */
	struct gn_error err = {0};

	(void)state;
	for (int i = 0; i < MODELS; i++) {
		if (gn_infer_new(&infers[i], rig.device, rig.tuned[i], BATCH, &err))
			fail_msg("%s", err.text);
		bytes[i] = gn_device_resident_bytes(rig.device);
		print_message("%d models: %llu bytes for all, %llu for the last\n", i + 1, (unsigned long long)bytes[i],
		              (unsigned long long)gn_infer_bytes(infers[i]));
	}
	for (int i = 1; i < MODELS; i++)
		assert_true(bytes[i] - bytes[i - 1] < base / 2);
	/* what remains is enough for who remains, in any order of leaving */
	gn_infer_free(infers[0]);
	gn_infer_free(infers[2]);
	float *logits = calloc((size_t)BATCH * (size_t)toy_arch.classes, sizeof *logits);
	assert_non_null(logits);
	if (gn_infer_run(infers[1], rig.images, BATCH, logits, &err))
		fail_msg("%s", err.text);
	free(logits);
	gn_infer_free(infers[1]);
	assert_int_equal(gn_device_resident_bytes(rig.device), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_says_what_it_says_alone),
	    cmocka_unit_test(the_base_lies_there_once),
	};
	int failed;

	rig.device = device_for_test(argc, argv);
	failed = cmocka_run_group_tests(tests, set_up, tear_down);
	gn_device_close(rig.device);
	return failed;
}
