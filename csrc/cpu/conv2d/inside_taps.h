// Which pixels find a tap inside the image, so that products with padding need not be formed: in a
// 3x3 window of dilation 18 on 33 x 33 pixels they are 60 % of all.
#pragma once

#include <cstdint>

#include "cpu/conv2d/gather.h"
#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

// The least g >= 0 with g * step + offset >= bound.
inline int64_t first_reaching(int64_t bound, int64_t step, int64_t offset) {
  if (bound <= offset) return 0;
  return step == 1 ? bound - offset : ceil_div(bound - offset, step);
}

// Which g < count have offset + g * step in [0, extent).
inline Range steps_inside(int64_t offset, int64_t step, int64_t count, int64_t extent) {
  const int64_t from = first_reaching(0, step, offset), to = first_reaching(extent, step, offset);
  const int64_t begin = from < count ? from : count, end = to < count ? to : count;
  return {begin, larger(end - begin, 0)};
}

class InsideTaps {
 public:
  // tile_rows: the pixels that one tile of A takes.
  InsideTaps(const Gather& gather, int64_t tile_rows)
      : m_(gather.x), filters_(gather.filters), tile_rows_(tile_rows) {}

  // The time of the products with what is inside, relative to that of all products; no less where
  // leaving the others out does not pay, because they are few, or because of what it costs: the
  // weight is to be in panels, channels innermost, filters in whole vectors, and every tap's sums
  // are added to C.
  double share() const;
  bool leaves_padding_out() const { return share() < 1; }

  // use(run): those of the pixels that find this tap inside, as runs of neighbours. Pixels beside
  // the image come with them where it takes no longer.
  template <class Use>
  void for_each_run(int64_t row_tap, int64_t column_tap, Range pixels, const Use& use) const {
    const Range rows = inside(m_.rows, row_tap, m_.step.h, m_.height, m_.grid_h);
    Range columns = inside(m_.columns, column_tap, m_.step.w, m_.width, m_.grid_w);
    if (rows.size == 0 || columns.size == 0) return;
    if (takes_whole_rows(columns.size)) columns = {0, m_.grid_w};
    const int64_t pixels_end = pixels.begin + pixels.size;
    Range run{pixels.begin, 0};
    for (int64_t line = pixels.begin / m_.grid_w; line * m_.grid_w < pixels_end; ++line) {
      const int64_t row = line % m_.grid_h;
      if (row < rows.begin || row >= rows.begin + rows.size) continue;
      const int64_t first = line * m_.grid_w + columns.begin, last = first + columns.size;
      const int64_t begin = first > pixels.begin ? first : pixels.begin;
      const int64_t end = last < pixels_end ? last : pixels_end;
      if (begin >= end) continue;
      if (begin != run.begin + run.size) {
        if (run.size > 0) use(run);
        run = {begin, 0};
      }
      run.size = end - run.begin;
    }
    if (run.size > 0) use(run);
  }

 private:
  // The pixels of one dimension of the grid that find a tap inside.
  static Range inside(const Taps& taps, int64_t tap, int64_t step, int64_t extent, int64_t grid);
  // In rows of pixels, for one row of which the tap finds so many inside.
  double time_of_columns(int64_t inside) const;
  bool takes_whole_rows(int64_t inside) const {
    return time_of_columns(inside) >= static_cast<double>(m_.grid_w);
  }

  Im2col m_;
  int64_t filters_, tile_rows_;
};

}  // namespace fastconv::cpu
