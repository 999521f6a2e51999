/*
 * Whole runs on a GPU's backend against the CPU: every strategy's losses, accuracy and angles;
 * frozen tensors; resuming; memory.
 *
 *   device_runs DEVICE PRECISION [TEST]
 *
 * Tolerances. fp32: both round alike but sum in other orders, and nvcc contracts a product and a
 * sum to one FMA and has an exp of its own, each worth about 2^-24 an operation; two epochs of a
 * tiny network amplify that to 1e-5 at most (seen on an H200: 7.5e-8). tf32 and bf16 keep 11 and 8
 * bits of each factor of a product: a loss that is a mean over a batch moves by less than one of
 * its terms, and an angle, the sum of many small steps whose directions Adam forms from signs of
 * gradients, by more.
 */
#include "tests/support/device.h"
#include "tests/support/toy.h"

#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <cmocka.h>

enum { EPOCHS = 2, LAYERS = 8 };

static struct {
	char *folder;
	struct gn_dataset *dataset;
	struct gn_model *model;
	struct gn_device *cpu, *gpu;
	double loss_tolerance, angle_tolerance; /* relative */
	int runs;
} rig;

/* What a run's events said, and where to stop it. */
struct watch {
	int64_t stop_at; /* step; 0: never */
	volatile int stop;
	int epochs;
	double train_loss[EPOCHS], val_loss[EPOCHS], val_accuracy[EPOCHS], degrees[LAYERS];
	bool went_on;
};

static void on_event(void *user, const struct gn_event *e)
{
	struct watch *w = user;

	if (e->kind == GN_EVENT_EPOCH) {
		assert_in_range(e->epoch, 1, EPOCHS);
		w->train_loss[e->epoch - 1] = e->train_loss;
		w->val_loss[e->epoch - 1] = e->val_loss;
		w->val_accuracy[e->epoch - 1] = e->val_accuracy;
		w->epochs++;
	}
	for (int i = 0; e->kind == GN_EVENT_ANGLES && i < LAYERS; i++)
		w->degrees[i] = e->angles->layers[i].degrees;
	w->went_on |= e->kind == GN_EVENT_START && strstr(e->text, "going on");
	if (w->stop_at && e->step >= w->stop_at && (e->kind == GN_EVENT_STEP || e->kind == GN_EVENT_START))
		w->stop = 1;
}

static char *new_run_folder(void)
{
	char *path = malloc(512);

	assert_non_null(path);
	snprintf(path, 512, "%s/run-%d", rig.folder, rig.runs++);
	assert_int_equal(mkdir(path, 0700), 0);
	return path;
}

static struct gn_run_config config_of(enum gn_strategy_kind kind)
{
	struct gn_run_config config = toy_config(kind);

	config.epochs = EPOCHS;
	return config;
}

static int train(struct gn_device *device, const char *folder, const struct gn_run_config *config, struct watch *watch,
                 struct gn_train_result *result, struct gn_error *err)
{
	struct gn_train_options options = {.device = device,
	                                   .model = rig.model,
	                                   .dataset = rig.dataset,
	                                   .config = config,
	                                   .folder = folder,
	                                   .max_pixels = 1 << 20,
	                                   .on_event = on_event,
	                                   .user = watch,
	                                   .stop = &watch->stop};

	return gn_train(result, &options, err);
}

static void must_train(struct gn_device *device, const char *folder, const struct gn_run_config *config,
                       struct watch *watch, struct gn_train_result *result)
{
	struct gn_error err = {0};

	if (train(device, folder, config, watch, result, &err))
		fail_msg("%s: %s", err.where, err.text);
}

/* The relative difference is within the tolerance; prints what it is. */
static bool near(const char *what, double got, double want, double tolerance)
{
	double off = fabs(got - want) / fmax(fabs(want), 1e-12);

	if (off <= tolerance)
		return true;
	print_message("%s: %.9g on the device, %.9g on the CPU: off by %.2g, allowed %.2g\n", what, got, want, off,
	              tolerance);
	return false;
}

