#if defined(__x86_64__)

#include <immintrin.h>

#include "cpu/fingerprint_chains.h"

#pragma GCC target("avx2")

namespace fastconv::cpu {
namespace {

// x * kStirMultiplier in each 64 bits, of which AVX2 multiplies the lower 32 only.
__m256i multiply(__m256i x) {
  const __m256i low = _mm256_set1_epi64x(kStirMultiplier & 0xffffffff);
  const __m256i high = _mm256_set1_epi64x(kStirMultiplier >> 32);
  const __m256i crossed =
      _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(x, 32), low), _mm256_mul_epu32(x, high));
  return _mm256_add_epi64(_mm256_mul_epu32(x, low), _mm256_slli_epi64(crossed, 32));
}

}  // namespace

void stir_blocks_avx2(const std::byte* at, int64_t blocks, uint64_t (&chains)[kChains]) {
  constexpr int kVectors = kChains / 4;
  __m256i state[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    state[v] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(chains) + v);
  }
  for (; blocks > 0; --blocks, at += kBlockBytes) {
#pragma GCC unroll 6
    for (int v = 0; v < kVectors; ++v) {
      const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at) + v);
      const __m256i stirred = multiply(_mm256_xor_si256(state[v], words));
      state[v] = _mm256_xor_si256(stirred, _mm256_srli_epi64(stirred, kStirShift));
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(chains) + v, state[v]);
  }
}

}  // namespace fastconv::cpu

#endif  // __x86_64__
