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

  struct Mask {
    int64_t low, high;
  };

  // The lanes [low, high), both of which may lie outside the vector.
  static Mask range(int64_t low, int64_t high) {
    return {low < 0 ? 0 : low, high > kLanes ? kLanes : high};
  }
  static Vector zero() { return Vector{}; }
  static Vector splat(E x) { return Vector{} + x; }
  static Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }

  // Converted from and to the element type T of a tensor. What a mask or a count leaves out is not
  // touched, and zero in a loaded vector.
  template <class T>
  static Vector load(const T* from) {
    return load(from, Mask{0, kLanes});
  }
  template <class T>
  static Vector load(const T* from, Mask mask) {
    Vector x{};
    for (int64_t lane = mask.low; lane < mask.high; ++lane) x[lane] = Storage<T>::load(from[lane]);
    return x;
  }
  static Vector load_first(const E* from, int64_t count) { return load(from, Mask{0, count}); }
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
  // to[lane] += x[lane]
  static void add_to(double* to, Vector x) {
    for (int64_t lane = 0; lane < kLanes; ++lane) to[lane] += x[lane];
  }
  static double sum(Vector x) {
    double total = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) total += x[lane];
    return total;
  }
};

}  // namespace
}  // namespace fastconv::cpu
