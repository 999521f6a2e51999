/* Soups: the average against a second way of computing it, bit for bit where it must be; greedy's promise on random sets of
 * ingredients; going on after a stop; memory; refusals. */
#include "tests/support/toy.h"

#include "random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { CLASSES = 3, IMAGES = 32, MODELS_MAX = 12 };

static struct {
	char *folder;
	struct gn_dataset *dataset;
	struct gn_model *base, *trained;
	struct gn_device *device;
	int made; /* model files and folders so far, for their names */
} toy;

static void new_path(char path[600], const char *what)
{
	snprintf(path, 600, "%s/%s-%d", toy.folder, what, toy.made++);
}

static void new_folder(char path[600])
{
	new_path(path, "soup");
	assert_int_equal(mkdir(path, 0700), 0);
}

static int set_up(void **state)
{
	struct gn_run_config config = toy_config(GN_FULL);
	struct gn_train_result result;
	struct gn_error err = {0};
	char folder[600], path[700];

	(void)state;
	toy.folder = toy_folder();
	toy.dataset = toy_dataset(toy.folder, "set", CLASSES, IMAGES);
	toy.base = toy_model(toy.folder, "base", &toy_arch, 3);
	assert_int_equal(gn_device_open(&toy.device, "cpu", 2, GN_PRECISION_AUTO, &err), 0);
	new_folder(folder);
	if (gn_train(&result,
	             &(struct gn_train_options){.device = toy.device,
	                                        .model = toy.base,
	                                        .dataset = toy.dataset,
	                                        .config = &config,
	                                        .folder = folder,
	                                        .max_pixels = 1 << 20},
	             &err))
		fail_msg("%s: %s", err.where, err.text);
	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	assert_int_equal(gn_model_open(&toy.trained, path, toy.base, &err), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	gn_model_close(toy.trained);
	gn_model_close(toy.base);
	gn_device_close(toy.device);
	gn_dataset_close(toy.dataset);
	toy_remove(toy.folder);
	return 0;
}

/* ---------------------------------------------------------------- ingredients ------------------------------------ */

struct recipe {
	uint64_t seed;
	double pull;     /* how far from the base towards the trained model */
	double noise;    /* deviation of what is added to each value */
	unsigned groups; /* bit i: blocks with block % 4 == i are tuned; the head always is */
};

static bool is_tuned(const struct gn_tensor *t, const struct recipe *recipe)
{
	return t->group == GN_GROUP_HEAD || (t->block >= 0 && recipe->groups >> (t->block % 4) & 1);
}

/* A tuned model on toy.base, opened. Caller closes. */
static struct gn_model *make_model(const struct recipe *recipe)
{
	const struct gn_model *from = toy.trained;
	const struct gn_layout *layout = &from->layout;
	float **tensors = calloc((size_t)layout->count, sizeof *tensors);
	struct gn_model *model = NULL;
	struct gn_error err = {0};
	char path[600];

	assert_non_null(tensors);
	for (int i = 0; i < layout->count; i++) {
		const struct gn_tensor *t = &layout->tensors[i];
		struct gn_random r;

		if (!is_tuned(t, recipe))
			continue;
		tensors[i] = malloc(t->numel * sizeof(float));
		assert_non_null(tensors[i]);
		gn_random_init(&r, recipe->seed, GN_RANDOM_BENCH, (uint32_t)i, 0);
		for (size_t j = 0; j < t->numel; j++) {
			double start = (double)toy.base->tensors[i][j], way = (double)from->tensors[i][j] - start;

			tensors[i][j] = (float)(start + recipe->pull * way + recipe->noise * gn_random_normal(&r));
		}
	}
	new_path(path, "model");
	if (gn_model_write(path,
	                   &(struct gn_model_parts){.arch = &from->arch,
	                                            .preprocess = &from->preprocess,
	                                            .scheme = from->scheme,
	                                            .pos_resample = from->pos_resample,
	                                            .layout = layout,
	                                            .tensors = (const float *const *)tensors,
	                                            .labels = (const char *const *)from->labels,
	                                            .label_count = from->label_count},
	                   &err) ||
	    gn_model_open(&model, path, toy.base, &err))
		fail_msg("%s: %s", err.where, err.text);
	for (int i = 0; i < layout->count; i++)
		free(tensors[i]);
	free(tensors);
	return model;
}

struct set {
	struct gn_model *models[MODELS_MAX];
	int count;
};

static void close_set(struct set *set)
{
	for (int i = 0; i < set->count; i++)
		gn_model_close(set->models[i]);
	set->count = 0;
}

/* Models of different strategies. */
static struct set different_models(int count, uint64_t seed)
{
	struct set set = {.count = count};

	for (int i = 0; i < count; i++) {
		struct gn_random r;

		gn_random_init(&r, seed, GN_RANDOM_BENCH, (uint32_t)i, 1);
		set.models[i] = make_model(&(struct recipe){.seed = seed * 100 + (uint64_t)i,
		                                            .pull = 0.3 + gn_random_uniform(&r),
		                                            .noise = 0.08 * gn_random_uniform(&r),
		                                            .groups = 1 + gn_random_below(&r, 15)});
	}
	return set;
}

/* ---------------------------------------------------------------- making soups ----------------------------------- */

static struct gn_soup_options options_for(enum gn_soup_method method, const struct set *set, const char *folder)
{
	return (struct gn_soup_options){.method = method,
	                                .models = (const struct gn_model *const *)set->models,
	                                .count = set->count,
	                                .folder = folder,
	                                .max_pixels = 1 << 20};
}

static struct gn_model *open_result(const char *folder)
{
	struct gn_model *model;
	struct gn_error err = {0};
	char path[700];

	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	if (gn_model_open(&model, path, toy.base, &err))
		fail_msg("%s: %s", err.where, err.text);
	return model;
}

/* A soup without a data set, opened; caller closes. */
static struct gn_model *mix(enum gn_soup_method method, const struct set *set, const double *weights)
{
	struct gn_soup_result result;
	struct gn_error err = {0};
	char folder[600];

	new_folder(folder);
	struct gn_soup_options options = options_for(method, set, folder);
	options.weights = weights;
	if (gn_soup_make(&result, &options, &err))
		fail_msg("%s: %s", err.where, err.text);
	assert_true(isnan(result.val_accuracy) && isnan(result.ingredients[0].val_accuracy));
	gn_soup_result_release(&result);
	return open_result(folder);
}

static void assert_same_bits(const struct gn_model *a, const struct gn_model *b, bool same_delta)
{
	assert_int_equal(a->layout.count, b->layout.count);
	for (int i = 0; i < a->layout.count; i++) {
		const struct gn_tensor *t = &a->layout.tensors[i];

		if (same_delta)
			assert_int_equal(a->own[i], b->own[i]);
		if (memcmp(a->tensors[i], b->tensors[i], t->numel * sizeof(float)))
			fail_msg("%s differs", t->name);
	}
}

static void test_one_model_is_itself(void **state)
{
	struct set set = {.models = {make_model(&(struct recipe){7, 1, 0.01, 5})}, .count = 1};
	static const double weight = 0.3;

	(void)state;
	/* a zero with a sign is a value like any other */
	int head = gn_layout_find(&set.models[0]->layout, GN_HEAD_B, -1);
	float bias[CLASSES] = {-0.0f, 1e-42f, 3.0f};
	set.models[0]->tensors[head] = bias;
	set.models[0]->own[head] = false; /* not in the file's map */
	struct gn_model *uniform = mix(GN_SOUP_UNIFORM, &set, NULL), *weighted = mix(GN_SOUP_WEIGHTED, &set, &weight);
	assert_true(uniform->own[head]);
	assert_same_bits(uniform, set.models[0], false);
	assert_same_bits(weighted, uniform, true);
	struct set copies = {.models = {set.models[0], set.models[0], set.models[0]}, .count = 3};
	struct gn_model *thrice = mix(GN_SOUP_UNIFORM, &copies, NULL);
	assert_same_bits(thrice, uniform, true);
	gn_model_close(thrice);
	gn_model_close(uniform);
	gn_model_close(weighted);
	close_set(&set);
}

/* Relative difference; a mean so small that terms have cancelled to below a millionth is held to 1e-13 in all. */
static double off_by(float found, long double wanted)
{
	return fabs((double)((long double)found - wanted)) / fmax(fabs((double)wanted), 1e-6);
}

/* The mean in long double, value by value, with frozen tensors read from the base. */
static void test_mean_of_all(void **state)
{
	struct set set = different_models(5, 2);
	static const double weights[5] = {1, 0, 2.5, 0.25, 3};
	struct gn_model *uniform = mix(GN_SOUP_UNIFORM, &set, NULL), *weighted = mix(GN_SOUP_WEIGHTED, &set, weights);
	double worst = 0;

	(void)state;
	for (int i = 0; i < uniform->layout.count; i++)
		for (size_t j = 0; j < uniform->layout.tensors[i].numel; j++) {
			long double sum = 0, heavy = 0;

			for (int m = 0; m < set.count; m++) {
				sum += (long double)set.models[m]->tensors[i][j];
				heavy += (long double)weights[m] * (long double)set.models[m]->tensors[i][j];
			}
			worst = fmax(worst, off_by(uniform->tensors[i][j], sum / 5));
			worst = fmax(worst, off_by(weighted->tensors[i][j], heavy / 6.75L));
		}
	print_message("largest difference: %.2e of the value\n", worst);
	assert_true(worst <= 6e-8); /* half a unit in the last place of float32 */
	gn_model_close(uniform);
	gn_model_close(weighted);
	close_set(&set);
}

static void test_what_stays_out(void **state)
{
	struct set set = {.models = {make_model(&(struct recipe){1, 1, 0.01, 1}),
	                             make_model(&(struct recipe){2, 1, 0.01, 4}),
	                             make_model(&(struct recipe){3, 0, 0, 15})},
	                  .count = 3};
	struct gn_model *soup = mix(GN_SOUP_UNIFORM, &set, NULL);

	(void)state;
	for (int i = 0; i < soup->layout.count; i++) {
		const struct gn_tensor *t = &soup->layout.tensors[i];
		/* the third model's file holds every block, but with the base's own values */
		bool tuned = t->group == GN_GROUP_HEAD || t->block == 0 || t->block == 2;

		if (soup->own[i] != tuned)
			fail_msg("%s is %s the delta", t->name, tuned ? "not in" : "in");
	}
	gn_model_close(soup);
	close_set(&set);
}

static void test_order_does_not_matter(void **state)
{
	struct set set = different_models(6, 9), turned = {.count = 6};
	static const double weights[6] = {0.1, 0.7, 0.3, 0.9, 0.2, 0.6};
	double turned_weights[6];

	(void)state;
	for (int i = 0; i < 6; i++) {
		turned.models[i] = set.models[(i * 5 + 2) % 6];
		turned_weights[i] = weights[(i * 5 + 2) % 6];
	}
	struct gn_model *a = mix(GN_SOUP_UNIFORM, &set, NULL), *b = mix(GN_SOUP_UNIFORM, &turned, NULL);
	assert_same_bits(a, b, true);
	gn_model_close(a);
	gn_model_close(b);
	a = mix(GN_SOUP_WEIGHTED, &set, weights);
	b = mix(GN_SOUP_WEIGHTED, &turned, turned_weights);
	assert_same_bits(a, b, true);
	gn_model_close(a);
	gn_model_close(b);
	close_set(&set);
}

/* ---------------------------------------------------------------- greedy ----------------------------------------- */

static double accuracy_of(const struct gn_model *model)
{
	struct gn_evaluation_report report;
	struct gn_error err = {0};
	double accuracy;

	if (gn_evaluate_model(&report,
	                      &(struct gn_evaluate_options){.device = toy.device,
	                                                    .model = model,
	                                                    .dataset = toy.dataset,
	                                                    .split = GN_VAL,
	                                                    .max_pixels = 1 << 20},
	                      &err))
		fail_msg("%s: %s", err.where, err.text);
	accuracy = report.accuracy;
	gn_evaluation_report_release(&report);
	return accuracy;
}

static struct gn_soup_options measured(enum gn_soup_method method, const struct set *set, const char *folder)
{
	struct gn_soup_options options = options_for(method, set, folder);

	options.dataset = toy.dataset;
	options.device = toy.device;
	return options;
}

/* The result is the uniform soup of what was kept, has the accuracy that is reported, and is not below the best. */
static void check_greedy(const struct set *set, int *kept, int *above)
{
	struct set chosen = {0};
	struct gn_soup_result result;
	struct gn_error err = {0};
	char folder[600], path[700];
	double best = 0;

	new_folder(folder);
	struct gn_soup_options options = measured(GN_SOUP_GREEDY, set, folder);
	if (gn_soup_make(&result, &options, &err))
		fail_msg("%s: %s", err.where, err.text);
	for (int i = 0; i < set->count; i++) {
		const struct gn_soup_ingredient *in = &result.ingredients[i];

		assert_true(in->val_accuracy == accuracy_of(set->models[i]));
		assert_true(in->kept == (in->weight > 0));
		best = fmax(best, in->val_accuracy);
		if (in->kept) {
			chosen.models[chosen.count++] = set->models[i];
			assert_true(fabs(in->weight * result.kept - 1) <= 1e-15);
		}
	}
	assert_int_equal(chosen.count, result.kept);
	assert_true(result.kept >= 1);
	assert_true(result.val_accuracy >= best);
	struct gn_model *soup = open_result(folder), *uniform = mix(GN_SOUP_UNIFORM, &chosen, NULL);
	assert_same_bits(soup, uniform, true);
	assert_true(accuracy_of(soup) == result.val_accuracy);
	snprintf(path, sizeof path, "%s/candidate.safetensors", folder);
	assert_int_equal(access(path, F_OK), -1);
	*kept += result.kept;
	*above += result.val_accuracy > best;
	gn_model_close(soup);
	gn_model_close(uniform);
	gn_soup_result_release(&result);
}

static void test_greedy_on_random_sets(void **state)
{
	int models = 0, kept = 0, above = 0;

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct set set = different_models(2 + i % 5, 1000 + (uint64_t)i);

		models += set.count;
		check_greedy(&set, &kept, &above);
		close_set(&set);
	}
	print_message("%d of %d models kept; better than the best ingredient in %d of 20\n", kept, models, above);
	/* the sets are not trivial: some models help and some do not */
	assert_true(kept > 20 && kept < models);
}

