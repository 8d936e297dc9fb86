// What the depthwise kernels ask of a vector, in the compiler's own portable vectors (16 bytes:
// SSE2 or NEON): the meaning of every operation. depthwise_vectors_avx2.h and _avx512.h do the same
// with more lanes.
#pragma once

#include <cstdint>

#include "cpu/dtype.h"
#include "cpu/isa.h"

namespace fastconv::cpu {
namespace {

// E is what sums are kept in: double for double, float for the other element types.
template <class E>
struct PortableVector {
  using Element = E;
  static constexpr int64_t kLanes = 16 / sizeof(E);
  static constexpr int kRegisters = 16;
  typedef E Vector __attribute__((vector_size(16)));

  static Vector zero() { return Vector{}; }
  static Vector splat(E x) { return Vector{} + x; }
  static Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }

  // Converted from and to the element type T of a tensor. load_first and store_first touch `count`
  // elements (at most kLanes) and no more; load_first makes the lanes beyond them zero.
  template <class T>
  static Vector load(const T* from) {
    return load_first(from, kLanes);
  }
  template <class T>
  static Vector load_first(const T* from, int64_t count) {
    Vector x{};
    for (int64_t lane = 0; lane < count; ++lane) x[lane] = Storage<T>::load(from[lane]);
    return x;
  }
  template <class T>
  static void store(T* to, Vector x) {
    store_first(to, x, kLanes);
  }
  template <class T>
  static void store_first(T* to, Vector x, int64_t count) {
    for (int64_t lane = 0; lane < count; ++lane) to[lane] = Storage<T>::store(x[lane]);
  }
  static Vector load(const E* from) {
    Vector x;
    __builtin_memcpy(&x, from, sizeof x);
    return x;
  }
  static void store(E* to, Vector x) { __builtin_memcpy(to, &x, sizeof x); }

  // Elements 0, 2, 4, ... of the 2 * kLanes in a and b.
  static Vector evens(Vector a, Vector b) {
    Vector x{};
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      x[lane] = lane < kLanes / 2 ? a[2 * lane] : b[2 * lane - kLanes];
    }
    return x;
  }
  // a0 b0 a1 b1 ...
  static void interleave(Vector a, Vector b, Vector& low, Vector& high) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      low[lane] = (lane % 2 == 0 ? a : b)[lane / 2];
      high[lane] = (lane % 2 == 0 ? a : b)[(lane + kLanes) / 2];
    }
  }
  static double sum(Vector x) {
    double total = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) total += x[lane];
    return total;
  }
};

}  // namespace
}  // namespace fastconv::cpu
