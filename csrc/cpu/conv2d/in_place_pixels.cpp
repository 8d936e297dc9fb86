#include "cpu/conv2d/in_place_pixels.h"

namespace fastconv::cpu {

InPlacePixels::InPlacePixels(const Im2col& m, int64_t taps_a_run, Carver& carver)
    : matrix_(m),
      rows_(reach_of(m.rows)),
      columns_(reach_of(m.columns)),
      pixel_stride_(m.step.w * m.strides.w),
      tap_offsets_(carver.take<int64_t>(m.rows.count * (m.columns.count / taps_a_run))) {
  const int64_t row_stride = m.step.h * m.strides.h;
  const int64_t plane = m.grid_h * m.grid_w;
  if ((m.grid_h == 1 || pixel_stride_ * m.grid_w == row_stride) &&
      inside(rows_, 0, (m.grid_h - 1) * m.step.h, m.height) &&
      inside(columns_, 0, (m.grid_w - 1) * m.step.w, m.width)) {
    const bool images_follow = m.images == 1 || pixel_stride_ * plane == m.strides.n;
    dense_pixels_ = images_follow ? m.images * plane : plane;
  }
  if (tap_offsets_ == nullptr) return;
  int64_t* to = tap_offsets_;
  for (int64_t row = 0; row < m.rows.count; ++row) {
    for (int64_t column = 0; column < m.columns.count; column += taps_a_run) {
      *to++ = (m.rows.offset + row * m.rows.offset_step) * m.strides.h +
              (m.columns.offset + column * m.columns.offset_step) * m.strides.w;
    }
  }
}

int64_t InPlacePixels::offset_of(int64_t begin, int64_t size) {
  const Im2col& m = matrix_;
  if (dense_pixels_ != 0) {
    const int64_t run = begin / dense_pixels_, at = begin % dense_pixels_;
    if (at + size > dense_pixels_) return -1;
    return run * m.strides.n + at * pixel_stride_;
  }
  const PixelIndex first = begin == next_ ? next_index_ : PixelIndex::at(m, begin);
  const int64_t last_column = first.column + size - 1;
  if (last_column >= m.grid_w) {
    next_ = -1;
    return -1;
  }
  next_ = begin + size;
  next_index_ = {first.image, first.row, last_column};
  next_index_.advance(m);
  const int64_t h = first.row * m.step.h, w = first.column * m.step.w;
  if (!inside(rows_, h, h, m.height) || !inside(columns_, w, last_column * m.step.w, m.width)) {
    return -1;
  }
  return first.image * m.strides.n + h * m.strides.h + first.column * pixel_stride_;
}

}  // namespace fastconv::cpu
