/* Layers, which are the tensors of one block and group (docs/method.md, "Layers and groups"), for
 * GET /v1/models/{id}/layers and a run's tuned_layers. */
#include "api/api.h"

static bool same_layer(const struct gn_tensor *a, const struct gn_tensor *b)
{
	return a->group == b->group && a->block == b->block;
}

/* Whether this is the first tensor of its layer. */
static bool opens_layer(const struct gn_layout *layout, int index)
{
	for (int i = 0; i < index; i++)
		if (same_layer(&layout->tensors[i], &layout->tensors[index]))
			return false;
	return true;
}

json_t *gn_api_tuned_layers(const struct gn_layout *layout, const bool *tuned)
{
	json_t *layers = json_array();
	char name[GN_LAYER_NAME_SIZE];

	for (int i = 0; i < layout->count; i++) {
		bool any = false;
		if (!opens_layer(layout, i))
			continue;
		for (int j = i; j < layout->count; j++)
			any |= tuned[j] && same_layer(&layout->tensors[i], &layout->tensors[j]);
		gn_layer_name(name, layout->tensors[i].group, layout->tensors[i].block);
		if (any)
			json_array_append_new(layers, json_string(name));
	}
	return layers;
}

static json_t *tensor_item(const struct gn_tensor *tensor)
{
	json_t *shape = json_array();

	for (int i = 0; i < tensor->rank; i++)
		json_array_append_new(shape, json_integer((json_int_t)tensor->shape[i]));
	return json_pack("{s:s,s:o,s:I}", "name", tensor->name, "shape", shape, "parameters",
	                 (json_int_t)tensor->numel);
}

static json_t *layer_item(const struct gn_layout *layout, int first)
{
	const struct gn_tensor *tensor = &layout->tensors[first];
	json_t *tensors = json_array();
	json_int_t parameters = 0;
	char name[GN_LAYER_NAME_SIZE];

	for (int i = first; i < layout->count; i++) {
		if (!same_layer(tensor, &layout->tensors[i]))
			continue;
		json_array_append_new(tensors, tensor_item(&layout->tensors[i]));
		parameters += (json_int_t)layout->tensors[i].numel;
	}
	gn_layer_name(name, tensor->group, tensor->block);
	return json_pack("{s:s,s:o,s:s,s:I,s:o}", "name", name, "block",
	                 tensor->block < 0 ? json_null() : json_integer(tensor->block), "group",
	                 gn_group_name(tensor->group), "parameters", parameters, "tensors", tensors);
}

void gn_api_model_layers(struct gn_request *r)
{
	struct gn_open_model *opened;
	json_t *items;

	if (gn_api_no_query(r) || gn_api_hold_model(r, &opened))
		return;
	items = json_array();
	for (int i = 0; i < opened->model->layout.count; i++)
		if (opens_layer(&opened->model->layout, i))
			json_array_append_new(items, layer_item(&opened->model->layout, i));
	gn_modelpool_drop(gn_api_models(r), opened);
	gn_reply_json(r, 200, json_pack("{s:o}", "items", items));
}
