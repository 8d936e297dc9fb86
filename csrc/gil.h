// Python's lock for a scope, on any thread.
#pragma once

#include <Python.h>

namespace fastconv {

// pybind11's own looks for more than who holds it.
class Gil {
 public:
  Gil() : state_(PyGILState_Ensure()) {}
  ~Gil() { PyGILState_Release(state_); }
  Gil(const Gil&) = delete;

 private:
  PyGILState_STATE state_;
};

}  // namespace fastconv
