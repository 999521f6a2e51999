/*
 * POST /v1/models. The body is a safetensors file, an archive of its folder, a form with the
 * checkpoint and its config files, or JSON for an untrained model. Files are streamed to the staged
 * folder. The source is removed after gonio's own file was made from it.
 */
#include "api/api.h"

#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FRESH_CLASSES = 100000, COMPANION_LIMIT = 4 << 20, JSON_LIMIT = 4 << 20, PATH_SIZE = PATH_MAX + 32 };
#define FRESH_LIMIT ((uint64_t)4400 << 20)

/* ---------------------------------------------------------------- a checkpoint ---------------- */

/* What the query states about a checkpoint. */
struct said {
	char name[GN_NAME_SIZE];
	int heads, image_size, activation, pos_resample;
	double norm_eps, crop_pct, mean[3], std[3];
	bool allow_unused;
};
static const char *const RESAMPLINGS[] = {
    [GN_POS_TIMM] = "timm", [GN_POS_HF] = "hf", [GN_POS_DINOV2] = "dinov2", [GN_POS_TORCHVISION] = "torchvision", NULL};
static const struct gn_field SAID[] = {
    {"name", GN_FIELD_NAME, 0, offsetof(struct said, name), .help = "A name, unique among models."},
    {"heads", GN_FIELD_INT, 0, offsetof(struct said, heads), 1, 256, 0, .help = "Attention heads."},
    {"image_size", GN_FIELD_INT, 0, offsetof(struct said, image_size), 1, 4096, 0, .help = "Side of the picture."},
    {"activation", GN_FIELD_CHOICE, 0, offsetof(struct said, activation), .fallback = -1,
     .choices = gn_activation_names, .help = "Of the FFN."},
    {"pos_resample", GN_FIELD_CHOICE, 0, offsetof(struct said, pos_resample), .fallback = -1, .choices = RESAMPLINGS,
     .help = "The library whose method resamples position embeddings."},
    {"norm_eps", GN_FIELD_NUMBER, 0, offsetof(struct said, norm_eps), 0, 1e-2, NAN, .help = "Of the LayerNorms."},
    {"crop_pct", GN_FIELD_NUMBER, 0, offsetof(struct said, crop_pct), 0.1, 1, NAN, .help = "Share of the centre crop."},
    {"mean", GN_FIELD_TRIPLE, 0, offsetof(struct said, mean), 0, 1, NAN, .help = "Of pixels in 0..1."},
    {"std", GN_FIELD_TRIPLE, 0, offsetof(struct said, std), 1e-4, 10, NAN, .help = "Of pixels in 0..1."},
    {"allow_unused", GN_FIELD_BOOL, 0, offsetof(struct said, allow_unused), .help = "Ignore unknown tensors."},
};

/* A small file beside the checkpoint, completely in memory. */
struct companion {
	const char *part;
	void *data;
	size_t size;
};
enum { CONFIG, PREPROCESSOR, LABELS, COMPANIONS };

struct upload {
	struct said said;
	struct companion companions[COMPANIONS];
	char folder[PATH_MAX], source[PATH_SIZE], target[PATH_SIZE];
	bool checkpoint;
};

static void said_options(struct gn_import_options *options, const struct said *said)
{
	static const enum gn_pos_resample ways[] = {GN_POS_TIMM, GN_POS_HF, GN_POS_DINOV2, GN_POS_TORCHVISION};

	options->heads = said->heads;
	options->image_size = said->image_size;
	options->activation = said->activation;
	options->pos_resample = said->pos_resample < 0 ? NULL : &ways[said->pos_resample];
	options->norm_eps = (float)said->norm_eps;
	options->crop_pct = (float)said->crop_pct;
	for (int i = 0; i < 3; i++) {
		options->mean[i] = (float)said->mean[i];
		options->std[i] = (float)said->std[i];
	}
	options->allow_unused = said->allow_unused;
}

static struct gn_import_options import_options(const struct upload *upload)
{
	const struct companion *c = upload->companions;
	struct gn_import_options options = {
	    .config_json = c[CONFIG].data,
	    .config_bytes = c[CONFIG].size,
	    .preprocessor_json = c[PREPROCESSOR].data,
	    .preprocessor_bytes = c[PREPROCESSOR].size,
	    .labels_json = c[LABELS].data,
	    .labels_bytes = c[LABELS].size,
	};

	said_options(&options, &upload->said);
	return options;
}

/* Saves the checkpoint; config files from an archive replace the form's parts. On a failure,
 * replies and returns -1. */
