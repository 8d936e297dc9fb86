// dgrad as products of unit stride. Input row h meets tap r at output row (h + pad - r * dilation)
// / stride, and only where that division is exact. So the rows fall into classes by h modulo the
// stride; within a class the taps that ever meet are the same, every (stride / gcd)-th one, and the
// output row moves by one with each row of the class: a convolution of unit stride in which no
// product is wasted. Columns likewise. There are at most min(stride, extent) classes along an axis.
#pragma once

#include <numeric>

#include "cuda/conv2d/shape.h"

namespace fastconv::cuda {

// One axis of the decomposition, the same for all classes.
template <class Index>
struct ClassAxis {
  Index extent, stride, pad, dilation, taps;
  Index classes;
  Index tap_step;     // between taps of one class: stride / gcd(stride, dilation)
  Index output_step;  // output rows from one such tap to the next: dilation / gcd

  ClassAxis(int64_t extent, int64_t stride, int64_t pad, int64_t dilation, int64_t taps)
      : extent(static_cast<Index>(extent)),
        stride(static_cast<Index>(stride)),
        pad(static_cast<Index>(pad)),
        dilation(static_cast<Index>(dilation)),
        taps(static_cast<Index>(taps)),
        classes(static_cast<Index>(std::min(stride, extent))),
        tap_step(static_cast<Index>(stride / std::gcd(stride, dilation))),
        output_step(static_cast<Index>(dilation / std::gcd(stride, dilation))) {}

  // Of the first class, which no other exceeds.
  int64_t most_rows() const { return (extent - 1) / stride + 1; }
};

template <class Index>
struct AxisClass {
  Index first;         // first row of the class; the others follow at the stride
  Index rows;          // how many
  Index first_tap;     // first tap that meets, the others follow at tap_step
  Index taps;          // how many
  Index first_output;  // output row at which the first row meets the first tap; may be negative
};

template <class Index>
__device__ AxisClass<Index> axis_class(const ClassAxis<Index>& axis, Index first) {
  AxisClass<Index> c;
  c.first = first;
  c.rows = (axis.extent - 1 - first) / axis.stride + 1;
  c.first_tap = 0;
  while (c.first_tap < axis.taps && c.first_tap < axis.tap_step &&
         (first + axis.pad - c.first_tap * axis.dilation) % axis.stride != 0) {
    ++c.first_tap;
  }
  const bool meets = c.first_tap < axis.taps && c.first_tap < axis.tap_step;
  c.taps = meets ? (axis.taps - 1 - c.first_tap) / axis.tap_step + 1 : 0;
  c.first_output =
      meets ? (first + axis.pad - c.first_tap * axis.dilation) / axis.stride : Index{0};
  return c;
}

}  // namespace fastconv::cuda
