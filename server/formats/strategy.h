/*
 * The strategy of a run as JSON: a name, {"kind":"custom","tune":[...]}, or {"kind":"angle",...} with the run or the probe that its
 * layers come from. One field of the table in run_request.c.
 */
#ifndef GN_SERVER_STRATEGY_JSON_H
#define GN_SERVER_STRATEGY_JSON_H

#include "server/formats/run_request.h"

/* Reads into, and writes from, a struct gn_run_request. What it allocates is released by gn_strategy_clear. */
extern const struct gn_field_special gn_strategy_field;
void gn_strategy_clear(struct gn_run_request *request);
/* The strategy with its defaults: the name where it is all there is to say, else the object. New reference. */
json_t *gn_strategy_write(const struct gn_run_request *request);
enum { GN_LABEL_SIZE = 256 };
/* A strategy, as gn_strategy_write gives it, in a few words, for tables and charts: "attention", "angle largest 4+4". */
void gn_strategy_label(char *label, size_t size, const json_t *strategy);

/* Fixes the layers of the strategy angle, to those of a selection (gn_selection_json). -1: out of memory, or no selection. */
int gn_strategy_take_selection(struct gn_run_request *request, const json_t *selection);

#endif
