/*
 * Metrics: see metrics.h. A series is found by a linear search in a short list that only grows. New
 * series are appended under a lock and published by the count, so that readers need no lock.
 */
#include "server/common/metrics.h"

#include <dirent.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "server/common/kinds.h"

enum { SERIES_MAX = 512, MODELS_MAX = 64, BUCKETS_MAX = 16 };

/* Values are in whole units of the histogram's scale (microseconds, images), so that a sum needs
 * one atomic addition. */
struct histogram {
	atomic_uint_fast64_t buckets[BUCKETS_MAX], sum, count;
};

static const double second_bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                       0.25,   0.5,   1,      2.5,   5,    10,    60};
static const double batch_bounds[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024};
enum {
	SECOND_BOUNDS = sizeof second_bounds / sizeof second_bounds[0],
	BATCH_BOUNDS = sizeof batch_bounds / sizeof batch_bounds[0]
};

struct request_series {
	const char *route, *method;
	int status;
	atomic_uint_fast64_t count;
};
struct model_series {
	char id[GN_ID_SIZE];
	atomic_uint_fast64_t images;
};

struct gn_metrics {
	pthread_mutex_t lock; /* over the growth of both lists */
	atomic_int request_count, model_count;
	struct request_series requests[SERIES_MAX];
	struct model_series models[MODELS_MAX + 1]; /* [MODELS_MAX] counts the others */
	struct histogram request_seconds, batch, stages[GN_STAGE_COUNT];
	atomic_uint_fast64_t run_images;
	long long started_at;
};

int gn_metrics_new(struct gn_metrics **out, struct gn_error *err)
{
	struct gn_metrics *m = calloc(1, sizeof *m);

	if (!m)
		return gn_fail(err, GN_NO_MEMORY, "", "out of memory");
	pthread_mutex_init(&m->lock, NULL);
	snprintf(m->models[MODELS_MAX].id, GN_ID_SIZE, "other");
	m->started_at = gn_now();
	*out = m;
	return 0;
}

void gn_metrics_free(struct gn_metrics *m)
{
	if (!m)
		return;
	pthread_mutex_destroy(&m->lock);
	free(m);
}

/* ---------------------------------------------------------------- counting -------------------- */

