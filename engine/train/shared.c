/*
 * Outputs of the frozen prefix that several runs share: one file per cut, in a folder of theirs.
 * The first run that needs a file makes it, and the others map it. On the way to its own cut, a run
 * also makes the files of the lower cuts that other runs will need. So one pass through the frozen
 * blocks, in segments, is enough for all. A run starts from the highest cut that has a file.
 *
 * The name of a file and its header have a hash of everything that its content depends on, the
 * shapes of the products included. So a file holds bit for bit what the run would have computed. It
 * is written under a temporary name, and renamed when it is whole and on the disk. One run at a
 * time works in the folder, and the others wait for it.
 */
#include "train/shared.h"

#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define MAGIC "gonio stage 1\n"

enum { HEADER_BYTES = 4096 }; /* a page, so that the rows after it can be mapped */

struct header {
	char magic[16];
	char key[65];
	int32_t cut;
	uint64_t row_bytes, rows;
};

/* ---------------------------------------------------------------- what a file depends on ------------------------ */

static int make_key(char key[65], const struct gn_trainer *t, struct gn_error *err)
{
	const struct gn_arch *a = &t->tuning.arch;
	const struct gn_preprocess *p = &t->options->model->preprocess;
	const struct gn_dataset *d = t->dataset;
	struct gn_device_info device;
	struct gn_sha256 hash;
	char text[1024];

	if (gn_sha256_begin(&hash, err))
		return -1;
	t->backend->describe(t->ctx, &device);
	gn_sha256_update(&hash, t->options->shared->identity, strlen(t->options->shared->identity) + 1);
	snprintf(text, sizeof text, "%s %d %zu %d | %d %d %d %d %d %d | %a %a %a %a %a %a %a %d | %d %d %d",
	         device.backend, (int)device.precision, t->backend->act_bytes, device.threads, a->image_size,
	         a->patch_size, a->dim, a->depth, a->heads, t->plan.micro_batch_size, (double)p->mean[0],
	         (double)p->mean[1], (double)p->mean[2], (double)p->std[0], (double)p->std[1], (double)p->std[2],
	         (double)p->crop_pct, p->interpolation, d->sample_count, d->totals[GN_TRAIN], d->totals[GN_VAL]);
	gn_sha256_update(&hash, text, strlen(text) + 1);
	gn_sha256_end(&hash, key);
	return 0;
}

static struct header header_of(const char key[65], int cut, const struct gn_trainer *t)
{
	struct gn_vit_shape shape;
	struct header header = {.magic = MAGIC, .cut = cut};

	gn_vit_shape_init(&shape, &t->tuning.arch);
	memcpy(header.key, key, sizeof header.key);
	header.row_bytes = gn_cut_floats(&shape, cut) * t->backend->act_bytes;
	header.rows = (uint64_t)t->dataset->totals[GN_TRAIN] + (uint64_t)t->dataset->totals[GN_VAL];
	return header;
}

static size_t file_bytes(const struct header *header)
{
	return HEADER_BYTES + header->rows * header->row_bytes;
}

static void cut_path(char path[4096], const struct gn_trainer *t, const struct header *header, const char *suffix)
{
	snprintf(path, 4096, "%s/%.16s-%d%s", t->options->shared->folder, header->key, (int)header->cut, suffix);
}

/* ---------------------------------------------------------------- files ----------------------------------------- */

static void unmap(struct gn_prefix *prefix)
{
	if (prefix->map)
		munmap(prefix->map, prefix->map_bytes);
	*prefix = (struct gn_prefix){0};
}

/* Takes over fd. */
static bool map_rows(struct gn_prefix *out, int fd, const struct header *header, int protection)
{
	size_t bytes = file_bytes(header);
	char *map = mmap(NULL, bytes, protection, MAP_SHARED, fd, 0);

	close(fd);
	if (map == MAP_FAILED)
		return false;
	*out = (struct gn_prefix){.map = map,
	                          .map_bytes = bytes,
	                          .rows = map + HEADER_BYTES,
	                          .row_bytes = (size_t)header->row_bytes,
	                          .bytes = bytes - HEADER_BYTES};
	return true;
}

/* Maps the rows of a cut; false if no file fits. */
static bool open_cut(struct gn_prefix *out, const struct gn_trainer *t, const struct header *header)
{
	struct header found;
	struct stat st;
	char path[4096];
	int fd;

	cut_path(path, t, header, "");
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	if (pread(fd, &found, sizeof found, 0) != (ssize_t)sizeof found || memcmp(found.magic, MAGIC, sizeof MAGIC) ||
	    memcmp(found.key, header->key, sizeof found.key) || found.cut != header->cut ||
	    found.row_bytes != header->row_bytes || found.rows != header->rows || fstat(fd, &st) ||
	    (uint64_t)st.st_size != file_bytes(header)) {
		close(fd);
		return false;
	}
	return map_rows(out, fd, header, PROT_READ);
}

