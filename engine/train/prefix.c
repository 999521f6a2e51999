/*
 * The frozen prefix's outputs. They are computed once, by a pass that keeps nothing else, and live in anonymous
 * memory or, past the plan's limit, in a file of the run's folder that has no name any more: it disappears with the
 * process.
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

/* What follows a forward pass of n samples from `first` on: their rows, and what the caller hears. */
static int keep_rows(struct gn_trainer *t, const struct gn_prefix *out, struct gn_pass *pass, int first, int n,
                     int count, double *reported, struct gn_error *err)
{
	t->backend->download(t->ctx, out->rows + (size_t)first * out->row_bytes, gn_pass_output(pass),
	                     (size_t)n * out->row_bytes);
	if (t->backend->sync(t->ctx, err))
		return -1;
	if (gn_train_stopped(t))
		return gn_fail(err, GN_CANCELLED, "", "stopped while the frozen prefix was being computed");
	if (gn_clock() - *reported > 2) {
		gn_train_log(t, "frozen prefix: %d of %d images", first + n, count);
		*reported = gn_clock();
	}
	return 0;
}

static int fill_from_images(struct gn_trainer *t, const struct gn_prefix *out, struct gn_pass *pass,
                            const int32_t *samples, int count, struct gn_error *err)
{
	double reported = gn_clock();
	const int32_t *batch;
	int32_t *labels;
	const uint8_t *images;
	int n, end;

	if (gn_loader_begin(t->loader, samples, count, pass->batch, 0, false, err))
		return -1;
	while ((end = gn_loader_next(t->loader, &images, &labels, &batch, &n, err)) == 0) {
		gn_trainer_upload(t, pass, images, n);
		gn_vit_forward(pass, &t->weights, n, false);
		if (keep_rows(t, out, pass, batch[0], n, count, &reported, err))
			return -1;
	}
	return end < 0 ? -1 : 0;
}

static int fill_from_rows(struct gn_trainer *t, const struct gn_prefix *out, struct gn_pass *pass,
                          const struct gn_prefix *source, const int32_t *samples, int count, struct gn_error *err)
{
	double reported = gn_clock();

	for (int at = 0; at < count; at += pass->batch) {
		int n = count - at < pass->batch ? count - at : pass->batch;

		t->backend->upload_rows(t->ctx, gn_pass_input(pass), source->rows, source->row_bytes, samples + at, n);
		gn_vit_forward(pass, &t->weights, n, false);
		if (keep_rows(t, out, pass, at, n, count, &reported, err))
			return -1;
	}
	return 0;
}

int gn_prefix_compute(struct gn_trainer *t, const struct gn_prefix *out, int to, int from,
                      const struct gn_prefix *source, struct gn_error *err)
{
	int count = t->dataset->totals[GN_TRAIN] + t->dataset->totals[GN_VAL], result = -1;
	int32_t *samples = gn_alloc((size_t)count, sizeof *samples, err);
	struct gn_pass *pass = NULL;
	double begun = gn_clock();

	if (!samples)
		return -1;
	/* training and validation samples stand first in a data set: a sample's index is its row */
	for (int i = 0; i < count; i++)
		samples[i] = i;
	/* a part of the way takes no more memory than the whole */
	if (gn_pass_new_in(&pass, t->pass_memory, t->backend, t->ctx, &t->arch, NULL, t->plan.micro_batch_size, from,
	                   to, err) == 0)
		result = from ? fill_from_rows(t, out, pass, source, samples, count, err)
		              : fill_from_images(t, out, pass, samples, count, err);
	gn_loader_stop(t->loader);
	gn_pass_free(pass);
	free(samples);
	if (result == 0)
		gn_train_log(t, "frozen prefix: %d images, stage %d to %d in %.2f s, %zu bytes", count, from, to,
		             gn_clock() - begun, out->bytes);
	return result;
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
	gn_vit_shape_init(&shape, &t->arch);
	t->prefix.row_bytes = gn_stage_floats(&shape, t->stage) * t->backend->act_bytes;
	t->prefix.bytes = t->prefix.map_bytes = count * t->prefix.row_bytes;
	if (t->plan.prefix_in_memory ? map_memory(t, err) : map_file(t, err))
		return -1;
	return gn_prefix_compute(t, &t->prefix, t->stage, 0, NULL, err);
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
