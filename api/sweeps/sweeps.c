/*
 * Sweeps: one run for each strategy and seed, on one model and data set. They are created in one
 * transaction, and are ordinary runs. views.c has the resource of a sweep.
 */
#include "api/api.h"
#include "server/formats/strategy.h"

enum { STRATEGIES_MAX = 32, SEEDS_MAX = 32, RUNS_MAX = 256 };

/* ---------------------------------------------------------------- the body -------------------- */

struct sweep_body {
	char name[GN_NAME_SIZE], model[GN_NAME_SIZE], dataset[GN_NAME_SIZE];
	/* borrowed from the request; seeds and defaults may be NULL */
	const json_t *strategies, *seeds, *defaults;
};

static void read_strategies(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	struct sweep_body *body = out;
	size_t count = json_array_size(value);

	body->strategies = value;
	if (!json_is_array(value) || count < 1 || count > STRATEGIES_MAX)
		gn_field_error(errors, pointer, "must be an array of 1 to %d strategies", STRATEGIES_MAX);
}

static void read_seeds(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	struct sweep_body *body = out;
	size_t count = json_array_size(value);

	body->seeds = value;
	if (!value)
		return;
	if (!json_is_array(value) || count < 1 || count > SEEDS_MAX) {
		gn_field_error(errors, pointer, "must be an array of 1 to %d seeds", SEEDS_MAX);
		return;
	}
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < i; k++) {
			char item[64];
			if (!json_equal(json_array_get(value, i), json_array_get(value, k)))
				continue;
			snprintf(item, sizeof item, "%s/%zu", pointer, i);
			gn_field_error(errors, item, "is the same as %s/%zu", pointer, k);
		}
}

/* Fields that differ between the runs, or that the sweep itself has. */
static void read_defaults(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	static const char *const own[] = {"name", "model", "dataset", "strategy", "seed"};
	struct sweep_body *body = out;

	body->defaults = value;
	if (value && !json_is_object(value))
		gn_field_error(errors, pointer, "must be an object of a run's fields");
	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		if (json_object_get(value, own[i])) {
			char member[64];
			gn_field_pointer(member, sizeof member, pointer, own[i]);
			gn_field_error(errors, member, "is not the same for all runs, or stands beside defaults");
		}
}

static const struct gn_field_special STRATEGIES = {.read = read_strategies}, SEEDS = {.read = read_seeds},
                                     DEFAULTS = {.read = read_defaults};
static const struct gn_field FIELDS[] = {
    {"name", GN_FIELD_NAME, GN_FIELD_NULLABLE, offsetof(struct sweep_body, name),
     .help = "A name, unique among sweeps."},
    {"model", GN_FIELD_REF, GN_FIELD_REQUIRED, offsetof(struct sweep_body, model), .help = "The model to start from."},
    {"dataset", GN_FIELD_REF, GN_FIELD_REQUIRED, offsetof(struct sweep_body, dataset), .help = "The data set."},
    {"strategies", GN_FIELD_SPECIAL, GN_FIELD_REQUIRED, 0, .special = &STRATEGIES, .help = "What is compared."},
    {"seeds", GN_FIELD_SPECIAL, 0, 0, .special = &SEEDS, .help = "Each strategy runs once with each."},
    {"defaults", GN_FIELD_SPECIAL, 0, 0, .special = &DEFAULTS, .help = "Fields of every run."},
};

/* ---------------------------------------------------------------- its runs -------------------- */

struct making {
	struct gn_request *r;
	const struct sweep_body *body;
	size_t strategy_count, seed_count, count;
	struct gn_prepared *prepared; /* [strategy_count]: a seed changes nothing of a plan */
	struct gn_job_new *jobs;      /* [count], ordered by strategy, then by seed */
	size_t prepared_count, job_count;
};

static json_t *seed_at(const struct making *m, size_t i)
{
	return m->body->seeds ? json_incref(json_array_get(m->body->seeds, i)) : json_integer(0);
}

/* The JSON pointer of a run's member as a pointer into the sweep's body. */
static void sweep_pointer(char *out, size_t size, const char *pointer, size_t strategy, size_t seed)
{
	static const char own[] = "/strategy";
	size_t length = sizeof own - 1;

	if (!strncmp(pointer, own, length) && (!pointer[length] || pointer[length] == '/'))
		snprintf(out, size, "/strategies/%zu%s", strategy, pointer + length);
	else if (!strcmp(pointer, "/seed"))
		snprintf(out, size, "/seeds/%zu", seed);
	else if (!strcmp(pointer, "/model") || !strcmp(pointer, "/dataset"))
		snprintf(out, size, "%s", pointer);
	else
		snprintf(out, size, "/defaults%s%s", *pointer == '/' ? "" : "/", pointer);
}

