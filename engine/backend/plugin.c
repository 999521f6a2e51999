/* See plugin.h. */
#include "backend/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LIBRARY "libgonio_cuda.so"
enum { PATH_SIZE = 4096 };

/* The program's folder, without a slash at its end. */
static int program_folder(char folder[PATH_SIZE])
{
	ssize_t n = readlink("/proc/self/exe", folder, PATH_SIZE - 1);
	char *slash;

	if (n <= 0)
		return -1;
	folder[n] = '\0';
	slash = strrchr(folder, '/');
	if (!slash)
		return -1;
	*slash = '\0';
	return 0;
}

static int find_library(char path[PATH_SIZE + 64], struct gn_error *err)
{
	static const char *const places[] = {LIBRARY, "../lib/gonio/" LIBRARY};
	const char *given = getenv("GONIO_CUDA_PLUGIN");
	char folder[PATH_SIZE];

	if (given && given[0]) {
		snprintf(path, PATH_SIZE + 64, "%s", given);
		if (access(path, R_OK) == 0)
			return 0;
		return gn_fail(err, GN_UNSUPPORTED, "device",
		               "the CUDA backend that GONIO_CUDA_PLUGIN names, %.200s, is not there", given);
	}
	if (program_folder(folder))
		return gn_fail_errno(err, "device", "cannot read /proc/self/exe");
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		snprintf(path, PATH_SIZE + 64, "%s/%s", folder, places[i]);
		if (access(path, R_OK) == 0)
			return 0;
	}
	return gn_fail(err, GN_UNSUPPORTED, "device",
	               "the CUDA backend is not installed: no " LIBRARY " in %.150s or its ../lib/gonio", folder);
}

int gn_plugin_load(gn_plugin_entry **out, struct gn_error *err)
{
	char path[PATH_SIZE + 64];
	void *library, *symbol;
	gn_plugin_entry *entry;

	if (find_library(path, err))
		return -1;
	/* Never unloaded, because the CUDA runtime in it leaves threads and exit handlers. */
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!library)
		return gn_fail(err, GN_UNSUPPORTED, "device", "the CUDA backend cannot be loaded: %.300s", dlerror());
	symbol = dlsym(library, GN_CUDA_ENTRY);
	if (!symbol)
		return gn_fail(err, GN_UNSUPPORTED, "device", "%.200s is not a CUDA backend of gonio", path);
	/* ISO C has no conversion from an object to a function pointer */
	memcpy(&entry, &symbol, sizeof entry);
	if (!entry(GN_BACKEND_ABI, GN_PRECISION_FP32))
		return gn_fail(err, GN_UNSUPPORTED, "device",
		               "%.200s belongs to another version of gonio: install the two together", path);
	*out = entry;
	return 0;
}
