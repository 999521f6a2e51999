/* Opens a tuned model together with its bases: see include/gonio/model.h. */
#include <string.h>

#include "gonio.h"

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
