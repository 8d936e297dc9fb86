// What the pooling kernels ask of a vector, here of one lane: the meaning of every operation, and
// the portable build of the kernels. vectors_avx2.h and vectors_avx512.h do the same with more
// lanes.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "cpu/dtype.h"
#include "cpu/isa.h"

namespace fastconv::cpu {
namespace {

template <class ElementT, class IndexT>
struct ScalarVector {
  using Element = ElementT;  // what cells are compared in: float also for the 16-bit floats
  using Index = IndexT;  // as wide as Element; what a kernel counts in is exact modulo its range
  using Vector = Element;
  using Indices = Index;
  using Mask = bool;
  static constexpr int64_t kLanes = 1;

  static Vector lowest() { return -std::numeric_limits<Element>::infinity(); }

  // Converted from and, rounding to nearest even, to the element type of the tensor. load_first and
  // store_first touch `count` elements and no more; load_first makes the lanes beyond them the
  // lowest.
  template <class T>
  static Vector load(const T* from) {
    return Storage<T>::load(*from);
  }
  template <class T>
  static Vector load_first(const T* from, int64_t) {
    return Storage<T>::load(*from);
  }
  static void store(Element* to, Vector x) { *to = x; }
  template <class T>
  static void store_first(T* to, Vector x, int64_t) {
    *to = Storage<T>::store(x);
  }

  // The even and the odd elements of a followed by b.
  static void split_pairs(Vector a, Vector b, Vector& even, Vector& odd) {
    even = a;
    odd = b;
  }

  // Pooling's order: x displaces best where it is larger or a NaN, never where it is equal.
  static Mask greater_or_nan(Vector x, Vector best) { return x > best || std::isnan(x); }
  static Vector larger_or_nan(Vector x, Vector best) { return greater_or_nan(x, best) ? x : best; }
  // For Vector and for Indices.
  template <class X>
  static X select(Mask mask, X yes, X no) {
    return mask ? yes : no;
  }

  static Indices splat(int64_t x) { return static_cast<Index>(x); }
  static Indices load_indices(const Index* from) { return *from; }
  static void store_indices(Index* to, Indices x) { *to = x; }
  static Indices add(Indices a, Indices b) {
    return static_cast<Index>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  }
  // The full index of each lane, given that it is base or up to 2^31 - 1 more.
  static void store_wide_first(int64_t* to, Indices x, int64_t base, int64_t) {
    *to = base + static_cast<Index>(static_cast<uint64_t>(x) - static_cast<uint64_t>(base));
  }
};

using ScalarFloat = ScalarVector<float, int32_t>;
using ScalarDouble = ScalarVector<double, int64_t>;

struct ScalarVectors {
  static constexpr Isa kIsa = Isa::scalar;
  using Float = ScalarFloat;
  using Double = ScalarDouble;
  template <class T>
  using For = std::conditional_t<std::is_same_v<T, double>, Double, Float>;
};

}  // namespace
}  // namespace fastconv::cpu
