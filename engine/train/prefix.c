/*
 * The frozen prefix's outputs. They are computed once, by a pass that keeps nothing else, and live in anonymous
 * memory or, past the plan's limit, in a file of the run's folder that has no name any more: it disappears with the
 * process.
 */
#include "train/trainer.h"

#include "fileio.h"

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
		t->prefix.rows = address;
	close(fd);
	return t->prefix.rows ? 0 : -1;
}

static int map_memory(struct gn_trainer *t, struct gn_error *err)
{
	void *address = mmap(NULL, t->prefix.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (address == MAP_FAILED)
		return gn_fail(err, GN_NO_MEMORY, "", "the prefix cache needs %zu bytes of memory", t->prefix.bytes);
	t->prefix.rows = address;
	return 0;
}

/* Runs every training and validation sample through the frozen prefix. */
static int fill(struct gn_trainer *t, struct gn_pass *pass, const int32_t *samples, int count, struct gn_error *err)
{
	float *images;
	int32_t *labels;
	const int32_t *batch;
	int n, end, done = 0;
	double reported = gn_clock();

	if (gn_loader_begin(t->loader, samples, count, pass->batch, 0, false, err))
		return -1;
	while ((end = gn_loader_next(t->loader, &images, &labels, &batch, &n, err)) == 0) {
		t->backend->upload(t->ctx, gn_pass_input(pass), images,
		                   (size_t)n * 3 * (size_t)t->arch.image_size * (size_t)t->arch.image_size *
		                       sizeof *images);
		gn_vit_forward(pass, &t->weights, n, false);
		t->backend->download(t->ctx, t->prefix.rows + (size_t)batch[0] * t->prefix.row_bytes,
		                     gn_pass_output(pass), (size_t)n * t->prefix.row_bytes);
		if (t->backend->sync(t->ctx, err))
			return -1;
		if (gn_train_stopped(t))
			return gn_fail(err, GN_CANCELLED, "", "stopped while the frozen prefix was being computed");
		done += n;
		if (gn_clock() - reported > 2) {
			gn_train_log(t, "frozen prefix: %d of %d images", done, count);
			reported = gn_clock();
		}
	}
	return end < 0 ? -1 : 0;
}

int gn_prefix_fill(struct gn_trainer *t, struct gn_error *err)
{
	struct gn_vit_shape shape;
	struct gn_pass *pass = NULL;
	int count = t->dataset->totals[GN_TRAIN] + t->dataset->totals[GN_VAL], result = -1;
	int32_t *samples;
	double from = gn_clock();

	if (!t->plan.prefix_cached)
		return 0;
	gn_vit_shape_init(&shape, &t->arch);
	t->prefix.row_bytes = gn_stage_floats(&shape, t->stage) * t->backend->act_bytes;
	t->prefix.bytes = (size_t)count * t->prefix.row_bytes;
	if (t->plan.prefix_in_memory ? map_memory(t, err) : map_file(t, err))
		return -1;
	/* training and validation samples stand first in a data set: a sample's index is its row */
	samples = gn_alloc((size_t)count, sizeof *samples, err);
	if (!samples)
		return -1;
	for (int i = 0; i < count; i++)
		samples[i] = i;
	if (gn_pass_new_in(&pass, t->pass_memory, t->backend, t->ctx, &t->arch, NULL, t->plan.micro_batch_size, 0,
	                   t->stage, err) == 0)
		result = fill(t, pass, samples, count, err);
	gn_loader_stop(t->loader);
	gn_pass_free(pass);
	free(samples);
	if (result == 0)
		gn_train_log(t, "frozen prefix: %d images in %.2f s, %zu bytes %s", count, gn_clock() - from,
		             t->prefix.bytes, t->plan.prefix_in_memory ? "in memory" : "in a file");
	return result;
}

void gn_prefix_load(struct gn_trainer *t, const int32_t *samples, int n)
{
	t->backend->upload_rows(t->ctx, gn_pass_input(t->pass), t->prefix.rows, t->prefix.row_bytes, samples, n);
}

void gn_prefix_release(struct gn_trainer *t)
{
	if (t->prefix.rows)
		munmap(t->prefix.rows, t->prefix.bytes);
	t->prefix = (struct gn_prefix){0};
}
