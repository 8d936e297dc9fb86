// The conv2d operators: torch tensors in, a validated problem, an algorithm from the backend's
// list.
#include "conv2d_op.h"

#include "backend.h"
#include "message.h"
#include "precision.h"

namespace fastconv {
namespace {

void* readable(const Tensor& tensor) { return const_cast<void*>(tensor.const_data_ptr()); }

// C++'s name of a dtype, as torch's own message has it.
const char* spelled(ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return "float";
    case ScalarType::Double:
      return "double";
    case ScalarType::Half:
      return "c10::Half";
    case ScalarType::BFloat16:
      return "c10::BFloat16";
    default:
      return torch::headeronly::toString(type);
  }
}

void require_same_dtype(const Tensor& a, const char* a_name, const Tensor& b, const char* b_name) {
  const ScalarType a_type = a.scalar_type(), b_type = b.scalar_type();
  require(a_type == b_type, a_name, " type (", spelled(a_type), ") and ", b_name, " type (",
          spelled(b_type), ") should be the same");
}

// Torch's rule for the layout of the output.
bool output_is_channels_last(const Conv2dProblem& problem, const Shape& input,
                             const Shape& weight) {
  return problem.N > 0 && (suggests_channels_last(input) || suggests_channels_last(weight));
}

}  // namespace

Precision precision_of(DType dtype) {
  return dtype == DType::f64 ? Precision::none : conv_fp32_precision(kPrecisionSwitch);
}

Fprop prepare_fprop(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                    const Conv2dParams& params) {
  require_dense(input, "input");
  require_dense(weight, "weight");
  std::optional<Shape> bias_shape;
  if (bias) {
    require_dense(*bias, "bias");
    require_same_dtype(input, "Input", *bias, "bias");
    bias_shape.emplace(*bias);
  }
  const Shape input_shape(input), weight_shape(weight);
  const DType dtype = require_dtype(input, "conv2d");
  Conv2dProblem problem = conv2d_problem(dtype, input_shape.sizes, weight_shape.sizes,
                                         bias_shape ? &bias_shape->sizes : nullptr, params);
  require_same_dtype(input, "Input", weight, "weight");

  const int64_t sizes[] = {problem.N, problem.K, problem.P, problem.Q};
  Tensor output = empty_tensor(Sizes(sizes).last(input_shape.sizes.size()), input.scalar_type(),
                               output_is_channels_last(problem, input_shape, weight_shape));
  problem.input = strides_of(input_shape);
  problem.weight = strides_of(weight_shape);
  problem.output = strides_of(Shape(output));
  problem.precision = precision_of(dtype);

  std::optional<Tensor> dense_bias;
  // Not by asking contiguous(), which goes through the dispatcher to find out.
  if (bias) {
    const bool dense = Shape(*bias).strides[0] == 1;
    dense_bias.emplace(dense ? *bias : laid_out(*bias));
  }
  const Conv2dTensors tensors{readable(input), readable(weight), output.mutable_data_ptr(),
                              bias ? readable(*dense_bias) : nullptr};
  return {problem, tensors, std::move(output), std::move(dense_bias)};
}

namespace {

Tensor run_fprop(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                 const Conv2dParams& params, std::string_view algorithm) {
  const DeviceScope device(input);
  Fprop fprop = prepare_fprop(input, weight, bias, params);
  run_conv2d(ConvDirection::fprop, fprop.problem, fprop.tensors, algorithm);
  return std::move(fprop.output);
}

Tensor run_dgrad(const Tensor& grad_output, const Tensor& weight, Sizes input_size,
                 const Conv2dParams& params, Precision precision, bool channels_last,
                 std::string_view algorithm) {
  const DeviceScope device(grad_output);
  require_dense(grad_output, "grad_output");
  require_dense(weight, "weight");
  require_same_dtype(grad_output, "grad_output", weight, "weight");
  const Shape grad_shape(grad_output), weight_shape(weight);
  const DType dtype = require_dtype(grad_output, "conv2d_grad_input");
  Conv2dProblem problem = conv2d_problem(dtype, input_size, weight_shape.sizes, nullptr, params);
  check_grad_output(problem, grad_shape.sizes, input_size.size() == 4);

  Tensor grad_input = empty_tensor(input_size, grad_output.scalar_type(), channels_last);
  problem.input = strides_of(Shape(grad_input));
  problem.weight = strides_of(weight_shape);
  problem.output = strides_of(grad_shape);
  problem.precision = precision_of(dtype, precision);
  const Conv2dTensors tensors{grad_input.mutable_data_ptr(), readable(weight),
                              readable(grad_output), nullptr};
  run_conv2d(ConvDirection::dgrad, problem, tensors, algorithm);
  return grad_input;
}

Tensor run_wgrad(const Tensor& grad_output, const Tensor& input, Sizes weight_size,
                 const Conv2dParams& params, Precision precision, bool channels_last,
                 std::string_view algorithm) {
  const DeviceScope device(grad_output);
  require_dense(grad_output, "grad_output");
  require_dense(input, "input");
  require_same_dtype(grad_output, "grad_output", input, "input");
  const Shape grad_shape(grad_output), input_shape(input);
  const DType dtype = require_dtype(grad_output, "conv2d_grad_weight");
  Conv2dProblem problem = conv2d_problem(dtype, input_shape.sizes, weight_size, nullptr, params);
  check_grad_output(problem, grad_shape.sizes, input_shape.batched());

  Tensor grad_weight = empty_tensor(weight_size, grad_output.scalar_type(), channels_last);
  problem.input = strides_of(input_shape);
  problem.weight = strides_of(Shape(grad_weight));
  problem.output = strides_of(grad_shape);
  problem.precision = precision_of(dtype, precision);
  const Conv2dTensors tensors{readable(input), grad_weight.mutable_data_ptr(),
                              readable(grad_output), nullptr};
  run_conv2d(ConvDirection::wgrad, problem, tensors, algorithm);
  return grad_weight;
}

}  // namespace

