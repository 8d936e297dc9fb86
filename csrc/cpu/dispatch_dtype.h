// From the run-time dtype of a problem to the element type of a kernel.
#pragma once

#include "cpu/dtype.h"
#include "problem.h"

namespace fastconv::cpu {

template <class T>
struct TypeTag {
  using type = T;
};

// fn(TypeTag<T>{}) with the element type of `dtype`, one that float accumulates: not float64.
template <class F>
static decltype(auto) dispatch_float(DType dtype, const F& fn) {
  if (dtype == DType::bf16) return fn(TypeTag<bfloat16>{});
  if (dtype == DType::f16) return fn(TypeTag<float16>{});
  return fn(TypeTag<float>{});
}

// The same for every dtype.
template <class F>
static decltype(auto) dispatch_dtype(DType dtype, const F& fn) {
  return dtype == DType::f64 ? fn(TypeTag<double>{}) : dispatch_float(dtype, fn);
}

}  // namespace fastconv::cpu
