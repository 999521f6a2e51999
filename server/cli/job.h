/*
 * Jobs without the service. The command prepares a folder as the service does (job_folder.h), and
 * the same worker does the job in it, in this process. So `gonio train DIR`, `gonio soup DIR` or
 * `gonio evaluate DIR` continues a stopped job.
 */
#ifndef GN_CLI_JOB_H
#define GN_CLI_JOB_H

#include "server/cli/inputs.h"

struct gn_cli_job {
	enum gn_kind kind;
	char folder[PATH_MAX];  /* absolute */
	char dataset[PATH_MAX]; /* of the packed data set; "": none */
	bool new_folder;        /* made by this command: removed if the preparation fails */
	json_t *request, *members, *models;
	struct gn_cli_device device;
};

/* From now on SIGINT and SIGTERM set gn_cli_stop. */
void gn_cli_catch_signals(void);
extern volatile int gn_cli_stop;

/* Makes the folder that --out names. It must not exist, or be empty. 0, or an exit status after a
 * message. */
int gn_cli_job_begin(struct gn_cli_job *job, const struct gn_cli *cli, const char *out);
/* Appends a chain to the job's models. */
void gn_cli_job_add_chain(struct gn_cli_job *job, const struct gn_cli_chain *chain);
/* Packs what --data names. 0, or an exit status after a message. */
int gn_cli_job_data(struct gn_cli_job *job, const struct gn_cli *cli);
/* Writes job.json. 0, or an exit status after a message. */
int gn_cli_job_write(struct gn_cli_job *job);
/* Releases the job. If prepared is false, also removes what it put into the folder. */
void gn_cli_job_end(struct gn_cli_job *job, bool prepared);

/* Whether the command line names a prepared folder and, except for --json, nothing else. */
bool gn_cli_names_folder(const struct gn_cli *cli);
/* Does the job of a prepared folder, and shows its progress and its result. Returns the exit
 * status. */
int gn_cli_job_run(enum gn_kind kind, const char *folder, bool json);

#endif
