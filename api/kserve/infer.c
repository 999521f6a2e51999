/*
 * POST /v2/models/{name}/infer. A request is checked completely before anything is computed. Its
 * pictures then go through the classifier's batches like those of other requests. Only a window of
 * them is in progress at a time, so that memory does not grow with their number.
 */
#include "api/kserve/kserve.h"

#include "api/kserve/numbers.h"

#include <openssl/evp.h>

/* BODY_LIMIT allows 20 images of 3 x 224 x 224 with ten characters a number. Beside the batches, a
 * request needs memory for the body and four bytes for each of its numbers, at most 100 MB: numbers
 * do not become JSON nodes (api/kserve/numbers.h). */
enum { BODY_LIMIT = 32 << 20, MAX_IMAGES = 256, MAX_VALUES = 4 << 20, AHEAD = 32, OUTPUTS = 3 };

static const char *const output_names[OUTPUTS] = {"logits", "probabilities", "label"};

/* A checked request. Tensors are borrowed from the body. */
struct infer {
	struct gn_request *r;
	struct gn_open_model *opened;
	const json_t *id;          /* NULL if the request has none */
	const json_t *data;        /* of the input */
	struct gn_numbers numbers; /* the numbers, if data has nothing else; data is then empty */
	bool pixels;               /* true: values; false: files */
	int count, side;           /* images, their side */
	int order[OUTPUTS], outputs;
	struct gn_work work;
	uint64_t bytes; /* of the files so far */
	json_t *results[OUTPUTS];
};

/* ---------------------------------------------------------------- checking: members ----------- */

/* Checks that an object has only these members. Otherwise replies and returns -1. */
static int check_members(struct gn_request *r, const json_t *object, const char *where, const char *const *known)
{
	const char *name;
	json_t *value;

	if (!json_is_object(object)) {
		gn_v2_error(r, 400, "%s must be an object", where);
		return -1;
	}
	json_object_foreach((json_t *)(uintptr_t)object, name, value)
	{
		int i = 0;

		while (known[i] && strcmp(known[i], name) != 0)
			i++;
		if (!known[i]) {
			gn_v2_error(r, 400, "%s.%.60s is not known", where, name);
			return -1;
		}
	}
	return 0;
}

/* All parameters are allowed, except those for tensors as raw bytes, which this server does not
 * support. */
static int check_parameters(struct gn_request *r, const json_t *object, const char *where)
{
	const json_t *parameters = json_object_get(object, "parameters");
	const char *name;
	json_t *value;

	if (!parameters)
		return 0;
	if (!json_is_object(parameters)) {
		gn_v2_error(r, 400, "%s.parameters must be an object", where);
		return -1;
	}
	json_object_foreach((json_t *)(uintptr_t)parameters, name, value)
	{
		if (!strncmp(name, "binary_data", strlen("binary_data")) && !json_is_false(value)) {
			gn_v2_error(r, 400, "%s.parameters.%.60s: the binary data extension is not supported", where,
			            name);
			return -1;
		}
	}
	return 0;
}

/* ---------------------------------------------------------------- checking: the input --------- */

/* Checks the shape: [n] or [n, 3, S, S]. On an error, replies and returns -1. */
static int check_shape(struct infer *in, const json_t *input)
{
	const json_t *shape = json_object_get(input, "shape"), *first = json_array_get(shape, 0);
	size_t rank = in->pixels ? 4 : 1;
	const int wanted[4] = {0, 3, in->side, in->side};
	bool fits = json_array_size(shape) == rank && json_is_integer(first) && json_integer_value(first) >= 1;

	for (size_t i = 1; fits && i < rank; i++)
		fits = json_is_integer(json_array_get(shape, i)) &&
		       json_integer_value(json_array_get(shape, i)) == wanted[i];
	if (!fits) {
		if (in->pixels)
			gn_v2_error(in->r, 400, "inputs[0].shape must be [n,3,%d,%d] with n of 1 or more", in->side,
			            in->side);
		else
			gn_v2_error(in->r, 400, "inputs[0].shape must be [n] with n of 1 or more");
		return -1;
	}
	if (json_integer_value(first) > MAX_IMAGES ||
	    json_integer_value(first) * in->opened->model->arch.classes > MAX_VALUES) {
		gn_v2_error(in->r, 413,
		            "inputs[0].shape: at most %d images, and %d logits in all, are computed in one request",
		            MAX_IMAGES, MAX_VALUES);
		return -1;
	}
	in->count = (int)json_integer_value(first);
	return 0;
}

