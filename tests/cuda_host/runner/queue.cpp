// Streams run lazily: an operation runs when something waits for it and not before, so that a
// program that forgets to wait reads old data here every time and not only now and then. Clocks are
// those of the submissions: what each operation is known to come after, by its stream, by events,
// and by what the host had waited for.
#include <algorithm>
#include <ctime>

#include "queue.h"

enum { WAITING_MAX = 4096 }; // then all run: bounds the memory of the queues

static struct {
	std::vector<gn_host_stream *> *streams;
	gn_host_clock *host; // what the host has waited for
	size_t waiting, events;
	uint32_t next_serial;
} state;

static double seconds()
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void gn_host_join(gn_host_clock &into, const gn_host_clock &from)
{
	if (into.size() < from.size())
		into.resize(from.size());
	for (size_t i = 0; i < from.size(); i++)
		into[i] = std::max(into[i], from[i]);
}

static uint64_t known(const gn_host_clock &clock, size_t stream)
{
	return stream < clock.size() ? clock[stream] : 0;
}

// ---- running ----

// The smallest serial number among operations that are not known to come before one with this
// clock.
static uint32_t floor_of(const gn_host_clock &clock)
{
	uint32_t floor = state.next_serial;

	for (const gn_host_stream *stream : *state.streams) {
		const uint64_t before = known(clock, stream->index);

		if (stream->done.empty() || stream->done.back().number <= before)
			continue;
		auto first =
		    std::upper_bound(stream->done.begin(), stream->done.end(), before,
		                     [](uint64_t number, const gn_host_done &done) { return number < done.number; });
		floor = std::min(floor, first->first_serial);
	}
	return floor;
}

bool gn_host_comes_before(uint32_t serial)
{
	for (const gn_host_stream *stream : *state.streams) {
		auto after = std::upper_bound(
		    stream->done.begin(), stream->done.end(), serial,
		    [](uint32_t value, const gn_host_done &done) { return value < done.first_serial; });

		if (after == stream->done.begin())
			continue;
		const gn_host_done &done = *std::prev(after);
		if (serial - done.first_serial < done.serials)
			return done.number <= known(*gn_host_running.clock, stream->index);
	}
	return true; // the host has waited for it
}

static void run_item(gn_host_stream *stream, const gn_host_item &item)
{
	if (!state.next_serial)
		state.next_serial = 1;
	if (gn_host_stuck() != cudaSuccess)
		return;
	const uint32_t serials = item.operation->serials();
	gn_host_running.floor = floor_of(item.clock);
	gn_host_running.first_serial = state.next_serial;
	gn_host_running.serials = serials;
	gn_host_running.clock = &item.clock;
	state.next_serial += serials;
	item.operation->run();
	stream->done.push_back(gn_host_done{item.number, gn_host_running.first_serial, serials});
}

// Runs the stream's operations up to a number, and before each what it depends on.
static void drain(gn_host_stream *stream, uint64_t number)
{
	while (stream->executed < number && !stream->waiting.empty()) {
		gn_host_item item = std::move(stream->waiting.front());

		stream->waiting.pop_front();
		state.waiting--;
		for (const gn_host_dependency &first : item.dependencies)
			drain(first.stream, first.number);
		run_item(stream, item);
		stream->executed = item.number;
	}
}

// The host knows now that everything before this clock is done.
static void host_joins(const gn_host_clock &clock)
{
	gn_host_join(*state.host, clock);
	for (gn_host_stream *stream : *state.streams)
		while (!stream->done.empty() && stream->done.front().number <= known(*state.host, stream->index))
			stream->done.pop_front();
}

static void wait_for(gn_host_stream *stream)
{
	drain(stream, stream->submitted);
	host_joins(stream->clock);
}

void gn_host_wait_all()
{
	if (!state.streams)
		return;
	for (gn_host_stream *stream : *state.streams)
		drain(stream, stream->submitted);
	for (gn_host_stream *stream : *state.streams)
		host_joins(stream->clock);
}

