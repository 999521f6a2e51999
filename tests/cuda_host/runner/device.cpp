// What the runner says of its device. The limits are those of compute capability 9.0.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "memory.h"

static int from_environment(const char *name, int otherwise)
{
	const char *value = getenv(name);

	return value ? (int)std::strtol(value, nullptr, 10) : otherwise;
}

static int device_count()
{
	return from_environment("GONIO_CUDA_HOST_DEVICES", 1);
}

static void capability(int *major, int *minor)
{
	const char *value = getenv("GONIO_CUDA_HOST_CAPABILITY");

	if (!value || std::sscanf(value, "%d.%d", major, minor) != 2) {
		*major = 9;
		*minor = 0;
	}
}

static thread_local int current;

cudaError_t cudaRuntimeGetVersion(int *version)
{
	*version = CUDART_VERSION;
	return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
	*version = from_environment("GONIO_CUDA_HOST_DRIVER", CUDART_VERSION);
	return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	int driver = 0;

	gn_host_want_faults();
	*count = 0;
	cudaDriverGetVersion(&driver);
	if (driver / 1000 < CUDART_VERSION / 1000)
		return gn_host_error(cudaErrorInsufficientDriver);
	*count = device_count();
	return gn_host_error(*count > 0 ? cudaSuccess : cudaErrorNoDevice);
}

static cudaError_t usable(int device)
{
	int count = 0;
	const cudaError_t error = cudaGetDeviceCount(&count);

	if (error != cudaSuccess)
		return error;
	return gn_host_error(device >= 0 && device < count ? cudaSuccess : cudaErrorInvalidDevice);
}

cudaError_t cudaSetDevice(int device)
{
	const cudaError_t error = usable(device);

	if (error == cudaSuccess)
		current = device;
	return error;
}

cudaError_t cudaGetDevice(int *device)
{
	*device = current;
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *prop, int device)
{
	const cudaError_t error = usable(device);

	if (error != cudaSuccess)
		return error;
	std::memset(prop, 0, sizeof *prop);
	std::snprintf(prop->name, sizeof prop->name, "host runner");
	prop->totalGlobalMem = gn_host_memory_total();
	prop->sharedMemPerBlock = 48 << 10;
	prop->sharedMemPerBlockOptin = GN_HOST_SHARED_MAX;
	prop->sharedMemPerMultiprocessor = 228 << 10;
	prop->regsPerBlock = 65536;
	prop->warpSize = 32;
	prop->maxThreadsPerBlock = prop->maxThreadsDim[0] = prop->maxThreadsDim[1] = 1024;
	prop->maxThreadsDim[2] = 64;
	prop->maxThreadsPerMultiProcessor = 2048;
	prop->maxGridSize[0] = 2147483647;
	prop->maxGridSize[1] = prop->maxGridSize[2] = 65535;
	prop->multiProcessorCount = 4; // few: grids that follow it stay small
	prop->l2CacheSize = 50 << 20;
	prop->memoryBusWidth = 5120;
	capability(&prop->major, &prop->minor);
	return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *bus, int length, int device)
{
	const cudaError_t error = usable(device);

	if (error == cudaSuccess)
		std::snprintf(bus, static_cast<size_t>(length), "0000:%02x:00.0", device);
	return error;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
	cudaDeviceProp prop;
	const cudaError_t error = cudaGetDeviceProperties(&prop, device);

	if (error != cudaSuccess)
		return error;
	switch (attribute) {
	case cudaDevAttrMaxThreadsPerBlock:
		*value = prop.maxThreadsPerBlock;
		break;
	case cudaDevAttrMaxSharedMemoryPerBlock:
		*value = (int)prop.sharedMemPerBlock;
		break;
	case cudaDevAttrMultiProcessorCount:
		*value = prop.multiProcessorCount;
		break;
	case cudaDevAttrMaxThreadsPerMultiProcessor:
		*value = prop.maxThreadsPerMultiProcessor;
		break;
	case cudaDevAttrComputeCapabilityMajor:
		*value = prop.major;
		break;
	case cudaDevAttrComputeCapabilityMinor:
		*value = prop.minor;
		break;
	case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
		*value = (int)prop.sharedMemPerMultiprocessor;
		break;
	case cudaDevAttrMaxSharedMemoryPerBlockOptin:
		*value = (int)prop.sharedMemPerBlockOptin;
		break;
	default:
		return gn_host_error(cudaErrorInvalidValue);
	}
	return cudaSuccess;
}

static const struct {
	cudaError_t error;
	const char *name, *text;
} errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection", "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources", "too many resources requested for launch"},
    {cudaErrorMisalignedAddress, "cudaErrorMisalignedAddress", "misaligned address"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "the capture was not initiated in this stream"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
};

const char *cudaGetErrorString(cudaError_t error)
{
	for (const auto &known : errors)
		if (known.error == error)
			return known.text;
	return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t error)
{
	for (const auto &known : errors)
		if (known.error == error)
			return known.name;
	return "cudaErrorUnknown";
}
