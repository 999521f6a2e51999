/*
 * The data directory: lock, layout, clean-up, staging, free space. Rows are in resources.c, jobs.c
 * and answers.c.
 */
#include "server/store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "server/common/files.h"
#include "server/common/log.h"
#include "server/store/store_private.h"

/* ---------------------------------------------------------------- ids ------------------------- */

void gn_store_random_id(char id[GN_ID_SIZE], const char *prefix)
{
	static const char letters[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	unsigned char bytes[16];
	ssize_t n;

	do
		n = getrandom(bytes, sizeof bytes, 0);
	while (n < 0 && errno == EINTR);
	gn_assert(n == (ssize_t)sizeof bytes);
	memcpy(id, prefix, 4);
	/* 256 % 36 favours four letters a little; 16 of them still hold 82 bits. */
	for (size_t i = 0; i < sizeof bytes; i++)
		id[4 + i] = letters[bytes[i] % 36];
	id[4 + sizeof bytes] = '\0';
}

void gn_store_new_id(char id[GN_ID_SIZE], enum gn_kind kind)
{
	gn_store_random_id(id, gn_kinds[kind].prefix);
}

/* ---------------------------------------------------------------- opening --------------------- */

static int make_folder(const char *path, struct gn_error *err)
{
	if (mkdir(path, 0700) && errno != EEXIST)
		return gn_fail_errno(err, path, "cannot create the folder");
	return 0;
}

static int make_folders(struct gn_store *store, struct gn_error *err)
{
	char path[PATH_MAX];

	for (int kind = 0; kind < GN_KIND_COUNT; kind++) {
		snprintf(path, sizeof path, "%s/%s", store->directory, gn_kinds[kind].folder);
		if (make_folder(path, err))
			return -1;
	}
	snprintf(path, sizeof path, "%s/tmp", store->directory);
	return make_folder(path, err) || gn_file_sync_folder(path, err) ? -1 : 0;
}

static int take_lock(struct gn_store *store, struct gn_error *err)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/lock", store->directory);
	store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (store->lock_fd < 0)
		return gn_fail_errno(err, path, "cannot open");
	if (flock(store->lock_fd, LOCK_EX | LOCK_NB)) {
		if (errno == EWOULDBLOCK)
			return gn_fail(err, GN_CONFLICT, store->directory, "another gonio uses this data directory");
		return gn_fail_errno(err, path, "cannot lock");
	}
	return 0;
}

static int row_exists(struct gn_conn *conn, enum gn_kind kind, const char *id, struct gn_error *err)
{
	static const char *const queries[] = {"SELECT 1 FROM models WHERE id=?1", "SELECT 1 FROM datasets WHERE id=?1",
	                                      "SELECT 1 FROM jobs WHERE id=?1 AND kind=?2"};
	sqlite3_stmt *stmt = gn_db_prepare(conn, queries[kind < GN_KIND_RUN ? kind : GN_KIND_RUN], err);

	if (!stmt)
		return -1;
	gn_db_bind_text(stmt, 1, id);
	if (kind >= GN_KIND_RUN && kind < GN_KIND_COUNT)
		gn_db_bind_text(stmt, 2, gn_kinds[kind].word);
	return gn_db_step(conn, stmt, err);
}

/* Removes the entries of folder `name` of the data directory that no row names (all of them with
 * conn NULL). */
static int sweep(struct gn_store *store, const char *name, enum gn_kind kind, struct gn_conn *conn,
                 struct gn_error *err)
{
	char path[PATH_MAX];
	struct dirent *entry;
	int result = 0;
	DIR *dir;

	snprintf(path, sizeof path, "%s/%s", store->directory, name);
	dir = opendir(path);
	if (!dir)
		return gn_fail_errno(err, path, "cannot open");
	while (result == 0 && (entry = readdir(dir))) {
		char victim[PATH_MAX];
		int known;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		known = conn ? row_exists(conn, kind, entry->d_name, err) : 0;
		if (known < 0)
			result = -1;
		if (known)
			continue;
		if ((size_t)snprintf(victim, sizeof victim, "%s/%s", path, entry->d_name) >= sizeof victim)
			continue;
		gn_log(GN_LOG_INFO, "store", "removing %s, which nothing names", victim);
		result = gn_tree_remove(victim, NULL, err);
	}
	closedir(dir);
	return result;
}

