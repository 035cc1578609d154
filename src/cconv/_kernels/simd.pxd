# Vector registers: the one place that knows the instruction set.
#
# `vec` is a register of float (v32) or double (v64); to Cython it looks like a number, so kernels add and multiply it as
# one. Each instruction set compiles this file anew with its own flags: 64, 32 or 16 bytes a register, or one
# number where the compiler has no vector extension.
#
# FMA is explicit (`fma`) and contraction is switched off (-ffp-contract=off): avx2 and avx512 then give the same bits.

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifndef CCONV_SIMD
    #define CCONV_SIMD
    #include <math.h>
    #include <stdint.h>
    #include <string.h>

    #if !(defined(__GNUC__) || defined(__clang__)) || defined(CCONV_SCALAR)
      #define CC_BYTES 0
      #define CC_TILE 6
    #elif defined(__AVX512F__)
      #include <immintrin.h>
      #define CC_BYTES 64
      #define CC_TILE 14
    #elif defined(__AVX2__)
      #include <immintrin.h>
      #define CC_BYTES 32
      #define CC_TILE 6
    #elif defined(__aarch64__)
      #include <arm_neon.h>
      #define CC_BYTES 16
      #define CC_TILE 14
    #else
      #define CC_BYTES 16
      #define CC_TILE 6
    #endif

    #if CC_BYTES
      typedef float v32 __attribute__((vector_size(CC_BYTES), aligned(4), may_alias));
      typedef double v64 __attribute__((vector_size(CC_BYTES), aligned(8), may_alias));
      typedef int32_t i32 __attribute__((vector_size(CC_BYTES), aligned(4), may_alias));
      typedef int64_t i64 __attribute__((vector_size(CC_BYTES), aligned(8), may_alias));
      #define CC_L32 (CC_BYTES / 4)
      #define CC_L64 (CC_BYTES / 8)
      #define CC_INLINE static inline __attribute__((always_inline, unused))
      /* A tile is fast only where its sizes are literals after inlining, which no compiler promises unasked. */
      #undef CYTHON_INLINE
      #define CYTHON_INLINE inline __attribute__((always_inline, unused))
      /* m is -1 (all bits) or 0 a lane */
      #define cc_where32(m, a, b) ((v32)(((m) & (i32)(a)) | (~(m) & (i32)(b))))
      #define cc_where64(m, a, b) ((v64)(((m) & (i64)(a)) | (~(m) & (i64)(b))))
    #else
      typedef float v32;
      typedef double v64;
      typedef int32_t i32;
      typedef int64_t i64;
      #define CC_L32 1
      #define CC_L64 1
      #define CC_INLINE static __inline
      #define cc_set32(x) ((float)(x))
      #define cc_set64(x) ((double)(x))
      #define cc_where32(m, a, b) ((m) ? (a) : (b))
      #define cc_where64(m, a, b) ((m) ? (a) : (b))
    #endif

    #if CC_BYTES == 64
      #define cc_set32(x) ((v32)_mm512_set1_ps(x))
      #define cc_set64(x) ((v64)_mm512_set1_pd(x))
    #elif CC_BYTES == 32
      #define cc_set32(x) ((v32)_mm256_set1_ps(x))
      #define cc_set64(x) ((v64)_mm256_set1_pd(x))
    #elif CC_BYTES
      CC_INLINE v32 cc_set32(float x) { return (v32){x, x, x, x}; }
      CC_INLINE v64 cc_set64(double x) { return (v64){x, x}; }
    #endif

    #if CC_BYTES == 64
      #define cc_fma32(a, b, c) ((v32)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
      #define cc_fma64(a, b, c) ((v64)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
    #elif CC_BYTES == 32
      #define cc_fma32(a, b, c) ((v32)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
      #define cc_fma64(a, b, c) ((v64)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
    #elif defined(__aarch64__) && CC_BYTES
      #define cc_fma32(a, b, c) ((v32)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
      #define cc_fma64(a, b, c) ((v64)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))
    #else
      #define cc_fma32(a, b, c) ((a) * (b) + (c))
      #define cc_fma64(a, b, c) ((a) * (b) + (c))
    #endif

    /* The first n lanes of a register; the others read as 0. Nothing past p[n - 1] is touched. */
    CC_INLINE v32 cc_head32(const float *p, int n) {
    #if CC_BYTES == 64
      return (v32)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
    #elif CC_BYTES == 32
      const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
      return (v32)_mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane));
    #else
      v32 r = cc_set32(0); memcpy(&r, p, sizeof(float) * (size_t)n); return r;
    #endif
    }
    CC_INLINE v64 cc_head64(const double *p, int n) {
    #if CC_BYTES == 64
      return (v64)_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
    #elif CC_BYTES == 32
      const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
      return (v64)_mm256_maskload_pd(p, _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), lane));
    #else
      v64 r = cc_set64(0); memcpy(&r, p, sizeof(double) * (size_t)n); return r;
    #endif
    }
    /* Lanes low .. high - 1 of a register, 0 <= low < high <= lanes; the others read as 0. Nothing else is touched. */
    CC_INLINE v32 cc_between32(const float *p, int low, int high) {
    #if CC_BYTES == 64
      return (v32)_mm512_maskz_loadu_ps((__mmask16)((1u << high) - (1u << low)), p);
    #elif CC_BYTES == 32
      const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
      return (v32)_mm256_maskload_ps(p, _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(low), lane), _mm256_cmpgt_epi32(_mm256_set1_epi32(high), lane)));
    #else
      v32 r = cc_set32(0); memcpy((float *)&r + low, p + low, sizeof(float) * (size_t)(high - low)); return r;
    #endif
    }
    CC_INLINE v64 cc_between64(const double *p, int low, int high) {
    #if CC_BYTES == 64
      return (v64)_mm512_maskz_loadu_pd((__mmask8)((1u << high) - (1u << low)), p);
    #elif CC_BYTES == 32
      const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
      return (v64)_mm256_maskload_pd(p, _mm256_andnot_si256(_mm256_cmpgt_epi64(_mm256_set1_epi64x(low), lane), _mm256_cmpgt_epi64(_mm256_set1_epi64x(high), lane)));
    #else
      v64 r = cc_set64(0); memcpy((double *)&r + low, p + low, sizeof(double) * (size_t)(high - low)); return r;
    #endif
    }
    CC_INLINE void cc_put32(float *p, v32 v, int n) {
    #if CC_BYTES == 64
      _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
    #elif CC_BYTES == 32
      /* By halves: a call of memcpy is dear, and so is AMD's masked store. */
      __m128 q = _mm256_castps256_ps128((__m256)v);
      if (n & 8) { _mm256_storeu_ps(p, (__m256)v); return; }
      if (n & 4) { _mm_storeu_ps(p, q); q = _mm256_extractf128_ps((__m256)v, 1); p += 4; }
      if (n & 2) { _mm_storel_pi((__m64 *)p, q); q = _mm_movehl_ps(q, q); p += 2; }
      if (n & 1) _mm_store_ss(p, q);
    #else
      memcpy(p, &v, sizeof(float) * (size_t)n);
    #endif
    }
    CC_INLINE void cc_put64(double *p, v64 v, int n) {
    #if CC_BYTES == 64
      _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v);
    #elif CC_BYTES == 32
      __m128d q = _mm256_castpd256_pd128((__m256d)v);
      if (n & 4) { _mm256_storeu_pd(p, (__m256d)v); return; }
      if (n & 2) { _mm_storeu_pd(p, q); q = _mm256_extractf128_pd((__m256d)v, 1); p += 2; }
      if (n & 1) _mm_store_sd(p, q);
    #else
      memcpy(p, &v, sizeof(double) * (size_t)n);
    #endif
    }

    /* Lanes lo..hi-1 of a register, lo and hi in 0..lanes. cc_take reads them; the others are 0, and their memory is not touched. */
    #if CC_BYTES == 64
      typedef unsigned cc_span;
      #define cc_span32(lo, hi) ((unsigned)(((1u << (hi)) - 1) & (~0u << (lo))))
      #define cc_span64(lo, hi) cc_span32(lo, hi)
      #define cc_take32(p, m) ((v32)_mm512_maskz_loadu_ps((__mmask16)(m), p))
      #define cc_take64(p, m) ((v64)_mm512_maskz_loadu_pd((__mmask8)(m), p))
    #elif CC_BYTES == 32
      typedef __m256i cc_span;
      CC_INLINE cc_span cc_span32(int lo, int hi) {
        const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        return _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(lo), lane), _mm256_cmpgt_epi32(_mm256_set1_epi32(hi), lane));
      }
      CC_INLINE cc_span cc_span64(int lo, int hi) {
        const __m256i lane = _mm256_setr_epi64x(0, 1, 2, 3);
        return _mm256_andnot_si256(_mm256_cmpgt_epi64(_mm256_set1_epi64x(lo), lane), _mm256_cmpgt_epi64(_mm256_set1_epi64x(hi), lane));
      }
      #define cc_take32(p, m) ((v32)_mm256_maskload_ps(p, m))
      #define cc_take64(p, m) ((v64)_mm256_maskload_pd(p, m))
    #else
      typedef struct { int lo, hi; } cc_span;
      CC_INLINE cc_span cc_span32(int lo, int hi) { cc_span m; m.lo = lo; m.hi = hi; return m; }
      #define cc_span64(lo, hi) cc_span32(lo, hi)
      CC_INLINE v32 cc_take32(const float *p, cc_span m) {
        float r[CC_L32] = {0}; v32 v;
        for (int i = m.lo; i < m.hi; i++) r[i] = p[i];
        memcpy(&v, r, sizeof v); return v;
      }
      CC_INLINE v64 cc_take64(const double *p, cc_span m) {
        double r[CC_L64] = {0}; v64 v;
        for (int i = m.lo; i < m.hi; i++) r[i] = p[i];
        memcpy(&v, r, sizeof v); return v;
      }
    #endif

    /* A register of doubles from as many floats, or from the first n of them, the other lanes 0. */
    #if CC_BYTES == 64
      #define cc_wide(p) ((v64)_mm512_cvtps_pd(_mm256_loadu_ps(p)))
      #define cc_wide_head(p, n) ((v64)_mm512_cvtps_pd(_mm256_maskz_loadu_ps((__mmask8)((1u << (n)) - 1), p)))
    #elif CC_BYTES == 32
      #define cc_wide(p) ((v64)_mm256_cvtps_pd(_mm_loadu_ps(p)))
      #define cc_wide_head(p, n) ((v64)_mm256_cvtps_pd(_mm_maskload_ps(p, _mm_cmpgt_epi32(_mm_set1_epi32(n), _mm_setr_epi32(0, 1, 2, 3)))))
    #elif CC_BYTES
      CC_INLINE v64 cc_wide(const float *p) { return (v64){p[0], p[1]}; }
      CC_INLINE v64 cc_wide_head(const float *p, int n) { return (v64){n > 0 ? p[0] : 0, n > 1 ? p[1] : 0}; }
    #else
      #define cc_wide(p) ((double)*(p))
      #define cc_wide_head(p, n) ((n) > 0 ? (double)*(p) : 0)
    #endif

    /* x > y ? a : b and x <= y ? a : b, lane by lane; both give b where x or y is NaN. max: a where x > y or x is NaN. */
    #if CC_BYTES == 64
      #define cc_gt32(x, y, a, b) ((v32)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)(x), (__m512)(y), _CMP_GT_OQ), (__m512)(b), (__m512)(a)))
      #define cc_gt64(x, y, a, b) ((v64)_mm512_mask_blend_pd(_mm512_cmp_pd_mask((__m512d)(x), (__m512d)(y), _CMP_GT_OQ), (__m512d)(b), (__m512d)(a)))
      #define cc_le32(x, y, a, b) ((v32)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)(x), (__m512)(y), _CMP_LE_OQ), (__m512)(b), (__m512)(a)))
      #define cc_le64(x, y, a, b) ((v64)_mm512_mask_blend_pd(_mm512_cmp_pd_mask((__m512d)(x), (__m512d)(y), _CMP_LE_OQ), (__m512d)(b), (__m512d)(a)))
      #define cc_max32(x, y, a, b) ((v32)_mm512_mask_blend_ps(_mm512_cmp_ps_mask((__m512)(x), (__m512)(y), _CMP_GT_OQ) | _mm512_cmp_ps_mask((__m512)(x), (__m512)(x), _CMP_UNORD_Q), (__m512)(b), (__m512)(a)))
      #define cc_max64(x, y, a, b) ((v64)_mm512_mask_blend_pd(_mm512_cmp_pd_mask((__m512d)(x), (__m512d)(y), _CMP_GT_OQ) | _mm512_cmp_pd_mask((__m512d)(x), (__m512d)(x), _CMP_UNORD_Q), (__m512d)(b), (__m512d)(a)))
    #else
      #define cc_max32(x, y, a, b) cc_where32(((x) > (y)) | ((x) != (x)), a, b)
      #define cc_max64(x, y, a, b) cc_where64(((x) > (y)) | ((x) != (x)), a, b)
      #define cc_gt32(x, y, a, b) cc_where32((x) > (y), a, b)
      #define cc_gt64(x, y, a, b) cc_where64((x) > (y), a, b)
      #define cc_le32(x, y, a, b) cc_where32((x) <= (y), a, b)
      #define cc_le64(x, y, a, b) cc_where64((x) <= (y), a, b)
    #endif

    #if CC_BYTES == 64
      #define cc_root32(a) ((v32)_mm512_sqrt_ps((__m512)(a)))
      #define cc_root64(a) ((v64)_mm512_sqrt_pd((__m512d)(a)))
    #elif CC_BYTES == 32
      #define cc_root32(a) ((v32)_mm256_sqrt_ps((__m256)(a)))
      #define cc_root64(a) ((v64)_mm256_sqrt_pd((__m256d)(a)))
    #elif CC_BYTES
      CC_INLINE v32 cc_root32(v32 a) { for (int i = 0; i < CC_L32; i++) a[i] = sqrtf(a[i]); return a; }
      CC_INLINE v64 cc_root64(v64 a) { for (int i = 0; i < CC_L64; i++) a[i] = sqrt(a[i]); return a; }
    #else
      #define cc_root32(a) sqrtf(a)
      #define cc_root64(a) sqrt(a)
    #endif

    /* The magnitude of a with the sign of b; a * 2**k where t = 1.5 * 2**(bits of the fraction) + k, in two steps, so that
       k may leave the range of exponents and the product overflow or fade out as it should. */
    #if CC_BYTES
      CC_INLINE v32 cc_copysign32(v32 a, v32 b) {
        const i32 sign = (i32)cc_set32(-0.0f); return (v32)(((i32)a & ~sign) | ((i32)b & sign));
      }
      CC_INLINE v64 cc_copysign64(v64 a, v64 b) {
        const i64 sign = (i64)cc_set64(-0.0); return (v64)(((i64)a & ~sign) | ((i64)b & sign));
      }
    #if CC_BYTES == 64
      #define cc_scale32(a, t) ((v32)_mm512_scalef_ps((__m512)(a), (__m512)((t) - cc_set32(12582912.0f))))
      #define cc_scale64(a, t) ((v64)_mm512_scalef_pd((__m512d)(a), (__m512d)((t) - cc_set64(6755399441055744.0))))
    #else
      CC_INLINE v32 cc_scale32(v32 a, v32 t) {
        i32 k = (i32)t - (i32)cc_set32(12582912.0f), h = k >> 1;
        return a * (v32)((h + 127) << 23) * (v32)((k - h + 127) << 23);
      }
      CC_INLINE v64 cc_scale64(v64 a, v64 t) {
        i64 k = (i64)t - (i64)cc_set64(6755399441055744.0), h = k >> 1;
        return a * (v64)((h + 1023) << 52) * (v64)((k - h + 1023) << 52);
      }
    #endif
    #else
      CC_INLINE v32 cc_copysign32(v32 a, v32 b) { return copysignf(a, b); }
      CC_INLINE v64 cc_copysign64(v64 a, v64 b) { return copysign(a, b); }
      CC_INLINE v32 cc_scale32(v32 a, v32 t) { return t == t ? ldexpf(a, (int)(t - 12582912.0f)) : t; }
      CC_INLINE v64 cc_scale64(v64 a, v64 t) { return t == t ? ldexp(a, (int)(t - 6755399441055744.0)) : t; }
    #endif

    /* dst[k] = first + k * step + place[k] for k < n <= lanes; true if a place is negative. */
    #if CC_BYTES == 64
      CC_INLINE int cc_places32(int64_t *dst, v32 place, int64_t first, int64_t step, int n) {
        const __m512i p = _mm512_cvttps_epi32((__m512)place), base = _mm512_set1_epi64(first);
        const __m512i lane = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7), by = _mm512_set1_epi64(step);
        const unsigned mask = (1u << n) - 1;
        __m512i d = _mm512_add_epi64(base, _mm512_mullo_epi64(lane, by));
        _mm512_mask_storeu_epi64(dst, (__mmask8)mask, _mm512_add_epi64(d, _mm512_cvtepi32_epi64(_mm512_castsi512_si256(p))));
        d = _mm512_add_epi64(d, _mm512_slli_epi64(by, 3));
        _mm512_mask_storeu_epi64(dst + 8, (__mmask8)(mask >> 8), _mm512_add_epi64(d, _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(p, 1))));
        return (_mm512_movepi32_mask(p) & mask) != 0;
      }
    #else
      CC_INLINE int cc_places32(int64_t *dst, v32 place, int64_t first, int64_t step, int n) {
        float p[CC_L32];
        int negative = 0;
        memcpy(p, &place, sizeof p);
        for (int k = 0; k < n; k++) { dst[k] = first + k * step + (int32_t)p[k]; negative |= p[k] < 0; }
        return negative;
      }
    #endif
    CC_INLINE int cc_places64(int64_t *dst, v64 place, int64_t first, int64_t step, int n) {
      double p[CC_L64];
      int negative = 0;
      memcpy(p, &place, sizeof p);
      for (int k = 0; k < n; k++) { dst[k] = first + k * step + (int64_t)p[k]; negative |= p[k] < 0; }
      return negative;
    }

    /* Lanes 0, 2, 4, ... of a followed by those of b. */
    #if CC_BYTES && defined(__has_builtin)
    #if __has_builtin(__builtin_shufflevector)
    #define CC_SECOND 1
    #if CC_BYTES == 64
      #define cc_second32(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
      #define cc_second64(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
    #elif CC_BYTES == 32
      #define cc_second32(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
      #define cc_second64(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
    #else
      #define cc_second32(a, b) __builtin_shufflevector(a, b, 0, 2, 4, 6)
      #define cc_second64(a, b) __builtin_shufflevector(a, b, 0, 2)
    #endif
    #endif
    #endif
    #ifndef CC_SECOND
    #define CC_SECOND 0
    #define cc_second32(a, b) (a)
    #define cc_second64(a, b) (a)
    #endif

    /* Lanes of a and b in turns: the first half of them, or the second. */
    #if CC_SECOND && CC_BYTES == 64
      #define cc_weave32(a, b, h) ((h) ? __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31) \
                                       : __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23))
      #define cc_weave64(a, b, h) ((h) ? __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15) : __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11))
    #elif CC_SECOND && CC_BYTES == 32
      #define cc_weave32(a, b, h) ((h) ? __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15) : __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11))
      #define cc_weave64(a, b, h) ((h) ? __builtin_shufflevector(a, b, 2, 6, 3, 7) : __builtin_shufflevector(a, b, 0, 4, 1, 5))
    #elif CC_SECOND
      #define cc_weave32(a, b, h) ((h) ? __builtin_shufflevector(a, b, 2, 6, 3, 7) : __builtin_shufflevector(a, b, 0, 4, 1, 5))
      #define cc_weave64(a, b, h) ((h) ? __builtin_shufflevector(a, b, 1, 3) : __builtin_shufflevector(a, b, 0, 2))
    #else
      #define cc_weave32(a, b, h) (a)
      #define cc_weave64(a, b, h) (a)
    #endif

    /* Have the cache line of p fetched; p may lie anywhere. */
    #if CC_BYTES
      #define cc_prefetch(p) __builtin_prefetch(p)
    #else
      #define cc_prefetch(p) ((void)0)
    #endif

    /* A 4x4 block of float, turned: four loads, eight shuffles, four stores (x86 and arm alike). */
    #if CC_BYTES && defined(__has_builtin)
    #if __has_builtin(__builtin_shufflevector)
    #define CC_TURN 1
    typedef float cc_q __attribute__((vector_size(16), aligned(4), may_alias));
    CC_INLINE void cc_turn4(const float *s, intptr_t ss, float *d, intptr_t ds) {
      cc_q a = *(const cc_q *)s, b = *(const cc_q *)(s + ss), c = *(const cc_q *)(s + 2 * ss), e = *(const cc_q *)(s + 3 * ss);
      cc_q ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), AB = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      cc_q ce = __builtin_shufflevector(c, e, 0, 4, 1, 5), CE = __builtin_shufflevector(c, e, 2, 6, 3, 7);
      *(cc_q *)d = __builtin_shufflevector(ab, ce, 0, 1, 4, 5);
      *(cc_q *)(d + ds) = __builtin_shufflevector(ab, ce, 2, 3, 6, 7);
      *(cc_q *)(d + 2 * ds) = __builtin_shufflevector(AB, CE, 0, 1, 4, 5);
      *(cc_q *)(d + 3 * ds) = __builtin_shufflevector(AB, CE, 2, 3, 6, 7);
    }
    #endif
    #endif
    #ifndef CC_TURN
    #define CC_TURN 0
    #define cc_turn4(s, ss, d, ds) ((void)0)
    #endif
    #endif
    """
    ctypedef float v32
    ctypedef double v64
    ctypedef int i32
    ctypedef long long i64
    v32 cc_fma32(v32 a, v32 b, v32 c) noexcept nogil
    v64 cc_fma64(v64 a, v64 b, v64 c) noexcept nogil
    v32 cc_set32(float x) noexcept nogil
    v64 cc_set64(double x) noexcept nogil
    v32 cc_head32(const float* p, int n) noexcept nogil
    v64 cc_head64(const double* p, int n) noexcept nogil
    v32 cc_between32(const float* p, int low, int high) noexcept nogil
    v64 cc_between64(const double* p, int low, int high) noexcept nogil
    void cc_put32(float* p, v32 v, int n) noexcept nogil
    void cc_put64(double* p, v64 v, int n) noexcept nogil
    ctypedef struct cc_span:
        pass
    cc_span cc_span32(int lo, int hi) noexcept nogil
    cc_span cc_span64(int lo, int hi) noexcept nogil
    v32 cc_take32(const float* p, cc_span m) noexcept nogil
    v64 cc_take64(const double* p, cc_span m) noexcept nogil
    v64 cc_wide(const float* p) noexcept nogil
    v64 cc_wide_head(const float* p, int n) noexcept nogil
    v32 cc_gt32(v32 x, v32 y, v32 a, v32 b) noexcept nogil
    v64 cc_gt64(v64 x, v64 y, v64 a, v64 b) noexcept nogil
    v32 cc_le32(v32 x, v32 y, v32 a, v32 b) noexcept nogil
    v64 cc_le64(v64 x, v64 y, v64 a, v64 b) noexcept nogil
    v32 cc_max32(v32 x, v32 y, v32 a, v32 b) noexcept nogil
    v64 cc_max64(v64 x, v64 y, v64 a, v64 b) noexcept nogil
    v32 cc_root32(v32 a) noexcept nogil
    v64 cc_root64(v64 a) noexcept nogil
    v32 cc_copysign32(v32 a, v32 b) noexcept nogil
    v64 cc_copysign64(v64 a, v64 b) noexcept nogil
    v32 cc_scale32(v32 a, v32 t) noexcept nogil
    v64 cc_scale64(v64 a, v64 t) noexcept nogil
    void prefetch "cc_prefetch"(const void* p) noexcept nogil
    void cc_turn4(const float* s, Py_ssize_t ss, float* d, Py_ssize_t ds) noexcept nogil
    int cc_places32(int64_t* dst, v32 place, int64_t first, int64_t step, int n) noexcept nogil
    int cc_places64(int64_t* dst, v64 place, int64_t first, int64_t step, int n) noexcept nogil
    v32 cc_second32(v32 a, v32 b) noexcept nogil
    v64 cc_second64(v64 a, v64 b) noexcept nogil
    v32 cc_weave32(v32 a, v32 b, int half) noexcept nogil
    v64 cc_weave64(v64 a, v64 b, int half) noexcept nogil
    const int CC_TURN
    const int CC_SECOND
    const int L32 "CC_L32"  # lanes of a register of float ...
    const int L64 "CC_L64"  # ... and of double
    const int TILE "CC_TILE"  # rows of the widest register tile: fills 32 or 16 registers

ctypedef fused real:
    float
    double

ctypedef fused vec:
    v32
    v64

# `vec*` points at numbers of any alignment; `at` steps over single numbers, not over registers.


cdef inline int lanes(const real* kind) noexcept nogil:
    return L32 if real is float else L64


cdef inline const vec* at(const vec* p, Py_ssize_t i) noexcept nogil:
    if vec is v32:
        return <const vec*>(<const float*>p + i)
    else:
        return <const vec*>(<const double*>p + i)


cdef inline vec broadcast(const vec* p, Py_ssize_t i) noexcept nogil:
    if vec is v32:
        return cc_set32((<const float*>p)[i])
    else:
        return cc_set64((<const double*>p)[i])


cdef inline vec fma(vec a, vec b, vec c) noexcept nogil:
    if vec is v32:
        return cc_fma32(a, b, c)
    else:
        return cc_fma64(a, b, c)


cdef inline vec head(const vec* p, int n) noexcept nogil:
    if vec is v32:
        return cc_head32(<const float*>p, n)
    else:
        return cc_head64(<const double*>p, n)


cdef inline vec between(const vec* p, int low, int high) noexcept nogil:
    """Lanes low .. high-1 of the register at p, zero elsewhere; nothing else is read."""
    if vec is v32:
        return cc_between32(<const float*>p, low, high)
    else:
        return cc_between64(<const double*>p, low, high)


cdef inline void put(vec* p, vec value, int n) noexcept nogil:
    if vec is v32:
        cc_put32(<float*> p, value, n)
    else:
        cc_put64(<double*> p, value, n)


cdef inline cc_span span(int lo, int hi, vec like) noexcept nogil:
    """Lanes lo..hi-1; none where hi <= lo. Both in 0..lanes."""
    if vec is v32:
        return cc_span32(lo, hi)
    else:
        return cc_span64(lo, hi)


cdef inline vec take(const vec* p, cc_span lanes) noexcept nogil:
    """The lanes of a span, the others 0: their memory is not touched."""
    if vec is v32:
        return cc_take32(<const float*> p, lanes)
    else:
        return cc_take64(<const double*> p, lanes)


cdef inline v64 wide(const real* p) noexcept nogil:
    """L64 numbers as doubles."""
    if real is float:
        return cc_wide(p)
    else:
        return (<const v64*> p)[0]


cdef inline v64 wide_head(const real* p, int n) noexcept nogil:
    """The first n numbers as doubles, 0 on the other lanes. Nothing past p[n - 1] is touched."""
    if real is float:
        return cc_wide_head(p, n)
    else:
        return cc_head64(p, n)


cdef inline vec splat(double x, vec like) noexcept nogil:
    if vec is v32:
        return cc_set32(<float> x)
    else:
        return cc_set64(x)


cdef inline double lane(vec v, int k) noexcept nogil:
    if vec is v32:
        return (<float*> &v)[k]
    else:
        return (<double*> &v)[k]


cdef inline bint put_places(int64_t* dst, vec place, int64_t first, int64_t step, int n) noexcept nogil:
    """dst[k] = first + k*step + place[k] for k < n; true if a place is negative."""
    if vec is v32:
        return cc_places32(dst, place, first, step, n)
    else:
        return cc_places64(dst, place, first, step, n)


cdef inline vec every_second(vec a, vec b) noexcept nogil:
    """Lanes 0, 2, 4, ... of a, then of b. Only where CC_SECOND is true."""
    if vec is v32:
        return cc_second32(a, b)
    else:
        return cc_second64(a, b)


cdef inline vec weave(vec a, vec b, const int half) noexcept nogil:
    """Lanes of a and b in turns: the first half of them, or the second. Only where CC_SECOND is true."""
    if vec is v32:
        return cc_weave32(a, b, half)
    else:
        return cc_weave64(a, b, half)


cdef inline vec where_gt(vec x, vec y, vec a, vec b) noexcept nogil:
    """a where x > y, else b (also where one is NaN)."""
    if vec is v32:
        return cc_gt32(x, y, a, b)
    else:
        return cc_gt64(x, y, a, b)


cdef inline vec where_le(vec x, vec y, vec a, vec b) noexcept nogil:
    """a where x <= y, else b (also where one is NaN)."""
    if vec is v32:
        return cc_le32(x, y, a, b)
    else:
        return cc_le64(x, y, a, b)


cdef inline vec where_max(vec x, vec y, vec a, vec b) noexcept nogil:
    """a where x > y or x is NaN, else b."""
    if vec is v32:
        return cc_max32(x, y, a, b)
    else:
        return cc_max64(x, y, a, b)


cdef inline vec copysign(vec magnitude, vec sign) noexcept nogil:
    if vec is v32:
        return cc_copysign32(magnitude, sign)
    else:
        return cc_copysign64(magnitude, sign)


cdef inline vec root(vec a) noexcept nogil:
    """The square root."""
    if vec is v32:
        return cc_root32(a)
    else:
        return cc_root64(a)


cdef inline vec scale(vec a, vec t) noexcept nogil:
    """a * 2**k, with t = k + the number that `vmath.nearest` adds."""
    if vec is v32:
        return cc_scale32(a, t)
    else:
        return cc_scale64(a, t)
