// fprop and dgrad as one kind of sum:
//
//   y[n, f, i, j] = bias[f] + sum over channels c and taps t of
//                   weight[f, c, t] * x[n, c, i * step + offset_h(t), j * step + offset_w(t)]
//
// fprop is one gather, with the convolution's own stride as its step. dgrad is one gather over
// grad_output for each residue class of input pixels modulo the stride: the pixels h = a (mod
// stride) are read through the taps r with a + pad - r * dilation divisible by the stride, and
// through no others, so that no product with an inserted zero is ever formed.
#pragma once

#include <cstdint>

#include "cpu/conv2d/im2col.h"
#include "cpu/conv2d/weight_matrix.h"
#include "problem.h"

namespace fastconv::cpu {

struct Gather {
  Im2col x;
  WeightMatrix weight;
  int64_t groups, filters;            // filters of one group
  Strides4 y;                         // of the written tensor; c counts filters
  int64_t y_offset;                   // of its first element
  int64_t x_group, w_group, y_group;  // from one group to the next

  // How the product is laid out, chosen from the strides. C is stored filters x pixels or, where
  // filters are neighbours in memory (channels_last), pixels x filters.
  bool pixels_are_columns;
  bool x_channels_inner;
  bool weight_filters_inner;
};

Gather fprop_gather(const Conv2dProblem& problem);

// The residue classes of dgrad along one dimension that have taps at all; the pixels of the others
// are zero.
Taps dgrad_taps(int64_t residue, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation);

Gather dgrad_gather(const Conv2dProblem& problem, int64_t row_residue, int64_t column_residue);

// fn(gather) for every class with taps.
template <class F>
static void for_each_dgrad_class(const Conv2dProblem& p, const F& fn) {
  const int64_t row_classes = p.stride.h < p.H ? p.stride.h : p.H;
  const int64_t column_classes = p.stride.w < p.W ? p.stride.w : p.W;
  for (int64_t a = 0; a < row_classes; ++a) {
    if (dgrad_taps(a, p.R, p.stride.h, p.pad.h, p.dilation.h).count == 0) continue;
    for (int64_t b = 0; b < column_classes; ++b) {
      if (dgrad_taps(b, p.S, p.stride.w, p.pad.w, p.dilation.w).count == 0) continue;
      fn(dgrad_gather(p, a, b));
    }
  }
}

// Of fn(gather), estimates of time.
template <class F>
static double sum_over_dgrad_classes(const Conv2dProblem& p, const F& fn) {
  double sum = 0;
  for_each_dgrad_class(p, [&](const Gather& gather) { sum += fn(gather); });
  return sum;
}

// The same gather from a copy of x: groups one after another, channels_last in each.
Gather with_channels_innermost(Gather gather);

// Few pixels leave packing the weight little to pay for. Within a tap it can be read in place, if
// its filters are neighbours: 3x3 dgrad on 7 x 7 pixels took 1.1 to 1.5 times as long by blocks
// across taps, with 64 channels and more; with 32, as long. For any number of threads the same.
bool reads_taps_in_turn(const Gather& gather, int64_t tile_rows);

// Whether some class has no taps.
bool dgrad_has_holes(const Conv2dProblem& problem);

}  // namespace fastconv::cpu
