/*
 * What the handlers share. A handler parses, calls, and replies (server/http/handler.h); each
 * resource has files of its own:
 *   service.c        health, metrics, info, schemas
 *   jobs.c           the endpoints that runs, soups and evaluations share
 *   soups.c, evaluations.c
 *   datasets/        upload and list; their pictures; the cache of open data sets
 *   models/          upload; lists, layers, angles; export for timm and transformers
 *   classify/        predictions, for one model or several
 *   kserve/          the Open Inference Protocol: metadata and inference
 *   runs/            runs, their plans, curves and selections; runs side by side
 *   sweeps/          runs by strategy and seed; their table
 */
#ifndef GN_API_API_H
#define GN_API_API_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/classifier/classifier.h"
#include "server/formats/events.h"
#include "server/common/fields.h"
#include "server/formats/run_request.h"
#include "server/service/service.h"

/* -------------------------------------------------------- handlers: api/routes.c lists them --- */

void gn_api_healthz(struct gn_request *r);
void gn_api_readyz(struct gn_request *r);
void gn_api_metrics(struct gn_request *r);
void gn_api_info(struct gn_request *r);
void gn_api_run_schema(struct gn_request *r);

void gn_api_datasets_post(struct gn_request *r);
void gn_api_datasets_list(struct gn_request *r);
void gn_api_dataset_get(struct gn_request *r);
void gn_api_dataset_delete(struct gn_request *r);
void gn_api_dataset_images(struct gn_request *r);
void gn_api_dataset_image(struct gn_request *r);

void gn_api_models_post(struct gn_request *r);
void gn_api_models_list(struct gn_request *r);
void gn_api_model_get(struct gn_request *r);
void gn_api_model_patch(struct gn_request *r);
void gn_api_model_delete(struct gn_request *r);
void gn_api_model_layers(struct gn_request *r);
void gn_api_model_checkpoint(struct gn_request *r);
void gn_api_model_config(struct gn_request *r);
void gn_api_model_export(struct gn_request *r);
void gn_api_model_angles(struct gn_request *r);
void gn_api_classify(struct gn_request *r);

void gn_api_plans_post(struct gn_request *r);
void gn_api_runs_post(struct gn_request *r);
void gn_api_runs_list(struct gn_request *r);
void gn_api_run_get(struct gn_request *r);
void gn_api_run_delete(struct gn_request *r);
void gn_api_run_cancel(struct gn_request *r);
void gn_api_run_resume(struct gn_request *r);
void gn_api_run_metrics(struct gn_request *r);
void gn_api_run_events(struct gn_request *r);
void gn_api_run_log(struct gn_request *r);
void gn_api_run_angles(struct gn_request *r);
void gn_api_run_selection(struct gn_request *r);

void gn_api_soups_post(struct gn_request *r);
void gn_api_soups_list(struct gn_request *r);
void gn_api_soup_get(struct gn_request *r);
void gn_api_soup_delete(struct gn_request *r);
void gn_api_soup_cancel(struct gn_request *r);
void gn_api_soup_events(struct gn_request *r);
void gn_api_soup_log(struct gn_request *r);

void gn_api_evaluations_post(struct gn_request *r);
void gn_api_evaluations_list(struct gn_request *r);
void gn_api_evaluation_get(struct gn_request *r);
void gn_api_evaluation_delete(struct gn_request *r);
void gn_api_evaluation_cancel(struct gn_request *r);
void gn_api_evaluation_events(struct gn_request *r);
void gn_api_evaluation_log(struct gn_request *r);
void gn_api_evaluation_images(struct gn_request *r);

void gn_api_sweeps_post(struct gn_request *r);
void gn_api_sweeps_list(struct gn_request *r);
void gn_api_sweep_get(struct gn_request *r);
void gn_api_sweep_delete(struct gn_request *r);
void gn_api_sweep_cancel(struct gn_request *r);
void gn_api_compare(struct gn_request *r);

void gn_api_v2(struct gn_request *r);
void gn_api_v2_live(struct gn_request *r);
void gn_api_v2_ready(struct gn_request *r);
void gn_api_v2_model(struct gn_request *r);
void gn_api_v2_model_ready(struct gn_request *r);
void gn_api_v2_infer(struct gn_request *r);

