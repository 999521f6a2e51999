/*
 * Vectors of floats for the kernels: one set of names over AVX-512, AVX2 with FMA, and plain
 * vectors of four floats that any compiler turns into what its machine has (NEON, SSE2).
 *
 * Included by kernels_*.c only, inside their target region, after GN_SIMD was set to 512, 256 or
 * 128. VL is the number of lanes. Loads and stores need no alignment; the _n forms touch the first
 * n lanes only (0 < n < VL) and read zeros in the others. Minimum and maximum return their second
 * operand where one is NaN, so that vmax(bound, x) lets NaN through.
 */
#ifndef GN_CPU_SIMD_H
#define GN_CPU_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if GN_SIMD == 512

#define VL 16
typedef __m512 vf;

static inline vf vzero(void)
{
	return _mm512_setzero_ps();
}

static inline vf vset1(float x)
{
	return _mm512_set1_ps(x);
}

static inline vf vload(const float *p)
{
	return _mm512_loadu_ps(p);
}

static inline void vstore(float *p, vf x)
{
	_mm512_storeu_ps(p, x);
}

static inline vf vload_n(const float *p, int n)
{
	return _mm512_maskz_loadu_ps((__mmask16)((1U << n) - 1U), p);
}

static inline void vstore_n(float *p, vf x, int n)
{
	_mm512_mask_storeu_ps(p, (__mmask16)((1U << n) - 1U), x);
}

/* a * b + c, rounded once where the machine can. */
static inline vf vfma(vf a, vf b, vf c)
{
	return _mm512_fmadd_ps(a, b, c);
}

/* c - a * b */
static inline vf vfnma(vf a, vf b, vf c)
{
	return _mm512_fnmadd_ps(a, b, c);
}

static inline vf vmax(vf a, vf b)
{
	return _mm512_max_ps(a, b);
}

static inline vf vmin(vf a, vf b)
{
	return _mm512_min_ps(a, b);
}

static inline vf vsqrt(vf a)
{
	return _mm512_sqrt_ps(a);
}

static inline vf vabs(vf a)
{
	return _mm512_abs_ps(a);
}

/* x < 0 ? a : b */
static inline vf vif_negative(vf x, vf a, vf b)
{
	return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), b, a);
}

/* 1 / x within 1e-7 relative, for normal x. */
static inline vf vreciprocal(vf x)
{
	vf t = _mm512_rcp14_ps(x);
	return t * vfnma(t, x, vset1(2.0F));
}

static inline vf vround(vf x)
{
	return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

/* x * 2^n for whole n */
static inline vf vscale2(vf x, vf n)
{
	return _mm512_scalef_ps(x, n);
}

/* r[i] lane j becomes r[j] lane i. */
static inline void vtranspose(vf r[VL])
{
	__m512d t[VL];
	for (int i = 0; i < VL; i += 4) {
		vf a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
		vf c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
		t[i] = _mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(c));
		t[i + 1] = _mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(c));
		t[i + 2] = _mm512_unpacklo_pd(_mm512_castps_pd(b), _mm512_castps_pd(d));
		t[i + 3] = _mm512_unpackhi_pd(_mm512_castps_pd(b), _mm512_castps_pd(d));
	}
	/* t[4 g + c] holds, in its quarter q, rows 4 g .. 4 g + 3 of column 4 q + c. */
	for (int c = 0; c < 4; c++) {
		__m512d even0 = _mm512_shuffle_f64x2(t[c], t[4 + c], 0x88);
		__m512d even1 = _mm512_shuffle_f64x2(t[8 + c], t[12 + c], 0x88);
		__m512d odd0 = _mm512_shuffle_f64x2(t[c], t[4 + c], 0xdd);
		__m512d odd1 = _mm512_shuffle_f64x2(t[8 + c], t[12 + c], 0xdd);
		r[c] = _mm512_castpd_ps(_mm512_shuffle_f64x2(even0, even1, 0x88));
		r[4 + c] = _mm512_castpd_ps(_mm512_shuffle_f64x2(odd0, odd1, 0x88));
		r[8 + c] = _mm512_castpd_ps(_mm512_shuffle_f64x2(even0, even1, 0xdd));
		r[12 + c] = _mm512_castpd_ps(_mm512_shuffle_f64x2(odd0, odd1, 0xdd));
	}
}

