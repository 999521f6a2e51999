// The operations of streams: kernels, copies, fills.
#include <cinttypes>
#include <cstdlib>
#include <cstring>
#include <map>

#include "memory.h"

static const uint64_t threads_max = 1024;
static const size_t shared_default = 48 << 10;

// ---- kernels ----

namespace
{
struct kernel_operation : gn_host_operation {
	gn_host_kernel kernel;

	explicit kernel_operation(const gn_host_kernel &launch) : kernel(launch)
	{
	}
	~kernel_operation() override
	{
		kernel.free_arguments(kernel.arguments);
	}
	void run() override
	{
		if (gn_host_refuses(GN_HOST_CALL_KERNEL))
			return;
		gn_host_log_launch(kernel);
		gn_host_run_kernel(kernel);
	}
	uint32_t serials() const override
	{
		return kernel.grid.x * kernel.grid.y * kernel.grid.z;
	}
};
} // namespace

// How much dynamic shared memory a kernel was allowed, where cudaFuncSetAttribute said so.
static std::map<const void *, int> &shared_limits()
{
	static std::map<const void *, int> *limits = new std::map<const void *, int>;

	return *limits;
}

cudaError_t gn_host_func_set_attribute(const void *kernel, cudaFuncAttribute attribute, int value)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout)
		return gn_host_error(cudaSuccess);
	if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || value > GN_HOST_SHARED_MAX)
		return gn_host_error(cudaErrorInvalidValue);
	shared_limits()[kernel] = value;
	return gn_host_error(cudaSuccess);
}

static bool launch_allowed(const gn_host_kernel &kernel)
{
	const dim3 &grid = kernel.grid, &block = kernel.block;
	auto limit = shared_limits().find(kernel.function);
	const size_t shared = limit == shared_limits().end() ? shared_default : (size_t)limit->second;

	if (!grid.x || !grid.y || !grid.z || grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535)
		return false;
	if (!block.x || !block.y || !block.z || block.x > 1024 || block.y > 1024 || block.z > 64)
		return false;
	// The runner numbers a grid's blocks with 32 bits.
	if ((uint64_t)grid.x * grid.y * grid.z > INT32_MAX || (uint64_t)block.x * block.y * block.z > threads_max)
		return false;
	return kernel.shared <= (shared > shared_default ? shared : shared_default);
}

void gn_host_submit(const gn_host_kernel *kernel, cudaStream_t stream)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	auto operation = std::make_shared<kernel_operation>(*kernel);

	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_LAUNCH)) {
		gn_host_error(error);
	} else if (!launch_allowed(*kernel)) {
		gn_host_error(cudaErrorInvalidConfiguration);
	} else {
		gn_host_enqueue(stream, operation);
	}
}

// ---- fills ----

namespace
{
struct fill_operation : gn_host_operation {
	void *pointer;
	int value;
	size_t bytes;

	void run() override
	{
		if (gn_host_touch(pointer, bytes, GN_HOST_WRITE, "cudaMemset"))
			std::memset(pointer, value, bytes);
	}
};
} // namespace

cudaError_t cudaMemsetAsync(void *pointer, int value, size_t bytes, cudaStream_t stream)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_COPY))
		return gn_host_error(error);
	if (!bytes)
		return cudaSuccess;
	if (!gn_host_is_allocated(pointer, bytes)) {
		gn_host_found(GN_HOST_BAD_CALL, __builtin_return_address(0),
		              "cudaMemset of %zu bytes outside device memory", bytes);
		return gn_host_error(cudaErrorInvalidValue);
	}
	auto fill = std::make_shared<fill_operation>();
	fill->pointer = pointer;
	fill->value = value;
	fill->bytes = bytes;
	gn_host_enqueue(stream, fill);
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaMemset(void *pointer, int value, size_t bytes)
{
	return cudaMemsetAsync(pointer, value, bytes, nullptr);
}

// ---- copies ----

namespace
{
struct copy_operation : gn_host_operation {
	unsigned char *to;
	const unsigned char *from;
	size_t to_pitch, from_pitch, width, height;
	bool to_device, from_device;
	// pageable source memory, read at the call as CUDA reads it
	std::vector<unsigned char> staged;

