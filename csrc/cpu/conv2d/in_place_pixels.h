// Where a tile of pixels needs no packing: its pixels equally far apart in the image and none of
// their taps outside it, so that the micro-kernel can read the rows of im2col as they lie.
#pragma once

#include <cstdint>

#include "cpu/conv2d/im2col.h"
#include "cpu/workspace.h"

namespace fastconv::cpu {

class InPlacePixels {
 public:
  // taps_a_run: column taps that follow one another in memory, all of a row or one.
  InPlacePixels(const Im2col& matrix, int64_t taps_a_run, Carver& carver);

  int64_t pixel_stride() const { return pixel_stride_; }
  // Whether tiles over the ends of rows may be read in place.
  bool joins_rows() const { return dense_pixels_ != 0; }
  // From a pixel to each run of its taps.
  const int64_t* tap_offsets() const { return tap_offsets_; }

  // Where the window of the first of `size` pixels would begin with no padding, or -1 where they
  // are to be packed. Cheapest for tiles in ascending order.
  int64_t offset_of(int64_t begin, int64_t size);

 private:
  // Whether the taps of the pixels from first to last lie in [0, extent).
  static bool inside(const Reach& taps, int64_t first, int64_t last, int64_t extent) {
    return first + taps.low >= 0 && last + taps.high < extent;
  }

  Im2col matrix_;
  Reach rows_, columns_;
  int64_t pixel_stride_;
  // Where no tap lies outside the image, pixels follow one another at equal distances over whole
  // planes of the grid, or over all images; elsewhere in a row alone.
  int64_t dense_pixels_ = 0;
  int64_t* tap_offsets_;
  int64_t next_ = -1;  // the pixel at next_index_
  PixelIndex next_index_{};
};

}  // namespace fastconv::cpu
