// fprop and dgrad of a depthwise convolution: a block brings a tile of the source with what lies
// around it, and the weights of its channels, to shared memory, and each thread makes some elements
// of the target from there.
#pragma once

#include "cuda/conv2d/depthwise_tile.h"
#include "cuda/element.h"

namespace fastconv::cuda {

template <bool transposed>
struct DepthwiseGather {
  ConvShape<int32_t> shape;
  Box source, target;  // one tile of each; channels of the input
  Tiles tiles;         // of the target
};

// One axis: where the source of a target tile begins, and the source of a target element and tap,
// counted from there, or a negative number where there is none.
template <bool transposed>
__device__ inline int32_t first_source(int32_t target, int32_t stride, int32_t pad, int32_t reach) {
  if constexpr (!transposed) return target * stride - pad;
  const int32_t lowest = target + pad - reach;
  return lowest <= 0 ? 0 : (lowest + stride - 1) / stride;
}
template <bool transposed>
__device__ inline int32_t source_of(int32_t target, int32_t tap, int32_t stride, int32_t pad,
                                    int32_t dilation) {
  if constexpr (!transposed) return target * stride - pad + tap * dilation;
  const int32_t at = target + pad - tap * dilation;
  return at >= 0 && at % stride == 0 ? at / stride : -1;
}

// fprop: source input, target output; transposed, dgrad: the other way round. One block for each
// tile: ((image * channel tiles + channel tile) * row tiles + row tile) * column tiles + column
// tile.
template <class T, bool transposed>
__global__ void __launch_bounds__(kDepthwiseThreads, kDepthwiseBlocks)
    depthwise_gather(DepthwiseGather<transposed> g, const T* source, const T* weight, const T* bias,
                     T* target) {
  using Accumulator = typename Element<T>::Accumulator;
  const auto& s = g.shape;
  auto* const shared = &dynamic_shared<Accumulator>();
  Accumulator* const weights = shared + (transposed ? s.filters : 1) * g.source.size();
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  const int32_t block = static_cast<int32_t>(blockIdx.x);
  const int32_t first_column = block % g.tiles.column_tiles * g.target.columns;
  const int32_t line = block / g.tiles.column_tiles;
  const int32_t first_row = line % g.tiles.row_tiles * g.target.rows;
  const int32_t plane = line / g.tiles.row_tiles;
  const int32_t first_channel = plane % g.tiles.channel_tiles * g.target.channels;
  const int32_t image = plane / g.tiles.channel_tiles;

  const auto& from = transposed ? s.output : s.input;
  const auto& to = transposed ? s.input : s.output;
  const int32_t source_rows = transposed ? s.P : s.H, source_columns = transposed ? s.Q : s.W;
  const int32_t target_rows = transposed ? s.H : s.P, target_columns = transposed ? s.W : s.Q;
  const int32_t top =
      first_source<transposed>(first_row, s.stride_h, s.pad_h, (s.R - 1) * s.dilation_h);
  const int32_t left =
      first_source<transposed>(first_column, s.stride_w, s.pad_w, (s.S - 1) * s.dilation_w);
  // Of dgrad's source each input channel has several.
  const int32_t sources = transposed ? s.filters : 1;
  for (int32_t i = thread; i < sources * g.source.size(); i += kDepthwiseThreads) {
    const int32_t which = i / g.source.size();
    const auto at = g.source.element(i - which * g.source.size());
    const int32_t row = top + at.row, column = left + at.column;
    const int32_t channel = first_channel + at.channel;
    Accumulator value = 0;
    if (channel < s.groups && row >= 0 && row < source_rows && column >= 0 &&
        column < source_columns) {
      value = Element<T>::load(source[image * from.n + (channel * sources + which) * from.c +
                                      row * from.h + column * from.w]);
    }
    shared[i] = value;
  }
  const int32_t taps = s.R * s.S;
  for (int32_t i = thread; i < g.target.channels * s.filters * taps; i += kDepthwiseThreads) {
    const int32_t own = i / taps, tap = i % taps, filter = first_channel * s.filters + own;
    weights[i] =
        filter < s.groups * s.filters
            ? Element<T>::load(
                  weight[filter * s.weight.n + tap / s.S * s.weight.h + tap % s.S * s.weight.w])
            : Accumulator{0};
  }
  __syncthreads();  // the source and the weights are there

  const int32_t targets = transposed ? 1 : s.filters;
  for (int32_t i = thread; i < targets * g.target.size(); i += kDepthwiseThreads) {
    const int32_t which = i / g.target.size();
    const auto at = g.target.element(i - which * g.target.size());
    const int32_t row = first_row + at.row, column = first_column + at.column;
    const int32_t channel = first_channel + at.channel;
    if (channel >= s.groups || row >= target_rows || column >= target_columns) continue;
    Accumulator sum = 0;
    for (int32_t other = 0; other < sources; ++other) {
      const Accumulator* const plane = shared + other * g.source.size();
      const Accumulator* const filter =
          weights + (at.channel * s.filters + (transposed ? other : which)) * taps;
      for (int32_t r = 0; r < s.R; ++r) {
        const int32_t from_row = source_of<transposed>(row, r, s.stride_h, s.pad_h, s.dilation_h);
        if (transposed && (from_row < 0 || from_row >= source_rows)) continue;
        for (int32_t c = 0; c < s.S; ++c) {
          const int32_t from_column =
              source_of<transposed>(column, c, s.stride_w, s.pad_w, s.dilation_w);
          if (transposed && (from_column < 0 || from_column >= source_columns)) continue;
          sum += filter[r * s.S + c] *
                 plane[g.source.index(at.channel, from_row - top, from_column - left)];
        }
      }
    }
    const int32_t out = channel * targets + which;
    if (bias != nullptr) sum += Element<T>::load(bias[out]);
    target[image * to.n + out * to.c + row * to.h + column * to.w] = Element<T>::store(sum);
  }
}

}  // namespace fastconv::cuda
