#include "precision.h"

#include "gil.h"
// Python.h comes first, as it asks for.
#include <atomic>
#include <string_view>

namespace fastconv {
namespace {

Precision from_name(std::string_view name) {
  for (Precision precision : {Precision::ieee, Precision::tf32, Precision::bf16}) {
    if (name == name_of(precision)) return precision;
  }
  return Precision::none;
}

PyObject* find_getter() {
  PyObject* const module = PyImport_ImportModule("torch._C");
  if (module == nullptr) return nullptr;
  PyObject* const getter = PyObject_GetAttrString(module, "_get_fp32_precision_getter");
  Py_DECREF(module);
  return getter;
}

}  // namespace

Precision conv_fp32_precision(const char* backend) {
  if (!Py_IsInitialized()) return Precision::none;
  const Gil gil;
  // Kept for the life of the process: the import alone costs as much as the question. Not guarded
  // statics: a thread that waits for such a guard with the GIL held would block the one inside.
  static std::atomic<PyObject*> getter{nullptr}, question{nullptr};
  if (getter == nullptr) getter = find_getter();
  if (question == nullptr) question = Py_BuildValue("(ss)", backend, "conv");
  PyObject* const answer =
      getter == nullptr || question == nullptr ? nullptr : PyObject_CallObject(getter, question);
  const char* const name = answer == nullptr ? nullptr : PyUnicode_AsUTF8(answer);
  const Precision precision = name == nullptr ? Precision::none : from_name(name);
  Py_XDECREF(answer);
  PyErr_Clear();
  return precision;
}

}  // namespace fastconv
