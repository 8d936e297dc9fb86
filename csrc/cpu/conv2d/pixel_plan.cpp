#include "cpu/conv2d/pixel_plan.h"

#include <algorithm>

#include "cpu/conv2d/inside_taps.h"
#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

PixelPlan::PixelPlan(const Im2col& matrix, int64_t capacity, int panel_lanes, Carver& carver)
    : matrix_(matrix),
      lanes_(panel_lanes),
      lane_stride_(matrix.step.w * matrix.strides.w == 2 ? 2 : 1),
      row_taps_(matrix.rows.count),
      column_taps_(matrix.columns.count) {
  const int64_t panels = ceil_div(capacity, panel_lanes);
  columns_inside_ = carver.take<Interval>(capacity > 0 ? column_taps_ : 0);
  offsets_ = carver.take<int64_t>(panels * panel_lanes);
  runs_ = carver.take<Run>(panels * kMaxRuns);
  run_counts_ = carver.take<int32_t>(panels);
  row_masks_ = carver.take<uint32_t>(panels * row_taps_);
  column_masks_ = carver.take<uint32_t>(panels * column_taps_);
}

void PixelPlan::set(int64_t begin, int64_t size) {
  if (begin == begin_ && size == size_) return;
  if (begin_ < 0) {
    for (int64_t tap = 0; tap < column_taps_; ++tap) {
      const int64_t offset = matrix_.columns.offset + tap * matrix_.columns.offset_step;
      columns_inside_[tap] = {first_reaching(0, matrix_.step.w, offset),
                              first_reaching(matrix_.width, matrix_.step.w, offset)};
    }
  }
  begin_ = begin;
  size_ = size;
  panels_ = ceil_div(size, lanes_);
  std::fill_n(run_counts_, panels_, 0);
  std::fill_n(row_masks_, panels_ * row_taps_, 0u);
  std::fill_n(column_masks_, panels_ * column_taps_, 0u);
  PixelIndex at = PixelIndex::at(matrix_, begin);
  for (int64_t done = 0; done < size;) {
    const int64_t segment = std::min(size - done, matrix_.grid_w - at.column);
    add_segment(at, done, segment);
    done += segment;
    at.column = matrix_.grid_w - 1;
    at.advance(matrix_);
  }
  for (int64_t panel = 0; panel < panels_; ++panel) {
    if (run_counts_[panel] > kMaxRuns) run_counts_[panel] = 0;
  }
}

// Pixels of one row of the grid, which stand at positions [at, at + size) of the plan.
void PixelPlan::add_segment(const PixelIndex& first, int64_t at, int64_t size) {
  const Im2col& m = matrix_;
  const int64_t h = first.row * m.step.h;
  for (int64_t tap = 0; tap < row_taps_; ++tap) {
    const int64_t y = h + m.rows.offset + tap * m.rows.offset_step;
    if (y >= 0 && y < m.height) set_lanes(row_masks_, row_taps_, tap, at, at + size);
  }
  for (int64_t tap = 0; tap < column_taps_; ++tap) {
    const int64_t begin = std::max(columns_inside_[tap].begin - first.column, int64_t{0});
    const int64_t end = std::min(columns_inside_[tap].end - first.column, size);
    if (begin < end) set_lanes(column_masks_, column_taps_, tap, at + begin, at + end);
  }
  const int64_t stride = m.step.w * m.strides.w;
  const int64_t offset = first.image * m.strides.n + h * m.strides.h + first.column * stride;
  for (int64_t done = 0; done < size;) {
    const int64_t panel = (at + done) / lanes_, lane = (at + done) % lanes_;
    const int64_t count = std::min(lanes_ - lane, size - done);
    for (int64_t l = 0; l < count; ++l) {
      offsets_[at + done + l] = offset + (done + l) * stride;
      if (stride != lane_stride_) {
        add_run(panel, offset + (done + l) * stride - (lane + l) * lane_stride_, 1u << (lane + l));
      }
    }
    if (stride == lane_stride_) {
      add_run(panel, offset + (done - lane) * stride, first_lanes(count) << lane);
    }
    done += count;
  }
}

void PixelPlan::add_run(int64_t panel, int64_t offset, uint32_t lanes) {
  int32_t& count = run_counts_[panel];
  if (count > kMaxRuns) return;
  Run* const runs = runs_ + panel * kMaxRuns;
  if (count > 0 && runs[count - 1].offset == offset) {
    runs[count - 1].lanes |= lanes;
    return;
  }
  if (count < kMaxRuns) runs[count] = {offset, lanes};
  ++count;
}

// Adds the pixels at [begin, end) to the masks of one tap.
void PixelPlan::set_lanes(uint32_t* masks, int64_t taps, int64_t tap, int64_t begin, int64_t end) {
  while (begin < end) {
    const int64_t panel = begin / lanes_, lane = begin % lanes_;
    const int64_t count = std::min(lanes_ - lane, end - begin);
    masks[panel * taps + tap] |= first_lanes(count) << lane;
    begin += count;
  }
}

}  // namespace fastconv::cpu
