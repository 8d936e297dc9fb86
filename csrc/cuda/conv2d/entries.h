// Every conv2d algorithm by the name of its entry; each is defined in the file that launches it.
#pragma once

#include "cuda/algorithm.h"

namespace fastconv::cuda {

extern const Conv2dAlgorithm conv2d_fprop_depthwise;
extern const Conv2dAlgorithm conv2d_fprop_warpgroup;
extern const Conv2dAlgorithm conv2d_fprop_tensor_core;
extern const Conv2dAlgorithm conv2d_fprop_tensor_core_tf32;
extern const Conv2dAlgorithm conv2d_fprop_tensor_core_split;
extern const Conv2dAlgorithm conv2d_fprop_tensor_core_copied;
extern const Conv2dAlgorithm conv2d_fprop_tensor_core_tf32_copied;
extern const Conv2dAlgorithm conv2d_fprop_tensor_core_split_copied;
extern const Conv2dAlgorithm conv2d_fprop_simt;
extern const Conv2dAlgorithm conv2d_dgrad_depthwise;
extern const Conv2dAlgorithm conv2d_dgrad_warpgroup;
extern const Conv2dAlgorithm conv2d_dgrad_tensor_core;
extern const Conv2dAlgorithm conv2d_dgrad_tensor_core_tf32;
extern const Conv2dAlgorithm conv2d_dgrad_tensor_core_split;
extern const Conv2dAlgorithm conv2d_dgrad_tensor_core_copied;
extern const Conv2dAlgorithm conv2d_dgrad_tensor_core_tf32_copied;
extern const Conv2dAlgorithm conv2d_dgrad_tensor_core_split_copied;
extern const Conv2dAlgorithm conv2d_dgrad_simt;
extern const Conv2dAlgorithm conv2d_wgrad_depthwise;
extern const Conv2dAlgorithm conv2d_wgrad_tensor_core;
extern const Conv2dAlgorithm conv2d_wgrad_tensor_core_tf32;
extern const Conv2dAlgorithm conv2d_wgrad_tensor_core_split;
extern const Conv2dAlgorithm conv2d_wgrad_tensor_core_copied;
extern const Conv2dAlgorithm conv2d_wgrad_tensor_core_tf32_copied;
extern const Conv2dAlgorithm conv2d_wgrad_tensor_core_split_copied;
extern const Conv2dAlgorithm conv2d_wgrad_simt;

// Stated error in float32 of sums kept in float in chunks of 256.
constexpr double kSimtError = 5e-7;
// Of both factors rounded to the 11 bits of TF32.
constexpr double kTf32Error = 5e-4;

}  // namespace fastconv::cuda
