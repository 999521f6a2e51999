/* Functions that the handlers of several resources share: queries, rows, lists, deletion. */
#include "api/api.h"

struct gn_api *gn_api_of(const struct gn_request *r)
{
	return gn_request_service(r)->api;
}

struct gn_modelpool *gn_api_models(const struct gn_request *r)
{
	return gn_classifier_pool(gn_request_service(r)->classifier);
}

int gn_api_has_room(void *store, uint64_t bytes, struct gn_error *err)
{
	return gn_store_space(store, bytes, err);
}

/* ---------------------------------------------------------------- queries --------------------- */

struct query {
	const struct gn_field *table;
	int count;
	json_t *values, *errors;
};

static void collect(void *user, const char *name, const char *value)
{
	struct query *query = user;
	char pointer[128];

	if (json_object_get(query->values, name)) {
		gn_field_pointer(pointer, sizeof pointer, "", name);
		gn_field_error(query->errors, pointer, "was given twice");
		return;
	}
	json_t *item = gn_field_from_text(gn_field_find(query->table, query->count, name), value);
	if (json_object_set_new(query->values, name, item))
		gn_field_error(query->errors, "", "a query parameter's name is not UTF-8");
}

int gn_api_query(struct gn_request *r, const struct gn_field *table, int count, void *out)
{
	struct query query = {table, count, json_object(), json_array()};

	gn_query_each(r, collect, &query);
	gn_fields_read(table, count, query.values, out, "", query.errors);
	json_decref(query.values);
	return gn_reply_fields(r, query.errors) ? -1 : 0;
}

static void notice(void *user, const char *name, const char *value)
{
	(void)name, (void)value;
	*(bool *)user = true;
}

int gn_api_no_query(struct gn_request *r)
{
	bool any = false;

	gn_query_each(r, notice, &any);
	return any ? gn_api_query(r, NULL, 0, NULL) : 0;
}

/* ---------------------------------------------------------------- rows ------------------------ */

static void reply_no_row(struct gn_request *r, enum gn_kind kind, const struct gn_error *err)
{
	if (err->code == GN_NOT_FOUND)
		gn_reply_problem(r, 404, "there is no %s with this id or name", gn_kinds[kind].word);
	else
		gn_reply_error(r, err);
}

static int get_row(struct gn_request *r, enum gn_kind kind, const char *id, struct gn_row *row)
{
	struct gn_error err = {0};

	if (!gn_store_get(gn_request_service(r)->store, kind, id, row, &err))
		return 0;
	reply_no_row(r, kind, &err);
	return -1;
}

int gn_api_row(struct gn_request *r, enum gn_kind kind, struct gn_row *row)
{
	return get_row(r, kind, gn_path(r, "id"), row);
}

int gn_api_hold_model(struct gn_request *r, struct gn_open_model **opened)
{
	struct gn_error err = {0};

	if (gn_modelpool_hold_named(gn_api_models(r), gn_path(r, "id"), opened, &err) == 0)
		return 0;
	reply_no_row(r, GN_KIND_MODEL, &err);
	return -1;
}

int gn_api_name_free(struct gn_request *r, enum gn_kind kind, const char *name)
{
	struct gn_row row;
	struct gn_error err = {0};

	if (!*name || gn_store_get(gn_request_service(r)->store, kind, name, &row, &err))
		return 0;
	gn_row_release(&row);
	gn_reply_problem(r, 409, "a %s has the name %s already", gn_kinds[kind].word, name);
	return -1;
}

int gn_api_resolve(struct gn_request *r, enum gn_kind kind, char ref[GN_NAME_SIZE], const char *pointer, json_t *errors,
                   struct gn_error *err)
{
	struct gn_row row;
	struct gn_error why = {0};

	if (!*ref)
		return 0;
	if (!gn_store_get(gn_request_service(r)->store, kind, ref, &row, &why)) {
		snprintf(ref, GN_NAME_SIZE, "%s", row.id);
		gn_row_release(&row);
		return 0;
	}
	if (why.code != GN_NOT_FOUND)
		return gn_fail(err, why.code, why.where, "%s", why.text);
	gn_field_error(errors, pointer, "there is no %s with this id or name", gn_kinds[kind].word);
	return 0;
}

void gn_api_reply_member(struct gn_request *r, const struct gn_error *err)
{
	char pointer[sizeof err->where + 1];

	if (*err->where && (err->code == GN_INVALID || err->code == GN_NO_MEMORY || err->code == GN_UNSUPPORTED)) {
		snprintf(pointer, sizeof pointer, "%s%s", *err->where == '/' ? "" : "/", err->where);
		gn_reply_field(r, pointer, "%s", err->text);
	} else {
		gn_reply_error(r, err);
	}
}

static void any_text(const json_t *value, void *out, const char *pointer, json_t *errors)
{
	(void)value, (void)out, (void)pointer, (void)errors;
}
const struct gn_field_special gn_api_any_text = {.read = any_text};

/* ---------------------------------------------------------------- resources ------------------- */

static json_t *text_or_null(const char *text)
{
	return *text ? json_string(text) : json_null();
}

