// Weights that are not finite, beside padding. Fast kernels multiply padding out as zeros, and
// 0 * inf is NaN; torch's kernels leave padding out of the sum (float64 in fprop excepted, where
// they multiply it as well). So where a weight is not finite, the pixels whose window reaches into
// the padding are summed again, one by one.
#pragma once

#include "cpu/conv2d/algorithms.h"
#include "cpu/parallel.h"

namespace fastconv::cpu {

// After an fprop or a dgrad by whatever algorithm. Where all weights are finite this costs a look
// at one pixel per channel: the products of a weight that is not can only be inf or NaN, so it
// shows in every pixel of its channel that reads all taps.
void repair_fprop_beside_padding(const Conv2dProblem& problem, const Conv2dTensors& tensors,
                                 const Parallel& parallel);
void repair_dgrad_beside_padding(const Conv2dProblem& problem, const Conv2dTensors& tensors,
                                 const Parallel& parallel);

}  // namespace fastconv::cpu
