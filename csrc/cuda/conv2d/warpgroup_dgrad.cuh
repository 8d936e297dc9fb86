// The weight as dgrad of unit stride reads it: a convolution of the gradient of the output, with
// the two sides of the weight exchanged and its window turned round.
#pragma once

#include "cuda/conv2d/shape.h"
#include "cuda/element.h"

namespace fastconv::cuda {

constexpr int kTurnSide = 32, kTurnThreads = 256;

template <class T>
struct TurnShared {
  T tile[kTurnSide][kTurnSide + 1];  // [filter][channel], a column apart in their banks
};

// turned[c][R - 1 - r][S - 1 - s][k] = weight[k][c][r][s]; one block for each tap and tile of 32
// filters by 32 channels, channels fastest, then filters.
template <class T>
__global__ void __launch_bounds__(kTurnThreads)
    turn_weight(ConvShape<int32_t> shape, const T* weight, T* turned) {
  auto& shared = dynamic_shared<TurnShared<T>>();
  const int across = static_cast<int>(threadIdx.x) % kTurnSide;
  const int along = static_cast<int>(threadIdx.x) / kTurnSide;
  constexpr int kTurns = kTurnThreads / kTurnSide;
  const int32_t channel_tiles = (shape.channels + kTurnSide - 1) / kTurnSide;
  const int32_t filter_tiles = (shape.filters + kTurnSide - 1) / kTurnSide;
  const Digits<int32_t> tile =
      digits(static_cast<int32_t>(blockIdx.x), filter_tiles, channel_tiles);
  const int32_t r = tile.slow / shape.S, s = tile.slow % shape.S;
  const int32_t first_filter = tile.middle * kTurnSide, first_channel = tile.fast * kTurnSide;
  for (int row = along; row < kTurnSide; row += kTurns) {
    const int32_t filter = first_filter + row, channel = first_channel + across;
    if (filter < shape.filters && channel < shape.channels) {
      shared.tile[row][across] = weight[filter * shape.weight.n + channel * shape.weight.c +
                                        r * shape.weight.h + s * shape.weight.w];
    }
  }
  __syncthreads();  // the tile is there
  const int32_t tap = (shape.R - 1 - r) * shape.S + shape.S - 1 - s;
  for (int row = along; row < kTurnSide; row += kTurns) {
    const int32_t filter = first_filter + across, channel = first_channel + row;
    if (filter < shape.filters && channel < shape.channels) {
      turned[(channel * shape.R * shape.S + tap) * shape.filters + filter] =
          shared.tile[across][row];
    }
  }
}

}  // namespace fastconv::cuda