/* Replies with the errors of a run. errors is stolen. */
static void reply_refused(struct gn_request *r, json_t *errors, struct gn_error *err, size_t strategy, size_t seed)
{
	char pointer[320];
	size_t index;
	json_t *item;

	json_array_foreach(errors, index, item)
	{
		sweep_pointer(pointer, sizeof pointer, json_string_value(json_object_get(item, "pointer")), strategy,
		              seed);
		json_object_set_new(item, "pointer", json_string(pointer));
	}
	if (gn_reply_fields(r, errors))
		return;
	if (*err->where && (err->code == GN_INVALID || err->code == GN_NO_MEMORY)) {
		sweep_pointer(pointer, sizeof pointer, err->where, strategy, seed);
		gn_reply_field(r, pointer, "%s", err->text);
	} else {
		gn_reply_error(r, err);
	}
}

/* Replies and returns -1 if the strategy's first run has an error. */
static int prepare_strategy(struct making *m, size_t strategy)
{
	json_t *run = m->body->defaults ? json_copy((json_t *)(uintptr_t)m->body->defaults) : json_object();
	json_t *errors = json_array();
	struct gn_error err = {0};
	int failed;

	json_object_set_new(run, "model", json_string(m->body->model));
	json_object_set_new(run, "dataset", json_string(m->body->dataset));
	json_object_set(run, "strategy", json_array_get(m->body->strategies, strategy));
	json_object_set_new(run, "seed", seed_at(m, 0));
	failed = gn_api_prepare_object(m->r, &m->prepared[m->prepared_count++], run, false, errors, &err);
	json_decref(run);
	if (failed) {
		reply_refused(m->r, errors, &err, strategy, 0);
		return -1;
	}
	json_decref(errors);
	return 0;
}

/* Adds the prepared strategy with this seed. Replies and returns -1 if the seed is invalid. */
static int add_run(struct making *m, size_t strategy, size_t seed)
{
	struct gn_prepared *prepared = &m->prepared[strategy];
	json_t *value = seed_at(m, seed), *errors = json_array();
	struct gn_error err = {0};
	int count;
	const struct gn_field *fields = gn_run_fields(&count);

	gn_field_read(gn_field_find(fields, count, "seed"), value, &prepared->request, "/seed", errors);
	json_decref(value);
	if (json_array_size(errors)) {
		reply_refused(m->r, errors, &err, strategy, seed);
		return -1;
	}
	json_decref(errors);
	m->jobs[m->job_count++] = gn_api_run_job(prepared);
	return 0;
}

static const json_t *strategy_of(const struct making *m, size_t strategy)
{
	return json_object_get(m->jobs[strategy * m->seed_count].request, "strategy");
}

/* The same strategy can be written in several ways, so compares strategies with their defaults
 * filled in. */
static int check_different(const struct making *m, size_t strategy)
{
	for (size_t k = 0; k < strategy; k++) {
		char pointer[48];
		if (!json_equal(strategy_of(m, strategy), strategy_of(m, k)))
			continue;
		snprintf(pointer, sizeof pointer, "/strategies/%zu", strategy);
		gn_reply_field(m->r, pointer, "is the same as /strategies/%zu", k);
		return -1;
	}
	return 0;
}

static int prepare_runs(struct making *m)
{
	for (size_t strategy = 0; strategy < m->strategy_count; strategy++) {
		if (prepare_strategy(m, strategy))
			return -1;
		for (size_t seed = 0; seed < m->seed_count; seed++)
			if (add_run(m, strategy, seed))
				return -1;
		if (check_different(m, strategy))
			return -1;
	}
	return 0;
}

/* The request with its strategies and defaults filled in, and ids for names. */
static json_t *stored_request(const struct making *m)
{
	json_t *strategies = json_array(), *seeds = json_array();

	for (size_t i = 0; i < m->strategy_count; i++)
		json_array_append(strategies, (json_t *)(uintptr_t)strategy_of(m, i));
	for (size_t i = 0; i < m->seed_count; i++)
		json_array_append_new(seeds, seed_at(m, i));
	return json_pack("{s:s,s:s,s:o,s:o,s:o}", "model", m->prepared[0].request.model, "dataset",
	                 m->prepared[0].request.dataset, "strategies", strategies, "seeds", seeds, "defaults",
	                 m->body->defaults ? json_deep_copy(m->body->defaults) : json_object());
}

static void launch(struct making *m)
{
	struct gn_sweep_row sweep = {.request = stored_request(m)};
	struct gn_error err = {0};
	char location[64];

	memcpy(sweep.name, m->body->name, sizeof sweep.name);
	if (gn_supervisor_submit_sweep(gn_request_service(m->r)->supervisor, &sweep, m->jobs, (int)m->count, &err)) {
		gn_reply_error(m->r, &err);
	} else {
		snprintf(location, sizeof location, "/v1/sweeps/%s", sweep.id);
		gn_reply_created(m->r, location, gn_api_sweep_resource(m->r, &sweep, true));
	}
	gn_sweep_row_release(&sweep);
}

