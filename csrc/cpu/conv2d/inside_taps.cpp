#include "cpu/conv2d/inside_taps.h"

#include <algorithm>

namespace fastconv::cpu {

Range InsideTaps::inside(const Taps& taps, int64_t tap, int64_t step, int64_t extent,
                         int64_t grid) {
  return steps_inside(taps.offset + tap * taps.offset_step, step, grid, extent);
}

double InsideTaps::time_of_columns(int64_t inside) const {
  // A tile of fewer rows than half of the largest waits for its loads of B.
  const int64_t tiles = ceil_div(inside, tile_rows_);
  return static_cast<double>(std::max(inside, tiles * tile_rows_ / 2));
}

double InsideTaps::share() const {
  const double pixels = static_cast<double>(m_.pixels());
  // Each tap's channels are a reduction of their own, whose sums are read and written.
  constexpr int64_t kLeastChannels = 64;
  // A weight takes as long to pack as that many multiply-adds, or less if it has been packed.
  constexpr double kPacking = 40, kLeastGain = 0.1;
  // An element of planes takes as long to copy.
  constexpr double kCopying = 64;
  if (m_.channels < kLeastChannels || m_.taps() == 0 || filters_ == 0 || pixels < kPacking) {
    return 1;
  }
  double rows = 0, columns = 0;
  for (int64_t tap = 0; tap < m_.rows.count; ++tap) {
    rows += static_cast<double>(inside(m_.rows, tap, m_.step.h, m_.height, m_.grid_h).size);
  }
  for (int64_t tap = 0; tap < m_.columns.count; ++tap) {
    const int64_t size = inside(m_.columns, tap, m_.step.w, m_.width, m_.grid_w).size;
    columns += std::min(time_of_columns(size), static_cast<double>(m_.grid_w));
  }
  // Runs of pixels leave smaller tiles, each tap more sums to add.
  constexpr double kSlower = 1.08;
  double share = kSlower * rows / static_cast<double>(m_.grid_h * m_.rows.count) * columns /
                 static_cast<double>(m_.grid_w * m_.columns.count);
  if (!reads_best_along_channels(m_)) {
    constexpr int64_t kLanes = 16;
    const double filters = static_cast<double>(filters_);
    share *= static_cast<double>(round_up(filters_, kLanes)) / filters;
    share += kCopying / (static_cast<double>(m_.taps()) * filters);
  }
  const double left_out = 1 - share;
  return left_out >= kLeastGain && left_out * pixels >= kPacking ? share : 1;
}

}  // namespace fastconv::cpu