static int take_checkpoint(struct gn_request *r, struct upload *upload, gn_bytes_read *read, void *user)
{
	struct gn_unpacked beside;
	struct gn_error err = {0};
	struct companion found[2];

	if (gn_api_save_checkpoint(r, read, user, upload->source, &beside, &err)) {
		gn_reply_error(r, &err);
		return -1;
	}
	found[CONFIG] = (struct companion){"config", beside.config, beside.config_bytes};
	found[PREPROCESSOR] = (struct companion){"preprocessor", beside.preprocessor, beside.preprocessor_bytes};
	for (int i = 0; i < 2; i++) {
		struct companion *companion = &upload->companions[i];

		if (!found[i].data)
			continue;
		if (companion->data) {
			char pointer[32];

			snprintf(pointer, sizeof pointer, "/%s", companion->part);
			gn_reply_field(r, pointer, "the part was given, and the archive holds it too");
			for (; i < 2; i++)
				free(found[i].data);
			return -1;
		}
		*companion = found[i];
	}
	return 0;
}

/* Reads one part of the form. On a failure, replies and returns -1. */
static int take_part(struct gn_request *r, struct upload *upload, struct gn_multipart *form,
                     const struct gn_form_part *part)
{
	struct gn_error err = {0};
	char pointer[128];

	gn_field_pointer(pointer, sizeof pointer, "", part->name);
	if (!strcmp(part->name, "checkpoint")) {
		if (upload->checkpoint) {
			gn_reply_field(r, pointer, "the part was given twice");
			return -1;
		}
		upload->checkpoint = true;
		return take_checkpoint(r, upload, gn_multipart_read, form);
	}
	for (int i = 0; i < COMPANIONS; i++) {
		struct companion *companion = &upload->companions[i];
		if (strcmp(part->name, companion->part) != 0)
			continue;
		if (companion->data) {
			gn_reply_field(r, pointer, "the part was given twice");
			return -1;
		}
		if (!gn_source_load(gn_multipart_read, form, COMPANION_LIMIT, &companion->data, &companion->size, &err))
			return 0;
		gn_reply_error(r, &err);
		return -1;
	}
	gn_reply_field(r, pointer, "no such part; checkpoint, config, preprocessor and labels are");
	return -1;
}

static int take_form(struct gn_request *r, struct upload *upload)
{
	struct gn_multipart *form = gn_multipart_open(r);
	struct gn_form_part part;
	int more = 0;

	if (!form)
		return -1;
	while ((more = gn_multipart_next(form, &part)) > 0)
		if (take_part(r, upload, form, &part))
			return -1;
	if (more == 0 && !upload->checkpoint) {
		gn_reply_field(r, "/checkpoint", "the part is required");
		return -1;
	}
	return more;
}

static int take_body(struct gn_request *r, struct upload *upload)
{
	if (!strcmp(gn_content_type(r), "multipart/form-data"))
		return take_form(r, upload);
	return take_checkpoint(r, upload, gn_body_read, r);
}

/* Describes the file at target and moves the staged folder into the store. */
static int store_model(struct gn_request *r, const char *folder, const char *target, const char *sha256,
                       const struct gn_import_report *report, struct gn_row *row, struct gn_error *err)
{
	struct gn_model *model;

	if (gn_model_open(&model, target, NULL, err))
		return -1;
	row->fields = gn_api_model_fields(model, sha256, report);
	gn_model_close(model);
	return gn_store_add(gn_request_service(r)->store, GN_KIND_MODEL, folder, row, err);
}

static void import(struct gn_request *r, struct upload *upload)
{
	struct gn_import_options options = import_options(upload);
	struct gn_import_report report = {0};
	struct gn_row row = {0};
	struct gn_error err = {0};

	memcpy(row.name, upload->said.name, sizeof row.name);
	int failed = gn_model_import(upload->target, upload->source, &options, &report, &err);
	if (!failed && unlink(upload->source))
		failed = gn_fail_errno(&err, "", "removing the uploaded file");
	if (!failed)
		failed = store_model(r, upload->folder, upload->target, report.sha256, &report, &row, &err);
	if (failed)
		gn_store_unstage(gn_request_service(r)->store, upload->folder);
	if (!failed)
		gn_api_reply_created(r, GN_KIND_MODEL, &row);
	else if (gn_field_find(SAID, sizeof SAID / sizeof *SAID, err.where))
		gn_api_reply_member(r, &err);
	else
		gn_reply_error(r, &err);
	gn_import_report_release(&report);
	gn_row_release(&row);
}

