// wgrad of a depthwise convolution: a block takes some channels and a split of the tiles of their
// planes, brings each tile of the output's gradient and the input around it to shared memory once,
// and keeps the sums of every tap there, a column for each thread. At the end the columns are added
// up in a fixed order; the splits are added by wgrad_splits.cuh.
#pragma once

#include "cuda/conv2d/depthwise_tile.h"
#include "cuda/element.h"

namespace fastconv::cuda {

struct DepthwiseWgrad {
  ConvShape<int32_t> shape;
  Box input, output;  // one tile of each; channels of the input
  Tiles tiles;        // of the output
  int32_t splits, split_tiles;
};

// In channels_last a lane is a channel and a warp takes pixels; otherwise there is one channel and
// every thread takes pixels. sums: [split][filter][tap]. Block: split * channel tiles + channel
// tile.
template <class T>
__global__ void __launch_bounds__(kDepthwiseThreads, kDepthwiseBlocks)
    depthwise_wgrad(DepthwiseWgrad g, const T* input, const T* grad_output,
                    typename Element<T>::Accumulator* sums) {
  using Accumulator = typename Element<T>::Accumulator;
  constexpr int32_t kLanes = 32;
  const auto& s = g.shape;
  const int32_t taps = s.R * s.S, own_sums = s.filters * taps;
  Accumulator* const totals = &dynamic_shared<Accumulator>();  // [filter and tap][thread]
  Accumulator* const source = totals + own_sums * kDepthwiseThreads;
  Accumulator* const gradient = source + g.input.size();
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const bool lanes_are_channels = g.output.channels_fastest;
  const int32_t lane = lanes_are_channels ? thread % kLanes : 0;
  const int32_t first_pixel = lanes_are_channels ? thread / kLanes : thread;
  const int32_t pixel_step = lanes_are_channels ? kDepthwiseThreads / kLanes : kDepthwiseThreads;
  const int32_t channel_tile = static_cast<int32_t>(blockIdx.x) % g.tiles.channel_tiles;
  const int32_t split = static_cast<int32_t>(blockIdx.x) / g.tiles.channel_tiles;
  const int32_t first_channel = channel_tile * g.output.channels;
  for (int32_t i = 0; i < own_sums; ++i) totals[i * kDepthwiseThreads + thread] = 0;

  const int32_t all_tiles = s.batch * g.tiles.row_tiles * g.tiles.column_tiles;
  const int32_t begin = split * g.split_tiles;
  const int32_t end = all_tiles - begin < g.split_tiles ? all_tiles : begin + g.split_tiles;
  for (int32_t tile = begin; tile < end; ++tile) {
    const int32_t first_column = tile % g.tiles.column_tiles * g.output.columns;
    const int32_t line = tile / g.tiles.column_tiles;
    const int32_t first_row = line % g.tiles.row_tiles * g.output.rows;
    const int32_t image = line / g.tiles.row_tiles;
    const int32_t top = first_row * s.stride_h - s.pad_h;
    const int32_t left = first_column * s.stride_w - s.pad_w;
    __syncthreads();  // the tile before is done
    for (int32_t i = thread; i < g.input.size(); i += kDepthwiseThreads) {
      const auto at = g.input.element(i);
      const int32_t row = top + at.row, column = left + at.column;
      const int32_t channel = first_channel + at.channel;
      source[i] = channel < s.groups && row >= 0 && row < s.H && column >= 0 && column < s.W
                      ? Element<T>::load(input[image * s.input.n + channel * s.input.c +
                                               row * s.input.h + column * s.input.w])
                      : Accumulator{0};
    }
    for (int32_t i = thread; i < s.filters * g.output.size(); i += kDepthwiseThreads) {
      const int32_t which = i / g.output.size();
      const auto at = g.output.element(i - which * g.output.size());
      const int32_t row = first_row + at.row, column = first_column + at.column;
      const int32_t channel = first_channel + at.channel;
      gradient[i] =
          channel < s.groups && row < s.P && column < s.Q
              ? Element<T>::load(
                    grad_output[image * s.output.n + (channel * s.filters + which) * s.output.c +
                                row * s.output.h + column * s.output.w])
              : Accumulator{0};
    }
    __syncthreads();  // the tile is there
    if (lane >= g.output.channels) continue;
    for (int32_t i = 0; i < own_sums; ++i) {
      const int32_t which = i / taps, r = i % taps / s.S, c = i % s.S;
      Accumulator sum = 0;
      for (int32_t pixel = first_pixel; pixel < g.output.rows * g.output.columns;
           pixel += pixel_step) {
        const int32_t row = g.output.by_columns(pixel), column = pixel - row * g.output.columns;
        sum += gradient[which * g.output.size() + g.output.index(lane, row, column)] *
               source[g.input.index(lane, row * s.stride_h + r * s.dilation_h,
                                    column * s.stride_w + c * s.dilation_w)];
      }
      totals[i * kDepthwiseThreads + thread] += sum;
    }
  }

  for (int half = kDepthwiseThreads / 2; half >= (lanes_are_channels ? kLanes : 1); half /= 2) {
    __syncthreads();  // the sums of the level before are there
    if (thread < half) {
      for (int32_t i = 0; i < own_sums; ++i) {
        totals[i * kDepthwiseThreads + thread] += totals[i * kDepthwiseThreads + thread + half];
      }
    }
  }
  // A thread writes what it has added up itself.
  const int32_t channel = first_channel + lane;
  if (thread < g.output.channels && channel < s.groups) {
    const int32_t filters = s.groups * s.filters;
    for (int32_t i = 0; i < own_sums; ++i) {
      const int32_t filter = channel * s.filters + i / taps;
      sums[(split * filters + filter) * taps + i % taps] = totals[i * kDepthwiseThreads + thread];
    }
  }
}

}  // namespace fastconv::cuda
