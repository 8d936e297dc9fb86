// The micro-kernel: the only place where products are formed.
//
// Contract. With rows <= kTileRows and vectors <= kTileVectors,
//
//   c[i][j] = addend[i][j] + sum over k < depth of a[i][k] * b[k][j]
//
// for i < rows, j < vectors * kLanes, where
//   a[i][k] is an element of a TileOfA, k counted from `from`; any alignment;
//   b[k][j] is an element of a PanelOfB, any alignment, with room for whole vectors: packed, its
//           columns past the edge of the matrix zero, or the tensor itself;
//   c[i][j] is c.at[i * c.stride + j], any alignment, with room for whole vectors;
//   addend  is the bias, C itself (c.at and c.stride), or null for zero.
// The sum over k is one chain of fused multiply-adds in ascending order for every element, whatever
// rows and vectors are: how a matrix is cut into tiles changes no bit of the result.
//
// One template serves all instruction sets. What differs is the vector (vector_*.h) and the shape
// of the tile (blocking.h).
#pragma once

#include <type_traits>

#include "cpu/gemm/blocking.h"

namespace fastconv::cpu {

template <class X>
inline void hide(X& x) {
  __asm__("" : "+r"(x));
}

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
  void advance(int64_t columns = 1) {
#pragma GCC unroll 4
    for (int i = 0; i < kPointers; ++i) {
      pointers_[i] += columns * int64_t{sizeof(Accumulator)};
    }
    // Twice and four times the stride, told to be loop invariants, would take registers too.
    hide(stride_);
  }

 private:
  static constexpr int kPointers = (kRows + 4) / 5;
  const char* pointers_[kPointers];
  int64_t stride_, three_;
};

// What one call is to do.
template <class Accumulator>
struct MicroTask {
  TileOfA<Accumulator> a;
  int64_t from, depth;
  PanelOfB<Accumulator> b;
  Ahead<Accumulator> ahead;
  TileOfC<Accumulator> c;
  // For kernels that copy: where the panel goes as they read it, packed.
  Accumulator* copy = nullptr;
};

template <class Target, class Accumulator, int kRows, int kVectors, bool kCopies>
void micro_kernel_tile(const MicroTask<Accumulator>& task) {
  // Copies: the stores to C might change what the task says.
  const TileOfA<Accumulator> a = task.a;
  const TileOfC<Accumulator> c = task.c;
  using Shape = GemmShape<Target::kIsa, Accumulator>;
  using Vector = typename Target::template Vector<Accumulator>;
  constexpr bool kTwoLines = Shape::kTileColumns * sizeof(Accumulator) > 64;
  constexpr int kUnroll = Target::kIsa == Isa::avx512 ? 1 : 4;
  typename Vector::Type sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sum[i][v] = Vector::zero();
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      __builtin_prefetch(c.at + i * c.stride + v * Shape::kLanes, 1);
    }
  }
  const Accumulator* b = task.b.at;
  const int64_t b_stride = task.b.stride;
  Ahead<Accumulator> ahead = task.ahead;
  Accumulator* copy = task.copy;
  int64_t from = task.from, depth = task.depth;
  const int64_t* offset = a.offsets;
  if (from >= a.segment) {
    offset += from / a.segment;
    from %= a.segment;
  }
  while (depth > 0) {
    const int64_t run = depth < a.segment - from ? depth : a.segment - from;
    RowPointers<Target, Accumulator, kRows> rows(a.at + *offset + from, a.row_stride);
    const Accumulator *ahead_at, *also_ahead_at;
    const auto multiply =
        [&]<int kSteps>(std::integral_constant<int, kSteps>) __attribute__((always_inline)) {
#pragma GCC unroll 4
          for (int k = 0; k < kSteps; ++k) {
            typename Vector::Type b_k[kVectors];
#pragma GCC unroll 4
            for (int v = 0; v < kVectors; ++v) {
              b_k[v] = Vector::load_unaligned(b + v * Shape::kLanes);
              if constexpr (kCopies) Vector::store(copy + v * Shape::kLanes, b_k[v]);
            }
            b += b_stride;
            hide(b);
            if constexpr (kCopies) copy += Shape::kTileColumns;
            __builtin_prefetch(ahead_at);
            ahead_at += ahead.stride;
            hide(ahead_at);
            if constexpr (kTwoLines) {
              __builtin_prefetch(also_ahead_at);
              also_ahead_at += ahead.stride;
            }
#pragma GCC unroll 16
            for (int i = 0; i < kRows; ++i) {
              const typename Vector::Type a_ik = Vector::broadcast(rows.row(i) + k);
#pragma GCC unroll 4
              for (int v = 0; v < kVectors; ++v) {
                sum[i][v] = Vector::multiply_add(a_ik, b_k[v], sum[i][v]);
              }
            }
          }
          rows.advance(kSteps);
        };
    for (int64_t left = run; left > 0; left -= Ahead<Accumulator>::kSteps) {
      int64_t steps = left < Ahead<Accumulator>::kSteps ? left : Ahead<Accumulator>::kSteps;
      ahead_at = ahead.at;
      also_ahead_at = ahead.also_at;
      for (; steps >= kUnroll; steps -= kUnroll) multiply(std::integral_constant<int, kUnroll>{});
      if constexpr (kUnroll > 1) {
        for (; steps > 0; --steps) multiply(std::integral_constant<int, 1>{});
      }
      ahead.at += ahead.jump;
      ahead.also_at += ahead.jump;
    }
    depth -= run;
    from = 0;
    ++offset;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      if (c.addend != nullptr) {
        const Accumulator* const addend = c.addend + i * c.addend_stride + v * Shape::kLanes;
        sum[i][v] = Vector::add(Vector::load_unaligned(addend), sum[i][v]);
      }
      Vector::store_unaligned(c.at + i * c.stride + v * Shape::kLanes, sum[i][v]);
    }
  }
}

template <class Accumulator>
using MicroKernel = void (*)(const MicroTask<Accumulator>& task);

// kMicroKernels<Target, Accumulator>.at[rows - 1][vectors - 1], and those of whole panels that copy
// them by .copying[rows - 1].
template <class Target, class Accumulator>
struct MicroKernelTable {
  using Shape = GemmShape<Target::kIsa, Accumulator>;
  MicroKernel<Accumulator> at[Shape::kTileRows][Shape::kTileVectors] = {};
  MicroKernel<Accumulator> copying[Shape::kTileRows] = {};

  constexpr MicroKernelTable() { fill_rows<Shape::kTileRows>(); }

 private:
  template <int kRows>
  constexpr void fill_rows() {
    fill_vectors<kRows, Shape::kTileVectors>();
    copying[kRows - 1] = micro_kernel_tile<Target, Accumulator, kRows, Shape::kTileVectors, true>;
    if constexpr (kRows > 1) fill_rows<kRows - 1>();
  }
  template <int kRows, int kVectors>
  constexpr void fill_vectors() {
    at[kRows - 1][kVectors - 1] = micro_kernel_tile<Target, Accumulator, kRows, kVectors, false>;
    if constexpr (kVectors > 1) fill_vectors<kRows, kVectors - 1>();
  }
};

template <class Target, class Accumulator>
constexpr MicroKernelTable<Target, Accumulator> kMicroKernels;

}  // namespace fastconv::cpu
