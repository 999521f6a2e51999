/* The CUDA backend as a library that is loaded when a GPU is asked for: the program itself links no CUDA. */
#ifndef GN_PLUGIN_H
#define GN_PLUGIN_H

#include "backend/backend.h"

typedef const struct gn_backend *gn_plugin_entry(int abi, enum gn_precision precision);

/* Loads $GONIO_CUDA_PLUGIN where that is set, else libgonio_cuda.so beside the program or in ../lib/gonio. It stays
 * loaded for the rest of the process. GN_UNSUPPORTED: there is none, it cannot be loaded, or it is of another version
 * of gonio; the text names the file. */
int gn_plugin_load(gn_plugin_entry **out, struct gn_error *err);

#endif
