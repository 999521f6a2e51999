/*
 * The frozen prefix's outputs. They are computed once, by a pass that keeps nothing else, and live
 * in anonymous memory or, past the plan's limit, in a file of the run's folder that has no name any
 * more: it disappears with the process.
 */
#include "train/trainer.h"

#include "base/files.h"
#include "train/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int map_file(struct gn_trainer *t, struct gn_error *err)
{
	char path[4096];
	void *address = MAP_FAILED;
	int fd, code;

	snprintf(path, sizeof path, "%s/prefix.cache", t->options->folder);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return gn_fail_errno(err, "prefix.cache", "cannot create the prefix cache");
	unlink(path);
	code = posix_fallocate(fd, 0, (off_t)t->prefix.bytes); /* a full disk is found here, not by a fault later */
	if (code == 0)
		address = mmap(NULL, t->prefix.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	else
		errno = code;
	if (address == MAP_FAILED)
		gn_fail_errno(err, "prefix.cache", "cannot make room for the prefix cache");
	else
		t->prefix.rows = t->prefix.map = address;
	close(fd);
	return t->prefix.rows ? 0 : -1;
}

static int map_memory(struct gn_trainer *t, struct gn_error *err)
{
	void *address = mmap(NULL, t->prefix.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (address == MAP_FAILED)
		return gn_fail(err, GN_NO_MEMORY, "", "the prefix cache needs %zu bytes of memory", t->prefix.bytes);
	t->prefix.rows = t->prefix.map = address;
	return 0;
}

int gn_prefix_fill(struct gn_trainer *t, struct gn_error *err)
{
	struct gn_vit_shape shape;
	size_t count = (size_t)t->dataset->totals[GN_TRAIN] + (size_t)t->dataset->totals[GN_VAL];
	bool shared;

	if (!t->plan.prefix_cached)
		return 0;
	if (gn_shared_prefix(t, &shared, err) || shared)
		return shared ? 0 : -1;
	gn_vit_shape_init(&shape, &t->tuning.arch);
	t->prefix.row_bytes = gn_cut_floats(&shape, t->cut) * t->backend->act_bytes;
	t->prefix.bytes = t->prefix.map_bytes = count * t->prefix.row_bytes;
	if (t->plan.prefix_in_memory ? map_memory(t, err) : map_file(t, err))
		return -1;
	return gn_prefix_compute(t, &t->prefix, t->cut, 0, NULL, err);
}

void gn_prefix_load(struct gn_trainer *t, const int32_t *samples, int n)
{
	t->backend->upload_rows(t->ctx, gn_pass_input(t->pass), t->prefix.rows, t->prefix.row_bytes, samples, n);
}

void gn_prefix_release(struct gn_trainer *t)
{
	if (t->prefix.map)
		munmap(t->prefix.map, t->prefix.map_bytes);
	t->prefix = (struct gn_prefix){0};
}