static int clean_up(struct gn_store *store, struct gn_error *err)
{
	struct gn_conn *conn = gn_db_writer(store->db);
	int result = sweep(store, "tmp", 0, NULL, err);

	for (int kind = 0; kind < GN_KIND_COUNT && result == 0; kind++)
		result = sweep(store, gn_kinds[kind].folder, (enum gn_kind)kind, conn, err);
	gn_db_release(store->db, conn);
	return result;
}

int gn_store_open(struct gn_store **out, const char *directory, uint64_t disk_reserve, struct gn_error *err)
{
	struct gn_store *store = calloc(1, sizeof *store);
	char path[PATH_MAX];

	if (!store)
		return gn_fail(err, GN_NO_MEMORY, directory, "out of memory");
	store->lock_fd = -1;
	store->reserve = disk_reserve;
	if (make_folder(directory, err))
		goto failed;
	/* Absolute, so that workers, which run elsewhere, find it. */
	if (!realpath(directory, path)) {
		gn_fail_errno(err, directory, "cannot resolve");
		goto failed;
	}
	if ((size_t)snprintf(store->directory, sizeof store->directory, "%s", path) >= sizeof store->directory) {
		gn_fail(err, GN_INVALID, directory, "the path is too long");
		goto failed;
	}
	if (take_lock(store, err) || make_folders(store, err))
		goto failed;
	if ((size_t)snprintf(path, sizeof path, "%s/gonio.db", store->directory) >= sizeof path ||
	    gn_db_open(&store->db, path, err) || clean_up(store, err))
		goto failed;
	*out = store;
	return 0;
failed:
	gn_store_close(store);
	return -1;
}

void gn_store_close(struct gn_store *store)
{
	if (!store)
		return;
	gn_db_close(store->db);
	if (store->lock_fd >= 0)
		close(store->lock_fd);
	free(store);
}

void gn_store_folder(const struct gn_store *store, enum gn_kind kind, const char *id, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/%s/%s", store->directory, gn_kinds[kind].folder, id);
}

/* ---------------------------------------------------------------- space ----------------------- */

uint64_t gn_store_free_bytes(const struct gn_store *store)
{
	struct statvfs st;

	return statvfs(store->directory, &st) ? 0 : (uint64_t)st.f_bavail * st.f_frsize;
}

uint64_t gn_store_reserve(const struct gn_store *store)
{
	return store->reserve;
}

int gn_store_space(const struct gn_store *store, uint64_t bytes, struct gn_error *err)
{
	uint64_t available = gn_store_free_bytes(store);

	if (available >= store->reserve && available - store->reserve >= bytes)
		return 0;
	return gn_fail(err, GN_NO_SPACE, "", "%llu bytes are free, of which %llu stay free; this needs %llu",
	               (unsigned long long)available, (unsigned long long)store->reserve, (unsigned long long)bytes);
}

/* ---------------------------------------------------------------- staging and moving ---------- */

int gn_store_stage(struct gn_store *store, char folder[PATH_MAX], struct gn_error *err)
{
	snprintf(folder, PATH_MAX, "%s/tmp/%u", store->directory, atomic_fetch_add(&store->stages, 1));
	if (mkdir(folder, 0700)) {
		gn_fail_errno(err, folder, "cannot create the folder");
		folder[0] = '\0';
		return -1;
	}
	return 0;
}

void gn_store_unstage(struct gn_store *store, const char *folder)
{
	struct gn_error err = {0};

	(void)store;
	if (folder[0] && gn_tree_remove(folder, NULL, &err))
		gn_log(GN_LOG_WARN, "store", "%s: %s; it goes at the next start", err.where, err.text);
}

int gn_store_commit_staged(struct gn_conn *conn, const char *staged, const char *folder, struct gn_error *err)
{
	if (gn_file_move(staged, folder, err) == 0 && gn_db_run(conn, "COMMIT", err) == 0)
		return 0;
	gn_db_rollback(conn);
	/* It may have moved, and no row names it. What the caller still needs lies elsewhere: a
	 * job's model is a link. */
	gn_tree_remove(folder, NULL, NULL);
	return -1;
}

int gn_store_drop_folder(struct gn_store *store, enum gn_kind kind, const char *id, uint64_t *freed,
                         struct gn_error *err)
{
	char folder[PATH_MAX];
	uint64_t bytes = 0;

	gn_store_folder(store, kind, id, folder);
	if (gn_tree_remove(folder, &bytes, err))
		return -1;
	if (freed)
		*freed = bytes;
	return gn_file_sync_folder(folder, err);
}
