// Floats as sums of bfloat16 terms, in the two layouts that tiles are loaded from. To be included
// under the AVX-512 pragma.
//
// x = h + m + l, each term the nearest bfloat16 to what the terms before it leave (the subtractions
// are exact): 24 bits in three terms, 16 in two. Truncating instead of rounding would cost six
// times the error.
#pragma once

#include "cpu/amx/blocking.h"
#include "cpu/bfloat16_avx512.h"

namespace fastconv::cpu {
namespace {

// Terms taken by integer arithmetic, on every CPU with AVX-512. The CPUs that have AMX have an
// instruction for it (hardware_terms.h), which differs in that it flushes denormals.
struct IntegerTerms {
  // Takes the nearest bfloat16 off x and returns it, as the upper half of each float.
  static __m512i take(__m512& x) {
    const __m512i bits = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    __m512i term = _mm512_and_si512(_mm512_add_epi32(bits, half),
                                    _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
    // A NaN would round to infinity or, by its sign bit, to zero.
    const __mmask16 nans = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    term = _mm512_mask_mov_epi32(term, nans, _mm512_set1_epi32(0x7fc00000));
    x = _mm512_sub_ps(x, _mm512_castsi512_ps(term));
    return term;
  }
  // 32 neighbours.
  static __m512i take_row(__m512& first, __m512& second) {
    const __m256i low = take_half_row(first);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), take_half_row(second), 1);
  }
  // 16 of them.
  static __m256i take_half_row(__m512& x) {
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(take(x), 16));
  }
  // 32 neighbours, none of them flushed.
  static __m512i round_row(__m512 first, __m512 second) {
    const __m512i low = _mm512_castsi256_si512(round_to_bfloat16(first));
    return _mm512_inserti64x4(low, round_to_bfloat16(second), 1);
  }
  // 16 pairs.
  static __m512i take_pairs(__m512& even, __m512& odd) {
    const __m512i low = _mm512_srli_epi32(take(even), 16);
    return _mm512_or_si512(low, take(odd));
  }
};

// Where the terms of one step of the reduction lie: the tile of (term, half) of 32 rows of A, or 32
// columns of B, at terms + (2 * term + half) KiB.
template <class Byte>
Byte* tile_of(Byte* terms, int term, int half) {
  return terms + (2 * term + half) * kAmxTileBytes;
}

// One of the halves of 32 rows of A for one step: kAmxTileRows rows by kAmxStep.
template <class Terms, int kTerms>
void split_rows(const float* from, int64_t from_stride, std::byte* to, int half) {
  for (int64_t row = 0; row < kAmxTileRows; ++row, from += from_stride) {
    __m512 first = _mm512_loadu_ps(from), second = _mm512_loadu_ps(from + 16);
#pragma GCC unroll 3
    for (int term = 0; term < kTerms; ++term) {
      _mm512_store_si512(tile_of(to, term, half) + row * 64, Terms::take_row(first, second));
    }
  }
}

// One of the halves of 32 columns of B: `depth` rows of 16 columns, rows 2i and 2i + 1 side by
// side. Rows past `depth` are zero.
template <class Terms, int kTerms>
void split_pairs(const float* from, int64_t from_stride, int64_t depth, std::byte* to, int half) {
  for (int64_t step = 0; step * kAmxStep < depth; ++step, to += kTerms * 2 * kAmxTileBytes) {
    for (int64_t pair = 0; pair < kAmxStep / 2; ++pair) {
      const int64_t row = step * kAmxStep + 2 * pair;
      const float* const at = from + row * from_stride;
      __m512 even = row < depth ? _mm512_load_ps(at) : _mm512_setzero_ps();
      __m512 odd = row + 1 < depth ? _mm512_load_ps(at + from_stride) : _mm512_setzero_ps();
#pragma GCC unroll 3
      for (int term = 0; term < kTerms; ++term) {
        _mm512_store_si512(tile_of(to, term, half) + pair * 64, Terms::take_pairs(even, odd));
      }
    }
  }
}

}  // namespace
}  // namespace fastconv::cpu
