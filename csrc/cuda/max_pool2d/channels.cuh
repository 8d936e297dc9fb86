// Max pooling and its gradient in channels_last, 16 bytes of channels in each thread: forward.cuh
// and backward_gather.cuh with one set of divisions and one load for several channels.
#pragma once

#include "cuda/max_pool2d/backward_gather.cuh"

namespace fastconv::cuda {

// On a multiprocessor: 64 registers a thread would spill some.
constexpr int kChannelBlocks = 2;

// Channels in 16 bytes.
template <class T>
constexpr int kChannels = 16 / static_cast<int>(sizeof(T));

template <class T>
struct alignas(16) ChannelPiece {
  T values[kChannels<T>];
};

struct alignas(16) IndexPair {
  int64_t first, second;
};

// The piece that thread number `i` takes of a batch of planes.
__device__ inline Cell<int32_t> piece_of(int32_t i, int32_t pieces, int32_t rows, int32_t columns,
                                         int channels) {
  Cell<int32_t> cell = cell_of(i, pieces, rows, columns, true);
  cell.c *= channels;
  return cell;
}

template <class T>
__global__ void __launch_bounds__(kPoolThreads, kPoolBlocks)
    max_pool2d_forward_channels(PoolShape<int32_t> shape, const T* input, T* output,
                                int64_t* indices) {
  using Accumulator = typename Element<T>::Accumulator;
  const int32_t pieces = shape.channels / kChannels<T>;
  const int32_t count = shape.batch * pieces * shape.h.outputs * shape.w.outputs;
  const int32_t i =
      static_cast<int32_t>(blockIdx.x) * kPoolThreads + static_cast<int32_t>(threadIdx.x);
  if (i >= count) return;
  const Cell<int32_t> cell = piece_of(i, pieces, shape.h.outputs, shape.w.outputs, kChannels<T>);
  const WindowRange<int32_t> h = window_range(shape.h, cell.h);
  const WindowRange<int32_t> w = window_range(shape.w, cell.w);
  const T* plane = input + cell.n * shape.input.n + cell.c;
  Accumulator largest[kChannels<T>];
  int32_t index[kChannels<T>];
  ChannelPiece<T> value;
#pragma unroll
  for (int c = 0; c < kChannels<T>; ++c) {
    largest[c] = -static_cast<Accumulator>(INFINITY);
    value.values[c] = Element<T>::store(largest[c]);
    index[c] = h.fallback * shape.w.extent + w.fallback;
  }
  for (int32_t row = h.first; row < h.end; row += shape.h.dilation) {
    for (int32_t column = w.first; column < w.end; column += shape.w.dilation) {
      const auto candidate = *reinterpret_cast<const ChannelPiece<T>*>(plane + row * shape.input.h +
                                                                       column * shape.input.w);
#pragma unroll
      for (int c = 0; c < kChannels<T>; ++c) {
        const Accumulator x = Element<T>::load(candidate.values[c]);
        if (x > largest[c] || x != x) {
          largest[c] = x;
          value.values[c] = candidate.values[c];
          index[c] = row * shape.w.extent + column;
        }
      }
    }
  }
  const int32_t at = offset_of(shape.output, cell);
  *reinterpret_cast<ChannelPiece<T>*>(output + at) = value;
  if (indices == nullptr) return;
#pragma unroll
  for (int c = 0; c < kChannels<T>; c += 2) {
    *reinterpret_cast<IndexPair*>(indices + at + c) = {index[c], index[c + 1]};
  }
}

template <class T>
__global__ void __launch_bounds__(kPoolThreads, kChannelBlocks)
    max_pool2d_backward_channels(PoolShape<int32_t> shape, const T* grad_output,
                                 const int64_t* indices, T* grad_input) {
  using Accumulator = typename Element<T>::Accumulator;
  const int32_t pieces = shape.channels / kChannels<T>;
  const int32_t count = shape.batch * pieces * shape.h.extent * shape.w.extent;
  const int32_t i =
      static_cast<int32_t>(blockIdx.x) * kPoolThreads + static_cast<int32_t>(threadIdx.x);
  if (i >= count) return;
  const Cell<int32_t> cell = piece_of(i, pieces, shape.h.extent, shape.w.extent, kChannels<T>);
  const int64_t own = static_cast<int64_t>(cell.h) * shape.w.extent + cell.w;
  const OutputRange<int32_t> h = outputs_over(shape.h, cell.h);
  const OutputRange<int32_t> w = outputs_over(shape.w, cell.w);
  const int32_t plane = cell.n * shape.output.n + cell.c;
  Accumulator sum[kChannels<T>] = {};
  for (int32_t row = h.first; row < h.end; ++row) {
    for (int32_t column = w.first; column < w.end; ++column) {
      const int32_t at = plane + row * shape.output.h + column * shape.output.w;
      const auto gradient = *reinterpret_cast<const ChannelPiece<T>*>(grad_output + at);
#pragma unroll
      for (int c = 0; c < kChannels<T>; c += 2) {
        const auto index = *reinterpret_cast<const IndexPair*>(indices + at + c);
        if (index.first == own) sum[c] += Element<T>::load(gradient.values[c]);
        if (index.second == own) sum[c + 1] += Element<T>::load(gradient.values[c + 1]);
      }
    }
  }
  ChannelPiece<T> result;
#pragma unroll
  for (int c = 0; c < kChannels<T>; ++c) result.values[c] = Element<T>::store(sum[c]);
  *reinterpret_cast<ChannelPiece<T>*>(grad_input + offset_of(shape.input, cell)) = result;
}

}  // namespace fastconv::cuda