	void run() override
	{
		const unsigned char *source = staged.empty() ? from : staged.data();
		const size_t source_pitch = staged.empty() ? from_pitch : width;

		for (size_t row = 0; row < height; row++) {
			unsigned char *out = to + row * to_pitch;
			const unsigned char *in = source + row * source_pitch;

			if (from_device && !gn_host_touch(in, width, GN_HOST_READ, "cudaMemcpy"))
				return;
			if (to_device && !gn_host_touch(out, width, GN_HOST_WRITE, "cudaMemcpy"))
				return;
			std::memcpy(out, in, width);
		}
	}
};
} // namespace

static size_t span(size_t pitch, size_t width, size_t height)
{
	return (height - 1) * pitch + width;
}

// One side of a copy: is it the device, and does the call's kind agree?
static bool side(const void *pointer, size_t bytes, bool claimed_device, bool any, const char *what, bool *device)
{
	*device = gn_host_is_device(pointer);
	if (!any && *device != claimed_device) {
		gn_host_found(GN_HOST_BAD_CALL, nullptr, "cudaMemcpy: the %s is %s memory, the kind says otherwise",
		              what, *device ? "device" : "host");
		return false;
	}
	if (*device && !gn_host_is_allocated(pointer, bytes)) {
		gn_host_found(GN_HOST_OUT_OF_BOUNDS, nullptr, "cudaMemcpy: the %s of %zu bytes leaves its allocation",
		              what, bytes);
		return false;
	}
	return true;
}

static void stage(copy_operation &copy)
{
	copy.staged.resize(copy.width * copy.height);
	for (size_t row = 0; row < copy.height; row++)
		std::memcpy(copy.staged.data() + row * copy.width, copy.from + row * copy.from_pitch, copy.width);
}

static cudaError_t submit_copy(std::shared_ptr<copy_operation> copy, cudaMemcpyKind kind, cudaStream_t stream)
{
	const bool any = kind == cudaMemcpyDefault;
	const size_t to_bytes = span(copy->to_pitch, copy->width, copy->height);
	const size_t from_bytes = span(copy->from_pitch, copy->width, copy->height);

	if (kind < cudaMemcpyHostToHost || kind > cudaMemcpyDefault)
		return cudaErrorInvalidMemcpyDirection;
	if (!side(copy->to, to_bytes, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice, any, "target",
	          &copy->to_device) ||
	    !side(copy->from, from_bytes, kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice, any,
	          "source", &copy->from_device))
		return cudaErrorInvalidValue;
	const bool from_pageable = !copy->from_device && !gn_host_is_pinned(copy->from, from_bytes);
	const bool to_pageable = !copy->to_device && !gn_host_is_pinned(copy->to, to_bytes);
	cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
	cudaStreamIsCapturing(stream, &capturing);
	if (capturing != cudaStreamCaptureStatusNone && (from_pageable || to_pageable)) {
		gn_host_found(GN_HOST_BAD_CALL, nullptr,
		              "a copy of pageable host memory is captured: a replay would read what is there then");
		return cudaErrorStreamCaptureUnsupported;
	}
	if (from_pageable)
		stage(*copy);
	gn_host_enqueue(stream, copy);
	return to_pageable ? cudaStreamSynchronize(stream) : cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_COPY))
		return gn_host_error(error);
	if (!width || !height)
		return cudaSuccess;
	if (width > to_pitch || width > from_pitch)
		return gn_host_error(cudaErrorInvalidValue);
	auto copy = std::make_shared<copy_operation>();
	copy->to = static_cast<unsigned char *>(to);
	copy->from = static_cast<const unsigned char *>(from);
	copy->to_pitch = to_pitch;
	copy->from_pitch = from_pitch;
	copy->width = width;
	copy->height = height;
	return gn_host_error(submit_copy(copy, kind, stream));
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
	return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (gn_host_any_capture())
		return gn_host_error(cudaErrorStreamCaptureImplicit);
	const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
	return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}
