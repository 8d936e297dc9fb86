// From the run-time dtype of a problem to the element type of a kernel.
#pragma once

#include "cpu/dtype.h"
#include "problem.h"

namespace fastconv::cpu {

template <class T>
struct TypeTag {
  using type = T;
};

// fn(TypeTag<T>{}) with the element type of `dtype`.
template <class F>
static decltype(auto) dispatch_dtype(DType dtype, const F& fn) {
  switch (dtype) {
    case DType::f64:
      return fn(TypeTag<double>{});
    case DType::bf16:
      return fn(TypeTag<bfloat16>{});
    case DType::f16:
      return fn(TypeTag<float16>{});
    case DType::f32:
      break;
  }
  return fn(TypeTag<float>{});
}

// The same for a dtype that float accumulates: not float64.
template <class F>
static decltype(auto) dispatch_float(DType dtype, const F& fn) {
  if (dtype == DType::bf16) return fn(TypeTag<bfloat16>{});
  if (dtype == DType::f16) return fn(TypeTag<float16>{});
  return fn(TypeTag<float>{});
}

}  // namespace fastconv::cpu
