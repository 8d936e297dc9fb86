#include "eager_call.h"

#include <vector>

namespace py = pybind11;

namespace fastconv {
namespace {

struct Names {
  PyObject* dtype = PyUnicode_InternFromString("dtype");
  PyObject* requires_grad = PyUnicode_InternFromString("requires_grad");
  PyObject* current_level = PyUnicode_InternFromString("_current_level");
};

// What the stable ABI cannot say, asked of torch's Python side.
class Surroundings {
 public:
  explicit Surroundings(const py::dict& given)
      : tensor_(given["tensor"]),
        parameter_(given["parameter"]),
        dtypes_(given["dtypes"]),
        forward_ad_(given["forward_ad"]),
        is_grad_enabled_(given["is_grad_enabled"]),
        has_torch_function_(given["has_torch_function"]) {
    for (py::handle obstacle : given["obstacles"]) {
      obstacles_.push_back(py::reinterpret_borrow<py::object>(obstacle));
    }
  }

  // Is that a tensor whose class sees no calls, or None where that may be?
  bool is_plain(PyObject* tensor) const {
    PyObject* const type = reinterpret_cast<PyObject*>(Py_TYPE(tensor));
    return type == tensor_.ptr() || type == parameter_.ptr();
  }
  bool has_kernels(PyObject* tensor) const {
    const py::object dtype = attribute(tensor, names_.dtype);
    return checked(PySet_Contains(dtypes_.ptr(), dtype.ptr())) != 0;
  }

  // As _autograd_function.py's nothing_between() has it, and no algorithm asked for by name.
  bool nothing_between(PyObject* const* tensors, size_t count) const {
    const py::object modes = called(has_torch_function_.ptr(), tensors, count);
    if (checked(PyObject_IsTrue(modes.ptr())) != 0) return false;
    const py::object level = attribute(forward_ad_.ptr(), names_.current_level);
    if (checked(PyLong_AsLong(level.ptr())) >= 0) return false;
    for (const py::object& obstacle : obstacles_) {
      if (is_true(obstacle.ptr())) return false;
    }
    return true;
  }

  bool records(PyObject* const* tensors, size_t count) const {
    if (!is_true(is_grad_enabled_.ptr())) return false;
    for (size_t i = 0; i < count; ++i) {
      if (tensors[i] == Py_None) continue;
      const py::object asks = attribute(tensors[i], names_.requires_grad);
      if (checked(PyObject_IsTrue(asks.ptr())) != 0) return true;
    }
    return false;
  }

  // New references; a Python exception becomes a C++ one.
  static py::object called(PyObject* callable, PyObject* const* args, size_t count) {
    return owned(PyObject_Vectorcall(callable, args, count, nullptr));
  }

 private:
  static py::object owned(PyObject* object) {
    if (object == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(object);
  }
  static py::object attribute(PyObject* of, PyObject* name) {
    return owned(PyObject_GetAttr(of, name));
  }
  template <class Integer>
  static Integer checked(Integer answer) {
    if (answer == -1 && PyErr_Occurred()) throw py::error_already_set();
    return answer;
  }
  static bool is_true(PyObject* callable) {
    const py::object answer = called(callable, nullptr, 0);
    return checked(PyObject_IsTrue(answer.ptr())) != 0;
  }

  Names names_;
  py::object tensor_, parameter_, dtypes_, forward_ad_, is_grad_enabled_, has_torch_function_;
  std::vector<py::object> obstacles_;
};

// (height, width) where there is nothing to convert. Borrowed references.
bool take_pair(PyObject* value, PyObject** to) {
  if (PyTuple_CheckExact(value)) {
    if (PyTuple_GET_SIZE(value) != 2) return false;
    to[0] = PyTuple_GET_ITEM(value, 0);
    to[1] = PyTuple_GET_ITEM(value, 1);
  } else {
    to[0] = to[1] = value;
  }
  return PyLong_CheckExact(to[0]) && PyLong_CheckExact(to[1]);
}

// What an operator for plain integers raises where it is not the one to call: the way for every
// other call ends in the right words.
bool was_refused(const py::error_already_set& error) {
  return error.matches(PyExc_RuntimeError) || error.matches(PyExc_TypeError) ||
         error.matches(PyExc_OverflowError);
}

py::tuple tuple_of(PyObject* const* items, Py_ssize_t count) {
  py::tuple out(count);
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyTuple_SET_ITEM(out.ptr(), i, py::reinterpret_borrow<py::object>(items[i]).release().ptr());
  }
  return out;
}

class EagerConv2d {
 public:
  static constexpr const char* kName = "eager_conv2d";
  static constexpr Py_ssize_t kArguments = 8;

  EagerConv2d(const py::dict& surroundings, py::object run, py::object run_kept, py::object record)
      : surroundings_(surroundings),
        run_(std::move(run)),
        run_kept_(std::move(run_kept)),
        record_(std::move(record)) {}

