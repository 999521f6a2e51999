/* POST /v1/models/{id}/classify: one image as the body, or a form with many; for one model or
 * several. */
#include "api/classify/chosen.h"

enum { MAX_FILES = 1000, AHEAD = 64 };

static size_t image_limit(const struct gn_request *r)
{
	return (size_t)gn_request_service(r)->config.max_image;
}

/* ---------------------------------------------------------------- one image ------------------- */

static void classify_bytes(struct gn_request *r, const struct gn_chosen *chosen, const void *bytes, size_t size)
{
	struct gn_ticket *tickets;
	struct gn_error err = {0};
	double seconds[3] = {0};

	if (gn_image_sniff(bytes, size) == GN_IMAGE_UNKNOWN) {
		gn_reply_problem(r, 415, "the body is not a JPEG, PNG or WebP image");
		return;
	}
	tickets = calloc((size_t)chosen->tickets, sizeof *tickets);
	if (!tickets) {
		gn_reply_problem(r, 503, "no memory for the image");
		return;
	}
	if (gn_chosen_send(r, chosen, bytes, size, tickets, &err) ||
	    gn_chosen_wait(r, chosen, tickets, seconds, &err)) {
		gn_reply_error(r, &err);
	} else {
		json_t *result = json_object();

		gn_chosen_result(chosen, tickets, result);
		gn_reply_json(r, 200, gn_chosen_reply(chosen, result, seconds));
	}
	gn_chosen_clear(chosen, tickets);
	free(tickets);
}

static void classify_one(struct gn_request *r, const struct gn_chosen *chosen)
{
	struct gn_error err = {0};
	void *bytes;
	size_t size;

	if (gn_source_load(gn_body_read, r, image_limit(r), &bytes, &size, &err)) {
		gn_reply_error(r, &err);
		return;
	}
	classify_bytes(r, chosen, bytes, size);
	free(bytes);
}

/* ---------------------------------------------------------------- many images ----------------- */

/* Images of a form that are in progress. At most AHEAD at a time, so that memory does not grow with
 * the form. */
struct batch {
	struct gn_request *r;
	const struct gn_chosen *chosen;
	int count;
	struct gn_work work;
	uint64_t bytes; /* of the files so far */
	json_t *results;
	double seconds[3];
	struct gn_ticket *tickets; /* [AHEAD][chosen->tickets] */
	json_t *items[AHEAD];      /* borrowed from results; NULL: the slot is free */
};

static void add_error(json_t *item, const struct gn_error *err)
{
	json_object_set_new(item, "error",
	                    json_pack("{s:i,s:s}", "status", gn_code_status(err->code), "detail", err->text));
}

static struct gn_ticket *tickets_of(const struct batch *batch, int slot)
{
	return batch->tickets + (size_t)slot * (size_t)batch->chosen->tickets;
}

/* Waits for the image in a slot and stores its result. */
static void finish(struct batch *batch, int slot)
{
	struct gn_ticket *tickets = tickets_of(batch, slot);
	struct gn_error err = {0};

	if (!batch->items[slot])
		return;
	if (gn_chosen_wait(batch->r, batch->chosen, tickets, batch->seconds, &err))
		add_error(batch->items[slot], &err);
	else
		gn_chosen_result(batch->chosen, tickets, batch->items[slot]);
	gn_chosen_clear(batch->chosen, tickets);
	batch->items[slot] = NULL;
}

/* Reads and sends one file of the form. Returns -1 if the body is malformed or the form takes too
 * long (err). */
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
	if (gn_api_check_work(batch->r, &batch->work, batch->bytes, err) ||
	    gn_source_load(gn_multipart_read, form, image_limit(batch->r), &bytes, &size, err))
		return -1;
	batch->bytes += size;
	if (gn_image_sniff(bytes, size) == GN_IMAGE_UNKNOWN)
		json_object_set_new(item, "error",
		                    json_pack("{s:i,s:s}", "status", 415, "detail", "not a JPEG, PNG or WebP image"));
	else if (gn_chosen_send(batch->r, batch->chosen, bytes, size, tickets_of(batch, slot), &own))
		add_error(item, &own);
	else
		batch->items[slot] = item;
	free(bytes);
	return 0;
}

/* 0 at the form's end. If the form is malformed, replies and returns -1. */
static int send_files(struct batch *batch, struct gn_multipart *form)
{
	struct gn_error err = {0};
	struct gn_form_part part;
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

static void classify_form(struct gn_request *r, const struct gn_chosen *chosen)
{
	struct gn_multipart *form = gn_multipart_open(r);
	struct batch batch = {.r = r, .chosen = chosen};

	if (!form)
		return;
	batch.tickets = calloc((size_t)AHEAD * (size_t)chosen->tickets, sizeof *batch.tickets);
	if (!batch.tickets) {
		gn_reply_problem(r, 503, "no memory for the form");
		return;
	}
	batch.results = json_array();
	gn_work_begin(&batch.work, 0);
	int broken = send_files(&batch, form);
	for (int slot = 0; slot < AHEAD; slot++)
		finish(&batch, slot);
	if (broken)
		json_decref(batch.results);
	else
		gn_reply_json(r, 200,
		              gn_chosen_reply(chosen, json_pack("{s:o}", "results", batch.results), batch.seconds));
	free(batch.tickets);
}

void gn_api_classify(struct gn_request *r)
{
	const char *type = gn_content_type(r);
	struct gn_chosen chosen;

	if (gn_chosen_read(r, &chosen)) {
		gn_chosen_release(r, &chosen);
		return;
	}
	if (!strcmp(type, "multipart/form-data"))
		classify_form(r, &chosen);
	else if (!*type || !strncmp(type, "image/", 6) || !strcmp(type, "application/octet-stream"))
		classify_one(r, &chosen);
	else
		gn_reply_problem(
		    r, 415, "an image is wanted (image/jpeg, image/png, image/webp) or multipart/form-data, not %s",
		    type);
	gn_chosen_release(r, &chosen);
}
