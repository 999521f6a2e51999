/* Open models, shared and closed by age: see modelpool.h. */
#include "server/classifier/modelpool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct gn_modelpool {
	struct gn_store *store;
	struct gn_device *device;
	uint64_t limit;
	int max_batch;
	pthread_mutex_t lock, device_lock;
	struct gn_open_model *open; /* every model that is not forgotten */
	uint64_t clock;
	uint64_t renames;          /* a name that was read before the last of them is not noted */
	_Atomic uint64_t resident; /* bytes on the device that open models share */
};

int gn_modelpool_new(struct gn_modelpool **out, struct gn_store *store, struct gn_device *device, uint64_t limit,
                     int max_batch, struct gn_error *err)
{
	struct gn_modelpool *pool = calloc(1, sizeof *pool);

	if (!pool)
		return gn_fail_errno(err, "", "starting the model pool");
	pool->store = store;
	pool->device = device;
	pool->limit = limit;
	pool->max_batch = max_batch;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_mutex_init(&pool->device_lock, NULL);
	*out = pool;
	return 0;
}

/* ---------------------------------------------------------------- closing --------------------- */

static void unlink_model(struct gn_modelpool *pool, struct gn_open_model *opened)
{
	struct gn_open_model **at = &pool->open;

	while (*at && *at != opened)
		at = &(*at)->next;
	if (*at)
		*at = opened->next;
}

/* Closes a model that is out of the table and that nobody holds; then its base loses a holder.
 * Without locks. */
static void close_model(struct gn_modelpool *pool, struct gn_open_model *opened)
{
	struct gn_open_model *base = opened->base;

	pthread_mutex_lock(&pool->device_lock);
	gn_infer_free(opened->infer);
	pool->resident = gn_device_resident_bytes(pool->device);
	pthread_mutex_unlock(&pool->device_lock);
	gn_model_close(opened->model);
	free(opened);
	if (base)
		gn_modelpool_drop(pool, base);
}

static uint64_t open_bytes(const struct gn_modelpool *pool)
{
	uint64_t bytes = pool->resident;

	for (const struct gn_open_model *h = pool->open; h; h = h->next)
		bytes += h->file_bytes + h->infer_bytes;
	return bytes;
}

/* The least recently used model that nobody holds, out of the table, while the pool is past its
 * limit. */
static struct gn_open_model *take_victim(struct gn_modelpool *pool)
{
	struct gn_open_model *oldest = NULL;

	if (open_bytes(pool) <= pool->limit)
		return NULL;
	for (struct gn_open_model *h = pool->open; h; h = h->next)
		if (!h->holders && (!oldest || h->used < oldest->used))
			oldest = h;
	if (oldest)
		unlink_model(pool, oldest);
	return oldest;
}

void gn_modelpool_drop(struct gn_modelpool *pool, struct gn_open_model *opened)
{
	struct gn_open_model *victim;

	if (!opened)
		return;
	pthread_mutex_lock(&pool->lock);
	opened->used = ++pool->clock;
	opened->holders--;
	victim = opened->forgotten && !opened->holders ? opened : take_victim(pool);
	pthread_mutex_unlock(&pool->lock);
	while (victim) {
		close_model(pool, victim);
		pthread_mutex_lock(&pool->lock);
		victim = take_victim(pool);
		pthread_mutex_unlock(&pool->lock);
	}
}

void gn_modelpool_forget(struct gn_modelpool *pool, const char *id)
{
	struct gn_open_model *opened;

	pthread_mutex_lock(&pool->lock);
	for (opened = pool->open; opened && strcmp(opened->id, id) != 0;)
		opened = opened->next;
	if (opened) {
		unlink_model(pool, opened);
		opened->forgotten = true;
		if (opened->holders)
			opened = NULL;
	}
	pthread_mutex_unlock(&pool->lock);
	if (opened)
		close_model(pool, opened);
}

void gn_modelpool_free(struct gn_modelpool *pool)
{
	if (!pool)
		return;
	pool->limit = 0;
	for (struct gn_open_model *victim = take_victim(pool); victim; victim = take_victim(pool))
		close_model(pool, victim);
	gn_assert(!pool->open);
	pthread_mutex_destroy(&pool->lock);
	pthread_mutex_destroy(&pool->device_lock);
	free(pool);
}

/* ---------------------------------------------------------------- opening --------------------- */

static struct gn_open_model *find(struct gn_modelpool *pool, const char *id)
{
	struct gn_open_model *opened = pool->open;

	while (opened && strcmp(opened->id, id) != 0)
		opened = opened->next;
	return opened;
}

/* Opens one model on its base (held already) and puts it into the table. */
static struct gn_open_model *open_one(struct gn_modelpool *pool, const char *id, struct gn_open_model *base,
                                      struct gn_error *err)
{
	char path[PATH_MAX];
	struct stat status;
	struct gn_open_model *opened = calloc(1, sizeof *opened);

