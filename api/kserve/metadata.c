/* The Open Inference Protocol (KServe v2): health and metadata. Inference is in infer.c. */
#include "api/kserve/kserve.h"

void gn_v2_error(struct gn_request *r, int status, const char *format, ...)
{
	char text[1024];
	va_list arguments;
	json_t *body;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	body = json_pack("{s:s}", "error", text);
	if (!body) /* the text quotes bytes from the client that are not UTF-8 */
		body = json_pack("{s:s}", "error", "the request is not UTF-8");
	gn_reply_json(r, status, body);
}

void gn_v2_failure(struct gn_request *r, const char *what, const struct gn_error *err)
{
	int status = gn_code_status(err->code);

	if (status == 422 || status == 415)
		status = 400;
	gn_v2_error(r, status, "%s%s%s%s%s", what, *what ? ": " : "", err->where, *err->where ? ": " : "", err->text);
}

int gn_v2_hold(struct gn_request *r, struct gn_open_model **opened)
{
	const char *name = gn_path(r, "name");
	struct gn_error err = {0};

	if (gn_modelpool_hold_named(gn_api_models(r), name, opened, &err)) {
		if (err.code == GN_NOT_FOUND)
			gn_v2_error(r, 404, "there is no model %.100s", name);
		else
			gn_v2_failure(r, "", &err);
		return -1;
	}
	if ((*opened)->model->arch.classes > 0)
		return 0;
	gn_modelpool_drop(gn_api_models(r), *opened);
	gn_v2_error(r, 409, "model %.100s has no head, so it cannot infer: tune it on a data set first", name);
	return -1;
}

/* ---------------------------------------------------------------- the server ------------------ */

void gn_api_v2(struct gn_request *r)
{
	gn_reply_json(r, 200, json_pack("{s:s,s:s,s:[]}", "name", "gonio", "version", gn_version(), "extensions"));
}

void gn_api_v2_live(struct gn_request *r)
{
	gn_reply_json(r, 200, json_pack("{s:b}", "live", 1));
}

void gn_api_v2_ready(struct gn_request *r)
{
	const char *reason = gn_service_not_ready(gn_request_service(r));

	if (reason)
		gn_v2_error(r, 503, "not ready: %s", reason);
	else
		gn_reply_json(r, 200, json_pack("{s:b}", "ready", 1));
}

/* ---------------------------------------------------------------- a model --------------------- */

void gn_api_v2_model(struct gn_request *r)
{
	struct gn_open_model *opened;

	if (gn_v2_hold(r, &opened))
		return;
	int side = opened->model->arch.image_size, classes = opened->model->arch.classes;
	gn_modelpool_drop(gn_api_models(r), opened);
	json_t *inputs = json_pack("[{s:s,s:s,s:[i]},{s:s,s:s,s:[i,i,i,i]}]", "name", "image", "datatype", "BYTES",
	                           "shape", -1, "name", "pixels", "datatype", "FP32", "shape", -1, 3, side, side);
	json_t *outputs = json_pack("[{s:s,s:s,s:[i,i]},{s:s,s:s,s:[i,i]},{s:s,s:s,s:[i]}]", "name", "logits",
	                            "datatype", "FP32", "shape", -1, classes, "name", "probabilities", "datatype",
	                            "FP32", "shape", -1, classes, "name", "label", "datatype", "BYTES", "shape", -1);
	gn_reply_json(r, 200,
	              json_pack("{s:s,s:s,s:o,s:o}", "name", gn_path(r, "name"), "platform", "gonio", "inputs", inputs,
	                        "outputs", outputs));
}

void gn_api_v2_model_ready(struct gn_request *r)
{
	struct gn_open_model *opened;

	if (gn_v2_hold(r, &opened))
		return;
	gn_modelpool_drop(gn_api_models(r), opened);
	gn_reply_json(r, 200, json_pack("{s:s,s:b}", "name", gn_path(r, "name"), "ready", 1));
}
