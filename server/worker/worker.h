/*
 * `gonio train DIR`, `gonio soup DIR`, `gonio evaluate DIR`: one job in its own process.
 *
 * DIR holds job.json, and result.json in the end: see formats/job_folder.h. The result of a run:
 * {"val_accuracy","val_macro_f1",
 * "val_loss","best_epoch","train_loss","seconds","peak_memory_bytes","device","precision"}; of the
 * others see soup.c and evaluate.c. SIGTERM or SIGINT: a checkpoint where the job has one, then the
 * end, nothing in result.json.
 */
#ifndef GN_SERVER_WORKER_H
#define GN_SERVER_WORKER_H

#include "gonio.h"
#include "server/common/kinds.h"
#include "server/formats/job_folder.h"

/* Who looks on while a job is done in this process. */
struct gn_worker_watch {
	void (*on_line)(void *user,
	                const char *line); /* each line of events.ndjson, with its newline, once it is written */
	void (*on_text)(void *user, const char *text); /* what goes to stderr where nobody looks on */
	void *user;
};
/* Does the job of that kind in the folder, which becomes the current folder. Returns the exit
 * status. watch may be NULL. GONIO_SUPERVISED=PID in the environment means that the service of that
 * process started it: it then runs at a lower priority, and when the service dies, it writes a
 * checkpoint and stops. */
int gn_worker_main(enum gn_kind kind, const char *folder, const struct gn_worker_watch *watch);
/* Whether a service started this process, by the environment. */
bool gn_worker_supervised(void);

#endif
