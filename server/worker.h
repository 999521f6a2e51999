/*
 * `gonio train RUN_DIR`: one run in a process of its own.
 *
 * run.json: {"run":ID,"request":{the run's request, see runconfig.h},"models":[path,...],"dataset":path,"device":"cpu","threads":N,
 * "max_pixels":N,"attempt":N}; paths are relative to RUN_DIR, models the base first in line of the chain: the model, its base, ...
 *
 * Leaves result.json, atomically: {"result":{"val_accuracy","val_macro_f1","val_loss","best_epoch","train_loss","seconds",
 * "peak_memory_bytes"}} or {"error":{"type","detail"}}. SIGTERM or SIGINT: a checkpoint, then the end, nothing in result.json.
 */
#ifndef GN_SERVER_WORKER_H
#define GN_SERVER_WORKER_H

#include "gonio.h"

enum gn_worker_exit {
	GN_WORKER_DONE = 0,    /* result.json holds the result */
	GN_WORKER_USAGE = 2,   /* RUN_DIR or run.json is not what it must be; the reason is on stderr */
	GN_WORKER_STOPPED = 3, /* on request, after a checkpoint */
	GN_WORKER_FAILED = 4,  /* result.json holds the error */
	GN_WORKER_BUSY = 5     /* another worker holds RUN_DIR/lock */
};
/* Returns the exit status. With GONIO_SUPERVISED=PID in the environment it belongs to the service of that process: it runs at a lower
 * priority and stops, after a checkpoint, when the service dies. */
int gn_worker_main(const char *run_dir);

/* error.type of a run for a failure: "invalid", "conflict", "out_of_memory", "disk_full", "device" or "internal". */
const char *gn_worker_error_type(enum gn_code code);

#endif
