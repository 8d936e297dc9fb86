// The inner loop of the fingerprint: chains of 64 bits side by side, each of which takes every
// kChains-th word and loses nothing of it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastconv::cpu {

// Odd, so that multiplying loses nothing; the digits are those of the golden ratio.
constexpr uint64_t kStirMultiplier = 0x9e3779b97f4a7c15;
constexpr int kStirShift = 29;

constexpr uint64_t stir(uint64_t state, uint64_t word) {
  state = (state ^ word) * kStirMultiplier;
  return state ^ state >> kStirShift;
}

// Six vectors of AVX2: a chain alone would wait 15 cycles for every word.
constexpr int kChains = 24;
constexpr int64_t kBlockBytes = kChains * int64_t{sizeof(uint64_t)};

// Stirs `blocks` blocks of memory into the chains.
void stir_blocks_avx2(const std::byte* at, int64_t blocks, uint64_t (&chains)[kChains]);

}  // namespace fastconv::cpu