/* Makes a staged folder, and the paths of the files in it. On a failure, replies and returns -1. */
static int stage(struct gn_request *r, struct upload *upload)
{
	struct gn_error err = {0};

	if (gn_store_stage(gn_request_service(r)->store, upload->folder, &err)) {
		gn_reply_error(r, &err);
		return -1;
	}
	snprintf(upload->source, sizeof upload->source, "%s/source", upload->folder);
	snprintf(upload->target, sizeof upload->target, "%s/model.safetensors", upload->folder);
	return 0;
}

static void post_checkpoint(struct gn_request *r)
{
	struct upload upload = {.companions = {[CONFIG] = {.part = "config"},
	                                       [PREPROCESSOR] = {.part = "preprocessor"},
	                                       [LABELS] = {.part = "labels"}}};

	if (gn_api_query(r, SAID, sizeof SAID / sizeof *SAID, &upload.said) ||
	    gn_api_name_free(r, GN_KIND_MODEL, upload.said.name) || stage(r, &upload))
		return;
	if (take_body(r, &upload))
		gn_store_unstage(gn_request_service(r)->store, upload.folder);
	else
		import(r, &upload);
	for (int i = 0; i < COMPANIONS; i++)
		free(upload.companions[i].data);
}

/* ---------------------------------------------------------------- an untrained model ---------- */

struct fresh {
	char name[GN_NAME_SIZE];
	int init;
	int64_t seed;
	struct gn_arch arch;
	char **labels;
	int label_count;
};
static const char *const INITS[] = {"random", NULL};

/* The fields of the architecture that a client may give, for gn_fields_read into a struct gn_arch.
 * Returns their number. */
static int arch_fields(struct gn_field fields[GN_ARCH_FIELDS_MAX])
{
	static const enum gn_field_type types[] = {
	    [GN_ARCH_INT] = GN_FIELD_INT, [GN_ARCH_BOOL] = GN_FIELD_BOOL, [GN_ARCH_CHOICE] = GN_FIELD_CHOICE};
	int count = 0;

	for (int i = 0; i < gn_arch_field_count; i++) {
		const struct gn_arch_field *field = &gn_arch_fields[i];
		if (!(field->use & GN_ARCH_GIVEN))
			continue;
		gn_assert(field->type != GN_ARCH_REAL); /* a float has no type of field */
		fields[count++] = (struct gn_field){
		    .name = field->name,
		    .type = types[field->type],
		    .flags = field->use & GN_ARCH_REQUIRED ? GN_FIELD_REQUIRED
		             : field->plain < field->low   ? GN_FIELD_NULLABLE
		                                           : 0,
		    .offset = field->offset,
		    .min = field->low,
		    .max = field->offset == offsetof(struct gn_arch, classes) ? FRESH_CLASSES : field->high,
		    .fallback = field->plain,
		    .choices = field->words,
		    .help = field->noun,
		};
	}
	return count;
}

/* A plain ViT: timm's, with a class token, or without one and with the norm after the mean over the
 * patches. */
static void read_arch(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	struct gn_arch *arch = &((struct fresh *)out)->arch;
	struct gn_field fields[GN_ARCH_FIELDS_MAX];
	int count = arch_fields(fields);

	gn_arch_plain(arch);
	if (!value)
		gn_field_error(errors, pointer, "is required");
	else
		gn_fields_read(fields, count, value, arch, pointer, errors);
	if (!arch->mlp_dim)
		arch->mlp_dim = 4 * arch->dim;
	if (arch->pool == GN_POOL_MEAN) {
		arch->class_token = arch->pos_on_prefix = false;
		arch->norm_after_pool = true;
	}
}

static void read_labels(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	struct fresh *fresh = out;
	size_t count = json_array_size(value);

	if (!value || json_is_null(value))
		return;
	if ((int)count != fresh->arch.classes || !count) {
		gn_field_error(errors, pointer,
		               "must be an array of as many class names as architecture.classes says, or null");
		return;
	}
	fresh->labels = calloc(count, sizeof *fresh->labels);
	for (size_t i = 0; fresh->labels && i < count; i++) {
		const char *text = json_string_value(json_array_get(value, i));
		if (!text)
			gn_field_error(errors, pointer, "must hold strings only");
		fresh->labels[i] = strdup(text ? text : "");
		if (!fresh->labels[i]) {
			gn_field_error(errors, pointer, "no memory for the class names");
			break;
		}
		fresh->label_count++;
	}
}

static const struct gn_field_special ARCH_FIELD = {.read = read_arch}, LABELS_FIELD = {.read = read_labels};
static const struct gn_field FRESH[] = {
    {"name", GN_FIELD_NAME, GN_FIELD_NULLABLE, offsetof(struct fresh, name), .help = "A name, unique among models."},
    {"init", GN_FIELD_CHOICE, GN_FIELD_REQUIRED, offsetof(struct fresh, init), .choices = INITS, .help = "random."},
    {"seed", GN_FIELD_INT64, 0, offsetof(struct fresh, seed), 0, 9007199254740991.0, 0, .help = "Decides the weights."},
    {"architecture", GN_FIELD_SPECIAL, 0, 0, .special = &ARCH_FIELD, .help = "Sizes."},
    {"labels", GN_FIELD_SPECIAL, 0, 0, .special = &LABELS_FIELD, .help = "Class names."},
};

