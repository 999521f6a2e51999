/* See runs.h. */
#include "tests/support/runs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "server/common/files.h"
#include "tests/support/client.h"

static const char script[] =
    "#!/bin/sh\n"
    "cd \"$2\" || exit 2\n"
    "exec 9>lock\n"
    "flock -n 9 || exit 5\n"
    "mode=$(sed -n 's/.*\"mode\": *\"\\([a-z]*\\)\".*/\\1/p' job.json)\n"
    "echo \"worker in mode $mode\"\n"
    "emit() {\n"
    "    id=$(($(wc -l < events.ndjson) + 1))\n"
    "    echo \"{\\\"id\\\":$id,\\\"time\\\":\\\"t\\\",\\\"event\\\":\\\"$1\\\",\\\"data\\\":$2}\" >> events.ndjson\n"
    "}\n"
    "good() {\n"
    "    emit start '{\"step\":0,\"steps\":2,\"epoch\":0,\"epochs\":1,\"line\":\"on\"}'\n"
    "    emit step '{\"step\":2,\"steps\":2,\"epoch\":1,\"epochs\":1,\"images_per_second\":9.5,\"eta_seconds\":0}'\n"
    "    echo weights > model.safetensors\n"
    "    echo state > checkpoint.bin\n"
    "    echo '{\"result\":{\"val_accuracy\":0.5}}' > result.json\n"
    "    exit 0\n"
    "}\n"
    "case $mode in\n"
    "    good) good ;;\n"
    "    fail) echo '{\"error\":{\"type\":\"invalid\",\"detail\":\"because\"}}' > result.json; exit 4 ;;\n"
    "    crash) kill -9 $$ ;;\n"
    "    once) [ -e crashed ] && good; : > crashed; printf '{\"id\":77,\"torn' >> events.ndjson; kill -9 $$ ;;\n"
    "    forward) n=$(wc -l < tries 2>/dev/null || echo 0); [ $n -ge 4 ] && good; echo >> tries\n"
    "        emit checkpoint \"{\\\"step\\\":$((n + 1)),\\\"epoch\\\":0}\"; kill -9 $$ ;;\n"
    "    slow) trap 'exit 3' TERM; emit step '{\"step\":1,\"steps\":2,\"epoch\":1,\"epochs\":1}'\n"
    "        while [ ! -e go ]; do sleep 0.02; done; good ;;\n"
    "    mix) emit record '{\"ingredients\":[1]}'; emit progress '{\"done\":2,\"total\":2,\"eta_seconds\":0}'\n"
    "        echo weights > model.safetensors; echo state > soup.bin; echo "
    "\"{\\\"result\\\":{\\\"by\\\":\\\"$1\\\"}}\" > result.json ;;\n"
    "    measure) echo all > report.json; echo \"{\\\"result\\\":{\\\"by\\\":\\\"$1\\\"}}\" > result.json ;;\n"
    "    stubborn) trap '' TERM; while :; do sleep 0.02; done ;;\n"
    "    *) exit 2 ;;\n"
    "esac\n";

static void add_row(struct runs *f, enum gn_kind kind, char id[GN_ID_SIZE])
{
	struct gn_error err = {0};
	struct gn_row row = {.fields = json_object()};
	char staged[PATH_MAX];

	assert_int_equal(gn_store_stage(f->store, staged, &err), 0);
	assert_int_equal(gn_store_add(f->store, kind, staged, &row, &err), 0);
	memcpy(id, row.id, GN_ID_SIZE);
	gn_row_release(&row);
}

void runs_start(struct runs *f)
{
	struct gn_error err = {0};
	struct gn_supervisor_options options = {
	    .max_runs = f->gpu_bytes ? 2 : 1, .device = "cpu", .program = f->program, .grace_seconds = 0.5};

	assert_int_equal(gn_store_open(&f->store, f->folder, 0, &err), 0);
	options.store = f->store;
	options.gpu_bytes = f->gpu_bytes;
	assert_int_equal(gn_supervisor_new(&f->supervisor, &options, &err), 0);
	gn_supervisor_go(f->supervisor);
}

void runs_stop(struct runs *f)
{
	gn_supervisor_free(f->supervisor);
	gn_store_close(f->store);
	f->supervisor = NULL;
	f->store = NULL;
}

int runs_setup(void **state)
{
	struct runs *f = calloc(1, sizeof *f);
	struct gn_error err = {0};

	temporary_folder(f->folder, sizeof f->folder);
	snprintf(f->program, sizeof f->program, "%s/worker.sh", f->folder);
	assert_int_equal(gn_file_replace(f->program, script, sizeof script - 1, &err), 0);
	assert_int_equal(chmod(f->program, 0700), 0);
	runs_start(f);
	add_row(f, GN_KIND_MODEL, f->model);
	add_row(f, GN_KIND_DATASET, f->dataset);
	*state = f;
	return 0;
}

int runs_teardown(void **state)
{
	struct runs *f = *state;

	runs_stop(f);
	temporary_remove(f->folder);
	free(f);
	return 0;
}

static enum gn_kind kind_of(const char *id)
{
	return !strncmp(id, "sop_", 4) ? GN_KIND_SOUP : !strncmp(id, "evl_", 4) ? GN_KIND_EVALUATION : GN_KIND_RUN;
}

void runs_submit_kind(struct runs *f, enum gn_kind kind, const char *mode, const char *name, int priority,
                      char id[GN_ID_SIZE])
{
	struct gn_error err = {0};
	json_t *request = json_pack("{s:s,s:s,s:s,s:i,s:i}", "model", f->model, "dataset", f->dataset, "mode", mode,
	                            "epochs", 1, "batch_size", 8);
	json_t *members =
	    json_pack("{s:[s],s:i,s:i}", "tuned_layers", "head", "tuned_parameters", 10, "gpu_bytes", f->job_gpu_bytes);
	json_t *needs = json_pack("{s:s,s:s}", "/model", f->model, "/dataset", f->dataset);
	struct gn_job_new job = {kind,  name,    priority, kind == GN_KIND_EVALUATION ? NULL : f->model,
	                         needs, request, members};

	assert_int_equal(gn_supervisor_submit(f->supervisor, &job, 1, (char(*)[GN_ID_SIZE])id, &err), 0);
	json_decref(needs);
	json_decref(request);
	json_decref(members);
}

void runs_submit(struct runs *f, const char *mode, const char *name, int priority, char id[GN_ID_SIZE])
{
	runs_submit_kind(f, GN_KIND_RUN, mode, name, priority, id);
}

void runs_wait(struct runs *f, const char *id, enum gn_job_status wanted)
{
	enum gn_job_status status = GN_JOB_STATUS_COUNT;
	char found[GN_ID_SIZE];

	for (int i = 0; i < 1000; i++) {
		assert_int_equal(gn_supervisor_find(f->supervisor, kind_of(id), id, found, &status), 0);
		if (status == wanted)
			return;
		nanosleep(&(struct timespec){0, 20000000}, NULL);
	}
	print_message("%s is %s\n", id, gn_job_status_name(status));
	assert_int_equal(status, wanted);
}

json_t *runs_get(struct runs *f, const char *id)
{
	struct gn_text *text = gn_supervisor_get(f->supervisor, kind_of(id), id);
	json_t *run;

	assert_non_null(text);
	run = json_loadb(text->data, text->bytes, 0, NULL);
	assert_non_null(run);
	gn_text_unref(text);
	return run;
}
