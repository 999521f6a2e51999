/* The words for kinds and statuses: see kinds.h. */
#include "server/common/kinds.h"

#include <string.h>

const char *const gn_kind_words[GN_KIND_COUNT] = {"model", "data set", "run", "soup", "evaluation"};
const char *const gn_kind_folders[GN_KIND_COUNT] = {"models", "datasets", "runs", "soups", "evaluations"};

static const char *const status_names[GN_JOB_STATUS_COUNT] = {"queued", "running", "succeeded", "failed", "cancelled"};

const char *gn_job_status_name(enum gn_job_status status)
{
	return status_names[status];
}

int gn_job_status_from_name(const char *name)
{
	for (int i = 0; i < GN_JOB_STATUS_COUNT; i++)
		if (!strcmp(status_names[i], name))
			return i;
	return -1;
}
