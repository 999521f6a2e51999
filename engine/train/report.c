/* What a run tells its caller: events, the log, and whether the caller wants it to stop. */
#include "train/trainer.h"

#include <stdarg.h>
#include <stdio.h>

#define STEP_EVENT_SECONDS 0.05 /* small models take thousands of steps a second; nobody reads that many */

bool gn_train_stopped(const struct gn_trainer *t)
{
	return t->options->stop && *t->options->stop;
}

void gn_train_emit(struct gn_trainer *t, struct gn_event *event)
{
	event->step = t->progress.step;
	event->steps = t->plan.steps;
	event->epochs = t->config.epochs;
	if (t->options->on_event)
		t->options->on_event(t->options->user, event);
}

void gn_train_log(struct gn_trainer *t, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	gn_train_emit(t, &(struct gn_event){.kind = GN_EVENT_LOG, .epoch = t->progress.epoch, .text = text});
}

void gn_train_report_step(struct gn_trainer *t, const struct gn_step *step)
{
	bool last = t->progress.epoch_steps == t->plan.steps_per_epoch;
	double rate;

	if (!last && t->started - t->last_step_event < STEP_EVENT_SECONDS)
		return;
	t->last_step_event = t->started;
	rate = (double)t->attempt_images / t->attempt_seconds;
	gn_train_emit(t, &(struct gn_event){.kind = GN_EVENT_STEP,
	                                    .epoch = t->progress.epoch + 1,
	                                    .loss = step->loss,
	                                    .lr = step->lr,
	                                    .grad_norm = step->grad_norm,
	                                    .images_per_second = rate,
	                                    .eta_seconds = (double)(t->plan.steps - t->progress.step) *
	                                                   (double)t->config.batch_size / rate});
}

void gn_train_report_start(struct gn_trainer *t, bool resumed)
{
	char text[160];

	if (resumed)
		snprintf(text, sizeof text, "going on from step %lld of %lld", (long long)t->progress.step,
		         (long long)t->plan.steps);
	else
		snprintf(text, sizeof text, "%lld steps, micro-batches of %d", (long long)t->plan.steps,
		         t->plan.micro_batch_size);
	gn_train_emit(t, &(struct gn_event){.kind = GN_EVENT_START, .epoch = t->progress.epoch, .text = text});
}

uint64_t gn_peak_memory(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[256];
	unsigned long long kib = 0;

	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib * 1024;
}
