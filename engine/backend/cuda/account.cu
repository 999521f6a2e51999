/*
 * How much of the device's memory this process has taken, its CUDA context included.
 *
 * cudaMemGetInfo cannot say what a context costs: it makes one before it answers. The driver's
 * management library (NVML) can be asked before, and knows the whole device. It is part of every
 * driver, but a container may be without it: then the account begins when the context exists. What
 * other processes take or give back in the meantime shows in either account.
 */
#include "backend/cuda/cuda.h"

#include <dlfcn.h>
#include <string.h>

/* NVML's own, from its manual: a device is a handle, 0 is success, memory is in bytes. */
struct nvml_memory {
	unsigned long long total, free, used;
};
typedef int nvml_plain(void);
typedef int nvml_find(const char *pci_bus_id, void **device);
typedef int nvml_get_memory(void *device, struct nvml_memory *memory);

/* ISO C++ has no conversion that both compilers accept without a warning. */
template <typename function>
static function *find(void *library, const char *name)
{
	void *symbol = dlsym(library, name);
	function *found;

	memcpy(&found, &symbol, sizeof found);
	return found;
}

/* The bytes in use, by all processes; false: the library cannot say. */
static bool ask(const struct gn_cuda_account *account, unsigned long long *used)
{
	nvml_get_memory *get = find<nvml_get_memory>(account->library, "nvmlDeviceGetMemoryInfo");
	struct nvml_memory memory = {};

	if (!get || get(account->device, &memory) != 0)
		return false;
	*used = memory.used;
	return true;
}

/* Before the process has a context on the device: what is in use already. */
void gn_cuda_account_open(struct gn_cuda_account *account, int index)
{
	char bus[32] = "";
	void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);

	*account = {};
	if (!library)
		return;
	nvml_plain *init = find<nvml_plain>(library, "nvmlInit_v2");
	nvml_find *find_device = find<nvml_find>(library, "nvmlDeviceGetHandleByPciBusId_v2");
	if (!init || !find_device || init() != 0) {
		dlclose(library);
		return;
	}
	account->library = library;
	if (cudaDeviceGetPCIBusId(bus, sizeof bus, index) != cudaSuccess || find_device(bus, &account->device) != 0 ||
	    !ask(account, &account->before))
		gn_cuda_account_close(account);
}

/* With a context: where NVML does not keep the account, it begins now. */
int gn_cuda_account_begin(struct gn_ctx *ctx, struct gn_error *err)
{
	size_t available = 0, total = 0;

	if (ctx->account.library)
		return 0;
	if (!GN_CUDA(ctx, cudaMemGetInfo(&available, &total)))
		return gn_cuda_report(ctx, err);
	ctx->account.before = total - available;
	return 0;
}

size_t gn_cuda_account_taken(const struct gn_cuda_account *account)
{
	size_t available = 0, total = 0;
	unsigned long long used = 0;

	if (account->library) {
		if (!ask(account, &used))
			return 0;
	} else if (cudaMemGetInfo(&available, &total) == cudaSuccess) {
		used = total - available;
	}
	return used > account->before ? (size_t)(used - account->before) : 0;
}

void gn_cuda_account_close(struct gn_cuda_account *account)
{
	if (!account->library)
		return;
	nvml_plain *shutdown = find<nvml_plain>(account->library, "nvmlShutdown");
	if (shutdown)
		shutdown();
	dlclose(account->library);
	*account = {};
}