/* What main.c gives to the service: every endpoint (routes.c), and the description of a model that
 * a job left (models/describe.c). */
extern const struct gn_service_api gn_api_service;
gn_describe_model gn_api_describe_model;

/* ---------------------------------------------------------------- kept between requests ------- */

struct gn_dataset_cache;
struct gn_api {
	struct gn_dataset_cache *datasets;
	struct gn_rate *rate; /* of this machine; runs/plans.c */
};
struct gn_api *gn_api_of(const struct gn_request *r);
struct gn_modelpool *gn_api_models(const struct gn_request *r);

/* A cache of open data sets; a few stay open after their last use (dataset_cache.c).
 * Thread-safe. */
int gn_dataset_cache_new(struct gn_dataset_cache **out, struct gn_store *store, struct gn_error *err);
void gn_dataset_cache_free(struct gn_dataset_cache *cache);
int gn_dataset_hold(struct gn_dataset_cache *cache, const char *id, struct gn_dataset **out, struct gn_error *err);
void gn_dataset_drop(struct gn_dataset_cache *cache, struct gn_dataset *dataset);
/* Call it after a data set was deleted: closes the data set after its last use. */
void gn_dataset_forget(struct gn_dataset_cache *cache, const char *id);

/* The rate of training with so many threads on this machine's CPU, in floating-point operations per
 * second. The first call measures it, in about a tenth of a second; later calls return the same. */
struct gn_rate *gn_rate_new(void);
void gn_rate_free(struct gn_rate *rate);
double gn_rate_flops(struct gn_rate *rate, int threads);

/* ---------------------------------------------------------------- requests -------------------- */

/* Reads the query by a table of fields. On an invalid value, or an unknown or repeated parameter,
 * replies 422 and returns -1. */
int gn_api_query(struct gn_request *r, const struct gn_field *table, int count, void *out);
/* The parameters of every list. */
struct gn_page {
	int limit;
	char after[GN_NAME_SIZE];
};
#define GN_PAGE_FIELDS(type)                                                                                           \
	{"limit", GN_FIELD_INT, 0, offsetof(type, limit), 1, 1000, 50, .help = "Items at most."},                      \
	{                                                                                                              \
		"after", GN_FIELD_REF, 0, offsetof(type, after), .help = "The last id of the page before."             \
	}
/* Those of a list of images: `after` is an index, -1: from the first. */
#define GN_INDEX_PAGE_FIELDS(type)                                                                                     \
	{"limit", GN_FIELD_INT, 0, offsetof(type, limit), 1, 1000, 50, .help = "Items at most."},                      \
	{                                                                                                              \
		"after", GN_FIELD_INT, 0, offsetof(type, after), 0, 2e9, -1,                                           \
		    .help = "The last index of the page before."                                                       \
	}
/* A parameter that names a class by any text: its check waits until the classes are known. */
extern const struct gn_field_special gn_api_any_text;
/* The same for endpoints without parameters. Costs almost nothing if the query is empty. */
int gn_api_no_query(struct gn_request *r);

/* Reads the row that {id} of the path names, by id or name. On a failure, replies and returns -1.
 * Caller releases. */
int gn_api_row(struct gn_request *r, enum gn_kind kind, struct gn_row *row);
/* The same for a model, and opens it. On a failure, replies and returns -1. Caller drops the
 * model. */
int gn_api_hold_model(struct gn_request *r, struct gn_open_model **opened);
/* Replies 409 and returns -1 if a resource of that kind already has the name. "" is always free. */
int gn_api_name_free(struct gn_request *r, enum gn_kind kind, const char *name);

/* Replaces ref, an id or a name in a request, by the id; "" stays. If there is no such row, adds an
 * error at pointer to errors. Returns -1 on another failure. */
int gn_api_resolve(struct gn_request *r, enum gn_kind kind, char ref[GN_NAME_SIZE], const char *pointer, json_t *errors,
                   struct gn_error *err);

