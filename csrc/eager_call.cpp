#include "eager_call.h"

#include <iterator>
#include <optional>

#include "profiled_as.h"
#include "surroundings.h"

namespace py = pybind11;

namespace fastconv {
namespace {

py::tuple tuple_of(PyObject* const* items, Py_ssize_t count) {
  py::tuple out(count);
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyTuple_SET_ITEM(out.ptr(), i, py::reinterpret_borrow<py::object>(items[i]).release().ptr());
  }
  return out;
}

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

// As short as torch takes it: each number of a list is looked at five times, 0.1 us in all.
py::tuple shortest_list(PyObject* const* pair) {
  return tuple_of(pair, pair[0] == pair[1] ? 1 : 2);
}

// What an operator for plain integers raises where it is not the one to call: the way for every
// other call ends in the right words.
bool may_be_refusal(const py::error_already_set& error) {
  return error.matches(PyExc_RuntimeError) || error.matches(PyExc_TypeError) ||
         error.matches(PyExc_OverflowError);
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

  // Not what Python raised, as hooks for saved tensors may, which are not to run again.
  static bool was_refused(const py::error_already_set& error) {
    return !error.trace() && may_be_refusal(error);
  }

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
    if (surroundings_.records(args, 3)) return recorded(args, geometry);
    PyObject* call[12] = {args[0], args[1], bias};
    size_t count = 3;
    const bool has_memo = PyTuple_CheckExact(kept) && PyTuple_GET_SIZE(kept) >= 2;
    for (Py_ssize_t i = 0; has_memo && i < 2; ++i) call[count++] = PyTuple_GET_ITEM(kept, i);
    for (PyObject* number : geometry) call[count++] = number;
    return Surroundings::called(has_memo ? run_kept_.ptr() : run_.ptr(), call, count);
  }

 private:
  py::object recorded(PyObject* const* tensors, PyObject* const* geometry) const {
    // Other devices may have kernels of torch's under this name.
    if (!surroundings_.is_on_our_devices(tensors[0])) return py::none();
    const py::tuple stride = shortest_list(geometry), padding = shortest_list(geometry + 2),
                    dilation = shortest_list(geometry + 4);
    PyObject* const call[] = {tensors[0],    tensors[1],     tensors[2], stride.ptr(),
                              padding.ptr(), dilation.ptr(), Py_False,   no_output_padding_.ptr(),
                              geometry[6]};
    std::optional<ProfiledAs> name;
    if (surroundings_.is_profiled()) name.emplace("fastconv::conv2d");
    return Surroundings::called(record_.ptr(), call, std::size(call));
  }

  Surroundings surroundings_;
  py::object run_, run_kept_, record_;
  py::tuple no_output_padding_;
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

  // A Function of Python's calls the operator.
  static bool was_refused(const py::error_already_set& error) { return may_be_refusal(error); }

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
    if (Call::was_refused(error)) return py::none().release().ptr();
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