static void add(atomic_uint_fast64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static void observe(struct histogram *h, const double *bounds, int count, double value, double scale)
{
	int b = 0;

	while (b < count && value > bounds[b])
		b++;
	add(&h->buckets[b], 1);
	add(&h->sum, (uint64_t)(value > 0 ? value * scale + 0.5 : 0));
	add(&h->count, 1);
}

static struct request_series *find_request(struct gn_metrics *m, int from, int to, const char *route,
                                           const char *method, int status)
{
	for (int i = from; i < to; i++)
		if (m->requests[i].status == status && !strcmp(m->requests[i].route, route) &&
		    !strcmp(m->requests[i].method, method))
			return &m->requests[i];
	return NULL;
}

static struct request_series *request_series(struct gn_metrics *m, const char *route, const char *method, int status)
{
	int known = atomic_load_explicit(&m->request_count, memory_order_acquire), now;
	struct request_series *series = find_request(m, 0, known, route, method, status);

	if (series)
		return series;
	pthread_mutex_lock(&m->lock);
	now = atomic_load(&m->request_count);
	series = find_request(m, known, now, route, method, status);
	if (!series && now < SERIES_MAX) {
		series = &m->requests[now];
		series->route = route;
		series->method = method;
		series->status = status;
		atomic_store_explicit(&m->request_count, now + 1, memory_order_release);
	}
	pthread_mutex_unlock(&m->lock);
	return series;
}

void gn_metrics_request(struct gn_metrics *m, const char *route, const char *method, int status, double seconds)
{
	struct request_series *series = request_series(m, route, method, status);

	if (series)
		add(&series->count, 1);
	observe(&m->request_seconds, second_bounds, SECOND_BOUNDS, seconds, 1e6);
}

void gn_metrics_run_images(struct gn_metrics *m, uint64_t images)
{
	add(&m->run_images, images);
}

void gn_metrics_classify_images(struct gn_metrics *m, const char *model_id, uint64_t images)
{
	int count;

	pthread_mutex_lock(&m->lock);
	count = atomic_load(&m->model_count);
	for (int i = 0; i < count; i++)
		if (!strcmp(m->models[i].id, model_id)) {
			add(&m->models[i].images, images);
			goto done;
		}
	if (count < MODELS_MAX) {
		snprintf(m->models[count].id, GN_ID_SIZE, "%s", model_id);
		add(&m->models[count].images, images);
		atomic_store(&m->model_count, count + 1);
	} else {
		add(&m->models[MODELS_MAX].images, images);
	}
done:
	pthread_mutex_unlock(&m->lock);
}

void gn_metrics_classify_batch(struct gn_metrics *m, int images)
{
	observe(&m->batch, batch_bounds, BATCH_BOUNDS, images, 1);
}

void gn_metrics_classify_seconds(struct gn_metrics *m, enum gn_stage stage, double seconds)
{
	observe(&m->stages[stage], second_bounds, SECOND_BOUNDS, seconds, 1e6);
}

/* ---------------------------------------------------------------- the text -------------------- */

struct page {
	char *text;
	size_t used, capacity;
	bool failed;
};

static void put(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct page *page, const char *format, ...)
{
	char line[512];
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	if (n < 0 || (size_t)n >= sizeof line)
		return;
	if (page->used + (size_t)n > page->capacity) {
		size_t capacity = page->capacity ? 2 * page->capacity : 16384;
		char *grown = realloc(page->text, capacity);
		if (!grown) {
			page->failed = true;
			return;
		}
		page->text = grown;
		page->capacity = capacity;
	}
	memcpy(page->text + page->used, line, (size_t)n);
	page->used += (size_t)n;
}

static void put_head(struct page *page, const char *name, const char *type, const char *help)
{
	put(page, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* labels: "" or `stage="decode",`, with the comma. */
static void put_histogram(struct page *page, const char *name, const char *labels, struct histogram *h,
                          const double *bounds, int count, double scale)
{
	unsigned long long total = 0;
	size_t n = strlen(labels);

	for (int b = 0; b < count; b++) {
		total += atomic_load(&h->buckets[b]);
		put(page, "%s_bucket{%sle=\"%g\"} %llu\n", name, labels, bounds[b], total);
	}
	total += atomic_load(&h->buckets[count]);
	put(page, "%s_bucket{%sle=\"+Inf\"} %llu\n", name, labels, total);
	if (n)
		put(page, "%s_sum{%.*s} %.6f\n%s_count{%.*s} %llu\n", name, (int)n - 1, labels,
		    (double)atomic_load(&h->sum) / scale, name, (int)n - 1, labels, total);
	else
		put(page, "%s_sum %.6f\n%s_count %llu\n", name, (double)atomic_load(&h->sum) / scale, name, total);
}

static void put_requests(struct page *page, struct gn_metrics *m)
{
	int count = atomic_load_explicit(&m->request_count, memory_order_acquire);

	put_head(page, "gonio_http_requests_total", "counter", "Answers by route, method and status.");
	for (int i = 0; i < count; i++)
		put(page, "gonio_http_requests_total{route=\"%s\",method=\"%s\",status=\"%d\"} %llu\n",
		    m->requests[i].route, m->requests[i].method, m->requests[i].status,
		    (unsigned long long)atomic_load(&m->requests[i].count));
	put_head(page, "gonio_http_request_seconds", "histogram", "From the headers of a request to its answer.");
	put_histogram(page, "gonio_http_request_seconds", "", &m->request_seconds, second_bounds, SECOND_BOUNDS, 1e6);
}

static void put_jobs(struct page *page, struct gn_metrics *m, const struct gn_gauges *gauges)
{
	for (int kind = GN_KIND_RUN; kind < GN_KIND_COUNT; kind++) {
		char name[64];
		snprintf(name, sizeof name, "gonio_%s", gn_kinds[kind].folder);
		put_head(page, name, "gauge", "By status.");
		for (int s = 0; s < GN_JOB_STATUS_COUNT; s++)
			put(page, "%s{status=\"%s\"} %d\n", name, gn_job_status_name((enum gn_job_status)s),
			    gauges->jobs[kind][s]);
	}
	put_head(page, "gonio_run_images_total", "counter", "Images that runs have trained on.");
	put(page, "gonio_run_images_total %llu\n", (unsigned long long)atomic_load(&m->run_images));
}

static void put_classify(struct page *page, struct gn_metrics *m, const struct gn_gauges *gauges)
{
	static const char *const stages[GN_STAGE_COUNT] = {"stage=\"decode\",", "stage=\"queue\",",
	                                                   "stage=\"compute\","};

	put_head(page, "gonio_classify_images_total", "counter", "Images classified, by model.");
	pthread_mutex_lock(&m->lock);
	for (int i = 0; i <= MODELS_MAX; i++)
		if (atomic_load(&m->models[i].images))
			put(page, "gonio_classify_images_total{model=\"%s\"} %llu\n", m->models[i].id,
			    (unsigned long long)atomic_load(&m->models[i].images));
	pthread_mutex_unlock(&m->lock);
	put_head(page, "gonio_classify_batch_size", "histogram", "Images that were classified at once.");
	put_histogram(page, "gonio_classify_batch_size", "", &m->batch, batch_bounds, BATCH_BOUNDS, 1);
	put_head(page, "gonio_classify_seconds", "histogram", "Time of one image in each stage.");
	for (int s = 0; s < GN_STAGE_COUNT; s++)
		put_histogram(page, "gonio_classify_seconds", stages[s], &m->stages[s], second_bounds, SECOND_BOUNDS,
		              1e6);
	put_head(page, "gonio_queue_depth", "gauge", "Images that wait to be classified.");
	put(page, "gonio_queue_depth %d\n", gauges->queue_depth);
}

static int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = -1; /* the one that is open to look */

	if (!dir)
		return 0;
	for (struct dirent *entry; (entry = readdir(dir));)
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

static void put_process(struct page *page, struct gn_metrics *m)
{
	long long pages = 0, resident = 0;
	FILE *statm = fopen("/proc/self/statm", "re");
	struct rusage usage;
	struct rlimit files = {0};

	if (statm) {
		if (fscanf(statm, "%lld %lld", &pages, &resident) != 2)
			pages = resident = 0;
		(void)fclose(statm);
	}
	getrusage(RUSAGE_SELF, &usage);
	getrlimit(RLIMIT_NOFILE, &files);
	put_head(page, "process_cpu_seconds_total", "counter", "CPU time, user and system.");
	put(page, "process_cpu_seconds_total %.3f\n",
	    (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	        1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec));
	put_head(page, "process_resident_memory_bytes", "gauge", "Resident memory.");
	put(page, "process_resident_memory_bytes %lld\n", resident * sysconf(_SC_PAGESIZE));
	put_head(page, "process_virtual_memory_bytes", "gauge", "Virtual memory.");
	put(page, "process_virtual_memory_bytes %lld\n", pages * sysconf(_SC_PAGESIZE));
	put_head(page, "process_start_time_seconds", "gauge", "Start of the process, in seconds since 1970.");
	put(page, "process_start_time_seconds %.3f\n", (double)m->started_at / 1000);
	put_head(page, "process_open_fds", "gauge", "Open file descriptors.");
	put(page, "process_open_fds %d\n", open_files());
	put_head(page, "process_max_fds", "gauge", "Most file descriptors.");
	put(page, "process_max_fds %llu\n", (unsigned long long)files.rlim_cur);
}

struct gn_text *gn_metrics_text(struct gn_metrics *m, const struct gn_gauges *gauges)
{
	struct page page = {0};
	struct gn_text *text;

	put_requests(&page, m);
	put_jobs(&page, m, gauges);
	put_classify(&page, m, gauges);
	put_head(&page, "gonio_disk_free_bytes", "gauge", "Free bytes of the data directory's file system.");
	put(&page, "gonio_disk_free_bytes %llu\n", (unsigned long long)gauges->disk_free_bytes);
	put_process(&page, m);
	text = page.failed ? NULL : gn_text_new(page.text, page.used);
	free(page.text);
	return text;
}
