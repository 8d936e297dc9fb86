// Vectors of AVX-512 (F, BW, VL, DQ). To be included under the pragma that turns them on, after
// <immintrin.h>; everything here has internal linkage.
//
// What every vector_*.h offers the packing and the micro-kernel, for float and double accumulators:
// loads that widen a storage type, stores that round to one, both for the lanes of a mask (bit l
// stands for lane l; lanes outside it are never touched in memory and load as zero), fused
// multiply-add, and the transpose of a square block. Lane l lies at p[l], at p[2 * l] for
// *_every_other, and at p[offsets[l]] for gather.
#pragma once

#include "cpu/bfloat16_avx512.h"
#include "cpu/dtype.h"
#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {
namespace {

struct Avx512 {
  static constexpr Isa kIsa = Isa::avx512;
  template <class Accumulator>
  struct Vector;
};

template <>
struct Avx512::Vector<float> {
  using Type = __m512;
  static constexpr int kLanes = 16;

  static Type zero() { return _mm512_setzero_ps(); }
  static Type load(const float* p) { return _mm512_load_ps(p); }
  static void store(float* p, Type x) { _mm512_store_ps(p, x); }
  static Type load_unaligned(const float* p) { return _mm512_loadu_ps(p); }
  static void store_unaligned(float* p, Type x) { _mm512_storeu_ps(p, x); }
  static Type broadcast(const float* p) { return _mm512_set1_ps(*p); }
  static Type add(Type x, Type y) { return _mm512_add_ps(x, y); }
  static Type multiply_add(Type x, Type y, Type z) { return _mm512_fmadd_ps(x, y, z); }
  static Type bit_or(Type x, Type y) { return _mm512_or_ps(x, y); }

  static Type load_lanes(const float* p, uint32_t lanes) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>(lanes), p);
  }
  static Type load_lanes(const bfloat16* p, uint32_t lanes) {
    const __m256i bits = _mm256_maskz_loadu_epi16(static_cast<__mmask16>(lanes), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static Type load_lanes(const float16* p, uint32_t lanes) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(static_cast<__mmask16>(lanes), p));
  }

  static Type load_every_other(const float* p, uint32_t lanes) {
    const uint32_t even = spread(lanes);
    const __m512i evens =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(load_lanes(p, even), evens,
                                  load_lanes(p + kLanes, even >> kLanes));
  }
  static Type load_every_other(const bfloat16* p, uint32_t lanes) {
    const __m512i bits = _mm512_maskz_loadu_epi16(spread(lanes), p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
  }
  static Type load_every_other(const float16* p, uint32_t lanes) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_maskz_loadu_epi16(spread(lanes), p)));
  }

  static Type gather(const float* p, const int64_t* offsets, uint32_t lanes) {
    const __m256 none = _mm256_setzero_ps();
    const __m256 low = _mm512_mask_i64gather_ps(none, static_cast<__mmask8>(lanes),
                                                _mm512_loadu_si512(offsets), p, sizeof(float));
    const __m256 high = _mm512_mask_i64gather_ps(none, static_cast<__mmask8>(lanes >> 8),
                                                 _mm512_loadu_si512(offsets + 8), p, sizeof(float));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
  }
  template <class Half>
  static Type gather(const Half* p, const int64_t* offsets, uint32_t lanes) {
    alignas(64) float x[kLanes] = {};
    for (int l = 0; l < kLanes; ++l) {
      if (lanes >> l & 1u) x[l] = Storage<Half>::load(p[offsets[l]]);
    }
    return load(x);
  }

  static void store_lanes(float* p, Type x, uint32_t lanes) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>(lanes), x);
  }
  static void store_lanes(bfloat16* p, Type x, uint32_t lanes) {
    // Not cvtepi32_storeu, whose masked store takes as long as all the rest.
    _mm256_mask_storeu_epi16(p, static_cast<__mmask16>(lanes), round_to_bfloat16(x));
  }
  static void store_lanes(float16* p, Type x, uint32_t lanes) {
    const __m256i half = _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_mask_storeu_epi16(p, static_cast<__mmask16>(lanes), half);
  }

  static void store_every_other(float* p, Type x, uint32_t lanes) {
    const uint32_t even = spread(lanes);
    const __m512i low = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    store_lanes(p, permute(x, low), even);
    store_lanes(p + kLanes, permute(x, index_add(low, kLanes / 2)), even >> kLanes);
  }
  static void store_every_other(bfloat16* p, Type x, uint32_t lanes) {
    _mm512_mask_storeu_epi16(p, spread(lanes), _mm512_cvtepu16_epi32(round_to_bfloat16(x)));
  }
  static void store_every_other(float16* p, Type x, uint32_t lanes) {
    const __m256i half = _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm512_mask_storeu_epi16(p, spread(lanes), _mm512_cvtepu16_epi32(half));
  }

  // Bit 2 * l is bit l.
  static uint32_t spread(uint32_t lanes) {
    return _mm512_movepi16_mask(_mm512_maskz_set1_epi32(static_cast<__mmask16>(lanes), 0xffff));
  }

  // Computed by here, in the order of the program.
  static void pin(Type& x) { __asm__ volatile("" : "+v"(x)); }

  // Lane l of the result is lane index[l] of x.
  using Index = __m512i;
  static Index load_index(const int32_t* p) { return _mm512_loadu_si512(p); }
  static Index index_add(Index x, int32_t y) { return _mm512_add_epi32(x, _mm512_set1_epi32(y)); }
  static Type permute(Type x, Index index) { return _mm512_permutexvar_ps(index, x); }

  // to[j * to_stride + i] = from[i * from_stride + j] for i, j < kLanes.
  static void transpose(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
    __m512 x[16];
    __m512 y[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) x[i] = _mm512_loadu_ps(from + i * from_stride);
    // Four stages, each exchanging blocks of twice the size: 1, 2, 4 and 8 elements.
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
      y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
      y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        const __m512d low = _mm512_castps_pd(y[i + j]);
        const __m512d high = _mm512_castps_pd(y[i + 2 + j]);
        x[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
        x[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
      }
    }
    // x[4a + b], 128-bit part q: column 4q + b of rows 4a .. 4a + 3.
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b) {
      const __m512 even_low = _mm512_shuffle_f32x4(x[b], x[4 + b], 0x88);
      const __m512 odd_low = _mm512_shuffle_f32x4(x[b], x[4 + b], 0xdd);
      const __m512 even_high = _mm512_shuffle_f32x4(x[8 + b], x[12 + b], 0x88);
      const __m512 odd_high = _mm512_shuffle_f32x4(x[8 + b], x[12 + b], 0xdd);
      _mm512_storeu_ps(to + b * to_stride, _mm512_shuffle_f32x4(even_low, even_high, 0x88));
      _mm512_storeu_ps(to + (4 + b) * to_stride, _mm512_shuffle_f32x4(odd_low, odd_high, 0x88));
      _mm512_storeu_ps(to + (8 + b) * to_stride, _mm512_shuffle_f32x4(even_low, even_high, 0xdd));
      _mm512_storeu_ps(to + (12 + b) * to_stride, _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd));
    }
  }
};

