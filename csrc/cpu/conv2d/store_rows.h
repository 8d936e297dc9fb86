// The epilogue: from a block of C in accumulators to the tensor, bias added and rounded once. To be
// included under an instruction set's pragma.
#pragma once

#include "cpu/conv2d/im2col.h"
#include "cpu/dtype.h"
#include "cpu/gemm/packing.h"

namespace fastconv::cpu {

// One bias for the whole row.
template <class Target, class T>
struct RowBias {
  using Accumulator = typename Storage<T>::Accumulator;
  using Vector = typename Target::template Vector<Accumulator>;
  Accumulator value;

  typename Vector::Type lanes(int64_t, uint32_t) const { return Vector::broadcast(&value); }
  Accumulator at(int64_t) const { return value; }
};

// One bias for each element of the row.
template <class Target, class T>
struct ElementBias {
  using Accumulator = typename Storage<T>::Accumulator;
  using Vector = typename Target::template Vector<Accumulator>;
  const T* values;

  typename Vector::Type lanes(int64_t i, uint32_t mask) const {
    return Vector::load_lanes(values + i, mask);
  }
  Accumulator at(int64_t i) const { return Storage<T>::load(values[i]); }
};

// to[i * stride] = from[i] + bias, for a bias that is null or one of the above.
template <class Target, class T, class Bias>
void store_row(const typename Storage<T>::Accumulator* from, int64_t count, const Bias* bias, T* to,
               int64_t stride) {
  using Vector = typename Target::template Vector<typename Storage<T>::Accumulator>;
  if (stride != 1) {
    for (int64_t i = 0; i < count; ++i) {
      to[i * stride] = Storage<T>::store(bias == nullptr ? from[i] : from[i] + bias->at(i));
    }
    return;
  }
  for (int64_t i = 0; i < count; i += Vector::kLanes) {
    const uint32_t lanes = first_lanes(count - i < Vector::kLanes ? count - i : Vector::kLanes);
    typename Vector::Type x = Vector::load_lanes(from + i, lanes);
    if (bias != nullptr) x = Vector::add(x, bias->lanes(i, lanes));
    Vector::store_lanes(to + i, x, lanes);
  }
}

}  // namespace fastconv::cpu
