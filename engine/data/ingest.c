/*
 * Makes a packed data set from an archive that arrives.
 *
 * The calling thread reads the archive, entry by entry, and hands images to the checker's decoders;
 * checked images come back in order of arrival and are appended to images.pack. Only when the
 * archive has ended are its leading folders known: then gn_arrange decides classes and splits and
 * index.bin is written. Memory has only a table of the images (about 150 bytes each), not the
 * images.
 */
#include "data/archive.h"
#include "data/arrange.h"
#include "data/checker.h"
#include "data/image.h"
#include "data/index.h"
#include "data/names.h"
#include "base/files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REJECTED_LISTED 100
#define NAMES_MAX       ((size_t)256 << 20) /* bytes of all paths together */
#define NAMES_BLOCK     ((size_t)64 << 10)
#define ROOM_STEP       ((uint64_t)16 << 20)

struct names_block { /* paths, which never move */
	struct names_block *before;
	size_t used;
	char text[NAMES_BLOCK];
};

struct ingest {
	const struct gn_ingest_options *options;
	struct gn_ingest_report report;
	struct gn_archive *archive;
	struct gn_checker *checker;
	struct gn_file_writer pack;
	/* [count] in order of arrival; those from settled on are in the checker */
	struct gn_item *items;
	int count, room, settled;
	int entries;
	struct names_block *names;
	size_t names_bytes;
	uint64_t unreported; /* bytes packed since the last call of room */
};

/* ---------------------------------------------------------------- tables ---------------------- */

static const char *keep_name(struct ingest *in, const char *path, struct gn_error *err)
{
	size_t size = strlen(path) + 1;
	char *kept;

	if (!in->names || NAMES_BLOCK - in->names->used < size) {
		struct names_block *block;

		if (in->names_bytes > NAMES_MAX) {
			gn_fail(err, GN_TOO_LARGE, "", "the names in the archive fill more than %zu bytes", NAMES_MAX);
			return NULL;
		}
		block = gn_alloc(1, sizeof *block, err);
		if (!block)
			return NULL;
		block->before = in->names;
		in->names = block;
		in->names_bytes += NAMES_BLOCK;
	}
	kept = in->names->text + in->names->used;
	memcpy(kept, path, size);
	in->names->used += size;
	return kept;
}

static struct gn_item *add_item(struct ingest *in, const char *path, struct gn_error *err)
{
	const char *name = keep_name(in, path, err);

	if (name && in->count == in->room) {
		int room = in->room ? 2 * in->room : 1024;
		struct gn_item *items = gn_alloc((size_t)room, sizeof *items, err);

		if (!items)
			return NULL;
		if (in->count)
			memcpy(items, in->items, (size_t)in->count * sizeof *items);
		free(in->items);
		in->items = items;
		in->room = room;
	}
	if (!name)
		return NULL;
	in->items[in->count] = (struct gn_item){.entry = name, .path = name, .arrival = in->count};
	return &in->items[in->count++];
}

/* Counts a rejected entry and lists it if there is room. path: any bytes. */
static int list_rejected(struct ingest *in, const char *path, const char *reason, struct gn_error *err)
{
	struct gn_ingest_report *report = &in->report;
	struct gn_rejected entry;
	char shown[GN_PATH_MAX];

	report->rejected_count++;
	if (report->rejected_listed == REJECTED_LISTED)
		return 0;
	if (!report->rejected) {
		report->rejected = gn_alloc(REJECTED_LISTED, sizeof *report->rejected, err);
		if (!report->rejected)
			return -1;
	}
	gn_name_show(shown, sizeof shown, path);
	entry.path = gn_copy_text(shown, strlen(shown), err);
	entry.reason = entry.path ? gn_copy_text(reason, strlen(reason), err) : NULL;
	if (!entry.reason) {
		free(entry.path);
		return -1;
	}
	report->rejected[report->rejected_listed++] = entry;
	return 0;
}

/* ---------------------------------------------------------------- images ---------------------- */

/* Appends an image to the pack. Checks now and then that the disk has room for more. */
static int pack_image(struct ingest *in, const struct gn_check *check, struct gn_error *err)
{
	const struct gn_ingest_options *o = in->options;

	in->unreported += check->size;
	if (o->room && in->unreported >= ROOM_STEP) {
		in->unreported = 0;
		if (o->room(o->room_user, ROOM_STEP, err))
			return -1;
	}
	return gn_file_write(&in->pack, check->bytes, check->size, err);
}

