/* POST /v1/models/{id}/classify: one image as the body, or a form with many. */
#include "api/api.h"

enum { IMAGE_LIMIT = 64 << 20, MAX_FILES = 1000, AHEAD = 64 };

struct top {
	int top;
};
static const struct gn_field TOP[] = {
    {"top", GN_FIELD_INT, 0, offsetof(struct top, top), 1, 1000, 5, .help = "Predictions of each image."}};

/* ---------------------------------------------------------------- predictions ----------------------------------- */

/* The most probable classes, most probable first; equal ones by index. */
static json_t *predictions(const struct gn_model *model, const float *probabilities, int top)
{
	int classes = model->arch.classes;
	json_t *items = json_array();
	bool *taken = calloc((size_t)classes, sizeof *taken);
	char index[16];

	for (int n = 0; taken && n < top && n < classes; n++) {
		int best = -1;
		for (int k = 0; k < classes; k++)
			if (!taken[k] && (best < 0 || probabilities[k] > probabilities[best]))
				best = k;
		taken[best] = true;
		snprintf(index, sizeof index, "%d", best);
		json_array_append_new(items, json_pack("{s:s,s:i,s:o}", "label",
		                                       model->label_count ? model->labels[best] : index, "index", best,
		                                       "probability", gn_json_real((double)probabilities[best])));
	}
	free(taken);
	return items;
}

static json_t *timing(double decode, double queue, double compute)
{
	return json_pack("{s:f,s:f,s:f}", "decode_seconds", decode, "queue_seconds", queue, "compute_seconds", compute);
}

/* ---------------------------------------------------------------- one image ------------------------------------- */

static void classify_bytes(struct gn_request *r, struct gn_held *held, const void *bytes, size_t size, int top)
{
	struct gn_classifier *classifier = gn_request_service(r)->classifier;
	struct gn_ticket ticket = {0};
	struct gn_error err = {0};

	if (gn_image_sniff(bytes, size) == GN_IMAGE_UNKNOWN) {
		gn_reply_problem(r, 415, "the body is not a JPEG, PNG or WebP image");
		return;
	}
	if (gn_classify_send(classifier, held, bytes, size, &ticket, &err)) {
		gn_reply_error(r, &err);
		return;
	}
	gn_classify_wait(classifier, &ticket);
	if (ticket.error.code)
		gn_reply_error(r, &ticket.error);
	else
		gn_reply_json(r, 200,
		              json_pack("{s:s,s:o,s:o}", "model", held->id, "predictions",
		                        predictions(held->model, ticket.probabilities, top), "timing",
		                        timing(ticket.decode_seconds, ticket.queue_seconds, ticket.compute_seconds)));
	gn_ticket_release(&ticket);
}

static void classify_one(struct gn_request *r, struct gn_held *held, int top)
{
	struct gn_error err = {0};
	void *bytes;
	size_t size;

	if (gn_source_load(gn_body_read, r, IMAGE_LIMIT, &bytes, &size, &err)) {
		gn_reply_error(r, &err);
		return;
	}
	classify_bytes(r, held, bytes, size, top);
	free(bytes);
}

/* ---------------------------------------------------------------- many images ----------------------------------- */

/* Images of a form, on their way. At most AHEAD are undone at once, so that memory does not grow with the form. */
struct batch {
	struct gn_request *r;
	struct gn_held *held;
	int top, count;
	json_t *results;
	double decode, queue, compute;
	struct gn_ticket tickets[AHEAD];
	json_t *items[AHEAD]; /* borrowed from results */
};

static void add_error(json_t *item, int status, const char *detail)
{
	json_object_set_new(item, "error", json_pack("{s:i,s:s}", "status", status, "detail", detail));
}

