/* Shows the progress of a job that the worker does in this process, and its result. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/cli/job.h"
#include "server/cli/view.h"
#include "server/formats/events.h"
#include "server/formats/job_folder.h"
#include "server/common/files.h"
#include "server/worker/worker.h"

enum { REPORT_LIMIT = 1 << 30 };

struct watch {
	struct gn_view view;
	bool json;
};

static double number(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return json_is_number(value) ? json_number_value(value) : NAN;
}

/* ---------------------------------------------------------------- events ---------------------- */

/* "probe: " of an event of a run with a probe, else "". */
static const char *phase_of(char out[48], const json_t *data)
{
	const char *phase = json_string_value(json_object_get(data, "phase"));

	if (phase)
		snprintf(out, 48, "%s: ", phase);
	else
		out[0] = '\0';
	return out;
}

static void show_step(struct watch *watch, const json_t *data)
{
	char phase[48];

	gn_view_bar(&watch->view, number(data, "step") / number(data, "steps"),
	            "%sepoch %.0f/%.0f  loss %.4f  %.0f images/s  %.0f s left", phase_of(phase, data),
	            number(data, "epoch"), number(data, "epochs"), number(data, "loss"),
	            number(data, "images_per_second"), number(data, "eta_seconds"));
}

static void show_epoch(struct watch *watch, const json_t *data)
{
	char phase[48];

	if (isnan(number(data, "val_accuracy")))
		gn_view_line(&watch->view, "%sepoch %.0f: train loss %.4f, %.1f s", phase_of(phase, data),
		             number(data, "epoch"), number(data, "train_loss"), number(data, "seconds"));
	else
		gn_view_line(&watch->view, "%sepoch %.0f: train loss %.4f, val loss %.4f, val accuracy %.4f, %.1f s",
		             phase_of(phase, data), number(data, "epoch"), number(data, "train_loss"),
		             number(data, "val_loss"), number(data, "val_accuracy"), number(data, "seconds"));
}

static void show_start(struct watch *watch, const json_t *data)
{
	const char *line = json_string_value(json_object_get(data, "line"));
	char phase[48];

	gn_view_line(&watch->view, "%s%s", phase_of(phase, data), line ? line : "");
}

static void show_progress(struct watch *watch, const json_t *data)
{
	double left = number(data, "eta_seconds");

	if (isnan(left))
		gn_view_bar(&watch->view, number(data, "done") / number(data, "total"), "%.0f of %.0f",
		            number(data, "done"), number(data, "total"));
	else
		gn_view_bar(&watch->view, number(data, "done") / number(data, "total"), "%.0f of %.0f, %.0f s left",
		            number(data, "done"), number(data, "total"), left);
}

/* What a worker has found out: the layers that a probe chose, the ingredients of a soup. */
static void show_record(struct watch *watch, const json_t *data)
{
	const json_t *selection = json_object_get(data, "selection"), *layers = json_object_get(selection, "layers");
	const json_t *ingredients = json_object_get(data, "ingredients"), *item;
	size_t i;

	if (layers)
		gn_view_line(&watch->view,
		             "chosen, %s angles:", json_string_value(json_object_get(selection, "order")));
	json_array_foreach(layers, i, item)
	{
		gn_view_line(&watch->view, "  %-16s %.6f degrees", json_string_value(json_object_get(item, "name")),
		             number(item, "degrees"));
	}
	json_array_foreach(ingredients, i, item)
	{
		double accuracy = number(item, "val_accuracy");
		char measured[48] = "";

		if (!isnan(accuracy))
			snprintf(measured, sizeof measured, ", val accuracy %.4f", accuracy);
		gn_view_line(&watch->view, "  %.4f of %s%s", number(item, "weight"),
		             json_string_value(json_object_get(item, "model")), measured);
	}
}

static void on_line(void *user, const char *line)
{
	static const struct {
		const char *kind;
		void (*show)(struct watch *watch, const json_t *data);
	} shown[] = {{"step", show_step},
	             {"epoch", show_epoch},
	             {"start", show_start},
	             {"progress", show_progress},
	             {"record", show_record}};
	struct watch *watch = user;
	struct gn_event_record record;

	if (watch->json) {
		fputs(line, stdout);
		(void)fflush(stdout);
		return;
	}
	if (gn_event_parse(&record, line, strlen(line)))
		return;
	for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
		if (!strcmp(shown[i].kind, record.kind))
			shown[i].show(watch, record.data);
	json_decref(record.value);
}

static void on_text(void *user, const char *text)
{
	struct watch *watch = user;

	gn_view_line(&watch->view, "%s", text);
}

/* ---------------------------------------------------------------- the result ------------------ */

/* A file of the job's folder; NULL when it is not there or no JSON. New reference. */
static json_t *load(const char *folder, const char *name)
{
	char path[PATH_MAX], *text;
	json_t *value;
	size_t size;

	if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path ||
	    gn_file_load(path, REPORT_LIMIT, &text, &size, NULL))
		return NULL;
	value = json_loadb(text, size, 0, NULL);
	free(text);
	return value;
}

static void print_classes(const json_t *classes)
{
	const json_t *item;
	size_t i;

	json_array_foreach(classes, i, item)
	{
		printf("%-32s %8.4f of %.0f images\n", json_string_value(json_object_get(item, "class")),
		       number(item, "accuracy"), number(item, "images"));
	}
}

static void print_result(json_t *result, const json_t *report)
{
	const char *key;
	json_t *value;

	json_object_foreach(result, key, value)
	{
		if (json_is_integer(value))
			printf("%-20s %lld\n", key, (long long)json_integer_value(value));
		else if (json_is_real(value))
			printf("%-20s %.6g\n", key, json_real_value(value));
	}
	print_classes(json_object_get(report, "per_class"));
}

/* Of a finished job; false: it is not. With --json the last line: {"event":"result","data":{...}},
 * of an evaluation with its whole report. */
static bool show_result(const struct watch *watch, enum gn_kind kind, const char *folder)
{
	struct gn_job_result result;
	char path[PATH_MAX];
	json_t *report;
	bool done;

	if (snprintf(path, sizeof path, "%s/" GN_RESULT_JSON, folder) >= (int)sizeof path)
		return false;
	gn_job_result_read(&result, path);
	done = result.result != NULL;
	report = done && kind == GN_KIND_EVALUATION ? load(folder, "report.json") : NULL;
	if (done && watch->json) {
		json_object_update_missing(result.result, report);
		gn_cli_json(json_pack("{s:s,s:O}", "event", "result", "data", result.result));
	} else if (done) {
		print_result(result.result, report);
	}
	gn_job_result_release(&result);
	json_decref(report);
	return done;
}

int gn_cli_job_run(enum gn_kind kind, const char *folder, bool json)
{
	struct watch watch = {.json = json};
	const struct gn_worker_watch callbacks = {on_line, on_text, &watch};
	int status;

	if (show_result(&watch, kind, folder)) /* a job that is done stays as it is */
		return GN_CLI_DONE;
	gn_view_init(&watch.view, json);
	status = gn_worker_main(kind, folder, &callbacks);
	gn_view_clear(&watch.view);
	if (status == GN_WORKER_DONE)
		show_result(&watch, kind, "."); /* the worker's folder is the current one */
	return status;
}
