// The max_pool2d operators: torch tensors in, a validated problem, an algorithm from the backend's
// list.
#include "max_pool2d_op.h"

#include "backend.h"
#include "message.h"

namespace fastconv {
namespace {

struct Pooled {
  Tensor values;
  std::optional<Tensor> indices;
};

Pooled forward(const Tensor& input, const Pool2dParams& params, bool with_indices,
               std::string_view algorithm) {
  const DeviceScope device(input);
  require_dense(input, "input");
  const Shape shape(input);
  Pool2dProblem problem =
      max_pool2d_problem(require_dtype(input, "max_pool2d"), shape.sizes, params);

  const int64_t all_sizes[] = {problem.N, problem.C, problem.P, problem.Q};
  const Sizes sizes = Sizes(all_sizes).last(shape.sizes.size());
  const bool channels_last = shape.batched() && suggests_channels_last(shape);
  Pooled pooled{empty_tensor(sizes, input.scalar_type(), channels_last), std::nullopt};
  if (with_indices) pooled.indices = empty_tensor(sizes, ScalarType::Long, channels_last);
  problem.input = strides_of(shape);
  problem.output = strides_of(Shape(pooled.values));

  MaxPool2dTensors tensors;
  tensors.input = const_cast<void*>(input.const_data_ptr());
  tensors.output = pooled.values.mutable_data_ptr();
  if (with_indices) tensors.indices = static_cast<int64_t*>(pooled.indices->mutable_data_ptr());
  run_max_pool2d(PoolDirection::forward, problem, tensors, algorithm);
  return pooled;
}

// `window` is what made the indices, where the caller knows it.
Tensor backward(const Tensor& grad_output, const Tensor& indices, Sizes input_size,
                bool channels_last, const Pool2dParams* window, std::string_view algorithm) {
  const DeviceScope device(grad_output);
  require_dense(grad_output, "grad_output");
  require_dense(indices, "indices");
  require(indices.scalar_type() == ScalarType::Long, "Expected indices of dtype int64, but got ",
          torch::headeronly::toString(indices.scalar_type()));
  const DType dtype = require_dtype(grad_output, "max_pool2d_backward");
  Pool2dProblem problem = max_pool2d_backward_problem(dtype, input_size, Shape(grad_output).sizes,
                                                      Shape(indices).sizes, window);
  const bool nhwc = channels_last && input_size.size() == 4;
  // The kernels want indices to lie exactly like grad_output, and the forward's own always lie like
  // its input.
  const MemoryFormat format = nhwc ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
  Tensor grad_input = empty_tensor(input_size, grad_output.scalar_type(), nhwc);
  const Tensor grad = laid_out(grad_output, format);
  const Tensor index = laid_out(indices, format);
  problem.input = strides_of(Shape(grad_input));
  problem.output = strides_of(Shape(grad));
  bool index_out_of_range = false;
  MaxPool2dTensors tensors;
  tensors.input = grad_input.mutable_data_ptr();
  tensors.output = const_cast<void*>(grad.const_data_ptr());
  tensors.indices = const_cast<int64_t*>(static_cast<const int64_t*>(index.const_data_ptr()));
  tensors.index_out_of_range = &index_out_of_range;
  run_max_pool2d(PoolDirection::backward, problem, tensors, algorithm);
  require(!index_out_of_range, "max_pool2d_backward: found an index outside ",
          window == nullptr ? "the " : "its window in the ", problem.H, " x ", problem.W,
          " input plane");
  return grad_input;
}

// The lists of Pool2dParams, from plain integers.
struct Window {
  int64_t kernel[2], stride[2], padding[2], dilation[2];
  Pool2dParams params(bool ceil_mode) const {
    return {kernel, stride, padding, dilation, ceil_mode};
  }
};

}  // namespace

Tensor max_pool2d(const Tensor& input, const std::vector<int64_t>& kernel_size,
                  const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                  const std::vector<int64_t>& dilation, bool ceil_mode, const Text& algorithm) {
  return forward(input, {kernel_size, stride, padding, dilation, ceil_mode}, false, algorithm)
      .values;
}

std::tuple<Tensor, Tensor> max_pool2d_with_indices(const Tensor& input,
                                                   const std::vector<int64_t>& kernel_size,
                                                   const std::vector<int64_t>& stride,
                                                   const std::vector<int64_t>& padding,
                                                   const std::vector<int64_t>& dilation,
                                                   bool ceil_mode, const Text& algorithm) {
  Pooled pooled =
      forward(input, {kernel_size, stride, padding, dilation, ceil_mode}, true, algorithm);
  return {pooled.values, *pooled.indices};
}

Tensor max_pool2d_backward(const Tensor& grad_output, const Tensor& indices,
                           const std::vector<int64_t>& input_size, bool channels_last,
                           const Text& algorithm, const std::vector<int64_t>& window) {
  if (window.empty()) {
    return backward(grad_output, indices, input_size, channels_last, nullptr, algorithm);
  }
  require(window.size() == 9,
          "max_pool2d_backward: expected window to be empty or the two extents of kernel_size, "
          "stride, padding and dilation and ceil_mode, but got ",
          Sizes(window));
  const Sizes numbers(window);
  const Pool2dParams params{numbers.subspan(0, 2), numbers.subspan(2, 2), numbers.subspan(4, 2),
                            numbers.subspan(6, 2), window[8] != 0};
  return backward(grad_output, indices, input_size, channels_last, &params, algorithm);
}

Tensor max_pool2d_eager(const Tensor& input, int64_t kernel_h, int64_t kernel_w, int64_t stride_h,
                        int64_t stride_w, int64_t pad_h, int64_t pad_w, int64_t dilation_h,
                        int64_t dilation_w, bool ceil_mode) {
  const Window window{
      {kernel_h, kernel_w}, {stride_h, stride_w}, {pad_h, pad_w}, {dilation_h, dilation_w}};
  return forward(input, window.params(ceil_mode), false, {}).values;
}

std::tuple<Tensor, Tensor> max_pool2d_with_indices_eager(const Tensor& input, int64_t kernel_h,
                                                         int64_t kernel_w, int64_t stride_h,
                                                         int64_t stride_w, int64_t pad_h,
                                                         int64_t pad_w, int64_t dilation_h,
                                                         int64_t dilation_w, bool ceil_mode) {
  const Window window{
      {kernel_h, kernel_w}, {stride_h, stride_w}, {pad_h, pad_w}, {dilation_h, dilation_w}};
  Pooled pooled = forward(input, window.params(ceil_mode), true, {});
  return {std::move(pooled.values), std::move(*pooled.indices)};
}

Tensor max_pool2d_backward_eager(const Tensor& grad_output, const Tensor& indices, int64_t height,
                                 int64_t width, bool channels_last, int64_t kernel_h,
                                 int64_t kernel_w, int64_t stride_h, int64_t stride_w,
                                 int64_t pad_h, int64_t pad_w, int64_t dilation_h,
                                 int64_t dilation_w, bool ceil_mode, const Text& algorithm) {
  const Shape pooled(grad_output);
  const Sizes sizes = pooled.sizes;
  require(sizes.size() == 3 || sizes.size() == 4, "Expected 3D or 4D grad_output, but got size ",
          sizes);
  const int64_t input_size[] = {sizes[0], sizes[sizes.size() - 3], height, width};
  const Window window{
      {kernel_h, kernel_w}, {stride_h, stride_w}, {pad_h, pad_w}, {dilation_h, dilation_w}};
  const Pool2dParams params = window.params(ceil_mode);
  return backward(grad_output, indices, Sizes(input_size).last(sizes.size()), channels_last,
                  &params, algorithm);
}

}  // namespace fastconv
