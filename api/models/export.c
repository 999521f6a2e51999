/* GET /v1/models/{id}/export: a tuned model as an archive of the folder that timm or transformers
 * loads. */
#include "api/api.h"
#include "server/formats/archive_stream.h"

struct export_query {
	int format, archive, dtype;
};
static const char *const FORMATS[] = {[GN_EXPORT_TIMM] = "timm", [GN_EXPORT_HUGGINGFACE] = "huggingface", NULL};
static const char *const ARCHIVES[] = {[GN_PACK_ZIP] = "zip", [GN_PACK_TAR] = "tar", NULL};
static const char *const MEDIA[] = {[GN_PACK_ZIP] = "application/zip", [GN_PACK_TAR] = "application/x-tar"};
static const char *const DTYPES[] = {[GN_F32] = "f32", [GN_F16] = "f16", [GN_BF16] = "bf16", NULL};
static const struct gn_field EXPORT[] = {
    {"format", GN_FIELD_CHOICE, 0, offsetof(struct export_query, format), .fallback = GN_EXPORT_HUGGINGFACE,
     .choices = FORMATS, .help = "Which library loads it."},
    {"archive", GN_FIELD_CHOICE, 0, offsetof(struct export_query, archive), .choices = ARCHIVES, .help = "Packed as."},
    {"dtype", GN_FIELD_CHOICE, 0, offsetof(struct export_query, dtype), .fallback = GN_F32, .choices = DTYPES,
     .help = "Number format."},
};

enum { WEIGHTS, CONFIG, PREPROCESSOR, CARD, FILES };
static const char *const NAMES[FILES] = {"model.safetensors", "config.json", "preprocessor_config.json", "README.md"};

/* The state of an export in progress. It reads the model's weights, so it keeps the model open. */
struct export
{
	struct gn_modelpool *models;
	struct gn_open_model *opened;
	struct gn_export *weights;
	char *texts[FILES]; /* of all files except the weights */
	struct gn_pack *pack;
};

static void release(void *user)
{
	struct export *export = user;

	gn_pack_free(export->pack);
	gn_export_close(export->weights);
	for (int i = 0; i < FILES; i++)
		free(export->texts[i]);
	gn_modelpool_drop(export->models, export->opened);
	free(export);
}

static size_t read_weights(void *user, uint64_t offset, void *buffer, size_t size)
{
	return gn_export_read(user, offset, buffer, size);
}

static size_t read_text(void *user, uint64_t offset, void *buffer, size_t size)
{
	memcpy(buffer, (const char *)user + offset, size);
	return size;
}

static size_t read_pack(void *user, uint64_t offset, void *buffer, size_t size)
{
	ssize_t n = gn_pack_read(((struct export *)user)->pack, buffer, size);

	(void)offset;
	return n < 0 ? GN_STREAM_BROKEN : (size_t)n;
}

/* The four files. */
static int make_files(struct gn_request *r, struct export *export, const struct gn_row *row,
                      const struct export_query *query, struct gn_error *err)
{
	const struct gn_model *model = export->opened->model;
	enum gn_export_format format = (enum gn_export_format)query->format;
	enum gn_dtype dtype = (enum gn_dtype)query->dtype;
	int failed = gn_export_config(&export->texts[CONFIG], model, format, dtype, err) ||
	             gn_export_preprocessor(&export->texts[PREPROCESSOR], model, err);
	json_t *provenance = failed ? NULL : gn_api_provenance(r, row, export->opened, err);
	char *text = provenance ? json_dumps(provenance, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
	struct gn_note note = {"gonio.provenance", text};
	struct gn_export_options options = {.format = format, .dtype = dtype, .notes = &note, .note_count = 1};

	if (text)
		export->texts[CARD] = gn_api_model_card(row, model, format, provenance);
	failed = !export->texts[CARD] || gn_export_open(&export->weights, model, &options, err);
	free(text);
	json_decref(provenance);
	return failed ? gn_fail(err, GN_NO_MEMORY, "", "no memory for the export") : 0;
}

static int make_pack(struct export *export, const struct gn_row *row, enum gn_pack_kind kind, struct gn_error *err)
{
	struct gn_pack_file files[FILES];

	for (int i = 0; i < FILES; i++) {
		files[i] = (struct gn_pack_file){.read = read_text, .user = export->texts[i]};
		snprintf(files[i].name, sizeof files[i].name, "%s", NAMES[i]);
		if (i != WEIGHTS)
			files[i].bytes = strlen(export->texts[i]);
	}
	files[WEIGHTS].read = read_weights;
	files[WEIGHTS].user = export->weights;
	files[WEIGHTS].bytes = gn_export_bytes(export->weights);
	return gn_pack_new(&export->pack, kind, files, FILES, row->created_at / 1000, err);
}

static void reply_export(struct gn_request *r, const struct gn_row *row, const struct export_query *query)
{
	struct gn_download download = {
	    .media_type = MEDIA[query->archive], .bytes = GN_STREAM, .read = read_pack, .release = release};
	struct export *export = calloc(1, sizeof *export);
	struct gn_error err = {0};
	char name[128];

	if (!export) {
		gn_reply_problem(r, 503, "no memory for the export");
		return;
	}
	export->models = gn_api_models(r);
	if (gn_modelpool_hold(export->models, row->id, &export->opened, &err) ||
	    make_files(r, export, row, query, &err) ||
	    make_pack(export, row, (enum gn_pack_kind)query->archive, &err)) {
		release(export);
		gn_api_reply_member(r, &err);
		return;
	}
	snprintf(name, sizeof name, "%s-%s.%s", *row->name ? row->name : row->id, FORMATS[query->format],
	         ARCHIVES[query->archive]);
	download.filename = name;
	download.user = export;
	gn_reply_download(r, &download);
}

void gn_api_model_export(struct gn_request *r)
{
	struct export_query query;
	struct gn_row row;

	if (gn_api_query(r, EXPORT, sizeof EXPORT / sizeof *EXPORT, &query) || gn_api_row(r, GN_KIND_MODEL, &row))
		return;
	if (!*row.base)
		gn_reply_problem(r, 422,
		                 "this is a base model, and only tuned models are exported: a base's weights are at "
		                 "/v1/models/%s/checkpoint, its config at /v1/models/%s/config",
		                 row.id, row.id);
	else
		reply_export(r, &row, &query);
	gn_row_release(&row);
}
