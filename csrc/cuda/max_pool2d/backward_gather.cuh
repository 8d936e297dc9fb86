// The gradient of max pooling as a gather: each input cell looks at the windows that may hold it
// and adds the gradients of those whose index names it, in the order of the output. No atomics, and
// the sums are those of the definition bit for bit.
#pragma once

#include "cuda/element.h"
#include "cuda/max_pool2d/forward.cuh"
#include "cuda/max_pool2d/window.h"

namespace fastconv::cuda {

// The outputs whose window reaches over input position h: [first, end).
template <class Index>
struct OutputRange {
  Index first, end;
};

template <class Index>
__device__ OutputRange<Index> outputs_over(const PoolAxis<Index>& axis, Index position) {
  const Index padded = position + axis.pad;
  const Index reach = (axis.kernel - 1) * axis.dilation;
  const Index first = padded <= reach ? 0 : (padded - reach + axis.stride - 1) / axis.stride;
  const Index end = padded / axis.stride + 1;
  return {first, end < axis.outputs ? end : axis.outputs};
}

template <class T, class Index>
__global__ void __launch_bounds__(kPoolThreads, kPoolBlocks)
    max_pool2d_backward_gather(PoolShape<Index> shape, const T* grad_output, const int64_t* indices,
                               T* grad_input) {
  using Accumulator = typename Element<T>::Accumulator;
  const Index cells = shape.batch * shape.channels * shape.h.extent * shape.w.extent;
  const Index stride = static_cast<Index>(gridDim.x) * kPoolThreads;
  for (Index i = static_cast<Index>(blockIdx.x) * kPoolThreads + static_cast<Index>(threadIdx.x);
       i < cells; i += stride) {
    const Cell<Index> cell =
        cell_of(i, shape.channels, shape.h.extent, shape.w.extent, shape.channels_fastest);
    const int64_t index = static_cast<int64_t>(cell.h) * shape.w.extent + cell.w;
    const OutputRange<Index> h = outputs_over(shape.h, cell.h);
    const OutputRange<Index> w = outputs_over(shape.w, cell.w);
    const Index plane = cell.n * shape.output.n + cell.c * shape.output.c;
    Accumulator sum = 0;
    for (Index row = h.first; row < h.end; ++row) {
      for (Index column = w.first; column < w.end; ++column) {
        const Index at = plane + row * shape.output.h + column * shape.output.w;
        if (indices[at] == index) sum += Element<T>::load(grad_output[at]);
      }
    }
    grad_input[offset_of(shape.input, cell)] = Element<T>::store(sum);
  }
}

}  // namespace fastconv::cuda
