// Pooling's vectors in AVX-512; vectors_scalar.h says what each operation means. Include this below
// a `#pragma GCC target`, with <immintrin.h> included above it.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include "cpu/dtype.h"
#include "cpu/isa.h"

namespace fastconv::cpu {
namespace {

struct Avx512Float {
  using Element = float;
  using Index = int32_t;
  using Vector = __m512;
  using Indices = __m512i;
  using Mask = __mmask16;
  static constexpr int64_t kLanes = 16;

  static Mask first(int64_t count) {
    return static_cast<Mask>(count >= kLanes ? 0xffffu : (1u << count) - 1u);
  }

  static Vector lowest() { return _mm512_set1_ps(-std::numeric_limits<float>::infinity()); }

  static Vector load(const float* from) { return _mm512_loadu_ps(from); }
  static Vector load(const bfloat16* from) {
    return from_bfloat16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static Vector load(const float16* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }

  static Vector load_first(const float* from, int64_t count) {
    return _mm512_mask_loadu_ps(lowest(), first(count), from);
  }
  static Vector load_first(const bfloat16* from, int64_t count) {
    return from_bfloat16(_mm256_mask_loadu_epi16(_mm256_set1_epi16(static_cast<int16_t>(0xff80)),
                                                 first(count), from));
  }
  static Vector load_first(const float16* from, int64_t count) {
    return _mm512_cvtph_ps(_mm256_mask_loadu_epi16(_mm256_set1_epi16(static_cast<int16_t>(0xfc00)),
                                                   first(count), from));
  }

  static void store_first(float* to, Vector x, int64_t count) {
    _mm512_mask_storeu_ps(to, first(count), x);
  }
  static void store_first(bfloat16* to, Vector x, int64_t count) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i high = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
    const __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
    const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    _mm256_mask_storeu_epi16(to, first(count),
                             _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, quiet)));
  }
  static void store_first(float16* to, Vector x, int64_t count) {
    _mm256_mask_storeu_epi16(to, first(count), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }

  static void store(float* to, Vector x) { _mm512_storeu_ps(to, x); }

  static void split_pairs(Vector a, Vector b, Vector& even, Vector& odd) {
    const __m512i evens =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    even = _mm512_permutex2var_ps(a, evens, b);
    odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(evens, _mm512_set1_epi32(1)), b);
  }

  static Mask greater_or_nan(Vector x, Vector best) {
    return static_cast<Mask>(_mm512_cmp_ps_mask(x, best, _CMP_GT_OQ) |
                             _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q));
  }
  static Vector larger_or_nan(Vector x, Vector best) {
    // vmaxps gives its second operand where the first is a NaN or the two are equal.
    const Vector larger = _mm512_max_ps(x, best);
    return _mm512_mask_mov_ps(larger, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
  }
  static Vector select(Mask mask, Vector yes, Vector no) {
    return _mm512_mask_mov_ps(no, mask, yes);
  }

  static Indices splat(int64_t x) { return _mm512_set1_epi32(static_cast<int32_t>(x)); }
  static Indices load_indices(const Index* from) { return _mm512_loadu_si512(from); }
  static void store_indices(Index* to, Indices x) { _mm512_storeu_si512(to, x); }
  static Indices add(Indices a, Indices b) { return _mm512_add_epi32(a, b); }
  static Indices select(Mask mask, Indices yes, Indices no) {
    return _mm512_mask_mov_epi32(no, mask, yes);
  }
  // The backward's, which has no scalar build. narrow_first: the first `count` indices, as -1 those
  // that 32 bits cannot hold and those beyond them. holds: for the first `count` lanes. add_where:
  // the lanes outside the mask keep their sum, which must not be -0. merge_pairs: what split_pairs
  // takes apart.
  static Indices narrow_first(const int64_t* from, int64_t count) {
    if (count >= kLanes) return narrow(_mm512_loadu_si512(from), _mm512_loadu_si512(from + 8));
    const Mask mask = first(count);
    const __m512i none = _mm512_set1_epi64(-1);
    return narrow(_mm512_mask_loadu_epi64(none, static_cast<__mmask8>(mask), from),
                  _mm512_mask_loadu_epi64(none, static_cast<__mmask8>(mask >> 8), from + 8));
  }
  static Mask equal(Indices a, Indices b) { return _mm512_cmpeq_epi32_mask(a, b); }
  static Mask either(Mask a, Mask b) { return static_cast<Mask>(a | b); }
  static bool holds(Mask mask, int64_t count) { return (first(count) & ~mask) == 0; }
  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector add_where(Mask mask, Vector sum, Vector x) {
    return _mm512_mask_add_ps(sum, mask, sum, x);
  }
  static void merge_pairs(Vector even, Vector odd, Vector& a, Vector& b) {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    a = _mm512_permutex2var_ps(even, low, odd);
    b = _mm512_permutex2var_ps(even, _mm512_add_epi32(low, _mm512_set1_epi32(8)), odd);
  }
  static void store_wide_first(int64_t* to, Indices x, int64_t base, int64_t count) {
    const __m512i offset = _mm512_sub_epi32(x, splat(base));
    const __m512i bases = _mm512_set1_epi64(base);
    const Mask mask = first(count);
    _mm512_mask_storeu_epi64(
        to, static_cast<__mmask8>(mask),
        _mm512_add_epi64(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(offset)), bases));
    _mm512_mask_storeu_epi64(
        to + 8, static_cast<__mmask8>(mask >> 8),
        _mm512_add_epi64(_mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(offset, 1)), bases));
  }

 private:
  // What 32 bits cannot hold saturates to all ones.
  static Indices narrow(__m512i low, __m512i high) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtusepi64_epi32(low)),
                              _mm512_cvtusepi64_epi32(high), 1);
  }
  static Vector from_bfloat16(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }
};