Tensor conv2d(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
              const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
              const std::vector<int64_t>& dilation, int64_t groups, const Text& algorithm) {
  return run_fprop(input, weight, bias, {stride, padding, dilation, groups}, algorithm);
}

Tensor conv2d_grad_input(const Tensor& grad_output, const Tensor& weight,
                         const std::vector<int64_t>& input_size, const std::vector<int64_t>& stride,
                         const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation,
                         int64_t groups, bool channels_last, const Text& algorithm) {
  return run_dgrad(grad_output, weight, input_size, {stride, padding, dilation, groups},
                   conv_fp32_precision(kPrecisionSwitch), channels_last, algorithm);
}

Tensor conv2d_grad_weight(const Tensor& grad_output, const Tensor& input,
                          const std::vector<int64_t>& weight_size,
                          const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                          const std::vector<int64_t>& dilation, int64_t groups, bool channels_last,
                          const Text& algorithm) {
  return run_wgrad(grad_output, input, weight_size, {stride, padding, dilation, groups},
                   conv_fp32_precision(kPrecisionSwitch), channels_last, algorithm);
}

Tensor conv2d_grad_bias(const Tensor& grad_output) {
  const DeviceScope device(grad_output);
  require_dense(grad_output, "grad_output");
  const Shape shape(grad_output);
  require(shape.sizes.size() == 3 || shape.sizes.size() == 4,
          "Expected 3D (unbatched) or 4D (batched) grad_output, but got size ", shape.sizes);
  const Sizes planes = shape.sizes.last(3);
  Conv2dProblem problem{};
  problem.dtype = require_dtype(grad_output, "conv2d_grad_bias");
  problem.N = shape.batched() ? shape.sizes[0] : 1;
  problem.K = planes[0];
  problem.P = planes[1];
  problem.Q = planes[2];
  problem.output = strides_of(shape);

  Tensor grad_bias = empty_tensor(planes.first(1), grad_output.scalar_type(), false);
  run_bias_gradient(problem, readable(grad_output), grad_bias.mutable_data_ptr());
  return grad_bias;
}

Tensor conv2d_eager(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                    int64_t stride_h, int64_t stride_w, int64_t pad_h, int64_t pad_w,
                    int64_t dilation_h, int64_t dilation_w, int64_t groups) {
  const Geometry geometry{{stride_h, stride_w}, {pad_h, pad_w}, {dilation_h, dilation_w}, groups};
  return run_fprop(input, weight, bias, geometry.params(), {});
}

std::tuple<std::optional<Tensor>, std::optional<Tensor>, std::optional<Tensor>> conv2d_backward(
    const Tensor& grad_output, const Tensor& input, const Tensor& weight,
    const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
    const std::vector<int64_t>& dilation, int64_t groups, bool needs_input, bool needs_weight,
    bool needs_bias) {
  const Conv2dParams params{stride, padding, dilation, groups};
  const Precision precision = conv_fp32_precision(kPrecisionSwitch);
  const Shape input_shape(input), weight_shape(weight);
  const bool convolves = input_shape.sizes.size() >= 3 && input_shape.sizes.size() <= 4 &&
                         weight_shape.sizes.size() == 4;
  require(convolves, "Expected a 3D or 4D input and a 4D weight, but got ", input_shape.sizes,
          " and ", weight_shape.sizes);
  const bool weight_suggests = suggests_channels_last(weight_shape);
  const bool channels_last = weight_suggests || suggests_channels_last(input_shape);
  std::optional<Tensor> grad_input, grad_weight, grad_bias;
  if (needs_input) {
    grad_input =
        run_dgrad(grad_output, weight, input_shape.sizes, params, precision, channels_last, {});
  }
  if (needs_weight) {
    // torch gives the zero gradient of an empty batch in the weight's own layout.
    const bool empty_batch = input_shape.batched() && input_shape.sizes[0] == 0;
    grad_weight = run_wgrad(grad_output, input, weight_shape.sizes, params, precision,
                            empty_batch ? weight_suggests : channels_last, {});
  }
  if (needs_bias) {
    if (!needs_input && !needs_weight) {
      // The other gradients check grad_output themselves; this one would take it of any sizes.
      require_dense(grad_output, "grad_output");
      const DType dtype = require_dtype(grad_output, "conv2d_grad_bias");
      check_grad_output(
          conv2d_problem(dtype, input_shape.sizes, weight_shape.sizes, nullptr, params),
          Shape(grad_output).sizes, input_shape.batched());
    }
    grad_bias = conv2d_grad_bias(grad_output);
  }
  return {std::move(grad_input), std::move(grad_weight), std::move(grad_bias)};
}

}  // namespace fastconv
