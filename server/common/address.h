/* Parses the address that the service listens on. */
#ifndef GN_SERVER_ADDRESS_H
#define GN_SERVER_ADDRESS_H

#include <stdbool.h>
#include "gonio.h"

/* Splits "host:port" or "[v6]:port" into a numeric socket address. *loopback is true if only this
 * machine can reach it. */
struct sockaddr_storage; /* <sys/socket.h> */
int gn_address_parse(struct sockaddr_storage *address, bool *loopback, const char *listen, struct gn_error *err);

#endif
