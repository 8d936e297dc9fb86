#include "recorded_conv2d.h"

#include <array>
#include <atomic>
#include <stdexcept>

#include "conv2d_op.h"
#include "gil.h"
#include "message.h"
#include "surroundings.h"

// Absent before torch 2.13.
extern "C" __attribute__((weak)) const char* torch_exception_get_what_without_backtrace();

namespace py = pybind11;

namespace fastconv {
namespace {

// Of the interpreter that imported the library, and for as long as it lives.
std::atomic<const Surroundings*> surroundings{nullptr};

bool is_watched() {
  if (aoti_torch_grad_mode_is_enabled()) return true;
  const Surroundings* const around = surroundings;
  if (around == nullptr || !Py_IsInitialized()) return false;
  const Gil gil;
  return around->is_watched();
}

// The C ABI keeps the text of an exception from torch 2.13 on.
[[noreturn]] void throw_last_error() {
  const char* const text = torch_exception_get_what_without_backtrace == nullptr
                               ? nullptr
                               : torch_exception_get_what_without_backtrace();
  throw std::runtime_error(
      text == nullptr ? "the gradients of a convolution failed; torch 2.13 would tell why" : text);
}

}  // namespace

Tensor recorded_conv2d(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                       const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
                       const std::vector<int64_t>& dilation, bool transposed,
                       const std::vector<int64_t>& /*output_padding*/, int64_t groups) {
  require(!transposed, "fastconv has no transposed convolution");
  return conv2d(input, weight, bias, stride, padding, dilation, groups, {});
}

std::tuple<Tensor, Tensor, Tensor> recorded_conv2d_backward(
    const Tensor& grad_output, const Tensor& input, const Tensor& weight,
    const std::vector<int64_t>& stride, const std::vector<int64_t>& padding,
    const std::vector<int64_t>& dilation, bool transposed,
    const std::vector<int64_t>& /*output_padding*/, int64_t groups,
    const std::vector<bool>& output_mask) {
  using torch::stable::detail::from;
  using torch::stable::detail::to;
  require(!transposed, "fastconv has no transposed convolution");
  require(output_mask.size() == 3, "output_mask has one entry for each of three gradients");
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
  // Not the kernels at once: subclasses, negated views and the like are resolved on the way there.
  const char* const name =
      is_watched() ? "fastconv::_conv2d_gradients" : "fastconv::_conv2d_backward";
  if (torch_call_dispatcher(name, "", stack.data(), TORCH_ABI_VERSION)) throw_last_error();
  const auto gradient = [&](int i) {
    const auto result = to<std::optional<Tensor>>(stack[i]);
    return result ? *result : Tensor();
  };
  return {gradient(0), gradient(1), gradient(2)};
}

void define_recorded_conv2d(py::module_& m) {
  m.def("watch_backward", [](const py::dict& given) { surroundings = new Surroundings(given); });
}

}  // namespace fastconv
