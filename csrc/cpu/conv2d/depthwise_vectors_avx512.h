// The depthwise kernels' vectors in AVX-512; depthwise_vectors_portable.h says what each operation
// means. Include this below a `#pragma GCC target`, with <immintrin.h> included above it.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "cpu/bfloat16_avx512.h"
#include "cpu/dtype.h"

namespace fastconv::cpu {
namespace {

struct Avx512Float {
  using Element = float;
  using Vector = __m512;
  static constexpr int64_t kLanes = 16;
  static constexpr int kRegisters = 32;

  using Mask = __mmask16;

  static Mask range(int64_t low, int64_t high) {
    return static_cast<Mask>(first(high) & ~first(low));
  }
  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector splat(float x) { return _mm512_set1_ps(x); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }

  static Vector load(const float* from) { return _mm512_loadu_ps(from); }
  static Vector load(const bfloat16* from) {
    return from_bfloat16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static Vector load(const float16* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static Vector load(const float* from, Mask lanes) { return _mm512_maskz_loadu_ps(lanes, from); }
  static Vector load(const bfloat16* from, Mask lanes) {
    return from_bfloat16(_mm256_maskz_loadu_epi16(lanes, from));
  }
  static Vector load(const float16* from, Mask lanes) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, from));
  }
  static Vector load_first(const float* from, int64_t count) {
    return _mm512_maskz_loadu_ps(first(count), from);
  }

  static void store(float* to, Vector x) { _mm512_storeu_ps(to, x); }
  static void store(bfloat16* to, Vector x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), round_to_bfloat16(x));
  }
  static void store(float16* to, Vector x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }
  static void store_first(float* to, Vector x, int64_t count) {
    _mm512_mask_storeu_ps(to, first(count), x);
  }
  static void store_first(bfloat16* to, Vector x, int64_t count) {
    _mm256_mask_storeu_epi16(to, first(count), round_to_bfloat16(x));
  }
  static void store_first(float16* to, Vector x, int64_t count) {
    _mm256_mask_storeu_epi16(to, first(count), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }

  static Vector evens(Vector a, Vector b) {
    const __m512i index =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(a, index, b);
  }
  static void interleave(Vector a, Vector b, Vector& low, Vector& high) {
    const __m512i index = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    low = _mm512_permutex2var_ps(a, index, b);
    high = _mm512_permutex2var_ps(a, _mm512_add_epi32(index, _mm512_set1_epi32(8)), b);
  }
  static void add_to(double* to, Vector x) {
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    _mm512_storeu_pd(to, _mm512_add_pd(_mm512_loadu_pd(to), low));
    _mm512_storeu_pd(to + 8, _mm512_add_pd(_mm512_loadu_pd(to + 8), high));
  }
  static double sum(Vector x) {
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    return _mm512_reduce_add_pd(_mm512_add_pd(low, high));
  }

 private:
  static __mmask16 first(int64_t count) {
    return static_cast<__mmask16>(count >= kLanes ? 0xffffu : count <= 0 ? 0u : (1u << count) - 1u);
  }
  static Vector from_bfloat16(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }
};

struct Avx512Double {
  using Element = double;
  using Vector = __m512d;
  static constexpr int64_t kLanes = 8;
  static constexpr int kRegisters = 32;

  using Mask = __mmask8;

  static Mask range(int64_t low, int64_t high) {
    return static_cast<Mask>(first(high) & ~first(low));
  }
  static Vector zero() { return _mm512_setzero_pd(); }
  static Vector splat(double x) { return _mm512_set1_pd(x); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_pd(a, b, c); }
  static Vector load(const double* from) { return _mm512_loadu_pd(from); }
  static Vector load(const double* from, Mask lanes) { return _mm512_maskz_loadu_pd(lanes, from); }
  static Vector load_first(const double* from, int64_t count) {
    return _mm512_maskz_loadu_pd(first(count), from);
  }
  static void store(double* to, Vector x) { _mm512_storeu_pd(to, x); }
  static void store_first(double* to, Vector x, int64_t count) {
    _mm512_mask_storeu_pd(to, first(count), x);
  }
  static Vector evens(Vector a, Vector b) {
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b);
  }
  static void interleave(Vector a, Vector b, Vector& low, Vector& high) {
    low = _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b);
    high = _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
  }
  static void add_to(double* to, Vector x) {
    _mm512_storeu_pd(to, _mm512_add_pd(_mm512_loadu_pd(to), x));
  }
  static double sum(Vector x) { return _mm512_reduce_add_pd(x); }

 private:
  static __mmask8 first(int64_t count) {
    return static_cast<__mmask8>(count >= kLanes ? 0xffu : count <= 0 ? 0u : (1u << count) - 1u);
  }
};

}  // namespace
}  // namespace fastconv::cpu
