// Stream capture, and the replay of what was captured.
//
// A graph is the list of captured operations, each with its branch (the capturing stream is branch
// 0, every stream that joined by an event another) and what it has to wait for. A replay submits
// them again: branch 0 to the stream of the launch, the others to streams of the executable graph
// that nobody else sees.
#include <algorithm>
#include <thread>

#include "queue.h"

namespace
{
struct node {
	std::shared_ptr<gn_host_operation> operation;
	size_t branch;
	std::vector<size_t> after; // nodes, by one more than their index
};
} // namespace

struct gn_host_graph {
	std::vector<node> nodes;
	size_t branches;
	std::vector<size_t> tail; // what a stream that launches the graph waits for at its end
};

struct gn_host_capture {
	gn_host_graph graph;
	std::vector<gn_host_stream *> streams;  // by branch
	std::vector<size_t> last;               // by branch: its last node
	std::vector<std::vector<size_t>> after; // by branch: what its next node waits for beside
	bool invalid;
	cudaStreamCaptureMode mode;
	std::thread::id owner;
};

struct gn_host_graph_exec {
	gn_host_graph graph;
	std::vector<gn_host_stream *> streams; // by branch; [0] is NULL
};

static std::vector<gn_host_capture *> captures;
static size_t graphs;

// Whether a capture forbids the calling thread what would disturb it: its own, unless relaxed, and
// a global one of any thread.
bool gn_host_any_capture()
{
	for (const gn_host_capture *capture : captures)
		if (capture->mode == cudaStreamCaptureModeGlobal ||
		    (capture->mode == cudaStreamCaptureModeThreadLocal && capture->owner == std::this_thread::get_id()))
			return true;
	return false;
}

size_t gn_host_open_graphs()
{
	return graphs;
}

static size_t add_branch(gn_host_capture *capture, gn_host_stream *stream)
{
	capture->streams.push_back(stream);
	capture->last.push_back(0);
	capture->after.emplace_back();
	stream->capture = capture;
	stream->branch = capture->streams.size() - 1;
	return stream->branch;
}

void gn_host_capture_append(gn_host_stream *stream, std::shared_ptr<gn_host_operation> operation)
{
	gn_host_capture *capture = stream->capture;
	const size_t branch = stream->branch;
	node fresh{std::move(operation), branch, std::move(capture->after[branch])};

	capture->after[branch].clear();
	if (capture->last[branch])
		fresh.after.push_back(capture->last[branch]);
	capture->graph.nodes.push_back(std::move(fresh));
	capture->last[branch] = capture->graph.nodes.size();
}

// An event in a captured stream stands for the last node, and for what the stream was told to wait
// for since.
void gn_host_capture_mark(gn_host_stream *stream, gn_host_mark *mark)
{
	struct nothing : gn_host_operation {
		void run() override
		{
		}
	};

	if (!stream->capture->after[stream->branch].empty())
		gn_host_capture_append(stream, std::make_shared<nothing>());
	mark->capture = stream->capture;
	mark->node = stream->capture->last[stream->branch];
}

cudaError_t gn_host_capture_wait(gn_host_stream *stream, const gn_host_mark &mark)
{
	if (!mark.capture || (stream->capture && stream->capture != mark.capture)) {
		if (stream->capture)
			stream->capture->invalid = true;
		return cudaErrorStreamCaptureIsolation;
	}
	if (!mark.stream->capture)
		return cudaErrorInvalidValue; // that capture is over
	if (!stream->capture)
		add_branch(mark.capture, stream);
	if (mark.node && mark.node != mark.capture->last[stream->branch])
		mark.capture->after[stream->branch].push_back(mark.node);
	return cudaSuccess;
}

cudaError_t gn_host_capture_refuse(gn_host_stream *stream)
{
	stream->capture->invalid = true;
	return cudaErrorStreamCaptureUnsupported;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode mode)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	gn_host_stream *stream = gn_host_stream_of(handle);

	if (!stream)
		return gn_host_error(cudaErrorInvalidResourceHandle);
	if (stream == gn_host_default_stream())
		return gn_host_error(cudaErrorStreamCaptureUnsupported);
	if (stream->capture)
		return gn_host_error(cudaErrorInvalidValue);
	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_GRAPH))
		return gn_host_error(error);
	gn_host_capture *capture = new gn_host_capture{};
	capture->mode = mode;
	capture->owner = std::this_thread::get_id();
	add_branch(capture, stream);
	captures.push_back(capture);
	return gn_host_error(cudaSuccess);
}

