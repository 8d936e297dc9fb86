// The dispatcher of conv2d on the GPU: best first, the most general last. A new algorithm is a new
// file and a line here.
#include "cuda/conv2d/entries.h"

namespace fastconv::cuda {
namespace {

constexpr const Conv2dAlgorithm* kFprop[] = {
    &conv2d_fprop_depthwise,
    &conv2d_fprop_warpgroup,
    &conv2d_fprop_tensor_core,
    &conv2d_fprop_tensor_core_tf32,
    &conv2d_fprop_tensor_core_split,
    &conv2d_fprop_tensor_core_copied,
    &conv2d_fprop_tensor_core_tf32_copied,
    &conv2d_fprop_tensor_core_split_copied,
    &conv2d_fprop_simt,
};

constexpr const Conv2dAlgorithm* kDgrad[] = {
    &conv2d_dgrad_depthwise,
    &conv2d_dgrad_warpgroup,
    &conv2d_dgrad_tensor_core,
    &conv2d_dgrad_tensor_core_tf32,
    &conv2d_dgrad_tensor_core_split,
    &conv2d_dgrad_tensor_core_copied,
    &conv2d_dgrad_tensor_core_tf32_copied,
    &conv2d_dgrad_tensor_core_split_copied,
    &conv2d_dgrad_simt,
};

constexpr const Conv2dAlgorithm* kWgrad[] = {
    &conv2d_wgrad_depthwise,
    &conv2d_wgrad_tensor_core,
    &conv2d_wgrad_tensor_core_tf32,
    &conv2d_wgrad_tensor_core_split,
    &conv2d_wgrad_tensor_core_copied,
    &conv2d_wgrad_tensor_core_tf32_copied,
    &conv2d_wgrad_tensor_core_split_copied,
    &conv2d_wgrad_simt,
};

}  // namespace

Conv2dList conv2d_fprop_algorithms() { return kFprop; }
Conv2dList conv2d_dgrad_algorithms() { return kDgrad; }
Conv2dList conv2d_wgrad_algorithms() { return kWgrad; }

}  // namespace fastconv::cuda