static void making_release(struct making *m)
{
	for (size_t i = 0; i < m->job_count; i++)
		gn_api_run_job_release(&m->jobs[i]);
	for (size_t i = 0; i < m->prepared_count; i++)
		gn_api_prepared_release(m->r, &m->prepared[i]);
	free(m->jobs);
	free(m->prepared);
}

void gn_api_sweeps_post(struct gn_request *r)
{
	json_t *errors = json_array();
	struct sweep_body body = {.strategies = NULL};
	struct making m = {.r = r, .body = &body};

	if (gn_api_no_query(r)) {
		json_decref(errors);
		return;
	}
	gn_fields_read(FIELDS, sizeof FIELDS / sizeof *FIELDS, gn_request_json(r), &body, "", errors);
	if (gn_reply_fields(r, errors))
		return;
	m.seed_count = body.seeds ? json_array_size(body.seeds) : 1;
	m.strategy_count = json_array_size(body.strategies);
	m.count = m.strategy_count * m.seed_count;
	if (m.count > RUNS_MAX) {
		gn_reply_field(r, "/strategies", "with these seeds make %zu runs; a sweep has at most %d", m.count,
		               RUNS_MAX);
		return;
	}
	m.prepared = calloc(m.strategy_count, sizeof *m.prepared);
	m.jobs = calloc(m.count, sizeof *m.jobs);
	if (!m.prepared || !m.jobs)
		gn_reply_problem(r, 503, "no memory for the sweep");
	else if (prepare_runs(&m) == 0)
		launch(&m);
	making_release(&m);
}

/* ---------------------------------------------------------------- cancel, delete -------------- */

/* Reads the row that {id} names. On a failure, replies and returns -1. Caller releases. */
static int sweep_row(struct gn_request *r, struct gn_sweep_row *row)
{
	struct gn_error err = {0};

	if (gn_store_get_sweep(gn_request_service(r)->store, gn_path(r, "id"), row, &err) == 0)
		return 0;
	if (err.code == GN_NOT_FOUND)
		gn_reply_problem(r, 404, "there is no sweep with this id or name");
	else
		gn_reply_error(r, &err);
	return -1;
}

void gn_api_sweep_cancel(struct gn_request *r)
{
	struct gn_supervisor *supervisor = gn_request_service(r)->supervisor;
	struct gn_sweep_row row;
	struct gn_sweep_state state;
	size_t index;
	json_t *run;

	if (gn_api_no_query(r) || sweep_row(r, &row))
		return;
	gn_api_sweep_state(&state, r, &row);
	if (state.counts[GN_JOB_QUEUED] + state.counts[GN_JOB_RUNNING] == 0) {
		gn_reply_problem(r, 409, "the sweep is %s; none of its runs is queued or running", state.status);
	} else {
		/* runs that have ended in the meantime need no cancelling */
		json_array_foreach(row.runs, index, run)
		{
			gn_supervisor_cancel(supervisor, GN_KIND_RUN, json_string_value(run), NULL);
		}
		gn_reply_json(r, 200, gn_api_sweep_resource(r, &row, true));
	}
	gn_sweep_row_release(&row);
}

struct deletion {
	bool runs;
};
static const struct gn_field DELETION[] = {
    {"runs", GN_FIELD_BOOL, 0, offsetof(struct deletion, runs), .help = "Deletes its runs too; their models stay."},
};

/* Adds the bytes that the runs freed to *freed. */
static int delete_runs(struct gn_request *r, const struct gn_sweep_row *row, uint64_t *freed, struct gn_error *err)
{
	size_t index;
	json_t *run;

	json_array_foreach(row->runs, index, run)
	{
		struct gn_error why = {0};
		uint64_t bytes = 0;
		if (gn_supervisor_delete(gn_request_service(r)->supervisor, GN_KIND_RUN, json_string_value(run), &bytes,
		                         &why) &&
		    why.code != GN_NOT_FOUND)
			return gn_fail(err, why.code, why.where, "%s: %s", json_string_value(run), why.text);
		*freed += bytes;
	}
	return 0;
}

void gn_api_sweep_delete(struct gn_request *r)
{
	struct deletion deletion;
	struct gn_sweep_row row;
	struct gn_sweep_state state;
	struct gn_error err = {0};
	uint64_t freed = 0, shared = 0;

	if (gn_api_query(r, DELETION, 1, &deletion) || sweep_row(r, &row))
		return;
	gn_api_sweep_state(&state, r, &row);
	if (state.counts[GN_JOB_QUEUED] + state.counts[GN_JOB_RUNNING])
		gn_reply_problem(r, 409, "the sweep is %s; cancel it first", state.status);
	else if ((deletion.runs && delete_runs(r, &row, &freed, &err)) ||
	         gn_supervisor_delete_sweep(gn_request_service(r)->supervisor, row.id, &shared, &err))
		gn_reply_error(r, &err);
	else
		gn_reply_json(r, 200, json_pack("{s:I}", "freed_bytes", (json_int_t)(freed + shared)));
	gn_sweep_row_release(&row);
}