// Whether the end of every branch leads to the end of branch 0.
static bool all_joined(const gn_host_capture &capture)
{
	std::vector<bool> reached(capture.graph.nodes.size() + 1);
	std::vector<size_t> left = capture.after[0];

	left.push_back(capture.last[0]);
	while (!left.empty()) {
		const size_t at = left.back();

		left.pop_back();
		if (!at || reached[at])
			continue;
		reached[at] = true;
		const std::vector<size_t> &before = capture.graph.nodes[at - 1].after;
		left.insert(left.end(), before.begin(), before.end());
	}
	for (size_t last : capture.last)
		if (last && !reached[last])
			return false;
	return true;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t *graph)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	gn_host_stream *stream = gn_host_stream_of(handle);

	*graph = nullptr;
	if (!stream)
		return gn_host_error(cudaErrorInvalidResourceHandle);
	gn_host_capture *capture = stream->capture;
	if (!capture)
		return gn_host_error(cudaErrorInvalidValue);
	if (stream->branch != 0)
		return gn_host_error(cudaErrorStreamCaptureUnmatched);
	cudaError_t error = gn_host_refuses(GN_HOST_CALL_GRAPH); // the capture ends all the same
	if (error == cudaSuccess && capture->invalid)
		error = cudaErrorStreamCaptureInvalidated;
	else if (error == cudaSuccess && !all_joined(*capture))
		error = cudaErrorStreamCaptureUnjoined;
	for (gn_host_stream *each : capture->streams)
		each->capture = nullptr;
	if (error == cudaSuccess) {
		*graph = new gn_host_graph(std::move(capture->graph));
		(*graph)->branches = capture->streams.size();
		(*graph)->tail = std::move(capture->after[0]);
		graphs++;
	}
	captures.erase(std::find(captures.begin(), captures.end(), capture));
	delete capture;
	return gn_host_error(error);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t handle, cudaStreamCaptureStatus *status)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	gn_host_stream *stream = gn_host_stream_of(handle);

	if (!stream)
		return gn_host_error(cudaErrorInvalidResourceHandle);
	if (!stream->capture)
		*status = cudaStreamCaptureStatusNone;
	else
		*status = stream->capture->invalid ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *count)
{
	if (!graph || nodes) // no node has a handle of its own here
		return gn_host_error(cudaErrorNotSupported);
	*count = graph->nodes.size();
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (!graph)
		return gn_host_error(cudaErrorInvalidValue);
	*exec = nullptr;
	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_GRAPH))
		return gn_host_error(error);
	*exec = new gn_host_graph_exec{*graph, {nullptr}};
	for (size_t branch = 1; branch < graph->branches; branch++)
		(*exec)->streams.push_back(gn_host_new_stream(false, true));
	graphs++;
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t)
{
	return gn_host_error(exec ? cudaSuccess : cudaErrorInvalidValue);
}

static void submit_nodes(gn_host_graph_exec *exec, gn_host_stream *main)
{
	const uint64_t start = main->submitted;
	const gn_host_clock start_clock = main->clock;
	std::vector<gn_host_dependency> at; // by node: where it was submitted
	std::vector<gn_host_clock> clocks;

	for (const node &node : exec->graph.nodes) {
		gn_host_stream *stream = node.branch ? exec->streams[node.branch] : main;

		if (stream != main)
			gn_host_order(stream, main, start, start_clock);
		for (size_t before : node.after)
			gn_host_order(stream, at[before - 1].stream, at[before - 1].number, clocks[before - 1]);
		at.push_back(gn_host_dependency{stream, gn_host_append(stream, node.operation)});
		clocks.push_back(stream->clock);
	}
	for (size_t before : exec->graph.tail)
		gn_host_order(main, at[before - 1].stream, at[before - 1].number, clocks[before - 1]);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t handle)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	gn_host_stream *stream = gn_host_stream_of(handle);

	if (!exec || !stream)
		return gn_host_error(cudaErrorInvalidResourceHandle);
	// a graph inside a graph: nothing here needs it
	if (stream->capture)
		return gn_host_error(gn_host_capture_refuse(stream));
	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_GRAPH))
		return gn_host_error(error);
	submit_nodes(exec, stream);
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (!exec)
		return gn_host_error(cudaErrorInvalidValue);
	gn_host_wait_all();
	for (gn_host_stream *stream : exec->streams)
		if (stream)
			stream->closed = true;
	delete exec;
	graphs--;
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (!graph)
		return gn_host_error(cudaErrorInvalidValue);
	delete graph;
	graphs--;
	return gn_host_error(cudaSuccess);
}
