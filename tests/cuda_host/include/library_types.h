/* The data types of CUDA's libraries that the runner knows, with CUDA's values. */
#ifndef GN_HOST_LIBRARY_TYPES_H
#define GN_HOST_LIBRARY_TYPES_H

typedef enum cudaDataType_t {
	CUDA_R_32F = 0,
	CUDA_R_16BF = 14,
} cudaDataType_t;
typedef enum cudaDataType_t cudaDataType;

#endif
