// The conv2d operators as C++ functions. padding takes one value, two (h, w) or four (top, bottom,
// left, right); `algorithm` holds the names in force from use_algorithm(), comma separated. All
// throw std::runtime_error on bad input.
#pragma once

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "text.h"
#include "torch_adapter.h"

namespace fastconv {

// The lists of Conv2dParams, from plain integers.
struct Geometry {
  int64_t stride[2], padding[2], dilation[2], groups;
  Conv2dParams params() const { return {stride, padding, dilation, groups}; }
};

// A forward pass up to the choice of its algorithm: the validated problem, the output allocated.
struct Fprop {
  Conv2dProblem problem;
  Conv2dTensors tensors;
  Tensor output;
  std::optional<Tensor> dense_bias;  // what tensors.bias points into
};
Fprop prepare_fprop(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                    const Conv2dParams& params);

// The switch that is in force, for dtypes that it is about.
Precision precision_of(DType dtype);
// The same, asked for already.
inline Precision precision_of(DType dtype, Precision switched) {
  return dtype == DType::f64 ? Precision::none : switched;
}

Tensor conv2d(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
              const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
              const std::vector<int64_t>& dilation, int64_t groups, const Text& algorithm);

Tensor conv2d_grad_input(const Tensor& grad_output, const Tensor& weight,
                         const std::vector<int64_t>& input_size, const std::vector<int64_t>& stride,
                         const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation,
                         int64_t groups, bool channels_last, const Text& algorithm);

Tensor conv2d_grad_weight(const Tensor& grad_output, const Tensor& input,
                          const std::vector<int64_t>& weight_size,
                          const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                          const std::vector<int64_t>& dilation, int64_t groups, bool channels_last,
                          const Text& algorithm);

Tensor conv2d_grad_bias(const Tensor& grad_output);

// The gradients of input, weight and bias, those that are wanted.
std::tuple<std::optional<Tensor>, std::optional<Tensor>, std::optional<Tensor>> conv2d_backward(
    const Tensor& grad_output, const Tensor& input, const Tensor& weight,
    const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
    const std::vector<int64_t>& dilation, int64_t groups, bool needs_input, bool needs_weight,
    bool needs_bias);

// conv2d() with plain integers for lists: torch takes about 1 us to hand over a list.
Tensor conv2d_eager(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                    int64_t stride_h, int64_t stride_w, int64_t pad_h, int64_t pad_w,
                    int64_t dilation_h, int64_t dilation_w, int64_t groups);

}  // namespace fastconv
