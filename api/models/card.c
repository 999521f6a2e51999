/*
 * The provenance of a tuned model: as JSON in the metadata of an export, and as text in its
 * README.md. Facts that were deleted since are null in the JSON and "no longer known" in the text.
 */
#include "api/api.h"

#include <ctype.h>
#include <math.h>

enum { CLASSES_LISTED = 1000 };

/* ---------------------------------------------------------------- for machines ---------------- */

/* {"id","name","sha256"} of a model or data set; {"id"} if it was deleted. */
static json_t *origin(struct gn_request *r, enum gn_kind kind, const char *id)
{
	struct gn_row row;
	json_t *object, *hash;

	if (!id || !*id)
		return json_null();
	if (gn_store_get(gn_request_service(r)->store, kind, id, &row, NULL))
		return json_pack("{s:s,s:n,s:n}", "id", id, "name", "sha256");
	hash = json_object_get(row.fields, "sha256");
	object = json_pack("{s:s,s:s*,s:O*}", "id", id, "name", *row.name ? row.name : NULL, "sha256", hash);
	gn_row_release(&row);
	return object;
}

static json_t *angles_object(const struct gn_open_model *opened, struct gn_error *err)
{
	struct gn_angles angles = {0};
	json_t *object;

	if (gn_angles_compute(&angles, opened->model, opened->base->model, err))
		return NULL;
	object = json_object();
	for (int i = 0; i < angles.count; i++)
		json_object_set_new(object, angles.layers[i].name,
		                    isnan(angles.layers[i].degrees) ? json_null()
		                                                    : json_real(angles.layers[i].degrees));
	gn_angles_release(&angles);
	return object;
}

/* A run's or a soup's resource, or NULL if it was deleted. New reference. */
static json_t *job_of(struct gn_request *r, enum gn_kind kind, const char *id)
{
	return *id ? gn_supervisor_resource(gn_request_service(r)->supervisor, kind, id) : NULL;
}

/* A member of the job, or of its result; JSON null if there is none. New reference. */
static json_t *member(const json_t *object, const char *name)
{
	json_t *value = json_object_get(object, name);

	return value ? json_incref(value) : json_null();
}

/* {"id","method","ingredients"} if the model is a soup; else null. */
static json_t *soup_object(const struct gn_row *row, const json_t *soup)
{
	if (!*row->soup)
		return json_null();
	return json_pack("{s:s,s:o,s:o}", "id", row->soup, "method", member(soup, "method"), "ingredients",
	                 member(soup, "ingredients"));
}

json_t *gn_api_provenance(struct gn_request *r, const struct gn_row *row, const struct gn_open_model *opened,
                          struct gn_error *err)
{
	json_t *angles = angles_object(opened, err), *run, *soup, *job, *result, *object;

	if (!angles)
		return NULL;
	run = job_of(r, GN_KIND_RUN, row->run);
	soup = job_of(r, GN_KIND_SOUP, row->soup);
	job = run ? run : soup;
	result = json_object_get(job, "result");
	object = json_pack("{s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "model", row->id, "base",
	                   origin(r, GN_KIND_MODEL, row->base), "run", *row->run ? json_string(row->run) : json_null(),
	                   "soup", soup_object(row, soup), "dataset",
	                   origin(r, GN_KIND_DATASET, json_string_value(json_object_get(job, "dataset"))), "strategy",
	                   member(run, "strategy"), "tuned_layers", member(run, "tuned_layers"), "val_accuracy",
	                   member(result, "val_accuracy"), "epoch", member(result, "best_epoch"), "angles", angles);
	json_decref(run);
	json_decref(soup);
	if (!object)
		gn_fail(err, GN_NO_MEMORY, "", "no memory for the model's origin");
	return object;
}

/* ---------------------------------------------------------------- for people ------------------ */

/* Writes a user's text in Markdown: on one line, and escaped. */
static void put_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (iscntrl(c))
			fputc(' ', out);
		else if (strchr("\\`*_{}[]<>()#+-.!|~&", c))
			fprintf(out, "\\%c", c);
		else
			fputc(c, out);
	}
}

static void put_origin(FILE *out, const char *title, const json_t *origin)
{
	const char *name = json_string_value(json_object_get(origin, "name"));
	const char *hash = json_string_value(json_object_get(origin, "sha256"));
	const char *id = json_string_value(json_object_get(origin, "id"));

	fprintf(out, "| %s | ", title);
	if (name || id)
		put_text(out, name ? name : id);
	else
		fputs("no longer known", out);
	if (hash)
		fprintf(out, ", SHA-256 `%s`", hash);
	fputs(" |\n", out);
}

static void put_strategy(FILE *out, const json_t *strategy)
{
	char *text = json_is_object(strategy) ? json_dumps(strategy, JSON_COMPACT) : NULL;

	fputs("| strategy | ", out);
	if (text)
		put_text(out, text);
	else
		fputs(json_is_string(strategy) ? json_string_value(strategy) : "no longer known", out);
	fputs(" |\n", out);
	free(text);
}