static void test_uniform_is_measured(void **state)
{
	struct set set = different_models(3, 5);
	struct gn_soup_result result;
	struct gn_error err = {0};
	char folder[600];

	(void)state;
	new_folder(folder);
	struct gn_soup_options options = measured(GN_SOUP_UNIFORM, &set, folder);
	assert_int_equal(gn_soup_make(&result, &options, &err), 0);
	struct gn_model *soup = open_result(folder);
	assert_true(result.val_accuracy == accuracy_of(soup));
	assert_true(result.ingredients[2].val_accuracy == accuracy_of(set.models[2]));
	assert_int_equal(result.kept, 3);
	gn_model_close(soup);
	gn_soup_result_release(&result);
	close_set(&set);
}

/* ---------------------------------------------------------------- going on --------------------------------------- */

struct watch {
	volatile int stop;
	int stop_after, steps, last_done, total;
};

static void watch_progress(void *user, const struct gn_soup_progress *progress)
{
	struct watch *watch = user;

	assert_true(progress->done > watch->last_done && progress->done <= progress->total);
	watch->last_done = progress->done;
	watch->total = progress->total;
	if (++watch->steps == watch->stop_after)
		watch->stop = 1;
}

/* Stopped after every single step, the soup ends as if never stopped. */
static void test_goes_on(void **state)
{
	struct set set = different_models(4, 77);
	struct gn_soup_result straight, resumed;
	struct gn_error err = {0};
	char folder[600], broken[600];
	int attempts = 0, failed;

	(void)state;
	new_folder(folder);
	new_folder(broken);
	struct gn_soup_options options = measured(GN_SOUP_GREEDY, &set, folder);
	struct watch watch = {0};
	options.on_progress = watch_progress;
	options.user = &watch;
	assert_int_equal(gn_soup_make(&straight, &options, &err), 0);
	assert_int_equal(watch.last_done, watch.total);
	assert_int_equal(watch.total, 4 + 3 + 1);
	options.folder = broken;
	options.stop = &watch.stop;
	do {
		watch = (struct watch){.stop_after = ++attempts};
		err = (struct gn_error){0};
		failed = gn_soup_make(&resumed, &options, &err);
		assert_true(!failed || err.code == GN_CANCELLED);
	} while (failed && attempts < 20);
	print_message("done at attempt %d\n", attempts);
	assert_true(attempts > 3 && attempts < 10);
	assert_true(resumed.val_accuracy == straight.val_accuracy && resumed.kept == straight.kept);
	struct gn_model *a = open_result(folder), *b = open_result(broken);
	assert_same_bits(a, b, true);
	gn_model_close(a);
	gn_model_close(b);
	gn_soup_result_release(&straight);
	gn_soup_result_release(&resumed);
	close_set(&set);
}

