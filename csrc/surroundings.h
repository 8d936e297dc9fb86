// What stands around a call: torch's modes, transforms and tensor subclasses. The stable ABI cannot
// say, so torch's Python side is asked, by functions that Python hands over (_eager.py).
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <vector>

namespace fastconv {

// Every method wants the GIL; a Python exception becomes a C++ one.
class Surroundings {
 public:
  explicit Surroundings(const pybind11::dict& given);  // _C.pyi names its entries

  // Is that a tensor whose class sees no calls?
  bool is_plain(PyObject* tensor) const;
  bool has_kernels(PyObject* tensor) const;
  bool is_on_our_devices(PyObject* tensor) const;
  // Is some transform, tangent or mode to see what operators are called?
  bool is_watched() const;
  // As _autograd_function.py's nothing_between() has it, and no algorithm asked for by name, where
  // these tensors, or None, are the arguments of a function of torch's.
  bool nothing_between(PyObject* const* tensors, size_t count) const;
  bool records(PyObject* const* tensors, size_t count) const;
  bool is_profiled() const;

  // A new reference.
  static pybind11::object called(PyObject* callable, PyObject* const* args, size_t count);

 private:
  struct Names {
    PyObject* dtype = PyUnicode_InternFromString("dtype");
    PyObject* is_cpu = PyUnicode_InternFromString("is_cpu");
    PyObject* is_cuda = PyUnicode_InternFromString("is_cuda");
    PyObject* requires_grad = PyUnicode_InternFromString("requires_grad");
    PyObject* is_profiler_enabled = PyUnicode_InternFromString("_is_profiler_enabled");
    PyObject* current_level = PyUnicode_InternFromString("_current_level");
  };

  Names names_;
  pybind11::object tensor_, parameter_, dtypes_, forward_ad_, profiler_, has_torch_function_;
  std::vector<pybind11::object> watchers_, obstacles_;
};

}  // namespace fastconv
