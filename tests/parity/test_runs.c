/*
 * gn_train from end to end against PyTorch (golden/run.zip, golden/run.ref; see README.md): an
 * archive is ingested, a model imported, and eleven epochs of one step on all images report the
 * losses, gradient norms, accuracies and angles that torch.optim and timm give. Micro-batches of
 * four, and a frozen prefix that is kept, must change nothing.
 *
 * Tolerance: 1e-4 relative on losses and norms, as in test_steps.c. 1e-3 on angles, with a floor of
 * 0.01 degrees: a layer that only weight decay has scaled keeps its direction, and what is left is
 * the rounding of its weights (1e-6 degrees).
 */
#include "tests/support/golden_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define EPOCHS          11
#define LAYERS          6 /* at most */
#define CLASSES         7
#define IMAGES          21
#define TOLERANCE       1e-4
#define ANGLE_TOLERANCE 1e-3

static const struct gn_image_limits limits = {.max_pixels = 1000000};

struct recipe {
	const char *name;
	enum gn_strategy_kind strategy;
	enum gn_optimizer optimizer;
	enum gn_head_init head;
	double lr, label_smoothing, layer_decay;
	enum gn_class_weights class_weights;
	int image_size;    /* 0: the model's own */
	const char *model; /* NULL: timm_cls */
};
static const struct recipe recipes[] = {
    {"full", GN_FULL, GN_ADAMW, GN_HEAD_KEEP, 1e-3, 0, 1, GN_WEIGHTS_NONE, 0, NULL},
    {"attention", GN_ATTENTION, GN_ADAMW, GN_HEAD_KEEP, 1e-3, 0, 1, GN_WEIGHTS_NONE, 0, NULL},
    {"ffn_zero_head", GN_FFN, GN_ADAMW, GN_HEAD_ZERO, 1e-3, 0, 1, GN_WEIGHTS_NONE, 0, NULL},
    {"linear", GN_LINEAR, GN_ADAMW, GN_HEAD_KEEP, 1e-2, 0.1, 1, GN_WEIGHTS_NONE, 0, NULL},
    {"last_third", GN_LAST_THIRD, GN_ADAMW, GN_HEAD_KEEP, 1e-3, 0, 1, GN_WEIGHTS_NONE, 0, NULL},
    {"even", GN_EVEN, GN_ADAMW, GN_HEAD_KEEP, 1e-3, 0, 1, GN_WEIGHTS_NONE, 0, NULL},
    {"bias", GN_BIAS, GN_ADAMW, GN_HEAD_KEEP, 1e-2, 0, 1, GN_WEIGHTS_NONE, 0, NULL},
    {"norm", GN_NORM, GN_ADAMW, GN_HEAD_KEEP, 1e-2, 0, 1, GN_WEIGHTS_NONE, 0, NULL},
    {"balanced", GN_FULL, GN_ADAMW, GN_HEAD_KEEP, 1e-3, 0, 0.75, GN_WEIGHTS_BALANCED, 0, NULL},
    {"larger", GN_FULL, GN_ADAMW, GN_HEAD_KEEP, 1e-3, 0, 1, GN_WEIGHTS_NONE, 48, NULL},
    {"larger_ffn", GN_FFN, GN_ADAMW, GN_HEAD_KEEP, 1e-3, 0, 1, GN_WEIGHTS_NONE, 48, NULL},
    {"sgd", GN_FULL, GN_SGD, GN_HEAD_KEEP, 0.02, 0, 1, GN_WEIGHTS_NONE, 0, NULL},
    {"distilled", GN_FULL, GN_ADAMW, GN_HEAD_ZERO, 1e-3, 0, 1, GN_WEIGHTS_NONE, 0, "timm_deit_distilled"},
    {"distilled_linear", GN_LINEAR, GN_ADAMW, GN_HEAD_ZERO, 1e-2, 0, 1, GN_WEIGHTS_NONE, 0, "timm_deit_distilled"},
};

/* What the run said after each epoch. */
struct heard {
	/* training loss, gradient norm, validation loss, validation accuracy */
	double rows[EPOCHS][4];
	double angles[EPOCHS][LAYERS];
	int epochs, angle_epochs, layers;
};