/* gn_arch_check names a field of the architecture; here the field is in a member of the body. */
static int check_arch(struct gn_request *r, const struct gn_arch *arch)
{
	struct gn_error err = {0};
	char pointer[200];

	if (!gn_arch_check(arch, &err))
		return 0;
	snprintf(pointer, sizeof pointer, "/architecture%s%s", *err.where && *err.where != '/' ? "/" : "", err.where);
	gn_reply_field(r, pointer, "%s", err.text);
	return -1;
}

/* A request for an untrained model costs its client nothing. So its size is limited to that of an
 * upload and to FRESH_LIMIT, which is a ViT-g: a gigabyte of random numbers takes a quarter of a
 * minute. */
static int check_size(struct gn_request *r, const struct gn_arch *arch)
{
	const struct gn_service *service = gn_request_service(r);
	struct gn_layout layout = {0};
	struct gn_error err = {0};

	if (gn_layout_init(&layout, arch, &err)) {
		gn_reply_error(r, &err);
		return -1;
	}
	uint64_t bytes = (uint64_t)layout.parameters * sizeof(float), limit = (uint64_t)service->config.max_upload;
	gn_layout_release(&layout);
	limit = limit < FRESH_LIMIT ? limit : FRESH_LIMIT;
	if (bytes > limit) {
		gn_reply_field(r, "/architecture", "the model would have %llu bytes, an untrained one may have %llu",
		               (unsigned long long)bytes, (unsigned long long)limit);
		return -1;
	}
	if (!gn_store_space(service->store, bytes, &err))
		return 0;
	gn_reply_error(r, &err);
	return -1;
}

static void make_fresh(struct gn_request *r, const struct fresh *fresh)
{
	struct upload upload = {0};
	struct gn_row row = {0};
	struct gn_error err = {0};
	char hash[65];

	if (gn_api_name_free(r, GN_KIND_MODEL, fresh->name) || stage(r, &upload))
		return;
	memcpy(row.name, fresh->name, sizeof row.name);
	if (gn_model_write_random(upload.target, &fresh->arch, (uint64_t)fresh->seed,
	                          (const char *const *)fresh->labels, gn_request_gone, r, &err) ||
	    gn_file_sha256(hash, upload.target, &err) ||
	    store_model(r, upload.folder, upload.target, hash, NULL, &row, &err)) {
		gn_store_unstage(gn_request_service(r)->store, upload.folder);
		gn_reply_error(r, &err);
	} else {
		gn_api_reply_created(r, GN_KIND_MODEL, &row);
	}
	gn_row_release(&row);
}

static void post_fresh(struct gn_request *r)
{
	struct fresh fresh = {0};
	json_t *errors = json_array(), *body;

	if (gn_api_no_query(r) || !(body = gn_body_json(r, JSON_LIMIT))) {
		json_decref(errors);
		return;
	}
	gn_fields_read(FRESH, sizeof FRESH / sizeof *FRESH, body, &fresh, "", errors);
	json_decref(body);
	if (!gn_reply_fields(r, errors) && !check_arch(r, &fresh.arch) && !check_size(r, &fresh.arch))
		make_fresh(r, &fresh);
	for (int i = 0; i < fresh.label_count; i++)
		free(fresh.labels[i]);
	free(fresh.labels);
}

/* Whether a body of this type may be a checkpoint. Its content decides what it is. */
static bool carries_checkpoint(const char *type)
{
	static const char *const types[] = {"",
	                                    "application/octet-stream",
	                                    "multipart/form-data",
	                                    "application/zip",
	                                    "application/x-tar",
	                                    "application/gzip",
	                                    "application/x-gzip",
	                                    "application/x-xz",
	                                    "application/zstd"};

	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (!strcmp(type, types[i]))
			return true;
	return false;
}

void gn_api_models_post(struct gn_request *r)
{
	const char *type = gn_content_type(r);

	if (!strcmp(type, "application/json"))
		post_fresh(r);
	else if (carries_checkpoint(type))
		post_checkpoint(r);
	else
		gn_reply_problem(r, 415,
		                 "a model is application/octet-stream (safetensors, or an archive of its folder), "
		                 "multipart/form-data or application/json, not %s",
		                 type);
}