#elif GN_SIMD == 256

#define VL 8
typedef __m256 vf;

static inline vf vzero(void)
{
	return _mm256_setzero_ps();
}

static inline vf vset1(float x)
{
	return _mm256_set1_ps(x);
}

static inline vf vload(const float *p)
{
	return _mm256_loadu_ps(p);
}

static inline void vstore(float *p, vf x)
{
	_mm256_storeu_ps(p, x);
}

static inline __m256i vmask_n(int n)
{
	return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vf vload_n(const float *p, int n)
{
	return _mm256_maskload_ps(p, vmask_n(n));
}

static inline void vstore_n(float *p, vf x, int n)
{
	_mm256_maskstore_ps(p, vmask_n(n), x);
}

static inline vf vfma(vf a, vf b, vf c)
{
	return _mm256_fmadd_ps(a, b, c);
}

static inline vf vfnma(vf a, vf b, vf c)
{
	return _mm256_fnmadd_ps(a, b, c);
}

static inline vf vmax(vf a, vf b)
{
	return _mm256_max_ps(a, b);
}

static inline vf vmin(vf a, vf b)
{
	return _mm256_min_ps(a, b);
}

static inline vf vsqrt(vf a)
{
	return _mm256_sqrt_ps(a);
}

static inline vf vabs(vf a)
{
	return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a);
}

static inline vf vif_negative(vf x, vf a, vf b)
{
	return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ));
}

static inline vf vreciprocal(vf x)
{
	return vset1(1.0F) / x;
}

static inline vf vround(vf x)
{
	return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static inline vf vscale2(vf x, vf n)
{
	__m256i e = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
	return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(e, 23)));
}

static inline void vtranspose(vf r[VL])
{
	__m256d t[VL];
	for (int i = 0; i < VL; i += 4) {
		vf a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
		vf c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
		t[i] = _mm256_unpacklo_pd(_mm256_castps_pd(a), _mm256_castps_pd(c));
		t[i + 1] = _mm256_unpackhi_pd(_mm256_castps_pd(a), _mm256_castps_pd(c));
		t[i + 2] = _mm256_unpacklo_pd(_mm256_castps_pd(b), _mm256_castps_pd(d));
		t[i + 3] = _mm256_unpackhi_pd(_mm256_castps_pd(b), _mm256_castps_pd(d));
	}
	for (int c = 0; c < 4; c++) {
		r[c] = _mm256_castpd_ps(_mm256_permute2f128_pd(t[c], t[4 + c], 0x20));
		r[4 + c] = _mm256_castpd_ps(_mm256_permute2f128_pd(t[c], t[4 + c], 0x31));
	}
}

#else

#define VL 4
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));

static inline vf vzero(void)
{
	return (vf){0, 0, 0, 0};
}

static inline vf vset1(float x)
{
	return (vf){x, x, x, x};
}

static inline vf vload(const float *p)
{
	vf x;
	memcpy(&x, p, sizeof x);
	return x;
}

static inline void vstore(float *p, vf x)
{
	memcpy(p, &x, sizeof x);
}

static inline vf vload_n(const float *p, int n)
{
	vf x = vzero();
	for (int i = 0; i < n; i++)
		x[i] = p[i];
	return x;
}

static inline void vstore_n(float *p, vf x, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = x[i];
}

static inline vf vfma(vf a, vf b, vf c)
{
#if defined(__ARM_NEON)
	return vfmaq_f32(c, a, b);
#else
	return a * b + c;
#endif
}

static inline vf vfnma(vf a, vf b, vf c)
{
#if defined(__ARM_NEON)
	return vfmsq_f32(c, a, b);
#else
	return c - a * b;
#endif
}

static inline vf vselect(vi mask, vf a, vf b)
{
	return (vf)((mask & (vi)a) | (~mask & (vi)b));
}

static inline vf vmax(vf a, vf b)
{
	return vselect((vi)(a > b), a, b);
}

static inline vf vmin(vf a, vf b)
{
	return vselect((vi)(a < b), a, b);
}

