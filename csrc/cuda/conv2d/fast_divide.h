// Division by a number that is the same for a whole launch, by a multiplication and a shift.
#pragma once

#include <cstdint>

#include "cuda/device.h"

namespace fastconv::cuda {

// n / divisor for 0 <= n < 2^31 (Granlund and Montgomery, "Division by Invariant Integers using
// Multiplication", 1994).
struct FastDivide {
  uint32_t magic;
  int shift = 0;

  explicit FastDivide(int32_t divisor) {
    while ((int64_t{1} << shift) < divisor) ++shift;
    const uint64_t rest = (uint64_t{1} << shift) - static_cast<uint64_t>(divisor);
    magic = static_cast<uint32_t>((rest << 32) / static_cast<uint64_t>(divisor) + 1);
  }

  __device__ int32_t operator()(int32_t n) const {
    const uint32_t high =
        static_cast<uint32_t>((static_cast<uint64_t>(static_cast<uint32_t>(n)) * magic) >> 32);
    return static_cast<int32_t>((high + static_cast<uint32_t>(n)) >> shift);
  }
};

}  // namespace fastconv::cuda
