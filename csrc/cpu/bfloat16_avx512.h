// Floats rounded to bfloat16 by AVX-512 without AVX512_BF16, whose instruction flushes denormals.
// To be included under the pragma that turns AVX-512 on, after <immintrin.h>.
#pragma once

namespace fastconv::cpu {
namespace {

// As to_bfloat16(float): to nearest even, a NaN stays one.
inline __m256i round_to_bfloat16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i high = _mm512_srli_epi32(bits, 16);
  const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(
      _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd), 16);
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_cvtepi32_epi16(_mm512_mask_or_epi32(rounded, nan, high, _mm512_set1_epi32(0x40)));
}

}  // namespace
}  // namespace fastconv::cpu