static bool same_curve(const struct watch *got, const struct watch *want, double *worst)
{
	int images = rig.dataset->totals[GN_VAL];
	bool good = got->epochs == want->epochs;

	for (int i = 0; i < EPOCHS; i++) {
		good &= near("training loss", got->train_loss[i], want->train_loss[i], rig.loss_tolerance);
		good &= near("validation loss", got->val_loss[i], want->val_loss[i], rig.loss_tolerance);
		good &= fabs(got->val_accuracy[i] - want->val_accuracy[i]) * images <= 1.5;
		*worst = fmax(*worst, fabs(got->train_loss[i] / want->train_loss[i] - 1));
	}
	for (int i = 0; i < LAYERS; i++)
		good &= want->degrees[i] == 0 ? got->degrees[i] == 0
		                              : near("angle", got->degrees[i], want->degrees[i], rig.angle_tolerance);
	return good;
}

/* The delta holds the tuned tensors and nothing else; each of them has changed. */
static bool only_tuned(const char *folder, const struct gn_run_config *config)
{
	struct gn_error err = {0};
	struct gn_model *tuned;
	bool *want = calloc((size_t)rig.model->layout.count, sizeof *want), good = true;
	char path[600];

	assert_non_null(want);
	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	assert_int_equal(gn_model_open(&tuned, path, rig.model, &err), 0);
	assert_int_equal(gn_strategy_select(want, &tuned->layout, &config->strategy, &err), 0);
	for (int i = 0; i < tuned->layout.count; i++)
		good &= tuned->own[i] == want[i] && (!want[i] || memcmp(tuned->tensors[i], rig.model->tensors[i],
		                                                        tuned->layout.tensors[i].numel * 4) != 0);
	gn_model_close(tuned);
	free(want);
	return good;
}

static void every_strategy(void **state)
{
	int wrong = 0;

	(void)state;
	for (int kind = 0; kind < GN_CUSTOM; kind++) {
		struct gn_run_config config = config_of((enum gn_strategy_kind)kind);
		struct watch cpu = {0}, gpu = {0};
		struct gn_train_result result;
		char *a, *b;
		double worst = 0;
		bool good;

		if (rig.gpu->backend->precision != GN_PRECISION_FP32 && kind % 3) /* the same code, other rounding */
			continue;
		a = new_run_folder();
		b = new_run_folder();
		config.optimizer = kind % 4 == 3 ? GN_SGD : GN_ADAMW;
		config.class_weights = kind % 2 ? GN_WEIGHTS_BALANCED : GN_WEIGHTS_NONE;
		config.label_smoothing = kind % 3 ? 0.1 : 0;
		must_train(rig.cpu, a, &config, &cpu, &result);
		must_train(rig.gpu, b, &config, &gpu, &result);
		good = same_curve(&gpu, &cpu, &worst) && only_tuned(b, &config);
		print_message("%-14s losses within %.1e of the CPU's%s\n",
		              gn_strategy_name((enum gn_strategy_kind)kind), worst, good ? "" : ": WRONG");
		wrong += !good;
		free(a);
		free(b);
	}
	assert_int_equal(wrong, 0);
}

static char *read_result(const char *folder, size_t *size)
{
	char path[600], *bytes;
	FILE *f;

	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	f = fopen(path, "rb");
	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	*size = (size_t)ftell(f);
	rewind(f);
	bytes = malloc(*size);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, *size, f), *size);
	fclose(f);
	return bytes;
}

