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
  return dtype == DType::f32 ? conv_fp32_precision(kPrecisionSwitch) : Precision::none;
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
  if (bias) dense_bias = torch::stable::contiguous(*bias);
  const Conv2dTensors tensors{readable(input), readable(weight), output.mutable_data_ptr(),
                              bias ? readable(*dense_bias) : nullptr};
  return {problem, tensors, std::move(output), std::move(dense_bias)};
}

Tensor conv2d(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
              const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
              const std::vector<int64_t>& dilation, int64_t groups, const std::string& algorithm) {
  const DeviceScope device(input);
  Fprop fprop = prepare_fprop(input, weight, bias, {stride, padding, dilation, groups});
  run_conv2d(ConvDirection::fprop, fprop.problem, fprop.tensors, algorithm);
  return std::move(fprop.output);
}

Tensor conv2d_grad_input(const Tensor& grad_output, const Tensor& weight,
                         const std::vector<int64_t>& input_size, const std::vector<int64_t>& stride,
                         const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation,
                         int64_t groups, bool channels_last, const std::string& algorithm) {
  const DeviceScope device(grad_output);
  require_dense(grad_output, "grad_output");
  require_dense(weight, "weight");
  require_same_dtype(grad_output, "grad_output", weight, "weight");
  const Shape grad_shape(grad_output), weight_shape(weight);
  const DType dtype = require_dtype(grad_output, "conv2d_grad_input");
  Conv2dProblem problem = conv2d_problem(dtype, input_size, weight_shape.sizes, nullptr,
                                         {stride, padding, dilation, groups});
  check_grad_output(problem, grad_shape.sizes, input_size.size() == 4);

  Tensor grad_input = empty_tensor(input_size, grad_output.scalar_type(), channels_last);
  problem.input = strides_of(Shape(grad_input));
  problem.weight = strides_of(weight_shape);
  problem.output = strides_of(grad_shape);
  problem.precision = precision_of(dtype);
  const Conv2dTensors tensors{grad_input.mutable_data_ptr(), readable(weight),
                              readable(grad_output), nullptr};
  run_conv2d(ConvDirection::dgrad, problem, tensors, algorithm);
  return grad_input;
}

Tensor conv2d_grad_weight(const Tensor& grad_output, const Tensor& input,
                          const std::vector<int64_t>& weight_size,
                          const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                          const std::vector<int64_t>& dilation, int64_t groups, bool channels_last,
                          const std::string& algorithm) {
  const DeviceScope device(grad_output);
  require_dense(grad_output, "grad_output");
  require_dense(input, "input");
  require_same_dtype(grad_output, "grad_output", input, "input");
  const Shape grad_shape(grad_output), input_shape(input);
  const DType dtype = require_dtype(grad_output, "conv2d_grad_weight");
  Conv2dProblem problem = conv2d_problem(dtype, input_shape.sizes, weight_size, nullptr,
                                         {stride, padding, dilation, groups});
  check_grad_output(problem, grad_shape.sizes, input_shape.batched());

  Tensor grad_weight = empty_tensor(weight_size, grad_output.scalar_type(), channels_last);
  problem.input = strides_of(input_shape);
  problem.weight = strides_of(Shape(grad_weight));
  problem.output = strides_of(grad_shape);
  problem.precision = precision_of(dtype);
  const Conv2dTensors tensors{readable(input), grad_weight.mutable_data_ptr(),
                              readable(grad_output), nullptr};
  run_conv2d(ConvDirection::wgrad, problem, tensors, algorithm);
  return grad_weight;
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

}  // namespace fastconv