static void hear(void *user, const struct gn_event *event)
{
	struct heard *heard = user;
	int at = event->epoch - 1;

	if (event->kind == GN_EVENT_STEP) {
		heard->rows[at][1] = event->grad_norm;
	} else if (event->kind == GN_EVENT_EPOCH) {
		heard->rows[at][0] = event->train_loss;
		heard->rows[at][2] = event->val_loss;
		heard->rows[at][3] = event->val_accuracy;
		heard->epochs++;
	} else if (event->kind == GN_EVENT_ANGLES) {
		heard->layers = event->angles->count;
		assert_true(heard->layers <= LAYERS);
		for (int i = 0; i < heard->layers; i++)
			heard->angles[at][i] = event->angles->layers[i].degrees;
		heard->angle_epochs++;
	}
}

struct bytes {
	char *data;
	size_t size, at;
};

static ssize_t read_bytes(void *user, void *buffer, size_t size)
{
	struct bytes *b = user;
	size_t n = b->size - b->at < size ? b->size - b->at : size;

	memcpy(buffer, b->data + b->at, n);
	b->at += n;
	return (ssize_t)n;
}

static struct gn_dataset *ingest(const char *folder)
{
	struct bytes archive = {0};
	struct gn_ingest_options options = {.val_fraction = 0.2,
	                                    .max_pixels = 1000000,
	                                    .max_image_bytes = 1000000,
	                                    .budget = {.total_bytes = 10000000},
	                                    .max_entries = 1000,
	                                    .threads = 1,
	                                    .read = read_bytes,
	                                    .user = &archive};
	struct gn_ingest_report report = {0};
	struct gn_dataset *dataset = NULL;
	struct gn_error err = {0};

	archive.data = golden_read("run.zip", &archive.size);
	assert_non_null(archive.data);
	if (gn_dataset_ingest(folder, &options, &report, &err) || gn_dataset_open(&dataset, folder, &err))
		fail_msg("%s: %s", err.where, err.text);
	assert_int_equal(report.rejected_count, 0);
	assert_int_equal(dataset->totals[GN_TRAIN], IMAGES);
	assert_int_equal(dataset->totals[GN_VAL], 14);
	gn_ingest_report_release(&report);
	free(archive.data);
	return dataset;
}

static int compare(const struct heard *heard, const struct golden *ref, const char *name, const char *how)
{
	const float *rows = golden_get(ref, EPOCHS * 4, "%s.epochs", name),
	            *angles = golden_get(ref, (size_t)(EPOCHS * heard->layers), "%s.angles", name);
	double worst[4] = {0}, angle = 0;
	int wrong = heard->epochs != EPOCHS || heard->angle_epochs != EPOCHS;

	for (int e = 0; e < EPOCHS; e++) {
		for (int i = 0; i < 4; i++)
			worst[i] = fmax(worst[i], fabs(heard->rows[e][i] - (double)rows[e * 4 + i]) /
			                              fmax((double)rows[e * 4 + i], 1e-2));
		for (int i = 0; i < heard->layers; i++) {
			double wanted = (double)angles[e * heard->layers + i];

			/* a frozen layer's is exactly 0 */
			wrong += wanted > 0 ? 0 : heard->angles[e][i] != 0;
			angle = fmax(angle, fabs(heard->angles[e][i] - wanted) / fmax(wanted, 1e-2));
		}
	}
	print_message("%-14s %-16s off by: training loss %.1e, gradient norm %.1e, validation loss %.1e, accuracy "
	              "%.1e, angles %.1e\n",
	              name, how, worst[0], worst[1], worst[2], worst[3], angle);
	for (int i = 0; i < 4; i++)
		wrong += !(worst[i] <= TOLERANCE);
	return wrong + !(angle <= ANGLE_TOLERANCE);
}

/* The saved model is the one of the best epoch: its validation loss, through gn_infer, is that
 * epoch's. */
