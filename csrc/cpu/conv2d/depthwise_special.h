// NaNs in the gradient beside padding. The fast kernels multiply padding out as zeros; torch's
// kernels leave it out of the sum, except for float64. So a depthwise wgrad in which there is a NaN
// is summed again here, element by element: cheap, as a filter has few of them. What
// beside_padding.h says of weights is the same for fprop and dgrad.
#pragma once

#include "cpu/conv2d/algorithms.h"
#include "cpu/parallel.h"

namespace fastconv::cpu {

// After a depthwise wgrad: redoes the filters in which there is a NaN.
void depthwise_redo_wgrad(const Conv2dProblem& problem, const Conv2dTensors& tensors,
                          const Parallel& parallel);

}  // namespace fastconv::cpu
