/* A run's JSON, from one table of fields: see run_request.h. */
#include "server/formats/run_request.h"

#include <string.h>

#include "server/formats/strategy.h"

static const char *const OPTIMIZERS[] = {[GN_ADAMW] = "adamw", [GN_SGD] = "sgd", NULL};
static const char *const SCHEDULES[] = {[GN_COSINE] = "cosine", [GN_CONSTANT] = "constant", NULL};
static const char *const AUGMENTS[] = {
    [GN_AUGMENT_NONE] = "none", [GN_AUGMENT_FLIP] = "flip", [GN_AUGMENT_STANDARD] = "standard", NULL};
static const char *const HEADS[] = {
    [GN_HEAD_ZERO] = "zero", [GN_HEAD_RANDOM] = "random", [GN_HEAD_KEEP] = "keep", NULL};
static const char *const CLASS_WEIGHTS[] = {[GN_WEIGHTS_NONE] = "none", [GN_WEIGHTS_BALANCED] = "balanced", NULL};
static const char *const PRECISIONS[] = {[GN_PRECISION_AUTO] = "auto",
                                         [GN_PRECISION_FP32] = "fp32",
                                         [GN_PRECISION_TF32] = "tf32",
                                         [GN_PRECISION_BF16] = "bf16",
                                         NULL};

/* ---------------------------------------------------------------- the learning rate ----------- */

/* The strategy stands before lr in the table, so its kind is known here. */
static void read_lr(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	struct gn_run_request *request = out;
	double lr = json_number_value(value);

	request->config.lr = gn_strategy_lr(request->config.strategy.kind);
	if (!value || json_is_null(value))
		return;
	if (!json_is_number(value)) {
		gn_field_error(errors, pointer, "must be a number or null");
	} else if (!(lr >= 0 && lr <= 100)) {
		gn_field_error(errors, pointer, "must be between 0 and 100 or null");
	} else {
		request->config.lr = lr;
	}
}

static json_t *write_lr(const void *in)
{
	return json_real(((const struct gn_run_request *)in)->config.lr);
}

static json_t *schema_lr(void)
{
	return json_pack("{s:[s,s],s:i,s:i,s:n}", "type", "number", "null", "minimum", 0, "maximum", 100, "default");
}

static const struct gn_field_special LR = {read_lr, write_lr, schema_lr};

/* ---------------------------------------------------------------- the table ------------------- */

#define REQUEST(member) .offset = offsetof(struct gn_run_request, member)
#define CONFIG(member)  .offset = offsetof(struct gn_run_request, config.member)

