/* A model as JSON: its architecture, preprocessing, labels and parameters, read from its file. */
#include "api/api.h"

static json_t *json_float(float value)
{
	return gn_json_real(gn_decimal(value));
}

static json_t *architecture_member(const struct gn_arch *arch, const struct gn_arch_field *field)
{
	double value = gn_arch_value(arch, field);

	switch (field->type) {
	case GN_ARCH_BOOL:
		return json_boolean(value != 0);
	case GN_ARCH_CHOICE:
		return json_string(field->words[(int)value]);
	case GN_ARCH_REAL:
		return json_float((float)value);
	case GN_ARCH_INT:
		break;
	}
	return json_integer((json_int_t)value);
}

static json_t *architecture(const struct gn_arch *arch)
{
	json_t *object = json_object();

	for (int i = 0; i < gn_arch_field_count; i++)
		if (gn_arch_fields[i].use & GN_ARCH_SHOWN)
			json_object_set_new(object, gn_arch_fields[i].name,
			                    architecture_member(arch, &gn_arch_fields[i]));
	return object;
}

static json_t *preprocessing(const struct gn_preprocess *p, enum gn_pos_resample resample)
{
	return json_pack("{s:[o,o,o],s:[o,o,o],s:o,s:s,s:s}", "mean", json_float(p->mean[0]), json_float(p->mean[1]),
	                 json_float(p->mean[2]), "std", json_float(p->std[0]), json_float(p->std[1]),
	                 json_float(p->std[2]), "crop_pct", json_float(p->crop_pct), "interpolation",
	                 p->interpolation == GN_BILINEAR ? "bilinear" : "bicubic", "pos_resample",
	                 gn_pos_resample_name(resample));
}

static json_t *names(char *const *texts, int count)
{
	json_t *array = json_array();

	for (int i = 0; i < count; i++) {
		json_t *text = json_string(texts[i]);
		json_array_append_new(array, text ? text : json_string("(a name that is not UTF-8)"));
	}
	return array;
}

static size_t own_parameters(const struct gn_model *model)
{
	size_t count = 0;

	for (int i = 0; i < model->layout.count; i++)
		if (model->own[i])
			count += model->layout.tensors[i].numel;
	return count;
}

json_t *gn_api_model_fields(const struct gn_model *model, const char *sha256, const struct gn_import_report *report)
{
	json_t *fields = json_pack("{s:s,s:o,s:o,s:o}", "format", gn_scheme_name(model->scheme), "architecture",
	                           architecture(&model->arch), "preprocessing",
	                           preprocessing(&model->preprocess, model->pos_resample), "labels",
	                           model->label_count ? names(model->labels, model->label_count) : json_null());

	json_object_set_new(fields, "parameters", json_integer((json_int_t)model->layout.parameters));
	json_object_set_new(fields, "tuned_parameters",
	                    json_integer(model->base ? (json_int_t)own_parameters(model) : 0));
	json_object_set_new(fields, "sha256", json_string(sha256));
	json_object_set_new(fields, "import",
	                    report ? json_pack("{s:i,s:o,s:o}", "mapped", report->mapped, "ignored",
	                                       names(report->ignored, report->ignored_count), "resized",
	                                       names(report->resized, report->resized_count))
	                           : json_null());
	return fields;
}

/* The supervisor calls it for the model of a finished job. */
int gn_api_describe_model(json_t **fields, const char *path, const struct gn_chain *chain, const json_t *run,
                          struct gn_error *err)
{
	char hash[65];

	(void)run;
	if (gn_file_sha256(hash, path, err))
		return -1;
	*fields = gn_api_model_fields(chain->models[0], hash, NULL);
	return *fields ? 0 : gn_fail(err, GN_NO_MEMORY, "", "no memory for the model's description");
}
