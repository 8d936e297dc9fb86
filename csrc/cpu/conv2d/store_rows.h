// From rows of accumulators to rows of a tensor, and from the bias to rows of accumulators. To be
// included under an instruction set's pragma.
#pragma once

#include "cpu/dtype.h"
#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

// to[i * stride] = from[i], rounded once.
template <class Target, class T>
void store_row(const typename Storage<T>::Accumulator* from, int64_t count, T* to, int64_t stride) {
  using Vector = typename Target::template Vector<typename Storage<T>::Accumulator>;
  constexpr uint32_t kAll = first_lanes(Vector::kLanes);
  if (stride == 2) {
    for (int64_t i = 0; i < count; i += Vector::kLanes) {
      const uint32_t lanes = first_lanes(count - i) & kAll;
      Vector::store_every_other(to + 2 * i, Vector::load_lanes(from + i, lanes), lanes);
    }
    return;
  }
  if (stride != 1) {
    for (int64_t i = 0; i < count; ++i) to[i * stride] = Storage<T>::store(from[i]);
    return;
  }
  int64_t i = 0;
  for (; i + Vector::kLanes <= count; i += Vector::kLanes) {
    Vector::store_lanes(to + i, Vector::load_unaligned(from + i), kAll);
  }
  if (i < count) {
    const uint32_t rest = first_lanes(count - i);
    Vector::store_lanes(to + i, Vector::load_lanes(from + i, rest), rest);
  }
}

// to[i] = value.
template <class Target, class Accumulator>
void fill_row(Accumulator* to, int64_t count, Accumulator value) {
  using Vector = typename Target::template Vector<Accumulator>;
  const typename Vector::Type x = Vector::broadcast(&value);
  int64_t i = 0;
  for (; i + Vector::kLanes <= count; i += Vector::kLanes) Vector::store_unaligned(to + i, x);
  for (; i < count; ++i) to[i] = value;
}

}  // namespace fastconv::cpu
