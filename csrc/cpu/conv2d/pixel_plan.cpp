#include "cpu/conv2d/pixel_plan.h"

#include <algorithm>

namespace fastconv::cpu {

PixelPlan::PixelPlan(const Im2col& matrix, int64_t capacity, int lanes, Carver& carver)
    : matrix_(matrix),
      lanes_(lanes),
      capacity_((capacity + lanes - 1) / lanes),
      offsets_(carver.take<int64_t>(capacity_ * lanes)),
      runs_(carver.take<Run>(capacity_ * kMaxRuns)),
      run_counts_(carver.take<int32_t>(capacity_)),
      row_masks_(carver.take<uint32_t>(capacity_ * matrix.rows.count)),
      column_masks_(carver.take<uint32_t>(capacity_ * matrix.columns.count)) {}

void PixelPlan::set(int64_t begin, int64_t size) {
  if (begin == begin_ && size == size_) return;
  begin_ = begin;
  size_ = size;
  vectors_ = (size + lanes_ - 1) / lanes_;
  const Im2col& m = matrix_;
  for (int64_t tap = 0; tap < m.rows.count; ++tap) {
    std::fill_n(row_masks_ + tap * capacity_, vectors_, 0u);
  }
  for (int64_t tap = 0; tap < m.columns.count; ++tap) {
    std::fill_n(column_masks_ + tap * capacity_, vectors_, 0u);
  }
  PixelIndex at = PixelIndex::at(m, begin);
  for (int64_t pixel = 0; pixel < size; ++pixel, at.advance(m)) {
    const int64_t vector = pixel / lanes_;
    const uint32_t lane = 1u << static_cast<unsigned>(pixel % lanes_);
    const int64_t h = at.row * m.step.h, w = at.column * m.step.w;
    offsets_[pixel] = at.image * m.strides.n + h * m.strides.h + w * m.strides.w;
    for (int64_t tap = 0; tap < m.rows.count; ++tap) {
      const int64_t y = h + m.rows.offset + tap * m.rows.offset_step;
      if (y >= 0 && y < m.height) row_masks_[tap * capacity_ + vector] |= lane;
    }
    for (int64_t tap = 0; tap < m.columns.count; ++tap) {
      const int64_t x = w + m.columns.offset + tap * m.columns.offset_step;
      if (x >= 0 && x < m.width) column_masks_[tap * capacity_ + vector] |= lane;
    }
  }
  for (int64_t vector = 0; vector < vectors_; ++vector) {
    find_runs(vector, std::min<int64_t>(lanes_, size - vector * lanes_));
  }
}

void PixelPlan::find_runs(int64_t vector, int64_t lanes_in_use) {
  const int64_t* const offsets = offsets_ + vector * lanes_;
  Run* const runs = runs_ + vector * kMaxRuns;
  int count = 0;
  for (int64_t lane = 0; lane < lanes_in_use; ++lane) {
    const int64_t offset = offsets[lane] - lane;
    if (count == 0 || runs[count - 1].offset != offset) {
      if (count == kMaxRuns) {
        run_counts_[vector] = 0;
        return;
      }
      runs[count++] = {offset, 0};
    }
    runs[count - 1].lanes |= 1u << static_cast<unsigned>(lane);
  }
  run_counts_[vector] = count;
}

}  // namespace fastconv::cpu
