/*
 * checkpoint.bin: everything that a run needs to go on bit for bit. Random numbers need no state
 * (random.h), the frozen prefix is computed again, so it is the progress, the tuned weights and
 * their moments. Layout: magic, fingerprint of the run, gn_progress, then the flat buffers w, m
 * and, for AdamW, v. The fingerprint ties the file to the configuration, the architecture and the
 * data set's size: a file of another run is refused.
 */
#include "train/trainer.h"

#include "base/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "gonio checkpoint 1\n"

struct header {
	char magic[32];
	char fingerprint[72];
	uint64_t tuned_floats, buffers;
	struct gn_progress progress;
};

static void checkpoint_path(char path[4096], const struct gn_trainer *t)
{
	snprintf(path, 4096, "%s/checkpoint.bin", t->options->folder);
}

static void hash_text(struct gn_sha256 *hash, const char *text)
{
	gn_sha256_update(hash, text, strlen(text) + 1);
}

static int fingerprint(char hex[65], const struct gn_trainer *t, struct gn_error *err)
{
	const struct gn_run_config *c = &t->config;
	struct gn_sha256 hash;
	char text[1024];

	if (gn_sha256_begin(&hash, err))
		return -1;
	snprintf(text, sizeof text, "%d %d %d %a %a %a %a %a %d %d %lld %d %d %d %llu %d %d %d %zu %d %d %d", c->epochs,
	         c->batch_size, t->plan.micro_batch_size, c->lr, c->weight_decay, c->label_smoothing, c->clip_norm,
	         c->layer_decay, c->optimizer, c->schedule, (long long)t->plan.warmup_steps, c->augment,
	         t->tuning.arch.image_size, c->head, (unsigned long long)c->seed, c->eval_every_epochs,
	         c->early_stop_epochs, c->class_weights, t->tuning.layout.parameters, t->dataset->sample_count,
	         t->dataset->totals[GN_TRAIN], t->dataset->totals[GN_VAL]);
	hash_text(&hash, text);
	if (!t->backend->unified) { /* it goes on where it began */
		hash_text(&hash, t->backend->name);
		hash_text(&hash, gn_precision_name(t->backend->precision));
	}
	for (int i = 0; i < t->tuning.layout.count; i++)
		if (t->tuning.tuned[i])
			hash_text(&hash, t->tuning.layout.tensors[i].name);
	gn_sha256_end(&hash, hex);
	return 0;
}

static int buffers(float *out[3], const struct gn_trainer *t)
{
	out[0] = t->w;
	out[1] = t->m;
	out[2] = t->v;
	return t->v ? 3 : 2;
}

int gn_resume_save(struct gn_trainer *t, struct gn_error *err)
{
	struct gn_file_writer writer;
	struct header header = {.magic = MAGIC, .tuned_floats = t->tuned_floats, .progress = t->progress};
	size_t bytes = t->tuned_floats * sizeof(float);
	float *list[3], *copy = NULL;
	char path[4096];
	int result = -1;

	header.buffers = (uint64_t)buffers(list, t);
	checkpoint_path(path, t);
	if (fingerprint(header.fingerprint, t, err) || gn_file_begin(&writer, path, err))
		return -1;
	if (!t->backend->unified) {
		copy = gn_alloc(t->tuned_floats, sizeof *copy, err);
		if (!copy)
			goto done;
	}
	if (gn_file_write(&writer, &header, sizeof header, err))
		goto done;
	for (uint64_t i = 0; i < header.buffers; i++) {
		if (copy)
			t->backend->download(t->ctx, copy, list[i], bytes);
		if (t->backend->sync(t->ctx, err) || gn_file_write(&writer, copy ? copy : list[i], bytes, err))
			goto done;
	}
	result = gn_file_commit(&writer, err);
done:
	gn_file_abort(&writer);
	free(copy);
	t->last_checkpoint = gn_clock();
	return result;
}

static int check_header(const struct gn_trainer *t, const struct header *header, size_t size, struct gn_error *err)
{
	float *list[3];
	char hex[65];

	if (memcmp(header->magic, MAGIC, sizeof MAGIC))
		return gn_fail(err, GN_MALFORMED, "checkpoint.bin", "not a checkpoint of this version of gonio");
	if (fingerprint(hex, t, err))
		return -1;
	if (memcmp(header->fingerprint, hex, sizeof hex) || header->tuned_floats != t->tuned_floats ||
	    header->buffers != (uint64_t)buffers(list, t))
		return gn_fail(err, GN_CONFLICT, "checkpoint.bin",
		               "belongs to a run with another configuration, model, data set or device");
	if (size != sizeof *header + header->buffers * t->tuned_floats * sizeof(float))
		return gn_fail(err, GN_MALFORMED, "checkpoint.bin",
		               "has %zu bytes, which is not the size of this run's checkpoint", size);
	return 0;
}

int gn_resume_load(struct gn_trainer *t, bool *found, struct gn_error *err)
{
	struct gn_error missing = {0};
	struct gn_file_map map;
	struct header header;
	size_t bytes = t->tuned_floats * sizeof(float);
	float *list[3];
	char path[4096];
	int result = -1;

	*found = false;
	checkpoint_path(path, t);
	if (gn_file_map(&map, path, &missing))
		return missing.code == GN_NOT_FOUND ? 0 : gn_fail(err, missing.code, missing.where, "%s", missing.text);
	if (map.size < sizeof header) {
		gn_fail(err, GN_MALFORMED, "checkpoint.bin", "is cut off");
		goto done;
	}
	memcpy(&header, map.bytes, sizeof header);
	if (check_header(t, &header, map.size, err))
		goto done;
	for (int i = 0; i < buffers(list, t); i++)
		t->backend->upload(t->ctx, list[i], map.bytes + sizeof header + (size_t)i * bytes, bytes);
	gn_weights_refresh(t);
	if (t->backend->sync(t->ctx, err))
		goto done;
	t->progress = header.progress;
	*found = true;
	result = 0;
done:
	gn_file_unmap(&map);
	return result;
}
