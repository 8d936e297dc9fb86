// The CUDA key of torch.ops.fastconv, whose schemas are in ops.cpp, and a Python module without any
// functions: importing fastconv._cuda is what registers the kernels.
#include <Python.h>

#include "conv2d_op.h"
#include "max_pool2d_op.h"

STABLE_TORCH_LIBRARY_IMPL(fastconv, CUDA, m) {
  m.impl("conv2d", TORCH_BOX(&fastconv::conv2d));
  m.impl("conv2d_grad_input", TORCH_BOX(&fastconv::conv2d_grad_input));
  m.impl("conv2d_grad_weight", TORCH_BOX(&fastconv::conv2d_grad_weight));
  m.impl("conv2d_grad_bias", TORCH_BOX(&fastconv::conv2d_grad_bias));
  m.impl("max_pool2d", TORCH_BOX(&fastconv::max_pool2d));
  m.impl("max_pool2d_with_indices", TORCH_BOX(&fastconv::max_pool2d_with_indices));
  m.impl("max_pool2d_backward", TORCH_BOX(&fastconv::max_pool2d_backward));
}

PyMODINIT_FUNC PyInit__cuda() {
  static PyModuleDef definition = {
      PyModuleDef_HEAD_INIT, "_cuda", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&definition);
}