static inline vf vsqrt(vf a)
{
	for (int i = 0; i < VL; i++)
		a[i] = __builtin_sqrtf(a[i]);
	return a;
}

static inline vf vabs(vf a)
{
	return (vf)((vi)a & 0x7fffffff);
}

static inline vf vif_negative(vf x, vf a, vf b)
{
	return vselect((vi)(x < 0), a, b);
}

static inline vf vreciprocal(vf x)
{
	return vset1(1.0F) / x;
}

/* For |x| < 2^22: adding 1.5 * 2^23 leaves no bits for a fraction. */
static inline vf vround(vf x)
{
	const vf magic = vset1(12582912.0F);
	return (x + magic) - magic;
}

static inline vf vscale2(vf x, vf n)
{
	vi e = __builtin_convertvector(n, vi) + 127;
	return x * (vf)(e << 23);
}

static inline void vtranspose(vf r[VL])
{
	vf a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5), b = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
	vf c = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5), d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
	r[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
	r[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
	r[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
	r[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

#endif

/* Sum and maximum over the lanes, pairwise: the same order for every call. */
static inline float vsum(vf x)
{
	float a[VL];
	vstore(a, x);
	for (int n = VL / 2; n > 0; n /= 2)
		for (int i = 0; i < n; i++)
			a[i] += a[i + n];
	return a[0];
}

static inline float vmax_lanes(vf x)
{
	float a[VL];
	vstore(a, x);
	for (int n = VL / 2; n > 0; n /= 2)
		for (int i = 0; i < n; i++)
			a[i] = a[i] > a[i + n] ? a[i] : a[i + n];
	return a[0];
}

/* n lanes where that is fewer than VL. */
static inline vf vload_upto(const float *p, int n)
{
	return n >= VL ? vload(p) : vload_n(p, n);
}

static inline void vstore_upto(float *p, vf x, int n)
{
	if (n >= VL)
		vstore(p, x);
	else
		vstore_n(p, x, n);
}

/*
 * 2^y: the nearest whole power times a polynomial of degree 6 for the rest, fitted to 2e-9; 1e-7
 * relative with its roundings. y below -126 counts as -126, above 126 as 126; NaN stays NaN.
 */
static inline vf vexp2(vf y)
{
	y = vmin(vset1(126.0F), vmax(vset1(-126.0F), y));
	vf n = vround(y), r = y - n;
	vf p = vset1(1.5353361451348748e-4F);
	p = vfma(p, r, vset1(1.339887457025334e-3F));
	p = vfma(p, r, vset1(9.61843736076266e-3F));
	p = vfma(p, r, vset1(5.550332470632224e-2F));
	p = vfma(p, r, vset1(0.240226479135833F));
	p = vfma(p, r, vset1(0.6931472028553772F));
	p = vfma(p, r, vset1(1.0F));
	return vscale2(p, n);
}

/*
 * The normal distribution at x: its tail beyond |x|, and exp(-x^2 / 2). For t = 1 / (1 + 0.24 |x|)
 * the tail is that exponential times a polynomial in t of degree 7, fitted to 3.3e-9 absolute
 * against 40 digits; what is left is rounding, below 1e-7. Beyond 13 the tail counts as at 13
 * (6e-39).
 */
static inline vf vnormal_tail(vf x, vf *bell)
{
	vf a = vmin(vabs(x), vset1(13.0F));
	vf t = vreciprocal(vfma(vset1(0.24F), a, vset1(1.0F)));
	vf e = vexp2(a * a * vset1(-0.72134752F));
	vf p = vset1(-0.12367534294629849F);
	p = vfma(p, t, vset1(0.5478056898212634F));
	p = vfma(p, t, vset1(-0.6326223696309557F));
	p = vfma(p, t, vset1(0.6114310194326658F));
	p = vfma(p, t, vset1(-0.14571891679874316F));
	p = vfma(p, t, vset1(0.15291779887418924F));
	p = vfma(p, t, vset1(0.08986212454414765F));
	*bell = e;
	return p * t * e;
}

static inline vf vsigmoid(vf x)
{
	return vreciprocal(vset1(1.0F) + vexp2(x * vset1(-1.44269504F)));
}

#endif
