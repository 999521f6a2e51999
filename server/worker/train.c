/* The work of a run: see worker.h. */
#include <stdio.h>
#include <stdlib.h>

#include "server/formats/events.h"
#include "server/formats/strategy.h"
#include "server/common/text.h"
#include "server/worker/work.h"

enum { STEP_EVENTS = 10000, STEP_SECONDS = 2, CUTS_MAX = 256 };

struct training {
	struct gn_worker *worker;
	int64_t told_step; /* the last step that was written */
	double told_at;    /* when, in seconds */
};

/* Small models take thousands of steps a second, and runs last for days: about STEP_EVENTS steps of
 * a run are written, or one in STEP_SECONDS, whichever is more, and the last. */
static bool worth_telling(struct training *t, const struct gn_event *event)
{
	double now = gn_clock();

	if (event->kind != GN_EVENT_STEP)
		return true;
	if (event->step > t->told_step && event->step < t->told_step + event->steps / STEP_EVENTS &&
	    now < t->told_at + STEP_SECONDS && event->step < event->steps)
		return false;
	t->told_step = event->step;
	t->told_at = now;
	return true;
}

static void on_event(void *user, const struct gn_event *event)
{
	struct training *t = user;

	if (!worth_telling(t, event))
		return;
	if (event->kind == GN_EVENT_LOG && event->text)
		gn_worker_say(t->worker, "%s", event->text);
	gn_worker_tell(t->worker, gn_event_line(t->worker->last_event + 1, event));
}

static int read_request(struct gn_run_request *request, const struct gn_worker *w, struct gn_error *err)
{
	json_t *errors = json_array();
	const json_t *first;

	gn_run_request_read(request, w->order.request, false, errors);
	first = json_array_get(errors, 0);
	if (first)
		gn_fail(err, GN_INVALID, GN_JOB_JSON, "request%s %s",
		        json_string_value(json_object_get(first, "pointer")),
		        json_string_value(json_object_get(first, "detail")));
	json_decref(errors);
	return first ? -1 : 0;
}

/* The layers that were chosen when the run was asked for; a run with a probe chooses its own. */
static int take_layers(struct gn_run_request *request, const struct gn_worker *w, struct gn_error *err)
{
	if (request->config.strategy.kind != GN_ANGLE || request->guide.probe_epochs)
		return 0;
	if (gn_strategy_take_selection(request, json_object_get(w->order.members, "selection")))
		return gn_fail(err, GN_INVALID, GN_JOB_JSON, "the layers to tune have not been chosen");
	return 0;
}

static json_t *result_json(const struct gn_train_result *r, const struct gn_device *device)
{
	struct gn_device_info info;

	gn_device_describe(device, &info);
	return json_pack("{s:o,s:o,s:o,s:i,s:o,s:o,s:I,s:s,s:s}", "val_accuracy", gn_json_real(r->val_accuracy),
	                 "val_macro_f1", gn_json_real(r->val_macro_f1), "val_loss", gn_json_real(r->val_loss),
	                 "best_epoch", r->best_epoch, "train_loss", gn_json_real(r->train_loss), "seconds",
	                 gn_json_real(r->seconds), "peak_memory_bytes", (json_int_t)r->peak_memory_bytes, "device",
	                 info.name, "precision", gn_precision_name(info.precision));
}

json_t *gn_worker_train(struct gn_worker *w, struct gn_error *err)
{
	struct training training = {.worker = w};
	struct gn_run_request request;
	struct gn_train_result result = {0};
	struct gn_shared shared; /* with others of its sweep */
	int cuts[CUTS_MAX];
	json_t *value = NULL;

	if (read_request(&request, w, err) == 0 && take_layers(&request, w, err) == 0 &&
	    gn_job_shared_read(&shared, cuts, CUTS_MAX, w->order.shared, err) == 0) {
		const struct gn_train_options options = {
		    .device = w->device,
		    .model = w->models[0],
		    .dataset = w->dataset,
		    .config = &request.config,
		    .folder = ".",
		    .max_pixels = w->max_pixels,
		    .on_event = on_event,
		    .user = &training,
		    .stop = w->stop,
		    .shared = shared.folder ? &shared : NULL,
		};
		int failed = request.guide.probe_epochs ? gn_train_guided(&result, &options, &request.guide, err)
		                                        : gn_train(&result, &options, err);
		if (!failed && !(value = result_json(&result, w->device)))
			gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	}
	gn_run_request_release(&request);
	return value;
}
