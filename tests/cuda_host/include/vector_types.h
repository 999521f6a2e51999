/* The stand-in for CUDA's vector types: same sizes and alignments, so that a misaligned access is
 * one here too. */
#ifndef GN_HOST_VECTOR_TYPES_H
#define GN_HOST_VECTOR_TYPES_H

#define GN_HOST_VECTOR_2(type, name, align)                                                                            \
	struct alignas(align) name {                                                                                   \
		type x, y;                                                                                             \
	};                                                                                                             \
	static inline name make_##name(type x, type y)                                                                 \
	{                                                                                                              \
		return name{x, y};                                                                                     \
	}
#define GN_HOST_VECTOR_3(type, name)                                                                                   \
	struct name {                                                                                                  \
		type x, y, z;                                                                                          \
	};                                                                                                             \
	static inline name make_##name(type x, type y, type z)                                                         \
	{                                                                                                              \
		return name{x, y, z};                                                                                  \
	}
#define GN_HOST_VECTOR_4(type, name, align)                                                                            \
	struct alignas(align) name {                                                                                   \
		type x, y, z, w;                                                                                       \
	};                                                                                                             \
	static inline name make_##name(type x, type y, type z, type w)                                                 \
	{                                                                                                              \
		return name{x, y, z, w};                                                                               \
	}

GN_HOST_VECTOR_2(unsigned char, uchar2, 2)
GN_HOST_VECTOR_4(unsigned char, uchar4, 4)
GN_HOST_VECTOR_2(short, short2, 4)
GN_HOST_VECTOR_2(unsigned short, ushort2, 4)
GN_HOST_VECTOR_4(short, short4, 8)
GN_HOST_VECTOR_4(unsigned short, ushort4, 8)
GN_HOST_VECTOR_2(int, int2, 8)
GN_HOST_VECTOR_3(int, int3)
GN_HOST_VECTOR_4(int, int4, 16)
GN_HOST_VECTOR_2(unsigned int, uint2, 8)
GN_HOST_VECTOR_3(unsigned int, uint3)
GN_HOST_VECTOR_4(unsigned int, uint4, 16)
GN_HOST_VECTOR_2(long long, longlong2, 16)
GN_HOST_VECTOR_2(unsigned long long, ulonglong2, 16)
GN_HOST_VECTOR_2(float, float2, 8)
GN_HOST_VECTOR_3(float, float3)
GN_HOST_VECTOR_4(float, float4, 16)
GN_HOST_VECTOR_2(double, double2, 16)

struct dim3 {
	unsigned int x, y, z;
	constexpr dim3(unsigned int vx = 1, unsigned int vy = 1, unsigned int vz = 1) : x(vx), y(vy), z(vz)
	{
	}
	constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z)
	{
	}
};

#endif
