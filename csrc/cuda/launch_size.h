// How large a grid is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace fastconv::cuda {

constexpr int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One block for each piece of work, fewer only where a grid cannot hold them: kernels loop.
inline unsigned blocks_for(int64_t work) {
  return static_cast<unsigned>(std::min<int64_t>(work, std::numeric_limits<int32_t>::max()));
}

}  // namespace fastconv::cuda
