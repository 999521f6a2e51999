// The model pool and the classifier: shared bases, eviction, forgetting, and batches over threads
// with the same results as single images.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <math.h>
#include <pthread.h>

#include <cmocka.h>

#include "server/classifier/classifier.h"
#include "server/store/store.h"
#include "tests/support/client.h"
#include "tests/support/pictures.h"

enum { THREADS = 8, IMAGES = 24, CLASSES = 5 };

static struct {
	struct gn_store *store;
	struct gn_metrics *metrics;
	struct gn_device *device;
	struct gn_classifier *classifier;
} service;
static char folder[128];

static const struct gn_arch ARCH = {
    .image_size = 16,
    .patch_size = 8,
    .dim = 16,
    .depth = 2,
    .heads = 2,
    .mlp_dim = 32,
    .classes = CLASSES,
    .pool = GN_POOL_CLS,
    .norm_eps = 1e-6F,
    .class_token = true,
    .pos_on_prefix = true,
    .qkv_bias = true,
    .patch_bias = true,
};

// Moves the staged model into the store; its id.
static void add(const char *staged, const char *base, char id[GN_ID_SIZE])
{
	struct gn_row row = {.fields = json_object()};
	struct gn_error err = {0};

	snprintf(row.base, sizeof row.base, "%s", base);
	assert_int_equal(gn_store_add(service.store, GN_KIND_MODEL, staged, &row, &err), 0);
	snprintf(id, GN_ID_SIZE, "%s", row.id);
	gn_row_release(&row);
}

static void stage(char staged[PATH_MAX], char path[PATH_MAX])
{
	struct gn_error err = {0};

	assert_int_equal(gn_store_stage(service.store, staged, &err), 0);
	snprintf(path, PATH_MAX, "%.4000s/model.safetensors", staged);
}

static void add_base(uint64_t seed, char id[GN_ID_SIZE])
{
	char staged[PATH_MAX], path[PATH_MAX];
	struct gn_error err = {0};

	stage(staged, path);
	assert_int_equal(gn_model_write_random(path, &ARCH, seed, NULL, NULL, NULL, &err), 0);
	add(staged, "", id);
}

// A tuned model of base: another head, filled with value, and with it block `block` has another
// second layer (-1: none has).
static void add_tuned_block(const char *base, float value, int block, char id[GN_ID_SIZE])
{
	struct gn_modelpool *pool = gn_classifier_pool(service.classifier);
	char staged[PATH_MAX], path[PATH_MAX];
	const float *tensors[256] = {0};
	float weights[CLASSES * 16];
	struct gn_error err = {0};
	struct gn_open_model *opened;

	assert_int_equal(gn_modelpool_hold(pool, base, &opened, &err), 0);
	const struct gn_model *model = opened->model;
	for (int i = 0; i < CLASSES * 16; i++)
		weights[i] = value * (float)(i % 7 - 3);
	float hidden[16 * 32];
	for (int i = 0; i < 16 * 32; i++)
		hidden[i] = value * (float)(i % 5 - 2);
	tensors[gn_layout_find(&model->layout, GN_HEAD_W, -1)] = weights;
	if (block >= 0)
		tensors[gn_layout_find(&model->layout, GN_FC2_W, block)] = hidden;
	stage(staged, path);
	const struct gn_model_parts parts = {.arch = &model->arch,
	                                     .preprocess = &model->preprocess,
	                                     .scheme = model->scheme,
	                                     .pos_resample = model->pos_resample,
	                                     .layout = &model->layout,
	                                     .tensors = tensors};
	assert_int_equal(gn_model_write(path, &parts, &err), 0);
	gn_modelpool_drop(pool, opened);
	add(staged, base, id);
}

static void add_tuned(const char *base, float value, char id[GN_ID_SIZE])
{
	add_tuned_block(base, value, -1, id);
}

static void start(uint64_t memory)
{
	struct gn_classifier_options options = {
	    .max_pixels = 1 << 20, .batch_max = 6, .batch_wait_ms = 2, .model_memory = memory};
	struct gn_error err = {0};

	memset(&service, 0, sizeof service);
	temporary_folder(folder, sizeof folder);
	assert_int_equal(gn_store_open(&service.store, folder, 0, &err), 0);
	assert_int_equal(gn_metrics_new(&service.metrics, &err), 0);
	assert_int_equal(gn_device_open(&service.device, "cpu", 1, GN_PRECISION_AUTO, &err), 0);
	options.store = service.store;
	options.metrics = service.metrics;
	options.device = service.device;
	assert_int_equal(gn_classifier_new(&service.classifier, &options, &err), 0);
}

