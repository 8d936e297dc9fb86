// The way from Python to an operator for the usual call: tensors of torch's own class, plain
// integers, and nothing that wants to see the call (a transform, a tracer, a mode, autocast).
// Python's own frames for this took longer than all that the operator does before its kernel.
#pragma once

#include <pybind11/pybind11.h>

namespace fastconv {

// Adds eager_conv2d and eager_max_pool2d, which make such functions (_C.pyi has their arguments).
void define_eager_calls(pybind11::module_& m);

}  // namespace fastconv
