/*
 * The dashboard's files, read once at the start from the share folders into a table of paths. A
 * request's path is only compared with this table, so it never reaches the file system.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/common/files.h"
#include "server/http/request.h"
#include "server/common/log.h"

enum { FILE_LIMIT = 4 << 20, FILES_MAX = 512, DEPTH_MAX = 4 };

/* Debian's libjs-chart.js puts its bundle under one of these names, by its version. */
static const char *const chart_paths[] = {
    "/usr/share/javascript/chart.js/chart.umd.js", "/usr/share/javascript/chart.js/chart.min.js",
    "/usr/share/javascript/chart.js/Chart.min.js", "/usr/share/javascript/chart.js/Chart.js",
    "/usr/share/nodejs/chart.js/dist/chart.min.js"};

static const char *media_type(const char *path)
{
	static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
	                                       {".css", "text/css; charset=utf-8"},
	                                       {".js", "text/javascript; charset=utf-8"},
	                                       {".mjs", "text/javascript; charset=utf-8"},
	                                       {".svg", "image/svg+xml"},
	                                       {".png", "image/png"},
	                                       {".jpg", "image/jpeg"},
	                                       {".webp", "image/webp"},
	                                       {".ico", "image/x-icon"},
	                                       {".json", "application/json"},
	                                       {".yaml", "application/yaml"},
	                                       {".woff2", "font/woff2"},
	                                       {".txt", "text/plain; charset=utf-8"}};
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < sizeof types / sizeof types[0]; i++)
		if (!strcmp(dot, types[i][0]))
			return types[i][1];
	return NULL;
}

/* 0: added, or there already; 1: no such file. */
static int add_file(struct gn_http *http, const char *url, const char *path, struct gn_error *err)
{
	struct gn_static_file *file, *grown;
	struct gn_error local = {0};
	unsigned char digest[EVP_MAX_MD_SIZE];
	char *data;
	size_t size;

	if (gn_static_find(http, url) || !media_type(path))
		return 0;
	if (gn_file_load(path, FILE_LIMIT, &data, &size, &local))
		return local.code == GN_NOT_FOUND ? 1 : gn_fail(err, local.code, local.where, "%s", local.text);
	if (http->file_count == FILES_MAX) {
		free(data);
		return gn_fail(err, GN_TOO_LARGE, path, "more than %d static files", FILES_MAX);
	}
	grown = realloc(http->files, (size_t)(http->file_count + 1) * sizeof *grown);
	if (!grown) {
		free(data);
		return gn_fail(err, GN_NO_MEMORY, path, "out of memory");
	}
	http->files = grown;
	file = &grown[http->file_count];
	file->path = strdup(url);
	file->media_type = media_type(path);
	file->bytes = gn_text_new(data, size);
	EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL);
	for (int i = 0; i < 10; i++)
		snprintf(file->etag + 2 * i, 3, "%02x", digest[i]);
	free(data);
	if (file->path && file->bytes) {
		http->file_count++;
		return 0;
	}
	free(file->path);
	gn_text_unref(file->bytes);
	return gn_fail(err, GN_NO_MEMORY, path, "out of memory");
}

static int add_folder(struct gn_http *http, const char *url, const char *path, int depth, struct gn_error *err)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int result = 0;

	if (!dir)
		return 0;
	while (result >= 0 && (entry = readdir(dir))) {
		char sub_url[512], sub_path[1024];
		struct stat st;
		if (entry->d_name[0] == '.' ||
		    (size_t)snprintf(sub_url, sizeof sub_url, "%s/%s", url, entry->d_name) >= sizeof sub_url ||
		    (size_t)snprintf(sub_path, sizeof sub_path, "%s/%s", path, entry->d_name) >= sizeof sub_path ||
		    stat(sub_path, &st))
			continue;
		if (S_ISREG(st.st_mode))
			result = add_file(http, sub_url, sub_path, err);
		else if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX)
			result = add_folder(http, sub_url, sub_path, depth + 1, err);
	}
	closedir(dir);
	return result < 0 ? -1 : 0;
}

int gn_static_load(struct gn_http *http, const char *share_dirs, struct gn_error *err)
{
	for (const char *at = share_dirs; at && *at;) {
		size_t n = strcspn(at, ":");
		char path[768];
		snprintf(path, sizeof path, "%.*s/static/index.html", (int)n, at);
		if (add_file(http, "/", path, err) < 0)
			return -1;
		snprintf(path, sizeof path, "%.*s/static", (int)n, at);
		if (add_folder(http, "/static", path, 0, err))
			return -1;
		snprintf(path, sizeof path, "%.*s/api/openapi.yaml", (int)n, at);
		if (add_file(http, "/v1/openapi.yaml", path, err) < 0)
			return -1;
		at += n + (at[n] == ':');
	}
	for (size_t i = 0; share_dirs && i < sizeof chart_paths / sizeof chart_paths[0]; i++)
		if (add_file(http, "/vendor/chart.js", chart_paths[i], err) < 0)
			return -1;
	if (share_dirs && !gn_static_find(http, "/"))
		gn_log(GN_LOG_WARN, "http", "no static/index.html in %s: no dashboard", share_dirs);
	return 0;
}

void gn_static_free(struct gn_http *http)
{
	for (int i = 0; i < http->file_count; i++) {
		free(http->files[i].path);
		gn_text_unref(http->files[i].bytes);
	}
	free(http->files);
}

const struct gn_static_file *gn_static_find(const struct gn_http *http, const char *path)
{
	for (int i = 0; i < http->file_count; i++)
		if (!strcmp(http->files[i].path, path))
			return &http->files[i];
	return NULL;
}

void gn_static_reply(struct gn_request *r, const struct gn_static_file *file)
{
	gn_reply_header(r, "Cache-Control", "no-cache");
	gn_reply_bytes(r, 200, file->media_type, file->bytes->data, file->bytes->bytes, file->etag);
}
