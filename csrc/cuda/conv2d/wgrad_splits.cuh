// The sum of the splits of wgrad (wgrad_splits.h).
#pragma once

#include "cuda/conv2d/shape.h"
#include "cuda/element.h"

namespace fastconv::cuda {

constexpr int kReduceThreads = 256;

template <class Index>
struct DeviceSums {
  Index filters, channels, split;  // of a group, and elements of a split
  bool channels_fastest;
};

template <class T, class Index>
__global__ void __launch_bounds__(kReduceThreads)
    add_weight_splits(ConvShape<Index> shape, DeviceSums<Index> layout,
                      const typename Element<T>::Accumulator* sums, Index splits, T* weight) {
  const Index columns = shape.channels * shape.R * shape.S;
  const Index elements = shape.groups * shape.filters * columns;
  const Index stride = static_cast<Index>(gridDim.x) * kReduceThreads;
  for (Index i = static_cast<Index>(blockIdx.x) * kReduceThreads + static_cast<Index>(threadIdx.x);
       i < elements; i += stride) {
    const Index filter = i / columns, column = i % columns;
    const Tap<Index> tap =
        tap_of(column, shape.channels, shape.R, shape.S, layout.channels_fastest);
    const Index row = filter / shape.filters * layout.filters + filter % shape.filters;
    const Index own = layout.channels_fastest
                          ? (tap.r * shape.S + tap.s) * layout.channels + tap.channel
                          : column;
    const Index first = row * layout.channels * shape.R * shape.S + own;
    typename Element<T>::Accumulator total = 0;
    for (Index split = 0; split < splits; ++split) total += sums[split * layout.split + first];
    weight[filter * shape.weight.n + tap.channel * shape.weight.c + tap.r * shape.weight.h +
           tap.s * shape.weight.w] = Element<T>::store(total);
  }
}

}  // namespace fastconv::cuda