static int check_datatype(struct infer *in, const json_t *input)
{
	const char *name = json_string_value(json_object_get(input, "name"));
	const char *datatype = json_string_value(json_object_get(input, "datatype"));

	in->pixels = name && !strcmp(name, "pixels");
	if (!name || (!in->pixels && strcmp(name, "image") != 0)) {
		gn_v2_error(in->r, 400, "inputs[0].name must be image (files) or pixels (values), not %.60s",
		            name ? name : "missing");
		return -1;
	}
	if (datatype && !strcmp(datatype, in->pixels ? "FP32" : "BYTES"))
		return 0;
	gn_v2_error(in->r, 400, "inputs[0].datatype of %s must be %s, not %.60s", name, in->pixels ? "FP32" : "BYTES",
	            datatype ? datatype : "missing");
	return -1;
}

static int check_input(struct infer *in, const json_t *body)
{
	static const char *const known[] = {"name", "shape", "datatype", "parameters", "data", NULL};
	const json_t *inputs = json_object_get(body, "inputs"), *input = json_array_get(inputs, 0);

	if (json_array_size(inputs) != 1) {
		gn_v2_error(in->r, 400, "inputs must be an array of one tensor: image or pixels");
		return -1;
	}
	if (check_members(in->r, input, "inputs[0]", known) || check_parameters(in->r, input, "inputs[0]") ||
	    check_datatype(in, input) || check_shape(in, input))
		return -1;
	in->data = json_object_get(input, "data");
	if (json_is_array(in->data) && (json_array_size(in->data) > 0 || in->numbers.length))
		return 0;
	gn_v2_error(in->r, 400, "inputs[0].data must be an array with content");
	return -1;
}

/* ---------------------------------------------------------------- checking: the outputs ------- */

static int check_output(struct infer *in, const json_t *output, size_t index)
{
	static const char *const known[] = {"name", "parameters", NULL};
	const char *name = json_string_value(json_object_get(output, "name"));
	char where[32];
	int found = 0;

	snprintf(where, sizeof where, "outputs[%zu]", index);
	if (check_members(in->r, output, where, known) || check_parameters(in->r, output, where))
		return -1;
	while (found < OUTPUTS && (!name || strcmp(output_names[found], name) != 0))
		found++;
	if (found == OUTPUTS) {
		gn_v2_error(in->r, 400, "%s.name must be logits, probabilities or label, not %.60s", where,
		            name ? name : "missing");
		return -1;
	}
	for (int i = 0; i < in->outputs; i++) {
		if (in->order[i] == found) {
			gn_v2_error(in->r, 400, "%s: %s is asked for twice", where, name);
			return -1;
		}
	}
	in->order[in->outputs++] = found;
	return 0;
}

static int check_outputs(struct infer *in, const json_t *body)
{
	const json_t *outputs = json_object_get(body, "outputs");
	size_t i;
	json_t *output;

	if (!outputs) {
		for (int o = 0; o < OUTPUTS; o++)
			in->order[in->outputs++] = o;
		return 0;
	}
	if (!json_is_array(outputs) || json_array_size(outputs) == 0) {
		gn_v2_error(in->r, 400, "outputs must be an array with content, or left out");
		return -1;
	}
	json_array_foreach(outputs, i, output)
	{
		if (check_output(in, output, i))
			return -1;
	}
	return 0;
}

static int check_request(struct infer *in, const json_t *body)
{
	static const char *const known[] = {"id", "parameters", "inputs", "outputs", NULL};

	if (check_members(in->r, body, "the request", known) || check_parameters(in->r, body, "the request"))
		return -1;
	in->id = json_object_get(body, "id");
	if (in->id && !json_is_string(in->id)) {
		gn_v2_error(in->r, 400, "id must be a string");
		return -1;
	}
	return check_input(in, body) || check_outputs(in, body) ? -1 : 0;
}

/* ---------------------------------------------------------------- pixels ---------------------- */

/* Reads all images, so that they are checked before the first is computed. Caller frees. On an
 * error, replies and returns NULL. */