static int check_saved(const struct recipe *r, const struct gn_model *base, const struct gn_dataset *dataset,
                       struct gn_device *device, const char *folder, const struct gn_train_result *result,
                       const struct heard *heard)
{
	size_t side = (size_t)(r->image_size ? r->image_size : base->arch.image_size), classes = CLASSES,
	       first = IMAGES, n = 14;
	float *images = calloc(n * 3 * side * side, sizeof *images), *logits = calloc(n * classes, sizeof *logits),
	      *p = calloc(classes, sizeof *p);
	uint8_t *pixels = malloc(side * side * 3);
	struct gn_model *tuned = NULL;
	struct gn_infer *infer = NULL;
	struct gn_error err = {0};
	double loss = 0, wanted = heard->rows[result->best_epoch - 1][2];
	char path[300];

	assert_true(images && logits && pixels && p);
	snprintf(path, sizeof path, "%s/model.safetensors", folder);
	if (gn_model_open(&tuned, path, base, &err))
		fail_msg("%s: %s", err.where, err.text);
	for (size_t i = 0; i < n; i++) {
		const struct gn_sample *s = &dataset->samples[first + i];

		assert_int_equal(gn_image_eval(pixels, dataset->pack + s->offset, s->bytes, &limits, (int)side,
		                               &tuned->preprocess, &err),
		                 0);
		gn_image_normalise(images + i * 3 * side * side, pixels, (int)side, &tuned->preprocess);
	}
	if (gn_infer_new(&infer, device, tuned, 5, &err))
		fail_msg("%s: %s", err.where, err.text);
	for (size_t i = 0; i < n; i += 5)
		assert_int_equal(gn_infer_run(infer, images + i * 3 * side * side, (int)(n - i < 5 ? n - i : 5),
		                              logits + i * classes, &err),
		                 0);
	for (size_t i = 0; i < n; i++) {
		gn_softmax(p, logits + i * classes, (int)classes);
		loss -= log((double)p[dataset->samples[first + i].label]) / (double)n;
	}
	gn_infer_free(infer);
	gn_model_close(tuned);
	free(images);
	free(logits);
	free(pixels);
	free(p);
	if (fabs(loss / wanted - 1) <= 1e-5)
		return 0;
	print_message("saved model: validation loss %.7f, but epoch %d had %.7f\n", loss, result->best_epoch, wanted);
	return 1;
}

static int run(const struct recipe *r, int micro_batch, const struct gn_model *model, const struct gn_dataset *dataset,
               const char *folder, const struct golden *ref)
{
	struct gn_run_config config = {.strategy = {.kind = r->strategy},
	                               .epochs = EPOCHS,
	                               .batch_size = IMAGES,
	                               .micro_batch_size = micro_batch,
	                               .lr = r->lr,
	                               .weight_decay = 0.05,
	                               .label_smoothing = r->label_smoothing,
	                               .clip_norm = 1,
	                               .layer_decay = r->layer_decay,
	                               .optimizer = r->optimizer,
	                               .schedule = GN_COSINE,
	                               .warmup_steps = 1,
	                               .head = r->head,
	                               .eval_every_epochs = 1,
	                               .checkpoint_every_seconds = 1e9,
	                               .class_weights = r->class_weights,
	                               .image_size = r->image_size};
	struct heard heard = {0};
	struct gn_train_options options = {.model = model,
	                                   .dataset = dataset,
	                                   .config = &config,
	                                   .max_pixels = 1000000,
	                                   .on_event = hear,
	                                   .user = &heard};
	struct gn_train_result result = {0};
	struct gn_error err = {0};
	char path[256], how[32];
	int wrong;

	snprintf(path, sizeof path, "%s/%s-%d", folder, r->name, micro_batch);
	assert_int_equal(mkdir(path, 0700), 0);
	options.folder = path;
	if (gn_device_open(&options.device, "cpu", 1, GN_PRECISION_AUTO, &err) || gn_train(&result, &options, &err))
		fail_msg("%s: %s: %s", r->name, err.where, err.text);
	snprintf(how, sizeof how, "micro-batch %d", micro_batch);
	wrong =
	    compare(&heard, ref, r->name, how) + check_saved(r, model, dataset, options.device, path, &result, &heard);
	gn_device_close(options.device);
	return wrong;
}

static struct gn_model *import_plain(const char *name, const char *folder)
{
	struct golden ref = golden_open(name);
	struct gn_model *model = golden_import(golden_case_named(name), &ref, folder, 0);

	model->preprocess =
	    (struct gn_preprocess){.mean = {0.5f, 0.5f, 0.5f}, .std = {0.5f, 0.5f, 0.5f}, .crop_pct = 1};
	golden_release(&ref);
	return model;
}

static void reports_what_torch_gets(void **state)
{
	struct golden ref = golden_open("run");
	struct gn_dataset *dataset;
	char folder[256];
	int wrong = 0;

	snprintf(folder, sizeof folder, "%s/data", (char *)*state);
	assert_int_equal(mkdir(folder, 0700), 0);
	dataset = ingest(folder);
	for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
		struct gn_model *model = import_plain(recipes[i].model ? recipes[i].model : "timm_cls", *state);

		wrong += run(&recipes[i], IMAGES, model, dataset, *state, &ref);
		if (i % 2 == 0)
			wrong += run(&recipes[i], 4, model, dataset, *state, &ref);
		gn_model_close(model);
	}
	gn_dataset_close(dataset);
	golden_release(&ref);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reports_what_torch_gets),
	};

	return cmocka_run_group_tests(tests, golden_folder_new, golden_folder_remove);
}
