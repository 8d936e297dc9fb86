// The micro-kernel: the only place where products are formed.
//
// Contract. With rows <= kTileRows and vectors <= kTileVectors,
//
//   c[i][j] = (accumulate ? c[i][j] : 0) + sum over k < depth of a[i][k] * b[k][j]
//
// for i < rows, j < vectors * kLanes, where
//   a[i][k] is a[i * kTileRowStride + k]: an A tile, packed row by row; any alignment;
//   b[k][j] is b[k * kTileColumns + j]: one panel of packed B, 64-byte aligned, its columns past
//   the
//           edge of the matrix zero;
//   c[i][j] is c[i * c_stride + j], any alignment, with room for whole vectors.
// The sum over k is one chain of fused multiply-adds in ascending order for every element, whatever
// rows and vectors are: how a matrix is cut into tiles changes no bit of the result.
//
// One template serves all instruction sets. What differs is the vector (vector_*.h) and the shape
// of the tile (blocking.h).
#pragma once

#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

template <class Target, class Accumulator, int kRows, int kVectors>
void micro_kernel_tile(int64_t depth, const Accumulator* a, const Accumulator* b, Accumulator* c,
                       int64_t c_stride, bool accumulate) {
  using Shape = GemmShape<Target::kIsa, Accumulator>;
  using Vector = typename Target::template Vector<Accumulator>;
  typename Vector::Type sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[i][v] = Vector::zero();
  }
  for (int64_t k = 0; k < depth; ++k) {
    typename Vector::Type b_k[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      b_k[v] = Vector::load(b + k * Shape::kTileColumns + v * Shape::kLanes);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const typename Vector::Type a_ik = Vector::broadcast(a + i * Shape::kTileRowStride + k);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        sum[i][v] = Vector::multiply_add(a_ik, b_k[v], sum[i][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      Accumulator* const at = c + i * c_stride + v * Shape::kLanes;
      if (accumulate) sum[i][v] = Vector::add(Vector::load_unaligned(at), sum[i][v]);
      Vector::store_unaligned(at, sum[i][v]);
    }
  }
}

template <class Accumulator>
using MicroKernel = void (*)(int64_t depth, const Accumulator* a, const Accumulator* b,
                             Accumulator* c, int64_t c_stride, bool accumulate);

// kMicroKernels<Target, Accumulator>.at[rows - 1][vectors - 1]
template <class Target, class Accumulator>
struct MicroKernelTable {
  using Shape = GemmShape<Target::kIsa, Accumulator>;
  MicroKernel<Accumulator> at[Shape::kTileRows][Shape::kTileVectors] = {};

  constexpr MicroKernelTable() { fill_rows<Shape::kTileRows>(); }

 private:
  template <int kRows>
  constexpr void fill_rows() {
    fill_vectors<kRows, Shape::kTileVectors>();
    if constexpr (kRows > 1) fill_rows<kRows - 1>();
  }
  template <int kRows, int kVectors>
  constexpr void fill_vectors() {
    at[kRows - 1][kVectors - 1] = micro_kernel_tile<Target, Accumulator, kRows, kVectors>;
    if constexpr (kVectors > 1) fill_vectors<kRows, kVectors - 1>();
  }
};

template <class Target, class Accumulator>
constexpr MicroKernelTable<Target, Accumulator> kMicroKernels;

}  // namespace fastconv::cpu
