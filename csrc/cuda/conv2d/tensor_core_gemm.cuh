// Convolution as a product on tensor cores: the implicit GEMM of implicit_gemm.cuh with its
// operands copied as they are, 16 bytes at a time, by cp.async into a ring of stages in shared
// memory, and multiplied by mma.sync. A direction says where row m, column n and the depths of a
// step lie (tensor_core_fprop.cuh, _dgrad.cuh, _wgrad.cuh).
#pragma once

#include <type_traits>

#include "cuda/conv2d/place.cuh"
#include "cuda/conv2d/tensor_core_tile.cuh"

namespace fastconv::cuda {

template <class Product>
struct alignas(16) TensorCoreShared {
  using T = typename Product::Element;
  OperandStage<T, Product::kRowsByDepth> a[TensorCoreTile::kStages];
  OperandStage<T, Product::kColumnsByDepth> b[TensorCoreTile::kStages];
};

// A tensor of which a product reads, and the plane its pixels lie in; a tensor that is no image has
// all its pixels at (0, 0) of a plane of one.
template <class T>
struct CopySource {
  const T* data;
  int32_t limit_h, limit_w;
};

// The tap and channel at which a step of depth starts.
struct TapCursor {
  int32_t r = 0, s = 0, channel = 0;

  // Channels of the next tap follow on those of the one before.
  __device__ void advance(int32_t step, int32_t channels, int32_t S) {
    channel += step;
    while (channel >= channels) {
      channel -= channels;
      next_tap(S);
    }
  }
  // A step belongs to one tap.
  __device__ void advance_filled_up(int32_t step, int32_t channels, int32_t S) {
    channel += step;
    if (channel < channels) return;
    channel = 0;
    next_tap(S);
  }
  __device__ void next_tap(int32_t S) {
    if (++s < S) return;
    s = 0;
    ++r;
  }
};

// Two neighbouring channels, at once where they lie so.
template <class T>
__device__ void store_pair(T* out, int32_t stride, float first, float second, bool pair) {
  struct alignas(2 * sizeof(T)) Two {
    T first, second;
  };
  if (pair && stride == 1 && reinterpret_cast<uintptr_t>(out) % sizeof(Two) == 0) {
    *reinterpret_cast<Two*>(out) = {Element<T>::store(first), Element<T>::store(second)};
    return;
  }
  out[0] = Element<T>::store(first);
  if (pair) out[stride] = Element<T>::store(second);
}

template <class Stage, class T>
__device__ void copy_piece(Stage& stage, const Coordinates& at, const CopySource<T>& source,
                           const Place<int32_t>& position, const Place<int32_t>& depth) {
  const bool exists = inside(wrapping_add(position.h, depth.h), source.limit_h) &&
                      inside(wrapping_add(position.w, depth.w), source.limit_w);
  const int32_t offset = exists ? wrapping_add(position.offset, depth.offset) : 0;
  copy_async_16(stage.piece(at.position, at.depth), source.data + offset, exists);
}

// tile = (part * row_tiles + row tile) * column_tiles + column tile, one block for each; the number
// of tiles is that of the largest part, and smaller parts leave some of theirs empty.
template <class Product, class Products>
__global__ void __launch_bounds__(TensorCoreTile::kThreads, Products::kBlocks)
    tensor_core_gemm(Product product, int32_t row_tiles, int32_t column_tiles) {
  using Tile = TensorCoreTile;
  using T = typename Product::Element;
  auto& shared = dynamic_shared<TensorCoreShared<Product>>();
  using StageA = std::remove_reference_t<decltype(shared.a[0])>;
  using StageB = std::remove_reference_t<decltype(shared.b[0])>;
  const int32_t tile = static_cast<int32_t>(blockIdx.x);
  const auto part = product.part(tile / column_tiles / row_tiles);
  const int32_t tile_row = tile / column_tiles % row_tiles * Tile::kSide;
  const int32_t tile_column = tile % column_tiles * Tile::kSide;
  if (tile_row >= part.rows || tile_column >= part.columns) return;

  Place<int32_t> rows[Tile::kCopies], columns[Tile::kCopies];
#pragma unroll
  for (int i = 0; i < Tile::kCopies; ++i) {
    const int32_t row = tile_row + StageA::slot(i).position;
    const int32_t column = tile_column + StageB::slot(i).position;
    rows[i] = row < part.rows ? product.row(part, row) : nowhere();
    columns[i] = column < part.columns ? product.column(part, column) : nowhere();
  }

  auto next = product.first_step(part);
  const int32_t steps = product.steps(part);
  // One group of copies for each step, empty past the end, so that the wait can count.
  const auto copy_step = [&](int32_t step) {
    if (step < steps) {
      const int stage = step % Tile::kStages;
#pragma unroll
      for (int i = 0; i < Tile::kCopies; ++i) {
        const Coordinates at_a = StageA::slot(i), at_b = StageB::slot(i);
        copy_piece(shared.a[stage], at_a, product.a, rows[i],
                   product.row_depth(part, next, at_a.depth));
        copy_piece(shared.b[stage], at_b, product.b, columns[i],
                   product.column_depth(part, next, at_b.depth));
      }
      product.advance(part, next);
    }
    copy_async_commit();
  };
#pragma unroll
  for (int step = 0; step < Tile::kStages - 1; ++step) copy_step(step);

  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_row = warp % (Tile::kSide / Tile::kWarpRows) * Tile::kWarpRows;
  const int warp_column = warp / (Tile::kSide / Tile::kWarpRows) * Tile::kWarpColumns;
  Products products;
  for (int32_t step = 0; step < steps; ++step) {
    copy_async_wait<Tile::kStages - 2>();
    __syncthreads();  // the step is there, and nobody reads the stage refilled now
    copy_step(step + Tile::kStages - 1);
    const int stage = step % Tile::kStages;
#pragma unroll Products::kUnroll
    for (int depth = 0; depth < kStepDepth<T>; depth += 2 * kPiece<T>) {
      products.add(shared.a[stage], shared.b[stage], warp_row, warp_column, depth);
    }
  }
  copy_async_wait<0>();

#pragma unroll
  for (int i = 0; i < kWarpTiles; ++i) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int32_t row = tile_row + warp_row + i * 16 + half * 8 + lane / 4;
      if (row >= part.rows) continue;
      const auto out = product.row_out(part, row);
#pragma unroll
      for (int j = 0; j < kWarpTiles; ++j) {
        const int32_t column = tile_column + warp_column + j * 8 + lane % 4 * 2;
        if (column < part.columns) {
          const bool pair = column + 1 < part.columns;
          product.store(part, out, column, products.sum[i][j][half * 2],
                        pair ? products.sum[i][j][half * 2 + 1] : 0.0f, pair);
        }
      }
    }
  }
}

}  // namespace fastconv::cuda
