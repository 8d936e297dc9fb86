// Where one axis of a pooling window meets the plane.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fastconv::cpu {

// The cells of output position `out` that lie inside [0, extent): first, first + dilation, ...
// below end. `fallback` is the index that an axis without any cell reports: torch 2.13 reports
// `first`, which may lie outside the plane, and its backward writes there; here it is clamped.
struct WindowAxis {
  int64_t first, end, fallback;
};

static inline WindowAxis window_axis(int64_t out, int64_t extent, int64_t kernel, int64_t stride,
                                     int64_t pad, int64_t dilation) {
  const int64_t start = out * stride - pad;
  const int64_t end = std::min(start + (kernel - 1) * dilation + 1, extent);
  const int64_t first = start < 0 ? start + (-start + dilation - 1) / dilation * dilation : start;
  return {first, end, std::min(first, extent - 1)};
}

}  // namespace fastconv::cpu