static const struct gn_field FIELDS[] = {
    {"name", GN_FIELD_NAME, GN_FIELD_NULLABLE, REQUEST(name), .help = "A name, unique among runs."},
    {"model", GN_FIELD_REF, GN_FIELD_REQUIRED, REQUEST(model), .help = "The model to start from: its id or name."},
    {"dataset", GN_FIELD_REF, GN_FIELD_REQUIRED, REQUEST(dataset), .help = "The data set: its id or name."},
    {"strategy", GN_FIELD_SPECIAL, GN_FIELD_REQUIRED, 0, .special = &gn_strategy_field,
     .help = "Which layers are tuned, a name or an object; the head always is."},
    {"epochs", GN_FIELD_INT, 0, CONFIG(epochs), 1, 10000, 10, .help = "Passes over the training images."},
    {"batch_size", GN_FIELD_INT, 0, CONFIG(batch_size), 1, 65536, 64, .help = "Images per optimiser step."},
    {"micro_batch_size", GN_FIELD_INT, GN_FIELD_NULLABLE, CONFIG(micro_batch_size), 1, 65536, 0,
     .help = "Images computed at once, at most batch_size; null: the largest that is useful and fits. The result is "
             "that of the whole batch."},
    {"lr", GN_FIELD_SPECIAL, GN_FIELD_NULLABLE, 0, .special = &LR,
     .help = "Peak learning rate. null: 5e-5 for full, 1e-3 for norm, bias and linear, 1e-4 for the others."},
    {"weight_decay", GN_FIELD_NUMBER, 0, CONFIG(weight_decay), 0, 10, 0.05,
     .help = "Decoupled weight decay; not on biases, norms, tokens and positions."},
    {"optimizer", GN_FIELD_CHOICE, 0, CONFIG(optimizer), .fallback = GN_ADAMW, .choices = OPTIMIZERS,
     .help = "The optimiser."},
    {"schedule", GN_FIELD_CHOICE, 0, CONFIG(schedule), .fallback = GN_COSINE, .choices = SCHEDULES,
     .help = "The learning rate after the warm-up: falling to 0 along a cosine, or constant."},
    {"warmup_steps", GN_FIELD_INT64, GN_FIELD_NULLABLE, CONFIG(warmup_steps), 0, 1e9, -1,
     .help = "Steps of linear warm-up; null: a tenth of all steps."},
    {"label_smoothing", GN_FIELD_NUMBER, 0, CONFIG(label_smoothing), 0, 0.99, 0,
     .help = "Share of the target spread over all classes."},
    {"clip_norm", GN_FIELD_NUMBER, 0, CONFIG(clip_norm), 0, 1e6, 1,
     .help = "Gradients are scaled down to this norm; 0: never."},
    {"layer_decay", GN_FIELD_NUMBER, 0, CONFIG(layer_decay), 0.01, 1, 1,
     .help = "Factor on the learning rate from each block to the one below it."},
    {"augment", GN_FIELD_CHOICE, 0, CONFIG(augment), .fallback = GN_AUGMENT_NONE, .choices = AUGMENTS,
     .help = "none, flip (horizontal), or standard (random resized crop and flip). Only none lets the frozen prefix be "
             "cached."},
    {"image_size", GN_FIELD_INT, GN_FIELD_NULLABLE, CONFIG(image_size), 1, 4096, 0,
     .help = "Side of the square picture, a multiple of the patch size; null: the model's. Positions are resampled."},
    {"head", GN_FIELD_CHOICE, 0, CONFIG(head), .fallback = GN_HEAD_ZERO, .choices = HEADS,
     .help =
         "The new head: zeros, random, or keep (the model's own, if its number of classes is that of the data set)."},
    {"seed", GN_FIELD_INT64, 0, CONFIG(seed), 0, 9007199254740991.0, 0,
     .help = "Decides order, augmentation and initialisation."},
    {"eval_every_epochs", GN_FIELD_INT, 0, CONFIG(eval_every_epochs), 1, 10000, 1,
     .help = "Epochs from one validation to the next; the last epoch is always validated."},
    {"checkpoint_every_seconds", GN_FIELD_NUMBER, 0, CONFIG(checkpoint_every_seconds), 0.1, 86400, 60,
     .help = "Seconds from one checkpoint to the next."},
    {"early_stop_epochs", GN_FIELD_INT, GN_FIELD_NULLABLE, CONFIG(early_stop_epochs), 1, 10000, 0,
     .help = "Stop after so many validations without a better accuracy; null: never."},
    {"class_weights", GN_FIELD_CHOICE, 0, CONFIG(class_weights), .fallback = GN_WEIGHTS_NONE, .choices = CLASS_WEIGHTS,
     .help = "balanced: the loss of a class counts by the inverse of its frequency."},
    {"priority", GN_FIELD_INT, 0, REQUEST(priority), -100, 100, 0, .help = "Of two queued runs the larger goes first."},
    {"threads", GN_FIELD_INT, GN_FIELD_NULLABLE, REQUEST(threads), 1, 1024, 0,
     .help = "Threads of the worker; null: the service's number."},
    {"precision", GN_FIELD_CHOICE, 0, REQUEST(precision), .fallback = GN_PRECISION_AUTO, .choices = PRECISIONS,
     .help = "Of matrix products. auto: the service's, which is bf16 on a GPU unless it was started with another. A "
             "CPU computes in "
             "fp32 alone."},
};
/* What a plan may be asked with in place of a data set. */
static const struct gn_field PLAN_FIELDS[] = {
    {"classes", GN_FIELD_INT, 0, REQUEST(classes), 2, 100000, 0, .help = "Number of classes."},
    {"train_images", GN_FIELD_INT, 0, REQUEST(train_images), 1, 1e9, 10000, .help = "Number of training images."},
    {"val_images", GN_FIELD_INT, 0, REQUEST(val_images), 0, 1e9, 2000, .help = "Number of validation images."},
};
enum { FIELD_COUNT = sizeof FIELDS / sizeof *FIELDS, PLAN_FIELD_COUNT = sizeof PLAN_FIELDS / sizeof *PLAN_FIELDS };

/* ---------------------------------------------------------------- reading and writing --------- */

/* Takes the plan's own members out of the object, which is the caller's copy. */
static void read_plan_fields(struct gn_run_request *request, json_t *object, json_t *errors)
{
	json_t *own = json_object();

	for (int i = 0; i < PLAN_FIELD_COUNT; i++) {
		json_t *value = json_object_get(object, PLAN_FIELDS[i].name);
		if (value)
			json_object_set(own, PLAN_FIELDS[i].name, value);
		json_object_del(object, PLAN_FIELDS[i].name);
	}
	if (json_object_size(own) && json_object_get(object, "dataset"))
		gn_field_error(errors, "/dataset", "give either dataset or classes, not both");
	else if (json_object_size(own) && !json_object_get(own, "classes"))
		gn_field_error(errors, "/classes", "is required with train_images or val_images");
	gn_fields_read(PLAN_FIELDS, PLAN_FIELD_COUNT, own, request, "", errors);
	/* the table wants a data set: this one is never looked up */
	if (json_object_get(own, "classes") && !json_object_get(object, "dataset"))
		json_object_set_new(object, "dataset", json_string("none"));
	json_decref(own);
}

void gn_run_request_read(struct gn_run_request *request, const json_t *object, bool for_plan, json_t *errors)
{
	memset(request, 0, sizeof *request);
	json_t *copy = json_copy((json_t *)(uintptr_t)object);
	if (for_plan && json_is_object(copy))
		read_plan_fields(request, copy, errors);
	gn_fields_read(FIELDS, FIELD_COUNT, copy, request, "", errors);
	json_decref(copy);
	if (request->classes)
		request->dataset[0] = 0;
	if (request->config.micro_batch_size > request->config.batch_size)
		gn_field_error(errors, "/micro_batch_size", "must not be larger than batch_size");
}

void gn_run_request_release(struct gn_run_request *request)
{
	gn_strategy_clear(request);
}

json_t *gn_run_request_write(const struct gn_run_request *request)
{
	return gn_fields_write(FIELDS, FIELD_COUNT, request);
}

const struct gn_field *gn_run_fields(int *count)
{
	*count = FIELD_COUNT;
	return FIELDS;
}

json_t *gn_run_request_schema(void)
{
	json_t *schema = gn_fields_schema(FIELDS, FIELD_COUNT);

	json_object_set_new(schema, "title", json_string("A run"));
	return schema;
}
