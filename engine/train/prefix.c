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

/* Rows on their way from a pass to where they are kept. */
struct filling {
	struct gn_trainer *t;
	const struct gn_prefix *out;
	struct gn_pass *pass;
	void *spare;  /* device: the last batch's rows while they travel; NULL: they travel while nothing is computed */
	int underway; /* images whose rows travel */
	int done, count;
	double reported;
};

/* The rows that travel have arrived; and what the caller hears. */
static int rows_arrived(struct filling *f, struct gn_error *err)
{
	struct gn_trainer *t = f->t;

	if (!f->underway)
		return 0;
	if (f->spare ? t->backend->download_end(t->ctx, err) : t->backend->sync(t->ctx, err))
		return -1;
	f->done += f->underway;
	f->underway = 0;
	if (gn_train_stopped(t))
		return gn_fail(err, GN_CANCELLED, "", "stopped while the frozen prefix was being computed");
	if (gn_clock() - f->reported > 2) {
		gn_train_log(t, "frozen prefix: %d of %d images", f->done, f->count);
		f->reported = gn_clock();
	}
	return 0;
}

/* What follows a forward pass of n samples from `first` on. The rows of the batch before arrive
 * while it computes. */
static int keep_rows(struct filling *f, int first, int n, struct gn_error *err)
{
	struct gn_trainer *t = f->t;
	char *rows = f->out->rows + (size_t)first * f->out->row_bytes;
	size_t bytes = (size_t)n * f->out->row_bytes;

	if (rows_arrived(f, err))
		return -1;
	f->underway = n;
	if (f->spare) {
		t->backend->download_begin(t->ctx, rows, f->spare, gn_pass_output(f->pass), bytes);
		return 0;
	}
	t->backend->download(t->ctx, rows, gn_pass_output(f->pass), bytes);
	return rows_arrived(f, err);
}

static int fill_from_images(struct filling *f, const int32_t *samples, struct gn_error *err)
{
	struct gn_trainer *t = f->t;
	const int32_t *batch;
	int32_t *labels;
	const uint8_t *images;
	int n, end;

	if (gn_loader_begin(t->loader, samples, f->count, f->pass->batch, 0, false, err))
		return -1;
	while ((end = gn_loader_next(t->loader, &images, &labels, &batch, &n, err)) == 0) {
		gn_trainer_upload(t, f->pass, images, n);
		gn_vit_forward(f->pass, &t->weights, n, false);
		if (keep_rows(f, batch[0], n, err))
			return -1;
	}
	return end < 0 ? -1 : 0;
}

static int fill_from_rows(struct filling *f, const struct gn_prefix *source, const int32_t *samples,
                          struct gn_error *err)
{
	struct gn_trainer *t = f->t;

	for (int at = 0; at < f->count; at += f->pass->batch) {
		int n = f->count - at < f->pass->batch ? f->count - at : f->pass->batch;

		t->backend->upload_rows(t->ctx, gn_pass_input(f->pass), source->rows, source->row_bytes, samples + at,
		                        n);
		gn_vit_forward(f->pass, &t->weights, n, false);
		if (keep_rows(f, at, n, err))
			return -1;
	}
	return 0;
}

/* Room for a batch's rows behind the pass, where there is some: a part of the way may have
 * longer rows than the whole. */
static void *place_spare(const struct gn_trainer *t, const struct gn_pass *pass, int to)
{
	size_t bytes = gn_prefix_spare_bytes(t->backend, &t->tuning.arch, pass->batch, to);
	char *spare = (char *)t->pass_memory + pass->bytes;

	if (!bytes || pass->bytes > t->pass_bytes || bytes > t->pass_bytes - pass->bytes)
		return NULL;
	gn_piece_open(t->backend, t->ctx, spare, bytes - t->backend->guard, true);
	return spare;
}

static int fill(struct filling *f, int to, int from, const struct gn_prefix *source, const int32_t *samples,
                struct gn_error *err)
{
	f->spare = place_spare(f->t, f->pass, to);
	f->reported = gn_clock();
	if ((from ? fill_from_rows(f, source, samples, err) : fill_from_images(f, samples, err)) ||
	    rows_arrived(f, err)) {
		f->t->backend->download_end(f->t->ctx, NULL); /* another may begin */
		return -1;
	}
	return f->t->backend->sync(f->t->ctx, err);
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
	if (gn_pass_new_in(&pass, t->pass_memory, t->backend, t->ctx, &t->tuning.arch, NULL, t->plan.micro_batch_size,
	                   from, to, err) == 0)
		result = fill(&(struct filling){.t = t, .out = out, .pass = pass, .count = count}, to, from, source,
		              samples, err);
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
