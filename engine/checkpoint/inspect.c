/* Lists the tensors of any safetensors file. */
#include "checkpoint/safetensors.h"
#include "base/files.h"
#include "gonio.h"

int gn_inspect(const char *path,
               void (*visit)(void *user, const char *name, const char *dtype, int rank, const int64_t *shape),
               void *user, struct gn_error *err)
{
	struct gn_file_map map;
	struct gn_st_file file;
	int result;

	if (gn_file_map(&map, path, err))
		return -1;
	result = gn_st_parse(&file, map.bytes, map.size, err);
	for (int i = 0; !result && i < file.count; i++) {
		const struct gn_st_tensor *t = &file.tensors[i];

		visit(user, t->name, gn_st_dtype_name(t->dtype), t->rank, t->shape);
	}
	gn_st_release(&file);
	gn_file_unmap(&map);
	return result;
}
