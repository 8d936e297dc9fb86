// The micro-kernel: the only place where products are formed.
//
// Contract. With rows <= kTileRows and vectors <= kTileVectors,
//
//   c[i][j] = (accumulate ? c[i][j] : 0) + sum over k < depth of a[i][k] * b[k][j]
//
// for i < rows, j < vectors * kLanes, where
//   a[i][k] is an element of a TileOfA, k counted from `from`; any alignment;
//   b[k][j] is b[k * kTileColumns + j]: one panel of packed B, 64-byte aligned, its columns past
//           the edge of the matrix zero;
//   c[i][j] is c[i * c_stride + j], any alignment, with room for whole vectors.
// The sum over k is one chain of fused multiply-adds in ascending order for every element, whatever
// rows and vectors are: how a matrix is cut into tiles changes no bit of the result.
//
// One template serves all instruction sets. What differs is the vector (vector_*.h) and the shape
// of the tile (blocking.h).
#pragma once

#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

// Row i of a tile, by x86's addressing modes: five rows for a pointer and two strides in registers.
// What GCC does not know of their relations it cannot undo: it would keep a pointer for each of 14
// rows, most of them on the stack or in vector registers.
template <class Target, class Accumulator, int kRows>
class RowPointers {
 public:
  RowPointers(const Accumulator* row, int64_t stride)
      : stride_(stride * int64_t{sizeof(Accumulator)}) {
    hide(stride_);
    three_ = 3 * stride_;
    hide(three_);
    const char* p = reinterpret_cast<const char*>(row);
#pragma GCC unroll 4
    for (int i = 0; i < kPointers; ++i, p += 5 * stride_) {
      hide(p);
      pointers_[i] = p;
    }
  }
  const Accumulator* row(int i) const {
    const char* const p = pointers_[i / 5];
    const int rest = i % 5;
    return reinterpret_cast<const Accumulator*>(rest == 3 ? p + three_ : p + rest * stride_);
  }
  void advance() {
#pragma GCC unroll 4
    for (int i = 0; i < kPointers; ++i) pointers_[i] += sizeof(Accumulator);
    // Twice and four times the stride, told to be loop invariants, would take registers too.
    hide(stride_);
  }

 private:
  template <class X>
  static void hide(X& x) {
    __asm__("" : "+r"(x));
  }

  static constexpr int kPointers = (kRows + 4) / 5;
  const char* pointers_[kPointers];
  int64_t stride_, three_;
};

template <class Target, class Accumulator, int kRows, int kVectors>
void micro_kernel_tile(const TileOfA<Accumulator>& a, int64_t from, int64_t depth,
                       const Accumulator* b, Accumulator* c, int64_t c_stride, bool accumulate) {
  using Shape = GemmShape<Target::kIsa, Accumulator>;
  using Vector = typename Target::template Vector<Accumulator>;
  typename Vector::Type sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[i][v] = Vector::zero();
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) __builtin_prefetch(c + i * c_stride + v * Shape::kLanes, 1);
  }
  const int64_t* offset = a.offsets;
  if (from >= a.segment) {
    offset += from / a.segment;
    from %= a.segment;
  }
  while (depth > 0) {
    const int64_t run = depth < a.segment - from ? depth : a.segment - from;
    RowPointers<Target, Accumulator, kRows> rows(a.at + *offset + from, a.row_stride);
    const Accumulator* const end = b + run * Shape::kTileColumns;
    for (; b != end; b += Shape::kTileColumns, rows.advance()) {
      typename Vector::Type b_k[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        b_k[v] = Vector::load(b + v * Shape::kLanes);
        // From L2, 8 steps ahead: 5 % of the kernel's time.
        __builtin_prefetch(b + 8 * Shape::kTileColumns + v * Shape::kLanes);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const typename Vector::Type a_ik = Vector::broadcast(rows.row(i));
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          sum[i][v] = Vector::multiply_add(a_ik, b_k[v], sum[i][v]);
        }
      }
    }
    depth -= run;
    from = 0;
    ++offset;
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
using MicroKernel = void (*)(const TileOfA<Accumulator>& a, int64_t from, int64_t depth,
                             const Accumulator* b, Accumulator* c, int64_t c_stride,
                             bool accumulate);

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
