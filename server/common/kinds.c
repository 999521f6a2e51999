/* The table of kinds, and the words for statuses: see kinds.h. */
#include "server/common/kinds.h"

#include <string.h>

const struct gn_kind_info gn_kinds[GN_KIND_COUNT] = {
    [GN_KIND_MODEL] = {.word = "model", .folder = "models", .prefix = "mdl_"},
    [GN_KIND_DATASET] = {.word = "data set", .folder = "datasets", .prefix = "dst_"},
    [GN_KIND_RUN] = {.word = "run", .folder = "runs", .prefix = "run_", .command = "train"},
    [GN_KIND_SOUP] = {.word = "soup", .folder = "soups", .prefix = "sop_", .command = "soup"},
    [GN_KIND_EVALUATION] = {.word = "evaluation",
                            .folder = "evaluations",
                            .prefix = "evl_",
                            .command = "evaluate",
                            .files = {"report.json", "images.bin"}},
};

int gn_job_kind_of_command(const char *command)
{
	for (int kind = GN_KIND_RUN; kind < GN_KIND_COUNT; kind++)
		if (!strcmp(gn_kinds[kind].command, command))
			return kind;
	return -1;
}

bool gn_kind_like_id(const char *text)
{
	for (int kind = 0; kind < GN_KIND_COUNT; kind++)
		if (!strncmp(text, gn_kinds[kind].prefix, strlen(gn_kinds[kind].prefix)))
			return true;
	return !strncmp(text, GN_SWEEP_PREFIX, strlen(GN_SWEEP_PREFIX));
}

const char *const gn_job_status_names[GN_JOB_STATUS_COUNT + 1] = {"queued", "running", "succeeded", "failed",
                                                                  "cancelled"};

const char *gn_job_status_name(enum gn_job_status status)
{
	return gn_job_status_names[status];
}

int gn_job_status_from_name(const char *name)
{
	for (int i = 0; i < GN_JOB_STATUS_COUNT; i++)
		if (!strcmp(gn_job_status_names[i], name))
			return i;
	return -1;
}
