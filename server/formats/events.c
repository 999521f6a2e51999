/* Events of a run as JSON lines: see events.h. */
#include "server/formats/events.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/common/text.h"

enum { MAX_LINE = 8 << 20, BLOCK = 32 * 1024 };

static const char *const KINDS[] = {
    [GN_EVENT_START] = "start",           [GN_EVENT_STEP] = "step",
    [GN_EVENT_EPOCH] = "epoch",           [GN_EVENT_ANGLES] = "angles",
    [GN_EVENT_CHECKPOINT] = "checkpoint", [GN_EVENT_LOG] = "log",
    [GN_EVENT_CHOICE] = "record",
};

/* ---------------------------------------------------------------- writing --------------------- */

json_t *gn_angles_layers(const struct gn_angles *angles)
{
	json_t *layers = json_array();

	for (int i = 0; i < angles->count; i++) {
		const struct gn_layer_angle *layer = &angles->layers[i];
		json_t *tensors = json_array();
		for (int t = 0; t < layer->tensor_count; t++)
			json_array_append_new(tensors, json_pack("{s:s,s:o}", "name", layer->tensors[t].name, "degrees",
			                                         gn_json_real(layer->tensors[t].degrees)));
		json_array_append_new(layers,
		                      json_pack("{s:s,s:i,s:s,s:o,s:i,s:o}", "name", layer->name, "block", layer->block,
		                                "group", gn_group_name(layer->group), "degrees",
		                                gn_json_real(layer->degrees), "rank", layer->rank, "tensors", tensors));
	}
	return layers;
}

int gn_angles_from_layers(struct gn_angles *out, const json_t *layers, struct gn_error *err)
{
	size_t count = json_array_size(layers), i;
	struct gn_angles angles = {.layers = calloc(count + 1, sizeof *angles.layers)};
	json_t *layer;

	if (!angles.layers)
		return gn_fail(err, GN_NO_MEMORY, "", "no memory for angles");
	json_array_foreach((json_t *)(uintptr_t)layers, i, layer)
	{
		struct gn_layer_angle *a = &angles.layers[angles.count++];
		const char *name = json_string_value(json_object_get(layer, "name"));
		const char *group = json_string_value(json_object_get(layer, "group"));
		const json_t *degrees = json_object_get(layer, "degrees");
		snprintf(a->name, sizeof a->name, "%s", name ? name : "");
		a->block = (int)json_integer_value(json_object_get(layer, "block"));
		a->group =
		    group && !strcmp(group, gn_group_name(GN_GROUP_ATTENTION)) ? GN_GROUP_ATTENTION : GN_GROUP_FFN;
		a->degrees = json_is_number(degrees) ? json_number_value(degrees) : NAN;
	}
	*out = angles;
	return 0;
}

json_t *gn_selection_json(const struct gn_selection *selection, enum gn_order order)
{
	json_t *layers = json_array();
	int attention = 0;

	for (int i = 0; i < selection->count; i++) {
		const struct gn_selected_layer *layer = &selection->layers[i];
		attention += layer->group == GN_GROUP_ATTENTION;
		json_array_append_new(layers, json_pack("{s:s,s:i,s:s,s:o}", "name", layer->name, "block", layer->block,
		                                        "group", gn_group_name(layer->group), "degrees",
		                                        gn_json_real(layer->degrees)));
	}
	return json_pack("{s:s,s:i,s:i,s:o}", "order", gn_order_name(order), "attention_layers", attention,
	                 "ffn_layers", selection->count - attention, "layers", layers);
}

/* What the run's record is to show of a choice by a probe. */
static json_t *choice_data(const struct gn_choice *choice)
{
	json_t *selection = gn_selection_json(choice->selection, choice->order), *trials = json_array(),
	       *layers = json_array();

	for (int order = GN_LARGEST; choice->tried && order <= GN_SMALLEST; order++)
		json_array_append_new(trials,
		                      json_pack("{s:s,s:o,s:o}", "order", gn_order_name((enum gn_order)order),
		                                "val_accuracy", gn_json_real(choice->trials[order].val_accuracy),
		                                "val_loss", gn_json_real(choice->trials[order].val_loss)));
	json_object_set_new(selection, "from", json_null());
	json_object_set_new(selection, "trials", choice->tried ? json_incref(trials) : json_null());
	json_decref(trials);
	for (int i = 0; i < choice->selection->count; i++)
		json_array_append_new(layers, json_string(choice->selection->layers[i].name));
	json_array_append_new(layers, json_string("head"));
	return json_pack("{s:o,s:o}", "selection", selection, "tuned_layers", layers);
}