// ---- submitting ----

gn_host_stream *gn_host_new_stream(bool blocking, bool hidden)
{
	if (!state.streams) {
		state.streams = new std::vector<gn_host_stream *>;
		state.host = new gn_host_clock;
	}
	gn_host_stream *stream = new gn_host_stream{};
	stream->index = state.streams->size();
	stream->blocking = blocking;
	stream->hidden = hidden;
	state.streams->push_back(stream);
	return stream;
}

gn_host_stream *gn_host_default_stream()
{
	static gn_host_stream *stream = gn_host_new_stream(true, true);

	return stream;
}

gn_host_stream *gn_host_stream_of(cudaStream_t stream)
{
	if (!stream || stream == cudaStreamLegacy)
		return gn_host_default_stream();
	if (state.streams && std::find(state.streams->begin(), state.streams->end(), stream) != state.streams->end())
		return stream->closed ? nullptr : stream;
	return nullptr;
}

void gn_host_order(gn_host_stream *stream, gn_host_stream *first, uint64_t number, const gn_host_clock &clock)
{
	if (number && first != stream)
		stream->next.push_back(gn_host_dependency{first, number});
	gn_host_join(stream->clock, clock);
}

// The legacy default stream waits for all blocking streams, and they for it.
static void order_with_default(gn_host_stream *stream)
{
	gn_host_stream *const main = gn_host_default_stream();

	if (!stream->blocking)
		return;
	if (stream != main) {
		gn_host_order(stream, main, main->submitted, main->clock);
		return;
	}
	for (gn_host_stream *other : *state.streams)
		if (other != main && other->blocking)
			gn_host_order(main, other, other->submitted, other->clock);
}

uint64_t gn_host_append(gn_host_stream *stream, std::shared_ptr<gn_host_operation> operation)
{
	order_with_default(stream);
	gn_host_join(stream->clock, *state.host);
	const uint64_t number = ++stream->submitted;
	if (stream->clock.size() <= stream->index)
		stream->clock.resize(stream->index + 1);
	stream->clock[stream->index] = number;
	stream->waiting.push_back(gn_host_item{std::move(operation), number, stream->clock, std::move(stream->next)});
	stream->next.clear();
	if (++state.waiting > WAITING_MAX)
		for (gn_host_stream *each : *state.streams)
			drain(each, each->submitted);
	return number;
}

void gn_host_enqueue(cudaStream_t handle, std::shared_ptr<gn_host_operation> operation)
{
	gn_host_stream *stream = gn_host_stream_of(handle);

	if (!stream) {
		gn_host_found(GN_HOST_BAD_CALL, nullptr, "an operation for a stream that is not open");
		gn_host_error(cudaErrorInvalidResourceHandle);
		return;
	}
	if (stream->capture)
		gn_host_capture_append(stream, std::move(operation));
	else
		gn_host_append(stream, std::move(operation));
}

// ---- streams ----

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
	return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned int flags, int)
{
	return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned int flags)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	*stream = nullptr;
	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_EVENT))
		return gn_host_error(error);
	*stream = gn_host_new_stream(!(flags & cudaStreamNonBlocking), false);
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	gn_host_stream *stream = handle ? gn_host_stream_of(handle) : nullptr;

	if (!stream || stream->hidden)
		return gn_host_error(cudaErrorInvalidResourceHandle);
	drain(stream, stream->submitted);
	stream->closed = true;
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	gn_host_stream *stream = gn_host_stream_of(handle);

	if (!stream)
		return gn_host_error(cudaErrorInvalidResourceHandle);
	if (stream->capture)
		return gn_host_error(gn_host_capture_refuse(stream));
	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_WAIT))
		return gn_host_error(error);
	order_with_default(stream);
	for (const gn_host_dependency &first : stream->next)
		drain(first.stream, first.number);
	wait_for(stream);
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaStreamQuery(cudaStream_t handle)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	gn_host_stream *stream = gn_host_stream_of(handle);

	if (!stream)
		return gn_host_error(cudaErrorInvalidResourceHandle);
	if (stream->capture)
		return gn_host_error(gn_host_capture_refuse(stream));
	// The first question after new work finds it unfinished, the next one finished.
	if (stream->executed < stream->submitted) {
		drain(stream, stream->submitted);
		return gn_host_stuck() != cudaSuccess ? gn_host_error(cudaSuccess) : cudaErrorNotReady;
	}
	host_joins(stream->clock);
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaDeviceSynchronize()
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (gn_host_any_capture())
		return gn_host_error(cudaErrorStreamCaptureUnsupported);
	gn_host_wait_all();
	return gn_host_error(cudaSuccess);
}