struct Avx512Double {
  using Element = double;
  using Index = int64_t;
  using Vector = __m512d;
  using Indices = __m512i;
  using Mask = __mmask8;
  static constexpr int64_t kLanes = 8;

  static Mask first(int64_t count) {
    return static_cast<Mask>(count >= kLanes ? 0xffu : (1u << count) - 1u);
  }

  static Vector lowest() { return _mm512_set1_pd(-std::numeric_limits<double>::infinity()); }
  static Vector load(const double* from) { return _mm512_loadu_pd(from); }
  static Vector load_first(const double* from, int64_t count) {
    return _mm512_mask_loadu_pd(lowest(), first(count), from);
  }
  static void store(double* to, Vector x) { _mm512_storeu_pd(to, x); }
  static void store_first(double* to, Vector x, int64_t count) {
    _mm512_mask_storeu_pd(to, first(count), x);
  }

  static void split_pairs(Vector a, Vector b, Vector& even, Vector& odd) {
    even = _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b);
    odd = _mm512_permutex2var_pd(a, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b);
  }

  static Mask greater_or_nan(Vector x, Vector best) {
    return static_cast<Mask>(_mm512_cmp_pd_mask(x, best, _CMP_GT_OQ) |
                             _mm512_cmp_pd_mask(x, x, _CMP_UNORD_Q));
  }
  static Vector larger_or_nan(Vector x, Vector best) {
    return select(greater_or_nan(x, best), x, best);
  }
  static Vector select(Mask mask, Vector yes, Vector no) {
    return _mm512_mask_mov_pd(no, mask, yes);
  }

  static Indices splat(int64_t x) { return _mm512_set1_epi64(x); }
  static Indices load_indices(const Index* from) { return _mm512_loadu_si512(from); }
  static void store_indices(Index* to, Indices x) { _mm512_storeu_si512(to, x); }
  static Indices add(Indices a, Indices b) { return _mm512_add_epi64(a, b); }
  static Indices select(Mask mask, Indices yes, Indices no) {
    return _mm512_mask_mov_epi64(no, mask, yes);
  }
  static Indices narrow_first(const int64_t* from, int64_t count) {
    return _mm512_mask_loadu_epi64(_mm512_set1_epi64(-1), first(count), from);
  }
  static Mask equal(Indices a, Indices b) { return _mm512_cmpeq_epi64_mask(a, b); }
  static Mask either(Mask a, Mask b) { return static_cast<Mask>(a | b); }
  static bool holds(Mask mask, int64_t count) { return (first(count) & ~mask) == 0; }
  static Vector zero() { return _mm512_setzero_pd(); }
  static Vector add_where(Mask mask, Vector sum, Vector x) {
    return _mm512_mask_add_pd(sum, mask, sum, x);
  }
  static void merge_pairs(Vector even, Vector odd, Vector& a, Vector& b) {
    a = _mm512_permutex2var_pd(even, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), odd);
    b = _mm512_permutex2var_pd(even, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), odd);
  }
  static void store_wide_first(int64_t* to, Indices x, int64_t, int64_t count) {
    _mm512_mask_storeu_epi64(to, first(count), x);
  }
};

struct Avx512Vectors {
  static constexpr Isa kIsa = Isa::avx512;
  using Float = Avx512Float;
  using Double = Avx512Double;
  template <class T>
  using For = std::conditional_t<std::is_same_v<T, double>, Double, Float>;
};

}  // namespace
}  // namespace fastconv::cpu
