// The max_pool2d operators as C++ functions. All throw std::runtime_error on bad input.
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include "torch_adapter.h"

namespace fastconv {

Tensor max_pool2d(const Tensor& input, const std::vector<int64_t>& kernel_size,
                  const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                  const std::vector<int64_t>& dilation, bool ceil_mode,
                  const std::string& algorithm);

std::tuple<Tensor, Tensor> max_pool2d_with_indices(const Tensor& input,
                                                   const std::vector<int64_t>& kernel_size,
                                                   const std::vector<int64_t>& stride,
                                                   const std::vector<int64_t>& padding,
                                                   const std::vector<int64_t>& dilation,
                                                   bool ceil_mode, const std::string& algorithm);

Tensor max_pool2d_backward(const Tensor& grad_output, const Tensor& indices,
                           const std::vector<int64_t>& input_size, bool channels_last,
                           const std::string& algorithm);

}  // namespace fastconv
