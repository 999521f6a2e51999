/*
 * Any bytes as a checkpoint: imported as a foreign file, and opened as one of our own. A file that
 * was imported must open. The input is in a memory file, so that the code is the same as for
 * uploads.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/files.h"
#include "gonio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int no_fsync(int fd)
{
	(void)fd;
	return 0;
}

static int fill(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	return fd;
}

static void visit(void *user, const char *name, const char *dtype, int rank, const int64_t *shape)
{
	size_t *sum = user;

	*sum += strlen(name) + strlen(dtype) + (rank > 0 ? (size_t)shape[rank - 1] : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gn_import_options options = {
	    .heads = 1, .activation = GN_ACT_GELU, .norm_eps = NAN, .mean = {NAN}, .std = {NAN}, .crop_pct = NAN};
	struct gn_import_report report;
	struct gn_model *model;
	char source[64], out[64];
	size_t sum = 0;
	int fd;

	if (size > 1 << 20)
		return 0;
	fd = fill(data, size);
	gn_sys.fsync = no_fsync;
	snprintf(source, sizeof source, "/proc/self/fd/%d", fd);
	snprintf(out, sizeof out, "/dev/shm/gonio-fuzz-%d", (int)getpid());
	options.allow_unused = size % 2;
	options.image_size = size % 3 == 0 ? 6 : 0;
	gn_inspect(source, visit, &sum, NULL);
	if (!gn_model_import(out, source, &options, &report, NULL)) {
		if (gn_model_open(&model, out, NULL, NULL))
			abort();
		gn_model_close(model);
		gn_import_report_release(&report);
		unlink(out);
	}
	if (!gn_model_open(&model, source, NULL, NULL))
		gn_model_close(model);
	close(fd);
	return 0;
}