template <>
struct Avx512::Vector<double> {
  using Type = __m512d;
  static constexpr int kLanes = 8;

  static Type zero() { return _mm512_setzero_pd(); }
  static Type load(const double* p) { return _mm512_load_pd(p); }
  static void store(double* p, Type x) { _mm512_store_pd(p, x); }
  static Type load_unaligned(const double* p) { return _mm512_loadu_pd(p); }
  static void store_unaligned(double* p, Type x) { _mm512_storeu_pd(p, x); }
  static Type broadcast(const double* p) { return _mm512_set1_pd(*p); }
  static Type add(Type x, Type y) { return _mm512_add_pd(x, y); }
  static Type multiply_add(Type x, Type y, Type z) { return _mm512_fmadd_pd(x, y, z); }
  static Type bit_or(Type x, Type y) { return _mm512_or_pd(x, y); }

  static Type load_lanes(const double* p, uint32_t lanes) {
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>(lanes), p);
  }
  static Type load_every_other(const double* p, uint32_t lanes) {
    const uint32_t even = spread(lanes);
    return _mm512_permutex2var_pd(load_lanes(p, even), _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14),
                                  load_lanes(p + kLanes, even >> kLanes));
  }
  static Type gather(const double* p, const int64_t* offsets, uint32_t lanes) {
    return _mm512_mask_i64gather_pd(zero(), static_cast<__mmask8>(lanes),
                                    _mm512_loadu_si512(offsets), p, sizeof(double));
  }
  static void store_lanes(double* p, Type x, uint32_t lanes) {
    _mm512_mask_storeu_pd(p, static_cast<__mmask8>(lanes), x);
  }
  static void store_every_other(double* p, Type x, uint32_t lanes) {
    const uint32_t even = spread(lanes);
    const __m512i low = _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3);
    const __m512i high = _mm512_setr_epi64(4, 4, 5, 5, 6, 6, 7, 7);
    store_lanes(p, _mm512_permutexvar_pd(low, x), even);
    store_lanes(p + kLanes, _mm512_permutexvar_pd(high, x), even >> kLanes);
  }
  static uint32_t spread(uint32_t lanes) {
    return _mm512_movepi32_mask(_mm512_maskz_set1_epi64(static_cast<__mmask8>(lanes), 0xffffffff));
  }

  static void transpose(const double* from, int64_t from_stride, double* to, int64_t to_stride) {
    for (int i = 0; i < kLanes; ++i) {
      for (int j = 0; j < kLanes; ++j) to[j * to_stride + i] = from[i * from_stride + j];
    }
  }
};

}  // namespace
}  // namespace fastconv::cpu
