/* Streams and events, as graph.cpp sees them. */
#ifndef GN_HOST_QUEUE_H
#define GN_HOST_QUEUE_H

#include <deque>

#include "internal.h"

/* An operation of another stream that has to come first. */
struct gn_host_dependency {
	gn_host_stream *stream;
	uint64_t number;
};

struct gn_host_item {
	std::shared_ptr<gn_host_operation> operation;
	uint64_t number;
	gn_host_clock clock;
	std::vector<gn_host_dependency> dependencies;
};

/* Which serial numbers an operation took when it ran. */
struct gn_host_done {
	uint64_t number;
	uint32_t first_serial, serials;
};

struct gn_host_capture;

/* Streams are never deleted, only closed: what depends on one may outlive it. */
struct gn_host_stream {
	size_t index; /* in every clock */
	bool blocking, closed, hidden;
	uint64_t submitted, executed; /* numbers of operations, from 1 */
	std::deque<gn_host_item> waiting;
	gn_host_clock clock;
	std::vector<gn_host_dependency> next; /* what the next operation has to wait for */
	std::deque<gn_host_done> done;        /* what the host has not waited for yet */
	gn_host_capture *capture;
	size_t branch; /* of the capture */
};

/* One recording of an event. */
struct gn_host_mark {
	gn_host_stream *stream;
	uint64_t number;
	gn_host_clock clock;
	double when; /* seconds; 0 until it ran */
	gn_host_capture *capture;
	size_t node; /* of the capture: one more than its index, 0: the capture's start */
};

struct gn_host_event {
	std::shared_ptr<gn_host_mark> mark; /* NULL: never recorded */
	bool timing;
};

gn_host_stream *gn_host_new_stream(bool blocking, bool hidden);
gn_host_stream *gn_host_default_stream();
/* NULL: not a stream that is open. The default stream for its names. */
gn_host_stream *gn_host_stream_of(cudaStream_t stream);
void gn_host_join(gn_host_clock &into, const gn_host_clock &from);
/* Appends to the stream, which captures nothing. Returns the operation's number. */
uint64_t gn_host_append(gn_host_stream *stream, std::shared_ptr<gn_host_operation> operation);
/* The next operation of `stream` waits for operation `number` of `first`. */
void gn_host_order(gn_host_stream *stream, gn_host_stream *first, uint64_t number, const gn_host_clock &clock);

/* ---- graph.cpp ---- */
void gn_host_capture_append(gn_host_stream *stream, std::shared_ptr<gn_host_operation> operation);
void gn_host_capture_mark(gn_host_stream *stream, gn_host_mark *mark);
cudaError_t gn_host_capture_wait(gn_host_stream *stream, const gn_host_mark &mark);
/* A call that a capture does not allow; the capture is of no use from then on. */
cudaError_t gn_host_capture_refuse(gn_host_stream *stream);

#endif
