#include "surroundings.h"

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

namespace py = pybind11;

namespace fastconv {
namespace {

py::object owned(PyObject* object) {
  if (object == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(object);
}

py::object attribute(PyObject* of, PyObject* name) { return owned(PyObject_GetAttr(of, name)); }

template <class Integer>
Integer checked(Integer answer) {
  if (answer == -1 && PyErr_Occurred()) throw py::error_already_set();
  return answer;
}

bool is_true(const py::object& object) { return checked(PyObject_IsTrue(object.ptr())) != 0; }

std::vector<py::object> questions(py::handle callables) {
  std::vector<py::object> out;
  for (py::handle callable : callables) {
    out.push_back(py::reinterpret_borrow<py::object>(callable));
  }
  return out;
}

bool any_of(const std::vector<py::object>& questions) {
  for (const py::object& question : questions) {
    if (is_true(Surroundings::called(question.ptr(), nullptr, 0))) return true;
  }
  return false;
}

}  // namespace

Surroundings::Surroundings(const py::dict& given)
    : tensor_(given["tensor"]),
      parameter_(given["parameter"]),
      dtypes_(given["dtypes"]),
      forward_ad_(given["forward_ad"]),
      profiler_(given["profiler"]),
      has_torch_function_(given["has_torch_function"]),
      watchers_(questions(given["watchers"])),
      obstacles_(questions(given["obstacles"])) {}

bool Surroundings::is_plain(PyObject* tensor) const {
  PyObject* const type = reinterpret_cast<PyObject*>(Py_TYPE(tensor));
  return type == tensor_.ptr() || type == parameter_.ptr();
}

bool Surroundings::has_kernels(PyObject* tensor) const {
  const py::object dtype = attribute(tensor, names_.dtype);
  return checked(PySet_Contains(dtypes_.ptr(), dtype.ptr())) != 0;
}

bool Surroundings::is_on_our_devices(PyObject* tensor) const {
  return is_true(attribute(tensor, names_.is_cpu)) || is_true(attribute(tensor, names_.is_cuda));
}

bool Surroundings::is_watched() const {
  const py::object level = attribute(forward_ad_.ptr(), names_.current_level);
  return checked(PyLong_AsLong(level.ptr())) >= 0 || any_of(watchers_);
}

bool Surroundings::nothing_between(PyObject* const* tensors, size_t count) const {
  return !is_true(called(has_torch_function_.ptr(), tensors, count)) && !is_watched() &&
         !any_of(obstacles_);
}

bool Surroundings::records(PyObject* const* tensors, size_t count) const {
  if (!aoti_torch_grad_mode_is_enabled()) return false;
  // From the end: weights ask more often than images.
  for (size_t i = count; i-- > 0;) {
    if (tensors[i] == Py_None) continue;
    if (is_true(attribute(tensors[i], names_.requires_grad))) return true;
  }
  return false;
}

bool Surroundings::is_profiled() const {
  return is_true(attribute(profiler_.ptr(), names_.is_profiler_enabled));
}

py::object Surroundings::called(PyObject* callable, PyObject* const* args, size_t count) {
  return owned(PyObject_Vectorcall(callable, args, count, nullptr));
}

}  // namespace fastconv
