// Pooling's vectors in AVX2; vectors_scalar.h says what each operation means. Include this below a
// `#pragma GCC target`, with <immintrin.h> included above it.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <limits>
#include <type_traits>

#include "cpu/dtype.h"
#include "cpu/isa.h"

namespace fastconv::cpu {
namespace {

struct Avx2Float {
  using Element = float;
  using Index = int32_t;
  using Vector = __m256;
  using Indices = __m256i;
  using Mask = __m256;
  static constexpr int64_t kLanes = 8;

  static Vector lowest() { return _mm256_set1_ps(-std::numeric_limits<float>::infinity()); }

  static Vector load(const float* from) { return _mm256_loadu_ps(from); }
  static Vector load(const bfloat16* from) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  static Vector load(const float16* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }

  static Vector load_first(const float* from, int64_t count) {
    if (count >= kLanes) return load(from);
    const __m256i mask = first(count);
    return _mm256_blendv_ps(lowest(), _mm256_maskload_ps(from, mask), _mm256_castsi256_ps(mask));
  }
  // AVX2 has no masked loads and stores of 16-bit elements: rows end in a detour through memory.
  template <class T>
  static Vector load_first(const T* from, int64_t count) {
    if (count >= kLanes) return load(from);
    const T lowest_cell = Storage<T>::store(-std::numeric_limits<float>::infinity());
    T cells[kLanes];
    for (int64_t lane = 0; lane < kLanes; ++lane)
      cells[lane] = lane < count ? from[lane] : lowest_cell;
    return load(cells);
  }

  static void store(float* to, Vector x) { _mm256_storeu_ps(to, x); }
  static void store(bfloat16* to, Vector x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i high = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, half), 16);
    const __m256i quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    const __m256i result = _mm256_blendv_epi8(rounded, quiet, nan);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(result, result), 0x08);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(packed));
  }
  static void store(float16* to, Vector x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  }

  static void store_first(float* to, Vector x, int64_t count) {
    if (count >= kLanes) return store(to, x);
    _mm256_maskstore_ps(to, first(count), x);
  }
  template <class T>
  static void store_first(T* to, Vector x, int64_t count) {
    if (count >= kLanes) return store(to, x);
    T cells[kLanes];
    store(cells, x);
    for (int64_t lane = 0; lane < count; ++lane) to[lane] = cells[lane];
  }

  static void split_pairs(Vector a, Vector b, Vector& even, Vector& odd) {
    even = in_order(_mm256_shuffle_ps(a, b, 0x88));
    odd = in_order(_mm256_shuffle_ps(a, b, 0xdd));
  }

  static Mask greater_or_nan(Vector x, Vector best) {
    return _mm256_or_ps(_mm256_cmp_ps(x, best, _CMP_GT_OQ), _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  }
  static Vector larger_or_nan(Vector x, Vector best) {
    // vmaxps gives its second operand where the first is a NaN or the two are equal.
    return _mm256_blendv_ps(_mm256_max_ps(x, best), x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  }
  static Vector select(Mask mask, Vector yes, Vector no) { return _mm256_blendv_ps(no, yes, mask); }

  static Indices splat(int64_t x) { return _mm256_set1_epi32(static_cast<int32_t>(x)); }
  static Indices load_indices(const Index* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static void store_indices(Index* to, Indices x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x);
  }
  static Indices add(Indices a, Indices b) { return _mm256_add_epi32(a, b); }
  static Indices select(Mask mask, Indices yes, Indices no) {
    return _mm256_blendv_epi8(no, yes, _mm256_castps_si256(mask));
  }
  static Indices narrow_first(const int64_t* from, int64_t count) {
    if (count >= kLanes) return narrow(from);
    int64_t cells[kLanes];
    for (int64_t lane = 0; lane < kLanes; ++lane) cells[lane] = lane < count ? from[lane] : -1;
    return narrow(cells);
  }
  static Mask equal(Indices a, Indices b) { return _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b)); }
  static Mask either(Mask a, Mask b) { return _mm256_or_ps(a, b); }
  static bool holds(Mask mask, int64_t count) {
    const int wanted = count >= kLanes ? 0xff : (1 << count) - 1;
    return (wanted & ~_mm256_movemask_ps(mask)) == 0;
  }
  static Vector zero() { return _mm256_setzero_ps(); }
  static Vector add_where(Mask mask, Vector sum, Vector x) {
    return _mm256_add_ps(sum, _mm256_and_ps(mask, x));
  }
  static void merge_pairs(Vector even, Vector odd, Vector& a, Vector& b) {
    const Vector low = _mm256_unpacklo_ps(even, odd), high = _mm256_unpackhi_ps(even, odd);
    a = _mm256_permute2f128_ps(low, high, 0x20);
    b = _mm256_permute2f128_ps(low, high, 0x31);
  }
  static void store_wide_first(int64_t* to, Indices x, int64_t base, int64_t count) {
    const __m256i offset = _mm256_sub_epi32(x, splat(base));
    store_half(to, _mm256_castsi256_si128(offset), base, count);
    if (count > 4) store_half(to + 4, _mm256_extracti128_si256(offset, 1), base, count - 4);
  }

 private:
  static Indices narrow(const int64_t* from) {
    const Vector a = _mm256_loadu_ps(reinterpret_cast<const float*>(from));
    const Vector b = _mm256_loadu_ps(reinterpret_cast<const float*>(from + 4));
    Vector low, high;
    split_pairs(a, b, low, high);
    const __m256i fits = _mm256_cmpeq_epi32(_mm256_castps_si256(high), _mm256_setzero_si256());
    return _mm256_or_si256(_mm256_castps_si256(low), _mm256_xor_si256(fits, splat(-1)));
  }
  static __m256i first(int64_t count) {
    return _mm256_cmpgt_epi32(splat(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static Vector in_order(Vector x) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), 0xd8));
  }
  static void store_half(int64_t* to, __m128i offset, int64_t base, int64_t count) {
    const __m256i wide = _mm256_add_epi64(_mm256_cvtepi32_epi64(offset), _mm256_set1_epi64x(base));
    if (count >= 4) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), wide);
    } else {
      const __m256i mask =
          _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
      _mm256_maskstore_epi64(reinterpret_cast<long long*>(to), mask, wide);
    }
  }
};