static json_t *progress(const struct gn_event *event)
{
	return json_pack("{s:I,s:I,s:i,s:i}", "step", (json_int_t)event->step, "steps", (json_int_t)event->steps,
	                 "epoch", event->epoch, "epochs", event->epochs);
}

static json_t *kind_data(const struct gn_event *event)
{
	json_t *data;

	switch (event->kind) {
	case GN_EVENT_START:
		data = progress(event);
		json_object_set_new(data, "line", json_string(event->text ? event->text : ""));
		return data;
	case GN_EVENT_STEP:
		data = progress(event);
		json_object_set_new(data, "loss", gn_json_real(event->loss));
		json_object_set_new(data, "lr", gn_json_real(event->lr));
		json_object_set_new(data, "images_per_second", gn_json_real(event->images_per_second));
		json_object_set_new(data, "grad_norm", gn_json_real(event->grad_norm));
		json_object_set_new(data, "eta_seconds", gn_json_real(event->eta_seconds));
		return data;
	case GN_EVENT_EPOCH:
		return json_pack("{s:i,s:o,s:o,s:o,s:o,s:o}", "epoch", event->epoch, "train_loss",
		                 gn_json_real(event->train_loss), "val_loss", gn_json_real(event->val_loss),
		                 "val_accuracy", gn_json_real(event->val_accuracy), "val_macro_f1",
		                 gn_json_real(event->val_macro_f1), "seconds", gn_json_real(event->seconds));
	case GN_EVENT_ANGLES:
		return json_pack("{s:i,s:o}", "epoch", event->epoch, "layers", gn_angles_layers(event->angles));
	case GN_EVENT_CHECKPOINT:
		return json_pack("{s:I,s:i}", "step", (json_int_t)event->step, "epoch", event->epoch);
	case GN_EVENT_CHOICE:
		return choice_data(event->choice);
	case GN_EVENT_LOG:
		break;
	}
	data = json_string(event->text ? event->text : "");
	return json_pack("{s:o}", "line", data ? data : json_string("(a line that is not UTF-8)"));
}

static json_t *event_data(const struct gn_event *event)
{
	json_t *data = kind_data(event);

	if (event->phase && event->kind != GN_EVENT_CHOICE)
		json_object_set_new(data, "phase", json_string(event->phase));
	return data;
}

/* gn_event_split depends on this order of the members. */
char *gn_event_line_of(int64_t id, const char *kind, json_t *data)
{
	char time[GN_TIME_SIZE];
	size_t length;

	gn_time_text(time, gn_now());
	json_t *line = json_pack("{s:I,s:s,s:s,s:o}", "id", (json_int_t)id, "time", time, "event", kind, "data", data);
	char *text = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;
	json_decref(line);
	if (!text)
		return NULL;
	length = strlen(text);
	char *with_newline = realloc(text, length + 2);
	if (!with_newline) {
		free(text);
		return NULL;
	}
	memcpy(with_newline + length, "\n", 2);
	return with_newline;
}

char *gn_event_line(int64_t id, const struct gn_event *event)
{
	return gn_event_line_of(id, KINDS[event->kind], event_data(event));
}

/* ---------------------------------------------------------------- reading --------------------- */

int gn_event_parse(struct gn_event_record *record, const char *line, size_t length)
{
	json_t *value = json_loadb(line, length, 0, NULL);

	record->id = json_integer_value(json_object_get(value, "id"));
	record->kind = json_string_value(json_object_get(value, "event"));
	record->data = json_object_get(value, "data");
	record->value = value;
	if (record->id > 0 && record->kind && json_is_object(record->data))
		return 0;
	json_decref(value);
	record->value = NULL;
	return -1;
}

/* Takes `mark` off the front of [*at, end). -1: something else stands there. */
static int skip(const char **at, const char *end, const char *mark)
{
	size_t size = strlen(mark);

	if ((size_t)(end - *at) < size || memcmp(*at, mark, size) != 0)
		return -1;
	*at += size;
	return 0;
}

/* What stands before `mark` in [*at, end); *at is then past the mark. -1: no such mark. */
static int take(const char **part, size_t *size, const char **at, const char *end, const char *mark)
{
	const char *hit = memmem(*at, (size_t)(end - *at), mark, strlen(mark));

	if (!hit)
		return -1;
	*part = *at;
	*size = (size_t)(hit - *at);
	*at = hit + strlen(mark);
	return 0;
}

