/*
 * Events of a job as JSON: the lines of DIR/events.ndjson, written by workers and read by the
 * service.
 *
 * A line is {"id":N,"time":"...","event":KIND,"data":{...}}. Ids count up from 1 through all
 * attempts of a job; KIND and data are those of GET /v1/runs/{id}/events:
 *   start       {"step","steps","epoch","epochs","line"}
 *   step        {"step","steps","epoch","epochs","loss","lr","images_per_second","grad_norm","eta_seconds"}
 *   epoch       {"epoch","train_loss","val_loss","val_accuracy","val_macro_f1","seconds"}; val_* null without validation
 *   angles      {"epoch","layers":[{"name","block","group","degrees","rank","tensors":[{"name","degrees"}]}]}
 *   checkpoint  {"step","epoch"}
 *   log         {"line"}
 *   progress    {"done","total","eta_seconds"}: of jobs that are not runs
 *   record      members of the job's resource that the worker has found out, such as what each ingredient of a soup reached; of a run
 *               with a probe {"selection","tuned_layers"}
 *   status      {"status",...}: written by the service
 * In a run with a probe all but record and status have "phase": "probe", "trial_largest",
 * "trial_smallest" or "tuning"; steps and epochs are those of the phase. A resumed run continues at
 * its last checkpoint, so steps and epochs may come twice. Then the later one counts.
 */
#ifndef GN_SERVER_EVENTJSON_H
#define GN_SERVER_EVENTJSON_H

#include <jansson.h>

#include "gonio.h"

/* The line of an event, with its newline. NULL: out of memory. Caller frees. */
char *gn_event_line(int64_t id, const struct gn_event *event);
/* The same for any kind and data. data is stolen. */
char *gn_event_line_of(int64_t id, const char *kind, json_t *data);
/* The layers of angles as a JSON array, as in the resource. New reference. */
json_t *gn_angles_layers(const struct gn_angles *angles);
/* The reverse: names, blocks, groups and degrees, which is all that a selection reads. Caller
 * releases. */
int gn_angles_from_layers(struct gn_angles *out, const json_t *layers, struct gn_error *err);
/* {"order","attention_layers","ffn_layers","layers":[{"name","block","group","degrees"}]}. New
 * reference. */
json_t *gn_selection_json(const struct gn_selection *selection, enum gn_order order);

/* One parsed line. */
struct gn_event_record {
	int64_t id;
	const char *kind;   /* borrowed from value */
	const json_t *data; /* borrowed from value */
	json_t *value;      /* the whole object */
};
/* Parses one line of `length` bytes, with or without its newline. Returns -1 for a line that is cut
 * off or not an event. Such a line is to be skipped, because a killed worker may leave a
 * half-written line. The caller decrefs record->value. */
int gn_event_parse(struct gn_event_record *record, const char *line, size_t length);
/* The parts of a line as they stand in it. Splitting costs no parsing, so the replay of a long run
 * is cheap. */
struct gn_event_parts {
	int64_t id;
	const char *kind, *data; /* borrowed from the line */
	size_t kind_size, data_size;
};
/* Splits a line of `length` bytes without its newline, as gn_event_line and gn_event_line_of print
 * it. -1: it is another. */
int gn_event_split(struct gn_event_parts *parts, const char *line, size_t length);

/* The whole lines of an event file, one after the other, while it grows. */
struct gn_event_lines {
	int fd;          /* -1: not open yet */
	uint64_t offset; /* in the file, of what is read next */
	/* What was read: lines, of which those before `at` were given, and the beginning of the
	 * next. */
	char *buffer;
	size_t at, used, capacity;
};
/* Starts after the first `offset` bytes, which must be whole lines. */
void gn_event_lines_init(struct gn_event_lines *lines, uint64_t offset);
void gn_event_lines_release(struct gn_event_lines *lines);
/* The next line of the file at path, without its newline; borrowed until the next call. 1; 0: no
 * whole line follows for now, or there is no file; -1: it cannot be read, or has a line of more
 * than 8 MB. */
int gn_event_lines_next(struct gn_event_lines *lines, const char *path, const char **line, size_t *length);
/* Bytes of the file up to the end of the last line that was given. */
uint64_t gn_event_lines_given(const struct gn_event_lines *lines);

/* Calls visit for each whole line of the file, in order, until it returns false. A missing file has
 * no lines. */
int gn_events_read(const char *path, bool (*visit)(void *user, const struct gn_event_record *record), void *user,
                   struct gn_error *err);
/* The largest id in the file, or 0 if there is none. */
int64_t gn_events_last_id(const char *path);

/* ---------------------------------------------------------------- a live source --------------- */

/* Where a stream takes events from. All is called by one thread at a time. */
struct gn_event_source {
	/* 1: the next event, whose parts stay until the next call; 0: there is none for now; -1:
	 * the source broke. */
	int (*next)(void *source, struct gn_event_parts *event);
	/* Whether no event will come after those that next gives now. */
	bool (*ended)(void *source);
	/* From here to close, wake(user) is called from other threads whenever there may be more.
	 * At most once. -1: too many listen. */
	int (*listen)(void *source, void (*wake)(void *user), void *user, struct gn_error *err);
	void (*close)(void *source);
	void *source;
};

#endif
