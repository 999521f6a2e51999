/* Task threads: see tasks.h. One mutex over everything. */
#include "server/common/tasks.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { STACK_BYTES = 1 << 20 };

struct gn_tasks {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct gn_task *first, **last;
	int waiting, queue_limit;
	int threads, max_threads, idle, nice;
	bool stopping;
	pthread_t ids[];
};

static void *task_thread(void *user)
{
	struct gn_tasks *tasks = user;

	if (tasks->nice)
		setpriority(PRIO_PROCESS, 0, tasks->nice); /* on Linux: of this thread */
	pthread_mutex_lock(&tasks->lock);
	for (;;) {
		struct gn_task *task = tasks->first;
		if (task) {
			tasks->first = task->next;
			if (!tasks->first)
				tasks->last = &tasks->first;
			tasks->waiting--;
			pthread_mutex_unlock(&tasks->lock);
			task->run(task);
			pthread_mutex_lock(&tasks->lock);
			continue;
		}
		if (tasks->stopping)
			break;
		tasks->idle++;
		pthread_cond_wait(&tasks->work, &tasks->lock);
		tasks->idle--;
	}
	pthread_mutex_unlock(&tasks->lock);
	return NULL;
}

/* Signals are the main thread's business. */
static int start_thread(struct gn_tasks *tasks)
{
	sigset_t all, before;
	pthread_attr_t attributes;
	int failed;

	sigfillset(&all);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failed = pthread_create(&tasks->ids[tasks->threads], &attributes, task_thread, tasks);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (!failed)
		tasks->threads++;
	return failed ? -1 : 0;
}

int gn_tasks_new(struct gn_tasks **out, int threads, int queue_limit, int nice, struct gn_error *err)
{
	struct gn_tasks *tasks = calloc(1, sizeof *tasks + (size_t)threads * sizeof tasks->ids[0]);

	if (!tasks)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	pthread_mutex_init(&tasks->lock, NULL);
	pthread_cond_init(&tasks->work, NULL);
	tasks->last = &tasks->first;
	tasks->max_threads = threads;
	tasks->queue_limit = queue_limit;
	tasks->nice = nice;
	*out = tasks;
	return 0;
}

void gn_tasks_stop(struct gn_tasks *tasks)
{
	pthread_mutex_lock(&tasks->lock);
	tasks->stopping = true;
	pthread_cond_broadcast(&tasks->work);
	pthread_mutex_unlock(&tasks->lock);
	for (int i = 0; i < tasks->threads; i++)
		pthread_join(tasks->ids[i], NULL);
	tasks->threads = 0;
}

void gn_tasks_free(struct gn_tasks *tasks)
{
	if (!tasks)
		return;
	gn_tasks_stop(tasks);
	pthread_cond_destroy(&tasks->work);
	pthread_mutex_destroy(&tasks->lock);
	free(tasks);
}

int gn_tasks_submit(struct gn_tasks *tasks, struct gn_task *task)
{
	int result = 0;

	pthread_mutex_lock(&tasks->lock);
	if (!tasks->stopping && tasks->waiting >= tasks->idle && tasks->threads < tasks->max_threads)
		start_thread(tasks);
	if (tasks->stopping || tasks->threads == 0 || tasks->waiting - tasks->idle >= tasks->queue_limit) {
		result = -1;
	} else {
		task->next = NULL;
		*tasks->last = task;
		tasks->last = &task->next;
		tasks->waiting++;
		pthread_cond_signal(&tasks->work);
	}
	pthread_mutex_unlock(&tasks->lock);
	return result;
}
