// The depthwise kernels' vectors in AVX2 with FMA and F16C; depthwise_vectors_portable.h says what
// each operation means. Include this below a `#pragma GCC target`, with <immintrin.h> included
// above it.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "cpu/dtype.h"

namespace fastconv::cpu {
namespace {

struct Avx2Float {
  using Element = float;
  using Vector = __m256;
  static constexpr int64_t kLanes = 8;
  static constexpr int kRegisters = 16;

  struct Mask {
    __m256i lanes;
    int low, high;
  };

  static Mask range(int64_t low, int64_t high) {
    low = low < 0 ? 0 : low;
    high = high > kLanes ? kLanes : high;
    return {_mm256_andnot_si256(first(low), first(high)), static_cast<int>(low),
            static_cast<int>(high)};
  }
  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector splat(float x) { return _mm256_set1_ps(x); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }

  static Vector load(const float* from) { return _mm256_loadu_ps(from); }
  static Vector load(const bfloat16* from) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }
  static Vector load(const float16* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Vector load_first(const float* from, int64_t count) {
    return _mm256_maskload_ps(from, first(count));
  }
  static Vector load(const float* from, Mask mask) { return _mm256_maskload_ps(from, mask.lanes); }
  // AVX2 masks no 16-bit loads and stores: those go through a buffer.
  template <class T>
  static Vector load(const T* from, Mask mask) {
    if (mask.low <= 0 && mask.high >= kLanes) return load(from);
    T buffer[kLanes] = {};
    for (int lane = mask.low; lane < mask.high; ++lane) buffer[lane] = from[lane];
    return load(buffer);
  }

  static void store(float* to, Vector x) { _mm256_storeu_ps(to, x); }
  static void store(bfloat16* to, Vector x) {
    // As to_bfloat16(float): to nearest even, a NaN stays one.
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i high = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_srli_epi32(
        _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i words = _mm256_blendv_epi8(rounded, quiet, nan);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(words, words), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(packed));
  }
  static void store(float16* to, Vector x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store_first(float* to, Vector x, int64_t count) {
    _mm256_maskstore_ps(to, first(count), x);
  }
  template <class T>
  static void store_first(T* to, Vector x, int64_t count) {
    T buffer[kLanes];
    store(buffer, x);
    std::memcpy(to, buffer, static_cast<size_t>(count) * sizeof(T));
  }

  static Vector evens(Vector a, Vector b) {
    const __m256 mixed = _mm256_shuffle_ps(a, b, 0x88);  // a0 a2 b0 b2 | a4 a6 b4 b6
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(mixed), 0xd8));
  }
  static void interleave(Vector a, Vector b, Vector& low, Vector& high) {
    const __m256 x = _mm256_unpacklo_ps(a, b), y = _mm256_unpackhi_ps(a, b);
    low = _mm256_permute2f128_ps(x, y, 0x20);
    high = _mm256_permute2f128_ps(x, y, 0x31);
  }
  static void add_to(double* to, Vector x) {
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
    const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
    _mm256_storeu_pd(to, _mm256_add_pd(_mm256_loadu_pd(to), low));
    _mm256_storeu_pd(to + 4, _mm256_add_pd(_mm256_loadu_pd(to + 4), high));
  }
  static double sum(Vector x) {
    const __m256d four = _mm256_add_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
                                       _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }

 private:
  static __m256i first(int64_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
};

struct Avx2Double {
  using Element = double;
  using Vector = __m256d;
  static constexpr int64_t kLanes = 4;
  static constexpr int kRegisters = 16;

  struct Mask {
    __m256i lanes;
    int low, high;
  };

  static Mask range(int64_t low, int64_t high) {
    low = low < 0 ? 0 : low;
    high = high > kLanes ? kLanes : high;
    return {_mm256_andnot_si256(first(low), first(high)), static_cast<int>(low),
            static_cast<int>(high)};
  }
  static Vector zero() { return _mm256_setzero_pd(); }
  static Vector splat(double x) { return _mm256_set1_pd(x); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_pd(a, b, c); }
  static Vector load(const double* from) { return _mm256_loadu_pd(from); }
  static Vector load(const double* from, Mask mask) { return _mm256_maskload_pd(from, mask.lanes); }
  static Vector load_first(const double* from, int64_t count) {
    return _mm256_maskload_pd(from, first(count));
  }
  static void store(double* to, Vector x) { _mm256_storeu_pd(to, x); }
  static void store_first(double* to, Vector x, int64_t count) {
    _mm256_maskstore_pd(to, first(count), x);
  }
  static Vector evens(Vector a, Vector b) {
    return _mm256_permute4x64_pd(_mm256_unpacklo_pd(a, b), 0xd8);
  }
  static void interleave(Vector a, Vector b, Vector& low, Vector& high) {
    const __m256d x = _mm256_unpacklo_pd(a, b), y = _mm256_unpackhi_pd(a, b);
    low = _mm256_permute2f128_pd(x, y, 0x20);
    high = _mm256_permute2f128_pd(x, y, 0x31);
  }
  static void add_to(double* to, Vector x) {
    _mm256_storeu_pd(to, _mm256_add_pd(_mm256_loadu_pd(to), x));
  }
  static double sum(Vector x) {
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(x), _mm256_extractf128_pd(x, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }

 private:
  static __m256i first(int64_t count) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
  }
};

}  // namespace
}  // namespace fastconv::cpu
