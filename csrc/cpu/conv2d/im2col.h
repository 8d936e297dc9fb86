// The im2col matrix as a rule: which element of an image stands at (pixel of the grid, channel and
// tap). It is never stored; the packing reads it block by block.
#pragma once

#include <cstdint>

#include "problem.h"

namespace fastconv::cpu {

// The taps of a kernel window along one dimension. Tap t reads what lies at
// grid * step + offset + t * offset_step, and its weight at index + t * index_step.
struct Taps {
  int64_t count;
  int64_t offset, offset_step;
  int64_t index, index_step;
};

// The least and the greatest of what taps read, relative to their pixel.
struct Reach {
  int64_t low, high;
};

inline Reach reach_of(const Taps& taps) {
  const int64_t last = taps.offset + (taps.count - 1) * taps.offset_step;
  return taps.offset < last ? Reach{taps.offset, last} : Reach{last, taps.offset};
}

struct Im2col {
  int64_t images, channels;
  int64_t grid_h, grid_w;  // pixels that the windows stand on
  int64_t height, width;   // the image; what a tap reads outside it is zero
  Extent2 step;
  Taps rows, columns;
  Strides4 strides;
  // How the reduction index counts: (channel, row tap, column tap), or (row tap, column tap,
  // channel).
  bool channel_innermost;

  int64_t pixels() const { return images * grid_h * grid_w; }
  int64_t taps() const { return rows.count * columns.count; }
  int64_t depth() const { return channels * taps(); }
  // Of the image's last element.
  int64_t last_offset() const {
    return (images - 1) * strides.n + (channels - 1) * strides.c + (height - 1) * strides.h +
           (width - 1) * strides.w;
  }
};

// Whether channels are the direction in which the image's memory runs.
inline bool reads_best_along_channels(const Im2col& m) {
  return m.strides.c == 1 && m.channels > 1 && !(m.strides.w == 1 && m.width > 1);
}

// One value of the reduction index, walked in order.
struct DepthIndex {
  int64_t channel, row, column;

  static DepthIndex at(const Im2col& m, int64_t k) {
    if (m.channel_innermost) {
      const int64_t tap = k / m.channels;
      return {k % m.channels, tap / m.columns.count, tap % m.columns.count};
    }
    const int64_t tap = k % m.taps();
    return {k / m.taps(), tap / m.columns.count, tap % m.columns.count};
  }
  void advance(const Im2col& m) {
    if (m.channel_innermost && ++channel < m.channels) return;
    if (m.channel_innermost) channel = 0;
    if (++column < m.columns.count) return;
    column = 0;
    if (++row < m.rows.count) return;
    row = 0;
    ++channel;
  }
};

struct PixelIndex {
  int64_t image, row, column;

  static PixelIndex at(const Im2col& m, int64_t pixel) {
    const int64_t line = pixel / m.grid_w;
    return {line / m.grid_h, line % m.grid_h, pixel % m.grid_w};
  }
  void advance(const Im2col& m) {
    if (++column < m.grid_w) return;
    column = 0;
    if (++row < m.grid_h) return;
    row = 0;
    ++image;
  }
};

}  // namespace fastconv::cpu
