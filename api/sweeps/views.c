/* The resource of a sweep, as JSON and as CSV. Its status and its table come from its runs. */
#include "api/api.h"
#include "server/formats/strategy.h"
#include "server/common/text.h"

#include <math.h>

/* A run's resource, or NULL if the run was deleted. New reference. */
static json_t *run_resource(struct gn_request *r, const json_t *id)
{
	return gn_supervisor_resource(gn_request_service(r)->supervisor, GN_KIND_RUN, json_string_value(id));
}

static double number(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return json_is_number(value) ? json_number_value(value) : NAN;
}

/* ---------------------------------------------------------------- status ---------------------- */

/* The status of the sweep. It is running also between two of its runs. It succeeded if all runs
 * succeeded. */
static enum gn_job_status whole_status(const int counts[GN_JOB_STATUS_COUNT])
{
	int ended = counts[GN_JOB_SUCCEEDED] + counts[GN_JOB_FAILED] + counts[GN_JOB_CANCELLED];

	if (counts[GN_JOB_RUNNING] || (counts[GN_JOB_QUEUED] && ended))
		return GN_JOB_RUNNING;
	if (counts[GN_JOB_QUEUED])
		return GN_JOB_QUEUED;
	if (counts[GN_JOB_FAILED])
		return GN_JOB_FAILED;
	return counts[GN_JOB_CANCELLED] ? GN_JOB_CANCELLED : GN_JOB_SUCCEEDED;
}

void gn_api_sweep_state(struct gn_sweep_state *state, struct gn_request *r, const struct gn_sweep_row *row)
{
	size_t index;
	json_t *run;

	memset(state, 0, sizeof *state);
	json_array_foreach(row->runs, index, run)
	{
		char id[GN_ID_SIZE];
		enum gn_job_status status;
		if (!gn_supervisor_find(gn_request_service(r)->supervisor, GN_KIND_RUN, json_string_value(run), id,
		                        &status))
			state->counts[status]++;
	}
	state->status = gn_job_status_name(whole_status(state->counts));
}

/* ---------------------------------------------------------------- rows ------------------------ */

static json_t *table_row(const json_t *run)
{
	static const char *const copied[] = {"strategy", "seed", "status", "tuned_parameters"};
	static const char *const results[] = {"val_accuracy", "seconds", "peak_memory_bytes"};
	const json_t *result = json_object_get(run, "result");
	json_t *row = json_object();
	char label[GN_LABEL_SIZE];

	gn_strategy_label(label, sizeof label, json_object_get(run, "strategy"));
	json_object_set_new(row, "label", json_string(label));
	json_object_set(row, "run", json_object_get(run, "id"));
	for (size_t i = 0; i < sizeof copied / sizeof *copied; i++)
		json_object_set(row, copied[i], json_object_get(run, copied[i]));
	json_object_set_new(row, "tuned_fraction",
	                    gn_json_real(number(run, "tuned_parameters") / number(run, "total_parameters")));
	for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
		json_t *value = json_object_get(result, results[i]);
		json_object_set_new(row, results[i], value ? json_incref(value) : json_null());
	}
	return row;
}

/* Runs that were deleted have no row. New reference. */
static json_t *table_rows(struct gn_request *r, const struct gn_sweep_row *sweep)
{
	json_t *rows = json_array(), *id, *run;
	size_t index;

	json_array_foreach(sweep->runs, index, id)
	{
		run = run_resource(r, id);
		if (run)
			json_array_append_new(rows, table_row(run));
		json_decref(run);
	}
	return rows;
}

/* ---------------------------------------------------------------- summary --------------------- */

struct spread {
	int count;
	double sum, squares;
};

static void add(struct spread *s, double value)
{
	if (!isfinite(value))
		return;
	s->count++;
	s->sum += value;
	s->squares += value * value;
}

static double mean(const struct spread *s)
{
	return s->count ? s->sum / s->count : NAN;
}

/* The standard deviation of a sample; one value has none. */
static double deviation(const struct spread *s)
{
	double square = s->count > 1 ? (s->squares - s->sum * s->sum / s->count) / (s->count - 1) : NAN;

	return isnan(square) ? NAN : sqrt(fmax(square, 0));
}

/* One strategy over its seeds, or NULL if all of its runs were deleted. New reference. */
static json_t *summary_of(const json_t *strategy, const json_t *rows)
{
	struct spread accuracy = {0}, seconds = {0};
	const json_t *first = NULL;
	size_t index;
	json_t *row;

	json_array_foreach((json_t *)(uintptr_t)rows, index, row)
	{
		if (!json_equal(json_object_get(row, "strategy"), strategy))
			continue;
		first = first ? first : row;
		add(&accuracy, number(row, "val_accuracy"));
		add(&seconds, number(row, "seconds"));
	}
	if (!first)
		return NULL;
	return json_pack(
	    "{s:O,s:O,s:i,s:O,s:O,s:o,s:o,s:o}", "strategy", strategy, "label", json_object_get(first, "label"), "runs",
	    seconds.count, "tuned_parameters", json_object_get(first, "tuned_parameters"), "tuned_fraction",
	    json_object_get(first, "tuned_fraction"), "val_accuracy_mean", gn_json_real(mean(&accuracy)),
	    "val_accuracy_std", gn_json_real(deviation(&accuracy)), "seconds_mean", gn_json_real(mean(&seconds)));
}

