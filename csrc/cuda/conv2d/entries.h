// Every conv2d algorithm by the name of its entry; each is defined in the file that launches it.
#pragma once

#include "cuda/algorithm.h"

namespace fastconv::cuda {

extern const Conv2dAlgorithm conv2d_fprop_tensor_core;
extern const Conv2dAlgorithm conv2d_fprop_simt;
extern const Conv2dAlgorithm conv2d_dgrad_simt;
extern const Conv2dAlgorithm conv2d_wgrad_simt;

// Stated error in float32 of sums kept in float in chunks of 256.
constexpr double kSimtError = 5e-7;

}  // namespace fastconv::cuda
