/* --data: an archive, a folder of pictures, or a packed data set. See inputs.h. */
#include "server/cli/inputs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/cli/folder.h"
#include "server/cli/job.h"
#include "server/cli/view.h"
#include "server/common/files.h"

enum { MAX_ENTRIES = 4000000, MAX_IMAGE_BYTES = 64 << 20 };

#define UNPACKED_LIMIT (1ull << 44) /* bytes; the disk ends before */

/* Where the bytes of an archive come from: a file, or a folder that is made into one. */
struct source {
	FILE *file;
	struct gn_folder_stream *folder;
	int64_t read, size;
	struct gn_view view;
};

static ssize_t read_source(void *user, void *buffer, size_t size)
{
	struct source *s = user;
	ssize_t n =
	    s->folder ? gn_folder_stream_read(s->folder, buffer, size) : (ssize_t)fread(buffer, 1, size, s->file);

	if (gn_cli_stop || (s->file && n == 0 && ferror(s->file)))
		return -1;
	s->read += n > 0 ? n : 0;
	gn_view_bar(&s->view, s->size > 0 ? (double)s->read / (double)s->size : 0, "packing the pictures");
	return n;
}

static int open_source(struct source *s, const char *path, struct gn_error *err)
{
	struct stat st;

	if (stat(path, &st))
		return gn_fail_errno(err, path, "cannot be opened");
	if (S_ISDIR(st.st_mode)) {
		s->size = (int64_t)gn_tree_bytes(path);
		return gn_folder_stream_open(&s->folder, path, err);
	}
	s->size = st.st_size;
	s->file = fopen(path, "rbe");
	return s->file ? 0 : gn_fail_errno(err, path, "cannot be opened");
}

static void close_source(struct source *s)
{
	gn_folder_stream_close(s->folder);
	if (s->file)
		fclose(s->file);
	gn_view_clear(&s->view);
}

static void tell_rejected(struct gn_view *view, const struct gn_ingest_report *report)
{
	for (int i = 0; i < report->rejected_listed; i++)
		gn_view_line(view, "not used: %s: %s", report->rejected[i].path, report->rejected[i].reason);
	if (report->rejected_count > report->rejected_listed)
		gn_view_line(view, "not used: %lld more pictures",
		             (long long)(report->rejected_count - report->rejected_listed));
}

/* Packs an open source into a new folder. */
static int ingest(const char *folder, struct source *source, const char *path, struct gn_ingest_options *options,
                  struct gn_error *err)
{
	struct gn_ingest_report report = {0};
	struct gn_error why = {0};
	int result;

	options->read = read_source;
	options->user = source;
	if (mkdir(folder, 0777))
		return gn_fail_errno(err, folder, "cannot create the folder");
	result = gn_dataset_ingest(folder, options, &report, &why);
	if (result == 0)
		tell_rejected(&source->view, &report);
	else if (source->folder && *gn_folder_stream_problem(source->folder))
		gn_fail(err, GN_IO, path, "%s", gn_folder_stream_problem(source->folder));
	else
		gn_fail(err, why.code, why.where[0] ? why.where : path, "%s", why.text);
	gn_ingest_report_release(&report);
	return result;
}

static int pack(const char *folder, const char *path, struct gn_ingest_options *options, bool json,
                struct gn_error *err)
{
	struct source source = {0};
	int result;

	gn_view_init(&source.view, json);
	result = open_source(&source, path, err);
	if (result == 0)
		result = ingest(folder, &source, path, options, err);
	close_source(&source);
	return result;
}

/* The folder is a data set that is packed already: 1, and its absolute path; 0: it is not; -1: it
 * is, but damaged. */
static int packed_already(char absolute[PATH_MAX], const char *path, struct gn_error *err)
{
	struct gn_dataset *dataset;
	struct gn_error why = {0};
	struct stat st;

	if (stat(path, &st) || !S_ISDIR(st.st_mode))
		return 0;
	if (gn_dataset_open(&dataset, path, &why))
		return why.code == GN_NOT_FOUND ? 0 : gn_fail(err, why.code, why.where, "%s", why.text);
	gn_dataset_close(dataset);
	return realpath(path, absolute) ? 1 : gn_fail_errno(err, path, "cannot be found");
}

int gn_cli_data(char path[PATH_MAX], const struct gn_cli *cli, const char *folder, const struct gn_cli_device *device)
{
	struct gn_ingest_options options = {.max_pixels = (uint64_t)device->max_pixels,
	                                    .max_image_bytes = MAX_IMAGE_BYTES,
	                                    .budget = {.total_bytes = UNPACKED_LIMIT},
	                                    .max_entries = MAX_ENTRIES,
	                                    .threads = (int)device->threads};
	const char *given = gn_cli_text(cli, "data");
	struct gn_error err = {0};
	long seed;
	int packed;

	if (!given)
		return gn_cli_usage(cli->command, "--data is missing");
	if (gn_cli_real(&options.val_fraction, cli, "val-fraction", 0.01, 0.9, 0.2) ||
	    gn_cli_integer(&seed, cli, "split-seed", 0, 1L << 53, 0))
		return GN_CLI_USAGE;
	options.seed = (uint64_t)seed;
	packed = packed_already(path, given, &err);
	if (packed == 0) {
		snprintf(path, PATH_MAX, "%s", folder);
		packed = pack(folder, given, &options, gn_cli_flag(cli, "json"), &err);
	}
	return packed < 0 ? gn_cli_failed(&err) : 0;
}
