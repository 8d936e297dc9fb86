// Where one axis of a pooling window meets the plane.
#pragma once

#include <algorithm>
#include <cstdint>

#include "problem.h"

namespace fastconv::cpu {

// The cells of one output position that lie inside [0, extent): first, first + step, ... below end.
// `fallback` is the index that an axis without any cell reports: torch 2.13 reports `first`, which
// may lie outside the plane, and its backward writes there; here it is clamped.
struct WindowAxis {
  int64_t first, end, step, fallback;
};

static inline WindowAxis window_axis(int64_t out, int64_t extent, int64_t kernel, int64_t stride,
                                     int64_t pad, int64_t dilation) {
  const int64_t start = out * stride - pad;
  const int64_t end = std::min(start + (kernel - 1) * dilation + 1, extent);
  const int64_t first = start < 0 ? start + (-start + dilation - 1) / dilation * dilation : start;
  // One cell has any dilation, even one that added to it would overflow.
  return {first, end, kernel == 1 ? 1 : dilation, std::min(first, extent - 1)};
}

static inline WindowAxis window_rows(const Pool2dProblem& p, int64_t op) {
  return window_axis(op, p.H, p.kernel.h, p.stride.h, p.pad.h, p.dilation.h);
}

static inline WindowAxis window_columns(const Pool2dProblem& p, int64_t oq) {
  return window_axis(oq, p.W, p.kernel.w, p.stride.w, p.pad.w, p.dilation.w);
}

}  // namespace fastconv::cpu
