/*
 * Open data sets that requests share. Opening one reads its whole index, and a page of thumbnails
 * needs it fifty times. There is one lock. It is held while a data set is opened, so that two
 * requests never open the same one.
 */
#include "api/api.h"

#include <pthread.h>

enum { KEPT = 4 }; /* unused data sets that stay open */

struct entry {
	char id[GN_ID_SIZE];
	struct gn_dataset *dataset;
	int holders;
	uint64_t used;
	bool forgotten;
	struct entry *next;
};
struct gn_dataset_cache {
	struct gn_store *store;
	pthread_mutex_t lock;
	struct entry *entries;
	uint64_t clock;
};

int gn_dataset_cache_new(struct gn_dataset_cache **out, struct gn_store *store, struct gn_error *err)
{
	struct gn_dataset_cache *cache = calloc(1, sizeof *cache);

	if (!cache)
		return gn_fail_errno(err, "", "starting the data set cache");
	cache->store = store;
	pthread_mutex_init(&cache->lock, NULL);
	*out = cache;
	return 0;
}

static void close_entry(struct gn_dataset_cache *cache, struct entry *entry)
{
	struct entry **at = &cache->entries;

	while (*at != entry)
		at = &(*at)->next;
	*at = entry->next;
	gn_dataset_close(entry->dataset);
	free(entry);
}

/* Closes the oldest unused data sets beyond KEPT, and deleted ones that no one uses. Needs the
 * lock. */
static void trim(struct gn_dataset_cache *cache, int kept)
{
	for (;;) {
		struct entry *victim = NULL;
		int idle = 0;
		for (struct entry *e = cache->entries; e; e = e->next) {
			if (e->holders)
				continue;
			idle++;
			if (!victim || (e->forgotten && !victim->forgotten) ||
			    (e->forgotten == victim->forgotten && e->used < victim->used))
				victim = e;
		}
		if (!victim || (idle <= kept && !victim->forgotten))
			return;
		close_entry(cache, victim);
	}
}

void gn_dataset_cache_free(struct gn_dataset_cache *cache)
{
	if (!cache)
		return;
	trim(cache, 0);
	gn_assert(!cache->entries);
	pthread_mutex_destroy(&cache->lock);
	free(cache);
}

static struct entry *open_entry(struct gn_dataset_cache *cache, const char *id, struct gn_error *err)
{
	char folder[PATH_MAX];
	struct entry *entry = calloc(1, sizeof *entry);

	if (!entry) {
		gn_fail_errno(err, "", "opening a data set");
		return NULL;
	}
	gn_store_folder(cache->store, GN_KIND_DATASET, id, folder);
	if (gn_dataset_open(&entry->dataset, folder, err)) {
		free(entry);
		return NULL;
	}
	snprintf(entry->id, sizeof entry->id, "%s", id);
	entry->next = cache->entries;
	cache->entries = entry;
	return entry;
}

int gn_dataset_hold(struct gn_dataset_cache *cache, const char *id, struct gn_dataset **out, struct gn_error *err)
{
	struct entry *entry;

	pthread_mutex_lock(&cache->lock);
	for (entry = cache->entries; entry && (entry->forgotten || strcmp(entry->id, id) != 0);)
		entry = entry->next;
	if (!entry)
		entry = open_entry(cache, id, err);
	if (entry) {
		entry->holders++;
		*out = entry->dataset;
	}
	pthread_mutex_unlock(&cache->lock);
	return entry ? 0 : -1;
}

void gn_dataset_drop(struct gn_dataset_cache *cache, struct gn_dataset *dataset)
{
	struct entry *entry;

	pthread_mutex_lock(&cache->lock);
	for (entry = cache->entries; entry->dataset != dataset;)
		entry = entry->next;
	entry->holders--;
	entry->used = ++cache->clock;
	trim(cache, KEPT);
	pthread_mutex_unlock(&cache->lock);
}

void gn_dataset_forget(struct gn_dataset_cache *cache, const char *id)
{
	pthread_mutex_lock(&cache->lock);
	for (struct entry *entry = cache->entries; entry; entry = entry->next)
		if (!strcmp(entry->id, id))
			entry->forgotten = true;
	trim(cache, KEPT);
	pthread_mutex_unlock(&cache->lock);
}
