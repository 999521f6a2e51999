/*
 * The strategy of a run as JSON: a name, {"kind":"custom","tune":[...]}, or {"kind":"angle",...}
 * with the run or the probe that gives the angles. One field of the table in run_request.c.
 */
#ifndef GN_SERVER_STRATEGY_JSON_H
#define GN_SERVER_STRATEGY_JSON_H

#include "server/formats/run_request.h"

/* Reads into and writes from a struct gn_run_request. gn_strategy_clear releases what it
 * allocates. */
extern const struct gn_field_special gn_strategy_field;
void gn_strategy_clear(struct gn_run_request *request);
/* The strategy with its defaults: the name if that is enough, else the object. New reference. */
json_t *gn_strategy_write(const struct gn_run_request *request);
enum { GN_LABEL_SIZE = 256 };
/* A short label for tables and charts, from the JSON of gn_strategy_write: "attention", "angle
 * largest 4+4". */
void gn_strategy_label(char *label, size_t size, const json_t *strategy);

/* Sets the layers of the strategy angle to those of a selection (gn_selection_json). -1: out of
 * memory, or not a selection. */
int gn_strategy_take_selection(struct gn_run_request *request, const json_t *selection);

#endif