static void stop(void)
{
	gn_classifier_free(service.classifier);
	gn_device_close(service.device);
	gn_metrics_free(service.metrics);
	gn_store_close(service.store);
	temporary_remove(folder);
}

static void test_bases_are_shared(void **state)
{
	char base[GN_ID_SIZE], tuned[2][GN_ID_SIZE];
	struct gn_open_model *a, *b;
	struct gn_error err = {0};
	int models;

	(void)state;
	start(1 << 30);
	struct gn_modelpool *pool = gn_classifier_pool(service.classifier);
	add_base(1, base);
	add_tuned(base, 0.1F, tuned[0]);
	add_tuned(base, 0.2F, tuned[1]);
	assert_int_equal(gn_modelpool_hold(pool, tuned[0], &a, &err), 0);
	assert_int_equal(gn_modelpool_hold(pool, tuned[1], &b, &err), 0);
	int qkv = gn_layout_find(&a->model->layout, GN_QKV_W, 1),
	    head = gn_layout_find(&a->model->layout, GN_HEAD_W, -1);
	assert_ptr_equal(a->base, b->base);
	assert_ptr_equal(a->model->tensors[qkv], b->model->tensors[qkv]);
	assert_ptr_not_equal(a->model->tensors[head], b->model->tensors[head]);
	gn_modelpool_bytes(pool, &models);
	assert_int_equal(models, 3);
	gn_modelpool_drop(pool, a);
	gn_modelpool_drop(pool, b);
	assert_int_equal(gn_modelpool_hold(pool, "mdl_0000000000000000", &a, &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
	stop();
}

static void test_eviction_and_forgetting(void **state)
{
	char base[GN_ID_SIZE], other[GN_ID_SIZE], tuned[GN_ID_SIZE];
	struct gn_open_model *opened, *second;
	struct gn_error err = {0};
	int models;

	(void)state;
	start(1);
	struct gn_modelpool *pool = gn_classifier_pool(service.classifier);
	add_base(1, base);
	add_base(2, other);
	add_tuned(base, 0.1F, tuned);
	// nothing stays open that nobody holds, and what is held stays, with its base
	assert_int_equal(gn_modelpool_hold(pool, tuned, &opened, &err), 0);
	assert_int_equal(gn_modelpool_hold(pool, other, &second, &err), 0);
	gn_modelpool_drop(pool, second);
	gn_modelpool_bytes(pool, &models);
	assert_int_equal(models, 2);
	gn_modelpool_forget(pool, tuned);
	assert_int_equal(gn_modelpool_hold(pool, base, &second, &err), 0);
	gn_modelpool_drop(pool, second);
	assert_true(opened->model->layout.count > 0);
	gn_modelpool_drop(pool, opened);
	gn_modelpool_bytes(pool, &models);
	assert_int_equal(models, 0);
	stop();
}

// A model that is open is found by id and by name without the store: in the end its row is gone,
// and nobody has told the pool.
static void test_names(void **state)
{
	char base[GN_ID_SIZE], other[GN_ID_SIZE];
	struct gn_open_model *held, *again;
	struct gn_error err = {0};
	uint64_t freed;

	(void)state;
	start(1);
	struct gn_modelpool *pool = gn_classifier_pool(service.classifier);
	add_base(1, base);
	assert_int_equal(gn_store_rename(service.store, GN_KIND_MODEL, base, "pets", &err), 0);
	assert_int_equal(gn_modelpool_hold_named(pool, "pest", &held, &err), -1);
	assert_int_equal(err.code, GN_NOT_FOUND);
	assert_int_equal(gn_modelpool_hold_named(pool, "pets", &held, &err), 0);
	assert_string_equal(held->id, base);

	// a new name, and another model with the old one
	assert_int_equal(gn_store_rename(service.store, GN_KIND_MODEL, base, "cats", &err), 0);
	gn_modelpool_renamed(pool);
	add_base(2, other);
	assert_int_equal(gn_store_rename(service.store, GN_KIND_MODEL, other, "pets", &err), 0);
	assert_int_equal(gn_modelpool_hold_named(pool, "pets", &again, &err), 0);
	assert_string_equal(again->id, other);
	gn_modelpool_drop(pool, again);
	assert_int_equal(gn_modelpool_hold_named(pool, "cats", &again, &err), 0);
	assert_ptr_equal(again, held);
	gn_modelpool_drop(pool, again);

	assert_int_equal(gn_store_delete(service.store, GN_KIND_MODEL, base, &freed, &err), 0);
	for (int by_name = 0; by_name < 2; by_name++) {
		assert_int_equal(gn_modelpool_hold_named(pool, by_name ? "cats" : base, &again, &err), 0);
		assert_ptr_equal(again, held);
		gn_modelpool_drop(pool, again);
	}
	gn_modelpool_forget(pool, base);
	assert_int_equal(gn_modelpool_hold_named(pool, "cats", &again, &err), -1);
	gn_modelpool_drop(pool, held);
	stop();
}

// What one thread asks for: the same images, of two models in turn.
struct asker {
	const char *ids[2];
	const struct blob *images;
	float (*wanted)[IMAGES][CLASSES]; // [2]; NULL: fill `found` only
	float found[2][IMAGES][CLASSES];
	int number, bad;
};

static void ask(struct asker *asker, int model, int image)
{
	struct gn_modelpool *pool = gn_classifier_pool(service.classifier);
	struct gn_ticket ticket = {0};
	struct gn_error err = {0};
	struct gn_open_model *opened;

	if (gn_modelpool_hold(pool, asker->ids[model], &opened, &err)) {
		asker->bad++;
		return;
	}
	if (gn_classify_send(service.classifier, &opened, 1, asker->images[image].bytes, asker->images[image].size,
	                     &ticket, &err))
		asker->bad++;
	gn_classify_wait(service.classifier, &ticket);
	if (!ticket.sent || ticket.error.code)
		asker->bad++;
	else
		memcpy(asker->found[model][image], ticket.probabilities, sizeof asker->found[model][image]);
	gn_ticket_release(&ticket);
	gn_modelpool_drop(pool, opened);
}

static void *ask_all(void *user)
{
	struct asker *asker = user;

	for (int i = 0; i < 2 * IMAGES; i++) {
		int image = (i / 2 + asker->number) % IMAGES, model = (i + asker->number) % 2;
		ask(asker, model, image);
		for (int k = 0; asker->wanted && k < CLASSES; k++)
			asker->bad += !(fabsf(asker->found[model][image][k] - asker->wanted[model][image][k]) <= 1e-5F);
	}
	return NULL;
}

static void test_batches_give_what_single_images_give(void **state)
{
	char base[GN_ID_SIZE], tuned[GN_ID_SIZE];
	struct blob images[IMAGES];
	struct asker *alone = calloc(1, sizeof *alone), *askers = calloc(THREADS, sizeof *askers);
	pthread_t threads[THREADS];

	(void)state;
	start(1); // models are opened and closed all the time
	add_base(1, base);
	add_tuned(base, 0.3F, tuned);
	for (int i = 0; i < IMAGES; i++)
		images[i] = picture_png(20 + i, 30, i);
	*alone = (struct asker){.ids = {base, tuned}, .images = images};
	ask_all(alone);
	assert_int_equal(alone->bad, 0);
	for (int t = 0; t < THREADS; t++) {
		askers[t] = (struct asker){.ids = {base, tuned}, .images = images, .wanted = alone->found, .number = t};
		assert_int_equal(pthread_create(&threads[t], NULL, ask_all, &askers[t]), 0);
	}
	for (int t = 0; t < THREADS; t++) {
		pthread_join(threads[t], NULL);
		assert_int_equal(askers[t].bad, 0);
	}
	assert_int_equal(gn_classifier_depth(service.classifier), 0);
	for (int i = 0; i < IMAGES; i++)
		blob_release(&images[i]);
	free(alone);
	free(askers);
	stop();
}

static void test_pictures_that_are_none(void **state)
{
	char base[GN_ID_SIZE];
	struct gn_modelpool *pool;
	struct gn_ticket ticket = {0};
	struct gn_error err = {0};
	struct gn_open_model *opened;

	(void)state;
	start(1 << 30);
	pool = gn_classifier_pool(service.classifier);
	add_base(1, base);
	assert_int_equal(gn_modelpool_hold(pool, base, &opened, &err), 0);
	assert_int_equal(gn_classify_send(service.classifier, &opened, 1, "text", 4, &ticket, &err), -1);
	gn_classify_wait(service.classifier, &ticket);
	gn_ticket_release(&ticket);
	gn_modelpool_drop(pool, opened);
	stop();
}

// Several models look at one picture: each says, to the last bit, what it says alone, and the
// blocks that all share are counted.
static void test_several_models_together(void **state)
{
	char base[GN_ID_SIZE], ids[3][GN_ID_SIZE];
	struct blob image = picture_png(40, 30, 3);
	struct gn_open_model *opened[3];
	struct gn_error err = {0};

	(void)state;
	start(1 << 30);
	struct gn_modelpool *pool = gn_classifier_pool(service.classifier);
	add_base(1, base);
	for (int i = 0; i < 3; i++)
		add_tuned_block(base, 0.1F + 0.1F * (float)i, i == 2 ? 1 : -1, ids[i]);
	for (int i = 0; i < 3; i++)
		assert_int_equal(gn_modelpool_hold(pool, ids[i], &opened[i], &err), 0);
	assert_int_equal(gn_models_shared_blocks((const struct gn_model *[]){opened[0]->model, opened[1]->model}, 2),
	                 2);
	assert_int_equal(gn_models_shared_blocks(
	                     (const struct gn_model *[]){opened[0]->model, opened[1]->model, opened[2]->model}, 3),
	                 1);
	for (int count = 1; count <= 3; count++) {
		struct gn_ticket together = {0};

		assert_int_equal(
		    gn_classify_send(service.classifier, opened, count, image.bytes, image.size, &together, &err), 0);
		gn_classify_wait(service.classifier, &together);
		assert_int_equal(together.error.code, GN_OK);
		for (int i = 0; i < count; i++) {
			struct gn_ticket alone = {0};

			assert_int_equal(
			    gn_classify_send(service.classifier, &opened[i], 1, image.bytes, image.size, &alone, &err),
			    0);
			gn_classify_wait(service.classifier, &alone);
			assert_memory_equal(gn_ticket_probabilities(&together, i), alone.probabilities,
			                    CLASSES * sizeof(float));
			assert_memory_equal(together.logits + (ptrdiff_t)i * CLASSES, alone.logits,
			                    CLASSES * sizeof(float));
			gn_ticket_release(&alone);
		}
		gn_ticket_release(&together);
	}
	for (int i = 0; i < 3; i++)
		gn_modelpool_drop(pool, opened[i]);
	blob_release(&image);
	stop();
}

// N tuned models cost the base once and N deltas, in memory as on the disk: of all else there is a
// head's buffers for each.
static void test_many_models_cost_their_deltas(void **state)
{
	enum { MANY = 6 };
	char base[GN_ID_SIZE], id[GN_ID_SIZE];
	struct blob image = picture_png(40, 30, 3);
	struct gn_open_model *opened[MANY];
	struct gn_error err = {0};
	uint64_t bytes[MANY], deltas = 0, heads = 0;
	int models;

	(void)state;
	start(1 << 30);
	struct gn_modelpool *pool = gn_classifier_pool(service.classifier);
	add_base(1, base);
	for (int i = 0; i < MANY; i++) {
		struct gn_ticket ticket = {0};

		add_tuned(base, 0.1F * (float)i, id);
		assert_int_equal(gn_modelpool_hold(pool, id, &opened[i], &err), 0);
		assert_int_equal(
		    gn_classify_send(service.classifier, &opened[i], 1, image.bytes, image.size, &ticket, &err), 0);
		gn_classify_wait(service.classifier, &ticket);
		gn_ticket_release(&ticket);
		bytes[i] = gn_modelpool_bytes(pool, &models);
		deltas += opened[i]->file_bytes;
		heads += opened[i]->infer_bytes;
		assert_true(opened[i]->file_bytes < opened[0]->base->file_bytes / 4);
	}
	assert_int_equal(models, MANY + 1);
	assert_int_equal(bytes[MANY - 1],
	                 opened[0]->base->file_bytes + deltas + heads + gn_device_resident_bytes(service.device));
	for (int i = 1; i < MANY; i++)
		assert_int_equal(bytes[i] - bytes[i - 1], opened[i]->file_bytes + opened[i]->infer_bytes);
	assert_true(heads / MANY < gn_device_resident_bytes(service.device) / 4);
	for (int i = 0; i < MANY; i++)
		gn_modelpool_drop(pool, opened[i]);
	blob_release(&image);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_several_models_together),
	    cmocka_unit_test(test_many_models_cost_their_deltas),
	    cmocka_unit_test(test_bases_are_shared),
	    cmocka_unit_test(test_eviction_and_forgetting),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_batches_give_what_single_images_give),
	    cmocka_unit_test(test_pictures_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
