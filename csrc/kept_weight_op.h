// What a module remembers of its last convolution, so that the next one like it needs no look at
// anything in Python. All throw std::runtime_error on bad input.
#pragma once

#include <optional>

#include "torch_adapter.h"

namespace fastconv {

// A one-dimensional uint8 tensor that tells whether a later call is the same: as large, laid out,
// threaded and precise, with a weight in the same place. fingerprint: what weight_fingerprint()
// said of the weight, or nothing where its content need not be looked at again.
Tensor conv2d_memo(const Tensor& input, const Tensor& weight, std::optional<int64_t> fingerprint,
                   int64_t stride_h, int64_t stride_w, int64_t pad_h, int64_t pad_w,
                   int64_t dilation_h, int64_t dilation_w, int64_t groups);

// conv2d_packed_eager(), or conv2d_eager() where nothing is packed, if the call and the content of
// the weight are those of the memo; nothing otherwise.
std::optional<Tensor> conv2d_kept(const Tensor& input, const Tensor& weight,
                                  const std::optional<Tensor>& bias, const Tensor& memo,
                                  const std::optional<Tensor>& packed, int64_t stride_h,
                                  int64_t stride_w, int64_t pad_h, int64_t pad_w,
                                  int64_t dilation_h, int64_t dilation_w, int64_t groups);

}  // namespace fastconv