/* Replies with an error whose `where` is a member of the request, with or without the slash, as a
 * 422 that points to it. */
void gn_api_reply_member(struct gn_request *r, const struct gn_error *err);

/* Whether a request of many images may continue. Returns -1 if the client has hung up, or if
 * decoding takes longer than --work-seconds and the bytes of its files allow. */
int gn_api_check_work(struct gn_request *r, const struct gn_work *work, uint64_t bytes, struct gn_error *err);

/* ---------------------------------------------------------------- resources ------------------- */

/* A model's or data set's resource. New reference. */
json_t *gn_api_resource(enum gn_kind kind, const struct gn_row *row);
void gn_api_reply_created(struct gn_request *r, enum gn_kind kind, const struct gn_row *row);
/* A page of a list while it is filled. rows adds up to limit items, beginning after `after`, or
 * with the first item if `after` is NULL. */
struct gn_api_list {
	struct gn_request *r;
	enum gn_kind kind;
	json_t *items;
	int count;
	size_t bytes; /* of JSON */
	char last[GN_ID_SIZE];
};
typedef int gn_api_list_rows(struct gn_api_list *list, int limit, const char *after, bool *more, struct gn_error *err);
/* item is stolen. */
void gn_api_list_add(struct gn_api_list *list, const char *id, json_t *item);
/* Replies with the requested page. Only rows uses kind. */
void gn_api_reply_list(struct gn_request *r, enum gn_kind kind, gn_api_list_rows *rows);
/* GET of a list, GET of one, DELETE (after which forgotten is called, if not NULL). */
void gn_api_list(struct gn_request *r, enum gn_kind kind);
void gn_api_get(struct gn_request *r, enum gn_kind kind);
/* Returns 0 after deleting and replying; *id (GN_ID_SIZE bytes) receives the deleted id. */
void gn_api_delete(struct gn_request *r, enum gn_kind kind, void (*forget)(struct gn_request *r, const char *id));

/* The members of a model's resource that come from its file. New reference. */
json_t *gn_api_model_fields(const struct gn_model *model, const char *sha256, const struct gn_import_report *report);
/* The callback `room` of gn_ingest_options and gn_unpack_options; its user is the store. */
int gn_api_has_room(void *store, uint64_t bytes, struct gn_error *err);
/* Saves an uploaded checkpoint at path. The upload is the file itself, or an archive of its folder,
 * whose config files then go to *beside (caller frees the texts). */
int gn_api_save_checkpoint(struct gn_request *r, gn_bytes_read *read, void *user, const char *path,
                           struct gn_unpacked *beside, struct gn_error *err);
/* The provenance of a tuned model: base, data set, strategy, tuned layers, angles, accuracy. A
 * member that is no longer known is null. New reference, NULL with *err. */
json_t *gn_api_provenance(struct gn_request *r, const struct gn_row *row, const struct gn_open_model *opened,
                          struct gn_error *err);
/* The same as a model card in Markdown. malloc'd, caller frees; NULL if out of memory. */
char *gn_api_model_card(const struct gn_row *row, const struct gn_model *model, enum gn_export_format format,
                        const json_t *provenance);

/* The names of the layers with a tuned tensor, in network order. New reference. */
json_t *gn_api_tuned_layers(const struct gn_layout *layout, const bool *tuned);

/* ---------------------------------------------------------------- sweeps ---------------------- */

/* The state of a sweep, computed from its runs. */
struct gn_sweep_state {
	int counts[GN_JOB_STATUS_COUNT]; /* runs by status */
	const char *status;              /* of the sweep, in the words of a run's status */
};
void gn_api_sweep_state(struct gn_sweep_state *state, struct gn_request *r, const struct gn_sweep_row *row);
/* A sweep's resource. table adds its rows and summary. New reference. */
json_t *gn_api_sweep_resource(struct gn_request *r, const struct gn_sweep_row *row, bool table);

/* ---------------------------------------------------------------- curves and angles ----------- */

