// The max_pool2d operators as C++ functions. All throw std::runtime_error on bad input.
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include "text.h"
#include "torch_adapter.h"

namespace fastconv {

Tensor max_pool2d(const Tensor& input, const std::vector<int64_t>& kernel_size,
                  const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                  const std::vector<int64_t>& dilation, bool ceil_mode, const Text& algorithm);

std::tuple<Tensor, Tensor> max_pool2d_with_indices(const Tensor& input,
                                                   const std::vector<int64_t>& kernel_size,
                                                   const std::vector<int64_t>& stride,
                                                   const std::vector<int64_t>& padding,
                                                   const std::vector<int64_t>& dilation,
                                                   bool ceil_mode, const Text& algorithm);

// `window` is what made the indices, as the nine numbers of max_pool2d_backward_eager(), or empty:
// knowing it is worth an algorithm of its own.
Tensor max_pool2d_backward(const Tensor& grad_output, const Tensor& indices,
                           const std::vector<int64_t>& input_size, bool channels_last,
                           const Text& algorithm, const std::vector<int64_t>& window);

// The same with plain integers for lists: torch takes about 1 us to hand over each.
Tensor max_pool2d_eager(const Tensor& input, int64_t kernel_h, int64_t kernel_w, int64_t stride_h,
                        int64_t stride_w, int64_t pad_h, int64_t pad_w, int64_t dilation_h,
                        int64_t dilation_w, bool ceil_mode);

std::tuple<Tensor, Tensor> max_pool2d_with_indices_eager(const Tensor& input, int64_t kernel_h,
                                                         int64_t kernel_w, int64_t stride_h,
                                                         int64_t stride_w, int64_t pad_h,
                                                         int64_t pad_w, int64_t dilation_h,
                                                         int64_t dilation_w, bool ceil_mode);

Tensor max_pool2d_backward_eager(const Tensor& grad_output, const Tensor& indices, int64_t height,
                                 int64_t width, bool channels_last, int64_t kernel_h,
                                 int64_t kernel_w, int64_t stride_h, int64_t stride_w,
                                 int64_t pad_h, int64_t pad_w, int64_t dilation_h,
                                 int64_t dilation_w, bool ceil_mode, const Text& algorithm);

}  // namespace fastconv