/* Stopped twice and gone on: the same bytes as without, although results come a step late. */
static void resumes_bit_for_bit(void **state)
{
	struct gn_run_config config = config_of(GN_LAST_THIRD);
	char *straight = new_run_folder(), *broken = new_run_folder();
	struct watch watch = {0};
	struct gn_train_result whole, parts;
	size_t na, nb;

	(void)state;
	config.micro_batch_size = 3;
	must_train(rig.gpu, straight, &config, &watch, &whole);
	for (int64_t stop = 3; stop < 12; stop += 5) {
		struct gn_error err = {0};
		struct watch part = {.stop_at = stop};

		assert_int_equal(train(rig.gpu, broken, &config, &part, &parts, &err), -1);
		assert_int_equal(err.code, GN_CANCELLED);
	}
	watch = (struct watch){0};
	must_train(rig.gpu, broken, &config, &watch, &parts);
	assert_true(watch.went_on);
	assert_true(whole.train_loss == parts.train_loss);
	assert_int_equal(whole.images, parts.images);
	char *a = read_result(straight, &na), *b = read_result(broken, &nb);
	assert_int_equal(na, nb);
	assert_memory_equal(a, b, na);
	free(a);
	free(b);
	free(straight);
	free(broken);
}

/* A checkpoint of the GPU's run does not go on elsewhere. */
static void goes_on_where_it_began(void **state)
{
	struct gn_run_config config = config_of(GN_LINEAR);
	char *folder = new_run_folder();
	struct watch watch = {.stop_at = 2};
	struct gn_train_result result;
	struct gn_error err = {0}, again = {0};

	(void)state;
	assert_int_equal(train(rig.gpu, folder, &config, &watch, &result, &err), -1);
	assert_int_equal(err.code, GN_CANCELLED);
	config.micro_batch_size = config.batch_size; /* as a GPU chooses */
	watch = (struct watch){0};
	assert_int_equal(train(rig.cpu, folder, &config, &watch, &result, &again), -1);
	assert_int_equal(again.code, GN_CONFLICT);
	free(folder);
}

static void too_high_a_rate_names_its_step(void **state)
{
	struct gn_run_config config = config_of(GN_FULL);
	char *folder = new_run_folder();
	struct watch watch = {0};
	struct gn_train_result result;
	struct gn_error err = {0};

	(void)state;
	config.lr = 1e30;
	config.clip_norm = 0;
	config.warmup_steps = 0;
	assert_int_equal(train(rig.gpu, folder, &config, &watch, &result, &err), -1);
	assert_string_equal(err.where, "lr");
	assert_non_null(strstr(err.text, "no longer a number at step "));
	free(folder);
}

/* What the plan says of the GPU's memory holds what the run takes of it, and not much more. */
static void memory_is_as_planned(void **state)
{
	static const enum gn_strategy_kind kinds[] = {GN_FULL, GN_LINEAR, GN_LAST_THIRD};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct gn_run_config config = config_of(kinds[i]);
		struct gn_train_options options = {.device = rig.gpu, .model = rig.model, .dataset = rig.dataset};
		struct gn_trainer t = {.options = &options,
		                       .config = config,
		                       .backend = rig.gpu->backend,
		                       .ctx = rig.gpu->ctx,
		                       .dataset = rig.dataset};
		struct gn_error err = {0};
		uint64_t planned;

		if (gn_trainer_init(&t, &err))
			fail_msg("%s: %s", err.where, err.text);
		planned = t.plan.memory.device - rig.gpu->backend->overhead_bytes;
		print_message("%-12s planned %llu bytes, took %zu\n", gn_strategy_name(kinds[i]),
		              (unsigned long long)planned, t.memory.size);
		assert_true(t.memory.size <= planned && planned - t.memory.size <= 1 << 20);
		gn_trainer_release(&t);
	}
}

/* With all of the GPU's memory taken by others, a run fails before its first step, and says so
 * in bytes. */
static void no_memory_is_the_runs_error(void **state)
{
	struct gn_run_config config = config_of(GN_FULL);
	struct device_hog hog;
	struct watch watch = {0};
	struct gn_train_result result;
	struct gn_error err = {0};
	char *folder = new_run_folder();

	(void)state;
	device_hog_take(&hog, rig.gpu);
	assert_int_equal(train(rig.gpu, folder, &config, &watch, &result, &err), -1);
	print_message("%s\n", err.text);
	assert_int_equal(err.code, GN_NO_MEMORY);
	assert_non_null(strstr(err.text, "needs "));
	assert_non_null(strstr(err.text, " free on "));
	device_hog_free(&hog);
	err = (struct gn_error){0};
	must_train(rig.gpu, folder, &config, &watch, &result);
	free(folder);
}

