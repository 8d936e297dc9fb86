// fprop on wgmma, for channels_last tensors of 16-bit elements in one group: a row is an output
// pixel, a column an output channel, and a step of depth 64 input channels of one tap. Tensor maps
// fill with zeros what lies outside: padding, pixels past the last, channels of a last step,
// output channels of a last tile.
#pragma once

#include "cuda/conv2d/shape.h"
#include "cuda/conv2d/warpgroup_tile.cuh"

namespace fastconv::cuda {

template <class T>
struct WarpgroupFprop {
  ConvShape<int32_t> shape;
  const T* bias;  // or null
  T* output;
  int32_t pixels, steps, tiles, column_tiles;
  bool stores_pieces;  // eight output channels lie side by side and start at multiples of 16 bytes

  // The column tiles of the same pixels follow one another: blocks that run at once read the same
  // pixels from L2, and the whole weight stays there.
  __device__ int32_t first_row(int32_t tile) const {
    return tile / column_tiles * WarpgroupTile::kRows;
  }
  __device__ int32_t first_column(int32_t tile, int columns) const {
    return tile % column_tiles * columns;
  }
};

// One thread copies all steps of all tiles of its block, as far ahead as the ring allows.
template <class T, int columns>
__device__ void copy_tiles(WarpgroupShared<T, columns>& shared, const TensorMap& input,
                           const TensorMap& weight, const WarpgroupFprop<T>& conv) {
  using Shared = WarpgroupShared<T, columns>;
  const ConvShape<int32_t>& shape = conv.shape;
  RingPosition<Shared::kStages> ring;
  for (int32_t tile = static_cast<int32_t>(blockIdx.x); tile < conv.tiles;
       tile += static_cast<int32_t>(gridDim.x)) {
    const Digits<int32_t> pixel = digits(conv.first_row(tile), shape.P, shape.Q);
    const int32_t w = pixel.fast * shape.stride_w - shape.pad_w;
    const int32_t h = pixel.middle * shape.stride_h - shape.pad_h;
    const int32_t filter = conv.first_column(tile, columns);
    for (int32_t r = 0; r < shape.R; ++r) {
      for (int32_t s = 0; s < shape.S; ++s) {
        for (int32_t channel = 0; channel < shape.channels; channel += WarpgroupTile::kDepth) {
          AsyncBarrier& full = shared.full[ring.stage];
          barrier_wait(shared.empty[ring.stage], ring.parity ^ 1);
          barrier_arrive_expecting(full, Shared::kStageBytes);
          copy_pixels(shared.a[ring.stage], input, full, {channel, w, h, pixel.slow},
                      s * shape.dilation_w, r * shape.dilation_h);
          copy_box(shared.b[ring.stage], weight, full, {channel, s, r, filter});
          ring.advance();
        }
      }
    }
  }
}

template <class T, int columns>
__device__ void store_pixels(WarpgroupShared<T, columns>& shared, const float (&sum)[columns / 2],
                             const WarpgroupFprop<T>& conv, int32_t tile) {
  using Tile = WarpgroupTile;
  const ConvShape<int32_t>& shape = conv.shape;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int32_t first_row = conv.first_row(tile) + warp * Tile::kRowsOfWarp;
  const auto place = [&](int row) -> T* {
    if (first_row + row >= conv.pixels) return nullptr;
    const Digits<int32_t> d = digits(first_row + row, shape.P, shape.Q);
    return conv.output +
           (d.slow * shape.output.n + d.middle * shape.output.h + d.fast * shape.output.w);
  };
  const auto bias = [&](int32_t filter) {
    return conv.bias != nullptr && filter < shape.filters ? Element<T>::load(conv.bias[filter])
                                                          : 0.0f;
  };
  const auto store = [&](const StoredPiece<T>& piece, T* row, int32_t filter) {
    if (conv.stores_pieces && filter + 8 <= shape.filters) {
      *reinterpret_cast<StoredPiece<T>*>(row + filter) = piece;
      return;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (filter + i < shape.filters) row[(filter + i) * shape.output.c] = piece.values[i];
    }
  };
  store_rows(shared.stored[warp], sum, conv.first_column(tile, columns), shape.filters, place, bias,
             store);
}

// As many blocks as multiprocessors, each with tiles of its own, so that the first steps of a tile
// are copied while the one before is stored.
template <class T, int columns>
__global__ void __launch_bounds__(kHasWarpgroups ? WarpgroupTile::kThreads : 32)
    warpgroup_fprop(const __grid_constant__ TensorMap input,
                    const __grid_constant__ TensorMap weight,
                    const __grid_constant__ WarpgroupFprop<T> conv) {
  if constexpr (kHasWarpgroups) {
    using Tile = WarpgroupTile;
    using Shared = WarpgroupShared<T, columns>;
    auto& shared = dynamic_shared_of_blocks<Shared>();
    const int warp = static_cast<int>(threadIdx.x) / 32;
    if (threadIdx.x == 0) {
      for (int stage = 0; stage < Shared::kStages; ++stage) {
        barrier_init(shared.full[stage], 1);
        barrier_init(shared.empty[stage], Tile::kConsumers);
      }
      fence_async_proxy();
    }
    __syncthreads();  // the barriers are there
    if (warp >= Tile::kConsumers) {
      warpgroup_give_registers<Tile::kProducerRegisters>();
      if (threadIdx.x == Tile::kConsumers * 32) copy_tiles(shared, input, weight, conv);
      return;
    }
    warpgroup_take_registers<Tile::kConsumerRegisters>();
    RingPosition<Shared::kStages> ring;
    for (int32_t tile = static_cast<int32_t>(blockIdx.x); tile < conv.tiles;
         tile += static_cast<int32_t>(gridDim.x)) {
      float sum[columns / 2];
      multiply_steps(shared, sum, conv.steps, ring);
      store_pixels(shared, sum, conv, tile);
    }
  }
}

}  // namespace fastconv::cuda
