/* A tuned model and its bases, opened together: see store.h. */
#include "server/store.h"

#include <string.h>

#include "server/store_private.h"

int gn_store_chain(struct gn_store *store, const char *id, char ids[GN_CHAIN_MAX][GN_ID_SIZE], struct gn_error *err)
{
	char next[GN_NAME_SIZE];
	int count = 0;

	snprintf(next, sizeof next, "%s", id);
	while (next[0]) {
		struct gn_row row;
		if (count == GN_CHAIN_MAX)
			return gn_fail(err, GN_INVALID, "", "more than %d models tuned one on another",
			               GN_CHAIN_MAX - 1);
		if (gn_store_get(store, GN_KIND_MODEL, next, &row, err))
			return -1;
		memcpy(ids[count++], row.id, GN_ID_SIZE);
		snprintf(next, sizeof next, "%s", row.base);
		gn_row_release(&row);
	}
	return count;
}

int gn_chain_open_paths(struct gn_chain *chain, int count, const char *const *paths, bool known, struct gn_error *err)
{
	gn_assert(count > 0 && count <= GN_CHAIN_MAX);
	memset(chain, 0, sizeof *chain);
	chain->count = count;
	for (int i = count - 1; i >= 0; i--) {
		const struct gn_model *base = i + 1 < count ? chain->models[i + 1] : NULL;
		if ((known ? gn_model_open_known : gn_model_open)(&chain->models[i], paths[i], base, err)) {
			gn_chain_close(chain);
			return -1;
		}
	}
	return 0;
}

void gn_chain_close(struct gn_chain *chain)
{
	for (int i = 0; i < chain->count; i++)
		if (chain->models[i])
			gn_model_close(chain->models[i]);
	memset(chain, 0, sizeof *chain);
}
