// A convolution by warpgroup_fprop.cuh: its limits, when it is worth taking, its launch. It has not
// run on a GPU yet: the emulation says that it is right, the compiler that it fits into registers,
// and nobody how fast it is.
#pragma once

#include "cuda/algorithm.h"
#include "cuda/conv2d/entries.h"

namespace fastconv::cuda {

// Why a convolution of channels_last tensors of whole 16-byte pieces cannot be done so, or nullptr.
const char* warpgroup_reject(const Conv2dProblem& p);
const char* warpgroup_reject_device(const Device& device);
bool warpgroup_worthwhile(const Conv2dProblem& p, const Device& device);

// Of 16-bit elements; padding may be negative.
void launch_warpgroup_product(const char* name, const Conv2dProblem& p, const Conv2dTensors& t,
                              const Queue& queue);

}  // namespace fastconv::cuda