  // input, weight, bias, stride, padding, dilation, groups, kept: (memo, packed, ...) or None
  py::object operator()(PyObject* const* args) const {
    PyObject* const bias = args[2];
    PyObject* const kept = args[7];
    const bool plain = surroundings_.is_plain(args[0]) && surroundings_.is_plain(args[1]) &&
                       (bias == Py_None || surroundings_.is_plain(bias));
    PyObject* geometry[7];
    if (!plain || !take_pair(args[3], geometry) || !take_pair(args[4], geometry + 2) ||
        !take_pair(args[5], geometry + 4) || !PyLong_CheckExact(args[6])) {
      return py::none();
    }
    geometry[6] = args[6];
    if (!surroundings_.has_kernels(args[0]) || !surroundings_.nothing_between(args, 3)) {
      return py::none();
    }
    if (surroundings_.records(args, 3)) {
      const py::tuple numbers = tuple_of(geometry, 7);
      PyObject* const recorded[] = {args[0], args[1], bias, numbers.ptr()};
      return Surroundings::called(record_.ptr(), recorded, 4);
    }
    PyObject* call[12] = {args[0], args[1], bias};
    size_t count = 3;
    const bool has_memo = PyTuple_CheckExact(kept) && PyTuple_GET_SIZE(kept) >= 2;
    for (Py_ssize_t i = 0; has_memo && i < 2; ++i) call[count++] = PyTuple_GET_ITEM(kept, i);
    for (PyObject* number : geometry) call[count++] = number;
    return Surroundings::called(has_memo ? run_kept_.ptr() : run_.ptr(), call, count);
  }

 private:
  Surroundings surroundings_;
  py::object run_, run_kept_, record_;
};

class EagerMaxPool2d {
 public:
  static constexpr const char* kName = "eager_max_pool2d";
  static constexpr Py_ssize_t kArguments = 6;

  EagerMaxPool2d(const py::dict& surroundings, py::object run, py::object record, bool with_indices)
      : surroundings_(surroundings),
        run_(std::move(run)),
        record_(std::move(record)),
        with_indices_(with_indices) {}

  // input, kernel_size, stride (or None), padding, dilation, ceil_mode
  py::object operator()(PyObject* const* args) const {
    PyObject* const stride = args[2] == Py_None ? args[1] : args[2];
    PyObject* window[9];
    if (!surroundings_.is_plain(args[0]) || !take_pair(args[1], window) ||
        !take_pair(stride, window + 2) || !take_pair(args[3], window + 4) ||
        !take_pair(args[4], window + 6) || !PyBool_Check(args[5])) {
      return py::none();
    }
    window[8] = args[5];
    if (!surroundings_.has_kernels(args[0]) || !surroundings_.nothing_between(args, 1)) {
      return py::none();
    }
    if (surroundings_.records(args, 1)) {
      const py::tuple numbers = tuple_of(window, 9);
      PyObject* const recorded[] = {args[0], numbers.ptr()};
      const py::object pooled = Surroundings::called(record_.ptr(), recorded, 2);
      return with_indices_ ? pooled : py::tuple(pooled)[0];
    }
    PyObject* call[10] = {args[0]};
    for (int i = 0; i < 9; ++i) call[1 + i] = window[i];
    return Surroundings::called(run_.ptr(), call, 10);
  }

 private:
  Surroundings surroundings_;
  py::object run_, record_;
  bool with_indices_;
};

template <class Call>
PyObject* call_from_python(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  if (count != Call::kArguments) {
    return PyErr_Format(PyExc_TypeError, "expected %zd arguments, got %zd", Call::kArguments,
                        count);
  }
  try {
    const auto& call = *static_cast<const Call*>(PyCapsule_GetPointer(self, Call::kName));
    return call(args).release().ptr();
  } catch (py::error_already_set& error) {
    if (was_refused(error)) return py::none().release().ptr();
    error.restore();
    return nullptr;
  }
}

// A builtin function that owns its Call: as fast as Python can call anything.
template <class Call, class... Arguments>
py::object builtin(const Arguments&... arguments) {
  static PyMethodDef definition{
      Call::kName,
      reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&call_from_python<Call>)),
      METH_FASTCALL, nullptr};
  const py::capsule owner(new Call(arguments...), Call::kName, [](PyObject* capsule) {
    delete static_cast<Call*>(PyCapsule_GetPointer(capsule, Call::kName));
  });
  PyObject* const function = PyCFunction_New(&definition, owner.ptr());
  if (function == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(function);
}

}  // namespace

void define_eager_calls(py::module_& m) {
  m.def("eager_conv2d", &builtin<EagerConv2d, py::dict, py::object, py::object, py::object>);
  m.def("eager_max_pool2d", &builtin<EagerMaxPool2d, py::dict, py::object, py::object, bool>);
}

}  // namespace fastconv
