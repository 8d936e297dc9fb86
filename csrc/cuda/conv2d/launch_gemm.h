// The launch of an implicit GEMM: one block for each tile, fewer only where a grid cannot hold
// them.
#pragma once

#include <cstdint>

#include "cuda/algorithm.h"
#include "cuda/conv2d/implicit_gemm.cuh"
#include "cuda/conv2d/shape.h"
#include "cuda/launch_size.h"

namespace fastconv::cuda {

// `rows` and `columns` are those of the largest of the `parts`.
template <class Product>
void launch_implicit_gemm(const char* name, const Product& product, int64_t parts, int64_t rows,
                          int64_t columns, const Queue& queue) {
  using Accumulator = typename Element<typename Product::Element>::Accumulator;
  const int64_t row_tiles = ceil_divide(rows, kTile), column_tiles = ceil_divide(columns, kTile);
  const int64_t tiles = parts * row_tiles * column_tiles;
  if (tiles == 0) return;
  launch(name, implicit_gemm<Product>, blocks_for(tiles), kGemmThreads,
         sizeof(GemmShared<Accumulator, typename Product::Index>), queue.stream, product, parts,
         row_tiles, column_tiles);
}

// fn(TypeTag<T>{}, TypeTag<Index>{}) with the element type of the problem and the narrowest index
// type that holds it.
template <class F>
void dispatch_types(const Conv2dProblem& p, const F& fn) {
  dispatch_dtype(p.dtype, [&](auto type) {
    if (fits_int32(p)) {
      fn(type, TypeTag<int32_t>{});
    } else {
      fn(type, TypeTag<int64_t>{});
    }
  });
}

}  // namespace fastconv::cuda
