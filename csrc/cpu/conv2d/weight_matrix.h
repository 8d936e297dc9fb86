// A weight as a matrix of filters by the reduction index of an im2col matrix.
#pragma once

#include "cpu/conv2d/im2col.h"

namespace fastconv::cpu {

class WeightMatrix {
 public:
  int64_t filter_stride, channel_stride, row_stride, column_stride;  // of the tensor's elements

  // Where the element of a channel and tap lies in its filter.
  int64_t offset(const Im2col& m, const DepthIndex& at) const {
    return at.channel * channel_stride + (m.rows.index + at.row * m.rows.index_step) * row_stride +
           (m.columns.index + at.column * m.columns.index_step) * column_stride;
  }

  // fn(done, run, offset, stride): the elements of a filter from `at` on, as runs of
  // one stride: channels, or the taps of one channel, or the taps of one row of the window, and the
  // whole range at once where these follow one another in memory.
  template <class F>
  void for_each_run(const Im2col& m, DepthIndex at, int64_t size, const F& fn) const {
    const bool over_channels = m.channel_innermost || m.taps() == 1;
    const int64_t row = m.rows.index_step * row_stride;
    const int64_t column = m.columns.count == 1 ? row : m.columns.index_step * column_stride;
    const int64_t stride = over_channels ? channel_stride : column;
    const bool rows_follow = m.rows.count == 1 || row == column * m.columns.count;
    const bool all_follow = m.channel_innermost ? column == channel_stride * m.channels
                                                : channel_stride == column * m.taps();
    if (m.taps() == 1 || (rows_follow && all_follow)) {
      fn(int64_t{0}, size, offset(m, at), stride);
      return;
    }
    for (int64_t done = 0; done < size;) {
      int64_t run = m.channels - at.channel;
      if (!m.channel_innermost) {
        run = m.columns.count - at.column;
        if (rows_follow) run += (m.rows.count - 1 - at.row) * m.columns.count;
      }
      if (run > size - done) run = size - done;
      fn(done, run, offset(m, at), stride);
      done += run;
      if (m.channel_innermost) {
        at.channel = m.channels - 1;
      } else {
        at.column = m.columns.count - 1;
        if (rows_follow) at.row = m.rows.count - 1;
      }
      at.advance(m);
    }
  }
};

}  // namespace fastconv::cpu
