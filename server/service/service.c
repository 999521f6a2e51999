/* The service's start and stop: see service.h. */
#include "server/service/service.h"

#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "server/classifier/classifier.h"
#include "server/common/log.h"

/* How long answers may take to finish after SIGTERM. */
static const double answer_seconds = 10;

const char *gn_service_not_ready(struct gn_service *service)
{
	if (service->http && gn_http_stopping(service->http))
		return "stopping";
	return service->classifier ? gn_classifier_failure(service->classifier) : NULL;
}

struct gn_archive_budget gn_service_archive_budget(const struct gn_service *service)
{
	const struct gn_config *config = &service->config;

	return (struct gn_archive_budget){
	    .total_bytes = (uint64_t)config->max_unpacked,
	    .ratio = (int)config->archive_ratio,
	    .entry_seconds = config->work_seconds,
	    .memory = (uint64_t)config->archive_memory,
	};
}

struct gn_image_limits gn_service_image_limits(const struct gn_service *service, bool (*gone)(void *user), void *user)
{
	return (struct gn_image_limits){(uint64_t)service->config.max_pixels, service->request_gate, gone, user};
}

/* A GPU's memory without what the service takes of it itself: its context, and models kept
 * ready. */
static uint64_t gpu_bytes_for_jobs(const struct gn_service *service)
{
	const struct gn_device_info *info = &service->device_info;
	uint64_t own = info->overhead_bytes + gn_classifier_memory(service->classifier);

	if (!strcmp(info->spec, "cpu"))
		return 0;
	return info->memory_bytes > own ? info->memory_bytes - own : 1;
}

static void suspect_device(struct gn_service *service)
{
	gn_classifier_suspect_device(service->classifier);
}

static bool device_usable(const struct gn_service *service)
{
	return gn_classifier_device_usable(service->classifier);
}

static uint64_t quarter_of_memory(const struct gn_service *service)
{
	uint64_t bytes = service->device_info.memory_bytes;

	return bytes ? bytes / 4 : (uint64_t)1 << 30;
}

static int start_classifier(struct gn_service *service, struct gn_error *err)
{
	const struct gn_config *config = &service->config;
	const struct gn_classifier_options options = {
	    .store = service->store,
	    .device = service->device,
	    .metrics = service->metrics,
	    .gate = service->request_gate,
	    .max_pixels = (uint64_t)config->max_pixels,
	    .threads = service->device_info.threads,
	    .batch_max = (int)config->batch_max,
	    .batch_wait_ms = config->batch_wait_ms,
	    .model_memory = config->model_memory > 0 ? (uint64_t)config->model_memory : quarter_of_memory(service),
	};

	return gn_classifier_new(&service->classifier, &options, err);
}

static int start_supervisor(struct gn_service *service, const struct gn_service_api *api, struct gn_error *err)
{
	const struct gn_config *config = &service->config;
	const struct gn_supervisor_options options = {
	    .store = service->store,
	    .metrics = service->metrics,
	    .max_runs = (int)config->max_runs,
	    .device = service->device_info.spec,
	    .precision = service->device_info.precision,
	    .gpu_bytes = gpu_bytes_for_jobs(service),
	    .threads = (int)config->threads,
	    .max_pixels = (uint64_t)config->max_pixels,
	    .describe_model = api->describe_model,
	    .suspect_device = suspect_device,
	    .device_usable = device_usable,
	    .service = service,
	};

	return gn_supervisor_new(&service->supervisor, &options, err);
}

static int start_http(struct gn_service *service, const struct gn_service_api *api, struct gn_error *err)
{
	const struct gn_config *config = &service->config;
	const struct gn_http_options options = {
	    .routes = api->routes,
	    .service = service,
	    .store = service->store,
	    .metrics = service->metrics,
	    .listen = config->listen,
	    .cors = config->cors,
	    .share_dirs = GN_SHARE_DIRS,
	    .max_upload = (uint64_t)config->max_upload,
	    .max_uploads = (int)config->max_uploads,
	};

	return gn_http_start(&service->http, &options, err);
}

static int start(struct gn_service *service, const struct gn_service_api *api, struct gn_error *err)
{
	const struct gn_config *config = &service->config;

	if (gn_store_open(&service->store, config->data, (uint64_t)config->disk_reserve, err) ||
	    gn_metrics_new(&service->metrics, err) ||
	    gn_gate_new(&service->upload_gate, (uint64_t)config->decode_memory, err) ||
	    gn_gate_new(&service->request_gate, (uint64_t)config->decode_memory, err) ||
	    gn_device_open(&service->device, config->device, (int)config->threads, config->precision, err))
		return -1;
	gn_device_describe(service->device, &service->device_info);
	if (api->start(service, err) || start_classifier(service, err) || start_supervisor(service, api, err) ||
	    start_http(service, api, err))
		return -1;
	gn_supervisor_go(service->supervisor);
	return 0;
}

static void stop(struct gn_service *service, const struct gn_service_api *api)
{
	gn_http_stop(service->http, answer_seconds);
	service->http = NULL;
	gn_supervisor_free(service->supervisor);
	if (service->classifier)
		gn_classifier_free(service->classifier);
	api->stop(service);
	if (service->device)
		gn_device_close(service->device);
	gn_gate_free(service->request_gate);
	gn_gate_free(service->upload_gate);
	gn_metrics_free(service->metrics);
	gn_store_close(service->store);
}

/*
 * What a request took goes back to the system when it is freed. By itself the C library keeps what
 * lies in the arena of each thread, and raises the size from which a piece is mapped on its own to
 * 32 MiB: after some large requests it held 2 GB.
 */
static void give_memory_back(void)
{
	mallopt(M_ARENA_MAX, 4);
	mallopt(M_MMAP_THRESHOLD, 4 << 20);
	mallopt(M_TRIM_THRESHOLD, 8 << 20);
}

/* As many connections and data sets as the system lets us. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int gn_service_run(const struct gn_config *config, const struct gn_service_api *api)
{
	struct gn_service service = {.config = *config, .started_at = gn_now()};
	struct gn_error err = {0};
	sigset_t awaited;
	int caught = 0, status = 1;

	umask(077);
	give_memory_back();
	raise_file_limit();
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a file-size limit is then an error of the write, as a full disk is */
	/* Blocked before the first thread, so that every thread inherits it and sigwait gets
	 * them. */
	sigemptyset(&awaited);
	sigaddset(&awaited, SIGTERM);
	sigaddset(&awaited, SIGINT);
	pthread_sigmask(SIG_BLOCK, &awaited, NULL);
	gn_log_setup(config->log_format, config->log_level);
	if (start(&service, api, &err)) {
		gn_log(GN_LOG_ERROR, "service", "%s%s%s", err.where, err.where[0] ? ": " : "", err.text);
	} else {
		gn_log(GN_LOG_INFO, "service", "gonio %s, %s, %s, data in %s", gn_version(), service.device_info.name,
		       gn_precision_name(service.device_info.precision), config->data);
		if (service.device_info.remark[0])
			gn_log(GN_LOG_INFO, "service", "no GPU: %s", service.device_info.remark);
		gn_log(GN_LOG_INFO, "service", "listening on http://%s", gn_http_address(service.http));
		sigwait(&awaited, &caught);
		gn_log(GN_LOG_INFO, "service", "stopping: %s", strsignal(caught));
		status = 0;
	}
	stop(&service, api);
	return status;
}