static float *read_pixels(struct infer *in)
{
	size_t image = (size_t)3 * (size_t)in->side * (size_t)in->side, room = image * (size_t)in->count, used = 0;
	const char *wrong = "has something that is no finite FP32 number";
	float *out;

	/* the body cannot have more numbers: each needs two characters */
	if (room > BODY_LIMIT / 2) {
		gn_v2_error(in->r, 413, "inputs[0].shape: %d images of %zu values do not fit a request of %d bytes",
		            in->count, image, BODY_LIMIT);
		return NULL;
	}
	out = malloc(room * sizeof *out);
	if (!out) {
		gn_v2_error(in->r, 503, "no memory for the pixels");
		return NULL;
	}
	if (in->numbers.length)
		wrong = gn_numbers_read(out, room, &used, &in->numbers);
	if (!wrong)
		return out;
	gn_v2_error(in->r, 400, "inputs[0].data %s: the shape asks for %zu values, %zu were read", wrong, room, used);
	free(out);
	return NULL;
}

/* ---------------------------------------------------------------- files ----------------------- */

/* Decodes base64 (RFC 4648, padded, without line breaks). NULL if the text is not base64. Caller
 * frees. */
static uint8_t *decode_base64(const char *text, size_t length, size_t *size)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t digits = strspn(text, alphabet), padding = length - digits;
	uint8_t *bytes;

	if (length == 0 || length % 4 || padding > 2 || strspn(text + digits, "=") != padding || length > INT32_MAX)
		return NULL;
	bytes = malloc(length / 4 * 3);
	if (bytes && EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)length) < 0) {
		free(bytes);
		return NULL;
	}
	*size = length / 4 * 3 - padding;
	return bytes;
}

/* Sends file `index`. On a failure, replies and returns -1. */
static int send_file(struct infer *in, int index, struct gn_ticket *ticket)
{
	const json_t *text = json_array_get(in->data, (size_t)index);
	struct gn_error err = {0};
	char where[48];
	size_t size = 0;
	uint8_t *bytes =
	    json_is_string(text) ? decode_base64(json_string_value(text), json_string_length(text), &size) : NULL;
	bool failed = true;

	snprintf(where, sizeof where, "inputs[0].data[%d]", index);
	if (!bytes)
		gn_v2_error(in->r, 400, "%s is not base64", where);
	else if (gn_image_sniff(bytes, size) == GN_IMAGE_UNKNOWN)
		gn_v2_error(in->r, 400, "%s is not a JPEG, PNG or WebP image", where);
	else
		failed =
		    gn_api_check_work(in->r, &in->work, in->bytes += size, &err) ||
		    gn_classify_send(gn_request_service(in->r)->classifier, &in->opened, 1, bytes, size, ticket, &err);
	if (failed && err.code)
		gn_v2_failure(in->r, where, &err);
	free(bytes);
	return failed ? -1 : 0;
}

static int check_files(struct infer *in)
{
	if (in->numbers.length) {
		gn_v2_error(in->r, 400, "inputs[0].data[0] is not base64");
		return -1;
	}
	if (json_array_size(in->data) == (size_t)in->count)
		return 0;
	gn_v2_error(in->r, 400, "inputs[0].data has %zu elements, the shape asks for %d", json_array_size(in->data),
	            in->count);
	return -1;
}

/* ---------------------------------------------------------------- results --------------------- */

static void add_values(json_t *array, const float *values, int count)
{
	for (int k = 0; k < count; k++)
		json_array_append_new(array, gn_json_real((double)values[k]));
}

static json_t *label_of(const struct gn_model *model, const float *probabilities)
{
	int best = 0;
	char index[16];

	for (int k = 1; k < model->arch.classes; k++)
		best = probabilities[k] > probabilities[best] ? k : best;
	snprintf(index, sizeof index, "%d", best);
	return json_string(model->label_count ? model->labels[best] : index);
}

/* Waits for an image and stores its result. On a failure replies, unless *failed says that a reply
 * was sent already. */
static void finish(struct infer *in, struct gn_ticket *ticket, bool *failed)
{
	const struct gn_model *model = in->opened->model;

	if (!ticket->sent)
		return;
	gn_classify_wait(gn_request_service(in->r)->classifier, ticket);
	if (ticket->error.code && !*failed) {
		*failed = true;
		gn_v2_failure(in->r, "", &ticket->error);
	} else if (!*failed) {
		add_values(in->results[0], ticket->logits, model->arch.classes);
		add_values(in->results[1], ticket->probabilities, model->arch.classes);
		json_array_append_new(in->results[2], label_of(model, ticket->probabilities));
	}
	gn_ticket_release(ticket);
	memset(ticket, 0, sizeof *ticket);
}

