// Squares of a tensor turned round and, where they are not, made floats. To be included under an
// instruction set's pragma.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cpu/dtype.h"
#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

// to[j * to_stride + i] = from[i * from_stride + j] for i, j < kLanes.
template <class Target, class T>
void transpose_to_floats(const T* from, int64_t from_stride, float* to, int64_t to_stride) {
  using Vector = typename Target::template Vector<float>;
  if constexpr (std::is_same_v<T, float>) {
    Vector::transpose(from, from_stride, to, to_stride);
  } else {
    constexpr int kLanes = Vector::kLanes;
    alignas(64) float square[kLanes * kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
      Vector::store(square + i * kLanes,
                    Vector::load_lanes(from + i * from_stride, first_lanes(kLanes)));
    }
    Vector::transpose(square, kLanes, to, to_stride);
  }
}

}  // namespace fastconv::cpu
