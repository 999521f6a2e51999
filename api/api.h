/*
 * What the handlers share. A handler parses, calls, and replies (server/http/handler.h); each resource has files of its own:
 *   service.c        health, metrics, info, schemas
 *   jobs.c           what runs, soups and evaluations share
 *   soups.c, evaluations.c
 *   datasets/        upload and list; their pictures; those that stay open between requests
 *   models/          upload; lists, layers, angles; export as a folder that timm and transformers load
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

/* ---------------------------------------------------------------- handlers: api/routes.c lists them --------------- */

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

/* What main.c gives to the service: every endpoint (routes.c), and the description of a model that a job left
 * (models/describe.c). */
extern const struct gn_service_api gn_api_service;
gn_describe_model gn_api_describe_model;

/* ---------------------------------------------------------------- kept between requests --------------------------- */

struct gn_dataset_cache;
struct gn_api {
	struct gn_dataset_cache *datasets;
	struct gn_rate *rate; /* of this machine; runs/plans.c */
};
struct gn_api *gn_api_of(const struct gn_request *r);
struct gn_modelpool *gn_api_models(const struct gn_request *r);

/* Open data sets, a few of which stay open after their last use (datasets/cache.c). Thread-safe. */
int gn_dataset_cache_new(struct gn_dataset_cache **out, struct gn_store *store, struct gn_error *err);
void gn_dataset_cache_free(struct gn_dataset_cache *cache);
int gn_dataset_hold(struct gn_dataset_cache *cache, const char *id, struct gn_dataset **out, struct gn_error *err);
void gn_dataset_drop(struct gn_dataset_cache *cache, struct gn_dataset *dataset);
/* The data set was deleted: closed as soon as nobody holds it. */
void gn_dataset_forget(struct gn_dataset_cache *cache, const char *id);

/* Floating-point operations per second that training reaches here; measured at the first call (half a second). */
struct gn_rate *gn_rate_new(void);
void gn_rate_free(struct gn_rate *rate);
double gn_rate_flops(struct gn_rate *rate, int threads);

/* ---------------------------------------------------------------- requests ---------------------------------------- */

/* Reads the query by a table of fields. Bad values, unknown and repeated parameters: replies 422 and returns -1. */
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
/* For endpoints without parameters; costs next to nothing when there are none. */
int gn_api_no_query(struct gn_request *r);

/* The row that {id} of the path names, by id or name. Replies and returns -1. Caller releases. */
int gn_api_row(struct gn_request *r, enum gn_kind kind, struct gn_row *row);
/* The same for a model, opened. Replies and returns -1. Caller drops. */
int gn_api_hold_model(struct gn_request *r, struct gn_held **held);
/* Replies 409 and returns -1 when a thing of that kind has the name already; "" is free. */
int gn_api_name_free(struct gn_request *r, enum gn_kind kind, const char *name);

/* The row that a request names by id or name, as its id in ref; "" stays. What is missing goes into errors at pointer; -1: another
 * failure. */
int gn_api_resolve(struct gn_request *r, enum gn_kind kind, char ref[GN_NAME_SIZE], const char *pointer, json_t *errors,
                   struct gn_error *err);

/* The problem of an error whose `where` is a member of the request, with or without the slash: a 422 that points to it. */
void gn_api_reply_member(struct gn_request *r, const struct gn_error *err);

/* Whether a request of many images may go on: -1 when the client has hung up, or when decoding takes longer than --work-seconds and the
 * bytes of its files allow. */
int gn_api_check_work(struct gn_request *r, const struct gn_work *work, uint64_t bytes, struct gn_error *err);

/* ---------------------------------------------------------------- resources --------------------------------------- */

/* A model's or data set's resource. New reference. */
json_t *gn_api_resource(enum gn_kind kind, const struct gn_row *row);
void gn_api_reply_created(struct gn_request *r, enum gn_kind kind, const struct gn_row *row);
/* A page of a list while it is filled. rows adds up to limit items, from the one that follows `after` (NULL: the first) on. */
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
/* Answers with the page that the query asks for. kind is for rows alone. */
void gn_api_reply_list(struct gn_request *r, enum gn_kind kind, gn_api_list_rows *rows);
/* GET of a list, GET of one, DELETE (after which forgotten is called, if not NULL). */
void gn_api_list(struct gn_request *r, enum gn_kind kind);
void gn_api_get(struct gn_request *r, enum gn_kind kind);
/* Returns 0 when it was deleted and replied; *id tells which (GN_ID_SIZE). */
void gn_api_delete(struct gn_request *r, enum gn_kind kind, void (*forget)(struct gn_request *r, const char *id));

/* The members of a model's resource that its file tells. New reference. */
json_t *gn_api_model_fields(const struct gn_model *model, const char *sha256, const struct gn_import_report *report);
/* The callback `room` of gn_ingest_options and gn_unpack_options; its user is the store. */
int gn_api_has_room(void *store, uint64_t bytes, struct gn_error *err);
/* Saves an uploaded checkpoint at path: a bare file, or from an archive of its folder, whose config files then go to *beside (caller
 * frees the texts). */
int gn_api_save_checkpoint(struct gn_request *r, gn_bytes_read *read, void *user, const char *path,
                           struct gn_unpacked *beside, struct gn_error *err);
