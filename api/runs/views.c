/* The metrics and angles of a run, during and after it, read from its event file. */
#include "api/api.h"
#include "server/formats/events.h"

/* ---------------------------------------------------------------- metrics --------------------- */

static void reply_csv(struct gn_request *r, const json_t *epochs)
{
	char *text = NULL;
	size_t size, index;
	json_t *epoch;
	FILE *csv = open_memstream(&text, &size);

	if (!csv) {
		gn_reply_problem(r, 503, "no memory for the table");
		return;
	}
	for (const char *const *m = gn_api_epoch_members; *m; m++)
		fprintf(csv, "%s%s", m == gn_api_epoch_members ? "" : ",", *m);
	fputs("\r\n", csv);
	json_array_foreach((json_t *)(uintptr_t)epochs, index, epoch)
	{
		for (const char *const *m = gn_api_epoch_members; *m; m++) {
			const json_t *value = json_object_get(epoch, *m);
			fputs(m == gn_api_epoch_members ? "" : ",", csv);
			if (json_is_number(value))
				fprintf(csv, "%.12g", json_number_value(value));
		}
		fputs("\r\n", csv);
	}
	fclose(csv);
	gn_reply_bytes(r, 200, "text/csv", text, size, NULL);
	free(text);
}

void gn_api_run_metrics(struct gn_request *r)
{
	struct gn_curves curves = {0};
	struct gn_error err = {0};
	char id[GN_ID_SIZE], path[PATH_MAX];

	if (gn_api_no_query(r) || gn_api_job_file(r, GN_KIND_RUN, "events.ndjson", id, path))
		return;
	if (gn_api_curves(&curves, path, &err))
		gn_reply_error(r, &err);
	else if (gn_accepts(r, "text/csv", "application/json"))
		reply_csv(r, curves.epochs);
	else
		gn_reply_json(r, 200,
		              json_pack("{s:O,s:O,s:O?}", "steps", curves.steps, "epochs", curves.epochs, "phases",
		                        curves.phases));
	gn_api_curves_release(&curves);
}

/* ---------------------------------------------------------------- angles ---------------------- */

struct wanted {
	bool all;
	int epoch; /* 0: the last */
	int phase; /* index into PHASES */
};

static void read_epoch(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	struct wanted *wanted = out;
	const char *text = json_string_value(value);
	char *end;

	wanted->all = text && !strcmp(text, "all");
	wanted->epoch = 0;
	if (!text || wanted->all || !strcmp(text, "last"))
		return;
	long epoch = strtol(text, &end, 10);
	if (end == text || *end || epoch < 1 || epoch > 10000)
		gn_field_error(errors, pointer, "must be last, all, or an epoch between 1 and 10000");
	else
		wanted->epoch = (int)epoch;
}
static const struct gn_field_special EPOCH_FIELD = {.read = read_epoch};
static const char *const PHASES[] = {"tuning", "probe", "trial_largest", "trial_smallest", NULL};
static const struct gn_field WANTED[] = {
    {"epoch", GN_FIELD_SPECIAL, 0, 0, .special = &EPOCH_FIELD, .help = "last, all or a number."},
    {"phase", GN_FIELD_CHOICE, 0, offsetof(struct wanted, phase), .choices = PHASES, .help = "Of a run with a probe."},
};

void gn_api_run_angles(struct gn_request *r)
{
	struct wanted wanted = {0};
	struct gn_error err = {0};
	char id[GN_ID_SIZE], path[PATH_MAX];
	json_t *epochs;

	if (gn_api_query(r, WANTED, sizeof WANTED / sizeof *WANTED, &wanted) ||
	    gn_api_job_file(r, GN_KIND_RUN, "events.ndjson", id, path))
		return;
	if (gn_api_angle_epochs(&epochs, path, PHASES[wanted.phase], wanted.all ? -1 : wanted.epoch, &err)) {
		gn_reply_error(r, &err);
		return;
	}
	if (wanted.epoch && !json_array_size(epochs))
		gn_reply_problem(r, 404, "the run has no angles of epoch %d", wanted.epoch);
	else
		gn_reply_json(r, 200, json_pack("{s:s,s:s,s:O}", "run", id, "unit", "degree", "epochs", epochs));
	json_decref(epochs);
}
