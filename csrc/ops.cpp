// The operators as torch sees them. Autograd, fakes and vmap are registered from Python
// (fastconv/): the stable ABI has none of them in C++.
#include "device_kernels.h"
#include "kept_weight_op.h"
#include "packed_weight_op.h"

STABLE_TORCH_LIBRARY(fastconv, m) {
  m.def(
      "conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=1, "
      "SymInt[2] padding=0, SymInt[2] dilation=1, SymInt groups=1, str algorithm=\"\") -> Tensor");
  m.def(
      "conv2d_grad_input(Tensor grad_output, Tensor weight, SymInt[] input_size, "
      "SymInt[2] stride=1, SymInt[2] padding=0, SymInt[2] dilation=1, SymInt groups=1, "
      "bool channels_last=False, str algorithm=\"\") -> Tensor");
  m.def(
      "conv2d_grad_weight(Tensor grad_output, Tensor input, SymInt[] weight_size, "
      "SymInt[2] stride=1, SymInt[2] padding=0, SymInt[2] dilation=1, SymInt groups=1, "
      "bool channels_last=False, str algorithm=\"\") -> Tensor");
  m.def("conv2d_grad_bias(Tensor grad_output) -> Tensor");
  m.def(
      "max_pool2d(Tensor input, SymInt[2] kernel_size, SymInt[2] stride=[], SymInt[2] padding=0, "
      "SymInt[2] dilation=1, bool ceil_mode=False, str algorithm=\"\") -> Tensor");
  m.def(
      "max_pool2d_with_indices(Tensor input, SymInt[2] kernel_size, SymInt[2] stride=[], "
      "SymInt[2] padding=0, SymInt[2] dilation=1, bool ceil_mode=False, str algorithm=\"\") "
      "-> (Tensor, Tensor)");
  m.def(
      "max_pool2d_backward(Tensor grad_output, Tensor indices, SymInt[] input_size, "
      "bool channels_last=False, str algorithm=\"\", SymInt[] window=[]) -> Tensor");
  // Below autograd: functional.py calls these where nothing but the kernel is left to reach.
  m.def(
      "_conv2d(Tensor input, Tensor weight, Tensor? bias, int stride_h, int stride_w, int pad_h, "
      "int pad_w, int dilation_h, int dilation_w, int groups) -> Tensor");
  m.def(
      "_max_pool2d(Tensor input, int kernel_h, int kernel_w, int stride_h, int stride_w, "
      "int pad_h, int pad_w, int dilation_h, int dilation_w, bool ceil_mode) -> Tensor");
  m.def(
      "_max_pool2d_with_indices(Tensor input, int kernel_h, int kernel_w, int stride_h, "
      "int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w, bool ceil_mode) "
      "-> (Tensor, Tensor)");
  m.def(
      "_max_pool2d_backward(Tensor grad_output, Tensor indices, int height, int width, "
      "bool channels_last, int kernel_h, int kernel_w, int stride_h, int stride_w, int pad_h, "
      "int pad_w, int dilation_h, int dilation_w, bool ceil_mode, str algorithm=\"\") -> Tensor");
  // What a backward pass of torch's own node becomes: kernels, or where somebody watches it
  // differentiable operators.
  m.def(
      "_conv2d_backward(Tensor grad_output, Tensor input, Tensor weight, SymInt[] stride, "
      "SymInt[] padding, SymInt[] dilation, SymInt groups, bool needs_input, bool needs_weight, "
      "bool needs_bias) -> (Tensor?, Tensor?, Tensor?)");
  m.def(
      "_conv2d_gradients(Tensor grad_output, Tensor input, Tensor weight, SymInt[] stride, "
      "SymInt[] padding, SymInt[] dilation, SymInt groups, bool needs_input, bool needs_weight, "
      "bool needs_bias) -> (Tensor?, Tensor?, Tensor?)");
  // Of the CPU alone, and of inference: neither has a derivative.
  m.def(
      "conv2d_pack_weight(Tensor weight, SymInt[] input_size, SymInt[2] stride=1, "
      "SymInt[2] padding=0, SymInt[2] dilation=1, SymInt groups=1, bool channels_last=False, "
      "str algorithm=\"\") -> Tensor");
  m.def(
      "conv2d_packed(Tensor input, Tensor weight, Tensor? bias, Tensor packed, "
      "SymInt[2] stride=1, SymInt[2] padding=0, SymInt[2] dilation=1, SymInt groups=1) -> Tensor");
  m.def(
      "_conv2d_memo(Tensor input, Tensor weight, int? fingerprint, int stride_h, int stride_w, "
      "int pad_h, int pad_w, int dilation_h, int dilation_w, int groups) -> Tensor");
  m.def(
      "_conv2d_kept(Tensor input, Tensor weight, Tensor? bias, Tensor memo, Tensor? packed, "
      "int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w, "
      "int groups) -> Tensor?");
  m.def("conv2d_packed_algorithm(Tensor packed) -> str");
  m.def("weight_fingerprint(Tensor weight) -> int");
}

STABLE_TORCH_LIBRARY_IMPL(fastconv, CPU, m) {
  fastconv::implement_on_device(m);
  m.impl("conv2d_pack_weight", TORCH_BOX(&fastconv::conv2d_pack_weight));
  m.impl("conv2d_packed", TORCH_BOX(&fastconv::conv2d_packed));
  m.impl("_conv2d_memo", TORCH_BOX(&fastconv::conv2d_memo));
  m.impl("_conv2d_kept", TORCH_BOX(&fastconv::conv2d_kept));
  m.impl("conv2d_packed_algorithm", TORCH_BOX(&fastconv::conv2d_packed_algorithm));
  m.impl("weight_fingerprint", TORCH_BOX(&fastconv::weight_fingerprint));
}

STABLE_TORCH_LIBRARY_IMPL(aten, CPU, m) { fastconv::implement_recorded(m); }
STABLE_TORCH_LIBRARY_IMPL(aten, AutogradCPU, m) { fastconv::implement_recorded_backward(m); }
