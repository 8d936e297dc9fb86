// Bfloat16 terms of floats by AVX512_BF16, which every CPU with AMX has: half the instructions of
// split.h's IntegerTerms. To be included under the pragma that turns it on.
#pragma once

#include "cpu/amx/split.h"

namespace fastconv::cpu {
namespace {

struct HardwareTerms {
  static __m512i take_row(__m512& first, __m512& second) {
    const auto terms = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
    first = _mm512_sub_ps(first, widen(_mm512_castsi512_si256(terms)));
    second = _mm512_sub_ps(second, widen(_mm512_extracti64x4_epi64(terms, 1)));
    return terms;
  }
  static __m256i take_half_row(__m512& x) {
    const auto terms = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x));
    x = _mm512_sub_ps(x, widen(terms));
    return terms;
  }
  static __m512i round_row(__m512 first, __m512 second) {
    constexpr int kDenormal = 0x20;
    const __mmask16 would_be_flushed =
        _mm512_fpclass_ps_mask(first, kDenormal) | _mm512_fpclass_ps_mask(second, kDenormal);
    if (would_be_flushed != 0) return IntegerTerms::round_row(first, second);
    return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(second, first));
  }
  static __m512i take_pairs(__m512& even, __m512& odd) {
    // Word i of the even values beside word i of the odd ones.
    const __m512i interleaved =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const auto halves = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
    const __m512i pairs = _mm512_permutexvar_epi16(interleaved, halves);
    const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    even = _mm512_sub_ps(even, _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)));
    odd = _mm512_sub_ps(odd, _mm512_castsi512_ps(_mm512_and_si512(pairs, upper)));
    return pairs;
  }

 private:
  static __m512 widen(__m256i terms) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(terms), 16));
  }
};

}  // namespace
}  // namespace fastconv::cpu
