/* Devices: a backend chosen by name, and its context. */
#include "backend/backend.h"

#include <stdlib.h>
#include <string.h>

static const char *const precision_names[] = {[GN_PRECISION_AUTO] = "auto",
                                              [GN_PRECISION_FP32] = "fp32",
                                              [GN_PRECISION_TF32] = "tf32",
                                              [GN_PRECISION_BF16] = "bf16"};

const char *gn_precision_name(enum gn_precision precision)
{
	return precision_names[precision];
}

int gn_precision_from_name(const char *name)
{
	for (int i = GN_PRECISION_AUTO; i <= GN_PRECISION_BF16; i++)
		if (!strcmp(name, precision_names[i]))
			return i;
	return -1;
}

int gn_device_open(struct gn_device **out, const char *spec, int threads, enum gn_precision precision,
                   struct gn_error *err)
{
	struct gn_device *device;

	if (!strncmp(spec, "cuda", 4))
		return gn_fail(err, GN_UNSUPPORTED, "device",
		               "this build of gonio has no CUDA backend: use --device cpu");
	if (strcmp(spec, "cpu") && strcmp(spec, "auto"))
		return gn_fail(err, GN_INVALID, "device", "\"%.40s\" is not a device: cpu or auto", spec);
	if (precision > GN_PRECISION_FP32)
		return gn_fail(err, GN_UNSUPPORTED, "precision", "a CPU computes in fp32, not in %s",
		               gn_precision_name(precision));
	device = malloc(sizeof *device);
	if (!device)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for a device");
	device->backend = &gn_backend_cpu;
	if (device->backend->open(&device->ctx, 0, threads, err)) {
		free(device);
		return -1;
	}
	*out = device;
	return 0;
}

void gn_device_close(struct gn_device *device)
{
	if (!device)
		return;
	device->backend->close(device->ctx);
	free(device);
}

void gn_device_describe(const struct gn_device *device, struct gn_device_info *info)
{
	device->backend->describe(device->ctx, info);
}
