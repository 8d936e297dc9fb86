// The rows of a channels_last image that a block of pixels reads, copied with the zeros around
// them: no tap then lies outside, and tiles of pixels are read in place instead of being packed,
// which would copy every element once for each of its taps.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/conv2d/gather.h"
#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

class ZeroBorders {
 public:
  // tile_rows: the pixels that one tile of A takes at most; element_bytes: of the image.
  ZeroBorders(const Gather& gather, int64_t tile_rows, int64_t element_bytes);

  // Whether copying takes less time than packing the tiles that reach outside the image.
  bool pay() const { return pay_; }
  // The elements that all blocks copy.
  double copied() const { return copied_; }

  // The image as if all of it were copied. Of this and the following only where it pays.
  const Im2col& image() const { return bordered_; }
  // Pixels of a block whose copy is about half a megabyte: whole lines of the grid.
  int64_t most_pixels() const { return most_lines_ * bordered_.grid_w; }
  // Room for the copy of any such block.
  int64_t elements(int64_t pixels) const;
  // Copies what these pixels, whole lines, read. What lies at i in image() is then at
  // i - (the result) in `to`.
  int64_t copy(const std::byte* from, Range pixels, std::byte* to) const;

 private:
  // Rows or columns of zeros, and the pixels of the grid that reach them.
  struct Border {
    int64_t before, after, pixels_before, pixels_after;

    static Border of(const Taps& taps, int64_t step, int64_t grid, int64_t extent);
  };

  // Rows from the first that a line reads to the last.
  int64_t span() const;
  // The first of them, counted over all images.
  int64_t first_row(int64_t line) const;
  void copy_row(const std::byte* from, int64_t row, std::byte* to) const;

  Im2col original_, bordered_;
  int64_t element_bytes_;
  Extent2 before_{};
  int64_t most_lines_ = 0;
  double copied_ = 0;
  bool pay_ = false;
};

}  // namespace fastconv::cpu
