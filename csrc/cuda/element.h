// How a kernel computes with an element of a tensor: 16-bit floats are summed in float and rounded
// once.
#pragma once

#include "cuda/device.h"
#include "problem.h"

namespace fastconv::cuda {

template <class T>
struct Element;

template <>
struct Element<float> {
  using Accumulator = float;
  __device__ static float load(float x) { return x; }
  __device__ static float store(float x) { return x; }
};

template <>
struct Element<double> {
  using Accumulator = double;
  __device__ static double load(double x) { return x; }
  __device__ static double store(double x) { return x; }
};

template <>
struct Element<bfloat16> {
  using Accumulator = float;
  __device__ static float load(bfloat16 x) { return to_float(x); }
  __device__ static bfloat16 store(float x) { return to_bfloat16(x); }
};

template <>
struct Element<float16> {
  using Accumulator = float;
  __device__ static float load(float16 x) { return to_float(x); }
  __device__ static float16 store(float x) { return to_float16(x); }
};

template <class T>
struct TypeTag {
  using type = T;
};

// fn(TypeTag<T>{}) with the element type of `dtype`.
template <class F>
void dispatch_dtype(DType dtype, const F& fn) {
  switch (dtype) {
    case DType::f64:
      return fn(TypeTag<double>{});
    case DType::bf16:
      return fn(TypeTag<bfloat16>{});
    case DType::f16:
      return fn(TypeTag<float16>{});
    case DType::f32:
      return fn(TypeTag<float>{});
  }
}

}  // namespace fastconv::cuda
