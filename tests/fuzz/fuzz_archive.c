/*
 * Any bytes as an archive: every entry is read as in ingest, names are cleaned, and the images are
 * arranged into classes and splits, with their content as their hash. The arrangement must keep its
 * promises.
 */
#include "data/archive.h"
#include "data/arrange.h"
#include "data/names.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS_MAX = 64 };

struct source {
	const uint8_t *bytes;
	size_t left;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static ssize_t read_source(void *user, void *buffer, size_t size)
{
	struct source *source = user;
	size_t n = source->left < size ? source->left : size;

	if (n)
		memcpy(buffer, source->bytes, n);
	source->bytes += n;
	source->left -= n;
	return (ssize_t)n;
}

/* Reads one entry to its end and makes an item of it; -1 when the archive fails. */
static int take(struct gn_archive *archive, const struct gn_archive_entry *entry, struct gn_item *item)
{
	char clean[GN_PATH_MAX + 1], shown[64];
	const char *damage;
	const void *bytes;
	size_t size;
	int more;

	gn_name_show(shown, sizeof shown, entry->path);
	if (!entry->not_file && !gn_name_escapes(entry->path) && !gn_name_clean(clean, entry->path) &&
	    !gn_name_skipped(clean))
		item->entry = item->path = strdup(clean);
	while ((more = gn_archive_piece(archive, &bytes, &size, &damage, NULL)) > 0)
		for (size_t i = 0; i < size && i < sizeof item->sha256; i++)
			item->sha256[i] ^= ((const uint8_t *)bytes)[i];
	return more;
}

static void arrange(struct gn_item *items, int count)
{
	struct gn_arrangement a;

	if (gn_arrange(&a, items, count, 0.5, 1, NULL))
		return;
	if (a.class_count < 2 || a.count < 2 * a.class_count)
		abort();
	for (int i = 0; i < a.count; i++)
		if (a.samples[i]->rejected || a.samples[i]->label < 0 || a.samples[i]->label >= a.class_count)
			abort();
	gn_arrangement_release(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct source bytes = {data, size};
	struct gn_archive_source source = {.read = read_source, .user = &bytes, .budget = {.total_bytes = 1 << 20}};
	struct gn_archive_entry entry;
	struct gn_item items[ITEMS_MAX] = {0};
	struct gn_archive *archive;
	int count = 0;

	if (gn_archive_open(&archive, &source, NULL))
		return 0;
	while (count < ITEMS_MAX && gn_archive_next(archive, &entry, NULL) > 0) {
		struct gn_item *item = &items[count];

		*item = (struct gn_item){.arrival = count};
		if (take(archive, &entry, item)) {
			free((char *)(uintptr_t)item->entry);
			break;
		}
		count += item->entry != NULL;
	}
	gn_archive_close(archive);
	arrange(items, count);
	for (int i = 0; i < count; i++)
		free((char *)(uintptr_t)items[i].entry);
	return 0;
}
