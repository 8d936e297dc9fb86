// Max pooling, one thread for each window.
#pragma once

#include "cuda/element.h"
#include "cuda/max_pool2d/window.h"

namespace fastconv::cuda {

constexpr int kPoolThreads = 256;
// On a multiprocessor, which grants 64 registers a thread: left to itself ptxas aims for 32 or 40
// on sm_90 and spills some around each division.
constexpr int kPoolBlocks = 4;

// The cells of a window that lie inside the plane along one axis: first, first + dilation, ...
// below end. `fallback` is what an axis without any cell reports, clamped into the plane.
template <class Index>
struct WindowRange {
  Index first, end, fallback;
};

template <class Index>
__device__ WindowRange<Index> window_range(const PoolAxis<Index>& axis, Index output) {
  const Index start = output * axis.stride - axis.pad;
  const Index past = start + (axis.kernel - 1) * axis.dilation + 1;
  const Index first =
      start < 0 ? start + (-start + axis.dilation - 1) / axis.dilation * axis.dilation : start;
  return {first, past < axis.extent ? past : axis.extent,
          first < axis.extent ? first : axis.extent - 1};
}

// A tie keeps the first cell, the last NaN beats everything, and a window of nothing but -inf gives
// its first cell. `indices` may be null.
template <class T, class Index>
__global__ void __launch_bounds__(kPoolThreads, kPoolBlocks)
    max_pool2d_forward(PoolShape<Index> shape, const T* input, T* output, int64_t* indices) {
  using Accumulator = typename Element<T>::Accumulator;
  const Index cells = shape.batch * shape.channels * shape.h.outputs * shape.w.outputs;
  const Index stride = static_cast<Index>(gridDim.x) * kPoolThreads;
  for (Index i = static_cast<Index>(blockIdx.x) * kPoolThreads + static_cast<Index>(threadIdx.x);
       i < cells; i += stride) {
    const Cell<Index> cell =
        cell_of(i, shape.channels, shape.h.outputs, shape.w.outputs, shape.channels_fastest);
    const WindowRange<Index> h = window_range(shape.h, cell.h);
    const WindowRange<Index> w = window_range(shape.w, cell.w);
    const T* plane = input + cell.n * shape.input.n + cell.c * shape.input.c;
    Accumulator largest = -static_cast<Accumulator>(INFINITY);
    T value = Element<T>::store(largest);
    int64_t index = static_cast<int64_t>(h.fallback) * shape.w.extent + w.fallback;
    for (Index row = h.first; row < h.end; row += shape.h.dilation) {
      for (Index column = w.first; column < w.end; column += shape.w.dilation) {
        const T candidate = plane[row * shape.input.h + column * shape.input.w];
        const Accumulator x = Element<T>::load(candidate);
        if (x > largest || x != x) {
          largest = x;
          value = candidate;
          index = static_cast<int64_t>(row) * shape.w.extent + column;
        }
      }
    }
    const Index at = offset_of(shape.output, cell);
    output[at] = value;
    if (indices != nullptr) indices[at] = index;
  }
}

}  // namespace fastconv::cuda
