/* Training by its invariants (STYLE 20): repeatable, resumable bit for bit, frozen means frozen,
 * and it learns. */
#include "support/toy.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct {
	char *folder;
	struct gn_dataset *dataset;
	struct gn_model *model;
	struct gn_device *device;
	int runs;
} toy;

static int set_up(void **state)
{
	(void)state;
	toy.folder = toy_folder();
	toy.dataset = toy_dataset(toy.folder, "data", 3, 24);
	toy.model = toy_model(toy.folder, "base", &toy_arch, 4);
	assert_int_equal(gn_device_open(&toy.device, "cpu", 2, GN_PRECISION_AUTO, NULL), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	gn_device_close(toy.device);
	gn_model_close(toy.model);
	gn_dataset_close(toy.dataset);
	toy_remove(toy.folder);
	return 0;
}

/* What a run's events said, and where to stop it. */
struct watch {
	int64_t stop_at; /* step; 0: never */
	volatile int stop;
	double first_loss, last_loss, epoch_loss[16], val_accuracy[16], val_loss[16];
	int steps, epochs, angles, checkpoints;
	double largest_angle, frozen_angle;
	bool went_on;
};

static void on_event(void *user, const struct gn_event *e)
{
	struct watch *w = user;

	if (e->kind == GN_EVENT_STEP) {
		if (w->steps++ == 0)
			w->first_loss = e->loss;
		w->last_loss = e->loss;
		assert_true(isfinite(e->loss) && e->lr >= 0 && e->grad_norm > 0 && e->images_per_second > 0 &&
		            e->eta_seconds >= 0);
	}
	if (e->kind == GN_EVENT_EPOCH) {
		assert_true(e->epoch >= 1 && e->epoch <= 16);
		w->epoch_loss[e->epoch - 1] = e->train_loss;
		w->val_accuracy[e->epoch - 1] = e->val_accuracy;
		w->val_loss[e->epoch - 1] = e->val_loss;
		w->epochs++;
	}
	if (e->kind == GN_EVENT_ANGLES) {
		w->angles++;
		assert_int_equal(e->angles->count, 2 * toy_arch.depth);
		for (int i = 0; i < e->angles->count; i++)
			w->largest_angle = fmax(w->largest_angle, e->angles->layers[i].degrees);
		w->frozen_angle = e->angles->layers[0].degrees;
	}
	w->checkpoints += e->kind == GN_EVENT_CHECKPOINT;
	w->went_on |= e->kind == GN_EVENT_START && strstr(e->text, "going on");
	if (w->stop_at && e->step >= w->stop_at && (e->kind == GN_EVENT_STEP || e->kind == GN_EVENT_START))
		w->stop = 1;
}

static char *new_run_folder(void)
{
	char *path = malloc(512);

	assert_non_null(path);
	snprintf(path, 512, "%s/run-%d", toy.folder, toy.runs++);
	assert_int_equal(mkdir(path, 0700), 0);
	return path;
}

static int train(const char *folder, const struct gn_run_config *config, struct watch *watch,
                 struct gn_train_result *result, struct gn_error *err)
{
	struct gn_train_options options = {.device = toy.device,
	                                   .model = toy.model,
	                                   .dataset = toy.dataset,
	                                   .config = config,
	                                   .folder = folder,
	                                   .max_pixels = 1 << 20,
	                                   .on_event = on_event,
	                                   .user = watch,
	                                   .stop = &watch->stop};

	return gn_train(result, &options, err);
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

static void assert_same_result(const char *a, const char *b)
{
	size_t na, nb;
	char *x = read_result(a, &na), *y = read_result(b, &nb);

	assert_int_equal(na, nb);
	assert_memory_equal(x, y, na);
	free(x);
	free(y);
}

static void must_train(const char *folder, const struct gn_run_config *config, struct watch *watch,
                       struct gn_train_result *result)
{
	struct gn_error err = {0};

	if (train(folder, config, watch, result, &err))
		fail_msg("%s: %s", err.where, err.text);
}

static void test_learns(void **state)
{
	struct gn_run_config config = toy_config(GN_FULL);
	struct gn_train_result result;
	struct watch watch = {0};
	char *folder = new_run_folder();

	(void)state;
	config.epochs = 8;
	must_train(folder, &config, &watch, &result);
	print_message("train loss %.3f -> %.3f, val accuracy %.2f\n", watch.epoch_loss[0], watch.epoch_loss[7],
	              result.val_accuracy);
	assert_true(watch.epoch_loss[7] < 0.5 * watch.epoch_loss[0]);
	assert_true(result.val_accuracy >= 0.9); /* colours tell the classes apart */
	assert_int_equal(watch.epochs, 8);
	assert_int_equal(watch.angles, 8);
	assert_int_equal(result.epochs_done, 8);
	assert_int_equal(result.images, 8 * toy.dataset->totals[GN_TRAIN]);
	assert_true(result.seconds > 0 && result.peak_memory_bytes > 1 << 20);
	assert_true(watch.largest_angle > 0 && watch.largest_angle < 90);
	/* the kept model is that of the best epoch */
	assert_true(result.best_epoch >= 1 && result.val_accuracy == watch.val_accuracy[result.best_epoch - 1]);
	for (int i = 0; i < 8; i++)
		assert_true(watch.val_accuracy[i] <= result.val_accuracy);
	free(folder);
}

static void test_frozen_is_frozen(void **state)
{
	struct gn_error err = {0};

	(void)state;
	for (int kind = 0; kind < GN_CUSTOM; kind++) {
		struct gn_run_config config = toy_config((enum gn_strategy_kind)kind);
		struct gn_train_result result;
		struct watch watch = {0};
		char *folder = new_run_folder(), path[600], hash[65];
		struct gn_model *tuned;
		bool *want = calloc((size_t)toy.model->layout.count, sizeof *want);
		struct gn_angles angles;

		config.epochs = 2;
		must_train(folder, &config, &watch, &result);
		snprintf(path, sizeof path, "%s/model.safetensors", folder);
		assert_int_equal(gn_model_open(&tuned, path, toy.model, &err), 0);
		assert_int_equal(gn_model_hash(hash, toy.model, &err), 0);
		assert_string_equal(tuned->base_hash, hash);
		assert_int_equal(gn_strategy_select(want, &tuned->layout, &config.strategy, &err), 0);
		for (int i = 0; i < tuned->layout.count; i++) {
			size_t bytes = tuned->layout.tensors[i].numel * sizeof(float);

			assert_int_equal(tuned->own[i], want[i]);
			if (!want[i])
				assert_ptr_equal(tuned->tensors[i], toy.model->tensors[i]);
			else
				assert_true(memcmp(tuned->tensors[i], toy.model->tensors[i], bytes) != 0);
		}
		/* angles of the kept model, and of the last epoch as the run saw it: frozen layers
		 * 0, tuned ones not */
		assert_int_equal(gn_angles_compute(&angles, tuned, toy.model, &err), 0);
		for (int i = 0; i < angles.count; i++) {
			int first = gn_layout_find(&tuned->layout,
			                           angles.layers[i].group == GN_GROUP_ATTENTION ? GN_QKV_W : GN_FC1_W,
			                           angles.layers[i].block);

			assert_int_equal(angles.layers[i].degrees > 0, want[first]);
		}
		gn_angles_release(&angles);
		gn_model_close(tuned);
		free(want);
		free(folder);
	}
}

/* Stops at every given step and continues: the same bytes as without the stops. */
static void check_resume(struct gn_run_config config, const int64_t *stops, int count)
{
	char *straight = new_run_folder(), *broken = new_run_folder();
	struct gn_train_result whole, parts;
	struct watch watch = {0};

	must_train(straight, &config, &watch, &whole);
	for (int i = 0; i < count; i++) {
		struct gn_error err = {0};
		struct watch part = {.stop_at = stops[i]};

		assert_int_equal(train(broken, &config, &part, &parts, &err), -1);
		assert_int_equal(err.code, GN_CANCELLED);
		assert_int_equal(part.went_on, i > 0);
	}
	watch = (struct watch){0};
	must_train(broken, &config, &watch, &parts);
	assert_true(watch.went_on);
	assert_same_result(straight, broken);
	assert_true(whole.val_accuracy == parts.val_accuracy && whole.train_loss == parts.train_loss &&
	            whole.best_epoch == parts.best_epoch);
	assert_int_equal(whole.images, parts.images);
	free(straight);
	free(broken);
}

static void test_resume(void **state)
{
	struct gn_run_config config = toy_config(GN_FULL);
	static const int64_t stops[] = {
	    /* in the middle, at the end of an epoch of 7 steps, and at the next one's end */
	    2, 7, 14};

	(void)state;
	check_resume(config, stops, 3);
	config.augment = GN_AUGMENT_STANDARD;
	check_resume(config, stops, 3);
	config = toy_config(GN_LAST_THIRD);
	config.micro_batch_size = 3;
	check_resume(config, stops, 3);
	config.strategy.kind = GN_LINEAR;
	config.optimizer = GN_SGD;
	check_resume(config, stops, 3);
}

static void test_same_seed_same_bits(void **state)
{
	struct gn_run_config config = toy_config(GN_ATTENTION);
	struct gn_train_result result;
	struct watch watch = {0};
	char *a = new_run_folder(), *b = new_run_folder(), *c = new_run_folder();
	size_t na, nc;

	(void)state;
	must_train(a, &config, &watch, &result);
	must_train(b, &config, &watch, &result);
	assert_same_result(a, b);
	config.seed = 2;
	must_train(c, &config, &watch, &result);
	char *x = read_result(a, &na), *y = read_result(c, &nc);
	assert_true(na != nc || memcmp(x, y, na) != 0);
	free(x);
	free(y);
	free(a);
	free(b);
	free(c);
}

/* Micro-batches sum the same gradients in another order: the same curve except for float32
 * rounding, which three epochs amplify. */
static void test_micro_batches(void **state)
{
	struct gn_run_config config = toy_config(GN_FULL);
	struct gn_train_result result;
	struct watch whole = {0}, parts = {0};
	char *a = new_run_folder(), *b = new_run_folder();

	(void)state;
	config.class_weights = GN_WEIGHTS_BALANCED;
	config.label_smoothing = 0.1;
	must_train(a, &config, &whole, &result);
	config.micro_batch_size = 3;
	must_train(b, &config, &parts, &result);
	for (int i = 0; i < 3; i++) {
		print_message("epoch %d: %.7f and %.7f\n", i + 1, whole.epoch_loss[i], parts.epoch_loss[i]);
		assert_true(fabs(whole.epoch_loss[i] - parts.epoch_loss[i]) <= 1e-3 * whole.epoch_loss[i]);
	}
	free(a);
	free(b);
}

/* The kept prefix changes nothing but rounding: one epoch's run has no cache, three epochs' first
 * epoch has. */
static void test_prefix_cache(void **state)
{
	struct gn_run_config config = toy_config(GN_LAST_THIRD);
	struct gn_train_result result;
	struct watch cached = {0}, plain = {0};
	char *a = new_run_folder(), *b = new_run_folder();

	(void)state;
	config.schedule = GN_CONSTANT;
	config.warmup_steps = 0;
	must_train(a, &config, &cached, &result);
	config.epochs = 1;
	must_train(b, &config, &plain, &result);
	print_message("first epoch: %.7f kept, %.7f computed\n", cached.epoch_loss[0], plain.epoch_loss[0]);
	assert_true(fabs(cached.epoch_loss[0] - plain.epoch_loss[0]) <= 1e-4 * plain.epoch_loss[0]);
	free(a);
	free(b);
}

static void test_early_stop(void **state)
{
	struct gn_run_config config = toy_config(GN_LINEAR);
	struct gn_train_result result;
	struct watch watch = {0};
	char *folder = new_run_folder();

	(void)state;
	config.lr = 1e-9; /* nothing gets better */
	config.epochs = 16;
	config.early_stop_epochs = 2;
	must_train(folder, &config, &watch, &result);
	assert_true(watch.val_accuracy[0] == watch.val_accuracy[2]);
	assert_int_equal(result.epochs_done, 3);
	assert_int_equal(watch.epochs, 3);
	free(folder);
}

static void test_another_size(void **state)
{
	struct gn_run_config config = toy_config(GN_ATTENTION);
	struct gn_train_result result;
	struct gn_error err = {0};
	struct watch watch = {0};
	struct gn_model *tuned;
	char *folder = new_run_folder(), path[600];

	(void)state;
	config.image_size = 24;
	must_train(folder, &config, &watch, &result);
	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	assert_int_equal(gn_model_open(&tuned, path, toy.model, &err), 0);
	assert_int_equal(tuned->arch.image_size, 24);
	int position = gn_layout_find(&tuned->layout, GN_POS_EMBED, -1);
	assert_true(tuned->own[position]);
	assert_int_equal(tuned->layout.tensors[position].numel, (36 + 1) * 32);
	assert_int_equal(tuned->label_count, 3);
	assert_string_equal(tuned->labels[2], "class-02");
	gn_model_close(tuned);
	free(folder);
}

static void test_refuses(void **state)
{
	struct gn_run_config config = toy_config(GN_FULL), other;
	struct gn_train_result result;
	struct watch watch = {.stop_at = 3};
	struct gn_error err = {0};
	char *folder = new_run_folder(), path[600];

	(void)state;
	assert_int_equal(train(folder, &config, &watch, &result, &err), -1);
	/* the checkpoint of another configuration */
	other = config;
	other.lr = 2e-3;
	watch = (struct watch){0};
	err = (struct gn_error){0};
	assert_int_equal(train(folder, &other, &watch, &result, &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
	/* a checkpoint that is cut off */
	snprintf(path, sizeof path, "%s/checkpoint.bin", folder);
	assert_int_equal(truncate(path, 5000), 0);
	err = (struct gn_error){0};
	assert_int_equal(train(folder, &config, &watch, &result, &err), -1);
	assert_int_equal(err.code, GN_MALFORMED);
	assert_string_equal(err.where, "checkpoint.bin");
	assert_int_equal(truncate(path, 10), 0);
	err = (struct gn_error){0};
	assert_int_equal(train(folder, &config, &watch, &result, &err), -1);
	assert_int_equal(err.code, GN_MALFORMED);
	free(folder);
	/* a rate at which the loss leaves the numbers */
	folder = new_run_folder();
	config.lr = 1e30;
	config.clip_norm = 0;
	config.warmup_steps = 0;
	err = (struct gn_error){0};
	assert_int_equal(train(folder, &config, &watch, &result, &err), -1);
	assert_string_equal(err.where, "lr");
	free(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_learns),        cmocka_unit_test(test_frozen_is_frozen),
	    cmocka_unit_test(test_resume),        cmocka_unit_test(test_same_seed_same_bits),
	    cmocka_unit_test(test_micro_batches), cmocka_unit_test(test_prefix_cache),
	    cmocka_unit_test(test_early_stop),    cmocka_unit_test(test_another_size),
	    cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
