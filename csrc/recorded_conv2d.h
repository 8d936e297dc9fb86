// Convolutions that torch records by a node of its own.
//
// The stable ABI has no autograd. A Function written in Python costs 2.5 us of a forward and 10 of
// a backward pass, as much as a small convolution takes. torch has one convolution whose kernels it
// leaves to extensions and whose node, in C++, asks the dispatcher for both:
// convolution_overrideable and convolution_backward_overrideable. On the CPU and on CUDA torch
// itself neither calls them nor has kernels for them, so that ours change nothing but what fastconv
// calls.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>
#include <tuple>
#include <vector>

#include "torch_adapter.h"

namespace fastconv {

// aten::convolution_overrideable, below autograd. Throws where it is not a conv2d.
Tensor recorded_conv2d(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                       const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                       const std::vector<int64_t>& dilation, bool transposed,
                       const std::vector<int64_t>& output_padding, int64_t groups);

// aten::convolution_backward_overrideable in place of torch's own kernel for autograd, whose second
// derivatives would be torch's convolutions: calls fastconv::_conv2d_backward, which has kernels
// alone, or where it is recorded again, transformed or watched the differentiable operators
// (fastconv::_conv2d_gradients). Gradients that the mask leaves out are undefined tensors.
std::tuple<Tensor, Tensor, Tensor> recorded_conv2d_backward(
    const Tensor& grad_output, const Tensor& input, const Tensor& weight,
    const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
    const std::vector<int64_t>& dilation, bool transposed,
    const std::vector<int64_t>& output_padding, int64_t groups,
    const std::vector<bool>& output_mask);

// Adds watch_backward(surroundings), by which a backward pass learns of transforms and modes.
void define_recorded_conv2d(pybind11::module_& m);

}  // namespace fastconv
