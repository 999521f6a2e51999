/*
 * The part of NVTX that the backend uses. Ranges go to GONIO_CUDA_HOST_RANGES: runner/ranges.cpp.
 */
#ifndef GN_HOST_NVTOOLSEXT_H
#define GN_HOST_NVTOOLSEXT_H

int nvtxRangePushA(const char *name); /* how many are open already */
int nvtxRangePop(void);

#endif
