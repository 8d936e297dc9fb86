// Pooling's choice between two vectors of cells, for the vectorised forward kernels.
//
// Include this below a `#pragma GCC target`, with its own includes already included above it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "problem.h"

namespace fastconv::cpu {
namespace {

template <class V, bool kWithIndices>
void take_larger(typename V::Vector x, typename V::Indices x_index, typename V::Vector& best,
                 typename V::Indices& index) {
  if constexpr (kWithIndices) {
    const typename V::Mask larger = V::greater_or_nan(x, best);
    index = V::select(larger, x_index, index);
    best = V::select(larger, x, best);
  } else {
    best = V::larger_or_nan(x, best);
  }
}

// Lanes of 32 bits hold how far a cell lies behind its window's first row.
const char* reject_wide_windows(const Pool2dProblem& p) {
  const int64_t rows = std::min((p.kernel.h - 1) * p.dilation.h + 1, p.H);
  if (p.dtype != DType::f64 && rows > INT32_MAX / std::max<int64_t>(p.W, 1)) {
    return "a window spans 2^31 cells or more, too many for 32-bit lanes";
  }
  return nullptr;
}

}  // namespace
}  // namespace fastconv::cpu
