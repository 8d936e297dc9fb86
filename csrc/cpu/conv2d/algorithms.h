// The convolution algorithms of the CPU, one ordered list per direction.
#pragma once

#include <span>

#include "cpu/algorithm.h"

namespace fastconv::cpu {

using fastconv::Conv2dTensors;
using Conv2dAlgorithm = Algorithm<Conv2dProblem, Conv2dTensors>;
using Conv2dList = std::span<const Conv2dAlgorithm* const>;

Conv2dList conv2d_fprop_algorithms();
Conv2dList conv2d_dgrad_algorithms();
Conv2dList conv2d_wgrad_algorithms();

// grad_bias[k] = sum of grad_output over N, P, Q; grad_output lies in tensors.output, grad_bias is
// contiguous.
void conv2d_bias_gradient(const Conv2dProblem& problem, const void* grad_output, void* grad_bias,
                          const Parallel& parallel);

}  // namespace fastconv::cpu
