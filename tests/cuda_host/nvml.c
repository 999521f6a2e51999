/*
 * NVIDIA's management library as account.cu asks for it: a device with 1,000 bytes in use at first,
 * and 12,345 more each time that it is asked again. Only initialised, only for the host runner's
 * first device, and only until it is shut down.
 */
#include <string.h>

struct memory {
	unsigned long long total, free, used;
};

static int users, handle, asked;

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device);
int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory);

int nvmlInit_v2(void)
{
	users++;
	return 0;
}

int nvmlShutdown(void)
{
	return users-- > 0 ? 0 : 1;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device)
{
	if (users < 1 || strcmp(bus, "0000:00:00.0") != 0)
		return 6; /* not found */
	*device = &handle;
	return 0;
}

int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory)
{
	if (users < 1 || device != &handle)
		return 2; /* invalid argument */
	*memory = (struct memory){.total = 1 << 20, .free = 1, .used = 1000 + 12345ULL * (unsigned)asked++};
	return 0;
}
