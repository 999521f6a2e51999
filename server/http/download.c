/* Answers whose body is read piece by piece, completely or a range of it: files and exports. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/http/request.h"

enum { BLOCK_BYTES = 64 * 1024 };

struct transfer {
	struct gn_download download;
	uint64_t first; /* offset of the range */
};

static ssize_t transfer_read(void *cls, uint64_t position, char *buffer, size_t size)
{
	struct transfer *t = cls;
	size_t n = t->download.read(t->download.user, t->first + position, buffer, size);

	if (t->download.bytes == GN_STREAM)
		return n == 0                  ? MHD_CONTENT_READER_END_OF_STREAM
		       : n == GN_STREAM_BROKEN ? MHD_CONTENT_READER_END_WITH_ERROR
		                               : (ssize_t)n;
	return n ? (ssize_t)n : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void transfer_free(void *cls)
{
	struct transfer *t = cls;

	if (t->download.release)
		t->download.release(t->download.user);
	free(t);
}

/*
 * A header such as "bytes=0-99", "bytes=100-" or "bytes=-100". 1: a range; 0: not one that we
 * serve, so the whole; -1: outside.
 */
static int parse_range(const char *text, uint64_t bytes, uint64_t *first, uint64_t *last)
{
	char *end;
	bool from_end;

	if (strncmp(text, "bytes=", 6) != 0 || strchr(text, ','))
		return 0;
	text += 6;
	from_end = *text == '-';
	text += from_end;
	if (*text < '0' || *text > '9')
		return 0;
	errno = 0;
	*first = strtoull(text, &end, 10);
	if (errno)
		return -1;
	*last = bytes - 1;
	if (from_end) {
		if (*end)
			return 0;
		if (*first == 0 || !bytes)
			return -1;
		*first = *first > bytes ? 0 : bytes - *first;
		return 1;
	}
	if (*end != '-')
		return 0;
	if (end[1]) {
		uint64_t wanted;
		if (end[1] < '0' || end[1] > '9')
			return 0;
		wanted = strtoull(end + 1, &end, 10);
		if (*end || wanted < *first)
			return 0;
		if (wanted < *last)
			*last = wanted;
	}
	return *first < bytes ? 1 : -1;
}

/* 200, 206 with *first and *last, or 416. */
static int choose_range(struct gn_request *r, const struct gn_download *download, uint64_t *first, uint64_t *last)
{
	const char *range = gn_header(r, "Range"), *condition = gn_header(r, "If-Range");
	int kind;

	if (range && condition && !(download->etag && condition[0] == '"' && gn_names_tag(condition, download->etag)))
		range = NULL;
	kind = range ? parse_range(range, download->bytes, first, last) : 0;
	if (kind <= 0) {
		*first = 0;
		*last = download->bytes - 1;
	}
	return kind == 0 ? 200 : kind > 0 ? 206 : 416;
}

void gn_reply_download(struct gn_request *r, const struct gn_download *download)
{
	uint64_t first, last;
	char text[160];
	struct transfer *t;
	struct MHD_Response *response;
	int status;

	bool stream = download->bytes == GN_STREAM;

	if (!stream)
		gn_reply_header(r, "Accept-Ranges", "bytes");
	if (gn_not_modified(r, download->etag))
		goto unused;
	first = last = 0;
	status = stream ? 200 : choose_range(r, download, &first, &last);
	if (status == 416) {
		snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)download->bytes);
		gn_reply_header(r, "Content-Range", text);
		gn_reply_problem(r, 416, "the range lies outside the %llu bytes", (unsigned long long)download->bytes);
		goto unused;
	}
	if (status == 206) {
		snprintf(text, sizeof text, "bytes %llu-%llu/%llu", (unsigned long long)first, (unsigned long long)last,
		         (unsigned long long)download->bytes);
		gn_reply_header(r, "Content-Range", text);
	}
	if (download->filename) {
		snprintf(text, sizeof text, "attachment; filename=\"%s\"", download->filename);
		gn_reply_header(r, "Content-Disposition", text);
	}
	gn_reply_header(r, "Content-Type", download->media_type);
	t = malloc(sizeof *t);
	if (!t) {
		gn_reply_response(r, 503, NULL);
		goto unused;
	}
	*t = (struct transfer){*download, first};
	response = MHD_create_response_from_callback(stream ? MHD_SIZE_UNKNOWN : last - first + 1, BLOCK_BYTES,
	                                             transfer_read, t, transfer_free);
	if (!response)
		transfer_free(t);
	gn_reply_response(r, status, response);
	return;
unused:
	if (download->release)
		download->release(download->user);
}

static size_t file_read(void *user, uint64_t offset, void *buffer, size_t size)
{
	int fd = *(int *)user;
	ssize_t n;

	do
		n = pread(fd, buffer, size, (off_t)offset);
	while (n < 0 && errno == EINTR);
	return n > 0 ? (size_t)n : 0;
}

static void file_release(void *user)
{
	close(*(int *)user);
	free(user);
}

void gn_reply_file(struct gn_request *r, const char *path, const char *media_type, const char *etag,
                   const char *filename)
{
	struct gn_download download = {media_type, etag, filename, 0, file_read, file_release, NULL};
	int *fd = malloc(sizeof *fd);
	struct gn_error err = {0};
	struct stat st;

	if (!fd) {
		gn_reply_response(r, 503, NULL);
		return;
	}
	*fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd < 0 || fstat(*fd, &st) || !S_ISREG(st.st_mode)) {
		if (*fd < 0 && errno == ENOENT)
			gn_fail(&err, GN_NOT_FOUND, "", "there is no such file");
		else
			gn_fail_errno(&err, path, "cannot read");
		if (*fd >= 0)
			close(*fd);
		free(fd);
		gn_reply_error(r, &err);
		return;
	}
	download.bytes = (uint64_t)st.st_size;
	download.user = fd;
	if (download.bytes) {
		gn_reply_download(r, &download);
		return;
	}
	file_release(fd);
	gn_reply_bytes(r, 200, media_type, "", 0, etag);
}
