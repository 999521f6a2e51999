/* What GN_LAUNCH and the memory macros of engine/backend/cuda/launch.h become on the host. */
#ifndef GN_HOST_LAUNCH_H
#define GN_HOST_LAUNCH_H

#include <tuple>
#include <vector>

#include "../cuda_runtime_api.h"

/* One argument of a kernel, in the host's memory. */
struct gn_host_argument {
	const void *value;
	size_t bytes;
};

/* A kernel with its arguments, copied at the launch as CUDA copies them. */
struct gn_host_kernel {
	const char *name;
	const void *function;
	dim3 grid, block;
	size_t shared;
	void *arguments;
	size_t argument_bytes;
	void (*call)(const void *arguments);
	void (*free_arguments)(void *arguments);
	std::vector<gn_host_argument> (*list)(const void *arguments);
};

/* Takes the arguments over, whatever becomes of the launch. Errors come from cudaGetLastError, as
 * CUDA's do. */
void gn_host_submit(const struct gn_host_kernel *kernel, cudaStream_t stream);

void gn_host_carve(void *pointer, size_t bytes);
void gn_host_close(void *pointer, size_t bytes);

template <typename... parameters> struct gn_host_arguments {
	void (*kernel)(parameters...);
	std::tuple<parameters...> values;

	static void call(const void *arguments)
	{
		const gn_host_arguments *self = static_cast<const gn_host_arguments *>(arguments);

		std::apply(self->kernel, self->values);
	}
	static void free_arguments(void *arguments)
	{
		delete static_cast<gn_host_arguments *>(arguments);
	}
	static std::vector<gn_host_argument> list(const void *arguments)
	{
		const gn_host_arguments *self = static_cast<const gn_host_arguments *>(arguments);

		return std::apply(
		    [](const parameters &...value) {
			    return std::vector<gn_host_argument>{{&value, sizeof value}...};
		    },
		    self->values);
	}
};

template <typename... parameters, typename... given>
static inline void gn_host_launch(const char *name, void (*kernel)(parameters...), dim3 grid, dim3 block, size_t shared,
                                  cudaStream_t stream, given... values)
{
	typedef gn_host_arguments<parameters...> arguments;
	struct gn_host_kernel launch;

	launch.name = name;
	launch.function = reinterpret_cast<const void *>(kernel);
	launch.grid = grid;
	launch.block = block;
	launch.shared = shared;
	launch.arguments = new arguments{kernel, std::tuple<parameters...>(static_cast<parameters>(values)...)};
	launch.argument_bytes = sizeof(arguments);
	launch.call = arguments::call;
	launch.free_arguments = arguments::free_arguments;
	launch.list = arguments::list;
	gn_host_submit(&launch, stream);
}

#endif
