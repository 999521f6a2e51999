/*
 * Computes the outputs of a frozen prefix, batch by batch. On a device with a memory of its own the
 * rows of a batch travel to the host while the next batch is computed.
 */
#include "train/trainer.h"

#include "base/files.h"
#include "tune/tuning.h"

#include <stdlib.h>

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