	if (!opened) {
		gn_fail_errno(err, "", "opening a model");
		return NULL;
	}
	gn_store_folder(pool->store, GN_KIND_MODEL, id, path);
	size_t used = strlen(path);
	snprintf(path + used, sizeof path - used, "/model.safetensors");
	if (gn_model_open_known(&opened->model, path, base ? base->model : NULL, err)) {
		free(opened);
		return NULL;
	}
	snprintf(opened->id, sizeof opened->id, "%s", id);
	opened->file_bytes = stat(path, &status) ? 0 : (uint64_t)status.st_size;
	opened->base = base;
	opened->next = pool->open;
	pool->open = opened;
	return opened;
}

int gn_modelpool_hold(struct gn_modelpool *pool, const char *id, struct gn_open_model **out, struct gn_error *err)
{
	char ids[GN_CHAIN_MAX][GN_ID_SIZE];
	struct gn_open_model *opened = NULL, *base = NULL;

	pthread_mutex_lock(&pool->lock);
	opened = find(pool, id);
	if (opened)
		opened->holders++;
	pthread_mutex_unlock(&pool->lock);
	if (opened) {
		*out = opened;
		return 0;
	}
	int count = gn_store_chain(pool->store, id, ids, err);
	if (count < 0)
		return -1;
	pthread_mutex_lock(&pool->lock);
	for (int i = count - 1; i >= 0; i--) {
		opened = find(pool, ids[i]);
		bool fresh = !opened;
		if (fresh)
			opened = open_one(pool, ids[i], base, err);
		if (!opened)
			break;
		opened->holders++;
		/* a model that was open already holds its base itself: the hold of this walk is
		 * given back */
		if (!fresh && base)
			base->holders--;
		base = opened;
	}
	pthread_mutex_unlock(&pool->lock);
	if (!opened) {
		gn_modelpool_drop(pool, base);
		return -1;
	}
	*out = opened;
	return 0;
}

int gn_modelpool_hold_named(struct gn_modelpool *pool, const char *id_or_name, struct gn_open_model **out,
                            struct gn_error *err)
{
	struct gn_open_model *opened;
	struct gn_row row;
	uint64_t renames;
	int failed;

	pthread_mutex_lock(&pool->lock);
	opened = pool->open;
	while (opened && strcmp(opened->id, id_or_name) != 0 &&
	       (!opened->name[0] || strcmp(opened->name, id_or_name) != 0))
		opened = opened->next;
	if (opened)
		opened->holders++;
	renames = pool->renames;
	pthread_mutex_unlock(&pool->lock);
	if (opened) {
		*out = opened;
		return 0;
	}
	if (gn_store_get(pool->store, GN_KIND_MODEL, id_or_name, &row, err))
		return -1;
	failed = gn_modelpool_hold(pool, row.id, out, err);
	if (!failed) {
		pthread_mutex_lock(&pool->lock);
		if (renames == pool->renames)
			memcpy((*out)->name, row.name, sizeof row.name);
		pthread_mutex_unlock(&pool->lock);
	}
	gn_row_release(&row);
	return failed;
}

void gn_modelpool_renamed(struct gn_modelpool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->renames++;
	for (struct gn_open_model *opened = pool->open; opened; opened = opened->next)
		opened->name[0] = '\0';
	pthread_mutex_unlock(&pool->lock);
}

/* ---------------------------------------------------------------- computing ------------------- */

/* With the device. */
static int make_ready(struct gn_modelpool *pool, struct gn_open_model *opened, struct gn_error *err)
{
	if (opened->infer)
		return 0;
	if (gn_infer_new(&opened->infer, pool->device, opened->model, pool->max_batch, err))
		return -1;
	opened->infer_bytes = gn_infer_bytes(opened->infer);
	return 0;
}

int gn_modelpool_infer(struct gn_modelpool *pool, struct gn_open_model *const *models, int count, const float *images,
                       int batch, float *const *logits, struct gn_error *err)
{
	struct gn_infer **infers = calloc((size_t)count, sizeof *infers);
	int failed = 0;

	if (!infers)
		return gn_fail_errno(err, "", "classifying with several models");
	pthread_mutex_lock(&pool->device_lock);
	for (int i = 0; i < count && !failed; i++) {
		failed = make_ready(pool, models[i], err);
		infers[i] = models[i]->infer;
	}
	if (!failed)
		failed = gn_infer_run_many(infers, count, images, batch, logits, err);
	pool->resident = gn_device_resident_bytes(pool->device);
	pthread_mutex_unlock(&pool->device_lock);
	free(infers);
	return failed;
}

int gn_modelpool_check_device(struct gn_modelpool *pool, struct gn_error *err)
{
	int failed;

	pthread_mutex_lock(&pool->device_lock);
	failed = gn_device_check(pool->device, err);
	pthread_mutex_unlock(&pool->device_lock);
	return failed;
}

uint64_t gn_modelpool_bytes(struct gn_modelpool *pool, int *models)
{
	uint64_t bytes;

	pthread_mutex_lock(&pool->lock);
	bytes = open_bytes(pool);
	*models = 0;
	for (const struct gn_open_model *h = pool->open; h; h = h->next)
		++*models;
	pthread_mutex_unlock(&pool->lock);
	return bytes;
}
