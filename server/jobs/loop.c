/*
 * The supervisor's thread: starts workers, follows their events, ends them. It polls ten times a
 * second while a worker runs. inotify would save a stat() of one file, but would need a second way
 * to wait beside the condition.
 *
 * Workers get SIGTERM when this thread ends (PR_SET_PDEATHSIG goes by thread), so only this thread
 * starts them (start.c).
 */
#include <math.h>
#include <signal.h>
#include <sys/wait.h>

#include "server/common/cond.h"
#include "server/common/log.h"
#include "server/jobs/job.h"

static const double poll_seconds = 0.1, idle_seconds = 1;

/* ---------------------------------------------------------------- the queue ------------------- */

/* The job whose turn it is: the highest priority, then the oldest. */
static struct gn_job *next_job(const struct gn_supervisor *s, double now)
{
	struct gn_job *best = NULL;

	for (struct gn_job *job = s->active; job; job = job->active_next)
		if (job->row.status == GN_JOB_QUEUED && job->not_before <= now &&
		    (!best || job->row.priority > best->row.priority))
			best = job;
	return best;
}

static int living(const struct gn_supervisor *s)
{
	int count = 0;

	for (const struct gn_job *job = s->active; job; job = job->active_next)
		count += job->pid != 0;
	return count;
}

/* What the job says that it takes of the GPU's memory. */
static uint64_t gpu_bytes(const struct gn_job *job)
{
	json_int_t bytes = json_integer_value(json_object_get(job->row.members, "gpu_bytes"));

	return bytes > 0 ? (uint64_t)bytes : 0;
}

/* Whether the GPU's memory holds the job beside those that run. With none beside it, the attempt is
 * its own. */
static bool fits(const struct gn_supervisor *s, const struct gn_job *job)
{
	uint64_t taken = 0;
	bool alone = true;

	for (const struct gn_job *other = s->active; other; other = other->active_next)
		if (other->pid) {
			taken += gpu_bytes(other);
			alone = false;
		}
	return alone || s->options.gpu_bytes == 0 || taken + gpu_bytes(job) <= s->options.gpu_bytes;
}

/* The job whose turn it is waits for memory, and all others behind it: small ones would keep it
 * waiting for ever. */
static void start_jobs(struct gn_supervisor *s, double now)
{
	struct gn_job *job;

	if (s->options.device_usable && !s->options.device_usable(s->options.service))
		return;
	while (living(s) < s->options.max_runs && (job = next_job(s, now)) && fits(s, job))
		if (!gn_job_start(s, job))
			job->not_before = now + poll_seconds;
}

/* After a start of the service: what waits says so. True while the last worker of some job still
 * holds its folder. */
static bool tell_loaded(struct gn_supervisor *s)
{
	bool left = false;

	for (struct gn_job *job = s->active; job; job = job->active_next) {
		if (job->loaded && job->row.status == GN_JOB_QUEUED && gn_job_folder_free(s, job))
			gn_job_tell_queued(s, job);
		left = left || job->loaded;
	}
	return left;
}

/* ---------------------------------------------------------------- following ------------------- */

static void press_stop(struct gn_supervisor *s, struct gn_job *job, double now)
{
	if (s->stopping && job->stop == GN_STOP_NONE)
		job->stop = GN_STOP_SERVICE;
	if (job->stop == GN_STOP_NONE)
		return;
	if (job->kill_at == 0) {
		kill(-job->pid, SIGTERM);
		job->kill_at = now + s->options.grace_seconds;
	} else if (now >= job->kill_at) {
		gn_log(GN_LOG_WARN, "jobs", "%s does not stop: killing its worker", job->row.id);
		kill(-job->pid, SIGKILL);
		job->kill_at = INFINITY;
	}
}

static void follow_job(struct gn_supervisor *s, struct gn_job *job, double now)
{
	int wait_status;

	gn_job_tail(s, job);
	if (job->dirty)
		gn_job_publish(s, job);
	press_stop(s, job, now);
	if (waitpid(job->pid, &wait_status, WNOHANG) != job->pid)
		return;
	job->pid = 0;
	gn_job_ended(s, job, wait_status);
}

/* Listeners look at the clock for their keep-alive lines, and at whether the service stops. */
static void wake_all_listeners(struct gn_supervisor *s)
{
	pthread_mutex_lock(&s->lock);
	for (int i = 0; i < s->count && s->listener_count; i++)
		for (struct gn_listener *l = s->jobs[i]->listeners; l; l = l->next)
			l->wake(l->user);
	pthread_mutex_unlock(&s->lock);
}

static void wait_a_little(struct gn_supervisor *s, double seconds)
{
	gn_cond_wait_until(&s->wake, &s->change, gn_clock() + seconds);
}

static bool delayed(const struct gn_supervisor *s)
{
	for (const struct gn_job *job = s->active; job; job = job->active_next)
		if (job->not_before > 0 && job->row.status == GN_JOB_QUEUED)
			return true;
	return false;
}

void *gn_supervisor_thread(void *supervisor)
{
	struct gn_supervisor *s = supervisor;
	bool loaded = true;
	double ticked = 0;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	pthread_mutex_lock(&s->change);
	for (;;) {
		double now = gn_clock();
		for (struct gn_job *job = s->active, *next; job; job = next) {
			next = job->active_next;
			if (job->pid)
				follow_job(s, job, now);
		}
		if (s->going && !s->stopping) {
			loaded = loaded && tell_loaded(s);
			start_jobs(s, now);
		}
		if (s->stopping && !living(s))
			break;
		if (now - ticked >= 1) {
			wake_all_listeners(s);
			ticked = now;
		}
		wait_a_little(s, living(s) || delayed(s) || loaded ? poll_seconds : idle_seconds);
	}
	pthread_mutex_unlock(&s->change);
	return NULL;
}
