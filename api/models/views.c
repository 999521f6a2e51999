/* A model's checkpoint as a download, and its angles against its base. */
#include "api/api.h"
#include "server/formats/events.h"

struct export_query {
	int format, content, dtype;
};
static const char *const FORMATS[] = {[GN_EXPORT_TIMM] = "timm", [GN_EXPORT_HUGGINGFACE] = "huggingface", NULL};
static const char *const CONTENTS[] = {"full", "delta", NULL};
static const char *const DTYPES[] = {[GN_F32] = "f32", [GN_F16] = "f16", [GN_BF16] = "bf16", NULL};
static const struct gn_field EXPORT[] = {
    {"format", GN_FIELD_CHOICE, 0, offsetof(struct export_query, format), .choices = FORMATS, .help = "Tensor names."},
    {"content", GN_FIELD_CHOICE, 0, offsetof(struct export_query, content), .choices = CONTENTS, .help = "Tensors."},
    {"dtype", GN_FIELD_CHOICE, 0, offsetof(struct export_query, dtype), .fallback = GN_F32, .choices = DTYPES,
     .help = "Number format."},
};

/* The state of a download in progress. The export reads the model, so it keeps the model open. */
struct export
{
	struct gn_export *stream;
	struct gn_modelpool *models;
	struct gn_open_model *opened;
};

static size_t read_export(void *user, uint64_t offset, void *buffer, size_t size)
{
	return gn_export_read(((struct export *)user)->stream, offset, buffer, size);
}

static void release_export(void *user)
{
	struct export *export = user;

	gn_export_close(export->stream);
	gn_modelpool_drop(export->models, export->opened);
	free(export);
}

/* The file name for browsers, from the model's name or id. */
static void download_name(char *name, size_t size, const struct gn_row *row, const struct export_query *query)
{
	snprintf(name, size, "%s%s%s-%s.safetensors", *row->name ? row->name : row->id,
	         query->format == GN_EXPORT_HUGGINGFACE ? "-huggingface" : "", query->content ? "-delta" : "",
	         DTYPES[query->dtype]);
}

static void reply_export(struct gn_request *r, struct gn_row *row, const struct export_query *query)
{
	struct export *export = calloc(1, sizeof *export);
	struct gn_export_options options = {.format = (enum gn_export_format)query->format,
	                                    .delta_only = query->content == 1,
	                                    .dtype = (enum gn_dtype)query->dtype};
	struct gn_download download = {.media_type = "application/octet-stream"};
	struct gn_error err = {0};
	char etag[96], name[128];

	if (!export) {
		gn_reply_problem(r, 503, "no memory for the download");
		return;
	}
	export->models = gn_api_models(r);
	if (gn_modelpool_hold(export->models, row->id, &export->opened, &err)) {
		free(export);
		gn_reply_error(r, &err);
		return;
	}
	if (gn_export_open(&export->stream, export->opened->model, &options, &err)) {
		gn_modelpool_drop(export->models, export->opened);
		free(export);
		gn_api_reply_member(r, &err);
		return;
	}
	/* a model never changes, so its id and the query identify the bytes */
	snprintf(etag, sizeof etag, "%s-%s-%s-%s", row->id, FORMATS[query->format], CONTENTS[query->content],
	         DTYPES[query->dtype]);
	download_name(name, sizeof name, row, query);
	download.etag = etag;
	download.filename = name;
	download.bytes = gn_export_bytes(export->stream);
	download.read = read_export;
	download.release = release_export;
	download.user = export;
	gn_reply_download(r, &download);
}

void gn_api_model_checkpoint(struct gn_request *r)
{
	struct export_query query;
	struct gn_row row;

	if (gn_api_query(r, EXPORT, sizeof EXPORT / sizeof *EXPORT, &query) || gn_api_row(r, GN_KIND_MODEL, &row))
		return;
	reply_export(r, &row, &query);
	gn_row_release(&row);
}

struct config_query {
	int format;
};
static const char *const CONFIG_FORMATS[] = {"huggingface", "timm", NULL};
static const struct gn_field CONFIG[] = {
    {"format", GN_FIELD_CHOICE, 0, offsetof(struct config_query, format), .choices = CONFIG_FORMATS,
     .help = "Whose config.json."},
};

void gn_api_model_config(struct gn_request *r)
{
	struct config_query query;
	struct gn_open_model *opened;
	struct gn_error err = {0};
	char *text;

	if (gn_api_query(r, CONFIG, 1, &query) || gn_api_hold_model(r, &opened))
		return;
	if (gn_export_config(&text, opened->model, query.format ? GN_EXPORT_TIMM : GN_EXPORT_HUGGINGFACE, GN_F32,
	                     &err)) {
		gn_api_reply_member(r, &err);
	} else {
		gn_reply_bytes(r, 200, "application/json", text, strlen(text), NULL);
		free(text);
	}
	gn_modelpool_drop(gn_api_models(r), opened);
}

/* The epoch whose weights the model has, which is its run's best one; 0 if the run was deleted. */
static json_int_t best_epoch(struct gn_request *r, const char *run)
{
	json_t *resource = *run ? gn_supervisor_resource(gn_request_service(r)->supervisor, GN_KIND_RUN, run) : NULL;
	json_int_t epoch = json_integer_value(json_object_get(json_object_get(resource, "result"), "best_epoch"));

	json_decref(resource);
	return epoch;
}

static void reply_angles(struct gn_request *r, const struct gn_row *row, const struct gn_open_model *opened)
{
	struct gn_angles angles = {0};
	struct gn_error err = {0};

	if (gn_angles_compute(&angles, opened->model, opened->base->model, &err)) {
		gn_reply_error(r, &err);
		return;
	}
	gn_reply_json(r, 200,
	              json_pack("{s:s,s:s,s:o,s:s,s:[{s:I,s:o}]}", "model", row->id, "base", opened->base->id, "run",
	                        *row->run ? json_string(row->run) : json_null(), "unit", "degree", "epochs", "epoch",
	                        best_epoch(r, row->run), "layers", gn_angles_layers(&angles)));
	gn_angles_release(&angles);
}

void gn_api_model_angles(struct gn_request *r)
{
	struct gn_open_model *opened;
	struct gn_row row;
	struct gn_error err = {0};

	if (gn_api_no_query(r) || gn_api_row(r, GN_KIND_MODEL, &row))
		return;
	if (!*row.base) {
		gn_reply_problem(r, 422, "a base model has no angles: only a tuned model has weights to compare with");
	} else if (gn_modelpool_hold(gn_api_models(r), row.id, &opened, &err)) {
		gn_reply_error(r, &err);
	} else {
		reply_angles(r, &row, opened);
		gn_modelpool_drop(gn_api_models(r), opened);
	}
	gn_row_release(&row);
}
