/* The pictures of a data set: their list, the original bytes, thumbnails. */
#include "api/api.h"

struct view {
	int limit, after, split, class; /* after -1: from the first; split and class -1: any */
};

static const char *const SPLITS[] = {[GN_TRAIN] = "train", [GN_VAL] = "val", [GN_TEST] = "test", NULL};

static const struct gn_field VIEW[] = {
    GN_INDEX_PAGE_FIELDS(struct view),
    {"split", GN_FIELD_CHOICE, 0, offsetof(struct view, split), .fallback = -1, .choices = SPLITS, .help = "A split."},
    {"class", GN_FIELD_SPECIAL, 0, 0, .special = &gn_api_any_text, .help = "A class's name."},
};
static const struct gn_field IMAGE[] = {
    {"size", GN_FIELD_INT, 0, 0, 16, 1024, 0, .help = "Side that the thumbnail fits into."},
};

/* Opens the data set that the path names. On a failure, replies and returns -1. sha256 receives the
 * data set's hash and may be NULL. */
static int hold(struct gn_request *r, struct gn_dataset **dataset, char sha256[65])
{
	struct gn_row row;
	struct gn_error err = {0};

	if (gn_api_row(r, GN_KIND_DATASET, &row))
		return -1;
	if (sha256)
		snprintf(sha256, 65, "%s", json_string_value(json_object_get(row.fields, "sha256")));
	int failed = gn_dataset_hold(gn_api_of(r)->datasets, row.id, dataset, &err);
	gn_row_release(&row);
	if (failed)
		gn_reply_error(r, &err);
	return failed;
}

static json_t *image_item(const struct gn_dataset *dataset, int index)
{
	const struct gn_sample *sample = &dataset->samples[index];

	return json_pack("{s:i,s:s,s:s,s:s,s:i,s:i,s:I}", "index", index, "class", dataset->classes[sample->label].name,
	                 "split", gn_split_name(sample->split), "path", sample->path, "width", sample->width, "height",
	                 sample->height, "bytes", (json_int_t)sample->bytes);
}

static void reply_page(struct gn_request *r, const struct gn_dataset *dataset, const struct view *view)
{
	json_t *items = json_array(), *next = json_null();
	int count = 0, last = 0;

	for (int i = view->after + 1; i < dataset->sample_count; i++) {
		const struct gn_sample *sample = &dataset->samples[i];
		if ((view->split >= 0 && (int)sample->split != view->split) ||
		    (view->class >= 0 && sample->label != view->class))
			continue;
		if (count++ == view->limit) {
			next = json_integer(last);
			break;
		}
		json_array_append_new(items, image_item(dataset, i));
		last = i;
	}
	gn_reply_json(r, 200, json_pack("{s:o,s:o}", "items", items, "next", next));
}

void gn_api_dataset_images(struct gn_request *r)
{
	struct gn_dataset *dataset;
	struct view view;
	const char *class = gn_query(r, "class");

	if (gn_api_query(r, VIEW, sizeof VIEW / sizeof *VIEW, &view) || hold(r, &dataset, NULL))
		return;
	view.class = -1;
	for (int c = 0; class && c < dataset->class_count; c++)
		if (!strcmp(dataset->classes[c].name, class))
			view.class = c;
	if (class && view.class < 0)
		gn_reply_field(r, "/class", "the data set has no such class");
	else
		reply_page(r, dataset, &view);
	gn_dataset_drop(gn_api_of(r)->datasets, dataset);
}

static void reply_image(struct gn_request *r, const struct gn_dataset *dataset, int index, int size, const char *sha256)
{
	const struct gn_sample *sample = &dataset->samples[index];
	const struct gn_image_limits limits = gn_service_image_limits(gn_request_service(r), gn_request_gone, r);
	const uint8_t *bytes = dataset->pack + sample->offset;
	struct gn_error err = {0};
	uint8_t *jpeg;
	size_t jpeg_size;
	char etag[128];

	/* the bytes of a data set never change */
	gn_reply_header(r, "Cache-Control", "private, max-age=86400");
	snprintf(etag, sizeof etag, "%.32s-%d-%d", sha256, index, size);
	if (!size) {
		gn_reply_bytes(r, 200, gn_image_media_type(gn_image_sniff(bytes, sample->bytes)), bytes, sample->bytes,
		               etag);
		return;
	}
	if (gn_image_thumbnail(&jpeg, &jpeg_size, bytes, sample->bytes, &limits, size, &err)) {
		gn_reply_error(r, &err);
		return;
	}
	gn_reply_bytes(r, 200, "image/jpeg", jpeg, jpeg_size, etag);
	free(jpeg);
}

void gn_api_dataset_image(struct gn_request *r)
{
	const char *text = gn_path(r, "index");
	struct gn_dataset *dataset;
	char sha256[65], *end;
	int size;

	if (gn_api_query(r, IMAGE, sizeof IMAGE / sizeof *IMAGE, &size) || hold(r, &dataset, sha256))
		return;
	long index = strtol(text, &end, 10);
	if (end == text || *end || strspn(text, "0123456789") != strlen(text) || index >= dataset->sample_count)
		gn_reply_problem(r, 404, "the data set has no image with this index");
	else
		reply_image(r, dataset, (int)index, size, sha256);
	gn_dataset_drop(gn_api_of(r)->datasets, dataset);
}