/* Takes the oldest image from the checker, and adds it to the pack or to the list of rejected
 * images. */
static int settle_one(struct ingest *in, struct gn_error *err)
{
	struct gn_item *item = &in->items[in->settled];
	struct gn_check check;
	int rc = 0;

	if (in->options->gone && in->options->gone(in->options->user))
		return gn_fail(err, GN_CANCELLED, "", "the upload was broken off");
	while (item->rejected) /* never given to the checker */
		item = &in->items[++in->settled];
	gn_assert(gn_checker_take(in->checker, &check));
	in->settled++;
	item->width = check.width;
	item->height = check.height;
	memcpy(item->sha256, check.sha256, sizeof item->sha256);
	if (check.good) {
		item->offset = in->pack.bytes;
		item->bytes = check.size;
		rc = pack_image(in, &check, err);
	} else if (check.err.code == GN_CANCELLED) {
		rc = gn_fail(err, GN_CANCELLED, "", "the upload was broken off");
	} else if (check.err.code == GN_NO_MEMORY) {
		rc = gn_fail(err, GN_NO_MEMORY, item->entry, "%s", check.err.text);
	} else {
		item->rejected = "cannot be decoded";
		rc = list_rejected(in, item->entry, check.err.text, err);
	}
	free(check.bytes);
	return rc;
}

static int submit(struct ingest *in, const char *path, uint8_t *bytes, size_t size, struct gn_error *err)
{
	struct gn_check check = {.bytes = bytes, .size = size};

	while (!gn_checker_room(in->checker, size))
		if (settle_one(in, err))
			goto failed;
	if (!add_item(in, path, err))
		goto failed;
	gn_checker_put(in->checker, &check);
	return 0;
failed:
	free(bytes);
	return -1;
}

/* ---------------------------------------------------------------- entries --------------------- */

enum fate { KEEP, SKIP, REJECT };

/* An entry while it is read. */
struct reading {
	char path[GN_PATH_MAX + 1]; /* cleaned, or unchanged if it is unsafe */
	bool candidate;             /* a file with a safe name */
	uint8_t *bytes;
	size_t size, room;
	enum fate fate;
	char reason[256];
};

static void give_up(struct reading *r, enum fate fate, const char *reason)
{
	free(r->bytes);
	r->bytes = NULL;
	r->size = r->room = 0;
	r->fate = fate;
	snprintf(r->reason, sizeof r->reason, "%s", reason);
}

static int append(struct reading *r, const void *bytes, size_t size, struct gn_error *err)
{
	if (r->room - r->size < size) {
		size_t room = r->room ? 2 * r->room : 64 << 10;
		uint8_t *grown;

		while (room - r->size < size)
			room *= 2;
		grown = gn_alloc(room, 1, err);
		if (!grown)
			return -1;
		if (r->size)
			memcpy(grown, r->bytes, r->size);
		free(r->bytes);
		r->bytes = grown;
		r->room = room;
	}
	if (size) /* libarchive's empty blocks point nowhere */
		memcpy(r->bytes + r->size, bytes, size);
	r->size += size;
	return 0;
}

/* Decides by the first bytes and the name. */
static void judge_content(struct reading *r)
{
	if (gn_image_sniff(r->bytes, r->size) != GN_IMAGE_UNKNOWN)
		return;
	if (!gn_name_image(r->path))
		give_up(r, SKIP, "");
	else if (r->size == 0)
		give_up(r, REJECT, "the file is empty (0 bytes)");
	else
		give_up(r, REJECT, "neither a JPEG, nor a PNG, nor a WebP image");
}

/* Reads the entry to its end; keeps its bytes while it may become a sample. */
static int read_entry(struct ingest *in, struct reading *r, struct gn_error *err)
{
	enum { ENOUGH = 16 }; /* bytes that are enough to recognise it */
	const char *damage;
	const void *bytes;
	size_t size;
	bool judged = r->fate != KEEP;
	int more;

	while ((more = gn_archive_piece(in->archive, &bytes, &size, &damage, err)) > 0) {
		if (r->fate != KEEP)
			continue;
		if (size > in->options->max_image_bytes - r->size) {
			give_up(r, gn_name_image(r->path) ? REJECT : SKIP, "larger than the limit for one file");
			continue;
		}
		if (append(r, bytes, size, err))
			return -1;
		if (!judged && r->size >= ENOUGH) {
			judge_content(r);
			judged = true;
		}
	}
	if (more < 0)
		return -1;
	if (damage && r->fate == KEEP)
		give_up(r, REJECT, damage);
	if (!judged && r->fate == KEEP)
		judge_content(r);
	return 0;
}

