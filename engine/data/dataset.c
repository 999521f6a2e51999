/* An open data set: two memory maps and the tables of the index. */
#include "data/index.h"
#include "base/files.h"
#include "gonio.h"

#include <stdlib.h>

struct maps {
	struct gn_file_map index, pack;
};

const char *gn_split_name(enum gn_split split)
{
	static const char *const names[GN_SPLIT_COUNT] = {"train", "val", "test"};

	return names[split];
}

static int map_file(struct gn_file_map *map, const char *folder, const char *name, struct gn_error *err)
{
	char path[4096];

	if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
		return gn_fail(err, GN_INVALID, name, "the folder's path is too long");
	return gn_file_map(map, path, err);
}

int gn_dataset_open(struct gn_dataset **out, const char *folder, struct gn_error *err)
{
	struct gn_dataset *dataset = gn_alloc(1, sizeof *dataset, err);
	struct maps *maps = gn_alloc(1, sizeof *maps, err);

	if (!dataset || !maps) {
		free(dataset);
		free(maps);
		return -1;
	}
	dataset->map = maps;
	if (map_file(&maps->index, folder, GN_INDEX_NAME, err) || map_file(&maps->pack, folder, GN_PACK_NAME, err) ||
	    gn_index_parse(dataset, maps->index.bytes, maps->index.size, maps->pack.size, err)) {
		gn_dataset_close(dataset);
		return -1;
	}
	dataset->pack = maps->pack.bytes;
	dataset->pack_bytes = maps->pack.size;
	*out = dataset;
	return 0;
}

void gn_dataset_close(struct gn_dataset *dataset)
{
	struct maps *maps;

	if (!dataset)
		return;
	maps = dataset->map;
	gn_file_unmap(&maps->index);
	gn_file_unmap(&maps->pack);
	free(maps);
	free(dataset->classes);
	free(dataset->samples);
	free(dataset);
}
