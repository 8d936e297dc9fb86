// Floats as sums of bfloat16 terms, in the two layouts that tiles are loaded from. To be included
// under the AVX-512 pragma.
//
// x = h + m + l, each term the nearest bfloat16 to what the terms before it leave (the subtractions
// are exact): 24 bits in three terms, 16 in two. Truncating instead of rounding would cost six
// times the error. The rounding is done on integers, not by VCVTNEPS2BF16: that one flushes
// denormals, and few CPUs without AMX have it to test on.
#pragma once

#include "cpu/amx/blocking.h"

namespace fastconv::cpu {
namespace {

// Takes the nearest bfloat16 off x and returns it, as the upper half of each float. x is finite and
// does not round to infinity.
inline __m512i take_term(__m512& x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
  const __m512i term = _mm512_and_si512(_mm512_add_epi32(bits, half),
                                        _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
  x = _mm512_sub_ps(x, _mm512_castsi512_ps(term));
  return term;
}

// kAmxTileRows rows of A by `depth`, a multiple of kAmxStep, to one tile for each step and term:
// tile (step, term) lies at to + (step * kTerms + term) * to_stride bytes.
template <int kTerms>
void split_rows(const float* from, int64_t from_stride, int64_t depth, std::byte* to,
                int64_t to_stride) {
  for (int64_t step = 0; step < depth / kAmxStep; ++step) {
    std::byte* const tiles = to + step * kTerms * to_stride;
    for (int64_t row = 0; row < kAmxTileRows; ++row) {
      const float* const at = from + row * from_stride + step * kAmxStep;
      __m512 first = _mm512_loadu_ps(at), second = _mm512_loadu_ps(at + 16);
#pragma GCC unroll 3
      for (int term = 0; term < kTerms; ++term) {
        const __m512i a = _mm512_srli_epi32(take_term(first), 16);
        const __m512i b = _mm512_srli_epi32(take_term(second), 16);
        std::byte* const line = tiles + term * to_stride + row * 64;
        _mm256_store_si256(reinterpret_cast<__m256i*>(line), _mm512_cvtepi32_epi16(a));
        _mm256_store_si256(reinterpret_cast<__m256i*>(line + 32), _mm512_cvtepi32_epi16(b));
      }
    }
  }
}

// `depth` rows of 16 columns of B to tiles as above, rows 2i and 2i + 1 side by side. Rows past
// `depth` are zero.
template <int kTerms>
void split_pairs(const float* from, int64_t from_stride, int64_t depth, std::byte* to,
                 int64_t to_stride) {
  for (int64_t step = 0; step * kAmxStep < depth; ++step) {
    std::byte* const tiles = to + step * kTerms * to_stride;
    for (int64_t pair = 0; pair < kAmxStep / 2; ++pair) {
      const int64_t row = step * kAmxStep + 2 * pair;
      const float* const at = from + row * from_stride;
      __m512 even = row < depth ? _mm512_load_ps(at) : _mm512_setzero_ps();
      __m512 odd = row + 1 < depth ? _mm512_load_ps(at + from_stride) : _mm512_setzero_ps();
#pragma GCC unroll 3
      for (int term = 0; term < kTerms; ++term) {
        const __m512i low = _mm512_srli_epi32(take_term(even), 16);
        _mm512_store_si512(tiles + term * to_stride + pair * 64,
                           _mm512_or_si512(low, take_term(odd)));
      }
    }
  }
}

}  // namespace
}  // namespace fastconv::cpu