int gn_event_split(struct gn_event_parts *parts, const char *line, size_t length)
{
	const char *at = line, *end = line + length, *number, *time;
	size_t digits, time_size;

	if (skip(&at, end, "{\"id\":") || take(&number, &digits, &at, end, ",\"time\":\"") || digits < 1 ||
	    digits > 18 || take(&time, &time_size, &at, end, "\",\"event\":\"") ||
	    take(&parts->kind, &parts->kind_size, &at, end, "\",\"data\":") || end - at < 3 || *at != '{' ||
	    memcmp(end - 2, "}}", 2) != 0)
		return -1;
	parts->id = 0;
	for (size_t i = 0; i < digits; i++) {
		if (number[i] < '0' || number[i] > '9')
			return -1;
		parts->id = 10 * parts->id + (number[i] - '0');
	}
	parts->data = at;
	parts->data_size = (size_t)(end - 1 - at);
	return 0;
}

void gn_event_lines_init(struct gn_event_lines *lines, uint64_t offset)
{
	*lines = (struct gn_event_lines){.fd = -1, .offset = offset};
}

void gn_event_lines_release(struct gn_event_lines *lines)
{
	if (lines->fd >= 0)
		close(lines->fd);
	free(lines->buffer);
	gn_event_lines_init(lines, 0);
}

static int make_room(struct gn_event_lines *lines)
{
	size_t wanted = lines->capacity ? lines->capacity : 2 * (size_t)BLOCK;
	char *grown;

	if (lines->at)
		memmove(lines->buffer, lines->buffer + lines->at, lines->used - lines->at);
	lines->used -= lines->at;
	lines->at = 0;
	if (lines->used > MAX_LINE) {
		errno = EFBIG;
		return -1;
	}
	while (wanted < lines->used + BLOCK)
		wanted *= 2;
	if (wanted == lines->capacity)
		return 0;
	grown = realloc(lines->buffer, wanted);
	if (!grown)
		return -1;
	lines->buffer = grown;
	lines->capacity = wanted;
	return 0;
}

/* 1: more bytes are there; 0: the file has none for now; -1: it cannot be read. */
static int read_block(struct gn_event_lines *lines, const char *path)
{
	ssize_t n;

	if (lines->fd < 0)
		lines->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (lines->fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (make_room(lines))
		return -1;
	n = pread(lines->fd, lines->buffer + lines->used, BLOCK, (off_t)lines->offset);
	if (n <= 0)
		return n < 0 && errno != EINTR ? -1 : 0;
	lines->offset += (uint64_t)n;
	lines->used += (size_t)n;
	return 1;
}

int gn_event_lines_next(struct gn_event_lines *lines, const char *path, const char **line, size_t *length)
{
	size_t searched = 0;

	for (;;) {
		size_t there = lines->used - lines->at;
		const char *from = there ? lines->buffer + lines->at : NULL,
		           *lf = there > searched ? memchr(from + searched, '\n', there - searched) : NULL;
		int more;

		if (lf) {
			*line = from;
			*length = (size_t)(lf - from);
			lines->at += *length + 1;
			return 1;
		}
		searched = there;
		more = read_block(lines, path);
		if (more <= 0)
			return more;
	}
}

uint64_t gn_event_lines_given(const struct gn_event_lines *lines)
{
	return lines->offset - (lines->used - lines->at);
}

int gn_events_read(const char *path, bool (*visit)(void *user, const struct gn_event_record *record), void *user,
                   struct gn_error *err)
{
	struct gn_event_lines lines;
	struct gn_event_record record;
	const char *line;
	size_t length;
	bool wanted = true;
	int more = 0;

	gn_event_lines_init(&lines, 0);
	/* a last line without its newline is still being written */
	while (wanted && (more = gn_event_lines_next(&lines, path, &line, &length)) > 0) {
		if (gn_event_parse(&record, line, length))
			continue;
		wanted = visit(user, &record);
		json_decref(record.value);
	}
	if (more < 0)
		gn_fail_errno(err, "", "reading a job's events");
	gn_event_lines_release(&lines);
	return more < 0 ? -1 : 0;
}

static bool keep_last(void *user, const struct gn_event_record *record)
{
	int64_t *last = user;

	if (record->id > *last)
		*last = record->id;
	return true;
}

int64_t gn_events_last_id(const char *path)
{
	int64_t last = 0;

	gn_events_read(path, keep_last, &last, NULL);
	return last;
}
