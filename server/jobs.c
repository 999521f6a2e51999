/* Job threads: see jobs.h. One mutex over everything. */
#include "server/jobs.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum { STACK_BYTES = 1 << 20 };

struct gn_jobs {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct gn_job *first, **last;
	int waiting, queue_limit;
	int threads, max_threads, idle;
	bool stopping;
	pthread_t ids[];
};

static void *job_thread(void *user)
{
	struct gn_jobs *jobs = user;

	pthread_mutex_lock(&jobs->lock);
	for (;;) {
		struct gn_job *job = jobs->first;
		if (job) {
			jobs->first = job->next;
			if (!jobs->first)
				jobs->last = &jobs->first;
			jobs->waiting--;
			pthread_mutex_unlock(&jobs->lock);
			job->run(job);
			pthread_mutex_lock(&jobs->lock);
			continue;
		}
		if (jobs->stopping)
			break;
		jobs->idle++;
		pthread_cond_wait(&jobs->work, &jobs->lock);
		jobs->idle--;
	}
	pthread_mutex_unlock(&jobs->lock);
	return NULL;
}

/* Signals are the main thread's business. */
static int start_thread(struct gn_jobs *jobs)
{
	sigset_t all, before;
	pthread_attr_t attributes;
	int failed;

	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&jobs->ids[jobs->threads], &attributes, job_thread, jobs);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (!failed)
		jobs->threads++;
	return failed ? -1 : 0;
}

int gn_jobs_new(struct gn_jobs **out, int threads, int queue_limit, struct gn_error *err)
{
	struct gn_jobs *jobs = calloc(1, sizeof *jobs + (size_t)threads * sizeof jobs->ids[0]);

	if (!jobs)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	pthread_mutex_init(&jobs->lock, NULL);
	pthread_cond_init(&jobs->work, NULL);
	jobs->last = &jobs->first;
	jobs->max_threads = threads;
	jobs->queue_limit = queue_limit;
	*out = jobs;
	return 0;
}

void gn_jobs_stop(struct gn_jobs *jobs)
{
	pthread_mutex_lock(&jobs->lock);
	jobs->stopping = true;
	pthread_cond_broadcast(&jobs->work);
	pthread_mutex_unlock(&jobs->lock);
	for (int i = 0; i < jobs->threads; i++)
		pthread_join(jobs->ids[i], NULL);
	jobs->threads = 0;
}

void gn_jobs_free(struct gn_jobs *jobs)
{
	if (!jobs)
		return;
	gn_jobs_stop(jobs);
	pthread_cond_destroy(&jobs->work);
	pthread_mutex_destroy(&jobs->lock);
	free(jobs);
}

int gn_jobs_submit(struct gn_jobs *jobs, struct gn_job *job)
{
	int result = 0;

	pthread_mutex_lock(&jobs->lock);
	if (!jobs->stopping && jobs->waiting >= jobs->idle && jobs->threads < jobs->max_threads)
		start_thread(jobs);
	if (jobs->stopping || jobs->threads == 0 || jobs->waiting - jobs->idle >= jobs->queue_limit) {
		result = -1;
	} else {
		job->next = NULL;
		*jobs->last = job;
		jobs->last = &job->next;
		jobs->waiting++;
		pthread_cond_signal(&jobs->work);
	}
	pthread_mutex_unlock(&jobs->lock);
	return result;
}