/* Takes the image in a slot to its end. */
static void finish(struct batch *batch, int slot)
{
	struct gn_ticket *ticket = &batch->tickets[slot];

	if (!ticket->sent)
		return;
	gn_classify_wait(gn_request_service(batch->r)->classifier, ticket);
	batch->decode += ticket->decode_seconds;
	batch->queue += ticket->queue_seconds;
	batch->compute += ticket->compute_seconds;
	if (ticket->error.code)
		add_error(batch->items[slot], gn_code_status(ticket->error.code), ticket->error.text);
	else
		json_object_set_new(batch->items[slot], "predictions",
		                    predictions(batch->held->model, ticket->probabilities, batch->top));
	gn_ticket_release(ticket);
	memset(ticket, 0, sizeof *ticket);
}

/* Reads and sends one file of the form. Returns -1 when the body broke (err). */
static int send_file(struct batch *batch, struct gn_multipart *form, const char *filename, struct gn_error *err)
{
	int slot = batch->count++ % AHEAD;
	struct gn_error own = {0};
	void *bytes;
	size_t size;

	finish(batch, slot);
	json_t *name = json_string(filename), *item = json_object();
	json_object_set_new(item, "filename", name ? name : json_string("(a name that is not UTF-8)"));
	json_array_append_new(batch->results, item);
	batch->items[slot] = item;
	if (gn_source_load(gn_multipart_read, form, IMAGE_LIMIT, &bytes, &size, err))
		return -1;
	if (gn_image_sniff(bytes, size) == GN_IMAGE_UNKNOWN)
		add_error(item, 415, "not a JPEG, PNG or WebP image");
	else if (gn_classify_send(gn_request_service(batch->r)->classifier, batch->held, bytes, size,
	                          &batch->tickets[slot], &own))
		add_error(item, gn_code_status(own.code), own.text);
	free(bytes);
	return 0;
}

/* 0 at the form's end, -1 when it broke, which is answered. */
static int send_files(struct batch *batch, struct gn_multipart *form)
{
	struct gn_error err = {0};
	struct gn_part part;
	int more;

	while ((more = gn_multipart_next(form, &part)) > 0) {
		if (!*part.filename) {
			gn_reply_problem(batch->r, 422, "every part of the form must be a file; '%s' is not",
			                 part.name);
			return -1;
		}
		if (batch->count == MAX_FILES) {
			gn_reply_problem(batch->r, 413, "a form may have %d files", MAX_FILES);
			return -1;
		}
		if (send_file(batch, form, part.filename, &err)) {
			gn_reply_error(batch->r, &err);
			return -1;
		}
	}
	if (more == 0 && !batch->count) {
		gn_reply_problem(batch->r, 422, "the form has no file");
		return -1;
	}
	return more;
}

static void classify_form(struct gn_request *r, struct gn_held *held, int top)
{
	struct gn_multipart *form = gn_multipart_open(r);
	struct batch *batch;

	if (!form)
		return;
	batch = calloc(1, sizeof *batch);
	if (!batch) {
		gn_reply_problem(r, 503, "no memory for the form");
		return;
	}
	batch->r = r;
	batch->held = held;
	batch->top = top;
	batch->results = json_array();
	int broken = send_files(batch, form);
	for (int slot = 0; slot < AHEAD; slot++)
		finish(batch, slot);
	if (broken)
		json_decref(batch->results);
	else
		gn_reply_json(r, 200,
		              json_pack("{s:s,s:o,s:o}", "model", held->id, "results", batch->results, "timing",
		                        timing(batch->decode, batch->queue, batch->compute)));
	free(batch);
}

void gn_api_classify(struct gn_request *r)
{
	const char *type = gn_content_type(r);
	struct gn_held *held;
	struct top top;

	if (gn_api_query(r, TOP, 1, &top) || gn_api_hold_model(r, &held))
		return;
	if (held->model->arch.classes == 0)
		gn_reply_problem(r, 409, "the model has no head, so it cannot classify: tune it on a data set first");
	else if (!strcmp(type, "multipart/form-data"))
		classify_form(r, held, top.top);
	else if (!*type || !strncmp(type, "image/", 6) || !strcmp(type, "application/octet-stream"))
		classify_one(r, held, top.top);
	else
		gn_reply_problem(
		    r, 415, "an image is wanted (image/jpeg, image/png, image/webp) or multipart/form-data, not %s",
		    type);
	gn_modelpool_drop(gn_api_models(r), held);
}
