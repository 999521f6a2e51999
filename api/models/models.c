/* Models: list, one, rename, delete. Uploads are in upload.c, layers in layers.c, checkpoint and
 * angles in views.c. */
#include "api/api.h"

struct patch {
	char name[GN_NAME_SIZE];
};
static const struct gn_field PATCH[] = {
    {"name", GN_FIELD_NAME, GN_FIELD_REQUIRED | GN_FIELD_NULLABLE, 0, .help = "The new name; null takes it away."}};

void gn_api_models_list(struct gn_request *r)
{
	gn_api_list(r, GN_KIND_MODEL);
}

void gn_api_model_get(struct gn_request *r)
{
	gn_api_get(r, GN_KIND_MODEL);
}

void gn_api_model_patch(struct gn_request *r)
{
	struct gn_store *store = gn_request_service(r)->store;
	struct patch patch;
	struct gn_row row;
	struct gn_error err = {0};
	json_t *errors = json_array();

	gn_fields_read(PATCH, 1, gn_request_json(r), &patch, "", errors);
	if (gn_reply_fields(r, errors) || gn_api_no_query(r) || gn_api_row(r, GN_KIND_MODEL, &row))
		return;
	if (gn_store_rename(store, GN_KIND_MODEL, row.id, patch.name, &err)) {
		gn_reply_error(r, &err);
	} else {
		gn_modelpool_renamed(gn_api_models(r));
		memcpy(row.name, patch.name, sizeof row.name);
		gn_reply_json(r, 200, gn_api_resource(GN_KIND_MODEL, &row));
	}
	gn_row_release(&row);
}

static void forget(struct gn_request *r, const char *id)
{
	gn_modelpool_forget(gn_api_models(r), id);
}

void gn_api_model_delete(struct gn_request *r)
{
	gn_api_delete(r, GN_KIND_MODEL, forget);
}
