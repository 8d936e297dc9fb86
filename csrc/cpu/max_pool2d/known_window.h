// What a backward may do only where the window that made the indices is known: compare an index
// with the few cells it can name, instead of following it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "problem.h"

namespace fastconv::cpu {
namespace {

const char* reject_unknown_window(const Pool2dProblem& p) {
  if (p.kernel.h == 0 || p.kernel.w == 0) return "needs the window that made the indices";
  if ((p.kernel.h > 1 && p.dilation.h > 1) || (p.kernel.w > 1 && p.dilation.w > 1)) {
    return "the window is dilated";
  }
  if (p.dtype != DType::f64 && p.H > INT32_MAX / std::max<int64_t>(p.W, 1)) {
    return "a plane has 2^31 cells or more, too many for 32-bit lanes";
  }
  return nullptr;
}

}  // namespace
}  // namespace fastconv::cpu
