/* A checkpoint as it arrives: a bare safetensors file, or an archive of its folder. The first bytes
 * tell which. */
#include "api/api.h"

/* A source whose first bytes were read already: it returns them again, then the rest. */
struct peeked {
	gn_bytes_read *read;
	void *user;
	uint8_t head[512];
	size_t have, given;
};

/* Fills the head, or less if the source ends. */
static int peek(struct peeked *p, struct gn_error *err)
{
	ssize_t n = 1;

	while (n > 0 && p->have < sizeof p->head) {
		n = p->read(p->user, p->head + p->have, sizeof p->head - p->have);
		p->have += n > 0 ? (size_t)n : 0;
	}
	return n < 0 ? gn_fail(err, GN_CANCELLED, "", "the upload ended early") : 0;
}

static ssize_t read_peeked(void *user, void *buffer, size_t size)
{
	struct peeked *p = user;
	size_t n = p->have - p->given;

	if (n == 0)
		return p->read(p->user, buffer, size);
	if (n > size)
		n = size;
	memcpy(buffer, p->head + p->given, n);
	p->given += n;
	return (ssize_t)n;
}

static bool peeked_gone(void *user)
{
	struct peeked *p = user;

	return gn_request_gone(p->user);
}

int gn_api_save_checkpoint(struct gn_request *r, gn_bytes_read *read, void *user, const char *path,
                           struct gn_unpacked *beside, struct gn_error *err)
{
	const struct gn_service *service = gn_request_service(r);
	struct peeked p = {.read = read, .user = user};
	const struct gn_archive_budget budget = gn_service_archive_budget(service);
	struct gn_unpack_options options = {.read = read_peeked,
	                                    .gone = peeked_gone,
	                                    .user = &p,
	                                    .budget = &budget,
	                                    .room = gn_api_has_room,
	                                    .room_user = service->store};

	*beside = (struct gn_unpacked){0};
	if (peek(&p, err))
		return -1;
	if (gn_archive_sniff(p.head, p.have))
		return gn_model_unpack(beside, path, &options, err);
	return gn_source_save(read_peeked, &p, path, err);
}