/* "greedy average of: mdl_1 (weight 0.5), ..." */
static void put_soup(FILE *out, const json_t *soup)
{
	const char *method = json_string_value(json_object_get(soup, "method"));
	size_t i, listed = 0;
	json_t *ingredient;

	fprintf(out, "| soup | %s average of tuned models", method ? method : "an");
	json_array_foreach(json_object_get(soup, "ingredients"), i, ingredient)
	{
		const json_t *weight = json_object_get(ingredient, "weight");

		if (!(json_number_value(weight) > 0))
			continue;
		fputs(listed++ ? ", " : ": ", out);
		put_text(out, json_string_value(json_object_get(ingredient, "model")));
		fprintf(out, " (weight %.4g)", json_number_value(weight));
	}
	fputs(" |\n", out);
}

static void put_accuracy(FILE *out, const json_t *provenance)
{
	const json_t *accuracy = json_object_get(provenance, "val_accuracy"),
	             *epoch = json_object_get(provenance, "epoch");

	if (!json_is_number(accuracy))
		return;
	fprintf(out, "| accuracy on the validation split | %.4f", json_number_value(accuracy));
	if (json_is_integer(epoch))
		fprintf(out, " (epoch %lld)", (long long)json_integer_value(epoch));
	fputs(" |\n", out);
}

static void put_tuning(FILE *out, const struct gn_row *row, const json_t *provenance)
{
	const json_t *soup = json_object_get(provenance, "soup");

	fputs("\n## How it was tuned\n\n| | |\n|---|---|\n", out);
	put_origin(out, "base model", json_object_get(provenance, "base"));
	put_origin(out, "data set", json_object_get(provenance, "dataset"));
	if (json_is_object(soup))
		put_soup(out, soup);
	else
		put_strategy(out, json_object_get(provenance, "strategy"));
	fprintf(out, "| tuned parameters | %lld of %lld |\n",
	        (long long)json_integer_value(json_object_get(row->fields, "tuned_parameters")),
	        (long long)json_integer_value(json_object_get(row->fields, "parameters")));
	put_accuracy(out, provenance);
}

static bool holds(const json_t *list, const char *name)
{
	size_t i;
	json_t *item;

	json_array_foreach(list, i, item)
	{
		if (!strcmp(json_string_value(item), name))
			return true;
	}
	return false;
}

/* The tuned layers; if their list is not known, the layers that turned. */
static void put_layers(FILE *out, const json_t *provenance)
{
	const json_t *tuned = json_object_get(provenance, "tuned_layers");
	const char *name;
	json_t *degrees;

	fputs("\n## Layers\n\nThe angle is the one between a layer's weights here and in the base model.\n\n"
	      "| layer | tuned | angle in degrees |\n|---|---|---|\n",
	      out);
	json_object_foreach(json_object_get(provenance, "angles"), name, degrees)
	{
		fprintf(out, "| %s | %s | ", name,
		        (json_is_array(tuned) ? holds(tuned, name) : json_real_value(degrees) > 0) ? "yes" : "no");
		if (json_is_number(degrees))
			fprintf(out, "%.6g |\n", json_number_value(degrees));
		else
			fputs("undefined |\n", out);
	}
}

static void put_classes(FILE *out, const struct gn_model *model)
{
	int listed = model->label_count < CLASSES_LISTED ? model->label_count : CLASSES_LISTED;

	fprintf(out, "\n## Classes\n\n%d classes%s\n\n", model->arch.classes,
	        model->label_count ? ", by index:" : " without names.");
	for (int i = 0; i < listed; i++) {
		fprintf(out, "- %d: ", i);
		put_text(out, model->labels[i]);
		fputc('\n', out);
	}
	if (listed < model->label_count)
		fprintf(out, "- and %d more: see config.json\n", model->label_count - listed);
}

static void put_use(FILE *out, const struct gn_model *model, enum gn_export_format format)
{
	const struct gn_arch *a = &model->arch;
	const char *class = gn_export_class(model, format);

	fprintf(out,
	        "\nA Vision Transformer of %d blocks of width %d, patches of %d pixels, for images of %d x %d pixels, "
	        "fine-tuned by gonio %s.\n",
	        a->depth, a->dim, a->patch_size, a->image_size, a->image_size, gn_version());
	if (format == GN_EXPORT_TIMM)
		fputs(
		    "\n```python\nimport timm\n\nmodel = timm.create_model('local-dir:FOLDER', pretrained=True)\n```\n",
		    out);
	else
		fprintf(out,
		        "\n```python\nfrom transformers import AutoImageProcessor, %s\n\n"
		        "processor = AutoImageProcessor.from_pretrained('FOLDER')\n"
		        "model = %s.from_pretrained('FOLDER')\n```\n",
		        class, class);
}

char *gn_api_model_card(const struct gn_row *row, const struct gn_model *model, enum gn_export_format format,
                        const json_t *provenance)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	int failed;

	if (!out)
		return NULL;
	fprintf(
	    out,
	    "---\nlibrary_name: %s\npipeline_tag: image-classification\ntags: [gonio, vision-transformer]\n---\n\n# ",
	    format == GN_EXPORT_TIMM ? "timm" : "transformers");
	put_text(out, *row->name ? row->name : row->id);
	fputc('\n', out);
	put_use(out, model, format);
	put_tuning(out, row, provenance);
	put_layers(out, provenance);
	put_classes(out, model);
	failed = ferror(out);
	failed |= fclose(out) != 0;
	if (!failed)
		return text;
	free(text);
	return NULL;
}
