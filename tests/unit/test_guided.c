/* Guided runs: running the phases one by one gives the same model, and an interruption in any phase
 * changes nothing. */
#include "support/toy.h"

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

/* ---------------------------------------------------------------- runs that are watched ------- */

struct watch {
	const char *stop_in; /* phase; NULL: never */
	int64_t stop_at;     /* step of it */
	volatile int stop;
	char phases[64]; /* first letters of the phases that started, in order */
	bool chosen, tried;
	enum gn_order order;
	char layers[512];        /* names of the chosen layers */
	struct gn_angles angles; /* of the last epoch of the probe, or of a plain run */
};

static void take_choice(struct watch *w, const struct gn_choice *choice)
{
	w->chosen = true;
	w->tried = choice->tried;
	w->order = choice->order;
	w->layers[0] = '\0';
	for (int i = 0; i < choice->selection->count; i++)
		snprintf(w->layers + strlen(w->layers), sizeof w->layers - strlen(w->layers), "%s ",
		         choice->selection->layers[i].name);
}

static void on_event(void *user, const struct gn_event *e)
{
	struct watch *w = user;

	if (e->kind == GN_EVENT_START && e->phase)
		snprintf(w->phases + strlen(w->phases), sizeof w->phases - strlen(w->phases), "%c",
		         strncmp(e->phase, "trial_", 6) ? e->phase[0] : e->phase[6]);
	if (e->kind == GN_EVENT_CHOICE)
		take_choice(w, e->choice);
	if (e->kind == GN_EVENT_ANGLES && (!e->phase || !strcmp(e->phase, "probe"))) {
		size_t bytes = (size_t)e->angles->count * sizeof *e->angles->layers;

		gn_angles_release(&w->angles);
		w->angles = (struct gn_angles){e->angles->count, malloc(bytes)};
		assert_non_null(w->angles.layers);
		memcpy(w->angles.layers, e->angles->layers, bytes);
	}
	if (w->stop_in && e->phase && !strcmp(e->phase, w->stop_in) && e->kind == GN_EVENT_STEP &&
	    e->step >= w->stop_at)
		w->stop = 1;
}

static char *new_folder(void)
{
	char *path = malloc(512);

	assert_non_null(path);
	snprintf(path, 512, "%s/run-%d", toy.folder, toy.runs++);
	assert_int_equal(mkdir(path, 0700), 0);
	return path;
}

static struct gn_train_options options_for(const char *folder, const struct gn_run_config *config, struct watch *watch)
{
	return (struct gn_train_options){.device = toy.device,
	                                 .model = toy.model,
	                                 .dataset = toy.dataset,
	                                 .config = config,
	                                 .folder = folder,
	                                 .max_pixels = 1 << 20,
	                                 .on_event = on_event,
	                                 .user = watch,
	                                 .stop = &watch->stop};
}

static int guided(const char *folder, const struct gn_run_config *config, const struct gn_guide *guide,
                  struct watch *watch, struct gn_train_result *result, struct gn_error *err)
{
	struct gn_train_options options = options_for(folder, config, watch);

	return gn_train_guided(result, &options, guide, err);
}

static void must_guide(const char *folder, const struct gn_run_config *config, const struct gn_guide *guide,
                       struct watch *watch, struct gn_train_result *result)
{
	struct gn_error err = {0};

	if (guided(folder, config, guide, watch, result, &err))
		fail_msg("%s: %s", err.where, err.text);
}

static char *load(const char *folder, size_t *size)
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

static void assert_same_model(const char *a, const char *b)
{
	size_t na, nb;
	char *x = load(a, &na), *y = load(b, &nb);

	assert_int_equal(na, nb);
	assert_memory_equal(x, y, na);
	free(x);
	free(y);
}

static bool exists(const char *folder, const char *name)
{
	char path[600];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	return access(path, F_OK) == 0;
}

static const struct gn_guide two_and_one = {
    .probe_epochs = 2, .probe_lr = 1e-3, .trial_epochs = 1, .attention_layers = 2, .ffn_layers = 1};

/* ---------------------------------------------------------------- tests ----------------------- */