/* Where a tuned model comes from: base, data set, strategy, tuned layers, angles, accuracy; null where it is no longer known. New
 * reference, NULL with *err. */
json_t *gn_api_provenance(struct gn_request *r, const struct gn_row *row, const struct gn_held *held,
                          struct gn_error *err);
/* The same as a model card for people: Markdown, malloc'd, caller frees. NULL when memory is out. */
char *gn_api_model_card(const struct gn_row *row, const struct gn_model *model, enum gn_export_format format,
                        const json_t *provenance);

/* The names of the layers with a tuned tensor, in network order. New reference. */
json_t *gn_api_tuned_layers(const struct gn_layout *layout, const bool *tuned);

/* ---------------------------------------------------------------- sweeps ------------------------------------------ */

/* How a sweep stands, from its runs. */
struct gn_sweep_state {
	int counts[GN_JOB_STATUS_COUNT]; /* runs by status */
	const char *status;              /* of the whole; a status of a run */
};
void gn_api_sweep_state(struct gn_sweep_state *state, struct gn_request *r, const struct gn_sweep_row *row);
/* A sweep's resource; with its table: rows and summary. New reference. */
json_t *gn_api_sweep_resource(struct gn_request *r, const struct gn_sweep_row *row, bool table);

/* ---------------------------------------------------------------- what runs tell ---------------------------------- */

struct gn_curves {
	json_t *steps, *epochs; /* of the tuning */
	json_t *phases;         /* {PHASE: {"steps","epochs"}} of the phases before it; NULL: there were none */
};
/* From a run's event file; a missing file tells nothing. Caller releases. */
int gn_api_curves(struct gn_curves *out, const char *path, struct gn_error *err);
void gn_api_curves_release(struct gn_curves *curves);
extern const char *const gn_api_epoch_members[]; /* of an item of epochs, NULL-terminated */
/* [{"epoch","layers"}] of a phase ("tuning" for runs without). epoch 0: the last, -1: all; none where there is no such epoch. New reference. */
int gn_api_angle_epochs(json_t **out, const char *path, const char *phase, int epoch, struct gn_error *err);

/* ---------------------------------------------------------------- jobs -------------------------------------------- */

/* Queues the job and answers 201 with its resource, or with why it cannot be. */
void gn_api_job_submit(struct gn_request *r, const struct gn_job_new *job);
/* The endpoints that all kinds of jobs have; {id} of the path names the job. */
void gn_api_job_list(struct gn_request *r, enum gn_kind kind);
void gn_api_job_get(struct gn_request *r, enum gn_kind kind);
void gn_api_job_cancel(struct gn_request *r, enum gn_kind kind);
void gn_api_job_resume(struct gn_request *r, enum gn_kind kind);
void gn_api_job_delete(struct gn_request *r, enum gn_kind kind);
void gn_api_job_events(struct gn_request *r, enum gn_kind kind);
void gn_api_job_log(struct gn_request *r, enum gn_kind kind);
/* The id of the job that {id} of the path names, and the path of a file in its folder. Replies 404 and returns -1. */
int gn_api_job_file(struct gn_request *r, enum gn_kind kind, const char *file, char id[GN_ID_SIZE],
                    char path[PATH_MAX]);

/* ---------------------------------------------------------------- runs and plans ---------------------------------- */

struct gn_phase_plan {
	const char *name;
	struct gn_run_config config; /* borrows the layers of the prepared request */
	struct gn_plan plan;
};
/* A run's request with everything that it names: read from the body, checked, planned. */
struct gn_prepared {
	struct gn_run_request
	    request; /* model, dataset and from as ids; image_size, micro_batch_size and warmup_steps filled in */
	const struct gn_service *service;
	struct gn_held *model;
	struct gn_plan plan;            /* of the tuning; its memory is that of the phase that needs most */
	struct gn_phase_plan phases[4]; /* in order; the tuning is the last */
	int phase_count;
	bool layers_known;                /* false: a probe will choose them, tuned_layers are the costliest choice */
	json_t *tuned_layers, *selection; /* selection NULL: none yet, or another strategy */
	int classes, train_images, val_images;
};
/* Replies and returns -1 when anything does not fit. Caller releases in either case. */
int gn_api_prepare(struct gn_request *r, struct gn_prepared *prepared, bool for_plan);
/* The same for any object, without a reply: -1 with errors (an array) not empty, or with err, whose where is a member of the object. */
int gn_api_prepare_object(struct gn_request *r, struct gn_prepared *prepared, const json_t *object, bool for_plan,
                          json_t *errors, struct gn_error *err);
/* Multiplications and additions of the whole run: training, the frozen prefix once where it is kept, the validations. */
double gn_api_run_flops(const struct gn_prepared *prepared);
/* The run as a job to submit; borrows from prepared. Caller releases. */
struct gn_job_new gn_api_run_job(const struct gn_prepared *prepared);
void gn_api_run_job_release(struct gn_job_new *job);
void gn_api_prepared_release(struct gn_request *r, struct gn_prepared *prepared);
/* The layers that the guide's order and numbers give by the angles of a run, a probe's where it had one. run: id or name, replaced by the id. GN_INVALID at a
 * member of /strategy. Caller releases. */
int gn_api_select(struct gn_request *r, char run[GN_NAME_SIZE], const char *model, const struct gn_guide *guide,
                  struct gn_selection *selection, struct gn_error *err);

#endif
