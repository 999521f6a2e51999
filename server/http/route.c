/* Finds the route of a request by a linear search in the table, which is short. */
#include <string.h>

#include "server/http/request.h"

static const char *const method_names[] = {"GET", "POST", "PATCH", "DELETE"};

/*
 * Matches the path against a pattern; {name} takes one segment that is not empty. Fills params
 * without cutting the path yet.
 */
static bool match(struct gn_request *r, const char *pattern, size_t lengths[GN_PARAMS_MAX])
{
	char *at = r->path;

	r->param_count = 0;
	while (*pattern && *at) {
		if (*pattern != '{') {
			if (*pattern++ != *at++)
				return false;
			continue;
		}
		gn_assert(r->param_count < GN_PARAMS_MAX);
		r->params[r->param_count].name = pattern + 1;
		r->params[r->param_count].text = at;
		lengths[r->param_count] = strcspn(at, "/");
		if (lengths[r->param_count] == 0)
			return false;
		at += lengths[r->param_count++];
		pattern += strcspn(pattern, "}") + 1;
	}
	return !*pattern && !*at;
}

static void allow(struct gn_request *r, unsigned methods)
{
	char text[64] = "";
	size_t used = 0;

	for (int m = 0; m < 4; m++)
		if (methods >> m & 1)
			used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? ", " : "",
			                         m == GN_GET ? "GET, HEAD" : method_names[m]);
	gn_reply_header(r, "Allow", text);
}

int gn_route_find(struct gn_request *r, const char *method)
{
	const char *wanted = strcmp(method, "HEAD") ? method : "GET";
	size_t lengths[GN_PARAMS_MAX];
	unsigned others = 0;

	r->label = "none";
	for (const struct gn_route *route = r->http->options.routes; route->pattern; route++) {
		if (!match(r, route->pattern, lengths))
			continue;
		if (strcmp(method_names[route->method], wanted) != 0) {
			others |= 1u << route->method;
			continue;
		}
		r->route = route;
		r->label = route->pattern;
		for (int i = 0; i < r->param_count; i++)
			r->params[i].text[lengths[i]] = '\0';
		return 0;
	}
	r->param_count = 0;
	if (gn_static_find(r->http, r->path)) {
		r->label = "static";
		if (!strcmp(wanted, "GET"))
			return 200;
		others = 1u << GN_GET;
	}
	if (!others)
		return 404;
	allow(r, others);
	return 405;
}