struct Avx2Double {
  using Element = double;
  using Index = int64_t;
  using Vector = __m256d;
  using Indices = __m256i;
  using Mask = __m256d;
  static constexpr int64_t kLanes = 4;

  static Vector lowest() { return _mm256_set1_pd(-std::numeric_limits<double>::infinity()); }
  static Vector load(const double* from) { return _mm256_loadu_pd(from); }
  static Vector load_first(const double* from, int64_t count) {
    if (count >= kLanes) return load(from);
    const __m256i mask = first(count);
    return _mm256_blendv_pd(lowest(), _mm256_maskload_pd(from, mask), _mm256_castsi256_pd(mask));
  }
  static void store(double* to, Vector x) { _mm256_storeu_pd(to, x); }
  static void store_first(double* to, Vector x, int64_t count) {
    _mm256_maskstore_pd(to, first(count), x);
  }

  static void split_pairs(Vector a, Vector b, Vector& even, Vector& odd) {
    even = _mm256_permute4x64_pd(_mm256_unpacklo_pd(a, b), 0xd8);
    odd = _mm256_permute4x64_pd(_mm256_unpackhi_pd(a, b), 0xd8);
  }

  static Mask greater_or_nan(Vector x, Vector best) {
    return _mm256_or_pd(_mm256_cmp_pd(x, best, _CMP_GT_OQ), _mm256_cmp_pd(x, x, _CMP_UNORD_Q));
  }
  static Vector larger_or_nan(Vector x, Vector best) {
    return select(greater_or_nan(x, best), x, best);
  }
  static Vector select(Mask mask, Vector yes, Vector no) { return _mm256_blendv_pd(no, yes, mask); }

  static Indices splat(int64_t x) { return _mm256_set1_epi64x(x); }
  static Indices load_indices(const Index* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static void store_indices(Index* to, Indices x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x);
  }
  static Indices add(Indices a, Indices b) { return _mm256_add_epi64(a, b); }
  static Indices select(Mask mask, Indices yes, Indices no) {
    return _mm256_blendv_epi8(no, yes, _mm256_castpd_si256(mask));
  }
  static Indices narrow_first(const int64_t* from, int64_t count) {
    const __m256i mask = first(count);
    const __m256i x = _mm256_maskload_epi64(reinterpret_cast<const long long*>(from), mask);
    return _mm256_or_si256(x, _mm256_xor_si256(mask, splat(-1)));
  }
  static Mask equal(Indices a, Indices b) { return _mm256_castsi256_pd(_mm256_cmpeq_epi64(a, b)); }
  static Mask either(Mask a, Mask b) { return _mm256_or_pd(a, b); }
  static bool holds(Mask mask, int64_t count) {
    const int wanted = count >= kLanes ? 0xf : (1 << count) - 1;
    return (wanted & ~_mm256_movemask_pd(mask)) == 0;
  }
  static Vector zero() { return _mm256_setzero_pd(); }
  static Vector add_where(Mask mask, Vector sum, Vector x) {
    return _mm256_add_pd(sum, _mm256_and_pd(mask, x));
  }
  static void merge_pairs(Vector even, Vector odd, Vector& a, Vector& b) {
    const Vector low = _mm256_unpacklo_pd(even, odd), high = _mm256_unpackhi_pd(even, odd);
    a = _mm256_permute2f128_pd(low, high, 0x20);
    b = _mm256_permute2f128_pd(low, high, 0x31);
  }
  static void store_wide_first(int64_t* to, Indices x, int64_t, int64_t count) {
    _mm256_maskstore_epi64(reinterpret_cast<long long*>(to), first(count), x);
  }

 private:
  static __m256i first(int64_t count) {
    return _mm256_cmpgt_epi64(splat(count), _mm256_setr_epi64x(0, 1, 2, 3));
  }
};

struct Avx2Vectors {
  static constexpr Isa kIsa = Isa::avx2;
  using Float = Avx2Float;
  using Double = Avx2Double;
  template <class T>
  using For = std::conditional_t<std::is_same_v<T, double>, Double, Float>;
};

}  // namespace
}  // namespace fastconv::cpu