static void judge_name(struct reading *r, const struct gn_archive_entry *entry)
{
	const char *why = gn_name_clean(r->path, entry->path);
	bool folder = entry->not_file != NULL;

	r->candidate = !why && !folder;
	if (why && !(folder && !strcmp(entry->path, "./"))) {
		snprintf(r->path, sizeof r->path, "%s", entry->path);
		give_up(r, REJECT, why);
	} else if (folder || gn_name_skipped(r->path)) {
		give_up(r, SKIP, "");
	}
}

static int take_entry(struct ingest *in, const struct gn_archive_entry *entry, struct gn_error *err)
{
	struct reading r = {.fate = KEEP};
	struct gn_item *item;

	if (gn_archive_check_harmless(entry, err))
		return -1;
	judge_name(&r, entry);
	if (read_entry(in, &r, err)) {
		free(r.bytes);
		return -1;
	}
	if (r.fate == KEEP)
		return submit(in, r.path, r.bytes, r.size, err);
	if (r.fate == SKIP) {
		in->report.skipped_count += r.candidate;
		return 0;
	}
	if (list_rejected(in, r.path, r.reason, err))
		return -1;
	if (!r.candidate)
		return 0;
	/* an invalid picture still shows that its folder is a class */
	item = add_item(in, r.path, err);
	if (item)
		item->rejected = "not an image";
	return item ? 0 : -1;
}

/* Reads the whole archive and settles every image. */
static int read_archive(struct ingest *in, struct gn_error *err)
{
	struct gn_archive_entry entry;
	int more;

	while ((more = gn_archive_next(in->archive, &entry, err)) > 0) {
		if (++in->entries > in->options->max_entries)
			return gn_fail(err, GN_TOO_LARGE, "", "the archive holds more than %d entries",
			               in->options->max_entries);
		if (take_entry(in, &entry, err))
			return -1;
	}
	while (more == 0 && in->settled < in->count) {
		if (in->items[in->settled].rejected)
			in->settled++;
		else if (settle_one(in, err))
			return -1;
	}
	return more;
}

/* ---------------------------------------------------------------- the data set ---------------- */

/* Hashes for every sample in order: split, class and path, each followed by a NUL, and the SHA-256
 * of its bytes. */
static int hash_content(const struct gn_arrangement *a, char hex[65], struct gn_error *err)
{
	struct gn_sha256 hash;

	if (gn_sha256_begin(&hash, err))
		return -1;
	for (int i = 0; i < a->count; i++) {
		const struct gn_item *item = a->samples[i];
		const char *split = gn_split_name(item->split), *class_name = a->classes[item->label];

		gn_sha256_update(&hash, split, strlen(split) + 1);
		gn_sha256_update(&hash, class_name, strlen(class_name) + 1);
		gn_sha256_update(&hash, item->path, strlen(item->path) + 1);
		gn_sha256_update(&hash, item->sha256, sizeof item->sha256);
	}
	gn_sha256_end(&hash, hex);
	return 0;
}

/* The images that arranging rejected, in order of arrival. */
static int list_arranged(struct ingest *in, const bool *known, struct gn_error *err)
{
	for (int i = 0; i < in->count; i++) {
		const struct gn_item *item = &in->items[i];
		char reason[256], other[192];

		if (!item->rejected || known[i])
			continue;
		gn_name_show(other, sizeof other, item->twin ? item->twin->entry : "");
		snprintf(reason, sizeof reason, item->twin ? "%s: see %s" : "%s", item->rejected, other);
		if (list_rejected(in, item->entry, reason, err))
			return -1;
	}
	return 0;
}

static int arrange(struct ingest *in, struct gn_arrangement *a, struct gn_error *err)
{
	bool *known = gn_alloc((size_t)in->count, sizeof *known, err);
	int rc;

	if (!known)
		return -1;
	for (int i = 0; i < in->count; i++)
		known[i] = in->items[i].rejected != NULL;
	rc = gn_arrange(a, in->items, in->count, in->options->val_fraction, in->options->seed, err);
	/* also after a failure: these images may be the reason */
	if (list_arranged(in, known, err))
		rc = -1;
	free(known);
	return rc;
}