static void test_phases_by_hand(void **state)
{
	struct gn_run_config config = toy_config(GN_ANGLE), probe = gn_guide_probe(&two_and_one, &config);
	struct gn_train_result result, by_hand;
	struct watch watch = {0}, plain = {0};
	struct gn_selection selection;
	struct gn_error err = {0};
	const char *names[3];
	char *a = new_folder(), *b = new_folder(), *c = new_folder();

	(void)state;
	must_guide(a, &config, &two_and_one, &watch, &result);
	assert_string_equal(watch.phases, "pt");
	assert_true(watch.chosen && !watch.tried && watch.order == GN_LARGEST);
	assert_true(exists(a, "probe.done") && !exists(a, "probe"));

	assert_int_equal(probe.strategy.kind, GN_FULL);
	assert_int_equal(probe.epochs, 2);
	struct gn_train_options options = options_for(b, &probe, &plain);
	assert_int_equal(gn_train(&by_hand, &options, &err), 0);
	assert_int_equal(plain.angles.count, watch.angles.count);
	assert_memory_equal(plain.angles.layers, watch.angles.layers,
	                    (size_t)plain.angles.count * sizeof *plain.angles.layers);
	assert_int_equal(gn_select_layers(&selection, &plain.angles, GN_LARGEST, 2, 1, &err), 0);
	assert_int_equal(selection.count, 3);
	for (int i = 0; i < 3; i++) {
		names[i] = selection.layers[i].name;
		assert_non_null(strstr(watch.layers, names[i]));
	}
	config.strategy.layers = names;
	config.strategy.layer_count = 3;
	options = options_for(c, &config, &plain);
	int64_t images = by_hand.images;
	assert_int_equal(gn_train(&by_hand, &options, &err), 0);
	assert_same_model(a, c);
	assert_true(result.val_accuracy == by_hand.val_accuracy && result.best_epoch == by_hand.best_epoch);
	assert_int_equal(result.images, images + by_hand.images);
	gn_selection_release(&selection);
	gn_angles_release(&watch.angles);
	gn_angles_release(&plain.angles);
	free(a);
	free(b);
	free(c);
}

static void test_interrupted_anywhere(void **state)
{
	static const struct {
		const char *phase;
		int64_t step;
		const char *phases; /* that the attempt starts in */
	} stops[] = {{"probe", 3, "p"},           {"probe", 14, "p"},  {"trial_largest", 2, "pl"},
	             {"trial_smallest", 7, "ls"}, {"tuning", 1, "st"}, {"tuning", 9, "t"}};
	struct gn_run_config config = toy_config(GN_ANGLE);
	struct gn_guide guide = two_and_one;
	struct gn_train_result whole, parts;
	struct watch straight = {0}, last = {0};
	char *a = new_folder(), *b = new_folder();

	(void)state;
	guide.try_both_orders = true;
	must_guide(a, &config, &guide, &straight, &whole);
	assert_string_equal(straight.phases, "plst");
	assert_true(straight.tried);
	for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
		struct watch part = {.stop_in = stops[i].phase, .stop_at = stops[i].step};
		struct gn_error err = {0};

		assert_int_equal(guided(b, &config, &guide, &part, &parts, &err), -1);
		assert_int_equal(err.code, GN_CANCELLED);
		assert_string_equal(part.phases, stops[i].phases);
		gn_angles_release(&part.angles);
	}
	must_guide(b, &config, &guide, &last, &parts);
	assert_string_equal(last.phases, "t");
	assert_same_model(a, b);
	assert_string_equal(straight.layers, last.layers);
	assert_true(whole.val_accuracy == parts.val_accuracy && whole.images == parts.images &&
	            last.order == straight.order);
	gn_angles_release(&straight.angles);
	gn_angles_release(&last.angles);
	free(a);
	free(b);
}

/* With all layers of both groups the orders do not differ. */
static void test_nothing_to_try(void **state)
{
	struct gn_run_config config = toy_config(GN_ANGLE);
	struct gn_guide guide = two_and_one;
	struct gn_train_result result;
	struct watch watch = {0};
	char *folder = new_folder();

	(void)state;
	guide.try_both_orders = true;
	guide.attention_layers = guide.ffn_layers = 4;
	must_guide(folder, &config, &guide, &watch, &result);
	assert_string_equal(watch.phases, "pt");
	assert_false(watch.tried);
	gn_angles_release(&watch.angles);
	free(folder);
}

static void test_refuses(void **state)
{
	struct gn_run_config config = toy_config(GN_ANGLE);
	struct gn_guide guide = two_and_one;
	struct gn_train_result result;
	struct watch watch = {.stop_in = "tuning", .stop_at = 1};
	struct gn_error err = {0};
	char *folder = new_folder(), path[600];

	(void)state;
	assert_int_equal(guided(folder, &config, &guide, &watch, &result, &err), -1);
	/* the record of another probe */
	guide.probe_lr = 2e-3;
	watch.stop = 0;
	err = (struct gn_error){0};
	assert_int_equal(guided(folder, &config, &guide, &watch, &result, &err), -1);
	assert_int_equal(err.code, GN_CONFLICT);
	/* a record that is cut off */
	guide.probe_lr = 1e-3;
	snprintf(path, sizeof path, "%s/probe.done", folder);
	for (long size = 4000; size >= 40; size -= 3960) {
		assert_int_equal(truncate(path, size), 0);
		err = (struct gn_error){0};
		assert_int_equal(guided(folder, &config, &guide, &watch, &result, &err), -1);
		assert_int_equal(err.code, GN_MALFORMED);
		assert_string_equal(err.where, "probe");
	}
	free(folder);
	/* more layers than there are: found when the layers are chosen */
	folder = new_folder();
	guide.ffn_layers = 5;
	err = (struct gn_error){0};
	watch.stop = 0;
	assert_int_equal(guided(folder, &config, &guide, &watch, &result, &err), -1);
	assert_string_equal(err.where, "/strategy/ffn_layers");
	gn_angles_release(&watch.angles);
	free(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_phases_by_hand),
	    cmocka_unit_test(test_interrupted_anywhere),
	    cmocka_unit_test(test_nothing_to_try),
	    cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
