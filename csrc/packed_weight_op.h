// Weights kept between calls in the form that an algorithm makes of them, as opaque byte tensors.
// All throw std::runtime_error on bad input.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "text.h"
#include "torch_adapter.h"

namespace fastconv {

// What the algorithm that is best for such inputs, were its packed weight at hand, makes of
// `weight`: a one-dimensional uint8 tensor, empty where that algorithm reads weights as they lie.
Tensor conv2d_pack_weight(const Tensor& weight, const std::vector<int64_t>& input_size,
                          const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                          const std::vector<int64_t>& dilation, int64_t groups, bool channels_last,
                          const Text& algorithm);

// conv2d() by the algorithm that made `packed` of the same weight.
Tensor conv2d_packed(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                     const Tensor& packed, const std::vector<int64_t>& stride,
                     const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation,
                     int64_t groups);

// The same, with plain integers for lists (conv2d_op.h says why).
Tensor conv2d_packed_eager(const Tensor& input, const Tensor& weight,
                           const std::optional<Tensor>& bias, const Tensor& packed,
                           int64_t stride_h, int64_t stride_w, int64_t pad_h, int64_t pad_w,
                           int64_t dilation_h, int64_t dilation_w, int64_t groups);

// The algorithm that made it.
std::string conv2d_packed_algorithm(const Tensor& packed);

// Of the content of a tensor without gaps, whatever the order of its dimensions.
int64_t weight_fingerprint(const Tensor& weight);

}  // namespace fastconv