size_t gn_host_open_streams()
{
	size_t open = 0;

	if (state.streams)
		for (const gn_host_stream *stream : *state.streams)
			open += !stream->closed && !stream->hidden;
	return open;
}

// ---- events ----

namespace
{
struct record_operation : gn_host_operation {
	std::shared_ptr<gn_host_mark> mark;

	void run() override
	{
		mark->when = seconds();
	}
};
} // namespace

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
	return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned int flags)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	*event = nullptr;
	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_EVENT))
		return gn_host_error(error);
	*event = new gn_host_event{nullptr, !(flags & cudaEventDisableTiming)};
	state.events++;
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (!event)
		return gn_host_error(cudaErrorInvalidResourceHandle);
	delete event;
	state.events--;
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	gn_host_stream *stream = gn_host_stream_of(handle);

	if (!stream || !event)
		return gn_host_error(cudaErrorInvalidResourceHandle);
	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_EVENT))
		return gn_host_error(error);
	event->mark = std::make_shared<gn_host_mark>();
	event->mark->stream = stream;
	if (stream->capture) {
		gn_host_capture_mark(stream, event->mark.get());
		return gn_host_error(cudaSuccess);
	}
	auto record = std::make_shared<record_operation>();
	record->mark = event->mark;
	event->mark->number = gn_host_append(stream, record);
	event->mark->clock = stream->clock;
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned int)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());
	gn_host_stream *stream = gn_host_stream_of(handle);

	if (!stream || !event)
		return gn_host_error(cudaErrorInvalidResourceHandle);
	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_EVENT))
		return gn_host_error(error);
	if (!event->mark)
		return gn_host_error(cudaSuccess);
	if (event->mark->capture || stream->capture)
		return gn_host_error(gn_host_capture_wait(stream, *event->mark));
	gn_host_order(stream, event->mark->stream, event->mark->number, event->mark->clock);
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (!event)
		return gn_host_error(cudaErrorInvalidResourceHandle);
	if (!event->mark)
		return gn_host_error(cudaSuccess);
	if (event->mark->capture)
		return gn_host_error(cudaErrorStreamCaptureUnsupported);
	if (const cudaError_t error = gn_host_refuses(GN_HOST_CALL_WAIT))
		return gn_host_error(error);
	drain(event->mark->stream, event->mark->number);
	host_joins(event->mark->clock);
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (!event)
		return gn_host_error(cudaErrorInvalidResourceHandle);
	if (event->mark && event->mark->stream->executed < event->mark->number) {
		drain(event->mark->stream, event->mark->number);
		return gn_host_stuck() != cudaSuccess ? gn_host_error(cudaSuccess) : cudaErrorNotReady;
	}
	if (event->mark)
		host_joins(event->mark->clock);
	return gn_host_error(cudaSuccess);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
	std::lock_guard<std::recursive_mutex> guard(gn_host_lock());

	if (!start || !end || !start->mark || !end->mark || !start->timing || !end->timing)
		return gn_host_error(cudaErrorInvalidResourceHandle);
	if (start->mark->when == 0 || end->mark->when == 0)
		return gn_host_error(cudaErrorNotReady);
	*milliseconds = (float)((end->mark->when - start->mark->when) * 1e3);
	return gn_host_error(cudaSuccess);
}

size_t gn_host_open_events()
{
	return state.events;
}
