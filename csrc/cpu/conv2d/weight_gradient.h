// wgrad as a matrix product with the pixels of the output as its reduction:
//
//   weight[f, (c, r, s)] = sum over pixels of grad_output[pixel, f] * im2col(input)[pixel, (c, r,
//   s)]
#pragma once

#include "cpu/conv2d/im2col.h"
#include "cpu/conv2d/partition.h"
#include "cpu/conv2d/weight_matrix.h"
#include "problem.h"

namespace fastconv::cpu {

struct WeightGradient {
  Im2col input;
  Im2col grad;  // grad_output: a window of one tap that stands on every output pixel
  WeightMatrix weight;
  int64_t groups;
  int64_t input_group, grad_group, weight_group;  // from one group to the next

  // Whether channels and taps are the rows of C and filters its columns, or the other way round:
  // whichever transposes less while packing.
  bool taps_are_rows;
  bool input_channels_inner, grad_channels_inner;

  // The reduction is cut into this many parts of their own, added in order at the end. Chosen from
  // the problem alone.
  int64_t parts;

  int64_t filters() const { return grad.channels; }
  int64_t pixels() const { return grad.pixels(); }
};

WeightGradient weight_gradient(const Conv2dProblem& problem, int64_t gemm_depth);

}  // namespace fastconv::cpu
