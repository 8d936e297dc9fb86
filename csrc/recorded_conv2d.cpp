#include "recorded_conv2d.h"

#include <array>
#include <atomic>
#include <stdexcept>

#include "backend.h"
#include "conv2d_op.h"
#include "gil.h"
#include "message.h"
#include "precision.h"
#include "profiled_as.h"
#include "surroundings.h"

// Absent before torch 2.13.
extern "C" __attribute__((weak)) const char* torch_exception_get_what_without_backtrace();

namespace py = pybind11;

namespace fastconv {
namespace {

// Of the interpreter that imported the library, and for as long as it lives.
std::atomic<const Surroundings*> surroundings{nullptr};

// Not so the wrappers that some subclasses are, which only the dispatcher can look into: gradients
// that still travel (AsyncCollectiveTensor) are such.
bool has_data(const Tensor& tensor) {
  void* data = nullptr;
  return aoti_torch_get_data_ptr(tensor.get(), &data) == TORCH_SUCCESS && data != nullptr;
}

// What Python knows of a backward pass, asked at once: to take the GIL costs 0.3 us.
struct Setting {
  bool watched = false, profiled = false;
  Precision precision = Precision::none;
};

Setting setting_of_backward() {
  Setting setting;
  const Surroundings* const around = surroundings;
  if (around == nullptr) return setting;
  const Gil gil;
  setting.watched = around->is_watched();
  setting.profiled = around->is_profiled();
  setting.precision = conv_fp32_precision(kPrecisionSwitch);
  return setting;
}

using Gradients = std::tuple<Tensor, Tensor, Tensor>;

Tensor or_undefined(std::optional<Tensor> gradient) {
  return gradient ? std::move(*gradient) : Tensor();
}

// By Python (_autograd_conv2d.py). The C ABI keeps of an exception there its text, from 2.13 on.
Gradients by_operators(const Tensor& grad_output, const Tensor& input, const Tensor& weight,
                       const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                       const std::vector<int64_t>& dilation, int64_t groups,
                       const std::vector<bool>& output_mask) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  std::array<StableIValue, 10> stack{from(grad_output),
                                     from(input),
                                     from(weight),
                                     from(stride),
                                     from(padding),
                                     from(dilation),
                                     from(groups),
                                     from(bool{output_mask[0]}),
                                     from(bool{output_mask[1]}),
                                     from(bool{output_mask[2]})};
  if (torch_call_dispatcher("fastconv::_conv2d_gradients", "", stack.data(), TORCH_ABI_VERSION)) {
    const char* const text = torch_exception_get_what_without_backtrace == nullptr
                                 ? nullptr
                                 : torch_exception_get_what_without_backtrace();
    throw std::runtime_error(text == nullptr ? "the gradients of a convolution failed" : text);
  }
  const auto gradient = [&](int i) { return or_undefined(to<std::optional<Tensor>>(stack[i])); };
  return {gradient(0), gradient(1), gradient(2)};
}

}  // namespace

Tensor recorded_conv2d(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                       const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                       const std::vector<int64_t>& dilation, bool transposed,
                       const std::vector<int64_t>& /*output_padding*/, int64_t groups) {
  require(!transposed, "fastconv has no transposed convolution");
  return conv2d(input, weight, bias, stride, padding, dilation, groups, {});
}

Gradients recorded_conv2d_backward(const Tensor& grad_output, const Tensor& input,
                                   const Tensor& weight, const std::vector<int64_t>& stride,
                                   const std::vector<int64_t>& padding,
                                   const std::vector<int64_t>& dilation, bool transposed,
                                   const std::vector<int64_t>& /*output_padding*/, int64_t groups,
                                   const std::vector<bool>& output_mask) {
  require(!transposed, "fastconv has no transposed convolution");
  require(output_mask.size() == 3, "output_mask has one entry for each of three gradients");
  const bool dense = has_data(grad_output) && has_data(input) && has_data(weight);
  const bool recorded = aoti_torch_grad_mode_is_enabled();
  const Setting setting = dense && !recorded ? setting_of_backward() : Setting{};
  if (!dense || recorded || setting.watched) {
    return by_operators(grad_output, input, weight, stride, padding, dilation, groups, output_mask);
  }
  std::optional<ProfiledAs> name;
  if (setting.profiled) name.emplace("fastconv::conv2d_backward");
  auto [grad_input, grad_weight, grad_bias] =
      conv2d_backward(grad_output, input, weight, {stride, padding, dilation, groups},
                      setting.precision, output_mask[0], output_mask[1], output_mask[2]);
  return {or_undefined(std::move(grad_input)), or_undefined(std::move(grad_weight)),
          or_undefined(std::move(grad_bias))};
}

void define_recorded_conv2d(py::module_& m) {
  m.def("watch_backward", [](const py::dict& given) { surroundings = new Surroundings(given); });
}

}  // namespace fastconv
