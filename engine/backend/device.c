/*
 * Devices: a backend chosen by name, and its context. "auto" may choose the CPU, and then keeps the
 * reason. A GPU that spec names is opened, or is an error.
 */
#include "backend/backend.h"
#include "backend/plugin.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct spec {
	bool cpu, cuda;
	int index; /* of the GPU */
};

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

static int read_spec(struct spec *out, const char *text, struct gn_error *err)
{
	bool any = !strcmp(text, "auto");

	*out = (struct spec){.cpu = any || !strcmp(text, "cpu"), .cuda = any || !strcmp(text, "cuda")};
	if (!strncmp(text, "cuda:", 5)) {
		const char *digits = text + 5;
		size_t n = strspn(digits, "0123456789");

		out->cuda = n > 0 && n < 4 && !digits[n];
		out->index = out->cuda ? (int)strtol(digits, NULL, 10) : 0;
	}
	if (!out->cpu && !out->cuda)
		return gn_fail(err, GN_INVALID, "device", "\"%.40s\" is not a device: auto, cpu, cuda or cuda:N", text);
	return 0;
}

static int open_cuda(struct gn_device *device, int index, int threads, enum gn_precision precision,
                     struct gn_error *err)
{
	if (gn_plugin_load(&device->entry, err))
		return -1;
	device->index = index;
	device->backend = gn_device_table(device, precision);
	gn_assert(device->backend);
	return device->backend->open(&device->ctx, index, threads, err);
}

static int open_cpu(struct gn_device *device, int threads, enum gn_precision precision, struct gn_error *err)
{
	device->entry = NULL;
	device->backend = gn_device_table(device, precision);
	if (!device->backend)
		return gn_fail(err, GN_UNSUPPORTED, "precision", "a CPU computes in fp32, not in %s%s%.300s",
		               gn_precision_name(precision), device->remark[0] ? "; and no GPU can be used: " : "",
		               device->remark);
	return device->backend->open(&device->ctx, 0, threads, err);
}

int gn_device_open(struct gn_device **out, const char *spec, int threads, enum gn_precision precision,
                   struct gn_error *err)
{
	struct gn_device *device;
	struct gn_error why = {0};
	struct spec wanted;
	int failed = -1;

	if (read_spec(&wanted, spec, err))
		return -1;
	device = calloc(1, sizeof *device);
	if (!device)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for a device");
	device->threads = threads;
	if (wanted.cuda)
		failed = open_cuda(device, wanted.index, threads, precision, &why);
	if (failed && wanted.cuda && wanted.cpu)
		snprintf(device->remark, sizeof device->remark, "%s", why.text);
	if (failed && wanted.cpu) {
		why = (struct gn_error){0};
		failed = open_cpu(device, threads, precision, &why);
	}
	if (failed) {
		free(device);
		return gn_fail(err, why.code, why.where, "%s", why.text);
	}
	*out = device;
	return 0;
}

const struct gn_backend *gn_device_table(const struct gn_device *device, enum gn_precision precision)
{
	if (device && device->entry)
		return device->entry(GN_BACKEND_ABI, precision == GN_PRECISION_AUTO ? GN_PRECISION_BF16 : precision);
	return precision == GN_PRECISION_AUTO || precision == GN_PRECISION_FP32 ? &gn_backend_cpu : NULL;
}

void gn_device_close(struct gn_device *device)
{
	if (!device)
		return;
	device->backend->close(device->ctx);
	free(device);
}

int gn_device_check(struct gn_device *device, struct gn_error *err)
{
	enum { BYTES = 128 };
	const struct gn_backend *be = device->backend;
	void *memory;

	be->enter(device->ctx);
	memory = be->alloc(device->ctx, BYTES, err);
	/* a device without free memory still works */
	if (!memory)
		return err && err->code == GN_NO_MEMORY ? 0 : -1;
	be->free(device->ctx, memory, BYTES);
	return be->sync(device->ctx, err);
}

void gn_device_describe(const struct gn_device *device, struct gn_device_info *info)
{
	device->backend->describe(device->ctx, info);
	if (device->entry) {
		snprintf(info->spec, sizeof info->spec, "cuda:%d", device->index);
		info->threads = device->threads ? device->threads : omp_get_num_procs();
	} else {
		snprintf(info->spec, sizeof info->spec, "cpu");
	}
	info->overhead_bytes = device->backend->overhead_bytes;
	snprintf(info->remark, sizeof info->remark, "%s", device->remark);
}
