/*
 * `gonio train DIR`, `gonio soup DIR`, `gonio evaluate DIR`: one job in a process of its own.
 *
 * job.json: {"job":ID,"request":{the job's request with all defaults},"members":{see gn_job_row},"models":[[path,...],...],"dataset":path|null,"device":"cpu",
 * "threads":N,"max_pixels":N,"attempt":N}. Paths are relative to DIR; each of models is a chain: the model, its base, the base's base, ...
 * (of the request's "model", or one for each of "models"). Of a run in a sweep also "shared":{"folder","identity","stages":[N,...],"disk_reserve"}: see
 * struct gn_shared.
 *
 * Leaves result.json, atomically: {"result":{...}} or {"error":{"type","detail"}}. The result of a run: {"val_accuracy","val_macro_f1",
 * "val_loss","best_epoch","train_loss","seconds","peak_memory_bytes","device","precision"}; of the others see soup.c and
 * evaluate.c. SIGTERM or SIGINT: a checkpoint where the job has one, then the end, nothing in result.json.
 */
#ifndef GN_SERVER_WORKER_H
#define GN_SERVER_WORKER_H

#include "gonio.h"
#include "server/store/store.h"

enum gn_worker_exit {
	GN_WORKER_DONE = 0,    /* result.json holds the result */
	GN_WORKER_USAGE = 2,   /* DIR or job.json is not what it must be; the reason is on stderr */
	GN_WORKER_STOPPED = 3, /* on request, after a checkpoint */
	GN_WORKER_FAILED = 4,  /* result.json holds the error */
	GN_WORKER_BUSY = 5     /* another worker holds DIR/lock */
};
/* Who looks on while a job is done in this process. */
struct gn_worker_watch {
	void (*on_line)(void *user,
	                const char *line); /* each line of events.ndjson, with its newline, once it is written */
	void (*on_text)(void *user, const char *text); /* what goes to stderr where nobody looks on */
	void *user;
};
/* Does the job of that kind, in the folder, which becomes the current one. Returns the exit status. watch: NULL, nobody looks on. With
 * GONIO_SUPERVISED=PID in the environment it belongs to the service of that process: it runs at a lower priority and stops, after a
 * checkpoint, when the service dies. */
int gn_worker_main(enum gn_kind kind, const char *folder, const struct gn_worker_watch *watch);
/* The environment says that a service is in charge of this process. */
bool gn_worker_supervised(void);

/* error.type of a job for a failure: "invalid", "conflict", "out_of_memory", "disk_full", "device" or "internal". */
const char *gn_worker_error_type(enum gn_code code);

#endif
