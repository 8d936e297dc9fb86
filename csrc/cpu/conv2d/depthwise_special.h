// Infinities and NaNs beside padding. The fast kernels multiply padding out as zeros, and 0 * inf
// is NaN; torch's kernels for float32, bfloat16 and float16 leave padding out of the sum. So where
// something is not finite the elements in question are summed again here, one by one. For float64
// torch multiplies the padding too, except in dgrad, which these functions follow.
#pragma once

#include "cpu/conv2d/algorithms.h"
#include "cpu/parallel.h"

namespace fastconv::cpu {

// After a depthwise fprop or dgrad: redoes the planes whose weights are not all finite.
void depthwise_redo_fprop(const Conv2dProblem& problem, const Conv2dTensors& tensors,
                          const Parallel& parallel);
void depthwise_redo_dgrad(const Conv2dProblem& problem, const Conv2dTensors& tensors,
                          const Parallel& parallel);
// After a depthwise wgrad: redoes the filters in which there is a NaN.
void depthwise_redo_wgrad(const Conv2dProblem& problem, const Conv2dTensors& tensors,
                          const Parallel& parallel);

}  // namespace fastconv::cpu