json_t *gn_api_resource(enum gn_kind kind, const struct gn_row *row)
{
	json_t *resource = json_pack("{s:s,s:o,s:o}", "id", row->id, "name", text_or_null(row->name), "created_at",
	                             gn_json_time(row->created_at));

	if (kind == GN_KIND_MODEL) {
		json_object_set_new(resource, "kind", json_string(*row->base ? "tuned" : "base"));
		json_object_set_new(resource, "base", text_or_null(row->base));
		json_object_set_new(resource, "run", text_or_null(row->run));
		json_object_set_new(resource, "soup", text_or_null(row->soup));
	} else {
		json_object_set_new(resource, "status", json_string("ready"));
	}
	json_object_set_new(resource, "bytes", json_integer((json_int_t)row->bytes));
	json_object_update(resource, row->fields);
	return resource;
}

void gn_api_reply_created(struct gn_request *r, enum gn_kind kind, const struct gn_row *row)
{
	char location[64];

	snprintf(location, sizeof location, "/v1/%s/%s", gn_kinds[kind].folder, row->id);
	gn_reply_created(r, location, gn_api_resource(kind, row));
}

/* ---------------------------------------------------------------- lists ----------------------- */

/* A model may have the names of 100,000 classes, so a page ends early at PAGE_BYTES of JSON. Few
 * rows are read at a time, because the store reads whole rows. */
enum { PAGE_BYTES = 8 << 20, AT_ONCE = 8 };

void gn_api_list_add(struct gn_api_list *list, const char *id, json_t *item)
{
	list->bytes += json_dumpb(item, NULL, 0, JSON_COMPACT);
	list->count++;
	json_array_append_new(list->items, item);
	snprintf(list->last, sizeof list->last, "%s", id);
}

/* Fills a page. *more is true if more items follow. */
static int fill_page(struct gn_api_list *list, const struct gn_page *page, gn_api_list_rows *rows, bool *more,
                     struct gn_error *err)
{
	do {
		const char *after = list->count ? list->last : page->after;
		int left = page->limit - list->count;
		struct gn_error why = {0};

		if (rows(list, left < AT_ONCE ? left : AT_ONCE, *after ? after : NULL, more, &why) == 0)
			continue;
		if (why.code != GN_INVALID || !list->count)
			return gn_fail(err, why.code, why.where, "%s", why.text);
		*more = true; /* the last item was just deleted: the next page finds this out */
		return 0;
	} while (*more && list->count < page->limit && list->bytes < PAGE_BYTES);
	return 0;
}

static const struct gn_field PAGE[] = {GN_PAGE_FIELDS(struct gn_page)};

void gn_api_reply_list(struct gn_request *r, enum gn_kind kind, gn_api_list_rows *rows)
{
	struct gn_api_list list = {.r = r, .kind = kind};
	struct gn_error err = {0};
	struct gn_page page;
	bool more = false;

	if (gn_api_query(r, PAGE, sizeof PAGE / sizeof *PAGE, &page))
		return;
	list.items = json_array();
	if (fill_page(&list, &page, rows, &more, &err)) {
		json_decref(list.items);
		gn_reply_error(r, &err);
		return;
	}
	gn_reply_json(r, 200,
	              json_pack("{s:o,s:o}", "items", list.items, "next", more ? json_string(list.last) : json_null()));
}

static void add_row(void *user, const struct gn_row *row)
{
	struct gn_api_list *list = user;

	gn_api_list_add(list, row->id, gn_api_resource(list->kind, row));
}

static int store_rows(struct gn_api_list *list, int limit, const char *after, bool *more, struct gn_error *err)
{
	return gn_store_list(gn_request_service(list->r)->store, list->kind, limit, after, add_row, list, more, err);
}

void gn_api_list(struct gn_request *r, enum gn_kind kind)
{
	gn_api_reply_list(r, kind, store_rows);
}

/* ---------------------------------------------------------------- one ------------------------- */

void gn_api_get(struct gn_request *r, enum gn_kind kind)
{
	struct gn_row row;

	if (gn_api_no_query(r) || gn_api_row(r, kind, &row))
		return;
	gn_reply_json(r, 200, gn_api_resource(kind, &row));
	gn_row_release(&row);
}

void gn_api_delete(struct gn_request *r, enum gn_kind kind, void (*forget)(struct gn_request *r, const char *id))
{
	struct gn_row row;
	struct gn_error err = {0};
	uint64_t freed = 0;

	if (gn_api_no_query(r) || gn_api_row(r, kind, &row))
		return;
	int failed = gn_store_delete(gn_request_service(r)->store, kind, row.id, &freed, &err);
	if (!failed)
		forget(r, row.id);
	gn_row_release(&row);
	if (failed)
		gn_reply_error(r, &err);
	else
		gn_reply_json(r, 200, json_pack("{s:I}", "freed_bytes", (json_int_t)freed));
}

int gn_api_check_work(struct gn_request *r, const struct gn_work *work, uint64_t bytes, struct gn_error *err)
{
	double seconds = gn_request_service(r)->config.work_seconds;

	if (gn_request_gone(r))
		return gn_fail(err, GN_CANCELLED, "", "the client hung up");
	if (gn_work_exceeds(work, bytes, seconds))
		return gn_fail(err, GN_TOO_LARGE, "",
		               "decoding the images takes more than %g seconds: send fewer of them in a request",
		               seconds);
	return 0;
}
