// Compiled into each program with the runner: whether that program's device code is instrumented.
#include "internal.h"

extern const bool gn_host_checked = GN_HOST_CHECKED;
