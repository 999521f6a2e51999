/* The CUDA backend as a library. It is loaded when a GPU is requested, so that the program itself
 * does not link CUDA. */
#ifndef GN_PLUGIN_H
#define GN_PLUGIN_H

#include "backend/backend.h"

typedef const struct gn_backend *gn_plugin_entry(int abi, enum gn_precision precision);

/* Loads $GONIO_CUDA_PLUGIN if it is set, else libgonio_cuda.so beside the program or in
 * ../lib/gonio. The library stays loaded for the rest of the process. GN_UNSUPPORTED if it does not
 * exist, cannot be loaded, or belongs to another version of gonio; the text names the file. */
int gn_plugin_load(gn_plugin_entry **out, struct gn_error *err);

#endif