static void test_state_of_another_soup(void **state)
{
	struct set set = different_models(3, 31), other = different_models(3, 32);
	struct gn_soup_result result;
	struct gn_error err = {0};
	char folder[600], path[700];

	(void)state;
	new_folder(folder);
	struct gn_soup_options options = measured(GN_SOUP_GREEDY, &set, folder);
	assert_int_equal(gn_soup_make(&result, &options, &err), 0);
	gn_soup_result_release(&result);
	options.models = (const struct gn_model *const *)other.models;
	assert_int_equal(gn_soup_make(&result, &options, &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
	assert_string_equal(err.where, "soup.bin");
	snprintf(path, sizeof path, "%s/soup.bin", folder);
	options.models = (const struct gn_model *const *)set.models;
	for (off_t size = 130; size > 0; size -= 60) { /* cut in a measurement, in the header, and in the magic */
		assert_int_equal(truncate(path, size), 0);
		err = (struct gn_error){0};
		assert_int_equal(gn_soup_make(&result, &options, &err), -1);
		assert_int_equal(err.code, GN_MALFORMED);
		assert_string_equal(err.where, "soup.bin");
	}
	close_set(&set);
	close_set(&other);
}

/* ---------------------------------------------------------------- memory ----------------------------------------- */

/* The process's largest resident size in bytes; reset starts the count again. */
static long peak(bool reset)
{
	char line[256];
	long kib = 0;
	FILE *f = fopen(reset ? "/proc/self/clear_refs" : "/proc/self/status", reset ? "w" : "r");

	if (!f)
		return 0;
	if (reset)
		fputs("5", f);
	while (!reset && fgets(line, sizeof line, f))
		if (sscanf(line, "VmHWM: %ld kB", &kib) == 1)
			break;
	fclose(f);
	return kib * 1024;
}

static long peak_of_a_soup(struct gn_model *base, const char *tuned, int count)
{
	struct set set = {.count = count};
	struct gn_soup_result result;
	struct gn_error err = {0};
	char folder[600];

	for (int i = 0; i < count; i++)
		assert_int_equal(gn_model_open(&set.models[i], tuned, base, &err), 0);
	new_folder(folder);
	struct gn_soup_options options = options_for(GN_SOUP_UNIFORM, &set, folder);
	peak(true);
	assert_int_equal(gn_soup_make(&result, &options, &err), 0);
	gn_soup_result_release(&result);
	close_set(&set);
	return peak(false);
}

static void test_memory(void **state)
{
	struct gn_arch arch = toy_arch;
	struct gn_error err = {0};
	struct gn_model *base;
	char path[600];

	(void)state;
	arch.dim = 384;
	arch.mlp_dim = 1536;
	base = toy_model(toy.folder, "large", &arch, 1);
	new_path(path, "large-tuned");
	assert_int_equal(gn_model_write_random(path, &arch, 2, NULL, &err), 0);
	long model = (long)(base->layout.parameters * sizeof(float));
	long few = peak_of_a_soup(base, path, 2), many = peak_of_a_soup(base, path, MODELS_MAX);
	print_message("a model of %.1f MB: peak %.1f MB with 2, %.1f MB with %d\n", (double)model / 1e6,
	              (double)few / 1e6, (double)many / 1e6, MODELS_MAX);
	/* ten more models would be 290 MB; what grows is the open models' names and the pages that pieces share */
	assert_true(many - few < model / 4);
	gn_model_close(base);
}

/* ---------------------------------------------------------------- refusals --------------------------------------- */

static void assert_refused(const struct gn_soup_options *options, const char *where, const char *text)
{
	struct gn_soup_result result = {0};
	struct gn_error err = {0};

	assert_int_equal(gn_soup_check(options, &err), -1);
	assert_int_equal(err.code, GN_INVALID);
	assert_string_equal(err.where, where);
	if (!strstr(err.text, text))
		fail_msg("'%s' is not in '%s'", text, err.text);
	assert_int_equal(gn_soup_make(&result, options, NULL), -1);
	assert_null(result.ingredients);
}

static void test_refuses_models(void **state)
{
	static const char *const names[2] = {"first", "second"};
	struct set set = different_models(2, 4);
	struct gn_soup_options options = options_for(GN_SOUP_UNIFORM, &set, toy.folder);
	struct gn_model *mine = set.models[1], twin = *toy.base, changed;
	char *labels[CLASSES] = {mine->labels[0], mine->labels[1], (char *)(uintptr_t) "spaniel"};

	(void)state;
	set.models[1] = &changed;
	options.names = names;
	changed = *toy.base;
	assert_refused(&options, "/models/1", "second is a base model");
	changed = *mine;
	changed.base = &twin;
	assert_refused(&options, "/models/1", "second and first were not tuned from the same base");
	changed = *mine;
	changed.arch.classes = 5;
	assert_refused(&options, "/models/1", "second has classes: 5, first has 3");
	changed = *mine;
	changed.arch.image_size = 24;
	assert_refused(&options, "/models/1", "image_size 24");
	changed = *mine;
	changed.labels = labels;
	assert_refused(&options, "/models/1", "class 2 of second is \"spaniel\", of first \"class-02\"");
	changed = *mine;
	changed.preprocess.mean[1] += 0.1f;
	assert_refused(&options, "/models/1", "preprocessing");
	changed = *mine;
	changed.layout.count--;
	assert_refused(&options, "/models/1", "differ in tensor head.bias");
	options.names = NULL;
	assert_refused(&options, "/models/1", "models/1 and models/0");
	set.models[1] = mine;
	close_set(&set);
}

static void test_refuses_options(void **state)
{
	struct set set = different_models(2, 4);
	struct gn_soup_options options = options_for(GN_SOUP_GREEDY, &set, toy.folder);
	double weights[2] = {0, 0};

	(void)state;
	assert_refused(&options, "/dataset", "is required");
	options.method = GN_SOUP_UNIFORM;
	options.weights = weights;
	assert_refused(&options, "/weights", "only the method weighted");
	options.method = GN_SOUP_WEIGHTED;
	assert_refused(&options, "/weights", "all 0");
	weights[1] = -1;
	assert_refused(&options, "/weights/1", "between 0 and 1e9");
	weights[1] = NAN;
	assert_refused(&options, "/weights/1", "between 0 and 1e9");
	weights[1] = 1e-300;
	assert_refused(&options, "/weights/1", "at least 1e-9");
	options.weights = NULL;
	assert_refused(&options, "/weights", "needs a weight");
	options.method = GN_SOUP_UNIFORM;
	options.count = 0;
	assert_refused(&options, "/models", "1 to 128");
	options.count = GN_SOUP_MODELS_MAX + 1;
	assert_refused(&options, "/models", "1 to 128");
	assert_int_equal(gn_soup_method_from_name("greedy"), GN_SOUP_GREEDY);
	assert_int_equal(gn_soup_method_from_name("thin"), -1);
	close_set(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one_model_is_itself),
	    cmocka_unit_test(test_mean_of_all),
	    cmocka_unit_test(test_what_stays_out),
	    cmocka_unit_test(test_order_does_not_matter),
	    cmocka_unit_test(test_greedy_on_random_sets),
	    cmocka_unit_test(test_uniform_is_measured),
	    cmocka_unit_test(test_goes_on),
	    cmocka_unit_test(test_state_of_another_soup),
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_refuses_models),
	    cmocka_unit_test(test_refuses_options),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
