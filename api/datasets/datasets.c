/* Data sets: upload, list, one, delete. Their pictures: datasets/views.c. */
#include "api/api.h"

struct upload {
	char name[GN_NAME_SIZE];
	double val_fraction;
	int64_t seed;
};

static const struct gn_field UPLOAD[] = {
    {"name", GN_FIELD_NAME, 0, offsetof(struct upload, name), .help = "A name, unique among data sets."},
    {"val_fraction", GN_FIELD_NUMBER, 0, offsetof(struct upload, val_fraction), 0.01, 0.9, 0.2,
     .help = "Share of each class that becomes val when the archive has no val and no test folder."},
    {"seed", GN_FIELD_INT64, 0, offsetof(struct upload, seed), 0, 9007199254740991.0, 0,
     .help = "Decides which images become val."},
};

/* ---------------------------------------------------------------- the resource ---------------- */

static json_t *class_list(const struct gn_ingest_report *report)
{
	json_t *classes = json_array();

	for (int c = 0; c < report->class_count; c++) {
		const struct gn_dataset_class *class = &report->classes[c];
		json_array_append_new(classes, json_pack("{s:s,s:i,s:i,s:i}", "name", class->name, "train",
		                                         class->counts[GN_TRAIN], "val", class->counts[GN_VAL], "test",
		                                         class->counts[GN_TEST]));
	}
	return classes;
}

static json_t *rejected_list(const struct gn_ingest_report *report)
{
	json_t *rejected = json_array();

	for (int i = 0; i < report->rejected_listed; i++) {
		json_t *item =
		    json_pack("{s:s,s:s}", "path", report->rejected[i].path, "reason", report->rejected[i].reason);
		json_array_append_new(rejected, item ? item
		                                     : json_pack("{s:s,s:s}", "path", "(a name that is not UTF-8)",
		                                                 "reason", "the name is not UTF-8"));
	}
	return rejected;
}

static json_t *dataset_fields(const struct gn_ingest_report *report)
{
	json_t *images = json_pack("{s:i,s:i,s:i}", "train", report->totals[GN_TRAIN], "val", report->totals[GN_VAL],
	                           "test", report->totals[GN_TEST]);

	return json_pack("{s:o,s:o,s:s,s:o,s:I,s:I,s:o,s:o}", "classes", class_list(report), "images", images, "sha256",
	                 report->sha256, "rejected", rejected_list(report), "rejected_count",
	                 (json_int_t)report->rejected_count, "skipped_count", (json_int_t)report->skipped_count,
	                 "mean_width", gn_json_real(report->mean_width), "mean_height",
	                 gn_json_real(report->mean_height));
}

/* ---------------------------------------------------------------- upload ---------------------- */

/* Finds the archive: the body itself, or the part `archive` of a form. On a failure, replies and
 * returns -1. */
static int find_archive(struct gn_request *r, gn_bytes_read **read, void **user)
{
	struct gn_multipart *form;
	struct gn_form_part part;
	int found;

	*read = gn_body_read;
	*user = r;
	if (strcmp(gn_content_type(r), "multipart/form-data") != 0)
		return 0;
	form = gn_multipart_open(r);
	if (!form)
		return -1;
	found = gn_multipart_next(form, &part);
	if (found < 0)
		return -1;
	if (!found || strcmp(part.name, "archive") != 0) {
		gn_reply_field(r, "/archive", "the form's first part must be the archive");
		return -1;
	}
	*read = gn_multipart_read;
	*user = form;
	return 0;
}

/* Unpacks into the staged folder as long as the disk has more free space than its reserve. */
static int ingest(struct gn_request *r, const struct upload *upload, const char *folder, gn_bytes_read *read,
                  void *user, struct gn_ingest_report *report, struct gn_error *err)
{
	const struct gn_service *service = gn_request_service(r);
	struct gn_ingest_options options = {
	    .val_fraction = upload->val_fraction,
	    .seed = (uint64_t)upload->seed,
	    .max_pixels = (uint64_t)service->config.max_pixels,
	    .max_image_bytes = (uint64_t)service->config.max_image,
	    .max_entries = (int)service->config.max_entries,
	    .budget = gn_service_archive_budget(service),
	    .gate = service->upload_gate,
	    .threads = service->device_info.threads,
	    .read = read,
	    .gone = gn_request_gone,
	    .user = user,
	    .room = gn_api_has_room,
	    .room_user = service->store,
	};

	return gn_dataset_ingest(folder, &options, report, err);
}

static int store_dataset(struct gn_request *r, const char *folder, const struct gn_ingest_report *report,
                         struct gn_row *row, struct gn_error *err)
{
	row->fields = dataset_fields(report);
	if (!row->fields)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for the data set's description");
	return gn_store_add(gn_request_service(r)->store, GN_KIND_DATASET, folder, row, err);
}

void gn_api_datasets_post(struct gn_request *r)
{
	struct gn_store *store = gn_request_service(r)->store;
	struct upload upload;
	struct gn_ingest_report report = {0};
	struct gn_row row = {0};
	struct gn_error err = {0};
	char folder[PATH_MAX];
	gn_bytes_read *read;
	void *user;

	if (gn_api_query(r, UPLOAD, sizeof UPLOAD / sizeof *UPLOAD, &upload) ||
	    gn_api_name_free(r, GN_KIND_DATASET, upload.name) || find_archive(r, &read, &user))
		return;
	if (gn_store_stage(store, folder, &err)) {
		gn_reply_error(r, &err);
		return;
	}
	memcpy(row.name, upload.name, sizeof row.name);
	if (ingest(r, &upload, folder, read, user, &report, &err) || store_dataset(r, folder, &report, &row, &err)) {
		gn_store_unstage(store, folder);
		gn_reply_error(r, &err);
	} else {
		gn_api_reply_created(r, GN_KIND_DATASET, &row);
	}
	gn_ingest_report_release(&report);
	gn_row_release(&row);
}

/* ---------------------------------------------------------------- list, one, delete ----------- */

void gn_api_datasets_list(struct gn_request *r)
{
	gn_api_list(r, GN_KIND_DATASET);
}

void gn_api_dataset_get(struct gn_request *r)
{
	gn_api_get(r, GN_KIND_DATASET);
}

static void forget(struct gn_request *r, const char *id)
{
	gn_dataset_forget(gn_api_of(r)->datasets, id);
}

void gn_api_dataset_delete(struct gn_request *r)
{
	gn_api_delete(r, GN_KIND_DATASET, forget);
}