static json_t *summary(const struct gn_sweep_row *sweep, const json_t *rows)
{
	json_t *items = json_array(), *strategy;
	size_t index;

	json_array_foreach(json_object_get(sweep->request, "strategies"), index, strategy)
	{
		json_t *item = summary_of(strategy, rows);
		if (item)
			json_array_append_new(items, item);
	}
	return items;
}

/* ---------------------------------------------------------------- the resource ---------------- */

json_t *gn_api_sweep_resource(struct gn_request *r, const struct gn_sweep_row *row, bool table)
{
	struct gn_sweep_state state;
	json_t *resource =
	    json_pack("{s:s,s:o,s:o}", "id", row->id, "name", *row->name ? json_string(row->name) : json_null(),
	              "created_at", gn_json_time(row->created_at));
	json_t *counts = json_object(), *rows;

	gn_api_sweep_state(&state, r, row);
	for (int i = 0; i < GN_JOB_STATUS_COUNT; i++)
		json_object_set_new(counts, gn_job_status_name((enum gn_job_status)i), json_integer(state.counts[i]));
	json_object_set_new(resource, "status", json_string(state.status));
	json_object_set_new(resource, "counts", counts);
	json_object_update(resource, row->request);
	if (table) {
		rows = table_rows(r, row);
		json_object_set_new(resource, "summary", summary(row, rows));
		json_object_set_new(resource, "rows", rows);
	}
	return resource;
}

/* ---------------------------------------------------------------- CSV ------------------------- */

/* Writes a field in quotes. Quotes in it are doubled (RFC 4180). */
static void write_quoted(FILE *csv, const char *text)
{
	fputc('"', csv);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', csv);
		fputc(*text, csv);
	}
	fputc('"', csv);
}

static void write_value(FILE *csv, const json_t *value)
{
	if (json_is_string(value))
		write_quoted(csv, json_string_value(value));
	else if (json_is_integer(value))
		fprintf(csv, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_number(value))
		fprintf(csv, "%.12g", json_number_value(value));
}

static void reply_csv(struct gn_request *r, const json_t *rows)
{
	/* the column strategy is the label: a strategy may be an object */
	static const char *const columns[] = {
	    "label",          "seed",         "run",     "status",           "tuned_parameters",
	    "tuned_fraction", "val_accuracy", "seconds", "peak_memory_bytes"};
	enum { COUNT = sizeof columns / sizeof *columns };
	char *text = NULL;
	size_t size, index;
	json_t *row;
	FILE *csv = open_memstream(&text, &size);

	if (!csv) {
		gn_reply_problem(r, 503, "no memory for the table");
		return;
	}
	for (int i = 0; i < COUNT; i++)
		fprintf(csv, "%s%s", i ? "," : "", i ? columns[i] : "strategy");
	fputs("\r\n", csv);
	json_array_foreach((json_t *)(uintptr_t)rows, index, row)
	{
		for (int i = 0; i < COUNT; i++) {
			fputs(i ? "," : "", csv);
			write_value(csv, json_object_get(row, columns[i]));
		}
		fputs("\r\n", csv);
	}
	fclose(csv);
	gn_reply_bytes(r, 200, "text/csv", text, size, NULL);
	free(text);
}

/* ---------------------------------------------------------------- handlers -------------------- */

void gn_api_sweep_get(struct gn_request *r)
{
	struct gn_sweep_row row;
	struct gn_error err = {0};

	if (gn_api_no_query(r))
		return;
	if (gn_store_get_sweep(gn_request_service(r)->store, gn_path(r, "id"), &row, &err)) {
		if (err.code == GN_NOT_FOUND)
			gn_reply_problem(r, 404, "there is no sweep with this id or name");
		else
			gn_reply_error(r, &err);
		return;
	}
	if (gn_accepts(r, "text/csv", "application/json")) {
		json_t *rows = table_rows(r, &row);
		reply_csv(r, rows);
		json_decref(rows);
	} else {
		gn_reply_json(r, 200, gn_api_sweep_resource(r, &row, true));
	}
	gn_sweep_row_release(&row);
}

static void add_row(void *user, const struct gn_sweep_row *row)
{
	struct gn_api_list *list = user;

	gn_api_list_add(list, row->id, gn_api_sweep_resource(list->r, row, false));
}

static int store_rows(struct gn_api_list *list, int limit, const char *after, bool *more, struct gn_error *err)
{
	return gn_store_list_sweeps(gn_request_service(list->r)->store, limit, after, add_row, list, more, err);
}

void gn_api_sweeps_list(struct gn_request *r)
{
	gn_api_reply_list(r, GN_KIND_COUNT, store_rows);
}
