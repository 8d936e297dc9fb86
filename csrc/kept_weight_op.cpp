#include "kept_weight_op.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstring>

#include "conv2d_op.h"
#include "message.h"
#include "packed_weight_op.h"

namespace fastconv {
namespace {

// Plain integers without gaps between them: two are compared as bytes.
struct Memo {
  int64_t magic = 0x66636d656d6f3031;
  int64_t input_type, weight_type;
  int64_t threads, precision;
  int64_t input_sizes[4], input_strides[4];
  int64_t weight_sizes[4], weight_strides[4];
  int64_t weight_at;
  int64_t geometry[7];
  int64_t looks_at_content, fingerprint;
};

// Of the call alone, not yet of the weight's content. Nothing where the sizes are no convolution's.
std::optional<Memo> memo_of(const Tensor& input, const Tensor& weight,
                            const int64_t (&geometry)[7]) {
  const Shape x(input), w(weight);
  if (x.sizes.size() != 4 || w.sizes.size() != 4) return std::nullopt;
  const std::optional<DType> dtype = dtype_of(input.scalar_type());
  if (!dtype) return std::nullopt;
  Memo memo{};
  memo.input_type = static_cast<int64_t>(input.scalar_type());
  memo.weight_type = static_cast<int64_t>(weight.scalar_type());
  memo.threads = static_cast<int64_t>(torch::stable::get_num_threads());
  memo.precision = static_cast<int64_t>(precision_of(*dtype));
  std::copy_n(x.sizes.data(), 4, memo.input_sizes);
  std::copy_n(x.strides.data(), 4, memo.input_strides);
  std::copy_n(w.sizes.data(), 4, memo.weight_sizes);
  std::copy_n(w.strides.data(), 4, memo.weight_strides);
  memo.weight_at = static_cast<int64_t>(reinterpret_cast<uintptr_t>(weight.const_data_ptr()));
  std::copy_n(geometry, 7, memo.geometry);
  return memo;
}

Memo read_memo(const Tensor& tensor) {
  require_dense(tensor, "memo");
  const Shape shape(tensor);
  Memo memo{};
  const int64_t magic = memo.magic;
  const bool bytes = tensor.scalar_type() == ScalarType::Byte && shape.sizes.size() == 1 &&
                     shape.sizes[0] == int64_t{sizeof memo} && shape.strides[0] == 1;
  if (bytes) std::memcpy(&memo, tensor.const_data_ptr(), sizeof memo);
  require(bytes && memo.magic == magic, "Expected memo to be a result of _conv2d_memo");
  return memo;
}

}  // namespace

Tensor conv2d_memo(const Tensor& input, const Tensor& weight, std::optional<int64_t> fingerprint,
                   int64_t stride_h, int64_t stride_w, int64_t pad_h, int64_t pad_w,
                   int64_t dilation_h, int64_t dilation_w, int64_t groups) {
  require_dense(input, "input");
  require_dense(weight, "weight");
  std::optional<Memo> memo =
      memo_of(input, weight, {stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups});
  require(memo.has_value(), "Expected a 4D input and a 4D weight of a dtype that has kernels");
  memo->looks_at_content = fingerprint.has_value();
  memo->fingerprint = fingerprint.value_or(0);
  constexpr int64_t kSize = sizeof(Memo);
  Tensor out = empty_tensor({&kSize, 1}, ScalarType::Byte, false);
  std::memcpy(out.mutable_data_ptr(), &*memo, sizeof(Memo));
  return out;
}

std::optional<Tensor> conv2d_kept(const Tensor& input, const Tensor& weight,
                                  const std::optional<Tensor>& bias, const Tensor& memo,
                                  const std::optional<Tensor>& packed, int64_t stride_h,
                                  int64_t stride_w, int64_t pad_h, int64_t pad_w,
                                  int64_t dilation_h, int64_t dilation_w, int64_t groups) {
  require_dense(input, "input");
  require_dense(weight, "weight");
  const Memo before = read_memo(memo);
  std::optional<Memo> now =
      memo_of(input, weight, {stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups});
  if (!now) return std::nullopt;
  now->looks_at_content = before.looks_at_content;
  now->fingerprint = before.fingerprint;
  if (std::memcmp(&*now, &before, sizeof before) != 0) return std::nullopt;
  if (before.looks_at_content && weight_fingerprint(weight) != before.fingerprint) {
    return std::nullopt;
  }
  if (packed) {
    return conv2d_packed_eager(input, weight, bias, *packed, stride_h, stride_w, pad_h, pad_w,
                               dilation_h, dilation_w, groups);
  }
  return conv2d_eager(input, weight, bias, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w,
                      groups);
}

}  // namespace fastconv