static bool has_room(const struct gn_trainer *t, const struct header *header)
{
	struct statvfs st;

	return statvfs(t->options->shared->folder, &st) == 0 &&
	       (uint64_t)st.f_bavail * st.f_frsize >= file_bytes(header) + t->options->shared->disk_reserve;
}

/* A new file for a cut, mapped for writing; *fd stays open. */
static int create_cut(struct gn_prefix *out, int *fd, const char *path, const struct header *header,
                      struct gn_error *err)
{
	int failed;

	*fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0)
		return gn_fail_errno(err, path, "cannot create the file");
	failed =
	    posix_fallocate(*fd, 0, (off_t)file_bytes(header)); /* a full disk is found here, not by a fault later */
	if (failed) {
		errno = failed;
		return gn_fail_errno(err, path, "cannot make room for shared outputs");
	}
	if (!map_rows(out, fcntl(*fd, F_DUPFD_CLOEXEC, 0), header, PROT_READ | PROT_WRITE))
		return gn_fail_errno(err, path, "cannot map the file");
	memcpy(out->map, header, sizeof *header);
	return 0;
}

/* Computes the rows of a cut from source (rows NULL: from the images) into its file. out: these
 * rows. */
static int make_cut(struct gn_prefix *out, struct gn_trainer *t, const struct header *header, int source_cut,
                    const struct gn_prefix *source, struct gn_error *err)
{
	char temporary[4096], path[4096];
	int fd = -1, result = -1;

	cut_path(temporary, t, header, ".tmp");
	cut_path(path, t, header, "");
	if (create_cut(out, &fd, temporary, header, err) == 0 &&
	    gn_prefix_compute(t, out, header->cut, source_cut, source, err) == 0) {
		if (msync(out->map, out->map_bytes, MS_SYNC) || fsync(fd) || rename(temporary, path))
			gn_fail_errno(err, path, "cannot keep shared outputs");
		else
			result = 0;
	}
	if (fd >= 0)
		close(fd);
	if (result) {
		unlink(temporary);
		unmap(out);
	}
	return result;
}

/* ---------------------------------------------------------------- one run at a time ------------------------------ */

static int take_lock(int *fd, const struct gn_trainer *t, struct gn_error *err)
{
	const struct timespec pause = {0, 50000000};
	char path[4096];

	snprintf(path, sizeof path, "%s/lock", t->options->shared->folder);
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0)
		return gn_fail_errno(err, path, "cannot open");
	while (flock(*fd, LOCK_EX | LOCK_NB)) {
		if (errno != EWOULDBLOCK && errno != EINTR) {
			close(*fd);
			return gn_fail_errno(err, path, "cannot lock");
		}
		if (gn_train_stopped(t)) {
			close(*fd);
			return gn_fail(err, GN_CANCELLED, "", "stopped while another run computed the frozen prefix");
		}
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* ---------------------------------------------------------------- cuts ---------------------------------------- */

static bool is_wanted(const struct gn_trainer *t, int cut)
{
	for (int i = 0; i < t->options->shared->cut_count; i++)
		if (t->options->shared->cuts[i] == cut)
			return true;
	return cut == t->cut;
}

/*
 * Maps the highest cut that has a file, up to the run's own. 0, and nothing mapped, if no file
 * fits.
 */
static int highest_cut(struct gn_prefix *out, const struct gn_trainer *t, const char key[65])
{
	for (int cut = t->cut; cut > 0; cut--) {
		struct header header = header_of(key, cut, t);

		if (open_cut(out, t, &header))
			return cut;
	}
	return 0;
}

/* Makes the missing files from the highest cut with a file up to the run's own. *shared stays false
 * if the disk has no room. */
static int fill_cuts(struct gn_trainer *t, const char key[65], bool *shared, struct gn_error *err)
{
	struct gn_prefix here = {0}, next;
	int at = highest_cut(&here, t, key);

	if (at == t->cut)
		gn_train_log(t, "frozen prefix: %zu bytes from an earlier run", here.bytes);
	for (int cut = at + 1; cut <= t->cut; cut++) {
		struct header header = header_of(key, cut, t);

		if (!is_wanted(t, cut) || !has_room(t, &header))
			continue;
		next = (struct gn_prefix){0};
		if (make_cut(&next, t, &header, at, &here, err)) {
			unmap(&here);
			return -1;
		}
		unmap(&here);
		here = next;
		at = cut;
	}
	*shared = at == t->cut;
	if (*shared)
		t->prefix = here;
	else
		unmap(&here);
	return 0;
}

int gn_shared_prefix(struct gn_trainer *t, bool *shared, struct gn_error *err)
{
	char key[65];
	int lock, failed;

	*shared = false;
	if (!t->options->shared)
		return 0;
	if (make_key(key, t, err) || take_lock(&lock, t, err))
		return -1;
	failed = fill_cuts(t, key, shared, err);
	close(lock);
	if (!failed && !*shared)
		gn_train_log(t, "frozen prefix: no room on the disk to share it");
	return failed;
}