/* The logits of many images, in more than one batch, against the CPU's. */
static void classifies_alike(void **state)
{
	enum { IMAGES = 5 };
	const struct gn_arch arch = toy_arch;
	struct gn_model *model;
	struct gn_infer *infer[2];
	struct gn_error err = {0};
	char *folder = new_run_folder();
	size_t image = 3 * (size_t)arch.image_size * (size_t)arch.image_size;
	float *images = calloc(IMAGES * image, sizeof *images), *logits[2];
	double largest = 0, worst = 0;

	(void)state;
	model = toy_model(folder, "headed",
	                  &(struct gn_arch){.image_size = 16,
	                                    .patch_size = 4,
	                                    .dim = 40,
	                                    .depth = 3,
	                                    .heads = 2,
	                                    .mlp_dim = 72,
	                                    .classes = 10,
	                                    .registers = 2,
	                                    .pool = GN_POOL_CLS,
	                                    .norm_eps = 1e-6F,
	                                    .class_token = true,
	                                    .layer_scale = true,
	                                    .qkv_bias = true,
	                                    .patch_bias = true},
	                  7);
	assert_non_null(images);
	for (size_t i = 0; i < IMAGES * image; i++)
		images[i] = sinf((float)i * 0.37F) * 2;
	for (int d = 0; d < 2; d++) {
		logits[d] = calloc(IMAGES * 10, sizeof *logits[d]);
		assert_non_null(logits[d]);
		if (gn_infer_new(&infer[d], d ? rig.gpu : rig.cpu, model, 2, &err) ||
		    gn_infer_run(infer[d], images, IMAGES, logits[d], &err))
			fail_msg("%s: %s", err.where, err.text);
		assert_true(gn_infer_bytes(infer[d]) > 0);
		gn_infer_free(infer[d]);
	}
	for (int i = 0; i < IMAGES * 10; i++) {
		largest = fmax(largest, fabs((double)logits[0][i]));
		worst = fmax(worst, fabs((double)logits[0][i] - (double)logits[1][i]));
	}
	print_message("logits off by %.1e of the largest\n", worst / largest);
	assert_true(worst <= rig.loss_tolerance * largest);
	gn_model_close(model);
	free(images);
	free(logits[0]);
	free(logits[1]);
	free(folder);
}

static int set_up(void **state)
{
	static const double loss[] = {
	    [GN_PRECISION_FP32] = 1e-5, [GN_PRECISION_TF32] = 2e-3, [GN_PRECISION_BF16] = 1e-2};
	static const double angle[] = {
	    [GN_PRECISION_FP32] = 1e-2, [GN_PRECISION_TF32] = 0.1, [GN_PRECISION_BF16] = 0.25};

	(void)state;
	rig.folder = toy_folder();
	rig.dataset = toy_dataset(rig.folder, "data", 3, 16);
	rig.model = toy_model(rig.folder, "base", &toy_arch, 4);
	rig.loss_tolerance = loss[rig.gpu->backend->precision];
	rig.angle_tolerance = angle[rig.gpu->backend->precision];
	return gn_device_open(&rig.cpu, "cpu", 2, GN_PRECISION_FP32, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	gn_device_close(rig.cpu);
	gn_model_close(rig.model);
	gn_dataset_close(rig.dataset);
	toy_remove(rig.folder);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_strategy),         cmocka_unit_test(resumes_bit_for_bit),
	    cmocka_unit_test(goes_on_where_it_began), cmocka_unit_test(too_high_a_rate_names_its_step),
	    cmocka_unit_test(memory_is_as_planned),   cmocka_unit_test(no_memory_is_the_runs_error),
	    cmocka_unit_test(classifies_alike),
	};
	int failed;

	rig.gpu = device_for_test(argc, argv);
	if (argc > 3)
		cmocka_set_test_filter(argv[3]);
	failed = cmocka_run_group_tests(tests, set_up, tear_down);
	gn_device_close(rig.gpu);
	return failed;
}