/*
 * Counts the samples of each class and split for the report. The names lie after the classes, in
 * one block with them.
 */
static int count_classes(struct gn_ingest_report *report, const struct gn_arrangement *a, struct gn_error *err)
{
	size_t bytes = (size_t)a->class_count * sizeof *report->classes, length;
	char *at;

	for (int c = 0; c < a->class_count; c++)
		bytes += strlen(a->classes[c]) + 1;
	report->classes = gn_alloc(1, bytes, err);
	if (!report->classes)
		return -1;
	report->class_count = a->class_count;
	at = (char *)(report->classes + a->class_count);
	for (int c = 0; c < a->class_count; c++) {
		length = strlen(a->classes[c]) + 1;
		report->classes[c].name = memcpy(at, a->classes[c], length);
		at += length;
	}
	for (int i = 0; i < a->count; i++) {
		report->classes[a->samples[i]->label].counts[a->samples[i]->split]++;
		report->totals[a->samples[i]->split]++;
	}
	return 0;
}

static int finish(struct ingest *in, const char *folder, struct gn_error *err)
{
	struct gn_arrangement a = {0};
	uint64_t pack_bytes = in->pack.bytes, index_bytes = 0;
	double width = 0, height = 0;
	int rc = -1;

	if (arrange(in, &a, err) || gn_file_commit(&in->pack, err) ||
	    gn_index_write(folder, &a, pack_bytes, &index_bytes, err) || hash_content(&a, in->report.sha256, err) ||
	    count_classes(&in->report, &a, err))
		goto done;
	for (int i = 0; i < a.count; i++) {
		width += a.samples[i]->width;
		height += a.samples[i]->height;
	}
	in->report.mean_width = width / a.count;
	in->report.mean_height = height / a.count;
	in->report.bytes = pack_bytes + index_bytes;
	rc = 0;
done:
	gn_arrangement_release(&a);
	return rc;
}

static void release(struct ingest *in)
{
	gn_checker_free(in->checker);
	gn_archive_close(in->archive);
	gn_file_abort(&in->pack);
	while (in->names) {
		struct names_block *before = in->names->before;

		free(in->names);
		in->names = before;
	}
	free(in->items);
}

/* An error that names no entry gets the reason of the first rejected image, which is often the
 * cause. */
static int fail_with_hint(struct ingest *in, const struct gn_error *own, struct gn_error *err)
{
	const struct gn_ingest_report *report = &in->report;

	if (own->code != GN_INVALID || !report->rejected_listed)
		return gn_fail(err, own->code, own->where, "%s", own->text);
	return gn_fail(err, own->code, own->where, "%s (%lld rejected, the first: \"%.150s\": %.100s)", own->text,
	               (long long)report->rejected_count, report->rejected[0].path, report->rejected[0].reason);
}

int gn_dataset_ingest(const char *folder, const struct gn_ingest_options *options, struct gn_ingest_report *report,
                      struct gn_error *err)
{
	struct gn_archive_source source = {options->read, options->gone, options->user, options->budget};
	struct gn_image_limits limits = {options->max_pixels, options->gate, options->gone, options->user};
	struct ingest in = {.options = options, .pack = {.fd = -1}};
	struct gn_error own = {0};
	char path[4096];
	int rc = -1;

	if (!(options->val_fraction >= 0 && options->val_fraction < 1))
		return gn_fail(err, GN_INVALID, "val_fraction", "val_fraction must be at least 0 and less than 1");
	if (snprintf(path, sizeof path, "%s/" GN_PACK_NAME, folder) >= (int)sizeof path)
		return gn_fail(err, GN_INVALID, "", "the folder's path is too long");
	if (!gn_file_begin(&in.pack, path, &own) && !gn_checker_new(&in.checker, options->threads, &limits, &own) &&
	    !gn_archive_open(&in.archive, &source, &own) && !read_archive(&in, &own))
		rc = finish(&in, folder, &own);
	if (rc) {
		fail_with_hint(&in, &own, err);
		gn_ingest_report_release(&in.report);
	} else {
		*report = in.report;
	}
	release(&in);
	return rc;
}

void gn_ingest_report_release(struct gn_ingest_report *report)
{
	for (int i = 0; i < report->rejected_listed; i++) {
		free(report->rejected[i].path);
		free(report->rejected[i].reason);
	}
	free(report->rejected);
	free(report->classes);
	*report = (struct gn_ingest_report){0};
}
