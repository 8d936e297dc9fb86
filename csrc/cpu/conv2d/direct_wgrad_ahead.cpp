#include "cpu/conv2d/direct_wgrad_ahead.h"

#include <algorithm>

namespace fastconv::cpu {
void LinesAhead::start(int64_t elements, int64_t steps) {
  count_ = 0;
  steps_ = std::max<int64_t>(steps, 1);
  dense_step_ = elements > steps_ * kLine ? 2 * kLine : kLine;
}

void LinesAhead::add_span(const float* from, int64_t elements, int64_t step) {
  const int64_t lines = std::min(ceil_div(elements, step), kMost - count_);
  const void** const to = entries_ + count_;
  for (int64_t i = 0; i < lines; ++i) to[i] = from + i * step;
  count_ += lines;
}

void LinesAhead::add(const float* at, const Strides4& strides, bool channels_inner, int64_t height,
                     int64_t width, int64_t channels, const PixelBox& box) {
  const Range rows = inside(box.rows, height), columns = inside(box.columns, width);
  const bool dense = channels_inner && strides.w == channels;
  for (int64_t n = 0; n < box.images.size; ++n) {
    for (int64_t i = 0; i < rows.size; ++i) {
      const float* const row = at + (box.images.begin + n) * strides.n +
                               (rows.begin + i) * strides.h + columns.begin * strides.w;
      if (dense) {
        add_span(row, columns.size * channels, dense_step_);
      } else if (channels_inner) {
        for (int64_t j = 0; j < columns.size; ++j) add_span(row + j * strides.w, channels, kLine);
      } else {
        for (int64_t c = 0; c < channels; ++c) add_span(row + c * strides.c, columns.size, kLine);
      }
      if (count_ == kMost) return;
    }
  }
}

void LinesAhead::finish() {
  next_ = 0;
  pace_ = std::min(kWhole, ceil_div(count_ * kWhole, steps_));
  // A tile that begins at the end takes so many.
  const int64_t past = (kStep - 1) * pace_ / kWhole;
  for (int64_t i = 0; i <= past; ++i) entries_[count_ + i] = entries_;
}

}  // namespace fastconv::cpu
