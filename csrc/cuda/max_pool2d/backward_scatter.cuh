// The gradient of max pooling from indices alone, whatever window made them: a scatter without
// atomics. A block takes a plane and walks its outputs 256 at a time; of the threads whose indices
// agree the first adds all their gradients, in the order of the output, so that no two threads
// write one cell and the sums are those of the definition bit for bit. An index outside the plane
// is passed over.
#pragma once

#include "cuda/element.h"
#include "cuda/max_pool2d/window.h"

namespace fastconv::cuda {

constexpr int kScatterThreads = 256;

template <class Accumulator>
struct ScatterShared {
  int64_t index[kScatterThreads];
  Accumulator gradient[kScatterThreads];
};

// `sums` holds one plane of accumulators for each block.
template <class T>
__global__ void __launch_bounds__(kScatterThreads)
    max_pool2d_backward_scatter(PoolShape<int64_t> shape, const T* grad_output,
                                const int64_t* indices, typename Element<T>::Accumulator* sums,
                                T* grad_input) {
  using Accumulator = typename Element<T>::Accumulator;
  auto& shared = dynamic_shared<ScatterShared<Accumulator>>();
  const int thread = static_cast<int>(threadIdx.x);
  const int64_t cells = shape.h.extent * shape.w.extent;
  const int64_t outputs = shape.h.outputs * shape.w.outputs;
  Accumulator* plane_sums = sums + static_cast<int64_t>(blockIdx.x) * cells;

  for (int64_t plane = blockIdx.x; plane < shape.batch * shape.channels; plane += gridDim.x) {
    const int64_t n = plane / shape.channels, c = plane % shape.channels;
    for (int64_t i = thread; i < cells; i += kScatterThreads) plane_sums[i] = 0;

    for (int64_t begin = 0; begin < outputs; begin += kScatterThreads) {
      const int64_t output = begin + thread;
      int64_t index = -1;
      if (output < outputs) {
        const int64_t at =
            offset_of(shape.output, {n, c, output / shape.w.outputs, output % shape.w.outputs});
        index = indices[at];
        shared.gradient[thread] = Element<T>::load(grad_output[at]);
      }
      shared.index[thread] = index;
      __syncthreads();  // all indices are there, and the sums of the step before
      if (index >= 0 && index < cells) {
        bool first = true;
        for (int i = 0; i < thread; ++i) first = first && shared.index[i] != index;
        if (first) {
          Accumulator sum = plane_sums[index];
          for (int i = thread; i < kScatterThreads; ++i) {
            if (shared.index[i] == index) sum += shared.gradient[i];
          }
          plane_sums[index] = sum;
        }
      }
      __syncthreads();  // the indices have been read
    }

    for (int64_t i = thread; i < cells; i += kScatterThreads) {
      grad_input[offset_of(shape.input, {n, c, i / shape.w.extent, i % shape.w.extent})] =
          Element<T>::store(plane_sums[i]);
    }
    __syncthreads();  // the sums have been read
  }
}

}  // namespace fastconv::cuda