/* Sends image `index`. On a failure, replies and returns -1. */
static int send_image(struct infer *in, int index, const float *pixels, struct gn_ticket *ticket)
{
	size_t image = (size_t)3 * (size_t)in->side * (size_t)in->side;
	struct gn_error err = {0};

	ticket->gone = gn_request_gone;
	ticket->user = in->r;
	if (!in->pixels)
		return send_file(in, index, ticket);
	if (!gn_classify_send_values(gn_request_service(in->r)->classifier, in->opened, pixels + image * (size_t)index,
	                             ticket, &err))
		return 0;
	gn_v2_failure(in->r, "", &err);
	return -1;
}

/* Replies and returns -1 if any image fails. */
static int compute(struct infer *in, const float *pixels)
{
	struct gn_ticket *tickets = calloc(AHEAD, sizeof *tickets);
	bool failed = false;

	if (!tickets) {
		gn_v2_error(in->r, 503, "no memory for the request");
		return -1;
	}
	gn_work_begin(&in->work, 0);
	for (int i = 0; i < in->count && !failed; i++) {
		finish(in, &tickets[i % AHEAD], &failed);
		failed = failed || send_image(in, i, pixels, &tickets[i % AHEAD]);
	}
	/* the oldest first, so that results keep the order of the images */
	for (int i = 0; i < AHEAD; i++)
		finish(in, &tickets[(in->count + i) % AHEAD], &failed);
	free(tickets);
	return failed ? -1 : 0;
}

static void reply_results(struct infer *in)
{
	json_t *outputs = json_array(), *body;

	for (int i = 0; i < in->outputs; i++) {
		int o = in->order[i];
		json_t *shape = o == 2 ? json_pack("[i]", in->count)
		                       : json_pack("[i,i]", in->count, in->opened->model->arch.classes);

		json_array_append_new(outputs,
		                      json_pack("{s:s,s:s,s:o,s:O}", "name", output_names[o], "datatype",
		                                o == 2 ? "BYTES" : "FP32", "shape", shape, "data", in->results[o]));
	}
	body = json_pack("{s:s,s:o}", "model_name", gn_path(in->r, "name"), "outputs", outputs);
	if (in->id)
		json_object_set(body, "id", (json_t *)(uintptr_t)in->id);
	gn_reply_json(in->r, 200, body);
}

/* ---------------------------------------------------------------- the whole ------------------- */

static void infer(struct infer *in, const json_t *body)
{
	float *pixels = NULL;

	if (check_request(in, body) || (in->pixels ? !(pixels = read_pixels(in)) : check_files(in) != 0))
		return;
	for (int o = 0; o < OUTPUTS; o++)
		in->results[o] = json_array();
	if (!compute(in, pixels))
		reply_results(in);
	for (int o = 0; o < OUTPUTS; o++)
		json_decref(in->results[o]);
	free(pixels);
}

/* The body's text. On a failure, replies and returns NULL. Caller frees. */
static char *read_text(struct gn_request *r, size_t *size)
{
	struct gn_error err = {0};
	void *text;

	if (gn_header(r, "Inference-Header-Content-Length")) {
		gn_v2_error(r, 400, "Inference-Header-Content-Length: the binary data extension is not supported");
		return NULL;
	}
	if (gn_source_load(gn_body_read, r, BODY_LIMIT, &text, size, &err)) {
		gn_v2_failure(r, "the body", &err);
		return NULL;
	}
	return text;
}

static void read_and_infer(struct infer *in)
{
	struct gn_error err = {0};
	json_t *body;
	size_t size;
	char *text = read_text(in->r, &size);

	if (!text)
		return;
	if (gn_numbers_load(&body, &in->numbers, text, size, &err)) {
		gn_v2_failure(in->r, "the body", &err);
	} else {
		infer(in, body);
		json_decref(body);
	}
	free(text);
}

void gn_api_v2_infer(struct gn_request *r)
{
	struct infer in = {.r = r};

	if (gn_v2_hold(r, &in.opened))
		return;
	in.side = in.opened->model->arch.image_size;
	read_and_infer(&in);
	gn_modelpool_drop(gn_api_models(r), in.opened);
}
