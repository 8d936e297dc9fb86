// The operators that every device has kernels for, of the library's own backend (backend.h).
#pragma once

#include <torch/csrc/stable/library.h>

#include "conv2d_op.h"
#include "max_pool2d_op.h"
#include "recorded_conv2d.h"

namespace fastconv {

template <class Library>
void implement_on_device(Library& m) {
  m.impl("conv2d", TORCH_BOX(&conv2d));
  m.impl("conv2d_grad_input", TORCH_BOX(&conv2d_grad_input));
  m.impl("conv2d_grad_weight", TORCH_BOX(&conv2d_grad_weight));
  m.impl("conv2d_grad_bias", TORCH_BOX(&conv2d_grad_bias));
  m.impl("max_pool2d", TORCH_BOX(&max_pool2d));
  m.impl("max_pool2d_with_indices", TORCH_BOX(&max_pool2d_with_indices));
  m.impl("max_pool2d_backward", TORCH_BOX(&max_pool2d_backward));
  m.impl("_conv2d", TORCH_BOX(&conv2d_eager));
  m.impl("_conv2d_backward", TORCH_BOX(&conv2d_backward));
  m.impl("_max_pool2d", TORCH_BOX(&max_pool2d_eager));
  m.impl("_max_pool2d_with_indices", TORCH_BOX(&max_pool2d_with_indices_eager));
  m.impl("_max_pool2d_backward", TORCH_BOX(&max_pool2d_backward_eager));
}

// What autograd calls by names of torch's, of its own convolution (recorded_conv2d.h): the backward
// once more under the key for autograd.
template <class Library>
void implement_recorded_backward(Library& m) {
  m.impl("convolution_backward_overrideable", TORCH_BOX(&recorded_conv2d_backward));
}

template <class Library>
void implement_recorded(Library& m) {
  m.impl("convolution_overrideable", TORCH_BOX(&recorded_conv2d));
  implement_recorded_backward(m);  // a backward pass in inference mode comes without that key
}

}  // namespace fastconv