struct gn_curves {
	json_t *steps, *epochs; /* of the tuning */
	/* {PHASE: {"steps","epochs"}} of the phases before it, or NULL without a probe */
	json_t *phases;
};
/* Reads a run's event file; a missing file gives empty curves. Caller releases. */
int gn_api_curves(struct gn_curves *out, const char *path, struct gn_error *err);
void gn_api_curves_release(struct gn_curves *curves);
/* the members of an item of epochs, NULL-terminated */
extern const char *const gn_api_epoch_members[];
/* [{"epoch","layers"}] of a phase; "tuning" for runs without phases. epoch 0 is the last epoch, -1
 * all epochs; the list is empty if the epoch does not exist. New reference. */
int gn_api_angle_epochs(json_t **out, const char *path, const char *phase, int epoch, struct gn_error *err);

/* ---------------------------------------------------------------- jobs ------------------------ */

/* Queues the job and replies 201 with its resource, or with the reason why it cannot be queued. */
void gn_api_job_submit(struct gn_request *r, const struct gn_job_new *job);
/* The endpoints that all kinds of jobs have; {id} of the path names the job. */
void gn_api_job_list(struct gn_request *r, enum gn_kind kind);
void gn_api_job_get(struct gn_request *r, enum gn_kind kind);
void gn_api_job_cancel(struct gn_request *r, enum gn_kind kind);
void gn_api_job_resume(struct gn_request *r, enum gn_kind kind);
void gn_api_job_delete(struct gn_request *r, enum gn_kind kind);
void gn_api_job_events(struct gn_request *r, enum gn_kind kind);
void gn_api_job_log(struct gn_request *r, enum gn_kind kind);
/* Finds the id of the job that {id} of the path names, and the path of a file in its folder. If
 * there is none, replies 404 and returns -1. */
int gn_api_job_file(struct gn_request *r, enum gn_kind kind, const char *file, char id[GN_ID_SIZE],
                    char path[PATH_MAX]);

/* ---------------------------------------------------------------- runs and plans -------------- */

struct gn_phase_plan {
	const char *name;
	struct gn_run_config config; /* borrows the layers of the prepared request */
	struct gn_plan plan;
};
/* A run's request, read from the body, checked and planned, with all that it names. */
struct gn_prepared {
	/* model, dataset and from as ids; image_size, micro_batch_size and warmup_steps filled
	 * in */
	struct gn_run_request request;
	const struct gn_service *service;
	struct gn_open_model *model;
	/* of the tuning, but with the memory of the phase that needs most */
	struct gn_plan plan;
	struct gn_phase_plan phases[4]; /* in order; the tuning is the last */
	int phase_count;
	/* false: a probe will choose the layers; tuned_layers is the choice that costs most */
	bool layers_known;
	/* selection is NULL before the choice, and for other strategies */
	json_t *tuned_layers, *selection;
	int classes, train_images, val_images;
};
/* On any error, replies and returns -1. Caller releases in both cases. */
int gn_api_prepare(struct gn_request *r, struct gn_prepared *prepared, bool for_plan);
/* The same for any object, without a reply. On an error returns -1; then errors (an array) is not
 * empty, or err has a member of the object in `where`. */
int gn_api_prepare_object(struct gn_request *r, struct gn_prepared *prepared, const json_t *object, bool for_plan,
                          json_t *errors, struct gn_error *err);
/* Multiplications and additions of the whole run: training, validations, and the frozen prefix,
 * once if it is kept. */
double gn_api_run_flops(const struct gn_prepared *prepared);
/* The run as a job to submit; borrows from prepared. Caller releases. */
struct gn_job_new gn_api_run_job(const struct gn_prepared *prepared);
void gn_api_run_job_release(struct gn_job_new *job);
void gn_api_prepared_release(struct gn_request *r, struct gn_prepared *prepared);
/* Chooses layers by the guide's order and numbers and the angles of a run; if the run had a probe,
 * by the probe's angles. run is an id or a name, and is replaced by the id. GN_INVALID with where a
 * member of /strategy. Caller releases. */
int gn_api_select(struct gn_request *r, char run[GN_NAME_SIZE], const char *model, const struct gn_guide *guide,
                  struct gn_selection *selection, struct gn_error *err);

#endif
